//! The mean label of the training rows, for every row.

use super::{Choice, FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Predicts `mu`, the mean label of the training rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalMean;

struct Fitted {
    mean: f64,
}

impl PointwiseFloor for GlobalMean {
    fn name(&self) -> &'static str {
        "global_mean"
    }

    fn fit(&self, train: Labelled<'_>, _choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        Ok(Box::new(Fitted { mean: train.mean(self.name())? }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        vec![self.mean as f32; query.len()]
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
    fn predicts_the_mean_of_training_rows_only() {
        let data = ratings(&[(0, 0, 0, 1.0), (0, 1, 0, 4.0), (1, 0, 0, 100.0)]);
        let none = Labelled::none(&data);
        let fitted = GlobalMean.fit(Labelled::new(&data, &[0, 1]).unwrap(), Choice::none(&data)).unwrap();
        assert_eq!(fitted.score(none, Unlabelled::new(&data, &[2, 0]).unwrap()), [2.5, 2.5]);
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        let data = ratings(&[(0, 0, 0, 1.0)]);
        let none = Labelled::none(&data);
        assert_eq!(GlobalMean.fit(none, Choice::none(&data)).err(), Some(FloorError::NoTrainingRows { floor: "global_mean" }));
    }
}
