//! `distillation`: the base's own parameters trained with a term that holds the network near what the base said.
//!
//! With s the score of a row, s_0 that of the base before training, w the weight and T the temperature:
//!
//! | objective | loss of a row |
//! |---|---|
//! | logistic | `(1 - w) l(y, s) + w T² l(σ(s_0 / T), s / T)`, `l(p, s) = softplus(s) - p s` |
//! | squared error | `(1 - w) (s - y)² + w (s - s_0)²` |
//!
//! `l(σ(s_0), s)` is the cross entropy with the base's probability, smallest at s = s_0; T² keeps the size of its gradient. The base reads the same rows, hidden features
//! included, without input dropout.
//!
//! Trained: what `scope` names, starting as the base. Nothing is added to the network, so it is the identity at start. Use it where few rows would pull the network away from what it knows.
//!
//! Deviations from Learning without Forgetting: the old and the new task are one, with one head, so the base's answers on the target's rows are a term of the same score.
//!
//! # References
//! G. Hinton, O. Vinyals and J. Dean, *Distilling the Knowledge in a Neural Network*, arXiv 1503.02531, 2015. Z. Li and D. Hoiem, *Learning without Forgetting*, IEEE TPAMI 2017.

use acclimate_model::{Added, AfterPass, Bound, Modulation, Objective, Output, column, labels, shares};
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use super::fine_tune::checked_scope;
use crate::method::scored_rows;
use crate::selection::Part;
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<DistillationConfig>("distillation", Kind::Control, "trains the base's own parameters, held near what the base said")
        .tested_with(&["scope = ['last']\nweight = 0.5\ntemperature = 2.0"]);

/// Configuration of [`Distillation`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillationConfig {
    /// Parts of the base to train, as in `fine_tune`; default all.
    pub scope: Vec<Part>,
    /// Share of the loss that is distance to the base, from 0 (fine-tuning) to below 1; more keeps the network nearer. Default 0.5.
    pub weight: f64,
    /// By what scores are divided before they become probabilities; above 1 what the base says of unlikely clicks counts more. Of the logistic objective alone; default 1.
    pub temperature: f64,
}

impl Default for DistillationConfig {
    fn default() -> Self {
        Self { scope: vec![Part::All], weight: 0.5, temperature: 1.0 }
    }
}

/// The method `distillation`.
#[derive(Debug)]
pub struct Distillation {
    scope: Scope,
    weight: f64,
    temperature: f64,
}

impl MethodConfig for DistillationConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        scored_rows(METHOD.name, target.backbone, "compares the scores of rows")?;
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            let problem = format!(
                "it is trained for `{}`, whose scores are an order and no values to stay near; train it for `logistic` or `squared_error`",
                target.objective.name()
            );
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let value = |key, problem: &str| Err(AdaptError::Value { method: METHOD.name, key, problem: problem.into() });
        if !(0.0..1.0).contains(&self.weight) {
            return value("weight", "must be from 0 to below 1: at 1 nothing is learned from labels");
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return value("temperature", "must be above 0");
        }
        let scope = checked_scope(METHOD.name, &self.scope, target)?;
        Ok(Box::new(Distillation { scope, weight: self.weight, temperature: self.temperature }))
    }
}

impl Distillation {
    /// `w (T² l(σ(s_0 / T), s / T) - l(y, s))` of each row: what makes of the objective's loss the one above.
    fn term(&self, after: &AfterPass<'_>) -> Option<Added> {
        let AfterPass { output: Output::Rows(s), batch, objective, .. } = *after else { return None };
        let Some(Output::Rows(base)) = after.teacher else { panic!("training asks the base for a method that needs a teacher") };
        let device = s.device();
        let distance = match objective {
            Objective::Logistic => {
                let t = self.temperature;
                let soft = sigmoid(base.clone() / t);
                objective.of_rows(s.clone() / t, soft)? * (t * t)
            }
            _ => objective.of_rows(s.clone(), base.clone())?,
        };
        let own = objective.of_rows(s.clone(), labels(batch, &device))?;
        let weights = shares(batch).into_iter().map(|share| share * self.weight as f32).collect();
        Some(Added::new((distance - own) * column(weights, batch, &device)))
    }
}

impl Adaptation for Distillation {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { teacher: true, ..Needs::default() }
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none().with_term(|after| self.term(after)))
    }
}
