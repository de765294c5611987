//! `adapter`: a bottleneck branch at linear sites.
//!
//! With `y = x W + b` at a site, before norm and activation:
//! - serial: `y + GELU(y W1 + b1) W2 + b2`, `W1 [d_out, m]`;
//! - parallel: `y + GELU(x W1 + b1) W2 + b2`, `W1 [d_x, m]` with `d_x` the width of `x` (of a convolution: its channels);
//!
//! `W2 [m, d_out]`. By default it follows the last map of each sub-layer of a Transformer, after attention and after the feed-forward part, as published, and every linear layer of other
//! networks. Trained: the branches, all norms and the head. `W2` and `b2` start at 0, so the patched network equals the base at start
//! (the published code draws both matrices with std 1e-3). With `per_domain` every domain has a branch of its own, and
//! domains that the base does not know share one.
//!
//! # References
//! N. Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, ICML 2019. F. Yuan et al., *Parameter-Efficient Transfer from Sequential
//! Behaviors for User Modeling and Recommendation* (PeterRec), SIGIR 2020: the same branch after a causal convolution.

use acclimate_model::{Bound, Branch, BranchActivation, Effect, Init, Modulation, ParamId, ParamSpec, Read, SiteId};
use serde::{Deserialize, Serialize};

use crate::method::Sets;
use crate::selection::{Part, scope, sub_layer_ends};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<AdapterConfig>("adapter", Kind::Adaptation, "a bottleneck branch at each linear layer")
    .tested_with(&["form = 'parallel'\ngelu = 'tanh'", "per_domain = true", "unfreeze = ['rows', 'biases']"]);

/// What a branch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The site's output.
    Serial,
    /// The site's input.
    Parallel,
}

/// Which GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gelu {
    /// `x Φ(x)`.
    Exact,
    /// The tanh approximation of PeterRec's code.
    Tanh,
}

impl Gelu {
    /// As an effect names it.
    pub(super) fn activation(self) -> BranchActivation {
        match self {
            Self::Exact => BranchActivation::Gelu,
            Self::Tanh => BranchActivation::GeluTanh,
        }
    }
}

/// Configuration of [`Adapter`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterConfig {
    /// Width m of the branch. Raising it adds `2 d` values a site for each unit; default 16.
    pub bottleneck: usize,
    /// Serial or parallel; default serial.
    pub form: Form,
    /// Which GELU; default exact.
    pub gelu: Gelu,
    /// Standard deviation of `W1` at start (truncated normal). Published results are flat below 1e-2; default 1e-2.
    pub std: f32,
    /// Patterns of the sites that get a branch; default (none) `*.attention.output` and `*.feed_forward.out` of a Transformer, else every linear layer of the body.
    pub sites: Vec<String>,
    /// One branch a domain instead of one for all; default false.
    pub per_domain: bool,
    /// Parts of the base trained beside the branches; default norms and head, as published.
    pub unfreeze: Vec<Part>,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            bottleneck: 16,
            form: Form::Serial,
            gelu: Gelu::Exact,
            std: 0.01,
            sites: Vec::new(),
            per_domain: false,
            unfreeze: vec![Part::Norms, Part::Head],
        }
    }
}

/// One branch's parameters.
#[derive(Clone, Copy, Debug)]
struct Bottleneck {
    site: SiteId,
    w1: ParamId,
    b1: ParamId,
    w2: ParamId,
    b2: ParamId,
}

/// The method `adapter`.
#[derive(Debug)]
pub struct Adapter {
    config: AdapterConfig,
    scope: Scope,
    params: Vec<ParamSpec>,
    branches: Vec<Bottleneck>,
    sets: Sets,
}

impl MethodConfig for AdapterConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.bottleneck == 0 {
            return Err(value("bottleneck", "must be at least 1"));
        }
        if !(self.std > 0.0 && self.std.is_finite()) {
            return Err(value("std", "must be above 0: with both matrices at 0 nothing could ever be learned"));
        }
        let sets = Sets::at_sites(METHOD.name, self.per_domain, target)?;
        let sites = sub_layer_ends(&self.sites, target.backbone);
        if sites.is_empty() {
            return Err(value("sites", "matches no linear layer of the backbone's body"));
        }
        let (groups, m) = (sets.len(), self.bottleneck);
        let mut params = Vec::new();
        let branches = sites.into_iter().map(|(site, path, [_, d_out])| {
            let d = if self.form == Form::Serial { d_out } else { target.backbone.architecture().sites[site.0].d_x };
            let w1 = ParamId(params.len());
            let specs = [
                ParamSpec::weight(format!("{path}.w1"), [groups, d, m], Init::TruncatedNormal(self.std)),
                ParamSpec::vector(format!("{path}.b1"), groups, m, 0.0),
                ParamSpec::weight(format!("{path}.w2"), [groups, m, d_out], Init::Constant(0.0)),
                ParamSpec::vector(format!("{path}.b2"), groups, d_out, 0.0),
            ];
            params.extend(specs.map(|spec| sets.declare(spec)));
            Bottleneck { site, w1, b1: ParamId(w1.0 + 1), w2: ParamId(w1.0 + 2), b2: ParamId(w1.0 + 3) }
        });
        let branches = branches.collect();
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Adapter { config: self, scope, params, branches, sets }))
    }
}

impl Adaptation for Adapter {
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
        let read = if self.config.form == Form::Serial { Read::Output } else { Read::Input };
        let activation = self.config.gelu.activation();
        let branch = |b: &Bottleneck| Effect::Branch(Branch { read, skip: false, activation, w1: pick(b.w1), b1: pick(b.b1), w2: pick(b.w2), b2: pick(b.b2) });
        Ok(self.branches.iter().fold(Modulation::none(), |all, b| all.with(b.site, branch(b))))
    }
}
