//! Whether a method without labels may answer at all: decided before the stream, on the rows that choose.

use std::collections::BTreeMap;

use acclimate_adapt::Patch;
use acclimate_data::Dataset;
use acclimate_eval::{DifferenceRecord, Metric, Verdict};
use acclimate_model::{Base, Objective};

use super::learn::World;
use crate::ExperimentError;
use crate::guard::{Question, compare};
use crate::open::Tasks;

/// What the rows that choose say of a patch.
pub(super) struct Gate {
    /// Patch less base, by what the experiment selects by and by the loss.
    found: Vec<DifferenceRecord>,
}

impl Gate {
    /// Compares, by a paired bootstrap over users.
    pub(super) fn ask(world: &World<'_>, dataset: &Dataset, base: &Base, patch: &Patch) -> Result<Self, ExperimentError> {
        let lab = world.lab;
        let loss: Metric = match base.spec.objective {
            Objective::SquaredError => "rmse[pooled]",
            _ => "log_loss",
        }
        .parse()
        .expect("a metric's name");
        let select = lab.select(dataset);
        let mut users: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        world.validation.iter().for_each(|&row| users.entry(dataset.log.user[row as usize].0).or_default().push(row));
        let tasks: Tasks = users.into_values().map(|rows| (Vec::new(), rows)).collect();
        let mut found = Vec::new();
        for metric in std::iter::once(&select).chain((select != loss).then_some(&loss)) {
            let question = Question { base, dataset, domain_column: &world.source.domain_column, tasks: &tasks, metric };
            found.extend(compare(&question, patch)?.into_iter().map(|found| found.difference));
        }
        Ok(Self { found })
    }

    /// Better by one, and by none worse: all else is the base's to answer.
    pub(super) fn is_open(&self) -> bool {
        let has = |verdict: Verdict| self.found.iter().any(|difference| difference.better == verdict);
        has(Verdict::Yes) && !has(Verdict::No)
    }

    /// For readers of the report.
    pub(super) fn note(&self, label: &str) -> String {
        let of = |difference: &DifferenceRecord| {
            let interval = difference.ci_low.zip(difference.ci_high).map_or(String::new(), |(low, high)| format!(" [{low:+.4}, {high:+.4}]"));
            format!("{} {:+.4}{interval}", difference.metric, difference.value)
        };
        let said: Vec<String> = self.found.iter().map(of).collect();
        let said = if said.is_empty() { "there is none that judges".to_owned() } else { said.join(", ") };
        let what = if self.is_open() { "answers" } else { "abstains, and the base answers" };
        format!("`{label}` {what}: on rows before the stream, less its base: {said}.")
    }
}
