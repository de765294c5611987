//! How often each class is.

use super::{ClassFloor, ClassHistory, FittedClasses};
use crate::floor::FloorError;

/// Gives every row the same probabilities, `p_c = (n_c + 1) / (n + C)`, with n_c the training rows of class c among n.
#[derive(Clone, Copy, Debug, Default)]
pub struct Majority;

struct Fitted {
    shares: Vec<f32>,
}

impl ClassFloor for Majority {
    fn name(&self) -> &'static str {
        "majority"
    }

    fn fit(&self, history: &ClassHistory<'_>) -> Result<Box<dyn FittedClasses>, FloorError> {
        history.check(self.name())?;
        Ok(Box::new(Fitted { shares: history.shares().into_iter().map(|share| share as f32).collect() }))
    }
}

impl FittedClasses for Fitted {
    fn score(&self, items: &[Vec<u32>]) -> Vec<f32> {
        self.shares.repeat(items.len())
    }

    fn parameters(&self) -> usize {
        self.shares.len()
    }
}
