//! Errors of model construction.

use thiserror::Error;

/// What can be wrong with a model's configuration.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModelError {
    /// A config value out of range.
    #[error("{owner}: `{key}` {problem}")]
    Config {
        /// The backbone or loss.
        owner: String,
        /// The config key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Nothing to learn from.
    #[error("dnn: the data set has no feature left; add a [[feature]] to the data-set file or shorten `without`")]
    NoFeature,
    /// An objective on a backbone that does not produce what it needs.
    #[error("objective `{objective}` does not fit backbone `{backbone}`; use one of {fitting}")]
    Objective {
        /// The objective.
        objective: &'static str,
        /// The backbone.
        backbone: &'static str,
        /// The objectives that fit.
        fitting: String,
    },
}

impl ModelError {
    pub(crate) fn config(owner: &str, key: &str, problem: &str) -> Self {
        Self::Config { owner: owner.into(), key: key.into(), problem: problem.into() }
    }
}
