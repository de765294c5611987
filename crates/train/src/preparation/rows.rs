//! Labelled rows of a log: an example is a row.

use std::borrow::Cow;

use acclimate_adapt::{Groups, SourceRows};
use acclimate_data::{Dataset, Schema, Task};
use acclimate_model::Objective;

use super::{Draw, Preparation};
use crate::feed::{BesideFeed, DomainSampling, Feed, PairFeed, RowFeed, SampledFeed, SupportSize, TaskFeed};
use crate::{Scorer, TrainError};

/// Groups rows into tasks, for methods that adapt from support rows: of users, or of items where the method's groups are those.
pub type TaskRule = dyn Fn(Groups, &Dataset, &[u32]) -> Vec<Task> + Send + Sync;

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

/// A method that trains on rows of the base's domains, and something else that decides what a batch holds.
fn incompatible(other: &str) -> TrainError {
    let problem = format!("trains on rows of the base's domains as well, which does not go together with {other}; choose one of the two");
    TrainError::Config { key: "method", problem }
}

impl Preparation for RowPreparation<'_> {
    fn schema(&self) -> Schema {
        self.dataset.schema()
    }

    fn feed(
        &self,
        examples: &[u32],
        Draw { batch, seed, needs, sampling, sources, .. }: Draw<'_>,
    ) -> Result<Box<dyn Feed + '_>, TrainError> {
        sampling.check(self.objective, needs)?;
        let pooled;
        let examples = match needs.source {
            SourceRows::None => examples,
            _ if needs.groups.are_tasks() => return Err(incompatible("a support set of each user")),
            _ if sources.is_empty() => return Err(TrainError::Nothing { what: "row of the base's domains" }),
            SourceRows::Pooled => {
                pooled = [sources, examples].concat();
                &pooled[..]
            }
            SourceRows::Beside if needs.groups.are_domains() => return Err(incompatible("groups of one domain")),
            SourceRows::Beside if needs.groups.are_requests() => return Err(incompatible("groups of one request")),
            SourceRows::Beside if self.objective == Objective::Bpr => return Err(incompatible("pairs of rows (`bpr`)")),
            SourceRows::Beside => return Ok(Box::new(BesideFeed::new(&self.dataset, sources, examples, batch, seed)?)),
        };
        Ok(match (&self.tasks, self.objective) {
            (Some((rule, size)), _) if needs.groups.are_tasks() => {
                Box::new(TaskFeed::new(&self.dataset, rule(needs.groups, &self.dataset, examples), batch, true, *size, seed)?)
            }
            (_, Objective::Bpr) if needs.groups.are_requests() => {
                let problem = "reads the set of a row's request, which does not go together with pairs of rows (`bpr`); choose `logistic`";
                return Err(TrainError::Config { key: "method", problem: problem.into() });
            }
            (_, Objective::Bpr) => Box::new(PairFeed::new(&self.dataset, examples, batch, 1, seed)?),
            _ if sampling.rule != DomainSampling::Proportional => {
                Box::new(SampledFeed::new(&self.dataset, examples, sampling, batch, seed, needs)?)
            }
            _ => Box::new(RowFeed::new(&self.dataset, examples, batch, seed, needs)?),
        })
    }

    fn answers(&self, scorer: &Scorer<'_>, examples: &[u32]) -> Result<Vec<f32>, TrainError> {
        scorer.rows(&self.dataset, examples)
    }
}
