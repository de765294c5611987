//! `star`: shared weights multiplied by those of the domain.
//!
//! `y = x (W ⊙ W_p) + b + b_p` at every linear site, the head included, for a row of domain p. `W_p` starts at 1 and `b_p` at 0, so the patched network equals the
//! base at start, but for rounding. With `auxiliary` a small network adds to the score: `s = s_star + ReLU([e_p; x] V1 + c1) v2`, x the network's input, `e_p` an embedding of the domain; `v2`
//! starts at 0. Domains that the base does not know share a set, which stays at its start unless rows of such domains are learned: they get the shared network.
//!
//! Partitioned normalisation, where the base has a norm of its input (`input_norm = "batch"` of `dnn`): `(γ ⊙ γ_p) (z - μ_p) / sqrt(v_p + ε) + β + β_p`. `γ_p` starts at 1, `β_p` at 0. The
//! running `μ_p` and `v_p` are kept as differences to the base's, 0 at start; each training step normalises a domain's rows by their own moments and moves the running ones by
//! a tenth of the way. A domain with fewer than 16 rows in a batch takes the running ones and moves nothing. A domain that the base does not know has the base's moments,
//! which are those of the rows of all its domains, and gain and shift of the base.
//!
//! Trained: the domains' weights and norms, the auxiliary network, and all of the base (`unfreeze = ["all"]`), as published, but for its running moments of the input, in whose place the
//! domains' stand; with `unfreeze = []` it is a patch on a frozen base.
//!
//! # References
//! X. Sheng et al., *One Model to Serve All: Star Topology Adaptive Recommender for Multi-Domain CTR Prediction*, CIKM 2021.

use acclimate_model::layer::product;
use acclimate_model::{
    Bound, Effect, Init, Modulation, ParamId, ParamSpec, Role, SiteId, SiteKind,
};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::method::{PartitionedNorm, Sets};
use crate::selection::{Part, batch_norms, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<StarConfig>("star", Kind::Adaptation, "shared weights multiplied by those of the domain")
    .tested_with(&["auxiliary = 0\nunfreeze = []", "partitioned_norm = true"]);

/// Configuration of [`Star`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StarConfig {
    /// Width of the auxiliary network's hidden layer; 0: there is none. Default 16.
    pub auxiliary: usize,
    /// Width of its embedding of the domain; default 8.
    pub embedding: usize,
    /// Moments, gain and shift of each domain in the norm of the base's input; default where the base has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitioned_norm: Option<bool>,
    /// Parts of the base trained beside the domains' weights; default all.
    pub unfreeze: Vec<Part>,
}

impl Default for StarConfig {
    fn default() -> Self {
        Self { auxiliary: 16, embedding: 8, partitioned_norm: None, unfreeze: vec![Part::All] }
    }
}

/// The method `star`.
#[derive(Debug)]
pub struct Star {
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Linear sites; `W_p` of number i is parameter 2 i, `b_p` the next.
    sites: Vec<SiteId>,
    auxiliary: Option<Auxiliary>,
    partitioned: Option<PartitionedNorm>,
    sets: Sets,
}

#[derive(Clone, Copy, Debug)]
struct Auxiliary {
    head: SiteId,
    /// `e`, `V1`, `c1`, `v2`, in this order.
    first: usize,
}

impl MethodConfig for StarConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        let architecture = target.backbone.architecture();
        let sets = Sets::at_sites(METHOD.name, true, target)?;
        let Some(head) = architecture.linear_sites().find(|(_, site, _)| site.role == Role::Head).map(|(id, ..)| id) else {
            return Err(unsupported("its head is no linear layer; use `dnn`"));
        };
        if self.auxiliary > 0 && self.embedding == 0 {
            let problem = "must be at least 1 with an auxiliary network".into();
            return Err(AdaptError::Value { method: METHOD.name, key: "embedding", problem });
        }
        let blocks = sets.len();
        let (mut params, mut sites) = (Vec::new(), Vec::new());
        for (id, site, [d_in, d_out]) in architecture.linear_sites() {
            let path = &site.path;
            let weight = ParamSpec::weight(format!("{path}.star_weight"), [blocks, d_in, d_out], Init::Constant(1.0));
            let bias = ParamSpec::vector(format!("{path}.star_bias"), blocks, d_out, 0.0);
            params.extend([weight, bias].map(|spec| ParamSpec { decay: false, ..sets.declare(spec) }));
            sites.push(id);
        }
        let d_x = architecture.sites.iter().find_map(|site| match site.kind {
            SiteKind::Rows { d } if site.role == Role::Body => Some(d),
            _ => None,
        });
        let auxiliary = d_x.filter(|_| self.auxiliary > 0).map(|d_x| {
            let (c, h, first) = (self.embedding, self.auxiliary, params.len());
            params.extend([
                sets.declare(ParamSpec::weight("auxiliary.embedding", [blocks, 1, c], Init::Normal(0.01))),
                ParamSpec::weight("auxiliary.0.weight", [1, c + d_x, h], Init::KaimingUniform),
                ParamSpec::vector("auxiliary.0.bias", 1, h, 0.0),
                ParamSpec::weight("auxiliary.1.weight", [1, h, 1], Init::Constant(0.0)),
            ]);
            Auxiliary { head, first }
        });
        let norm = batch_norms(&["input.norm".into()], target.backbone).pop();
        if self.partitioned_norm == Some(true) && norm.is_none() {
            let problem = "it has no norm with running moments before its tower; set `input_norm = \"batch\"` of `dnn`, or `partitioned_norm = false`";
            return Err(unsupported(problem));
        }
        let norm = norm.filter(|_| self.partitioned_norm != Some(false));
        let partitioned = norm.map(|norm| PartitionedNorm::declare(&mut params, sets, norm, "star"));
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Star { scope, params, sites, auxiliary, partitioned, sets }))
    }
}

impl Adaptation for Star {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn rounds_at_start(&self) -> bool {
        // Weights of their own take each group through a product of its own.
        true
    }

    fn needs(&self) -> Needs {
        self.sets.needs()
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let chosen = self.sets.choose(context)?;
        let pick = |i: usize| chosen.pick(own, ParamId(i)); // [G, ..]
        let multiplied = |i: usize| Effect::Multiply { weight: pick(2 * i), bias: Some(pick(2 * i + 1)) };
        let all = self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &site)| all.with(site, multiplied(i)));
        let all = match &self.partitioned {
            Some(norm) => norm.after(all, base, own, &chosen),
            None => all,
        };
        let Some(Auxiliary { head, first }) = self.auxiliary else { return Ok(all) };
        let x = context.inputs[0].clone(); // [G, N, d]
        let [_, n, _] = x.dims();
        let e = pick(first).repeat_dim(1, n); // [G, N, c]
        let h = relu(product(Tensor::cat(vec![e, x], 2), own.get(ParamId(first + 1))) + own.get(ParamId(first + 2)));
        Ok(all.with(head, Effect::offset(product(h, own.get(ParamId(first + 3))))))
    }
}
