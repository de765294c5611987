//! Metrics over slices, and [`Metric`]: their canonical names.
//!
//! Each function states its ties, empty lists and cut-offs, and is checked against an independent NumPy program (`reference/metrics.py`).

mod auc;
mod class;
mod list;
mod name;
mod probability;
mod rank;
mod rating;
mod spread;

pub use auc::{GroupAuc, auc, auc_by_group, gauc, macro_auc};
pub(crate) use auc::{MAX_USERS, RankedRows};
pub use class::{CLASS_LOG_LOSS_CLIP, accuracy, class_log_loss, macro_f1};
pub(crate) use class::{answer, macro_f1_of, row_class_log_loss};
pub use list::{Gain, TIE_WIDTH, multiset_precision_at, ndcg_at, precision_at};
pub use name::{Average, Candidates, Goal, Metric, Scope};
pub(crate) use probability::row_log_loss;
pub use probability::{LOG_LOSS_CLIP, log_loss, pcoc};
pub use rank::{hit_rate_at, ndcg_from_rank, precision_from_rank, rank_of, reciprocal_rank, reciprocal_rank_at};
pub use rating::{LabelRange, mae, mean_by_user, rmse};
pub use spread::{best_offset, covers, negative_log_density};

/// A score: `f32` as networks give it, or `f64` as closed forms give it. Sums are always taken in `f64`.
pub trait Real: Copy + PartialOrd + Into<f64> + Send + Sync {}
impl Real for f32 {}
impl Real for f64 {}

#[track_caller]
pub(crate) fn assert_same_length(left: usize, right: usize) {
    assert_eq!(left, right, "labels, predictions and groups must describe the same rows");
}
