//! Closed-form Bayesian models of ratings that a user is folded into by one solve.

use std::collections::HashMap;

use acclimate_data::{Dataset, LabelKind, UserIndex};
use acclimate_fit::{Answer, FoldInConfig, Item, MOST_SWEEPS, Ordinal, RegressionConfig, SIZES, Spread, UserModel, judged, ordinal_of};
use serde::{Deserialize, Serialize};

use super::design::Design;
use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Labelled, PointwiseFloor, Unlabelled};

/// Settings of the three forms of [`Bayes`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BayesConfig {
    /// Factors of the factorisation, beside the one that plays the user's level. Default 16.
    pub factors: usize,
    /// Its sweeps of EM. Default 10.
    pub sweeps: usize,
}

impl Default for BayesConfig {
    fn default() -> Self {
        let FoldInConfig { factors, sweeps, .. } = FoldInConfig::default();
        Self { factors, sweeps }
    }
}

/// How far the model goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `fold_in_floor`: Bayesian matrix factorisation with priors from content and from what is known of users.
    FoldIn,
    /// `bayes_floor`: empirical-Bayes linear regression on its vectors and on narrow content.
    Regression,
    /// `bayes_plus_floor`: with features of which items were rated, and a kernel of what is left over.
    Plus,
}

/// Predicts the mean of a Bayesian model of ratings given the user's support rows: see [`acclimate_fit::FoldIn`] and [`acclimate_fit::Regression`] for the formulas.
///
/// It reads which item and user a row is of, and the features of both sides: one-hot codes and numbers, these held to the range of the training items. Features of at most 24 values
/// are narrow, and read by the regression; of wider ones the codes count that at least three training items have, at half weight. Where validation users have support rows, their squared error chooses the number of sweeps
/// of the regression. Beside the mean it says the standard deviation, and for ratings of few values the cut points of an [`Ordinal`], which a tenth of the training users teaches that is held out of another fit.
#[derive(Clone, Debug)]
pub struct Bayes {
    /// The form.
    pub form: Form,
    /// Settings.
    pub config: BayesConfig,
    /// Features that are not read, by name.
    pub without: Vec<String>,
}

impl Bayes {
    /// A form with settings.
    #[must_use]
    pub fn new(form: Form, config: BayesConfig) -> Self {
        Self { form, config, without: Vec::new() }
    }
}

struct Fitted {
    model: UserModel,
    design: Design,
    /// Whether the sweeps were chosen.
    chosen: bool,
    ordinal: Option<Ordinal>,
}

impl PointwiseFloor for Bayes {
    fn name(&self) -> &'static str {
        match self.form {
            Form::FoldIn => "fold_in_floor",
            Form::Regression => "bayes_floor",
            Form::Plus => "bayes_plus_floor",
        }
    }

    fn applies_to(&self, dataset: &Dataset) -> bool {
        matches!(dataset.label, LabelKind::Rating { .. })
    }

    fn needs_support(&self) -> bool {
        true
    }

    fn leaving_out(&self, features: &[String]) -> Option<Box<dyn PointwiseFloor>> {
        Some(Box::new(Self { without: features.to_vec(), ..self.clone() }))
    }

    fn check(&self) -> Result<(), FloorError> {
        if self.config.sweeps == 0 {
            return Err(FloorError::Setting { floor: self.name(), setting: "sweeps", value: "0".into(), expected: "1 or more" });
        }
        Ok(())
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        if train.is_empty() {
            return Err(FloorError::NoTrainingRows { floor: self.name() });
        }
        let BayesConfig { factors, sweeps } = self.config;
        let fold_in = FoldInConfig { factors, sweeps, ..FoldInConfig::default() };
        let regression = match self.form {
            Form::FoldIn => None,
            Form::Regression => Some(RegressionConfig::default()),
            Form::Plus => Some(RegressionConfig::plus()),
        };
        let design = Design::new(train, &self.without);
        let ratings = design.ratings(train);
        let halves;
        let (support, rows) = match choice.knows_a_user() {
            true => (choice.support, choice.rows),
            false => {
                halves = choice.halves();
                (choice.rows.among(&halves[0]), choice.rows.among(&halves[1]))
            }
        };
        let judge = Judge::new(rows);
        let loss = |model: &UserModel| judge.loss(&means(&answers(model, &design, support, rows.rows(), false)));
        let chosen = !rows.is_empty() && regression.is_some();
        let model = UserModel::fit(&ratings, &fold_in, regression.as_ref(), chosen.then_some(&loss));
        // With as many sweeps as were chosen.
        let regression = regression.zip(model.regression.as_ref()).map(|(config, fit)| RegressionConfig { sweeps: fit.sweeps, ..config });
        let ordinal = ordinal_of(&ratings, &judged(&ratings, &fold_in, regression.as_ref()), &[1.0; SIZES.len()]);
        Ok(Box::new(Fitted { model, design, chosen, ordinal }))
    }
}

/// What is expected of each row, each user adapted by the support rows of that user.
fn answers(model: &UserModel, design: &Design, support: Labelled<'_>, query: Unlabelled<'_>, with_variance: bool) -> Vec<Answer> {
    let mut known: HashMap<UserIndex, Vec<(Item<'_>, f64)>> = HashMap::new();
    let mut asked: HashMap<UserIndex, Vec<usize>> = HashMap::new();
    (0..query.len()).for_each(|i| asked.entry(query.user(i)).or_default().push(i));
    for i in 0..support.len() {
        let user = support.rows().user(i);
        if asked.contains_key(&user) {
            known.entry(user).or_default().push((model.item(support.rows().item(i).at()), support.label(i)));
        }
    }
    let mut said = vec![Answer { mean: 0.0, variance: 0.0 }; query.len()];
    for (user, rows) in asked {
        let items: Vec<Item<'_>> = rows.iter().map(|&i| model.item(query.item(i).at())).collect();
        let rated = known.get(&user).map_or(&[][..], Vec::as_slice);
        let answers = model.answer(design.people.row(user.at()), rated, &items, with_variance);
        rows.iter().zip(answers).for_each(|(&i, answer)| said[i] = answer);
    }
    said
}

fn means(answers: &[Answer]) -> Vec<f32> {
    answers.iter().map(|answer| answer.mean as f32).collect()
}

impl FittedPointwise for Fitted {
    fn score(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        means(&answers(&self.model, &self.design, support, query, false))
    }

    fn spread(&self, support: Labelled<'_>, query: Unlabelled<'_>) -> Option<Spread> {
        let answers = answers(&self.model, &self.design, support, query, true);
        Some(Spread::new(answers.iter().map(|answer| answer.variance.sqrt() as f32).collect(), self.ordinal.as_ref()))
    }

    fn parameters(&self) -> usize {
        let UserModel { fold_in, regression, .. } = &self.model;
        let own = fold_in.items.len() + fold_in.content.len() + fold_in.people.len();
        own + regression
            .as_ref()
            .map_or(0, |fit| fit.people.len() + fit.covariance.len() + fit.sets.len() + (fit.width - fold_in.width) * fold_in.counts.len())
    }

    fn chosen(&self) -> Vec<Chosen> {
        let Some(fit) = self.model.regression.as_ref().filter(|_| self.chosen) else { return Vec::new() };
        let from = (1..=MOST_SWEEPS).map(|n| n as f64).collect();
        vec![Chosen { setting: "sweeps".into(), value: fit.sweeps as f64, from, at_end: fit.sweeps == MOST_SWEEPS }]
    }
}
