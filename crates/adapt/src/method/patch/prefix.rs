//! `prefix`: learned keys and values that every position attends to.
//!
//! In each attention, with queries q and what its heads give, y: `y_h + tanh(g_h) softmax(q_h K_h^T / sqrt(d / H)) V_h` for each head h of H, with P keys `K [P, d]` and values `V [P, d]` of the layer's own. They are
//! not masked: a prefix has no place in time. `K` and `V` start as small normal numbers and the gates `g [H]` at 0, so the patched network equals the base at start. Trained: keys, values
//! and gates, and the parts in `unfreeze`. It does not fold into the weights.
//!
//! Deviations from the paper: there keys and values join those of the sequence in one softmax, which changes the network at once; here they have a softmax of their own behind a gate that starts shut, as in
//! LLaMA-Adapter (the two are the same function but for the gate: the paper's divides the heads' output and the prefix' by the weights of both). They are trained themselves and not
//! through a network that generates them. With `per_domain` every domain has a prefix, and domains that the base does not know share one.
//!
//! # References
//! X. L. Li and P. Liang, *Prefix-Tuning: Optimizing Continuous Prompts for Generation*, ACL 2021. R. Zhang et al., *LLaMA-Adapter: Efficient Fine-tuning of Large
//! Language Models with Zero-initialized Attention*, ICLR 2024.

use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec, Prefix, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use crate::method::Sets;
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<PrefixConfig>("prefix", Kind::Adaptation, "learned keys and values that every position attends to")
        .tested_with(&["length = 2\nunfreeze = ['norms', 'positions', 'head']"]);

/// Configuration of [`PrefixTuning`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixConfig {
    /// Keys and values P of each attention; each adds `2 d` values a layer. Default 8; the paper takes 10 to 200 for language.
    pub length: usize,
    /// Standard deviation of keys and values at start; default 0.02.
    pub std: f32,
    /// A prefix for each domain instead of one for all; default false.
    pub per_domain: bool,
    /// Parts of the base trained beside the prefixes; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for PrefixConfig {
    fn default() -> Self {
        Self { length: 8, std: 0.02, per_domain: false, unfreeze: vec![Part::Head] }
    }
}

/// The method `prefix`.
#[derive(Debug)]
pub struct PrefixTuning {
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Attention sites; keys, values and gates of number i are the parameters from 3 i on.
    sites: Vec<SiteId>,
    sets: Sets,
}

impl MethodConfig for PrefixConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.length < 2 {
            return Err(value("length", "must be at least 2: a single key is attended to whatever it says, and would never learn"));
        }
        if !(self.std > 0.0 && self.std.is_finite()) {
            return Err(value("std", "must be above 0: with values and gates at 0 nothing could ever be learned"));
        }
        let sets = Sets::new(METHOD.name, self.per_domain, target.schema)?;
        let (mut sites, mut params) = (Vec::new(), Vec::new());
        for (i, site) in target.backbone.architecture().sites.iter().enumerate() {
            let SiteKind::Attention { d, heads } = site.kind else { continue };
            let (path, groups, init) = (&site.path, sets.len(), Init::Normal(self.std));
            let specs = [
                ParamSpec::weight(format!("{path}.prefix_keys"), [groups, self.length, d], init),
                ParamSpec::weight(format!("{path}.prefix_values"), [groups, self.length, d], init),
                ParamSpec::vector(format!("{path}.prefix_gate"), groups, heads, 0.0),
            ];
            params.extend(specs.map(|spec| sets.declare(spec)));
            sites.push(SiteId(i));
        }
        if sites.is_empty() {
            return Err(AdaptError::Unsupported { method: METHOD.name, problem: "its backbone has no attention; use `sasrec`".into() });
        }
        Ok(Box::new(PrefixTuning { scope: scope(&self.unfreeze, target.backbone), params, sites, sets }))
    }
}

impl Adaptation for PrefixTuning {
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
        let prefix = |i: usize| {
            let [keys, values, gate] = [0, 1, 2].map(|k| chosen.pick(own, ParamId(3 * i + k))); // [G|1, ..]
            Effect::Prefix(Prefix { keys, values, gate: gate.tanh() })
        };
        Ok(self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &site)| all.with(site, prefix(i))))
    }
}
