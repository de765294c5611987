//! What is checked before a comparison is believed, for the first base and seed of each scenario:
//!
//! 1. the base scored twice gives equal bits;
//! 2. the base against itself differs by exactly 0, by the code that measures everything else;
//! 3. the same network, trained for one epoch on shuffled labels, does not win;
//! 4. no feature was made from labels, and no measured row was learned from ([`suspicion`](acclimate_eval::suspicion)).
//!
//! The first two can fail only where this program is wrong, so they end the comparison. The others are said.

mod checks;
mod open;
mod rows;

pub(crate) use checks::{Checks, Measured, Said, Shuffled};
pub(crate) use open::{of_open, says};
pub(crate) use rows::{OnRows, SaidOfRows};

use acclimate_data::RandomStream;

/// Most measured rows that are scored twice, and most rows that the control learns from.
pub(crate) const MOST: usize = 50_000;

/// How many controls must win before it is said: one order of rows that nobody has learned is as good as another, and may be better than a base by luck.
pub(crate) const SHUFFLES: u64 = 3;

/// Puts labels, or what stands for them, into an order that says nothing.
pub(crate) fn shuffle<T>(seed: u64, labels: &mut [T]) {
    RandomStream::new(RandomStream::seed_for(seed, "preflight"), 0, 0).shuffle(labels);
}
