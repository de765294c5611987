//! Inner loops of gradient-based methods, in closed form.

mod ball;
mod dials;
mod rows;
mod shrink;
mod tower;

use acclimate_model::Objective;

use crate::AdaptError;

pub(crate) use ball::BallTree;
pub(crate) use dials::Dials;
pub use dials::{Open, Word};
pub(crate) use rows::RowMap;
pub use shrink::{Learned, Shrink};
pub(crate) use tower::{Backward, Rows, bound, counts, detached, forward};
pub use tower::{Fast, FastLayer, InnerLoop, Order, Rates, StepRates, Tasks, gradient_lengths};

/// The loss of an objective on plain numbers.
pub(crate) fn plain_loss(objective: Objective) -> acclimate_plan::Loss {
    if objective == Objective::Logistic { acclimate_plan::Loss::Logistic } else { acclimate_plan::Loss::SquaredError }
}

/// Checks what every inner loop has: its objective, and the keys `inner_steps`, `inner_rate` and `shrink`.
pub(crate) fn check(method: &'static str, objective: Objective, (steps, rate, shrink): (usize, f64, Shrink)) -> Result<(), AdaptError> {
    let value = |key, problem: &str| Err(AdaptError::Value { method, key, problem: problem.into() });
    if steps == 0 {
        return value("inner_steps", "must be at least 1");
    }
    if !(rate > 0.0 && rate.is_finite()) {
        return value("inner_rate", "must be above 0");
    }
    if !(shrink.given() >= 0.0 && shrink.given().is_finite()) {
        return value("shrink", "must be 0 or more, \"learned\" or \"chosen\"");
    }
    if !matches!(objective, Objective::Logistic | Objective::SquaredError) {
        return Err(AdaptError::Unsupported { method, problem: "its objective is neither logistic nor squared error".into() });
    }
    Ok(())
}
