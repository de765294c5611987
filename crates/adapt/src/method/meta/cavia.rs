//! `cavia`: of each user only a small context vector is adapted, by gradient steps; everything else is shared.
//!
//! `c_0 = 0`, `c_{k+1} = c_k - α ∂L_S / ∂c`, k = 0..K-1; the context reaches the first layer of the tower as `z_1 = x W_1 + b_1 + c P`, which is what a network that reads `[x; c]` computes.
//! With `δ_1` of the tower's backward pass, `∂L_S / ∂c = Σ_rows δ_1 Pᵀ`. Outer loop: the query loss, over all parameters and P, through the inner steps (`order = "second"`) or with these as constants.
//! Served as one vector a user.
//!
//! Trained: P and all of the base. P starts as a fresh layer does (uniform, He), so a user without support rows has the base's scores exactly.
//!
//! # References
//! L. Zintgraf et al., *Fast Context Adaptation via Meta-Learning*, ICML 2019.

use std::sync::Arc;

use acclimate_model::kernel::to_vec;
use acclimate_model::{Bound, Effect, Init, Linear, Modulation, Objective, ParamId, ParamSpec};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::inner::{self, Backward, FastLayer, Order, Rows, Shrink, counts, detached};
use crate::method::plain_tower;
use crate::{AdaptError, Adaptation, Context, Groups, InRequest, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<CaviaConfig>("cavia", Kind::Adaptation, "a context vector for each user, by gradient steps")
    .tested_with(&["order = 'first'\nwidth = 3\nshrink = 2.0"]);

/// Configuration of [`Cavia`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaviaConfig {
    /// Size of the context vector; default 16.
    pub width: usize,
    /// Gradient steps K; default 2.
    pub inner_steps: usize,
    /// Inner learning rate α; default 0.5, as only the context moves.
    pub inner_rate: f64,
    /// First or second order; default second.
    pub order: Order,
    /// Steps scale with n / (n + shrink) for n support rows; default 0 (off), as published.
    pub shrink: f32,
}

impl Default for CaviaConfig {
    fn default() -> Self {
        Self { width: 16, inner_steps: 2, inner_rate: 0.5, order: Order::Second, shrink: 0.0 }
    }
}

/// The method `cavia`.
#[derive(Debug)]
pub struct Cavia {
    config: CaviaConfig,
    objective: Objective,
    scope: Scope,
    layers: Vec<Linear>,
    /// P, `[1, width, d_1]`.
    params: Vec<ParamSpec>,
}

impl MethodConfig for CaviaConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.width == 0 {
            return Err(value("width", "must be at least 1"));
        }
        inner::check(METHOD.name, target.objective, (self.inner_steps, self.inner_rate, Shrink::Rows(self.shrink)))?;
        let layers: Vec<_> = plain_tower(METHOD.name, target.backbone)?.linears().copied().collect();
        let [_, _, d] = target.backbone.architecture().params[layers[0].weight.0].shape;
        let params = vec![ParamSpec::weight("context", [1, self.width, d], Init::KaimingUniform)];
        Ok(Box::new(Cavia { objective: target.objective, scope: Scope::all(target.backbone), layers, params, config: self }))
    }
}

impl Adaptation for Cavia {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Task, ..Needs::default() }
    }

    fn is_exact(&self) -> bool {
        self.config.order == Order::Second
    }

    fn in_request(&self, own: &Bound) -> Option<InRequest> {
        Some(InRequest::Context(acclimate_plan::ContextLoop {
            loss: inner::plain_loss(self.objective),
            steps: self.config.inner_steps,
            rate: self.config.inner_rate as f32,
            shrink: Shrink::Rows(self.config.shrink).plain(None, 1.0),
            context: Arc::new(to_vec(own.get(ParamId(0)))),
        }))
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        if support.batch.is_empty() {
            return Ok(Modulation::none());
        }
        let (x, p) = (&support.inputs[0], own.get(ParamId(0)));
        let layers: Vec<_> = self.layers.iter().map(|l| FastLayer { weight: base.get(l.weight), bias: base.get(l.bias) }).collect();
        let rows = Rows::new(support.batch, &x.device());
        let factor = Shrink::Rows(self.config.shrink).factor(None, &counts(support.batch), &x.device());
        let mut c = Tensor::<3>::zeros([support.batch.groups, 1, self.config.width], &x.device()); // [T, 1, w]
        for _ in 0..self.config.inner_steps {
            let shift = c.clone().matmul(p.clone().expand([support.batch.groups, self.config.width, p.dims()[2]])); // [T, 1, d_1]
            let (layers, x, shift, p) = match self.config.order {
                Order::Second => (layers.clone(), x.clone(), shift, p.clone()),
                Order::First => (detached(&layers), x.clone().detach(), shift.detach(), p.clone().detach()),
            };
            let delta = Backward::new(self.objective, &layers, x, Some(&shift), &rows, 0).delta(0).sum_dim(1); // [T, 1, d_1]
            let [tasks, ..] = delta.dims();
            let gradient = delta.matmul(p.clone().expand([tasks, p.dims()[1], p.dims()[2]]).transpose()); // [T, 1, w]
            c = c - match &factor {
                Some(factor) => gradient * (factor.clone() * self.config.inner_rate),
                None => gradient * self.config.inner_rate,
            };
        }
        let shift = c.matmul(p.clone().expand([support.batch.groups, self.config.width, p.dims()[2]])); // [T, 1, d_1]
        Ok(Modulation::none().with(self.layers[0].site, Effect::offset(shift)))
    }
}
