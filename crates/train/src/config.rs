//! Configuration of a training run.

use std::collections::BTreeMap;

use acclimate_data::Schema;
use acclimate_model::Objective;
use serde::{Deserialize, Serialize};

use crate::feed::DomainSampling;
use crate::{OptimizerConfig, Schedule, TrainError};

/// How long and how a run trains; the same for pre-training and for every method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Largest number of passes over the data; default 10. Early stopping usually ends sooner.
    pub epochs: u64,
    /// Largest number of optimiser steps; default none. Small data sets are better limited in steps than in epochs.
    pub steps: Option<u64>,
    /// Rows (or tasks, or sequences) in a batch; default 1024.
    pub batch: usize,
    /// Batches whose gradients are averaged into one optimiser step, each counting the same whatever its rows; default 1.
    pub accumulate: u64,
    /// Epochs without a better validation metric before training stops; default 2. Neural recommenders over-fit after one to four epochs.
    pub patience: u64,
    /// Whether the values of the best epoch on validation rows are kept, or those of the last; with `last` training runs for all its epochs. Default best.
    pub keep: Keep,
    /// Share of the input's values (embeddings and numbers) set to 0 in training (the rest is scaled up); default 0.
    pub input_dropout: f32,
    /// Where a network sees both sides of a position (`nextitnet` with `causal = false`), the chance of each item of a history to be hidden and asked for; at
    /// least one is. More makes more of each history and leaves less to tell from. Default 0.3, in the middle of what is published.
    pub mask_share: f64,
    /// Features whose value is replaced by the unknown now and then, so that the unknown is trained: a category by row 0, a list by the empty
    /// one, a number by that of a row of which nothing is known; default none.
    pub hide: BTreeMap<String, Hide>,
    /// Features that are replaced by the unknown together, with one draw a row, so that a model learns to do without all of them; default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hide_together: Vec<HideTogether>,
    /// Which share of an epoch's rows each domain has: `proportional`, as in the log; `square_root` or `equal`; or `annealed`, from the log's shares to nearly
    /// equal ones over the epochs (PALs). Labelled rows only. Default proportional.
    #[serde(skip_serializing_if = "is_proportional")]
    pub domain_sampling: DomainSampling,
    /// Before the first step, the head's bias is moved by the exact maximum of the training rows' likelihood (normal prior, sd 3); logistic
    /// and squared error only. With 100 rows this is nearly all there is to gain. Default: for ratings on where training starts from nothing (a base,
    /// `scratch`), since a network that starts at 0 spends its first epochs on reaching the mean; else off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercept: Option<bool>,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Learning rate over the run.
    pub schedule: Schedule,
}

/// How often a feature is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`hide` takes a probability, or `{ count = n }` for one that falls with the training rows of a code")]
pub enum Hide {
    /// With this probability, whatever the value is.
    Always(f64),
    /// The more often the fewer training rows a code has.
    Rare(HideRare),
}

/// A code of c training rows is hidden with probability `n / (n + c)`: the unknown learns what rare codes have in common.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HideRare {
    /// n: a code of so many rows is hidden in half of them.
    pub count: f64,
}

impl From<f64> for Hide {
    fn from(probability: f64) -> Self {
        Self::Always(probability)
    }
}

impl Hide {
    /// Whether it must know how many training rows a code has.
    pub(crate) fn counts(self) -> bool {
        matches!(self, Self::Rare(_))
    }

    fn is_valid(self) -> bool {
        match self {
            Self::Always(probability) => (0.0..=1.0).contains(&probability),
            Self::Rare(HideRare { count }) => count >= 0.0 && count.is_finite(),
        }
    }
}

/// Features that are hidden together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HideTogether {
    /// Their names.
    pub features: Vec<String>,
    /// How often.
    pub probability: f64,
}

/// Which epoch's values are the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the epoch with the best validation metric; `patience` ends training.
    #[default]
    Best,
    /// Those of the last epoch; `patience` counts for nothing.
    Last,
}

/// Left out where it is the default, so that the keys of runs stay what they were.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_proportional(sampling: &DomainSampling) -> bool {
    *sampling == DomainSampling::Proportional
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 10,
            steps: None,
            batch: 1024,
            accumulate: 1,
            patience: 2,
            keep: Keep::Best,
            input_dropout: 0.0,
            mask_share: 0.3,
            hide: BTreeMap::new(),
            hide_together: Vec::new(),
            domain_sampling: DomainSampling::Proportional,
            intercept: None,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::Constant,
        }
    }
}

impl TrainConfig {
    /// The same with the default of `intercept` decided: `fresh` says whether training starts from nothing on labelled rows.
    #[must_use]
    pub fn with_intercept_for(&self, objective: Objective, fresh: bool) -> Self {
        let intercept = self.intercept.unwrap_or(fresh && objective == Objective::SquaredError);
        Self { intercept: Some(intercept), ..self.clone() }
    }

    /// Checks what depends on the base: the features of `hide`, and whether its objective has an exact intercept.
    ///
    /// # Errors
    /// [`TrainError::Config`] names the key and what is right.
    pub fn check(&self, objective: Objective, schema: &Schema) -> Result<(), TrainError> {
        self.validate()?;
        let error = |key, problem: String| Err(TrainError::Config { key, problem });
        if self.intercept == Some(true) && !matches!(objective, Objective::Logistic | Objective::SquaredError) {
            return error("intercept", "needs the objective logistic or squared_error".into());
        }
        let fields = || schema.categorical.iter().chain(&schema.bags).map(|f| f.name.as_str());
        let names = || fields().chain(schema.numeric.iter().map(String::as_str));
        let wanted = self.hide.keys().map(|name| ("hide", name));
        let together = self.hide_together.iter().flat_map(|group| &group.features).map(|name| ("hide_together", name));
        if let Some((key, name)) = wanted.chain(together).find(|(_, name)| !names().any(|n| n == name.as_str())) {
            return error(key, format!("names no feature `{name}`; there are {}", names().collect::<Vec<_>>().join(", ")));
        }
        let mut counted = self.hide.iter().filter(|(_, hide)| hide.counts()).map(|(name, _)| name);
        match counted.find(|&name| !schema.categorical.iter().any(|f| f.name == *name)) {
            None => Ok(()),
            Some(name) => error("hide", format!("counts the codes of `{name}`, which is no categorical feature; give a probability")),
        }
    }

    /// Checks every value once.
    ///
    /// # Errors
    /// [`TrainError::Config`] names the key and what is right.
    pub fn validate(&self) -> Result<(), TrainError> {
        let error = |key, problem: &str| Err(TrainError::Config { key, problem: problem.into() });
        let o = &self.optimizer;
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let share = |x: f64| (0.0..1.0).contains(&x);
        if self.batch == 0 {
            return error("batch", "must be at least 1");
        }
        if self.epochs == 0 {
            return error("epochs", "must be at least 1");
        }
        if self.accumulate == 0 {
            return error("accumulate", "must be at least 1");
        }
        if o.row_rate.is_some_and(|r| !(r >= 0.0 && r.is_finite())) {
            return error("optimizer.row_rate", "must be 0 or more; leave it out to use `rate`");
        }
        if !positive(o.rate) {
            return error("optimizer.rate", "must be above 0");
        }
        if !share(o.beta1) || !share(o.beta2) {
            return error("optimizer.beta1", "and beta2 must be in [0, 1)");
        }
        if !positive(o.epsilon) {
            return error("optimizer.epsilon", "must be above 0");
        }
        if !(o.weight_decay >= 0.0 && o.row_decay >= 0.0) {
            return error("optimizer.weight_decay", "and row_decay must be 0 or more");
        }
        if o.clip_norm.is_some_and(|c| !positive(c)) || o.clip_value.is_some_and(|c| !positive(f64::from(c))) {
            return error("optimizer.clip_norm", "and clip_value must be above 0");
        }
        if !share(f64::from(self.input_dropout)) {
            return error("input_dropout", "must be in [0, 1)");
        }
        if !(self.mask_share > 0.0 && self.mask_share <= 1.0) {
            return error("mask_share", "must be above 0 and at most 1");
        }
        self.schedule.validate()?;
        if self.hide.values().any(|hide| !hide.is_valid()) {
            return error("hide", "takes probabilities from 0 to 1, or `{ count = n }` with n of at least 0");
        }
        if self.hide_together.iter().any(|group| group.features.is_empty() || !(0.0..=1.0).contains(&group.probability)) {
            return error("hide_together", "takes lists of features, each with a probability from 0 to 1");
        }
        Ok(())
    }
}
