//! The shrunken bias model: the level of the item plus the level of the user.

use serde::{Deserialize, Serialize};

use super::error::at_least;
use super::shrunken::{ItemOffsets, user_offsets};
use super::{FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Settings of [`Bias`]. The defaults are the optimum on MovieLens-1M's validation users.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiasConfig {
    /// Rows at the global mean that are added to each item. Raising it trusts rare items less. Default 10.
    pub item_shrink: f64,
    /// Support rows at the item's level that are added to each user. Raising it trusts a small support less. Default 5.
    pub user_shrink: f64,
}

impl Default for BiasConfig {
    fn default() -> Self {
        Self { item_shrink: 10.0, user_shrink: 5.0 }
    }
}

/// Predicts `mu + b_i + b_u` with `b_i = sum(r - mu) / (n_i + item_shrink)` over training rows and `b_u = sum(r - mu - b_i) / (n + user_shrink)` over the
/// user's support rows; a missing item or support counts as 0.
///
/// # References
/// Koren, *Factorization meets the neighborhood*, KDD 2008, section 2.1 (baseline estimates).
#[derive(Clone, Copy, Debug, Default)]
pub struct Bias {
    /// Settings.
    pub config: BiasConfig,
}

struct Fitted {
    items: ItemOffsets,
    user_shrink: f64,
}

impl PointwiseFloor for Bias {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn fit(&self, train: Labelled<'_>, _validation: Labelled<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        let BiasConfig { item_shrink, user_shrink } = self.config;
        at_least(self.name(), "item_shrink", item_shrink, 0.0, "a number of rows, 0 or more")?;
        at_least(self.name(), "user_shrink", user_shrink, 0.0, "a number of rows, 0 or more")?;
        let mean = train.mean(self.name())?;
        Ok(Box::new(Fitted { items: ItemOffsets::new(train, mean, item_shrink), user_shrink }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let users = user_offsets(support, self.user_shrink, |i| support.label(i) - self.items.predict(support.rows().item(i)));
        let user = |i| users.get(&query.user(i)).copied().unwrap_or(0.0);
        (0..query.len()).map(|i| (self.items.predict(query.item(i)) + user(i)) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.items.parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;
    use proptest::prelude::*;

    fn fitted(data: &acclimate_data::Dataset, train: &[u32]) -> Box<dyn FittedPointwise> {
        let config = BiasConfig { item_shrink: 2.0, user_shrink: 1.0 };
        Bias { config }.fit(Labelled::new(data, train).unwrap(), Labelled::none(data)).unwrap()
    }

    #[test]
    fn adds_item_and_user_levels() {
        // mu = 3, b_0 = 1, b_1 = -4/3; the support of user 2 leaves (6 - 4) + (3 - 3) = 2, so b_u = 2 / (2 + 1)
        let data = ratings(&[(0, 0, 0, 5.0), (1, 0, 0, 5.0), (0, 1, 0, -1.0), (2, 0, 0, 6.0), (2, 2, 0, 3.0), (2, 1, 0, 0.0)]);
        let query = Unlabelled::new(&data, &[5, 0]).unwrap();
        let scores = fitted(&data, &[0, 1, 2]).score(Labelled::new(&data, &[3, 4]).unwrap(), query);
        assert_eq!(scores, [(3.0 - 4.0 / 3.0 + 2.0 / 3.0) as f32, 4.0]);
    }

    proptest! {
        #[test]
        fn query_labels_are_never_read(labels in proptest::collection::vec(-5.0f32..5.0, 4)) {
            let base = [(0, 0, 0, 5.0), (1, 1, 0, 2.0), (2, 0, 0, 4.0), (2, 1, 0, 1.0)];
            let mut changed = base;
            changed[3].3 = labels[3];
            let score = |data: &acclimate_data::Dataset| {
                fitted(data, &[0, 1]).score(Labelled::new(data, &[2]).unwrap(), Unlabelled::new(data, &[3]).unwrap())
            };
            prop_assert_eq!(score(&ratings(&base)), score(&ratings(&changed)));
        }

        #[test]
        fn users_do_not_influence_each_other(labels in proptest::collection::vec(-5.0f32..5.0, 3)) {
            let data = ratings(&[(0, 0, 0, 5.0), (1, 1, 0, 2.0), (2, 0, 0, labels[0]), (3, 1, 0, labels[1]), (3, 0, 0, labels[2]), (2, 1, 0, 0.0), (3, 2, 0, 0.0)]);
            let fitted = fitted(&data, &[0, 1]);
            let score = |support: &[u32], query: &[u32]| fitted.score(Labelled::new(&data, support).unwrap(), Unlabelled::new(&data, query).unwrap());
            let together = score(&[4, 2, 3], &[5, 6]);
            prop_assert_eq!(together, [score(&[2], &[5]), score(&[4, 3], &[6])].concat());
        }
    }
}
