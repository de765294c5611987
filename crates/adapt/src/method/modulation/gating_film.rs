//! `gating_film`: scales and shifts hidden features under a condition, each number drawn through a gate from two places.
//!
//! With `y = x W + b` at a site, before norm and activation: `γ' ⊙ y + β'`, and of the condition's embedding e, with matrices of the site's own and no bias,
//!
//! ```text
//! γ = tanh(e Wγ), β = tanh(e Wβ), η = tanh(e Wη), δ = σ(e Wδ)
//! γ' = 1 + γ ⊙ δ + η ⊙ (1 - δ)
//! β' = β ⊙ δ + η ⊙ (1 - δ)
//! ```
//!
//! η is the same in both. Trained: embedding, matrices and the head. Wγ, Wβ and Wη start at 0, so the patched network equals the base at start; the published decoder draws them and has no 1 in
//! γ', with which three layers in a row shrink what they are given. There e is what a support set says of a user; here it is the method's own embedding of the row's domain or of features
//! ([`Features`]). A condition that is the same for all rows folds into the weights.
//!
//! # References
//! X. Lin et al., *Task-adaptive Neural Process for User Cold-Start Recommendation*, WWW 2021.

use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use serde::{Deserialize, Serialize};

use crate::method::{Condition, Features, Widths};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<GatingFilmConfig>("gating_film", Kind::Adaptation, "hidden features scaled and shifted through gates under a condition")
    .tested_with(&["condition = ['segment', 'tags']", "condition = 'item'"]);

/// Configuration of [`GatingFilm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatingFilmConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Width of each feature's embedding; default 8.
    pub embedding: usize,
    /// Patterns of the sites that are modulated; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the matrices; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for GatingFilmConfig {
    fn default() -> Self {
        Self { condition: Features::default(), embedding: 8, sites: vec!["*".into()], unfreeze: vec![Part::Head] }
    }
}

/// The method `gating_film`.
#[derive(Debug)]
pub struct GatingFilm {
    condition: Condition,
    /// The first of `Wγ`, `Wβ`, `Wη` and `Wδ`, each of all sites side by side.
    first: usize,
    scope: Scope,
    params: Vec<ParamSpec>,
    sites: Widths,
}

impl MethodConfig for GatingFilmConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let sites = Widths::of_body(METHOD.name, &self.sites, target.backbone)?;
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let (first, c) = (params.len(), condition.width());
        let matrix = |name: &str, init: Init| ParamSpec::weight(format!("gating.{name}.weight"), [1, c, sites.sum()], init);
        params.extend(["gain", "shift", "common"].map(|name| matrix(name, Init::Constant(0.0))));
        params.push(matrix("gate", Init::Uniform(1.0 / (c as f32).sqrt())));
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(GatingFilm { condition, first, scope, params, sites }))
    }
}

impl Adaptation for GatingFilm {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let conditions = self.condition.embed(own, context);
        let map = |i: usize| product(conditions.values.clone(), own.get(ParamId(self.first + i))); // [1, U, Σ d]
        let [gamma, beta, eta] = [0, 1, 2].map(|i| map(i).tanh());
        let delta = sigmoid(map(3));
        let both = eta * (delta.clone().neg() + 1.0);
        let gain = gamma * delta.clone() + both.clone() + 1.0;
        let shift = beta * delta + both;
        let spread = |of_each: Tensor<3>| conditions.spread(of_each); // [G|1, N|1, d]
        let sites = self.sites.parts(&gain, 1).zip(self.sites.parts(&shift, 1));
        Ok(sites.fold(Modulation::none(), |all, ((site, gain), (_, shift))| all.with(site, Effect::scaled(spread(gain(0)), spread(shift(0))))))
    }
}
