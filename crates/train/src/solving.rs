//! What solved parameters are fitted to: the rows of a feed and what the network says of them, scored once however often something is solved.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_adapt::{Adaptation, Answered, Stage};
use acclimate_data::{BagColumn, Batch, DomainIndex, Schema, Side};
use acclimate_model::{Base, Objective, Params};
use burn::tensor::Device;

use crate::feed::{Feed, Feeding};
use crate::hide::without;
use crate::{Scorer, TrainError};

/// Features of users that tell tasks apart, such as the user's id: those most of whose codes are of one task alone. A network knows these users by name, as it will know nobody that comes anew, so that
/// what is solved for others must not see them.
fn names_of_tasks(schema: &Schema, feed: &dyn Feed) -> Vec<usize> {
    let of_users: Vec<usize> = (0..schema.categorical.len()).filter(|&f| schema.side(&schema.categorical[f].name) == Side::User).collect();
    // Of each code the task that it is of, or none if it is of several.
    let mut owners: Vec<HashMap<u32, Option<u32>>> = vec![HashMap::new(); of_users.len()];
    let mut first_task = 0;
    for step in 0..feed.steps(0) {
        let Feeding { query, support } = feed.batch(0, step);
        for batch in std::iter::once(&query).chain(&support) {
            for i in (0..batch.len()).filter(|&i| batch.mask[i] != 0.0) {
                let task = first_task + (i / batch.rows) as u32;
                for (owners, &feature) in owners.iter_mut().zip(&of_users) {
                    let owner = owners.entry(batch.categorical[i * batch.fields + feature]).or_insert(Some(task));
                    if *owner != Some(task) {
                        *owner = None;
                    }
                }
            }
        }
        first_task += query.groups as u32;
    }
    let is_name = |owners: &HashMap<u32, Option<u32>>| 2 * owners.values().filter(|owner| owner.is_some()).count() > owners.len();
    of_users.into_iter().zip(&owners).filter(|(_, owners)| owners.len() > 2 && is_name(owners)).map(|(feature, _)| feature).collect()
}

/// Rows with their scores, in the order of the log, so that what is solved does not depend on the order of training.
#[derive(Default)]
pub(crate) struct Rows {
    scores: Vec<f32>,
    labels: Vec<f32>,
    domains: Vec<DomainIndex>,
    /// `[rows, fields]`.
    codes: Vec<u32>,
    fields: usize,
    bags: Vec<BagColumn>,
    tasks: Vec<u32>,
    states: Vec<f32>,
}

impl Rows {
    /// The rows of a feed's first epoch.
    ///
    /// # Errors
    /// A context that the method can not adapt from, or an interruption.
    pub(crate) fn score(
        (adaptation, feed): (&dyn Adaptation, &dyn Feed),
        (base, own): (&Base, &Params),
        (device, stop): (&Device, &AtomicBool),
    ) -> Result<Self, TrainError> {
        let scorer = Scorer::new(base, adaptation, own, device);
        let unit = if base.spec.objective == Objective::SquaredError { base.spec.schema.label.unit() } else { 1.0 };
        let of_tasks = adaptation.needs().groups.are_tasks();
        let (mut numbers, mut said, mut first_task) = (Vec::new(), Self::default(), 0);
        said.fields = base.spec.schema.categorical.len();
        said.bags = vec![BagColumn { offsets: vec![0], codes: Vec::new() }; base.spec.schema.bags.len()];
        let ids = if adaptation.needs().states.is_some() { names_of_tasks(&base.spec.schema, feed) } else { Vec::new() };
        for step in 0..feed.steps(0) {
            let Feeding { query, support } = feed.batch(0, step);
            if of_tasks {
                for batch in std::iter::once(&query).chain(&support) {
                    let mut scores = vec![0.0; batch.len()];
                    let real = (0..batch.len()).filter(|&i| batch.mask[i] != 0.0);
                    if let (Some(site), false) = (adaptation.needs().states, batch.is_empty()) {
                        let states;
                        (states, scores) = scorer.unadapted(&without(batch, &ids), site);
                        let d = states.len() / batch.len();
                        real.clone().for_each(|i| said.states.extend_from_slice(&states[i * d..][..d]));
                    }
                    real.for_each(|i| said.push(&mut numbers, batch, i, scores[i], Some(first_task + (i / batch.rows) as u32)));
                }
                first_task += query.groups as u32;
            } else {
                let scores = scorer.batch(&query, support.as_ref())?;
                let real = scores.into_iter().enumerate().filter(|(i, _)| query.mask[*i] != 0.0);
                real.for_each(|(i, score)| said.push(&mut numbers, &query, i, score / unit, None));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted { epoch: 0, step: step as u64 });
            }
        }
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by_key(|&i| numbers[i]);
        Ok(said.arranged(&order))
    }

    /// Adds a row of a batch.
    fn push(&mut self, numbers: &mut Vec<u32>, batch: &Batch, i: usize, score: f32, task: Option<u32>) {
        numbers.push(batch.row[i]);
        self.scores.push(score);
        self.labels.push(batch.label[i]);
        self.domains.push(batch.domain[i]);
        self.codes.extend_from_slice(&batch.categorical[i * batch.fields..][..self.fields]);
        for (into, bag) in self.bags.iter_mut().zip(&batch.bags) {
            into.codes.extend_from_slice(&bag.codes[bag.offsets[i] as usize..bag.offsets[i + 1] as usize]);
            into.offsets.push(into.codes.len() as u32);
        }
        self.tasks.extend(task);
    }

    /// The rows in another order; tasks are numbered as they come there.
    fn arranged(self, order: &[usize]) -> Self {
        let (fields, d) = (self.fields, self.states.len() / order.len().max(1));
        let bag = |bag: &BagColumn| {
            let mut arranged = BagColumn { offsets: vec![0], codes: Vec::with_capacity(bag.codes.len()) };
            for &i in order {
                arranged.codes.extend_from_slice(&bag.codes[bag.offsets[i] as usize..bag.offsets[i + 1] as usize]);
                arranged.offsets.push(arranged.codes.len() as u32);
            }
            arranged
        };
        let mut number = HashMap::new();
        let mut task = |&i: &usize| {
            let next = number.len() as u32;
            self.tasks.get(i).map(|&task| *number.entry(task).or_insert(next))
        };
        Self {
            scores: order.iter().map(|&i| self.scores[i]).collect(),
            labels: order.iter().map(|&i| self.labels[i]).collect(),
            domains: order.iter().map(|&i| self.domains[i]).collect(),
            codes: order.iter().flat_map(|&i| &self.codes[i * fields..][..fields]).copied().collect(),
            fields,
            bags: self.bags.iter().map(bag).collect(),
            tasks: order.iter().filter_map(&mut task).collect(),
            states: order.iter().flat_map(|&i| &self.states[i * d..][..d]).copied().collect(),
        }
    }

    /// Solves for what a method solves; `own` are the values with which the rows were scored.
    pub(crate) fn solve(&self, adaptation: &dyn Adaptation, own: &mut Params, stage: Stage) {
        let Self { labels, domains, codes, fields, bags, tasks, states, .. } = self;
        let mut scores = self.scores.clone();
        let mut answered = Answered { scores: &mut scores, labels, domains, codes, fields: *fields, bags, tasks, states };
        adaptation.solve(&mut own.values, &mut answered, stage);
    }
}
