//! Feeds: what a training run reads, as a pure function of epoch and step.
//!
//! Nothing is remembered between steps, so a run that resumes at (epoch, step) reads exactly what it would have read.

mod rows;
mod sequences;
mod tasks;

use acclimate_data::Batch;
pub use rows::RowFeed;
pub(crate) use sequences::pad;
pub use sequences::{Sequence, SequenceFeed};
pub use tasks::{SupportSize, TaskFeed};

/// What one step trains on.
#[derive(Clone, Debug, PartialEq)]
pub struct Feeding {
    /// Rows the loss is taken on.
    pub query: Batch,
    /// Rows to adapt from, for methods that need a support set.
    pub support: Option<Batch>,
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
}

/// First and last time of some rows.
pub(crate) fn window(dataset: &acclimate_data::Dataset, rows: impl Iterator<Item = u32> + Clone) -> Option<[i64; 2]> {
    if dataset.log.time.is_empty() {
        return None;
    }
    let times = rows.map(|r| dataset.log.time[r as usize]);
    Some([times.clone().min()?, times.max()?])
}
