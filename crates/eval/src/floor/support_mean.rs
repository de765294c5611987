//! The mean label of a user's support rows.

use super::shrunken::user_offsets;
use super::{Choice, FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Predicts the mean label of the user's support rows; the global mean of the training rows for a user without support.
#[derive(Clone, Copy, Debug, Default)]
pub struct SupportMean;

struct Fitted {
    mean: f64,
}

impl PointwiseFloor for SupportMean {
    fn name(&self) -> &'static str {
        "support_mean"
    }

    fn needs_support(&self) -> bool {
        true
    }

    fn fit(&self, train: Labelled<'_>, _choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        Ok(Box::new(Fitted { mean: train.mean(self.name())? }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let means = user_offsets(support, 0.0, |i| support.label(i));
        (0..query.len()).map(|i| means.get(&query.user(i)).copied().unwrap_or(self.mean) as f32).collect()
    }

    fn parameters(&self) -> usize {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    #[test]
    fn each_user_gets_the_mean_of_his_own_support() {
        let data = ratings(&[(0, 0, 0, 1.0), (0, 1, 0, 2.0), (1, 0, 0, 5.0), (1, 1, 0, 3.0), (2, 0, 0, 4.0)]);
        let none = Labelled::none(&data);
        let fitted = SupportMean.fit(Labelled::new(&data, &[0, 2]).unwrap(), Choice::none(&data)).unwrap();
        let query = Unlabelled::new(&data, &[4, 3, 0]).unwrap();
        assert_eq!(fitted.score(Labelled::new(&data, &[2, 3, 1]).unwrap(), query), [3.0, 4.0, 2.0]);
        assert_eq!(fitted.score(none, query), [3.0; 3]);
    }
}
