//! What solved parameters are fitted to: the rows of a feed and what the network says of them, scored once however often something is solved.

use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_adapt::{Adaptation, Answered, Stage};
use acclimate_data::DomainIndex;
use acclimate_model::{Base, Objective, Params};
use burn::tensor::Device;

use crate::feed::{Feed, Feeding};
use crate::{Scorer, TrainError};

/// Rows with their scores, in the order of the log, so that what is solved does not depend on the order of training.
pub(crate) struct Rows {
    scores: Vec<f32>,
    labels: Vec<f32>,
    domains: Vec<DomainIndex>,
    /// `[rows, fields]`.
    codes: Vec<u32>,
    fields: usize,
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
        let (unit, fields) = (base.spec.schema.label.unit(), base.spec.schema.categorical.len());
        let (mut numbers, mut codes) = (Vec::new(), Vec::new());
        let mut said = Self { scores: Vec::new(), labels: Vec::new(), domains: Vec::new(), codes: Vec::new(), fields };
        for step in 0..feed.steps(0) {
            let Feeding { query, support } = feed.batch(0, step);
            for (i, score) in scorer.batch(&query, support.as_ref())?.into_iter().enumerate().filter(|(i, _)| query.mask[*i] != 0.0) {
                numbers.push(query.row[i]);
                said.scores.push(if base.spec.objective == Objective::SquaredError { score / unit } else { score });
                said.labels.push(query.label[i]);
                said.domains.push(query.domain[i]);
                codes.extend_from_slice(&query.categorical[i * query.fields..][..fields]);
            }
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted { epoch: 0, step: step as u64 });
            }
        }
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by_key(|&i| numbers[i]);
        Ok(Self {
            scores: order.iter().map(|&i| said.scores[i]).collect(),
            labels: order.iter().map(|&i| said.labels[i]).collect(),
            domains: order.iter().map(|&i| said.domains[i]).collect(),
            codes: order.iter().flat_map(|&i| &codes[i * fields..][..fields]).copied().collect(),
            fields,
        })
    }

    /// Solves for what a method solves; `own` are the values with which the rows were scored.
    pub(crate) fn solve(&self, adaptation: &dyn Adaptation, own: &mut Params, stage: Stage) {
        let Self { labels, domains, codes, fields, .. } = self;
        let mut scores = self.scores.clone();
        adaptation.solve(&mut own.values, &mut Answered { scores: &mut scores, labels, domains, codes, fields: *fields }, stage);
    }
}
