//! The shrunken mean label of each item.

use acclimate_data::ItemIndex;
use serde::{Deserialize, Serialize};

use super::setting::SHRINKS;
use super::shrunken::ItemSums;
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

const NAME: &str = "item_mean";

/// Settings of [`ItemMean`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemMeanConfig {
    /// Rows at the global mean that are added to each item. Raising it moves rare items closer to the mean. Default: chosen from 0.5 to 1,000.
    pub shrink: Grid,
}

impl Default for ItemMeanConfig {
    fn default() -> Self {
        Self { shrink: SHRINKS.into() }
    }
}

/// Predicts `mu + b_i` with `b_i = sum(r - mu) / (n_i + shrink)`; `mu` for an item without training rows.
#[derive(Clone, Debug, Default)]
pub struct ItemMean {
    /// Settings.
    pub config: ItemMeanConfig,
}

struct Fitted {
    items: ItemSums,
    shrink: f64,
    grid: Grid,
}

impl PointwiseFloor for ItemMean {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        self.config.shrink.check(NAME, "shrink", 0.0, "a number of rows, 0 or more")
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        let grid = &self.config.shrink;
        choice.check(NAME, "shrink", grid.len())?;
        let items = ItemSums::new(train, train.mean(NAME)?);
        let asked: Vec<ItemIndex> = (0..choice.rows.len()).map(|i| choice.rows.rows().item(i)).collect();
        let shrink = Judge::new(choice.rows).best(grid.values(), |shrink, predictions| {
            asked.iter().zip(predictions).for_each(|(&item, p)| *p = items.predict(item, shrink) as f32);
        });
        Ok(Box::new(Fitted { items, shrink: shrink.expect("at least one value, checked above"), grid: grid.clone() }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        (0..query.len()).map(|i| self.items.predict(query.item(i), self.shrink) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.items.parameters()
    }

    fn chosen(&self) -> Vec<Chosen> {
        vec![self.grid.chosen("shrink", self.shrink, |shrink| shrink == 0.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    fn with_shrink(shrink: impl Into<Grid>) -> ItemMean {
        ItemMean { config: ItemMeanConfig { shrink: shrink.into() } }
    }

    #[test]
    fn rare_items_stay_near_the_mean() {
        // mu = 3; item 0: (2 + 2) / (2 + 2) = 1; item 1: -4 / (1 + 2); item 2 is new
        let data = ratings(&[(0, 0, 0, 5.0), (1, 0, 0, 5.0), (0, 1, 0, -1.0), (1, 2, 0, 0.0)]);
        let none = Labelled::none(&data);
        let fitted = with_shrink(2.0).fit(Labelled::new(&data, &[0, 1, 2]).unwrap(), Choice::none(&data)).unwrap();
        let scores = fitted.score(none, Unlabelled::new(&data, &[0, 2, 3]).unwrap());
        assert_eq!(scores, [4.0, (3.0 - 4.0 / 3.0) as f32, 3.0]);
    }

    #[test]
    fn validation_chooses_how_far_a_single_row_is_trusted() {
        // mu = 3, one row each at 5 and at 1. Where items stay as they were, shrinkage only hurts; where they all return to 3, none is enough.
        let data = ratings(&[(0, 0, 0, 5.0), (0, 1, 0, 1.0), (1, 0, 0, 5.0), (1, 1, 0, 1.0), (2, 0, 0, 3.0), (2, 1, 0, 3.0)]);
        let rows = |rows| Labelled::new(&data, rows).unwrap();
        let chosen = |validation| {
            let choice = Choice { rows: rows(validation), ..Choice::none(&data) };
            with_shrink([2.0, 0.0, 1000.0]).fit(rows(&[0, 1]), choice).unwrap().chosen().remove(0)
        };
        let (kept, returned) = (chosen(&[2, 3]), chosen(&[4, 5]));
        assert_eq!((kept.value, kept.at_end), (0.0, false));
        assert_eq!((returned.value, returned.at_end, returned.from), (1000.0, true, vec![0.0, 2.0, 1000.0]));
        let error = with_shrink([1.0, 2.0]).fit(rows(&[0, 1]), Choice::none(&data)).err();
        assert_eq!(error, Some(FloorError::NoValidation { floor: NAME, setting: "shrink", candidates: 2 }));
    }

    #[test]
    fn negative_shrinkage_is_refused() {
        let data = ratings(&[(0, 0, 0, 1.0)]);
        let error = with_shrink(-1.0).fit(Labelled::new(&data, &[0]).unwrap(), Choice::none(&data)).err().unwrap();
        assert_eq!(error.to_string(), "floor `item_mean`: `shrink` is -1, expected a number of rows, 0 or more");
    }
}
