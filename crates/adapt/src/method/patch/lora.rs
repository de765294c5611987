//! `lora`: a low-rank addition to the weights of linear sites.
//!
//! `y = x (W + (α / r) A B) + b`, `A [d_in, r]`, `B [r, d_out]`. `A` starts uniform in `±1 / sqrt(d_in)` (the Kaiming start of the published code, which is not the
//! Gaussian of the paper), `B` at 0, so the patched network equals the base at start. Trained: `A` and `B`, and the parts in `unfreeze`. It folds into the weights.
//! By default every linear layer of the body has an addition, in a Transformer all four maps of attention and both of the feed-forward part (the paper changes queries and values; name them in `sites` for that).
//!
//! With `per_domain` every domain has matrices and a bias of its own, and domains that the base does not know share a set: MLoRA, here on a frozen base (the
//! published code trains base and patches together and draws `A` Glorot-normal). The preset `mlora` has no `α / r`, as published.
//!
//! # References
//! E. Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022. Z. Yang et al., *MLoRA: Multi-Domain Low-Rank Adaptive Network for CTR
//! Prediction*, RecSys 2024.

use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec, SiteId};
use serde::{Deserialize, Serialize};

use crate::method::Sets;
use crate::selection::{Part, linear_sites, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<LoraConfig>("lora", Kind::Adaptation, "a low-rank addition to the weights of linear layers")
    .with_presets(&[("mlora", "rank = 4\nalpha = 4.0\nper_domain = true")])
    .tested_with(&["rank = 2\nalpha = 1.0\nunfreeze = ['norms', 'rows']"]);

/// Configuration of [`Lora`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank r. Raising it adds `d_in + d_out` values a site for each unit; default 8.
    pub rank: usize,
    /// α; the addition is scaled by `α / r`. Raising it is like raising the learning rate of the patch; default 8.
    pub alpha: f32,
    /// Patterns of the sites that get an addition; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Matrices and a bias for each domain instead of matrices for all; default false.
    pub per_domain: bool,
    /// Parts of the base trained beside the matrices; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self { rank: 8, alpha: 8.0, sites: vec!["*".into()], per_domain: false, unfreeze: vec![Part::Head] }
    }
}

/// The parameters of one site.
#[derive(Clone, Copy, Debug)]
struct Factors {
    site: SiteId,
    a: ParamId,
    b: ParamId,
    /// Of a domain.
    bias: Option<ParamId>,
}

/// The method `lora`.
#[derive(Debug)]
pub struct Lora {
    /// `α / r`.
    scale: f32,
    scope: Scope,
    params: Vec<ParamSpec>,
    factors: Vec<Factors>,
    sets: Sets,
}

impl MethodConfig for LoraConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.rank == 0 {
            return Err(value("rank", "must be at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(value("alpha", "must be above 0"));
        }
        let sets = Sets::at_sites(METHOD.name, self.per_domain, target)?;
        let sites = linear_sites(&self.sites, target.backbone);
        if sites.is_empty() {
            return Err(value("sites", "matches no linear layer of the backbone's body"));
        }
        let groups = sets.len();
        let mut params = Vec::new();
        let mut declare = |spec: ParamSpec| {
            params.push(sets.declare(spec));
            ParamId(params.len() - 1)
        };
        let factors = sites.into_iter().map(|(site, path, [d_in, d_out])| {
            let start = Init::Uniform(1.0 / (d_in as f32).sqrt());
            let a = declare(ParamSpec::weight(format!("{path}.lora_a"), [groups, d_in, self.rank], start));
            let b = declare(ParamSpec::weight(format!("{path}.lora_b"), [groups, self.rank, d_out], Init::Constant(0.0)));
            let bias = self.per_domain.then(|| declare(ParamSpec::vector(format!("{path}.lora_bias"), groups, d_out, 0.0)));
            Factors { site, a, b, bias }
        });
        let factors = factors.collect();
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Lora { scale: self.alpha / self.rank as f32, scope, params, factors, sets }))
    }
}

impl Adaptation for Lora {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.sets.needs()
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let chosen = self.sets.choose(context)?;
        let pick = |id: ParamId| chosen.pick(own, id); // [G|1, ..]
        let low_rank = |f: &Factors| Effect::LowRank { a: pick(f.a) * self.scale, b: pick(f.b), bias: f.bias.map(pick) };
        Ok(self.factors.iter().fold(Modulation::none(), |all, f| all.with(f.site, low_rank(f))))
    }
}
