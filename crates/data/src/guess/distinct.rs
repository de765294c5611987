//! How many different values a column has, and how many of them another column has, in bounded memory.

use std::hash::{DefaultHasher, Hash, Hasher};

use hashbrown::HashMap;

/// Hashes kept. Up to so many different values everything is exact.
const LIMIT: usize = 1 << 17;

/// A set of texts by their hashes, thinned out as it grows: at level n only hashes that end in n zero bits are kept, each of which then stands for
/// 2^n values.
#[derive(Clone, Debug)]
pub(super) struct Distinct {
    level: u32,
    limit: usize,
    /// How often each was there.
    hashes: HashMap<u64, u32>,
}

impl Default for Distinct {
    fn default() -> Self {
        Self::within(LIMIT)
    }
}

impl Distinct {
    /// A set that keeps at most `limit` hashes.
    pub(super) fn within(limit: usize) -> Self {
        Self { level: 0, limit, hashes: HashMap::new() }
    }

    pub(super) fn insert(&mut self, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.insert_hash(hasher.finish());
    }

    fn insert_hash(&mut self, hash: u64) {
        if hash.trailing_zeros() < self.level {
            return;
        }
        let seen = self.hashes.entry(hash).or_default();
        *seen = seen.saturating_add(1);
        while self.hashes.len() > self.limit {
            self.level += 1;
            self.hashes.retain(|hash, _| hash.trailing_zeros() >= self.level);
        }
    }

    /// Number of different texts; an estimate above the limit.
    pub(super) fn count(&self) -> usize {
        self.hashes.len() << self.level
    }

    /// Of `values` texts, how many were there before; an estimate above the limit, but 0 where none was.
    pub(super) fn repeats(&self, values: u64) -> u64 {
        if self.level == 0 {
            return values.saturating_sub(self.count() as u64);
        }
        self.hashes.values().map(|&seen| u64::from(seen) - 1).sum::<u64>() << self.level
    }

    /// Share of these texts that `other` has too; 0 where there are none.
    pub(super) fn share_in(&self, other: &Self) -> f64 {
        let level = self.level.max(other.level);
        let mine = self.hashes.keys().filter(|hash| hash.trailing_zeros() >= level);
        let (mut all, mut shared) = (0_usize, 0_usize);
        for hash in mine {
            all += 1;
            shared += usize::from(other.hashes.contains_key(hash));
        }
        if all == 0 { 0.0 } else { shared as f64 / all as f64 }
    }

    /// Number of these texts that none of the others has.
    pub(super) fn count_beyond(&self, others: &[&Self]) -> usize {
        let level = others.iter().map(|other| other.level).fold(self.level, u32::max);
        let mine = self.hashes.keys().filter(|hash| hash.trailing_zeros() >= level);
        mine.filter(|hash| !others.iter().any(|other| other.hashes.contains_key(*hash))).count() << level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: std::ops::Range<u32>, limit: usize) -> Distinct {
        let mut set = Distinct::within(limit);
        // Each value twice: repetitions count for nothing.
        values.clone().chain(values).for_each(|value| set.insert(&value.to_string()));
        set
    }

    #[test]
    fn small_sets_are_exact_and_large_ones_near() {
        assert_eq!((set(0..900, 1000).count(), set(0..0, 1000).count()), (900, 0));
        let count = set(0..50_000, 1000).count() as f64;
        assert!((count / 50_000.0 - 1.0).abs() < 0.15, "{count}");
        assert!(set(0..50_000, 1000).hashes.len() <= 1000);
    }

    #[test]
    fn a_key_that_repeats_nothing_is_known_as_one_however_long_it_is() {
        let mut keys = Distinct::within(1000);
        (0..50_000).for_each(|value| keys.insert(&value.to_string()));
        assert!(keys.count() != 50_000 && keys.repeats(50_000) == 0);
        let repeated = set(0..50_000, 1000).repeats(100_000) as f64;
        assert!((repeated / 50_000.0 - 1.0).abs() < 0.15, "{repeated}");
        assert_eq!((set(0..900, 1000).repeats(1800), set(0..0, 1000).repeats(0)), (900, 0));
    }

    #[test]
    fn overlap_is_a_share_of_the_first_set_whatever_was_thinned_out() {
        assert_eq!(set(0..100, 1000).share_in(&set(50..400, 1000)), 0.5);
        let share = set(0..20_000, 1000).share_in(&set(0..10_000, 4000));
        assert!((share - 0.5).abs() < 0.1, "{share}");
        assert_eq!(set(0..20_000, 1000).share_in(&set(0..20_000, 4000)), 1.0);
        assert_eq!(Distinct::default().share_in(&set(0..5, 10)), 0.0);
        assert_eq!(set(0..100, 1000).count_beyond(&[&set(0..30, 1000), &set(20..50, 1000)]), 50);
    }
}
