//! `random_effects`: an offset of the score for each value of the categorical features, solved for.
//!
//! `s = z + a + sum_f u_f[c_f]`, with `c_f` a row's code of feature f and `u ~ N(0, τ²)`:
//! `a, u = argmin sum_i loss(s_i, y_i) + |u|² / (2 τ²) + a² / (2 S²)`, `S = 3`, z the score of the network. The loss is the logistic one, or for ratings
//! `(s - y)² / (2 σ²)` with σ² the variance of what the network leaves over. By Newton's method, each step by conjugate gradients.
//!
//! τ² is one of 0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3 and 1; with 0 there are no effects. The two halves of the log, the earlier rows and the later ones, are each scored by what the other
//! says, and the smallest τ² is taken that is not shown to be worse than the best: whose mean loss is larger by at most the standard error of the difference. So few rows leave the
//! network as it is, and ids met once move by little: this is what an embedding row has to say by itself, without a learning rate.
//!
//! In a stack it is solved for once, when everything else is trained: effects fitted before would explain what training should learn. A code that no row has shown keeps 0,
//! as has an id that the base does not know. Identity at start: all effects are 0.
//!
//! # References
//! X. Zhang et al., *GLMix: Generalized Linear Mixed Models for Large-Scale Response Prediction*, KDD 2016: there beside a linear model, with one prior a feature; here beside a network.

mod newton;

use acclimate_model::{Bound, Effect, Grouping, Init, Modulation, Objective, ParamId, ParamSpec, SiteId};
use burn::tensor::Tensor;
use newton::{Loss, Problem, Solution};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage};
use crate::selection::{heads, matches};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<RandomEffectsConfig>("random_effects", Kind::Adaptation, "an offset for each id, solved for")
    .tested_with(&["variance = 0.05"]);

/// What τ² is chosen from.
const VARIANCES: [f64; 7] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];

/// Configuration of [`RandomEffects`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomEffectsConfig {
    /// Patterns of the categorical features that have effects; default all.
    pub features: Vec<String>,
    /// τ², how far effects may lie from 0: raising it trusts single rows more. Default: chosen on halves of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<f64>,
}

impl Default for RandomEffectsConfig {
    fn default() -> Self {
        Self { features: vec!["*".into()], variance: None }
    }
}

/// The method `random_effects`.
#[derive(Debug)]
pub struct RandomEffects {
    config: RandomEffectsConfig,
    objective: Objective,
    scope: Scope,
    /// a, then the effects of each feature.
    params: Vec<ParamSpec>,
    /// The features, by their place among the categorical ones.
    features: Vec<usize>,
    heads: Vec<SiteId>,
}

impl MethodConfig for RandomEffectsConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            return Err(unsupported("its objective is neither logistic nor squared_error"));
        }
        if self.variance.is_some_and(|v| !(v > 0.0 && v.is_finite())) {
            let problem = "must be above 0; leave it out to have it chosen".into();
            return Err(AdaptError::Value { method: METHOD.name, key: "variance", problem });
        }
        let heads = heads(target.backbone);
        if heads.is_empty() {
            return Err(unsupported("its head is no linear layer; use `dnn`"));
        }
        let named = target.schema.categorical.iter().enumerate();
        let named: Vec<_> = named.filter(|(_, field)| self.features.iter().any(|pattern| matches(pattern, &field.name))).collect();
        if named.is_empty() {
            let problem = "matches no categorical feature of the data".into();
            return Err(AdaptError::Value { method: METHOD.name, key: "features", problem });
        }
        let table = |&(place, field): &(usize, &acclimate_data::FieldSchema)| {
            let rows = target.schema.vocabularies[field.vocabulary.at()].rows;
            ParamSpec::weight(field.name.clone(), [rows, 1, 1], Init::Constant(0.0)).grouped(Grouping::Code(place)).solved()
        };
        let params = std::iter::once(ParamSpec::vector("common", 1, 1, 0.0).solved()).chain(named.iter().map(table)).collect();
        let features = named.iter().map(|(place, _)| *place).collect();
        Ok(Box::new(RandomEffects { config: self, objective: target.objective, scope: Scope::default(), params, features, heads }))
    }
}

impl RandomEffects {
    /// The block of a code in the table of feature number `f`; codes beyond it are the unknown.
    fn block(&self, f: usize, code: u32) -> u32 {
        if (code as usize) < self.params[1 + f].shape[0] { code } else { 0 }
    }

    /// What the effects add to each row.
    fn added(&self, own: &[Vec<f32>], rows: &Answered<'_>) -> Vec<f64> {
        let of = |codes: &[u32]| {
            let effect = |(f, &place): (usize, &usize)| f64::from(own[1 + f][self.block(f, codes[place]) as usize]);
            f64::from(own[0][0]) + self.features.iter().enumerate().map(effect).sum::<f64>()
        };
        rows.codes.chunks_exact(rows.fields.max(1)).map(of).collect()
    }
}

impl Adaptation for RandomEffects {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn solves(&self) -> bool {
        true
    }

    fn choices(&self) -> usize {
        if self.config.variance.is_some() { 0 } else { VARIANCES.len() }
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, stage: Stage) {
        if stage == Stage::Before || rows.scores.is_empty() {
            return;
        }
        let before = self.added(own, rows);
        let z = rows.scores.iter().zip(&before).map(|(&score, added)| f64::from(score) - added).collect();
        let y = rows.labels.iter().map(|&label| f64::from(label)).collect();
        let codes = |codes: &[u32]| self.features.iter().enumerate().map(|(f, &place)| self.block(f, codes[place])).collect::<Vec<u32>>();
        let codes: Vec<u32> = rows.codes.chunks_exact(rows.fields).flat_map(codes).collect();
        let loss = if self.objective == Objective::Logistic { Loss::Logistic } else { Loss::Squared };
        let problem = Problem::new(loss, z, y, &codes, self.features.len());
        // Of choices that are compared each starts from the one before.
        let values = |(f, code): &(usize, u32)| f64::from(own[1 + f][*code as usize]);
        let start = Solution { common: own[0][0].into(), effects: problem.effects().iter().map(values).collect() };
        let solution = match (self.config.variance, stage) {
            (Some(variance), _) => problem.solve(variance, &start),
            (None, Stage::Choice(choice)) => problem.solve(VARIANCES[choice], &start),
            (None, _) => problem.solve_best(&VARIANCES),
        };
        own.iter_mut().for_each(|values| values.fill(0.0));
        own[0][0] = solution.common as f32;
        for ((f, code), u) in problem.effects().iter().zip(&solution.effects) {
            own[1 + f][*code as usize] = *u as f32;
        }
        let after = self.added(own, rows);
        rows.scores.iter_mut().zip(before.iter().zip(after)).for_each(|(score, (before, after))| *score += (after - before) as f32);
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let [g, n] = context.query.shape();
        let of_feature = |(f, &place): (usize, &usize)| -> Tensor<3> {
            let blocks: Vec<u32> = context.query.codes(place).map(|code| self.block(f, code)).collect();
            own.blocks(ParamId(1 + f), &blocks).reshape([g, n, 1])
        };
        let shift = self.features.iter().enumerate().map(of_feature).fold(own.get(ParamId(0)), |sum, effect| sum + effect); // [G, N, 1]
        Ok(self.heads.iter().fold(Modulation::none(), |all, &head| all.with(head, Effect::offset(shift.clone()))))
    }
}
