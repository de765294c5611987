//! Tasks: a support set and a query set per user.

use acclimate_data::{Batch, Dataset, RandomStream, Task, plan_groups};
use serde::{Deserialize, Serialize};

use super::{EpochCache, Feed, Feeding, window};
use crate::TrainError;

/// How many support rows a task shows in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SupportSize {
    /// All it has, as published. Such a model is only safe near the sizes it was trained with.
    #[default]
    Full,
    /// A uniform draw from 0 to all, anew each epoch, so that the model knows small sets too.
    Random,
}

/// Tasks in batches of similar support size.
pub struct TaskFeed<'a> {
    dataset: &'a Dataset,
    tasks: &'a [Task],
    groups: usize,
    redraw: bool,
    size: SupportSize,
    seed: u64,
    rows: usize,
    window: Option<[i64; 2]>,
    epoch: EpochCache<Epoch>,
}

struct Epoch {
    batches: Vec<Vec<u32>>,
    /// Support and query rows of each task.
    drawn: Vec<(Vec<u32>, Vec<u32>)>,
}

impl<'a> TaskFeed<'a> {
    /// Batches of at most `groups` tasks. With `redraw` support and query are drawn anew from the task's rows each epoch.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without tasks, [`TrainError::Config`] for a batch of 0.
    pub fn new(
        dataset: &'a Dataset,
        tasks: &'a [Task],
        groups: usize,
        redraw: bool,
        size: SupportSize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        if tasks.is_empty() {
            return Err(TrainError::Nothing { what: "task" });
        }
        if groups == 0 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 1 task".into() });
        }
        let all = tasks.iter().flat_map(|t| t.support.iter().chain(&t.query)).copied();
        let (rows, window) = (all.clone().count(), window(dataset, all));
        Ok(Self { dataset, tasks, groups, redraw, size, seed, rows, window, epoch: EpochCache::default() })
    }

    fn plan(&self, number: u64) -> Epoch {
        let seed = RandomStream::seed_for(self.seed, "tasks");
        let drawn = self.tasks.iter().enumerate().map(|(i, task)| {
            let mut stream = RandomStream::new(seed, number, i as u64);
            let (mut support, mut query) = (task.support.clone(), task.query.clone());
            if self.redraw {
                let mut rows = [query.as_slice(), &support].concat();
                stream.shuffle(&mut rows);
                support = rows.split_off(query.len());
                query = rows;
            }
            if self.size == SupportSize::Random {
                support.truncate(stream.below(support.len() as u64 + 1) as usize);
            }
            (support, query)
        });
        let drawn: Vec<_> = drawn.collect();
        let lengths: Vec<u32> = drawn.iter().map(|(support, _)| support.len() as u32).collect();
        Epoch { batches: plan_groups(&lengths, self.groups, self.seed, number).batches, drawn }
    }

    fn with_epoch<T>(&self, number: u64, read: impl FnOnce(&Epoch) -> T) -> T {
        self.epoch.with(number, || self.plan(number), read)
    }
}

impl Feed for TaskFeed<'_> {
    fn steps(&self, epoch: u64) -> usize {
        self.with_epoch(epoch, |e| e.batches.len())
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        self.with_epoch(epoch, |e| {
            let groups = e.batches[step].iter().map(|&t| &e.drawn[t as usize]);
            let support: Vec<_> = groups.clone().map(|(s, _)| s).collect();
            let query: Vec<_> = groups.map(|(_, q)| q).collect();
            Feeding { query: Batch::gather(self.dataset, &query), support: Some(Batch::gather(self.dataset, &support)) }
        })
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}
