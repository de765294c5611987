//! Labelled rows of the simulator.

use acclimate_adapt::Needs;
use acclimate_data::{Batch, Dataset, Schema, Simulation, SimulatorConfig, Task, UserIndex};
use acclimate_model::Objective;

use super::{Material, Part, ROWS, SEED};
use crate::TrainError;
use crate::feed::{Feed, Feeding, RowFeed, SupportSize, TaskFeed};

/// Tasks in a training batch.
const TASKS: usize = 16;

/// The simulator's source domains and its shifted target domain.
pub(super) struct Rows {
    dataset: Dataset,
    /// Rows of the sources.
    sources: Vec<u32>,
    /// Labelled rows of the target.
    target: Vec<u32>,
    /// Rows of the sources, then those of the target.
    everywhere: Vec<u32>,
    /// The target's rows by user.
    tasks: Vec<Task>,
    /// Later rows of the target by user.
    held_out: Vec<Task>,
}

impl Rows {
    pub(super) fn simulate() -> Self {
        let Simulation { dataset, split, .. } = simulation();
        let part = |name: &str| split.rows(name).expect("a part of the simulator's split").to_vec();
        let (sources, target, later) = (part("train"), part("target_train"), part("target_test"));
        let everywhere = [sources.as_slice(), &target].concat();
        let (tasks, held_out) = (tasks(&dataset, &target), tasks(&dataset, &later));
        Self { dataset, sources, target, everywhere, tasks, held_out }
    }

    fn groups(&self, tasks: &[Task]) -> Feeding {
        let (support, query): (Vec<_>, Vec<_>) = tasks.iter().map(|t| (&t.support, &t.query)).unzip();
        Feeding { query: Batch::gather(&self.dataset, &query), support: Some(Batch::gather(&self.dataset, &support)) }
    }
}

impl Material for Rows {
    /// The target is a domain that the base does not know.
    fn schema(&self) -> Schema {
        let mut schema = self.dataset.schema();
        schema.domains.pop();
        schema
    }

    fn objective(&self) -> Objective {
        Objective::Logistic
    }

    /// Methods that adapt to a support set are trained on tasks of the target, whatever the part.
    fn feed(&self, part: Part, needs: Needs, seed: u64) -> Result<Box<dyn Feed + '_>, TrainError> {
        if needs.support {
            let (tasks, batch, size) = match part {
                Part::Short => (&self.tasks[..40], 6, SupportSize::Random),
                _ => (&self.tasks[..], TASKS, SupportSize::Full),
            };
            return Ok(Box::new(TaskFeed::new(&self.dataset, tasks, batch, true, size, seed)?));
        }
        let (rows, batch) = match part {
            Part::Sources => (&self.sources[..], ROWS),
            Part::Target => (&self.target[..], ROWS),
            Part::Everywhere => (&self.everywhere[..], ROWS),
            Part::Short => (&self.target[..300], 40),
        };
        Ok(Box::new(RowFeed::new(&self.dataset, rows, batch, seed, needs.domain_groups)?))
    }

    /// Later rows of the target, some users in a group each.
    fn held_out(&self) -> Vec<Feeding> {
        self.held_out.chunks(64).map(|tasks| self.groups(tasks)).collect()
    }

    /// Groups of several domains; rows of one group share user and domain.
    fn probe(&self) -> Feeding {
        let sources = tasks(&self.dataset, &self.everywhere);
        let picked: Vec<_> =
            sources.iter().step_by((sources.len() / 5).max(1)).take(5).chain(self.held_out.iter().take(3)).cloned().collect();
        self.groups(&picked)
    }
}

/// Small, and half of it in the target.
fn simulation() -> Simulation {
    let config = SimulatorConfig {
        users: 200,
        items: 200,
        domains: 3,
        rows: 8000,
        cold_users: 20,
        cold_rows: 20,
        target_share: 0.5,
        target_rows: 2500,
        ..SimulatorConfig::default()
    };
    config.simulate(SEED).expect("the settings fit together")
}

/// A task for each user and domain with at least four of the rows; the first half, rounded up, is support.
fn tasks(dataset: &Dataset, rows: &[u32]) -> Vec<Task> {
    let key = |row: u32| (dataset.log.domain[row as usize], dataset.log.user[row as usize]);
    let mut rows = rows.to_vec();
    rows.sort_by_key(|&row| (key(row), row));
    let groups = rows.chunk_by(|&a, &b| key(a) == key(b)).filter(|rows| rows.len() >= 4);
    groups
        .map(|rows| {
            let (support, query) = rows.split_at(rows.len().div_ceil(2));
            let user: UserIndex = dataset.log.user[rows[0] as usize];
            Task { user, support: support.to_vec(), query: query.to_vec() }
        })
        .collect()
}
