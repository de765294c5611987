//! Bayesian matrix factorisation into which new items are folded, by one solve each.

use std::collections::BTreeMap;

use acclimate_data::{Dataset, LabelKind};
use acclimate_fit::{FoldIn, FoldInConfig, ItemVector};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::design::Design;
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

const NAME: &str = "fold_in_items";

/// Settings of [`FoldInItems`]; where a list holds more than one value, validation chooses the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FoldInItemsConfig {
    /// Factors of the factorisation, beside the one that plays the user's level. Default 16.
    pub factors: usize,
    /// Its sweeps of EM. Default 10.
    pub sweeps: usize,
    /// Ratings at what its content says that are added to a new item's level. Default: chosen from 1 to 50.
    pub level_rows: Grid,
    /// The same for each of its loadings. Default: chosen from 5 to 1,000.
    pub loading_rows: Grid,
}

impl Default for FoldInItemsConfig {
    fn default() -> Self {
        let FoldInConfig { factors, sweeps, .. } = FoldInConfig::default();
        Self {
            factors,
            sweeps,
            level_rows: [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].into(),
            loading_rows: [5.0, 20.0, 50.0, 200.0, 1000.0].into(),
        }
    }
}

/// Predicts the mean of the factorisation of [`fold_in_floor`](super::Form::FoldIn) for users as training knows them. An item without training rows has the vector that its content says, and from its support rows the ridge
/// regression of their ratings on these users' vectors, drawn towards the former: see [`FoldIn::folded`].
#[derive(Clone, Debug, Default)]
pub struct FoldInItems {
    /// Settings.
    pub config: FoldInItemsConfig,
    /// Features that are not read, by name.
    pub without: Vec<String>,
}

struct Model {
    fit: FoldIn,
    /// Mean and covariance of z of each user.
    users: Vec<(Vec<f64>, Vec<f64>)>,
}

struct Fitted {
    model: Model,
    rows: [f64; 2],
    config: FoldInItemsConfig,
}

impl Model {
    fn score(&self, rows: [f64; 2], support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let mut rated: BTreeMap<usize, (Vec<u32>, Vec<f64>)> = BTreeMap::new();
        for i in 0..support.len() {
            let (user, item) = (support.rows().user(i), support.rows().item(i).at());
            if self.fit.counts[item] == 0 {
                let (users, ratings) = rated.entry(item).or_default();
                users.push(user.0);
                ratings.push(support.label(i));
            }
        }
        let fold = |(item, (users, ratings)): (usize, (Vec<u32>, Vec<f64>))| {
            (item, self.fit.folded((&users, &ratings), &self.users, self.fit.item(item).values, rows))
        };
        let folded: BTreeMap<usize, Vec<f64>> = rated.into_par_iter().map(fold).collect();
        let of = |i: usize| {
            let item = query.item(i).at();
            let vector = match folded.get(&item) {
                Some(values) => ItemVector { values, more_noise: 0.0, covariance: &[] },
                None => self.fit.item(item),
            };
            self.fit.rating(vector, &self.users[query.user(i).at()].0) as f32
        };
        (0..query.len()).map(of).collect()
    }
}

impl PointwiseFloor for FoldInItems {
    fn name(&self) -> &'static str {
        NAME
    }

    fn applies_to(&self, dataset: &Dataset) -> bool {
        matches!(dataset.label, LabelKind::Rating { .. })
    }

    fn folds_items(&self) -> bool {
        true
    }

    fn leaving_out(&self, features: &[String]) -> Option<Box<dyn PointwiseFloor>> {
        Some(Box::new(Self { without: features.to_vec(), ..self.clone() }))
    }

    fn check(&self) -> Result<(), FloorError> {
        if self.config.sweeps == 0 {
            return Err(FloorError::Setting { floor: NAME, setting: "sweeps", value: "0".into(), expected: "1 or more" });
        }
        for (name, grid) in [("level_rows", &self.config.level_rows), ("loading_rows", &self.config.loading_rows)] {
            grid.check(NAME, name, 1e-3, "a number of rows, 0.001 or more")?;
        }
        Ok(())
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        let FoldInItemsConfig { factors, sweeps, level_rows, loading_rows } = &self.config;
        let pairs: Vec<[f64; 2]> = level_rows.values().iter().flat_map(|&b| loading_rows.values().iter().map(move |&q| [b, q])).collect();
        choice.check(NAME, "level_rows, loading_rows", pairs.len())?;
        if train.is_empty() {
            return Err(FloorError::NoTrainingRows { floor: NAME });
        }
        let design = Design::new(train, &self.without);
        let fit = FoldIn::fit(&design.ratings(train), &FoldInConfig { factors: *factors, sweeps: *sweeps, ..FoldInConfig::default() });
        let rows = train.rows();
        let mut rated = vec![Vec::new(); rows.counts()[0]];
        (0..train.len()).for_each(|i| rated[rows.user(i).at()].push((rows.item(i).at(), train.label(i))));
        let user = |(u, rated): (usize, Vec<(usize, f64)>)| {
            let known = rated.into_iter().map(|(item, rating)| (fit.item(item), rating));
            let posterior = fit.posterior(&fit.prior_of(&design.people, u), known);
            let covariance = posterior.precision.inverse();
            (posterior.mean, covariance)
        };
        let users = rated.into_par_iter().enumerate().map(user).collect();
        let model = Model { fit, users };
        let judge = Judge::new(choice.rows);
        let rows =
            judge.best(&pairs, |pair, predictions| predictions.copy_from_slice(&model.score(pair, choice.support, choice.rows.rows())));
        Ok(Box::new(Fitted { model, rows: rows.expect("at least one pair, checked before"), config: self.config.clone() }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        self.model.score(self.rows, support, query)
    }

    fn parameters(&self) -> usize {
        let FoldIn { items, content, people, .. } = &self.model.fit;
        items.len() + content.len() + people.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let FoldInItemsConfig { level_rows, loading_rows, .. } = &self.config;
        let [level, loading] = self.rows;
        vec![level_rows.chosen("level_rows", level, |_| false), loading_rows.chosen("loading_rows", loading, |_| false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    /// Six users like even items or odd ones; item 6 is new.
    fn data() -> Dataset {
        let taste = |user: u32, item: u32| if (user + item).is_multiple_of(2) { 5.0 } else { 1.0 };
        let known = (0..6).flat_map(|user| (0..6).map(move |item| (user, item, 0, taste(user, item))));
        ratings(&known.chain((0..6).map(|user| (user, 6, 0, taste(user, 6)))).collect::<Vec<_>>())
    }

    fn floor() -> FoldInItems {
        let config = FoldInItemsConfig { factors: 1, level_rows: 1.0.into(), loading_rows: 1.0.into(), ..FoldInItemsConfig::default() };
        FoldInItems { config, without: Vec::new() }
    }

    #[test]
    fn the_ratings_of_some_users_tell_who_else_will_like_an_item() {
        let data = data();
        let (train, new): (Vec<u32>, Vec<u32>) = ((0..36).collect(), (36..42).collect());
        let fitted = floor().fit(Labelled::new(&data, &train).unwrap(), Choice::none(&data)).unwrap();
        let apart = |support: &[u32]| {
            let said = fitted.score(Labelled::new(&data, support).unwrap(), Unlabelled::new(&data, &new[4..]).unwrap());
            said[0] - said[1]
        };
        assert!(apart(&[]).abs() < 0.5, "nothing is known of the item: {}", apart(&[]));
        assert!(apart(&new[..4]) > 1.5, "user 4 is like users 0 and 2: {}", apart(&new[..4]));
        // Training rows in the support say nothing again.
        let all = [train.as_slice(), &new[..4]].concat();
        assert_eq!(apart(&all), apart(&new[..4]));
    }
}
