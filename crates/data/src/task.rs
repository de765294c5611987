//! Support and query rows per user, or per item.

use serde::{Deserialize, Serialize};

use crate::hash::{hash64, sha256};
use crate::split::LogView;
use crate::{ItemIndex, Log, UserIndex};

/// What the tasks of a part are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TasksOf {
    /// Users: a task holds the rows of one user.
    #[default]
    Users,
    /// Items: a task holds the rows of one item.
    Items,
}

impl TasksOf {
    /// What they are called in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Items => "items",
        }
    }

    /// What one of them is called in messages.
    #[must_use]
    pub fn one(self) -> &'static str {
        match self {
            Self::Users => "user",
            Self::Items => "item",
        }
    }

    /// The index of the user or item that a row is of.
    #[must_use]
    pub fn of_row(self, log: &Log, row: u32) -> u32 {
        match self {
            Self::Users => log.user[row as usize].0,
            Self::Items => log.item[row as usize].0,
        }
    }

    /// The user or item of an index.
    #[must_use]
    pub fn owner(self, index: u32) -> Owner {
        match self {
            Self::Users => Owner::User(UserIndex(index)),
            Self::Items => Owner::Item(ItemIndex(index)),
        }
    }
}

/// Whose rows a task holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user's.
    User(UserIndex),
    /// An item's.
    Item(ItemIndex),
}

/// The rows of one user or item in one part: those that an adaptation may learn from and those that judge it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Whose they are.
    pub owner: Owner,
    /// Rows to adapt from, in the order in which they are revealed.
    pub support: Vec<u32>,
    /// Rows to score, the same at every support size.
    pub query: Vec<u32>,
}

impl Task {
    /// The first `k` support rows; all of them where there are fewer.
    #[must_use]
    pub fn support(&self, k: usize) -> &[u32] {
        &self.support[..k.min(self.support.len())]
    }
}

/// How the rows of a user, or of an item, become a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskConfig {
    /// Whether a task is a user (the default) or an item.
    #[serde(skip_serializing_if = "is_default")]
    pub of: TasksOf,
    /// Query rows per task, or with `support` at least so many. More make a user's score steadier and leave less support; default 10.
    pub query: usize,
    /// Support rows per task, all others being query; default all but `query`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub support: Option<usize>,
    /// Users (items) with fewer rows have no task; default 13.
    pub min_rows: usize,
    /// Users (items) with more rows have no task; default 100.
    pub max_rows: usize,
    /// Which rows are query, and in which order support is revealed.
    pub order: TaskOrder,
    /// Support sizes of the curves; only tasks with the largest are on a curve. Default 0, 1, 3, 5, 10, 20.
    pub support_sizes: Vec<usize>,
}

/// Experiments of before have no such key, and find their finished runs.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            of: TasksOf::Users,
            query: 10,
            support: None,
            min_rows: 13,
            max_rows: 100,
            order: TaskOrder::default(),
            support_sizes: vec![0, 1, 3, 5, 10, 20],
        }
    }
}

/// The order of a task's rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskOrder {
    /// By SHA-256 of `<prefix><user id>:<item id>` (equal: row order); the first rows are query, the rest support; with a number of support rows these come
    /// first. The default, with prefix `q:`.
    Hash {
        /// Text before the ids.
        prefix: String,
    },
    /// By time, equal times by row; the *last* rows are query, support is revealed from the oldest. Needs time.
    Chronological,
    /// By a seeded hash of the row number; the first rows are query, or support where its number is given.
    Seeded {
        /// The seed.
        seed: u64,
    },
}

crate::tagged!(TaskOrder, "kind");

impl Default for TaskOrder {
    fn default() -> Self {
        Self::Hash { prefix: "q:".into() }
    }
}

/// The tasks of one part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSet {
    /// Tasks by ascending user (item) index.
    pub tasks: Vec<Task>,
    /// Users (items) left out because they have fewer than `min_rows` rows.
    pub too_few: usize,
    /// Users (items) left out because they have more than `max_rows` rows.
    pub too_many: usize,
    /// Users (items) of a chronological task whose support ends at the time at which the query begins: the order of the files decides which row is on which side.
    pub tied: usize,
    largest: usize,
}

impl TaskSet {
    /// The tasks with enough support for the largest size of the config: those on a support-size curve.
    pub fn on_curve(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.support.len() >= self.largest)
    }

    /// Number of rows in all tasks.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tasks.iter().map(|task| task.support.len() + task.query.len()).sum()
    }
}

/// Why tasks could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Fewer rows than query rows are allowed.
    #[error(
        "task setting `min_rows` = {min_rows} must be at least `query` = {query}, and `query` at least 1; raise min_rows or lower query"
    )]
    Query {
        /// Query rows per task.
        query: usize,
        /// Smallest task.
        min_rows: usize,
    },
    /// Fewer rows than support and query rows are allowed.
    #[error(
        "task setting `min_rows` = {min_rows} must be at least `support` + `query` = {support} + {query}; raise min_rows or lower one of them"
    )]
    Support {
        /// Support rows per task.
        support: usize,
        /// Query rows per task, at least.
        query: usize,
        /// Smallest task.
        min_rows: usize,
    },
    /// A curve beyond the support rows that tasks have.
    #[error(
        "task setting `support_sizes` asks for {largest} support rows, but `support` = {support} is all that a task has; raise support or leave the size out"
    )]
    Sizes {
        /// Support rows per task.
        support: usize,
        /// Largest size.
        largest: usize,
    },
    /// No size is allowed.
    #[error("task setting `max_rows` = {max_rows} is below `min_rows` = {min_rows}; raise max_rows")]
    Range {
        /// Smallest task.
        min_rows: usize,
        /// Largest task.
        max_rows: usize,
    },
    /// Chronological tasks of a log without time.
    #[error("chronological tasks need a time column, and the data set has none; use order hash or seeded")]
    NoTime,
    /// A row that the log does not have.
    #[error("row {row} is not in the log of {total} rows; check which log the split was made for")]
    OutOfRange {
        /// The row.
        row: u32,
        /// Number of rows in the log.
        total: usize,
    },
}

impl TaskConfig {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// Query rows or bounds that contradict each other.
    pub fn validate(&self) -> Result<(), TaskError> {
        if self.query == 0 || self.min_rows < self.query {
            return Err(TaskError::Query { query: self.query, min_rows: self.min_rows });
        }
        if let Some(support) = self.support {
            if self.min_rows < support.saturating_add(self.query) {
                return Err(TaskError::Support { support, query: self.query, min_rows: self.min_rows });
            }
            if let Some(&largest) = self.support_sizes.iter().max().filter(|largest| **largest > support) {
                return Err(TaskError::Sizes { support, largest });
            }
        }
        if self.max_rows < self.min_rows {
            return Err(TaskError::Range { min_rows: self.min_rows, max_rows: self.max_rows });
        }
        Ok(())
    }

    /// One task for each user (item) with `min_rows..=max_rows` of the given rows (the rows of one part).
    ///
    /// # Errors
    /// Settings that contradict each other, a row outside the log, or missing time.
    pub fn tasks(&self, view: LogView<'_>, rows: &[u32]) -> Result<TaskSet, TaskError> {
        self.validate()?;
        let log = view.log;
        if matches!(self.order, TaskOrder::Chronological) && log.time.len() != log.len() {
            return Err(TaskError::NoTime);
        }
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= log.len()) {
            return Err(TaskError::OutOfRange { row, total: log.len() });
        }
        let mut sorted = rows.to_vec();
        let owner = |row: u32| self.of.of_row(log, row);
        sorted.sort_unstable_by_key(|&row| (owner(row), row));
        let mut set = TaskSet { largest: self.support_sizes.iter().copied().max().unwrap_or(0), ..TaskSet::default() };
        for rows in sorted.chunk_by(|&a, &b| owner(a) == owner(b)) {
            if rows.len() < self.min_rows {
                set.too_few += 1;
            } else if rows.len() > self.max_rows {
                set.too_many += 1;
            } else {
                let task = self.task(view, rows);
                set.tied += usize::from(self.is_tied(log, &task));
                set.tasks.push(task);
            }
        }
        Ok(set)
    }

    fn is_tied(&self, log: &Log, task: &Task) -> bool {
        let time = |row: &u32| log.time[*row as usize];
        let border = task.support.last().zip(task.query.first());
        matches!(self.order, TaskOrder::Chronological) && border.is_some_and(|(before, after)| time(before) == time(after))
    }

    /// `rows` belong to one user (item) and ascend.
    fn task(&self, view: LogView<'_>, rows: &[u32]) -> Task {
        let log = view.log;
        let owner = self.of.owner(self.of.of_row(log, rows[0]));
        let mut order = rows.to_vec();
        match &self.order {
            TaskOrder::Hash { prefix } => {
                let text = |row: usize| format!("{prefix}{}:{}", view.users[log.user[row].at()], view.items[log.item[row].at()]);
                order.sort_by_cached_key(|&row| sha256(&text(row as usize)));
            }
            TaskOrder::Seeded { seed } => order.sort_by_cached_key(|&row| hash64(*seed, u64::from(row), 0)),
            TaskOrder::Chronological => order.sort_by_key(|&row| log.time[row as usize]),
        }
        // Support comes first where time orders, or where its number is given.
        let first = match self.support {
            Some(support) => support,
            None if matches!(self.order, TaskOrder::Chronological) => order.len() - self.query,
            None => {
                let support = order.split_off(self.query);
                return Task { owner, support, query: order };
            }
        };
        let query = order.split_off(first);
        Task { owner, support: order, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex};

    fn log(rows_of_user: &[u32]) -> Log {
        let user: Vec<UserIndex> = rows_of_user.iter().enumerate().flat_map(|(u, &n)| (0..n).map(move |_| UserIndex(u as u32))).collect();
        let n = user.len();
        Log {
            item: (0..n as u32).map(ItemIndex).collect(),
            domain: vec![DomainIndex(0); n],
            time: (0..n as i64).rev().collect(),
            label: vec![1.0; n],
            request: Vec::new(),
            user,
        }
    }

    fn user(index: u32) -> Owner {
        Owner::User(UserIndex(index))
    }

    fn tasks(config: &TaskConfig, log: &Log) -> TaskSet {
        let users: Vec<String> = (0..10).map(|u| u.to_string()).collect();
        let items: Vec<String> = (0..log.len()).map(|i| format!("i{i}")).collect();
        let rows: Vec<u32> = (0..log.len() as u32).rev().collect();
        config
            .tasks(LogView { log, users: &users, items: &items, domains: &[], zone: crate::Zone::UTC, attributes: &[], files: &[] }, &rows)
            .unwrap()
    }

    #[test]
    fn bounds_and_curves_are_counted() {
        let set = tasks(&TaskConfig::default(), &log(&[12, 13, 30, 100, 101]));
        assert_eq!(
            set.tasks.iter().map(|t| (t.owner, t.support.len(), t.query.len())).collect::<Vec<_>>(),
            [(user(1), 3, 10), (user(2), 20, 10), (user(3), 90, 10)]
        );
        assert_eq!((set.too_few, set.too_many, set.on_curve().count(), set.rows()), (1, 1, 2, 143));
    }

    #[test]
    fn support_and_query_share_no_row_and_hold_all() {
        for order in [TaskOrder::default(), TaskOrder::Chronological, TaskOrder::Seeded { seed: 4 }] {
            let log = log(&[20, 40]);
            for task in tasks(&TaskConfig { order, ..TaskConfig::default() }, &log).tasks {
                let mut all: Vec<u32> = task.support.iter().chain(&task.query).copied().collect();
                all.sort_unstable();
                assert_eq!(all, (0..60).filter(|&r| user(log.user[r as usize].0) == task.owner).collect::<Vec<_>>());
                assert_eq!(task.support(3), &task.support[..3]);
                assert_eq!(task.support(1000), &task.support[..]);
            }
        }
    }

    #[test]
    fn chronological_query_is_the_latest() {
        let log = log(&[15]);
        let task = &tasks(&TaskConfig { order: TaskOrder::Chronological, ..TaskConfig::default() }, &log).tasks[0];
        assert_eq!(task.support, [14, 13, 12, 11, 10]);
        assert_eq!(task.query, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_given_number_of_support_rows_leaves_the_rest_as_query() {
        let log = log(&[21, 30, 19]);
        let all = tasks(&TaskConfig::default(), &log);
        let config = TaskConfig { support: Some(10), support_sizes: vec![0, 5, 10], min_rows: 20, ..TaskConfig::default() };
        let set = tasks(&config, &log);
        assert_eq!(
            set.tasks.iter().map(|t| (t.owner, t.support.len(), t.query.len())).collect::<Vec<_>>(),
            [(user(0), 10, 11), (user(1), 10, 20)]
        );
        assert_eq!(set.too_few, 1);
        // The same order of rows: what is query without the key is support with it.
        assert_eq!(set.tasks[0].support, all.tasks[0].query);
        let chronological = tasks(&TaskConfig { order: TaskOrder::Chronological, ..config.clone() }, &log);
        assert_eq!(chronological.tasks[0].support, (11..21).rev().collect::<Vec<_>>());
        let problem = TaskConfig { min_rows: 19, ..config }.validate().unwrap_err();
        assert_eq!(problem, TaskError::Support { support: 10, query: 10, min_rows: 19 });
    }

    #[test]
    fn ties_between_support_and_query_are_counted() {
        let mut log = log(&[15, 15, 15]);
        // The border of a user lies between the fifth and the sixth of the times 0 to 14.
        log.time = (0..45).map(|row| row % 15).collect();
        let chronological = TaskConfig { order: TaskOrder::Chronological, ..TaskConfig::default() };
        assert_eq!(tasks(&chronological, &log).tied, 0);
        (log.time[5], log.time[15 + 6]) = (4, 5);
        assert_eq!(tasks(&chronological, &log).tied, 1);
        log.time.fill(1);
        assert_eq!((tasks(&chronological, &log).tied, tasks(&TaskConfig::default(), &log).tied), (3, 0));
    }

    #[test]
    fn hash_order_is_that_of_the_text() {
        let log = log(&[14]);
        let task = &tasks(&TaskConfig::default(), &log).tasks[0];
        let mut rows: Vec<u32> = (0..14).collect();
        rows.sort_by_key(|r| crate::hash::sha256_hex(&format!("q:0:i{r}")));
        assert_eq!((&task.query[..], &task.support[..]), (&rows[..10], &rows[10..]));
    }

    #[test]
    fn an_item_is_a_task_of_so_many_support_rows_and_all_others() {
        // Rows 0 to 59 are of 20 users; row r is of item r mod 3.
        let mut log = log(&[3; 20]);
        log.item = (0..60).map(|row| ItemIndex(row % 3)).collect();
        for order in [TaskOrder::default(), TaskOrder::Chronological, TaskOrder::Seeded { seed: 4 }] {
            let config = TaskConfig {
                of: TasksOf::Items,
                query: 10,
                support: Some(5),
                min_rows: 15,
                support_sizes: vec![0, 5],
                order,
                ..TaskConfig::default()
            };
            let users: Vec<String> = (0..20).map(|u| u.to_string()).collect();
            let items: Vec<String> = (0..3).map(|i| format!("i{i}")).collect();
            let view =
                LogView { log: &log, users: &users, items: &items, domains: &[], zone: crate::Zone::UTC, attributes: &[], files: &[] };
            let set = config.tasks(view, &(0..60).collect::<Vec<_>>()).unwrap();
            assert_eq!((set.tasks.len(), set.on_curve().count()), (3, 3));
            for (i, task) in set.tasks.iter().enumerate() {
                assert_eq!((task.owner, task.support.len(), task.query.len()), (Owner::Item(ItemIndex(i as u32)), 5, 15));
                let mut all = [task.support.as_slice(), &task.query].concat();
                all.sort_unstable();
                assert_eq!(all, (0..60).filter(|row| row % 3 == i as u32).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let support = |support: usize, min_rows: usize| TaskConfig { support: Some(support), min_rows, ..TaskConfig::default() }.validate();
        assert_eq!(support(20, 29), Err(TaskError::Support { support: 20, query: 10, min_rows: 29 }));
        assert_eq!(support(10, 20), Err(TaskError::Sizes { support: 10, largest: 20 }));
        assert_eq!(support(20, 30), Ok(()));
        assert!(matches!(TaskConfig { min_rows: 9, ..TaskConfig::default() }.validate(), Err(TaskError::Query { .. })));
        assert!(matches!(TaskConfig { max_rows: 9, ..TaskConfig::default() }.validate(), Err(TaskError::Range { .. })));
        assert!(toml::from_str::<TaskConfig>("querry = 3").is_err());
        assert_eq!(toml::from_str::<TaskConfig>("").unwrap(), TaskConfig::default());
    }
}
