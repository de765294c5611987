//! Tasks: a support set and a query set per user or item.

use std::borrow::Cow;

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
    tasks: Cow<'a, [Task]>,
    groups: usize,
    redraw: bool,
    size: SupportSize,
    seed: u64,
    rows: usize,
    window: Option<[i64; 2]>,
    view: Option<Box<TaskView<'a>>>,
    /// Query rows that a task shows, at most.
    most: usize,
    epoch: EpochCache<Epoch>,
}

/// The data set as the tasks of an epoch know it, from the support and query rows of each: for features of earlier rows.
pub type TaskView<'a> = dyn Fn(u64, &[(Vec<u32>, Vec<u32>)]) -> Dataset + Send + Sync + 'a;

struct Epoch {
    batches: Vec<Vec<u32>>,
    /// The data as these tasks know it, where that differs.
    dataset: Option<Dataset>,
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
        tasks: impl Into<Cow<'a, [Task]>>,
        groups: usize,
        redraw: bool,
        size: SupportSize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let tasks = tasks.into();
        if tasks.is_empty() {
            return Err(TrainError::Nothing { what: "task" });
        }
        if groups == 0 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 1 task".into() });
        }
        let all = tasks.iter().flat_map(|t| t.support.iter().chain(&t.query)).copied();
        let (rows, window) = (all.clone().count(), window(dataset, all));
        Ok(Self { dataset, tasks, groups, redraw, size, seed, rows, window, view: None, most: usize::MAX, epoch: EpochCache::default() })
    }

    /// Reads the data as the tasks of each epoch know it.
    #[must_use]
    pub fn with_view(self, view: Box<TaskView<'a>>) -> Self {
        Self { view: Some(view), ..self }
    }

    /// Shows at most so many query rows of a task, those that are drawn first: a task of very many rows must not set the size of all.
    #[must_use]
    pub fn with_most(self, most: usize) -> Self {
        Self { most, ..self }
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
            query.truncate(self.most);
            if self.size == SupportSize::Random {
                support.truncate(stream.below(support.len() as u64 + 1) as usize);
            }
            (support, query)
        });
        let drawn: Vec<_> = drawn.collect();
        let lengths: Vec<u32> = drawn.iter().map(|(support, _)| support.len() as u32).collect();
        let dataset = self.view.as_ref().map(|view| view(number, &drawn));
        Epoch { batches: plan_groups(&lengths, self.groups, self.seed, number).batches, dataset, drawn }
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
            let dataset = e.dataset.as_ref().unwrap_or(self.dataset);
            Feeding { query: Batch::gather(dataset, &query), support: Some(Batch::gather(dataset, &support)) }
        })
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use acclimate_data::{Owner, SimulatorConfig, UserIndex};

    use super::*;

    /// Ten tasks of ten rows each, half of them support.
    fn supports(redraw: bool, size: SupportSize) -> Vec<Vec<Vec<u32>>> {
        let config = SimulatorConfig { users: 100, items: 200, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
        let data = config.simulate(7).expect("the settings fit together").dataset;
        let task = |t: u32| Task {
            owner: Owner::User(UserIndex(t)),
            support: (10 * t..10 * t + 5).collect(),
            query: (10 * t + 5..10 * t + 10).collect(),
        };
        let tasks: Vec<Task> = (0..10).map(task).collect();
        let feed = TaskFeed::new(&data, &tasks, 4, redraw, size, 3).expect("there are tasks");
        let of_epoch = |epoch| {
            feed.with_epoch(epoch, |plan| {
                for (i, (support, query)) in plan.drawn.iter().enumerate() {
                    let mut all = [support.as_slice(), query].concat();
                    all.sort_unstable();
                    let legal =
                        all.iter().all(|row| (10 * i as u32..10 * i as u32 + 10).contains(row)) && all.windows(2).all(|w| w[0] < w[1]);
                    assert!(legal && query.len() == 5, "{support:?} {query:?}");
                }
                plan.drawn.iter().map(|(support, _)| support.clone()).collect()
            })
        };
        (0..20).map(of_epoch).collect()
    }

    #[test]
    fn redrawn_tasks_show_other_rows_each_epoch() {
        let (fixed, redrawn) = (supports(false, SupportSize::Full), supports(true, SupportSize::Full));
        assert!(fixed.iter().all(|epoch| epoch == &fixed[0]));
        assert!((0..10).all(|task| redrawn[1..].iter().any(|epoch| epoch[task] != redrawn[0][task])));
    }

    #[test]
    fn a_task_shows_no_more_query_rows_than_it_may() {
        let config = SimulatorConfig { users: 100, items: 200, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
        let data = config.simulate(7).expect("the settings fit together").dataset;
        let task = Task { owner: Owner::User(UserIndex(0)), support: (0..5).collect(), query: (5..100).collect() };
        let feed = TaskFeed::new(&data, vec![task], 1, true, SupportSize::Full, 3).expect("there is a task").with_most(7);
        let (first, second) = (feed.batch(0, 0), feed.batch(1, 0));
        assert_eq!((first.query.rows, first.support.as_ref().map(|s| s.rows)), (7, Some(5)));
        assert_ne!(first.query.row, second.query.row, "each epoch shows others");
    }

    #[test]
    fn random_sizes_go_from_none_to_all() {
        let mut counts = [0; 6];
        supports(false, SupportSize::Random).iter().flatten().for_each(|support| counts[support.len()] += 1);
        // 200 draws of six sizes: 33 each, give or take five.
        assert!(counts.iter().all(|n| (15..=55).contains(n)), "{counts:?}");
    }
}
