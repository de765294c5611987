//! The bias model with what content says of an item: the level of an item without many ratings is drawn towards a regression on its features.

use acclimate_data::{Dataset, ItemIndex, LabelKind, UserIndex};
use acclimate_fit::{ContentLevels, Residuals, Sparse};
use serde::{Deserialize, Serialize};

use super::design::Design;
use super::setting::SHRINKS;
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

const NAME: &str = "content_bias";
/// Settings of [`ContentBias`]; where a list holds more than one value, validation chooses the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentBiasConfig {
    /// Ratings at what its content says that are added to an item's own. Raising it trusts few ratings less. Default: chosen from 0.5 to 1,000.
    pub content_rows: Grid,
    /// Penalty of the regression on content, in ratings. Raising it draws all items towards the mean. Default: chosen from 0.05 to 100.
    pub penalty: Grid,
}

impl Default for ContentBiasConfig {
    fn default() -> Self {
        Self { content_rows: SHRINKS.into(), penalty: [0.05, 0.2, 1.0, 5.0, 20.0, 100.0].into() }
    }
}

/// Predicts `mu + b_u + b_i` with `b_i = (sum(r - mu - b_u) + c p_i) / (n + c)`, `p_i` what a ridge regression of the items' mean residuals on their content says, each weighing `n / (n + c)`;
/// the n rows are training rows, of an item without any its support rows.
///
/// Levels of users come from training rows alone, by five sweeps over both. c and the penalty are chosen by squared error on the validation rows, once with the support rows of their items and once without any.
#[derive(Clone, Debug, Default)]
pub struct ContentBias {
    /// Settings.
    pub config: ContentBiasConfig,
    /// Features that are not read, by name.
    pub without: Vec<String>,
}

struct Fitted {
    levels: ContentLevels,
    /// p of each item.
    priors: Vec<f64>,
    content_rows: f64,
    penalty: f64,
    config: ContentBiasConfig,
}

/// The levels of the training rows.
fn levels(train: Labelled<'_>, mean: f64, content: &Sparse) -> ContentLevels {
    let rows = train.rows();
    let each = (0..train.len()).map(|i| (rows.user(i).at(), rows.item(i).at(), train.label(i)));
    ContentLevels::fit(mean, rows.counts()[0], each, content)
}

/// p of each item.
fn priors(levels: &ContentLevels, content_rows: f64, penalty: f64) -> Vec<f64> {
    let weights = levels.weights(content_rows, penalty);
    (0..levels.items.len()).map(|i| levels.prior(&weights, i)).collect()
}

fn of_user(levels: &ContentLevels, user: UserIndex) -> f64 {
    levels.users.get(user.at()).copied().unwrap_or(0.0)
}

/// The rows of each item: of training, or where there are none those of the support.
fn known(levels: &ContentLevels, support: Labelled<'_>) -> Vec<Residuals> {
    let mut known = levels.items.clone();
    for i in 0..support.len() {
        let (user, item) = (support.rows().user(i), support.rows().item(i));
        if levels.items[item.at()].n() == 0.0 {
            known[item.at()].add(support.label(i) - levels.mean - of_user(levels, user));
        }
    }
    known
}

fn predict(levels: &ContentLevels, known: &[Residuals], priors: &[f64], content_rows: f64, (user, item): (UserIndex, ItemIndex)) -> f32 {
    let (sum, prior) = (known[item.at()], priors[item.at()]);
    (levels.mean + of_user(levels, user) + sum.towards(prior, content_rows)) as f32
}

impl PointwiseFloor for ContentBias {
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
        self.config.content_rows.check(NAME, "content_rows", 0.0, "a number of rows, 0 or more")?;
        self.config.penalty.check(NAME, "penalty", 0.0, "a number of rows, 0 or more")
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        let ContentBiasConfig { content_rows, penalty } = &self.config;
        let pairs: Vec<(f64, f64)> = penalty.values().iter().flat_map(|&p| content_rows.values().iter().map(move |&c| (c, p))).collect();
        choice.check(NAME, "content_rows, penalty", pairs.len())?;
        let mean = train.mean(NAME)?;
        let levels = levels(train, mean, &Design::new(train, &self.without).content);
        let rows = choice.rows.rows();
        let (judge, known) = (Judge::new(choice.rows), known(&levels, choice.support));
        let mut best: Option<(f64, (f64, f64))> = None;
        for &(content_rows, penalty) in pairs.iter().filter(|_| pairs.len() > 1) {
            let priors = priors(&levels, content_rows, penalty);
            let loss = |known: &[Residuals]| {
                let of = |i: usize| predict(&levels, known, &priors, content_rows, (rows.user(i), rows.item(i)));
                judge.loss(&(0..rows.len()).map(of).collect::<Vec<_>>())
            };
            let loss = loss(&known) + loss(&levels.items);
            if best.is_none_or(|(lowest, _)| loss < lowest) {
                best = Some((loss, (content_rows, penalty)));
            }
        }
        let (content_rows, penalty) = best.map_or(pairs[0], |(_, pair)| pair);
        let priors = priors(&levels, content_rows, penalty);
        Ok(Box::new(Fitted { levels, priors, content_rows, penalty, config: self.config.clone() }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let known = known(&self.levels, support);
        (0..query.len()).map(|i| predict(&self.levels, &known, &self.priors, self.content_rows, (query.user(i), query.item(i)))).collect()
    }

    fn parameters(&self) -> usize {
        1 + self.levels.users.len() + self.levels.items.len() + self.levels.width()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let ContentBiasConfig { content_rows, penalty } = &self.config;
        let none = |value: f64| value == 0.0;
        vec![content_rows.chosen("content_rows", self.content_rows, none), penalty.chosen("penalty", self.penalty, none)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::ratings;

    fn floor(content_rows: impl Into<Grid>) -> ContentBias {
        ContentBias { config: ContentBiasConfig { content_rows: content_rows.into(), penalty: 1.0.into() }, without: Vec::new() }
    }

    #[test]
    fn an_item_without_ratings_has_its_prior_and_is_drawn_from_it_by_its_support() {
        // Items have no features: every prior is the intercept. Users 0 and 1 rate items 0 and 1; item 2 is new.
        let data = ratings(&[(0, 0, 0, 5.0), (0, 1, 0, 3.0), (1, 0, 0, 5.0), (1, 1, 0, 3.0), (0, 2, 0, 1.0), (1, 2, 0, 4.0)]);
        let rows = |rows| Labelled::new(&data, rows).unwrap();
        let fitted = floor(3.0).fit(rows(&[0, 1, 2, 3]), Choice::none(&data)).unwrap();
        let said = |support: &[u32]| fitted.score(Labelled::new(&data, support).unwrap(), Unlabelled::new(&data, &[5]).unwrap())[0];
        // mu 4, levels of users 0; the two items say +1 and -1, so the intercept is 0; one rating of 1 says -3 / (1 + 3).
        assert!((said(&[]) - 4.0).abs() < 1e-5, "{}", said(&[]));
        assert!((said(&[4]) - 3.25).abs() < 1e-5, "{}", said(&[4]));
        // What training says of an item, its support does not say again.
        let known = |support: &[u32]| fitted.score(Labelled::new(&data, support).unwrap(), Unlabelled::new(&data, &[0]).unwrap())[0];
        assert_eq!(known(&[1, 2]), known(&[]));
    }

    #[test]
    fn settings_are_those_with_the_smallest_error_on_validation_items() {
        let data = ratings(&[(0, 0, 0, 5.0), (0, 1, 0, 3.0), (1, 0, 0, 5.0), (1, 1, 0, 3.0), (0, 2, 0, 1.0), (1, 2, 0, 1.0)]);
        let chosen = |label: f32| {
            let mut data = data.clone();
            std::sync::Arc::make_mut(&mut data.log).label[5] = label;
            let rows = |rows| Labelled::new(&data, rows).unwrap();
            floor([0.5, 50.0]).fit(rows(&[0, 1, 2, 3]), Choice { support: rows(&[4]), rows: rows(&[5]) }).unwrap().chosen()[0].value
        };
        assert_eq!((chosen(1.0), chosen(5.0)), (0.5, 50.0));
        let error = floor([0.5, 50.0]).fit(Labelled::new(&data, &[0, 1]).unwrap(), Choice::none(&data)).err();
        assert_eq!(error, Some(FloorError::NoValidation { floor: NAME, setting: "content_rows, penalty", candidates: 2 }));
    }
}
