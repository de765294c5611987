//! Feeds: what a training run reads, as a pure function of epoch and step.
//!
//! Nothing is remembered between steps, so a run that resumes at (epoch, step) reads exactly what it would have read.

mod asking;
mod beside;
mod pairs;
mod rows;
mod sampled;
mod sequences;
mod tasks;

use std::sync::{Mutex, PoisonError};

use acclimate_data::Batch;
pub use asking::Asking;
pub use beside::BesideFeed;
pub use pairs::PairFeed;
pub use rows::RowFeed;
pub(crate) use rows::parts;
pub use sampled::{DomainSampling, SampledFeed, Sampling};
pub(crate) use sequences::pad;
pub use sequences::{Sequence, SequenceFeed};
pub use tasks::{SupportSize, TaskFeed, TaskView};

use crate::TrainError;

/// What one step trains on.
#[derive(Clone, Debug, PartialEq)]
pub struct Feeding {
    /// Rows the loss is taken on.
    pub query: Batch,
    /// Rows to adapt from, for methods that need a support set; for methods of requests the declared sets, where those are not the query itself.
    pub support: Option<Batch>,
}

/// A half of the examples of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The one.
    First,
    /// The other.
    Second,
}

impl Half {
    /// The half that an example is in, the same for every seed.
    #[must_use]
    pub fn of(example: u32) -> Self {
        // The finaliser of SplitMix64: neighbours fall apart.
        let mut z = u64::from(example).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)) & 1 == 0 { Self::First } else { Self::Second }
    }
}

/// Batches of a run.
pub trait Feed: Send + Sync {
    /// Number of steps in an epoch.
    fn steps(&self, epoch: u64) -> usize;

    /// The batch of a step; equal arguments give equal batches.
    fn batch(&self, epoch: u64, step: usize) -> Feeding;

    /// Number of labelled rows the feed draws from.
    fn rows(&self) -> usize;

    /// First and last time of those rows, if the data has time.
    fn window(&self) -> Option<[i64; 2]>;

    /// The same examples, or one half of them, in batches of another size; `None` where examples can not be told apart.
    ///
    /// # Errors
    /// A half without examples, or a batch of 0.
    fn redrawn(&self, _half: Option<Half>, _batch: usize) -> Result<Option<Box<dyn Feed + '_>>, TrainError> {
        Ok(None)
    }

    /// Whether each group is a positive row followed by negatives, as the objective `bpr` needs where rows are scored.
    fn is_paired(&self) -> bool {
        false
    }
}

/// What follows from an epoch's number, kept while that epoch lasts: a cache, not state.
#[derive(Debug)]
pub(crate) struct EpochCache<T>(Mutex<Option<(u64, T)>>);

impl<T> Default for EpochCache<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> EpochCache<T> {
    /// Reads what `make` gives for an epoch, making it at most once.
    pub(crate) fn with<R>(&self, epoch: u64, make: impl FnOnce() -> T, read: impl FnOnce(&T) -> R) -> R {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.as_ref().is_none_or(|(e, _)| *e != epoch) {
            *cached = Some((epoch, make()));
        }
        read(&cached.as_ref().expect("filled above").1)
    }
}

/// First and last time of some rows, in whole seconds since 1970.
pub(crate) fn window(dataset: &acclimate_data::Dataset, rows: impl Iterator<Item = u32> + Clone) -> Option<[i64; 2]> {
    if dataset.log.time.is_empty() {
        return None;
    }
    let times = rows.map(|r| dataset.log.time[r as usize].div_euclid(acclimate_data::MICROS_PER_SECOND));
    Some([times.clone().min()?, times.max()?])
}
