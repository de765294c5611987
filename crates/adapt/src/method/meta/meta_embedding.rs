//! `meta_embedding`: a generator makes the embedding of a new item from its features, such that it says something by itself and a few gradient steps on the item's own rows improve it quickly.
//!
//! `v_0 = e_0 + 0.2 tanh(x_item W)` in place of the item's row, e_0 the row of the unknown item; `v_{k+1} = v_k - α ∂l_a / ∂v`, k = 0..K-1, the gradient averaged over the item's support rows (minibatch a).
//! W follows `a_m l_a(v_0) + (1 - a_m) l_b(v_K)`, l_b the loss of its query rows (minibatch b), through the steps: exact second order. The base is frozen. A new item is served with v_K, one row of the id's table.
//!
//! In training every item is as good as new: its own row is not read. W starts at 0, so the base's score of an unknown item is where it begins.
//!
//! # References
//! F. Pan et al., *Warm Up Cold-start Advertisements: Improving CTR Predictions via Learning to Learn ID Embeddings*, SIGIR 2019.

use acclimate_data::Batch;
use acclimate_model::layer::product;
use acclimate_model::{Added, AfterPass, Bound, Init, Modulation, Objective, Output, ParamId, ParamSpec, column, labels, shares};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::adaptation::StandIn;
use crate::inner::{self, forward};
use crate::method::NewItem;
use crate::{AdaptError, Adaptation, Context, Groups, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<MetaEmbeddingConfig>("meta_embedding", Kind::Adaptation, "a new item's embedding from its features, and gradient steps on it")
    .tested_with(&["inner_steps = 3\nshrink = 2.0\ncold_weight = 0.5"]);

/// Configuration of [`MetaEmbedding`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetaEmbeddingConfig {
    /// Name of the feature that is the item's id; default the categorical feature of items with the most values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How far the generated row may lie from the unknown item's in each of its values; default 0.2, as published.
    pub scale: f64,
    /// a_m, weight of the loss before any step; default 0.1, as published. Raising it favours items without rows.
    pub cold_weight: f64,
    /// Gradient steps K; default 1, as published.
    pub inner_steps: usize,
    /// Inner learning rate α; default 0.1.
    pub inner_rate: f64,
    /// Steps scale with n / (n + shrink) for n support rows; default 0 (off), as published.
    pub shrink: f32,
}

impl Default for MetaEmbeddingConfig {
    fn default() -> Self {
        Self { item: None, scale: 0.2, cold_weight: 0.1, inner_steps: 1, inner_rate: 0.1, shrink: 0.0 }
    }
}

/// The method `meta_embedding`.
#[derive(Debug)]
pub struct MetaEmbedding {
    config: MetaEmbeddingConfig,
    network: NewItem,
    scope: Scope,
    /// W, `[1, f, d]`.
    params: Vec<ParamSpec>,
}

impl MethodConfig for MetaEmbeddingConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(value("scale", "must be above 0"));
        }
        if !(0.0..=1.0).contains(&self.cold_weight) {
            return Err(value("cold_weight", "must be a share between 0 and 1"));
        }
        inner::check(METHOD.name, target.objective, (self.inner_steps, self.inner_rate, inner::Shrink::Rows(self.shrink)))?;
        let network = NewItem::new(METHOD.name, self.item.as_ref(), target)?;
        let params = vec![ParamSpec::weight("generator", [1, network.width(), network.d()], Init::Constant(0.0))];
        Ok(Box::new(MetaEmbedding { config: self, network, scope: Scope::default(), params }))
    }
}

/// What each row adds to the mean loss of a batch, `[1, G N, 1]`.
fn summands(objective: Objective, scores: Tensor<3>, batch: &Batch) -> Option<Tensor<3>> {
    let device = scores.device();
    let losses = objective.of_rows(scores, labels(batch, &device))? * column(shares(batch), batch, &device); // [G, N, 1]
    Some(losses.reshape([1, batch.len(), 1]))
}

impl Adaptation for MetaEmbedding {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Item, hidden: self.network.hidden(StandIn::Unknown), ..Needs::default() }
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.ok_or(AdaptError::MissingContext { method: METHOD.name, missing: "a support set" })?;
        let MetaEmbeddingConfig { scale, cold_weight, inner_steps, inner_rate, shrink, .. } = self.config;
        let generated = |x| product(self.network.features(x), own.get(ParamId(0))).tanh() * scale; // [G, N, d]
        let query = &context.inputs[0];
        let start = generated(query);
        if support.batch.is_empty() {
            return Ok(self.network.added(start, query));
        }
        let layers = self.network.layers(base);
        let x = &support.inputs[0];
        let x = x.clone() + self.network.padded(generated(x), x); // [T, S, w]
        let v = match self.network.steps(&layers, &x, &support, (inner_steps, inner_rate, shrink)) {
            Some(moved) => start + moved,
            None => start,
        };
        // The loss before any step, of minibatch a.
        let (scores, batch) = (forward(&layers, &x), support.batch.clone());
        let cold = move |after: &AfterPass<'_>| {
            let AfterPass { output: Output::Rows(said), objective, .. } = *after else { return None };
            let cold = summands(objective, scores.clone(), &batch)? * cold_weight;
            let warm = summands(objective, said.clone(), after.batch)? * -cold_weight;
            Some(Added::new(Tensor::cat(vec![cold, warm], 1)))
        };
        Ok(self.network.added(v, query).with_term(cold))
    }
}
