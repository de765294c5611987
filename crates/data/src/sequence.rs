//! Event sequences per user, next-item examples and queries of cold target users.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::hash::{hash64, sha256};
use crate::negatives::smallest_by_key;
use crate::{DomainIndex, ItemIndex, Log, UserIndex};

/// The events of each user, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Users with at least one event, ascending.
    users: Vec<UserIndex>,
    /// `events[offsets[i]..offsets[i + 1]]` belongs to `users[i]`.
    offsets: Vec<usize>,
    events: Vec<Event>,
}

/// One event of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Row of the log.
    pub row: u32,
    /// The item.
    pub item: ItemIndex,
    /// Its domain.
    pub domain: DomainIndex,
    /// Microseconds since 1970 (UTC); in a log without time, the position.
    pub time: i64,
}

/// Why sequences could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A log without time, and no positions either.
    #[error("sequences need an order, and the data set has no time column; name one in the data-set file, or an attribute of positions")]
    NoOrder,
    /// A position list of another length than the log.
    #[error("the position attribute has {values} values, but the log has {rows} rows; it must be an attribute of rows")]
    Positions {
        /// Number of values.
        values: usize,
        /// Number of rows.
        rows: usize,
    },
    /// A row that the log does not have.
    #[error("row {row} is not in the log of {total} rows; check which log the rows were chosen for")]
    OutOfRange {
        /// The row.
        row: u32,
        /// Number of rows in the log.
        total: usize,
    },
    /// The position order contradicts time.
    #[error(
        "row {row} comes after row {before} of the same user by position, but earlier in time; correct the positions or order by time only"
    )]
    Order {
        /// The later row by position.
        row: u32,
        /// The row before it.
        before: u32,
    },
}

impl Sequences {
    /// The events of the given rows, per user by position (equal positions: row order). Without positions: by time, then row.
    ///
    /// In a log without time, positions stand in for it: an event is earlier than another where its position is smaller.
    ///
    /// # Errors
    /// Neither time nor positions, a row outside the log, a list of positions of the wrong length, or positions that contradict time.
    pub fn new(log: &Log, rows: &[u32], position: Option<&[i64]>) -> Result<Self, SequenceError> {
        if let Some(values) = position.filter(|p| p.len() != log.len()) {
            return Err(SequenceError::Positions { values: values.len(), rows: log.len() });
        }
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= log.len()) {
            return Err(SequenceError::OutOfRange { row, total: log.len() });
        }
        let has_time = log.time.len() == log.len();
        let time = if has_time { &log.time } else { position.ok_or(SequenceError::NoOrder)? };
        let key = position.unwrap_or(time);
        let mut order = rows.to_vec();
        order.sort_unstable_by_key(|&row| (log.user[row as usize], key[row as usize], row));
        let mut sequences = Self { users: Vec::new(), offsets: vec![0], events: Vec::with_capacity(order.len()) };
        for rows in order.chunk_by(|&a, &b| log.user[a as usize] == log.user[b as usize]) {
            if let Some(pair) = rows.windows(2).find(|pair| time[pair[1] as usize] < time[pair[0] as usize]) {
                return Err(SequenceError::Order { row: pair[1], before: pair[0] });
            }
            sequences.users.push(log.user[rows[0] as usize]);
            sequences.events.extend(rows.iter().map(|&row| {
                let r = row as usize;
                Event { row, item: log.item[r], domain: log.domain[r], time: time[r] }
            }));
            sequences.offsets.push(sequences.events.len());
        }
        Ok(sequences)
    }

    /// Users with their events, by ascending user index.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (UserIndex, &[Event])> {
        self.users.iter().enumerate().map(|(i, &user)| (user, &self.events[self.offsets[i]..self.offsets[i + 1]]))
    }

    /// The events of a user, oldest first; empty for a user without any.
    #[must_use]
    pub fn of(&self, user: UserIndex) -> &[Event] {
        self.users.binary_search(&user).map_or(&[], |i| &self.events[self.offsets[i]..self.offsets[i + 1]])
    }

    /// The items of each user in one domain, oldest first, for pre-training; users with fewer than two such events have nothing to predict and are skipped.
    pub fn in_domain(&self, domain: DomainIndex) -> impl Iterator<Item = (UserIndex, Vec<ItemIndex>)> {
        self.iter().filter_map(move |(user, events)| {
            let items: Vec<ItemIndex> = events.iter().filter(|e| e.domain == domain).map(|e| e.item).collect();
            (items.len() >= 2).then_some((user, items))
        })
    }
}

/// Which earlier events a next-item input holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputEvents {
    /// Source events only: what a cold target user has. The default.
    #[default]
    Source,
    /// Source and target events.
    Both,
    /// Target events only.
    Target,
}

/// Which targets of a user are kept where there are more than wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Take {
    /// The earliest. The default: what a new user does first.
    #[default]
    First,
    /// The latest: with one a user, leave-one-out.
    Last,
}

/// Next-item prediction in a target domain, from events there and in a source domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossDomain {
    /// Domain that is read beside the target; `None`: the target alone.
    pub source: Option<DomainIndex>,
    /// Domain whose items are predicted.
    pub target: DomainIndex,
}

/// How next-item examples are cut out of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExampleConfig {
    /// Which earlier events are input.
    pub input: InputEvents,
    /// Events kept, the latest ones; default 30. Larger sees further back and costs time in proportion.
    pub length: usize,
    /// Examples with fewer input events (before the cut to `length`) are left out; default 3.
    pub min_input: usize,
    /// Examples per user; default: all.
    pub max_per_user: usize,
    /// Which targets these are: the `first` (the default) or the `last`.
    pub take: Take,
}

impl Default for ExampleConfig {
    fn default() -> Self {
        Self { input: InputEvents::Source, length: 30, min_input: 3, max_per_user: usize::MAX, take: Take::First }
    }
}

impl ExampleConfig {
    /// Queries of cold target users as protocol C defines them: whole source history, at least 3 events, the first 3 such targets of a user.
    #[must_use]
    pub fn cold_queries() -> Self {
        Self { length: usize::MAX, max_per_user: 3, ..Self::default() }
    }

    /// One query a user, the last target after at least one event of either domain, as leave-one-out protocols have it.
    #[must_use]
    pub fn last_query() -> Self {
        Self { input: InputEvents::Both, length: usize::MAX, min_input: 1, max_per_user: 1, take: Take::Last }
    }
}

/// A target event and what came strictly before it: a fine-tuning example or a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextItem {
    /// The user.
    pub user: UserIndex,
    /// Input items, oldest first.
    pub input: Vec<ItemIndex>,
    /// The item that followed: label of an example, positive of a query.
    pub positive: ItemIndex,
    /// Row of the positive.
    pub row: u32,
    /// Time of the positive, in microseconds since 1970 (UTC).
    pub time: i64,
}

impl CrossDomain {
    /// One entry for each wanted target event, by user, then in sequence order.
    ///
    /// Input events are *strictly* earlier in time: where time is in days, events of the same day are hidden.
    #[must_use]
    pub fn examples(&self, sequences: &Sequences, wanted: impl Fn(UserIndex, &Event) -> bool, config: &ExampleConfig) -> Vec<NextItem> {
        let mut out = Vec::new();
        let mut history: Vec<&Event> = Vec::new();
        let of_source = |e: &Event| config.input != InputEvents::Target && Some(e.domain) == self.source;
        let of_target = |e: &Event| config.input != InputEvents::Source && e.domain == self.target;
        for (user, events) in sequences.iter() {
            history.clear();
            history.extend(events.iter().filter(|e| of_source(e) || of_target(e)));
            let targets = events.iter().filter(|e| e.domain == self.target && wanted(user, e));
            let kept = targets.filter_map(|event| {
                let earlier = history.partition_point(|e| e.time < event.time);
                let start = earlier.saturating_sub(config.length);
                (earlier >= config.min_input).then(|| NextItem {
                    user,
                    input: history[start..earlier].iter().map(|e| e.item).collect(),
                    positive: event.item,
                    row: event.row,
                    time: event.time,
                })
            });
            let begin = out.len();
            match config.take {
                Take::First => out.extend(kept.take(config.max_per_user)),
                Take::Last => {
                    out.extend(kept);
                    let surplus = (out.len() - begin).saturating_sub(config.max_per_user);
                    out.drain(begin..begin + surplus);
                }
            }
        }
        out
    }

    /// Target items with at least one event of a wanted (training) user, ascending: the candidates of every query.
    #[must_use]
    pub fn catalogue(&self, sequences: &Sequences, wanted: impl Fn(UserIndex) -> bool) -> Vec<ItemIndex> {
        let events = sequences.iter().filter(|&(user, _)| wanted(user)).flat_map(|(_, events)| events);
        let mut items: Vec<ItemIndex> = events.filter(|e| e.domain == self.target).map(|e| e.item).collect();
        items.sort_unstable();
        items.dedup();
        items
    }

    /// All target items of a user, ascending: what sampled negatives must not hold.
    #[must_use]
    pub fn seen(&self, sequences: &Sequences, user: UserIndex) -> Vec<ItemIndex> {
        let mut items: Vec<ItemIndex> = sequences.of(user).iter().filter(|e| e.domain == self.target).map(|e| e.item).collect();
        items.sort_unstable();
        items.dedup();
        items
    }
}

/// Queries whose positive is in the catalogue, and how many there were before that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queries {
    /// Queries that a model can answer.
    pub kept: Vec<NextItem>,
    /// All queries, those with a positive outside the catalogue included: `kept.len() / all` is the coverage.
    pub all: usize,
}

impl Queries {
    /// Leaves out queries whose positive is not in the catalogue (ascending), and counts them.
    #[must_use]
    pub fn covered(queries: Vec<NextItem>, catalogue: &[ItemIndex]) -> Self {
        let all = queries.len();
        let kept = queries.into_iter().filter(|q| catalogue.binary_search(&q.positive).is_ok()).collect();
        Self { kept, all }
    }
}

/// A fixed negative set: the `n` candidates outside `seen` (ascending) with the smallest `H(salt; user_id, number[item])`, by ascending hash.
///
/// `number` is indexed by item, see [`id_numbers`] and [`rank_in_domain`]; `user_id` is the user's original number.
#[must_use]
pub fn hashed_negatives(salt: u64, user_id: u64, number: &[u64], catalogue: &[ItemIndex], seen: &[ItemIndex], n: usize) -> Vec<ItemIndex> {
    let free: Vec<ItemIndex> = catalogue.iter().copied().filter(|item| seen.binary_search(item).is_err()).collect();
    let key = |i: usize| hash64(salt, user_id, number[free[i].at()]);
    smallest_by_key(free.len(), n, key).into_iter().map(|i| free[i]).collect()
}

/// Rank of each item's id in byte order among the items of one domain (those with a row there), from 0; the largest number for other items.
///
/// An item that is new to the data set moves the ranks of those after it; see [`id_numbers`] for numbers that stay.
#[must_use]
pub fn rank_in_domain(log: &Log, items: &[String], domain: DomainIndex) -> Vec<u64> {
    let mut by_id: HashMap<&str, ItemIndex> = HashMap::new();
    for (row, _) in log.domain.iter().enumerate().filter(|&(_, &d)| d == domain) {
        by_id.insert(&items[log.item[row].at()], log.item[row]);
    }
    let mut ids: Vec<(&str, ItemIndex)> = by_id.into_iter().collect();
    ids.sort_unstable();
    let mut rank = vec![u64::MAX; items.len()];
    for (position, (_, item)) in ids.into_iter().enumerate() {
        rank[item.at()] = position as u64;
    }
    rank
}

/// A number of each id that depends on nothing else: the first eight bytes of its SHA-256, as a big-endian number.
#[must_use]
pub fn id_numbers(ids: &[String]) -> Vec<u64> {
    ids.iter().map(|id| id_number(id)).collect()
}

/// The first eight bytes of an id's SHA-256, as a big-endian number.
#[must_use]
pub fn id_number(id: &str) -> u64 {
    sha256(id)[..8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// The whole number that an id ends with, as 1736 in `c1736` and 17 in `books/17`; of an id that ends otherwise, its [`id_number`].
///
/// ```
/// use acclimate_data::{id_number, trailing_number};
/// assert_eq!([trailing_number("c1736"), trailing_number("7"), trailing_number("x")], [1736, 7, id_number("x")]);
/// ```
#[must_use]
pub fn trailing_number(id: &str) -> u64 {
    let digits = id.bytes().rev().take_while(u8::is_ascii_digit).count();
    id[id.len() - digits..].parse().unwrap_or_else(|_| id_number(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: CrossDomain = CrossDomain { source: Some(DomainIndex(0)), target: DomainIndex(1) };

    /// (user, item, domain, time) per row; items below 10 are source, others target.
    fn log(rows: &[(u32, u32, i64)]) -> Log {
        Log {
            user: rows.iter().map(|r| UserIndex(r.0)).collect(),
            item: rows.iter().map(|r| ItemIndex(r.1)).collect(),
            domain: rows.iter().map(|r| DomainIndex(u32::from(r.1 >= 10))).collect(),
            time: rows.iter().map(|r| r.2).collect(),
            label: vec![1.0; rows.len()],
            request: Vec::new(),
        }
    }

    fn all(log: &Log) -> Vec<u32> {
        (0..log.len() as u32).collect()
    }

    fn items(items: &[u32]) -> Vec<ItemIndex> {
        items.iter().copied().map(ItemIndex).collect()
    }

    #[test]
    fn same_day_events_are_hidden_and_short_histories_dropped() {
        let log = log(&[(3, 1, 10), (3, 2, 20), (3, 10, 20), (3, 11, 21), (3, 3, 22), (3, 12, 30), (5, 1, 1)]);
        let sequences = Sequences::new(&log, &all(&log), None).unwrap();
        let config = ExampleConfig { min_input: 2, ..ExampleConfig::default() };
        let examples = PAIR.examples(&sequences, |_, _| true, &config);
        assert_eq!(examples.len(), 2);
        assert_eq!((&examples[0].input, examples[0].positive, examples[0].row, examples[0].time), (&items(&[1, 2]), ItemIndex(11), 3, 21));
        assert_eq!((&examples[1].input, examples[1].positive), (&items(&[1, 2, 3]), ItemIndex(12)));

        let both = ExampleConfig { input: InputEvents::Both, length: 3, ..config };
        let examples = PAIR.examples(&sequences, |_, _| true, &both);
        assert_eq!(examples[1].input, items(&[10, 11, 3]), "the latest three events of both domains");
        assert!(PAIR.examples(&sequences, |user, _| user.0 != 3, &both).is_empty());
        assert_eq!(PAIR.examples(&sequences, |_, _| true, &ExampleConfig { max_per_user: 1, ..both }).len(), 1);
    }

    #[test]
    fn pretraining_holds_source_events_of_users_with_two() {
        let log = log(&[(0, 1, 10), (0, 11, 15), (0, 2, 20), (1, 3, 5), (1, 12, 6)]);
        let sequences = Sequences::new(&log, &all(&log), None).unwrap();
        assert_eq!(sequences.in_domain(DomainIndex(0)).collect::<Vec<_>>(), [(UserIndex(0), items(&[1, 2]))]);
        assert_eq!(PAIR.catalogue(&sequences, |user| user.0 == 1), items(&[12]));
        assert_eq!(PAIR.seen(&sequences, UserIndex(0)), items(&[11]));
        assert!(sequences.of(UserIndex(9)).is_empty());
    }

    #[test]
    fn positions_order_equal_times_and_must_not_contradict_time() {
        let log = log(&[(0, 1, 10), (0, 2, 10), (0, 3, 20)]);
        let sequences = Sequences::new(&log, &all(&log), Some(&[1, 0, 2])).unwrap();
        assert_eq!(sequences.of(UserIndex(0)).iter().map(|e| e.row).collect::<Vec<_>>(), [1, 0, 2]);
        assert_eq!(Sequences::new(&log, &all(&log), Some(&[1, 2, 0])), Err(SequenceError::Order { row: 0, before: 2 }));
        assert_eq!(Sequences::new(&log, &[3], None), Err(SequenceError::OutOfRange { row: 3, total: 3 }));
        assert!(matches!(Sequences::new(&log, &[0], Some(&[0])), Err(SequenceError::Positions { .. })));
    }

    #[test]
    fn negatives_are_the_smallest_hashes_outside_the_users_items() {
        let rank: Vec<u64> = (0..50).rev().collect();
        let catalogue = items(&(0..50).collect::<Vec<_>>());
        let negatives = hashed_negatives(22, 7, &rank, &catalogue, &items(&[4, 9]), 20);
        let mut expected: Vec<u32> = (0..50).filter(|i| ![4, 9].contains(i)).collect();
        expected.sort_by_key(|&i| hash64(22, 7, u64::from(49 - i)));
        assert_eq!(negatives, items(&expected[..20]));
    }

    #[test]
    fn the_last_target_of_a_user_is_asked_for_after_the_events_that_are_wanted() {
        let log = log(&[(0, 1, 10), (0, 10, 20), (0, 11, 30), (0, 12, 40), (1, 13, 5), (1, 14, 6)]);
        let sequences = Sequences::new(&log, &all(&log), None).unwrap();
        let last = PAIR.examples(&sequences, |_, _| true, &ExampleConfig::last_query());
        let found: Vec<_> = last.iter().map(|q| (q.user.0, q.positive.0, q.input.clone())).collect();
        assert_eq!(found, [(0, 12, items(&[1, 10, 11])), (1, 14, items(&[13]))]);
        // Only events of the target, and of those only the ones that are wanted: the answer that is not asked for is still read.
        let target = ExampleConfig { input: InputEvents::Target, ..ExampleConfig::last_query() };
        let last = PAIR.examples(&sequences, |_, e| e.row == 3, &target);
        assert_eq!((last.len(), &last[0].input), (1, &items(&[10, 11])));
        let alone = CrossDomain { source: None, ..PAIR };
        assert_eq!(alone.examples(&sequences, |_, e| e.row == 3, &ExampleConfig::last_query()), last);
    }

    #[test]
    fn positions_stand_in_for_time() {
        let mut log = log(&[(0, 1, 0), (0, 2, 0), (0, 10, 0)]);
        log.time.clear();
        let sequences = Sequences::new(&log, &all(&log), Some(&[2, 1, 3])).unwrap();
        assert_eq!(sequences.of(UserIndex(0)).iter().map(|e| (e.item.0, e.time)).collect::<Vec<_>>(), [(2, 1), (1, 2), (10, 3)]);
        assert_eq!(Sequences::new(&log, &all(&log), None), Err(SequenceError::NoOrder));
        let query = PAIR.examples(&sequences, |_, _| true, &ExampleConfig { min_input: 1, ..ExampleConfig::default() });
        assert_eq!(query[0].input, items(&[2, 1]));
    }

    /// `printf '%s' u7 | sha256sum` begins with these digits.
    #[test]
    fn an_id_has_one_number_whatever_the_data_set() {
        assert_eq!(id_numbers(&["u7".to_owned()]), [0xe818_0000_fa67_e824]);
    }

    #[test]
    fn ranks_follow_byte_order_inside_a_domain() {
        let log = log(&[(0, 0, 1), (0, 1, 1), (0, 10, 1), (0, 2, 1), (1, 2, 1)]);
        let names: Vec<String> = (0..11).map(|i| ["b", "B", "a"].get(i).map_or_else(|| format!("z{i}"), |s| (*s).to_owned())).collect();
        let rank = rank_in_domain(&log, &names, DomainIndex(0));
        assert_eq!((rank[0], rank[1], rank[2], rank[10], rank[3]), (2, 0, 1, u64::MAX, u64::MAX));
    }
}
