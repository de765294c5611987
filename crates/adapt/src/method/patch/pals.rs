//! `pals`: projected attention layers beside the blocks of a sequence network.
//!
//! A block that makes H' of H gives `H' + GELU(Attn_l(H E + e) D + c)`, `E [d, m]`, `D [m, d]`; `Attn_l` is attention of width m with queries, keys and values of block l's own and no output map, and
//! a position sees what it sees in the network. `E, e, D, c` are shared by all blocks. With `form = "low_rank"` it gives `H' + GELU(H E_l + e_l) D_l + c_l`, every block with
//! matrices of its own. `D` and `c` start at 0, so the patched network equals the base at start. Trained: these layers, and all of the base (`unfreeze = ["all"]`), as published; with `unfreeze = ["head"]` it is a
//! patch on a frozen base.
//!
//! With `per_domain` every domain has a set, which is the paper's use: a domain is one of its tasks, and all share the network. Domains that the base does not know share a set.
//!
//! Deviations from the paper: it draws `D`; its norm stands after the sum, for its Transformer is one of norms after each sub-layer; keys have no bias, which changes nothing. Tasks are not
//! drawn by its annealed sampling.
//!
//! # References
//! A. C. Stickland and I. Murray, *BERT and PALs: Projected Attention Layers for Efficient Adaptation in Multi-Task Learning*, ICML 2019.

use std::sync::Arc;

use acclimate_model::kernel::Seen;
use acclimate_model::{Bound, Branch, BranchActivation, Effect, Init, Modulation, ParamId, ParamSpec, Read, Role, Sight, SiteId, SiteKind};
use burn::tensor::activation::gelu;
use serde::{Deserialize, Serialize};

use crate::method::{Heads, Map, Sets};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<PalsConfig>("pals", Kind::Adaptation, "projected attention layers beside the blocks of a sequence network")
        .tested_with(&["unfreeze = ['head']\nheads = 1", "form = 'low_rank'\nunfreeze = ['head', 'norms']"]);

/// What stands beside a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Attention between a projection down and one up, which all blocks share.
    Attention,
    /// The two projections alone, of each block's own.
    LowRank,
}

/// Configuration of [`Pals`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PalsConfig {
    /// `attention` or `low_rank`; default attention.
    pub form: Form,
    /// Width m; default 16, a quarter of the usual network, as published.
    pub width: usize,
    /// Heads of the attention, which must divide the width; default 4 (the published code has 6 of width 34).
    pub heads: usize,
    /// A set for each domain instead of one for all; default false.
    pub per_domain: bool,
    /// Parts of the base trained beside the layers; default all.
    pub unfreeze: Vec<Part>,
}

impl Default for PalsConfig {
    fn default() -> Self {
        Self { form: Form::Attention, width: 16, heads: 4, per_domain: false, unfreeze: vec![Part::All] }
    }
}

/// The method `pals`.
#[derive(Debug)]
pub struct Pals {
    scope: Scope,
    params: Vec<ParamSpec>,
    layers: Layers,
    sets: Sets,
}

#[derive(Debug)]
enum Layers {
    Attention {
        sight: Sight,
        encoder: Map,
        decoder: Map,
        heads: Vec<(SiteId, Heads)>,
    },
    /// The four parameters of each site's branch are those from the given one on.
    LowRank(Vec<(SiteId, usize)>),
}

impl MethodConfig for PalsConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: String| AdaptError::Value { method: METHOD.name, key, problem };
        let m = self.width;
        if m == 0 {
            return Err(value("width", "must be at least 1".into()));
        }
        if self.form == Form::Attention && (self.heads == 0 || !m.is_multiple_of(self.heads)) {
            return Err(value("heads", format!("must divide the width, {m}")));
        }
        let sets = Sets::new(METHOD.name, self.per_domain, target.schema)?;
        let sites = target.backbone.architecture().sites.iter().enumerate();
        let blocks: Vec<_> = sites
            .filter_map(|(i, site)| match site.kind {
                SiteKind::Hidden { d } if site.role == Role::Body => Some((SiteId(i), &site.path, d)),
                _ => None,
            })
            .collect();
        let (Some(&(_, _, d)), true) = (blocks.first(), target.backbone.sight() != Sight::Itself) else {
            let problem = "its backbone has no blocks over a sequence; use `sasrec` or `nextitnet`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        };
        let (mut params, zero) = (Vec::new(), Init::Constant(0.0));
        let layers = match self.form {
            Form::Attention => Layers::Attention {
                sight: target.backbone.sight(),
                encoder: Map::declare(&mut params, sets, "pals.encoder", [d, m], Init::XavierUniform),
                decoder: Map::declare(&mut params, sets, "pals.decoder", [m, d], zero),
                heads: blocks
                    .iter()
                    .map(|(site, path, _)| (*site, Heads::declare(&mut params, sets, &format!("{path}.pals"), m, self.heads)))
                    .collect(),
            },
            Form::LowRank => Layers::LowRank(
                blocks
                    .iter()
                    .map(|&(site, path, d)| {
                        let first = params.len();
                        Map::declare(&mut params, sets, &format!("{path}.pals.encoder"), [d, m], Init::XavierUniform);
                        Map::declare(&mut params, sets, &format!("{path}.pals.decoder"), [m, d], zero);
                        (site, first)
                    })
                    .collect(),
            ),
        };
        Ok(Box::new(Pals { scope: scope(&self.unfreeze, target.backbone), params, layers, sets }))
    }
}

impl Adaptation for Pals {
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
        match &self.layers {
            Layers::LowRank(branches) => Ok(branches.iter().fold(Modulation::none(), |all, &(site, first)| {
                let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|k| pick(ParamId(first + k)));
                let (read, activation) = (Read::Input, BranchActivation::Gelu);
                all.with(site, Effect::Branch(Branch { read, skip: false, activation, w1, b1, w2, b2 }))
            })),
            Layers::Attention { sight, encoder, decoder, heads } => {
                let (encoder, decoder, sight) = (encoder.bind(&pick), decoder.bind(&pick), *sight);
                let mask: Arc<[f32]> = context.query.mask().into();
                Ok(heads.iter().fold(Modulation::none(), |all, &(site, heads)| {
                    let (encoder, decoder, heads, mask) = (encoder.clone(), decoder.clone(), heads.bind(&pick), mask.clone());
                    let beside = move |h: &_, y| {
                        let h: &burn::tensor::Tensor<3> = h;
                        let mixed = heads.of(&encoder.of(h.clone()), Seen { sight, mask: Some(&mask) }); // [G, N, m]
                        y + gelu(decoder.of(mixed))
                    };
                    all.with(site, Effect::opaque(beside))
                }))
            }
        }
    }
}
