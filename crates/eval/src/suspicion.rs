//! Signs that labels reach a model by a way that will not be there later: what no honest data shows, by a stated statistic with a stated threshold.
//!
//! Three ways are looked for, each in one file:
//!
//! - [`label_copies`]: a feature that tells the label of its own row;
//! - [`future_rates`]: a feature of an item, a user or another group that was computed from measured labels;
//! - [`shared_rows`]: measured rows that were learned from.
//!
//! Labels of measured rows are read here to cast doubt on a comparison, and for nothing else: no setting, feature or method is chosen by what is found.

mod future_rate;
mod label_copy;
mod shared_rows;
mod sign;

pub use future_rate::future_rates;
pub use label_copy::label_copies;
pub use shared_rows::shared_rows;
pub use sign::{Leak, Sign};

use acclimate_data::{hash64, smallest_by_key};

/// The rows of a comparison, as positions in the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Rows that models learn from.
    pub train: &'a [u32],
    /// Rows that models are chosen by.
    pub validation: &'a [u32],
    /// Rows that methods adapt from beside `train`: the known rows of measured users.
    pub support: &'a [u32],
    /// Rows that methods are measured on.
    pub measured: &'a [u32],
}

/// Some of the rows, in their order: all, or `most` of them by a hash of the row.
pub fn sample(rows: &[u32], most: usize) -> Vec<u32> {
    const SALT: u64 = 7;
    if rows.len() <= most {
        return rows.to_vec();
    }
    let mut chosen = smallest_by_key(rows.len(), most, |i| hash64(SALT, rows[i].into(), 0));
    chosen.sort_unstable();
    chosen.into_iter().map(|i| rows[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_the_order_and_depends_on_the_rows_only() {
        let rows: Vec<u32> = (0..100).rev().collect();
        assert_eq!(sample(&rows, 100), rows);
        let some = sample(&rows, 10);
        assert!(some.len() == 10 && some.is_sorted_by(|a, b| a > b));
        let mut other: Vec<u32> = (0..100).collect();
        other.swap(3, 70);
        let (mut again, mut some) = (sample(&other, 10), some);
        again.sort_unstable();
        some.sort_unstable();
        assert_eq!(again, some);
    }
}
