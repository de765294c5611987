//! `request_set`: hidden features scaled and shifted by what the rows of a request are together.
//!
//! For the M rows j of a row's request, x_j as it was gathered (no gradient goes back into it):
//!
//! ```text
//! s_j = tanh(x_j V + b)                        [k]
//! c   = [mean_j s_j; mean_j s_j^2; ln M]       [2 k + 1]
//! [γ_1; β_1; γ_2; ..] = c W * M / (M + κ)      W = 0 at start
//! h_l <- h_l (1 + γ_l) + β_l                   after the linear map of layer l of the body, before norm and activation
//! ```
//!
//! and `λ/2 mean_r (|γ|² + |β|²)` over the requests r of a batch is added to the loss. The network itself stays as it is (`unfreeze = []`), and a patch of one request folds into its weights.
//!
//! It abstains for a set unlike those of training: with running mean m and covariance S of c over the requests that training saw, where `(c - m)' (S + 1e-6)⁻¹ (c - m)` exceeds the 99.9 %
//! quantile of χ² with 2 k + 1 degrees of freedom, γ and β are 0; from `10 (2 k + 1)` requests on.
//!
//! The control `set = "another"` shows each request the set of another one, in training as in scoring. What a method gains over this control, the set has given; what the control gains over the base
//! came from elsewhere. The design asks for it in a third of all training batches, with the penalty there: a strange set has the distribution of an own one, so that its penalty is one on γ and β
//! whatever the set, which stands here instead.
//!
//! # References
//! After M. Zhang et al., *Adaptive Risk Minimization: Learning to Adapt to Domain Shift*, NeurIPS 2021 (the context of a batch, here of a request), with the modulation of E. Perez et al., *FiLM*,
//! AAAI 2018.

use acclimate_fit::Cholesky;
use acclimate_model::kernel::{linear, tanh, to_vec};
use acclimate_model::layer::product;
use acclimate_model::{Activation, Added, Bound, Effect, Init, Modulation, Moved, ParamId, ParamSpec};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::method::{Gathered, SetOf, Widths, of_requests};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<RequestSetConfig>("request_set", Kind::Adaptation, "hidden features scaled and shifted by a request's set")
    .tested_with(&["set = 'another'", "unfreeze = ['head']\nguarded = false"]);

/// Least share of a new batch in the moments of c.
const MOMENTUM: f32 = 0.01;
/// Requests for each number of c, below which their covariance says too little to abstain by.
const SEEN: usize = 10;
/// Keeps a summary that never moved from being infinitely far.
const LEAST_VARIANCE: f64 = 1e-6;
/// The 99.9 % quantile of the normal distribution.
const Z: f64 = 3.090_232_306_167_813;

/// Configuration of [`RequestSet`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestSetConfig {
    /// Width k of a row's summary; default 16.
    pub width: usize,
    /// κ: a request of so many rows is trusted by half; default 4.
    pub shrink: f32,
    /// λ; default 0.01.
    pub penalty: f32,
    /// Whether it abstains for sets unlike those of training; default yes.
    pub guarded: bool,
    /// The request's `own` set (default), or that of `another`, as a control.
    pub set: SetOf,
    /// Patterns of the sites that are modulated; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the summary and W; default none.
    pub unfreeze: Vec<Part>,
}

impl Default for RequestSetConfig {
    fn default() -> Self {
        Self { width: 16, shrink: 4.0, penalty: 0.01, guarded: true, set: SetOf::Own, sites: vec!["*".into()], unfreeze: Vec::new() }
    }
}

/// `V`, `b`, `W`, the means of c and of c c', and the number of requests they are from.
const PARAMS: usize = 6;

/// The method `request_set`.
#[derive(Debug)]
pub struct RequestSet {
    scope: Scope,
    params: Vec<ParamSpec>,
    sites: Widths,
    width: usize,
    shrink: f32,
    penalty: f32,
    guarded: bool,
    set: SetOf,
}

impl MethodConfig for RequestSetConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        if !(self.penalty >= 0.0 && self.penalty.is_finite()) {
            let problem = "must be a number of at least 0".into();
            return Err(AdaptError::Value { method: METHOD.name, key: "penalty", problem });
        }
        let d_x = of_requests(METHOD.name, (self.width, self.shrink), target)?;
        let sites = Widths::of_body(METHOD.name, &self.sites, target.backbone)?;
        let (k, summary) = (self.width, 2 * self.width + 1);
        let params = vec![
            ParamSpec::weight("summary.weight", [1, d_x, k], Init::KaimingUniform),
            ParamSpec::vector("summary.bias", 1, k, 0.0),
            ParamSpec::weight("generator.weight", [1, summary, 2 * sites.sum()], Init::Constant(0.0)),
            ParamSpec::moment("seen.mean", summary, 0.0),
            ParamSpec { shape: [1, summary, summary], ..ParamSpec::moment("seen.product", summary, 0.0) },
            ParamSpec::moment("seen.requests", 1, 0.0),
        ];
        debug_assert_eq!(params.len(), PARAMS);
        let scope = scope(&self.unfreeze, target.backbone);
        let Self { width, shrink, penalty, guarded, set, .. } = self;
        Ok(Box::new(RequestSet { scope, params, sites, width, shrink, penalty, guarded, set }))
    }
}

impl RequestSet {
    /// c of each request, `[G, 1, 2 k + 1]`.
    fn summary(&self, own: &Bound, set: &Gathered) -> Tensor<3> {
        let s = tanh(linear(set.x.clone(), own.get(ParamId(0)), Some(own.get(ParamId(1))), Activation::Identity)); // [G, M, k]
        Tensor::cat(vec![set.mean(s.clone()), set.mean(s.square()), set.column(|rows| rows.max(1.0).ln())], 2)
    }

    /// What each request's γ and β are multiplied by: M / (M + κ), or 0 where its set is unlike those of training.
    fn trust(&self, own: &Bound, rows: &[f32], c: &[f32]) -> Vec<f32> {
        let [mean, product, requests] = [3, 4, 5].map(|i| to_vec(own.get(ParamId(i)).detach()));
        let width = 2 * self.width + 1;
        let metric = (self.guarded && requests[0] >= (SEEN * width) as f32).then(|| {
            let of = |at: usize| {
                let (i, j) = (at / width, at % width);
                f64::from(product[at]) - f64::from(mean[i]) * f64::from(mean[j]) + if i == j { LEAST_VARIANCE } else { 0.0 }
            };
            Cholesky::sturdy((0..width * width).map(of).collect(), width)
        });
        // χ² stays below it in 99.9 % of all cases.
        let limit = acclimate_fit::chi_squared(width as f64, Z);
        let is_far = |c: &[f32]| {
            metric.as_ref().is_some_and(|metric| {
                let from_mean: Vec<f64> = c.iter().zip(&mean).map(|(c, mean)| f64::from(*c) - f64::from(*mean)).collect();
                metric.norm(&from_mean) > limit
            })
        };
        let of = |(&rows, c): (&f32, &[f32])| if is_far(c) { 0.0 } else { rows / (rows + self.shrink).max(f32::MIN_POSITIVE) };
        rows.iter().zip(c.chunks(width)).map(of).collect()
    }
}

impl Adaptation for RequestSet {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.set.needs()
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let Some(set) = Gathered::of(METHOD.name, context)? else { return Ok(Modulation::none()) };
        let summary = self.summary(own, &set);
        let (c, groups) = (to_vec(summary.clone().detach()), set.rows.len());
        let trust = TensorData::new(self.trust(own, &set.rows, &c), [groups, 1, 1]);
        let trust = Tensor::<3>::from_data(trust, &summary.device());
        let out = product(summary, own.get(ParamId(2))) * trust; // [G, 1, 2 Σ d]
        let all = self.sites.parts(&out, 2).fold(Modulation::none(), |all, (site, part)| all.with(site, Effect::scaled(part(0) + 1.0, part(1))));
        let all = all.penalised(out.square().sum() * (self.penalty / (2.0 * groups.max(1) as f32)));
        let own = own.clone();
        Ok(all.with_term(move |_| {
            let width = 2 * self.width + 1;
            let [mean, product, requests] = [3, 4, 5].map(|i| to_vec(own.get(ParamId(i)).detach()));
            let share = (groups as f32 / (requests[0] + groups as f32)).max(MOMENTUM);
            let towards = |old: &[f32], of: &dyn Fn(&[f32], usize) -> f32| -> Vec<f32> {
                let mean = |i: usize| c.chunks(width).map(|c| of(c, i)).sum::<f32>() / groups.max(1) as f32;
                old.iter().enumerate().map(|(i, old)| old + share * (mean(i) - old)).collect()
            };
            let means = towards(&mean, &|c, i| c[i]);
            let products = towards(&product, &|c, at| c[at / width] * c[at % width]);
            let moved = [means, products, vec![requests[0] + groups as f32]];
            let moved = moved.into_iter().zip(3..).map(|(values, i)| Moved { param: own.place(ParamId(i)), block: 0, values });
            Some(Added { summands: own.get(ParamId(3)).zeros_like(), moved: moved.collect() })
        }))
    }
}
