//! `conditional_batch_norm`: gain and shift of each batch norm moved under a condition, and its moments, if asked for, measured anew.
//!
//! At each batch norm of the base, with its gain γ and shift β frozen and e the condition's embedding,
//!
//! ```text
//! y = (γ + Δγ) (z - μ) / sqrt(v + ε) + β + Δβ
//! Δγ = ReLU(e V1 + c1) V2,  Δβ = ReLU(e U1 + d1) U2
//! ```
//!
//! with two small networks of the norm's own, whose output layers have no bias and start at 0, so the patched network equals the base at start. e is the method's own embedding of the row's domain or of
//! features ([`Features`]). Trained: embedding, networks and the head.
//!
//! μ and v are one of three, as `moments` says:
//!
//! | `moments` | μ and v |
//! |---|---|
//! | `frozen` | the base's running moments |
//! | `reestimated` | those of the rows that the method is trained on |
//! | `per_condition` | those of its rows of each code, where the condition is the domain or one categorical feature |
//!
//! The last two are measured before training, one norm after the other with those before it in place, and stay as they are: training and scoring use the same, and a row's score depends on no other
//! row. They are shrunk to the base's by a pseudo count N: of n rows with mean m and variance w, `μ' = (N μ + n m) / (N + n)` and `v' = (N v + n w) / (N + n) + N n (m - μ)² / (N + n)²`, so a code
//! without rows keeps the base's. A condition that is the same for all rows folds into the norm.
//!
//! # References
//! H. de Vries et al., *Modulating early visual processing by language*, NeurIPS 2017.

use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, Moments, NormChange, ParamId, ParamSpec};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::method::{Condition, Features, Widths};
use crate::selection::{NormSite, Part, needed_batch_norms, scope};
use crate::{AdaptError, Adaptation, Context, Gauge, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<ConditionalBatchNormConfig>(
    "conditional_batch_norm",
    Kind::Adaptation,
    "gain and shift of each batch norm moved under a condition",
)
.tested_with(&[
    "condition = 'segment'\nmoments = 'per_condition'",
    "condition = ['segment', 'tags']\nmoments = 'reestimated'\npseudo_count = 16.0",
    "moments = 'per_condition'\nunfreeze = ['all']",
]);

/// Which moments its norms have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentsOf {
    /// The base's running ones.
    #[default]
    Frozen,
    /// Those of the rows that it is trained on.
    Reestimated,
    /// Those of its rows of each code of the condition.
    PerCondition,
}

/// Configuration of [`ConditionalBatchNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditionalBatchNormConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Which moments its norms have; default those of the base, which needs no pass over the rows.
    pub moments: MomentsOf,
    /// N, the rows that the base's moments count as where others are measured; default 256. Raising it trusts the rows at hand less.
    pub pseudo_count: f64,
    /// Width of each feature's embedding; default 8.
    pub embedding: usize,
    /// Width of the hidden layer of each network; default 16.
    pub hidden: usize,
    /// Patterns of the norms that are modulated; default every one with running moments.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the networks; default the head. Running moments of the base are never among them.
    pub unfreeze: Vec<Part>,
}

impl Default for ConditionalBatchNormConfig {
    fn default() -> Self {
        Self {
            condition: Features::default(),
            moments: MomentsOf::Frozen,
            pseudo_count: 256.0,
            embedding: 8,
            hidden: 16,
            sites: vec!["*".into()],
            unfreeze: vec![Part::Head],
        }
    }
}

/// The method `conditional_batch_norm`.
#[derive(Debug)]
pub struct ConditionalBatchNorm {
    condition: Condition,
    /// The first of `V1`, `c1`, `V2`, `U1`, `d1` and `U2` of the norms, one norm after the other.
    first: usize,
    norms: Vec<NormSite>,
    widths: Widths,
    measured: Option<Measured>,
    scope: Scope,
    params: Vec<ParamSpec>,
}

/// Differences of the moments to the base's, those of each norm side by side: a row for all, or one for each code.
#[derive(Debug)]
struct Measured {
    param: ParamId,
    /// The rows of the codes, where there are such.
    codes: Option<Condition>,
    pseudo_count: f64,
}

impl MethodConfig for ConditionalBatchNormConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| Err(AdaptError::Value { method: METHOD.name, key, problem: problem.into() });
        if self.hidden == 0 {
            return value("hidden", "must be at least 1");
        }
        if !(self.pseudo_count >= 0.0 && self.pseudo_count.is_finite()) {
            return value("pseudo_count", "must be a number of at least 0");
        }
        let norms = needed_batch_norms(METHOD.name, &self.sites, target.backbone)?;
        let widths = Widths::of_norms(&norms);
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let (first, c, h) = (params.len(), condition.width(), self.hidden);
        for NormSite { path, d, .. } in &norms {
            for delta in ["gain_delta", "shift_delta"] {
                params.extend([
                    ParamSpec::weight(format!("{path}.{delta}.0.weight"), [1, c, h], Init::KaimingUniform),
                    ParamSpec::vector(format!("{path}.{delta}.0.bias"), 1, h, 0.0),
                    ParamSpec::weight(format!("{path}.{delta}.1.weight"), [1, h, *d], Init::Constant(0.0)),
                ]);
            }
        }
        let width = 2 * widths.sum();
        let measured = match self.moments {
            MomentsOf::Frozen => None,
            MomentsOf::Reestimated => {
                params.push(ParamSpec::vector("moments", 1, width, 0.0));
                Some(None)
            }
            MomentsOf::PerCondition if condition.code().is_none() => {
                return value("moments", "has a set for each code, so `condition` must be `domain` or one categorical feature; use `reestimated`");
            }
            MomentsOf::PerCondition => Some(Some(Condition::tables(&mut params, METHOD.name, (&self.condition, width, None), target.schema)?)),
        };
        let measured = measured.map(|codes| {
            let at = params.len() - 1;
            params[at] = ParamSpec { path: "moments".into(), decay: false, ..params[at].clone().solved() };
            Measured { param: ParamId(at), codes, pseudo_count: self.pseudo_count }
        });
        let of_base = &target.backbone.architecture().params;
        let mut scope = scope(&self.unfreeze, target.backbone);
        scope.params.retain(|id| !of_base[id.0].moment);
        Ok(Box::new(ConditionalBatchNorm { condition, first, norms, widths, measured, scope, params }))
    }
}

impl Adaptation for ConditionalBatchNorm {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn gauges(&self) -> Vec<Gauge> {
        let Some(Measured { param, codes, pseudo_count }) = &self.measured else { return Vec::new() };
        let code = codes.as_ref().and_then(Condition::code);
        let mut column = 0;
        let gauge = |norm: &NormSite| {
            column += 2 * norm.d;
            Gauge { norm: norm.clone(), param: *param, first: column - 2 * norm.d, code, pseudo_count: *pseudo_count }
        };
        self.norms.iter().map(gauge).collect()
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let conditions = self.condition.embed(own, context);
        let delta = |i: usize| {
            let [v1, c1, v2] = [0, 1, 2].map(|j| own.get(ParamId(self.first + 3 * i + j)));
            let of_each = product(relu(product(conditions.values.clone(), v1) + c1), v2); // [1, U, d]
            conditions.spread(of_each) // [G|1, N|1, d]
        };
        let differences = self.measured.as_ref().map(|measured| match &measured.codes {
            None => (own.get(measured.param), None), // [1, 1, 2 Σ d]
            Some(codes) => {
                let rows = codes.embed(own, context);
                (rows.values.clone(), Some(rows)) // [1, U, 2 Σ d]
            }
        });
        let moments: Vec<Option<Moments>> = match &differences {
            None => self.norms.iter().map(|_| None).collect(),
            Some((differences, rows)) => {
                let spread = |of_each: Tensor<3>| rows.as_ref().map_or(of_each.clone(), |rows| rows.spread(of_each)); // [G|1, N|1, d]
                let parts = self.norms.iter().zip(self.widths.parts(differences, 2));
                let moved = |base: Tensor<3>, difference: Tensor<3>| base + difference;
                parts
                    .map(|(norm, (_, part))| {
                        let variance = spread(moved(base.get(norm.variance), part(1)).clamp_min(0.0));
                        Some(Moments { mean: spread(moved(base.get(norm.mean), part(0))), variance })
                    })
                    .collect()
            }
        };
        let norms = self.norms.iter().zip(moments).enumerate();
        Ok(norms.fold(Modulation::none(), |all, (i, (norm, moments))| {
            let (plus, shift) = (Some(delta(2 * i)), Some(delta(2 * i + 1)));
            all.with(norm.site, Effect::Norm(NormChange { plus, shift, moments, ..NormChange::default() }))
        }))
    }
}
