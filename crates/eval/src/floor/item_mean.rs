//! The shrunken mean label of each item.

use serde::{Deserialize, Serialize};

use super::error::at_least;
use super::shrunken::ItemOffsets;
use super::{FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Settings of [`ItemMean`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemMeanConfig {
    /// Rows at the global mean that are added to each item. Raising it moves rare items closer to the mean. Default 10, the optimum on MovieLens-1M.
    pub shrink: f64,
}

impl Default for ItemMeanConfig {
    fn default() -> Self {
        Self { shrink: 10.0 }
    }
}

/// Predicts `mu + b_i` with `b_i = sum(r - mu) / (n_i + shrink)`; `mu` for an item without training rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ItemMean {
    /// Settings.
    pub config: ItemMeanConfig,
}

struct Fitted {
    items: ItemOffsets,
}

impl PointwiseFloor for ItemMean {
    fn name(&self) -> &'static str {
        "item_mean"
    }

    fn fit(&self, train: Labelled<'_>, _validation: Labelled<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        at_least(self.name(), "shrink", self.config.shrink, 0.0, "a number of rows, 0 or more")?;
        let mean = train.mean(self.name())?;
        Ok(Box::new(Fitted { items: ItemOffsets::new(train, mean, self.config.shrink) }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        (0..query.len()).map(|i| self.items.predict(query.item(i)) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.items.parameters()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    #[test]
    fn rare_items_stay_near_the_mean() {
        // mu = 3; item 0: (2 + 2) / (2 + 2) = 1; item 1: -4 / (1 + 2); item 2 is new
        let data = ratings(&[(0, 0, 0, 5.0), (1, 0, 0, 5.0), (0, 1, 0, -1.0), (1, 2, 0, 0.0)]);
        let none = Labelled::none(&data);
        let floor = ItemMean { config: ItemMeanConfig { shrink: 2.0 } };
        let fitted = floor.fit(Labelled::new(&data, &[0, 1, 2]).unwrap(), none).unwrap();
        let scores = fitted.score(none, Unlabelled::new(&data, &[0, 2, 3]).unwrap());
        assert_eq!(scores, [4.0, (3.0 - 4.0 / 3.0) as f32, 3.0]);
    }

    #[test]
    fn negative_shrinkage_is_refused() {
        let data = ratings(&[(0, 0, 0, 1.0)]);
        let rows = Labelled::new(&data, &[0]).unwrap();
        let error = ItemMean { config: ItemMeanConfig { shrink: -1.0 } }.fit(rows, rows).err().unwrap();
        assert_eq!(error.to_string(), "floor `item_mean`: `shrink` is -1, expected a number of rows, 0 or more");
    }
}
