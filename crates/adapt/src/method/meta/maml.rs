//! `maml`: a start from which a few gradient steps on a user's support set suffice.
//!
//! Inner loop (per task): `θ_{k+1} = θ_k - α ∇ L_S(θ_k)`, k = 0..K-1, over the tower's layers from `adapt` on; embeddings are not adapted.
//! Outer loop: `min_θ mean_i L_{Q_i}(θ_K)` over all parameters, embeddings included, through the inner steps (`order = "second"`, exact) or with
//! inner gradients as constants (`"first"`, FOMAML). The preset `melu` is MeLU with the settings of its second-order port.
//!
//! The identity at start holds for an empty support set. Deviation: steps may shrink with `n / (n + shrink)`, off by default.
//!
//! # References
//! C. Finn et al., *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017.
//! H. Lee et al., *MeLU: Meta-Learned User Preference Estimator for Cold-Start Recommendation*, KDD 2019.

use acclimate_model::{Bound, Effect, Linear, Modulation, Objective};
use serde::{Deserialize, Serialize};

use crate::method::plain_tower;
use crate::inner::{FastLayer, InnerLoop, Order};
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Start, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<MamlConfig>("maml", Kind::Adaptation, "a start from which a few gradient steps suffice")
    .with_presets(&[("melu", "inner_steps = 5\ninner_rate = 0.01\norder = 'second'\nadapt = 'all'\nstart = 'fresh'")])
    .tested_with(&["order = 'first'\ninner_steps = 2", "adapt = 'head'\nshrink = 2.0", "adapt = 'last'"]);

/// Which layers of the tower the inner loop adapts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapted {
    /// Every layer.
    All,
    /// The last hidden layer and the head.
    Last,
    /// The head only (ANIL; Raghu et al., ICLR 2020).
    Head,
}

/// Configuration of [`Maml`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MamlConfig {
    /// Gradient steps K on a support set. More adapt further and cost more; default 1.
    pub inner_steps: usize,
    /// Inner learning rate α. Far below 0.01 nothing adapts, whatever the log says; default 0.05.
    pub inner_rate: f64,
    /// First or second order; default second.
    pub order: Order,
    /// Adapted layers; default all.
    pub adapt: Adapted,
    /// Steps scale with n / (n + shrink) for n support rows, so that one row moves a user less than twenty; default 0 (off), as published.
    pub shrink: f32,
    /// Whether meta-training starts from the base or from fresh values; default base.
    pub start: Start,
}

impl Default for MamlConfig {
    fn default() -> Self {
        Self { inner_steps: 1, inner_rate: 0.05, order: Order::Second, adapt: Adapted::All, shrink: 0.0, start: Start::Base }
    }
}

/// The method `maml`.
#[derive(Debug)]
pub struct Maml {
    start: Start,
    scope: Scope,
    inner: InnerLoop,
    layers: Vec<Linear>,
}

impl MethodConfig for MamlConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.inner_steps == 0 {
            return Err(value("inner_steps", "must be at least 1"));
        }
        if !(self.inner_rate > 0.0 && self.inner_rate.is_finite()) {
            return Err(value("inner_rate", "must be above 0"));
        }
        if !(self.shrink >= 0.0 && self.shrink.is_finite()) {
            return Err(value("shrink", "must be 0 or more"));
        }
        if !matches!(target.objective, Objective::Logistic | Objective::SquaredError) {
            let problem = "its objective is neither logistic nor squared error".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let layers: Vec<_> = plain_tower(METHOD.name, target.backbone)?.linears().copied().collect();
        let first = match self.adapt {
            Adapted::All => 0,
            Adapted::Last => layers.len().saturating_sub(2),
            Adapted::Head => layers.len() - 1,
        };
        let inner = InnerLoop {
            objective: target.objective,
            order: self.order,
            steps: self.inner_steps,
            rate: self.inner_rate,
            shrink: self.shrink,
            first,
        };
        Ok(Box::new(Maml { start: self.start, scope: Scope::all(target.backbone), inner, layers }))
    }
}

impl Adaptation for Maml {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn start(&self) -> Start {
        self.start
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Task, ..Needs::default() }
    }

    fn is_exact(&self) -> bool {
        self.inner.order == Order::Second
    }

    fn adapt<'a>(&'a self, base: &Bound, _: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        if support.batch.is_empty() {
            return Ok(Modulation::none());
        }
        let layers: Vec<_> = self.layers.iter().map(|l| FastLayer { weight: base.get(l.weight), bias: base.get(l.bias) }).collect();
        let adapted = self.inner.adapt(&layers, &support.inputs[0], support.batch);
        let fast = self.layers.iter().zip(adapted).skip(self.inner.first);
        // Fast weights of each task, `[T, d_in, d_out]`.
        let replaced = |all: Modulation<'a>, (l, fast): (&Linear, FastLayer)| all.with(l.site, Effect::Replace { weight: fast.weight, bias: Some(fast.bias) });
        Ok(fast.fold(Modulation::none(), replaced))
    }
}
