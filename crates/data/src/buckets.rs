//! Batches: groups of unequal size bucketed by length, and the order of rows in an epoch.

use std::ops::Range;

use crate::stream::RandomStream;

/// Padding that a batch of several groups may hold at most.
const PADDING_LIMIT: f64 = 0.20;

/// Which groups go together, see [`plan_groups`].
#[derive(Clone, Debug, PartialEq)]
pub struct GroupPlan {
    /// Group ids of each batch.
    pub batches: Vec<Vec<u32>>,
    /// Share of padded positions over all batches, in `[0, 1)`.
    pub padding: f64,
}

/// Buckets groups of `lengths[g]` rows into batches of at most `max_groups`, so that no batch holds more than 20 % padding.
///
/// Groups of equal length meet in random company and batches come in random order, both a pure function of `(seed, epoch)`.
/// A batch is closed early where the next group would be too long; a group that has no neighbour of its size gets a batch of its own.
///
/// # Panics
/// If `max_groups` is 0.
#[must_use]
pub fn plan_groups(lengths: &[u32], max_groups: usize, seed: u64, epoch: u64) -> GroupPlan {
    assert!(max_groups > 0, "a batch holds at least one group");
    let mut stream = RandomStream::new(RandomStream::seed_for(seed, "groups"), epoch, 0);
    let mut order: Vec<u32> = (0..lengths.len() as u32).collect();
    stream.shuffle(&mut order);
    order.sort_by_key(|&g| lengths[g as usize]);

    let mut batches: Vec<Vec<u32>> = Vec::with_capacity(lengths.len().div_ceil(max_groups));
    let (mut held, mut used, mut padded) = (0u64, 0u64, 0u64);
    for group in order {
        let length = u64::from(lengths[group as usize]);
        match batches.last_mut() {
            Some(batch) if batch.len() < max_groups && fits(held + length, (batch.len() as u64 + 1) * length) => {
                padded += (batch.len() as u64 + 1) * length - batch.len() as u64 * longest(batch, lengths);
                held += length;
                batch.push(group);
            }
            _ => {
                batches.push(vec![group]);
                held = length;
                padded += length;
            }
        }
        used += length;
    }
    stream.shuffle(&mut batches);
    let padding = if padded == 0 { 0.0 } else { 1.0 - used as f64 / padded as f64 };
    GroupPlan { batches, padding }
}

fn fits(held: u64, positions: u64) -> bool {
    held as f64 >= (1.0 - PADDING_LIMIT) * positions as f64
}

fn longest(batch: &[u32], lengths: &[u32]) -> u64 {
    batch.last().map_or(0, |&g| u64::from(lengths[g as usize]))
}

/// Cuts groups, given by ascending length, into runs that fill at most `positions` when padded to their longest; one that is longer stays alone.
#[must_use]
pub fn cut_groups(lengths: &[usize], positions: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, &length) in lengths.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if (run.len() + 1) * length <= positions => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// A new order of the same rows for each epoch, cut into batches.
///
/// The order is a pure function of `(seed, epoch)`: after a restart, epoch `e` step `s` holds the same rows as if the run had never stopped.
#[derive(Clone, Debug)]
pub struct RowOrder {
    rows: Vec<u32>,
    batch: usize,
    seed: u64,
}

impl RowOrder {
    /// Orders `rows` into batches of `batch` rows; the last batch may be shorter.
    ///
    /// # Panics
    /// If `batch` is 0.
    #[must_use]
    pub fn new(rows: Vec<u32>, batch: usize, seed: u64) -> Self {
        assert!(batch > 0, "a batch holds at least one row");
        Self { rows, batch, seed: RandomStream::seed_for(seed, "rows") }
    }

    /// Number of batches in an epoch.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.rows.len().div_ceil(self.batch)
    }

    /// The order of an epoch.
    #[must_use]
    pub fn epoch(&self, epoch: u64) -> EpochRows {
        let mut rows = self.rows.clone();
        RandomStream::new(self.seed, epoch, 0).shuffle(&mut rows);
        EpochRows { rows, batch: self.batch }
    }
}

/// The rows of one epoch in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRows {
    rows: Vec<u32>,
    batch: usize,
}

impl EpochRows {
    /// The rows of a batch; `None` past the last one.
    #[must_use]
    pub fn batch(&self, step: usize) -> Option<&[u32]> {
        let start = step.checked_mul(self.batch).filter(|&start| start < self.rows.len())?;
        Some(&self.rows[start..(start + self.batch).min(self.rows.len())])
    }

    /// Batches from `step` to the end of the epoch.
    pub fn from(&self, step: usize) -> impl ExactSizeIterator<Item = &[u32]> {
        let start = step.saturating_mul(self.batch).min(self.rows.len());
        self.rows[start..].chunks(self.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cut_groups_fill_the_positions_they_may() {
        assert_eq!(cut_groups(&[1, 1, 2, 3, 3, 9, 20], 9), [0..3, 3..5, 5..6, 6..7]);
        assert_eq!(cut_groups(&[], 9), []);
    }

    #[test]
    fn epochs_differ_and_resume_exactly() {
        let order = RowOrder::new((0..1000).collect(), 64, 7);
        let (first, second) = (order.epoch(0), order.epoch(1));
        assert_ne!(first, second);
        let whole: Vec<&[u32]> = second.from(0).collect();
        let again = RowOrder::new((0..1000).collect(), 64, 7).epoch(1);
        assert_eq!(whole[9..], again.from(9).collect::<Vec<_>>());
        assert_eq!(again.batch(9), Some(whole[9]));
        assert_eq!((order.steps(), again.batch(16), again.from(16).len(), whole[15].len()), (16, None, 0, 40));
    }

    #[test]
    fn lengths_of_user_tasks_fill_their_batches() {
        let lengths: Vec<u32> = (0..2394).map(|i| 13 + (i * i) % 88).collect();
        let plan = plan_groups(&lengths, 32, 1, 0);
        assert!(plan.padding < 0.05, "padding {}", plan.padding);
        assert!(plan.batches.len() < 80, "{} batches", plan.batches.len());
        assert_ne!(plan, plan_groups(&lengths, 32, 1, 1));
        assert_eq!(plan, plan_groups(&lengths, 32, 1, 0));
    }

    proptest! {
        #[test]
        fn every_group_once_and_padding_under_the_limit(lengths in proptest::collection::vec(0u32..5000, 0..200), b in 1usize..40, seed in any::<u64>()) {
            let plan = plan_groups(&lengths, b, seed, 0);
            let mut seen: Vec<u32> = plan.batches.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            let (mut used, mut padded) = (0u64, 0u64);
            for batch in &plan.batches {
                prop_assert!(batch.len() <= b);
                let of = |g: &u32| u64::from(lengths[*g as usize]);
                let (sum, max): (u64, u64) = (batch.iter().map(of).sum(), batch.iter().map(of).max().unwrap_or(0));
                let positions = max * batch.len() as u64;
                prop_assert!(positions == 0 || 1.0 - sum as f64 / positions as f64 <= 0.2 + 1e-9);
                used += sum;
                padded += positions;
            }
            let padding = if padded == 0 { 0.0 } else { 1.0 - used as f64 / padded as f64 };
            prop_assert!((plan.padding - padding).abs() < 1e-12);
        }
    }
}
