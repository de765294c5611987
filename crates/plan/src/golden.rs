//! Whether a plan says what the trained model says.

use thiserror::Error;

use crate::{Plan, PlanError, Query, Rows, Scratch};

/// Why a plan is not the model that it was made of.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum GoldenMismatch {
    /// A score that differs.
    #[error("golden row {row}: the plan scores {found}, the model {expected}; it does not serve: export the model again")]
    Score {
        /// Row, counted over all requests.
        row: usize,
        /// The model's score.
        expected: f32,
        /// The plan's.
        found: f32,
    },
    /// Another number of scores.
    #[error("there are {expected} golden scores for {found} rows; write the file of golden rows again")]
    Count {
        /// Scores that are given.
        expected: usize,
        /// Rows.
        found: usize,
    },
    /// Rows that the plan can not read.
    #[error("golden rows: {0}")]
    Plan(#[from] PlanError),
}

impl Plan {
    /// Scores rows and compares with what the model says of them: `|found - expected| <= tolerance max(1, |expected|)`. Gives the largest difference,
    /// in the same measure.
    ///
    /// # Errors
    /// For the first row that differs by more, or is not finite on one side.
    pub fn check(&self, requests: &[Rows], expected: &[f32], tolerance: f32) -> Result<f32, GoldenMismatch> {
        let queries: Vec<Query<'_>> = requests.iter().map(|rows| Query { rows, personal: None }).collect();
        let mut scores = Vec::new();
        self.score(&mut Scratch::new(), &queries, &mut scores)?;
        if scores.len() != expected.len() {
            return Err(GoldenMismatch::Count { expected: expected.len(), found: scores.len() });
        }
        let mut largest = 0.0_f32;
        for (row, (&found, &expected)) in scores.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs() / expected.abs().max(1.0);
            if difference.is_nan() || difference > tolerance {
                return Err(GoldenMismatch::Score { row, expected, found });
            }
            largest = largest.max(difference);
        }
        Ok(largest)
    }
}
