//! Labelled rows of a log: an example is a row.

use std::borrow::Cow;

use acclimate_data::{Dataset, Schema, Task};
use acclimate_model::Objective;

use super::{Draw, Preparation};
use crate::feed::{DomainSampling, Feed, PairFeed, RowFeed, SampledFeed, SupportSize, TaskFeed};
use crate::{Scorer, TrainError};

/// Groups rows into tasks, for methods that adapt from support rows.
pub type TaskRule = dyn Fn(&Dataset, &[u32]) -> Vec<Task> + Send + Sync;

/// Rows of a data set for one objective.
pub struct RowPreparation<'a> {
    dataset: Cow<'a, Dataset>,
    objective: Objective,
    tasks: Option<(Box<TaskRule>, SupportSize)>,
}

impl<'a> RowPreparation<'a> {
    /// Single rows; for `bpr` each positive row with a negative one.
    #[must_use]
    pub fn new(dataset: Cow<'a, Dataset>, objective: Objective) -> Self {
        Self { dataset, objective, tasks: None }
    }

    /// The same, where methods that need support rows are trained on tasks made of the rows by `rule`.
    #[must_use]
    pub fn with_tasks(self, rule: Box<TaskRule>, size: SupportSize) -> Self {
        Self { tasks: Some((rule, size)), ..self }
    }
}

impl Preparation for RowPreparation<'_> {
    fn schema(&self) -> Schema {
        self.dataset.schema()
    }

    fn feed(&self, examples: &[u32], Draw { batch, seed, needs, sampling, .. }: Draw) -> Result<Box<dyn Feed + '_>, TrainError> {
        let is_drawn = sampling.0 != DomainSampling::Proportional;
        if is_drawn && (self.objective == Objective::Bpr || (self.tasks.is_some() && needs.support)) {
            return Err(TrainError::Config {
                key: "domain_sampling",
                problem: "draws single rows, not pairs (`bpr`) or tasks of users; leave it out".into(),
            });
        }
        Ok(match (&self.tasks, self.objective) {
            (Some((rule, size)), _) if needs.support => {
                Box::new(TaskFeed::new(&self.dataset, rule(&self.dataset, examples), batch, true, *size, seed)?)
            }
            (_, Objective::Bpr) => Box::new(PairFeed::new(&self.dataset, examples, batch, 1, seed)?),
            _ if is_drawn => Box::new(SampledFeed::new(&self.dataset, examples, sampling, batch, seed, needs.domain_groups)?),
            _ => Box::new(RowFeed::new(&self.dataset, examples, batch, seed, needs.domain_groups)?),
        })
    }

    fn answers(&self, scorer: &Scorer<'_>, examples: &[u32]) -> Result<Vec<f32>, TrainError> {
        scorer.rows(&self.dataset, examples)
    }
}
