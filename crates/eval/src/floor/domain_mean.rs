//! The mean label of each domain.

use acclimate_data::Dataset;

use super::shrunken::{Sum, group_sums};
use super::{Choice, FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Predicts the mean label of the row's domain; the global mean for a domain without training rows.
///
/// Inside a domain it is constant, so its AUC there is 0.5: what it shows is how much of a pooled metric is only base rates.
#[derive(Clone, Copy, Debug, Default)]
pub struct DomainMean;

struct Fitted {
    mean: f64,
    sums: Vec<Sum>,
}

impl PointwiseFloor for DomainMean {
    fn name(&self) -> &'static str {
        "domain_mean"
    }

    fn applies_to(&self, dataset: &Dataset) -> bool {
        dataset.domains.len() > 1
    }

    fn fit(&self, train: Labelled<'_>, _choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        let mean = train.mean(self.name())?;
        let rows = train.rows();
        let residuals = (0..train.len()).map(|i| (rows.domain(i).at(), train.label(i) - mean));
        Ok(Box::new(Fitted { mean, sums: group_sums(rows.counts()[2], residuals) }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let of_domain = |i| self.sums.get(query.domain(i).at()).copied().unwrap_or_default();
        (0..query.len()).map(|i| (self.mean + of_domain(i).shrunken(0.0)) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.sums.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    #[test]
    fn a_domain_without_rows_gets_the_global_mean() {
        let data = ratings(&[(0, 0, 0, 1.0), (0, 1, 0, 2.0), (1, 0, 1, 6.0), (1, 1, 2, 9.0)]);
        let none = Labelled::none(&data);
        let fitted = DomainMean.fit(Labelled::new(&data, &[0, 1, 2]).unwrap(), Choice::none(&data)).unwrap();
        assert_eq!(fitted.score(none, Unlabelled::new(&data, &[0, 2, 3]).unwrap()), [1.5, 6.0, 3.0]);
    }
}
