//! Logistic regression on all encoded features: the best that a linear function of the inputs does.

mod design;
mod problem;

use acclimate_data::{Dataset, LabelKind};
use serde::{Deserialize, Serialize};

use self::design::{Design, Layout};
use self::problem::Problem;
use super::error::at_least;
use super::lbfgs::{Stop, minimise};
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

const NAME: &str = "logistic_regression";

/// Settings of [`LogisticRegression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticRegressionConfig {
    /// Strengths of the squared penalty to try; validation log loss chooses, and weaker ones are not tried once it gets worse.
    /// At rates near one half, a weight seen in `4 l2` rows is shrunk by about half. It is 1/C of other libraries.
    /// Default: chosen from 0.1 to 100.
    pub l2: Grid,
    /// Whether each domain has its own intercept. Default true.
    pub domain: bool,
    /// Steps of the optimiser per strength at most. Default 200; the starting point is the solution of the next stronger penalty.
    pub max_iterations: usize,
    /// The optimiser stops when its gradient, in the norm of its preconditioner, is this fraction of that at weights 0. Default 1e-3: a tenth of it changes the log loss by less than 1e-4 on KuaiRand-Pure.
    pub tolerance: f64,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        Self { l2: [100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1].into(), domain: true, max_iterations: 200, tolerance: 1e-3 }
    }
}

/// Predicts `p = 1 / (1 + exp(-(c + w x)))` for clicks, with w and c minimising `sum of log losses + l2 / 2 |w|^2`; the intercept c is not penalised.
///
/// x holds a one-hot vector per categorical feature (code 0, unknown, included), the mean of one-hots per multi-valued feature (nothing for an empty one),
/// numeric features as they are, and a one-hot vector of the domain. Nothing is expanded: codes index w.
///
/// Trained by L-BFGS with an exact line search and a diagonal preconditioner, deterministic, on one thread.
///
/// # References
/// Liu and Nocedal, *On the limited memory BFGS method for large scale optimization*, Mathematical Programming 1989.
#[derive(Clone, Debug, Default)]
pub struct LogisticRegression {
    /// Settings.
    pub config: LogisticRegressionConfig,
    /// Features that are not read, by name.
    pub without: Vec<String>,
}

struct Fitted {
    layout: Layout,
    weights: Vec<f64>,
    l2: f64,
    grid: Grid,
}

/// Labels as 0 or 1.
fn binary(train: Labelled<'_>) -> Result<Vec<f64>, FloorError> {
    let check = |i: usize| match train.label(i) {
        label if label == 0.0 || label == 1.0 => Ok(label),
        label => Err(FloorError::LabelNotBinary { floor: NAME, row: train.row(i), value: label as f32 }),
    };
    (0..train.len()).map(check).collect()
}

impl PointwiseFloor for LogisticRegression {
    fn name(&self) -> &'static str {
        NAME
    }

    fn applies_to(&self, dataset: &Dataset) -> bool {
        dataset.label == LabelKind::Click
    }

    fn leaving_out(&self, features: &[String]) -> Option<Box<dyn PointwiseFloor>> {
        Some(Box::new(Self { config: self.config.clone(), without: features.to_vec() }))
    }

    fn check(&self) -> Result<(), FloorError> {
        self.config.l2.check(NAME, "l2", f64::MIN_POSITIVE, "a strength above 0")?;
        at_least(NAME, "tolerance", self.config.tolerance, f64::MIN_POSITIVE, "a fraction above 0")
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        let LogisticRegressionConfig { l2: grid, domain, max_iterations, tolerance } = &self.config;
        self.check()?;
        choice.check(NAME, "l2", grid.len())?;
        let labels = binary(train)?;
        let rate = train.mean(NAME)?.clamp(1e-6, 1.0 - 1e-6);
        let layout = Layout::new(train.rows(), *domain, &self.without);
        let design = Design::new(&layout, train.rows());
        let stop = Stop { max_iterations: *max_iterations, tolerance: *tolerance };
        let mut weights = vec![0.0; layout.len()];
        weights[layout.intercept()] = (rate / (1.0 - rate)).ln();
        // The solution of one strength is the start of the next weaker one.
        let mut strengths = grid.values().to_vec();
        strengths.sort_unstable_by(|a, b| b.total_cmp(a));
        let judge = Judge::new(choice.rows);
        let mut best: Option<(f64, Fitted)> = None;
        for l2 in strengths {
            weights = minimise(&Problem { design: &design, labels: &labels, l2 }, weights, stop);
            let fitted = Fitted { layout: layout.clone(), weights: weights.clone(), l2, grid: grid.clone() };
            let value = judge.loss(&fitted.score(choice.support, choice.rows.rows()));
            if best.as_ref().is_some_and(|(lowest, _)| value >= *lowest) {
                break;
            }
            best = Some((value, fitted));
        }
        let (_, fitted) = best.expect("at least one strength, checked above");
        Ok(Box::new(fitted))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        (0..query.len()).map(|i| (1.0 / (1.0 + (-self.layout.dot(&self.weights, query, i)).exp())) as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.weights.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        vec![self.grid.chosen("l2", self.l2, |_| false)]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::floor::fixture::{clicks, ratings};
    use acclimate_data::{Bag, Categorical, Lists, Numeric, Side, Vocabulary, VocabularyIndex};
    use std::sync::Arc;

    /// Features of every kind and side over 60 rows whose labels follow them, with some noise.
    pub(in crate::floor) fn mixed() -> Dataset {
        let rows: Vec<_> = (0..60u32).map(|i| (i % 7, i % 5, i % 2, f32::from(u8::from((i * i + i / 3) % 4 < 2 + i % 2)))).collect();
        let mut data = clicks(&rows);
        let vocabulary = |name: &str, n: usize| Vocabulary::new(name, (0..n).map(|i| i.to_string()));
        data.features.vocabularies = Arc::new(vec![vocabulary("kind", 3), vocabulary("tag", 4)]);
        data.features.categorical = [
            Categorical { name: "user_kind".into(), side: Side::User, vocabulary: VocabularyIndex(0), codes: vec![0, 1, 2, 3, 1, 2, 1] },
            Categorical { name: "item_kind".into(), side: Side::Item, vocabulary: VocabularyIndex(0), codes: vec![3, 2, 1, 0, 1] },
            Categorical {
                name: "slot".into(),
                side: Side::Row,
                vocabulary: VocabularyIndex(0),
                codes: (0..60).map(|i| (i / 7) % 4).collect(),
            },
        ]
        .map(Arc::new)
        .to_vec();
        data.features.bags = vec![Arc::new(Bag {
            name: "tags".into(),
            side: Side::Item,
            vocabulary: VocabularyIndex(1),
            lists: Lists::Own { offsets: vec![0, 2, 2, 5, 6, 8], codes: vec![1, 2, 2, 3, 4, 4, 1, 1] },
        })];
        data.features.numeric = [
            Numeric { name: "age".into(), side: Side::User, values: vec![0.1, 0.9, 0.4, 0.2, 0.0, 1.0, 0.5], unknown: 0.0 },
            Numeric { name: "hour".into(), side: Side::Row, values: (0..60).map(|i| (i % 24) as f32 / 24.0).collect(), unknown: 0.0 },
        ]
        .map(Arc::new)
        .to_vec();
        data
    }

    fn with_l2(l2: impl Into<Grid>) -> LogisticRegression {
        let config = LogisticRegressionConfig { l2: l2.into(), tolerance: 1e-9, ..LogisticRegressionConfig::default() };
        LogisticRegression { config, without: Vec::new() }
    }

    #[test]
    fn one_binary_feature_has_a_known_solution() {
        // One numeric feature, x = 1 for half of the rows, no domain: with next to no penalty the two rates come out, 3/4 and 1/4.
        let mut data = clicks(&[
            (0, 0, 0, 1.0),
            (0, 0, 0, 1.0),
            (0, 0, 0, 1.0),
            (0, 0, 0, 0.0),
            (1, 0, 0, 1.0),
            (1, 0, 0, 0.0),
            (1, 0, 0, 0.0),
            (1, 0, 0, 0.0),
        ]);
        data.features.numeric = vec![Arc::new(Numeric { name: "x".into(), side: Side::User, values: vec![1.0, 0.0], unknown: 0.0 })];
        let rows: Vec<u32> = (0..8).collect();
        let rows = Labelled::new(&data, &rows).unwrap();
        let mut floor = with_l2(1e-9);
        floor.config.domain = false;
        let scores = floor.fit(rows, Choice::none(&data)).unwrap().score(rows, rows.rows());
        assert!(scores[..4].iter().all(|p| (p - 0.75).abs() < 1e-6) && scores[4..].iter().all(|p| (p - 0.25).abs() < 1e-6), "{scores:?}");
    }

    #[test]
    fn the_mean_prediction_is_the_mean_label() {
        // The intercept is free, so the residuals of the solution sum to 0 at any penalty.
        let data = mixed();
        let rows: Vec<u32> = (0..60).collect();
        let rows = Labelled::new(&data, &rows).unwrap();
        for l2 in [0.1, 1.0, 100.0] {
            let scores = with_l2(l2).fit(rows, Choice::none(&data)).unwrap().score(rows, rows.rows());
            let residual: f64 = scores.iter().zip(rows.labels()).map(|(&p, y)| f64::from(p) - y).sum();
            assert!(residual.abs() < 1e-4, "l2 {l2}: {residual}");
        }
    }

    #[test]
    fn validation_chooses_the_strength_and_stops_when_it_gets_worse() {
        // Labels that have nothing to do with the features: the strongest penalty is best.
        let mut data = mixed();
        for (i, label) in Arc::make_mut(&mut data.log).label.iter_mut().enumerate() {
            *label = f32::from(u8::from((i * 7919 / 13) % 3 == 0));
        }
        let (train, validation): (Vec<u32>, Vec<u32>) = (0..60).partition(|r| r % 3 != 1);
        let choice = Choice { rows: Labelled::new(&data, &validation).unwrap(), ..Choice::none(&data) };
        let fitted = with_l2([0.001, 1000.0]).fit(Labelled::new(&data, &train).unwrap(), choice).unwrap();
        assert_eq!((fitted.chosen()[0].value, fitted.chosen()[0].at_end), (1000.0, true));
    }

    #[test]
    fn ratings_are_refused_with_the_row() {
        let data = ratings(&[(0, 0, 0, 1.0), (0, 1, 0, 4.0)]);
        assert!(!LogisticRegression::default().applies_to(&data));
        let rows = Labelled::new(&data, &[0, 1]).unwrap();
        let error = LogisticRegression::default().fit(rows, Choice { support: rows, rows }).err();
        assert_eq!(error, Some(FloorError::LabelNotBinary { floor: NAME, row: 1, value: 4.0 }));
    }

    #[test]
    fn a_code_beyond_the_training_vocabulary_counts_as_unknown() {
        let data = mixed();
        let rows: Vec<u32> = (0..60).collect();
        let rows = Labelled::new(&data, &rows).unwrap();
        let fitted = with_l2(1.0).fit(rows, Choice::none(&data)).unwrap();
        let mut grown = data.clone();
        Arc::make_mut(&mut grown.features.categorical[2]).codes[0] = 9;
        let mut unknown = data.clone();
        Arc::make_mut(&mut unknown.features.categorical[2]).codes[0] = 0;
        let score = |data: &Dataset| fitted.score(Labelled::none(data), Unlabelled::new(data, &[0]).unwrap());
        assert_eq!(score(&grown), score(&unknown));
    }

    #[test]
    fn a_feature_that_is_left_out_is_as_if_it_were_not_there() {
        let data = mixed();
        let rows: Vec<u32> = (0..60).collect();
        let fit = |floor: &dyn PointwiseFloor, data: &Dataset| {
            let labelled = Labelled::new(data, &rows).unwrap();
            let fitted = floor.fit(labelled, Choice::none(data)).unwrap();
            (fitted.parameters(), fitted.score(Labelled::none(data), labelled.rows()))
        };
        let floor = with_l2(0.5);
        for name in ["user_kind", "tags", "age"] {
            let mut less = data.clone();
            less.features.categorical.retain(|f| f.name != name);
            less.features.bags.retain(|f| f.name != name);
            less.features.numeric.retain(|f| f.name != name);
            let without = floor.leaving_out(&[name.to_owned()]).unwrap();
            assert_eq!(fit(without.as_ref(), &data), fit(&floor, &less), "{name}");
            assert_ne!(fit(without.as_ref(), &data), fit(&floor, &data), "{name}");
        }
    }
}
