//! The shrunken bias model: the level of the item plus the level of the user.

use std::collections::HashMap;

use acclimate_data::{ItemIndex, UserIndex};
use serde::{Deserialize, Serialize};

use super::setting::SHRINKS;
use super::shrunken::{ItemSums, Sum, user_offsets};
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

const NAME: &str = "bias";

/// Settings of [`Bias`]; where a list holds more than one value, validation chooses the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BiasConfig {
    /// Rows at the global mean that are added to each item. Raising it trusts rare items less. Default: chosen from 0.5 to 1,000.
    pub item_shrink: Grid,
    /// Support rows at the item's level that are added to each user. Raising it trusts a small support less. Default: chosen from 0.5 to 1,000.
    pub user_shrink: Grid,
}

impl Default for BiasConfig {
    fn default() -> Self {
        Self { item_shrink: SHRINKS.into(), user_shrink: SHRINKS.into() }
    }
}

/// Predicts `mu + b_i + b_u` with `b_i = sum(r - mu) / (n_i + item_shrink)` over training rows and `b_u = sum(r - mu - b_i) / (n + user_shrink)` over the
/// user's support rows; a missing item or support counts as 0.
///
/// Validation chooses by log loss for clicks, by squared error otherwise, with each user's support as it will be when scoring. Where no validation user
/// has any, half of a user's validation rows are the support and the others judge.
///
/// # References
/// Koren, *Factorization meets the neighborhood*, KDD 2008, section 2.1 (baseline estimates).
#[derive(Clone, Debug, Default)]
pub struct Bias {
    /// Settings.
    pub config: BiasConfig,
}

struct Fitted {
    items: ItemSums,
    item_shrink: f64,
    user_shrink: f64,
    config: BiasConfig,
}

impl PointwiseFloor for Bias {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        let BiasConfig { item_shrink, user_shrink } = &self.config;
        item_shrink.check(NAME, "item_shrink", 0.0, "a number of rows, 0 or more")?;
        user_shrink.check(NAME, "user_shrink", 0.0, "a number of rows, 0 or more")
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        let BiasConfig { item_shrink, user_shrink } = &self.config;
        let pairs: Vec<(f64, f64)> =
            item_shrink.values().iter().flat_map(|&item| user_shrink.values().iter().map(move |&user| (item, user))).collect();
        choice.check(NAME, "item_shrink, user_shrink", pairs.len())?;
        let items = ItemSums::new(train, train.mean(NAME)?);
        let (item_shrink, user_shrink) = match choice.knows_a_user() {
            true => best(&items, choice, &pairs),
            false => {
                let [support, rows] = choice.halves();
                best(&items, Choice { support: choice.rows.among(&support), rows: choice.rows.among(&rows) }, &pairs)
            }
        };
        Ok(Box::new(Fitted { items, item_shrink, user_shrink, config: self.config.clone() }))
    }
}

/// The pair of shrinkages with the smallest loss. Items are summed up already, so that a pair costs as much as the rows and, where the item's shrinkage is
/// another, the support rows.
fn best(items: &ItemSums, choice: Choice<'_>, pairs: &[(f64, f64)]) -> (f64, f64) {
    let (support, rows) = (choice.support.rows(), choice.rows.rows());
    // Users of the rows by position; support of others teaches nothing.
    let mut positions: HashMap<UserIndex, u32> = HashMap::new();
    let judged: Vec<(ItemIndex, u32)> = (0..rows.len())
        .map(|i| {
            let next = positions.len() as u32;
            (rows.item(i), *positions.entry(rows.user(i)).or_insert(next))
        })
        .collect();
    let known: Vec<(ItemIndex, u32, f64)> =
        (0..support.len()).filter_map(|i| Some((support.item(i), *positions.get(&support.user(i))?, choice.support.label(i)))).collect();
    let mut users = vec![Sum::default(); positions.len()];
    let mut levels = vec![0.0; judged.len()];
    let mut shrunken_by = None;
    let best = Judge::new(choice.rows).best(pairs, |(item_shrink, user_shrink), predictions| {
        if shrunken_by != Some(item_shrink) {
            shrunken_by = Some(item_shrink);
            users.fill(Sum::default());
            known.iter().for_each(|&(item, user, label)| users[user as usize].add(label - items.predict(item, item_shrink)));
            judged.iter().zip(&mut levels).for_each(|(&(item, _), level)| *level = items.predict(item, item_shrink));
        }
        let levels = judged.iter().zip(&levels).map(|(&(_, user), level)| level + users[user as usize].shrunken(user_shrink));
        predictions.iter_mut().zip(levels).for_each(|(p, level)| *p = level as f32);
    });
    best.expect("at least one pair, checked before")
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let level = |item| self.items.predict(item, self.item_shrink);
        let users = user_offsets(support, self.user_shrink, |i| support.label(i) - level(support.rows().item(i)));
        let user = |i| users.get(&query.user(i)).copied().unwrap_or(0.0);
        (0..query.len()).map(|i| (level(query.item(i)) + user(i)) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.items.parameters()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let BiasConfig { item_shrink, user_shrink } = &self.config;
        let none = |shrink| shrink == 0.0;
        vec![item_shrink.chosen("item_shrink", self.item_shrink, none), user_shrink.chosen("user_shrink", self.user_shrink, none)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;
    use acclimate_data::Dataset;
    use proptest::prelude::*;

    fn with_shrink(item: impl Into<Grid>, user: impl Into<Grid>) -> Bias {
        Bias { config: BiasConfig { item_shrink: item.into(), user_shrink: user.into() } }
    }

    fn fitted(data: &Dataset, train: &[u32]) -> Box<dyn FittedPointwise> {
        with_shrink(2.0, 1.0).fit(Labelled::new(data, train).unwrap(), Choice::none(data)).unwrap()
    }

    #[test]
    fn adds_item_and_user_levels() {
        // mu = 3, b_0 = 1, b_1 = -4/3; the support of user 2 leaves (6 - 4) + (3 - 3) = 2, so b_u = 2 / (2 + 1)
        let data = ratings(&[(0, 0, 0, 5.0), (1, 0, 0, 5.0), (0, 1, 0, -1.0), (2, 0, 0, 6.0), (2, 2, 0, 3.0), (2, 1, 0, 0.0)]);
        let query = Unlabelled::new(&data, &[5, 0]).unwrap();
        let scores = fitted(&data, &[0, 1, 2]).score(Labelled::new(&data, &[3, 4]).unwrap(), query);
        assert_eq!(scores, [(3.0 - 4.0 / 3.0 + 2.0 / 3.0) as f32, 4.0]);
    }

    fn labelled<'a>(data: &'a Dataset, rows: &'a [u32]) -> Labelled<'a> {
        Labelled::new(data, rows).unwrap()
    }

    /// What `fit` chooses, found the long way: one floor for each pair, scored as it will be.
    fn by_hand(data: &Dataset, train: &[u32], [support, rows]: [&[u32]; 2], grid: &[f64]) -> [f64; 2] {
        let mut best = (f64::INFINITY, [0.0; 2]);
        for &item in grid {
            for &user in grid {
                let fitted = with_shrink(item, user).fit(labelled(data, train), Choice::none(data)).unwrap();
                let scores = fitted.score(labelled(data, support), Unlabelled::new(data, rows).unwrap());
                let loss: f64 = scores.iter().zip(rows).map(|(p, &row)| f64::from(p - data.log.label[row as usize]).powi(2)).sum();
                if loss < best.0 {
                    best = (loss, [item, user]);
                }
            }
        }
        best.1
    }

    #[test]
    fn a_reliable_user_is_trusted_soon_and_a_fickle_one_late() {
        // Items are all alike. User 1 is always one above the mean of 3, user 2 as often above as below.
        let row = |user, i: u32, label| (user, i % 2, 0, label);
        let mut rows: Vec<_> = (0..10).map(|i| row(0, i, 3.0)).collect();
        rows.extend((0..8).map(|i| row(1, i, 4.0)));
        rows.extend((0..8).map(|i| row(2, i, if i % 4 < 2 { 5.0 } else { 1.0 })));
        let data = ratings(&rows);
        let train: Vec<u32> = (0..10).collect();
        let choose = |support: &[u32], rows: &[u32]| {
            let choice = Choice { support: labelled(&data, support), rows: labelled(&data, rows) };
            with_shrink(1.0, [1.0, 20.0]).fit(labelled(&data, &train), choice).unwrap().chosen().remove(1).value
        };
        assert_eq!(choose(&[10, 11], &[12, 13, 14]), 1.0);
        assert_eq!(choose(&[18, 19], &[20, 21, 22, 23]), 20.0, "two rows at 5 say nothing of the next");
        // Without support the rows themselves are halved: user 1 still shows what a support is worth.
        assert_eq!(choose(&[], &[10, 11, 12, 13, 14, 15]), 1.0);
    }

    #[test]
    fn users_without_support_do_not_split_those_who_have_some() {
        let data = ratings(&[(0, 0, 0, 3.0), (1, 0, 0, 4.0), (1, 0, 0, 4.0), (2, 0, 0, 2.0), (2, 0, 0, 2.0)]);
        let known = |support| Choice { support: labelled(&data, support), rows: labelled(&data, &[2, 3, 4]) }.knows_a_user();
        assert!(known(&[1]) && !known(&[]) && !known(&[0]), "user 0 is not judged");
    }

    #[test]
    fn an_open_choice_needs_rows() {
        let data = ratings(&[(0, 0, 0, 3.0)]);
        let error = with_shrink(1.0, [1.0, 2.0]).fit(Labelled::new(&data, &[0]).unwrap(), Choice::none(&data)).err();
        assert_eq!(error, Some(FloorError::NoValidation { floor: NAME, setting: "item_shrink, user_shrink", candidates: 2 }));
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_separate_fits(rows in proptest::collection::vec((0u32..6, 0u32..5, 1u32..6), 40..90)) {
            let data = ratings(&rows.iter().map(|&(user, item, label)| (user, item, 0, label as f32)).collect::<Vec<_>>());
            let part = |wanted: u32| (0..rows.len() as u32).filter(|row| row % 3 == wanted).collect::<Vec<u32>>();
            let (train, support, judged) = (part(0), part(1), part(2));
                let choice = Choice { support: labelled(&data, &support), rows: labelled(&data, &judged) };
            let grid = [4.0, 0.5, 30.0];
            let chosen = with_shrink(grid, grid).fit(labelled(&data, &train), choice).unwrap().chosen();
            prop_assert_eq!([chosen[0].value, chosen[1].value], by_hand(&data, &train, [&support, &judged], &grid));
        }

        #[test]
        fn query_labels_are_never_read(labels in proptest::collection::vec(-5.0f32..5.0, 4)) {
            let base = [(0, 0, 0, 5.0), (1, 1, 0, 2.0), (2, 0, 0, 4.0), (2, 1, 0, 1.0)];
            let mut changed = base;
            changed[3].3 = labels[3];
            let score = |data: &Dataset| {
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
