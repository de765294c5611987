//! User-level paired bootstrap: intervals for values and for differences between methods.
//!
//! Users, not rows, are drawn with replacement, as rows of one user are not independent. Every method is measured on the same draws, so
//! differences are paired. The mean over training seeds is taken inside each draw, before the percentiles: an interval covers
//! the choice of users, not the seed, whose spread is reported beside it.

mod bootstrap;
mod classes;
mod rows;
mod statistic;

pub use bootstrap::{Bootstrap, Comparison, Difference, Estimate, Sample};
pub use classes::EvaluationClasses;
pub use rows::{DomainSize, EvaluationQueries, EvaluationRows};
pub use statistic::{Said, Statistic};
