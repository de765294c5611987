//! A trained base with data to adapt it with.

use acclimate_adapt::{Needs, Target, build_method};
use acclimate_data::{Batch, Dataset, Simulation, SimulatorConfig, Task, UserIndex};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Objective};

use crate::feed::{Feed, Feeding, RowFeed, SupportSize, TaskFeed};
use crate::{OptimizerConfig, Run, TrainConfig, TrainError, train};

/// Seed of the data and of every training that does not try another.
pub(super) const SEED: u64 = 17;
/// Rows in a training batch.
const ROWS: usize = 128;
/// Tasks in a training batch.
const TASKS: usize = 16;

/// A base trained on the simulator's source domains, and the simulator's shifted target domain to adapt it to.
pub struct Ground {
    /// Name in messages: the backbone and what is special about it.
    pub name: String,
    /// The base that is adapted.
    pub base: Base,
    /// A base of the same shape with other values: the wrong one for every patch.
    pub other: Base,
    dataset: Dataset,
    /// Labelled rows of the target.
    rows: Vec<u32>,
    /// Rows of the sources, then those of the target.
    everywhere: Vec<u32>,
    /// The target's rows by user.
    tasks: Vec<Task>,
    /// Later rows of the target by user.
    held_out: Vec<Task>,
}

/// How a case is trained.
pub(super) struct Setting<'a> {
    pub(super) config: TrainConfig,
    pub(super) feed: Box<dyn Feed + 'a>,
    pub(super) seed: u64,
}

impl Ground {
    /// Draws the data and trains a base of this backbone on the sources.
    ///
    /// # Errors
    /// A backbone that does not fit the simulator's features.
    pub fn simulate(name: &str, backbone: BackboneConfig) -> Result<Self, TrainError> {
        let ground = Self::untrained(name, backbone)?;
        let sources: Vec<u32> = ground.everywhere[..ground.everywhere.len() - ground.rows.len()].to_vec();
        let base = pretrain(&ground.base, &ground.dataset, &sources)?;
        Ok(Self { base, ..ground })
    }

    /// The same with a base that has learned nothing.
    ///
    /// # Errors
    /// A backbone that does not fit the simulator's features.
    pub fn untrained(name: &str, backbone: BackboneConfig) -> Result<Self, TrainError> {
        let simulation = simulation();
        let part = |name: &str| simulation.split.rows(name).expect("a part of the simulator's split").to_vec();
        let everywhere: Vec<u32> = [part("train"), part("target_train")].concat();
        let (rows, later) = (part("target_train"), part("target_test"));
        let tasks = tasks(&simulation.dataset, &rows);
        let held_out = self::tasks(&simulation.dataset, &later);
        let spec = BaseSpec { backbone, schema: simulation.dataset.schema(), objective: Objective::Logistic };
        let init = |seed| Base::init(spec.clone(), seed).map_err(acclimate_adapt::AdaptError::from);
        let (base, other) = (init(SEED)?, init(SEED + 1)?);
        Ok(Self { name: name.into(), base, other, dataset: simulation.dataset, rows, everywhere, tasks, held_out })
    }

    /// Training on the target.
    pub(super) fn setting(&self, needs: Needs, seed: u64) -> Result<Setting<'_>, TrainError> {
        let feed: Box<dyn Feed> = match needs.support {
            true => Box::new(TaskFeed::new(&self.dataset, &self.tasks, TASKS, true, SupportSize::Full, seed)?),
            false => Box::new(RowFeed::new(&self.dataset, &self.rows, ROWS, seed, needs.domain_groups)?),
        };
        Ok(Setting { config: config(), feed, seed })
    }

    /// Training on every domain, for methods with parameters of each.
    pub(super) fn everywhere(&self, needs: Needs) -> Result<Setting<'_>, TrainError> {
        if needs.support {
            return self.setting(needs, SEED);
        }
        let feed = Box::new(RowFeed::new(&self.dataset, &self.everywhere, ROWS, SEED, needs.domain_groups)?);
        Ok(Setting { config: config(), feed, seed: SEED })
    }

    /// A short run that uses everything a resumed run has to restore: accumulation, dropout, hidden codes, moments of both kinds.
    pub(super) fn short(&self, needs: Needs) -> Result<Setting<'_>, TrainError> {
        let feed: Box<dyn Feed> = match needs.support {
            true => Box::new(TaskFeed::new(&self.dataset, &self.tasks[..40], 6, true, SupportSize::Random, SEED)?),
            false => Box::new(RowFeed::new(&self.dataset, &self.rows[..300], 40, SEED, needs.domain_groups)?),
        };
        let hide = self.base.spec.schema.categorical.iter().take(1).map(|f| (f.name.clone(), 0.2)).collect();
        Ok(Setting { config: TrainConfig { epochs: 3, accumulate: 2, input_dropout: 0.1, hide, ..config() }, feed, seed: SEED })
    }

    /// Later rows of the target, some users in a group each.
    pub(super) fn held_out(&self) -> Vec<Feeding> {
        self.held_out.chunks(64).map(|tasks| self.groups(tasks)).collect()
    }

    /// A few groups of unequal size and of several domains; rows of one group share user and domain.
    pub(super) fn probe(&self) -> Feeding {
        let sources = tasks(&self.dataset, &self.everywhere);
        let picked: Vec<_> =
            sources.iter().step_by((sources.len() / 5).max(1)).take(5).chain(self.held_out.iter().take(3)).cloned().collect();
        self.groups(&picked)
    }

    fn groups(&self, tasks: &[Task]) -> Feeding {
        let (support, query): (Vec<_>, Vec<_>) = tasks.iter().map(|t| (&t.support, &t.query)).unzip();
        Feeding { query: Batch::gather(&self.dataset, &query), support: Some(Batch::gather(&self.dataset, &support)) }
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

fn config() -> TrainConfig {
    let optimizer = OptimizerConfig { rate: 0.01, weight_decay: 1e-4, row_decay: 1e-4, ..OptimizerConfig::default() };
    TrainConfig { epochs: 4, batch: ROWS, optimizer, ..TrainConfig::default() }
}

fn pretrain(base: &Base, dataset: &Dataset, rows: &[u32]) -> Result<Base, TrainError> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let adaptation = build_method("fine_tune", &toml::Table::new(), target)?;
    let trained = train(Run {
        base,
        adaptation: adaptation.as_ref(),
        feed: &RowFeed::new(dataset, rows, ROWS, SEED, false)?,
        config: &config(),
        seed: SEED,
        device: super::device(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &false.into(),
    })?;
    Ok(trained.base)
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
