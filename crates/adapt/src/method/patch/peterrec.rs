//! `peterrec`: bottleneck patches in the residual blocks of a sequence network, in the four ways of the paper.
//!
//! A block is `Z1 = ReLU(LN1(Conv1(H)))`, `Z2 = ReLU(LN2(Conv2(Z1)))`, `H' = H + Z2`. With `B(x) = GELU(x U + u) V + v`, `U [C, m]`, `V [m, C]`:
//!
//! | `insertion` | what changes |
//! |---|---|
//! | `s2` | `LN1(y1 + B1(y1))`, `LN2(y2 + B2(y2))`, y the convolutions' outputs |
//! | `s1` | the second of these alone |
//! | `p2` | `LN1(y1 + B1(H))`, `LN2(y2 + B2(Z1))` |
//! | `p1` | `H' = H + Z2 + B(H)` |
//!
//! `V` and `v` start at 0, so the patched network equals the base at start (the published code draws both matrices with std 0.02). With `inner_skip` a parallel branch also adds what
//! it reads, as the published code does there; the patched network then differs from the base at start. Trained: the patches, gain and shift of every second norm
//! (`norms`), and the parts in `unfreeze`: the head. Wide patches of several branches ("cardinality") are the same function as one branch of their summed width.
//!
//! Not here: the token of the task at the end of a sequence. The state of the last event is read.
//!
//! # References
//! F. Yuan et al., *Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and Recommendation* (PeterRec), SIGIR 2020.

use acclimate_model::{Architecture, Bound, Branch, BranchActivation, Effect, Init, Modulation, ParamId, ParamSpec, Read, Role, SiteId, SiteKind};
use serde::{Deserialize, Serialize};

use super::adapter::Gelu;
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<PeterRecConfig>("peterrec", Kind::Adaptation, "bottleneck patches in the residual blocks of a sequence network")
    .tested_with(&["insertion = 's1'\nnorms = 'all'", "insertion = 'p2'\nnorms = 'none'", "insertion = 'p1'\ngelu = 'exact'\nunfreeze = ['head', 'rows']"]);

/// Where patches stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Insertion {
    /// After both convolutions.
    S2,
    /// After the second convolution.
    S1,
    /// Beside both convolutions.
    P2,
    /// Beside the block.
    P1,
}

/// Which norms are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// The second of each block, as published.
    Second,
    /// All.
    All,
    /// None.
    None,
}

/// Configuration of [`PeterRec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeterRecConfig {
    /// `s2`, `s1`, `p2` or `p1`; default `s2`.
    pub insertion: Insertion,
    /// Width m of a patch; the published code takes a quarter of the network's, the paper's "a tenth of a convolution" needs at most an eighth. Default 8.
    pub bottleneck: usize,
    /// Which GELU; default tanh, as published.
    pub gelu: Gelu,
    /// Whether a parallel patch adds what it reads; default false.
    pub inner_skip: bool,
    /// Standard deviation of `U` at start (truncated normal); default 0.02, as published.
    pub std: f32,
    /// Norms trained beside the patches; default `second`.
    pub norms: Norms,
    /// Parts of the base trained beside the patches; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for PeterRecConfig {
    fn default() -> Self {
        let (insertion, gelu, norms) = (Insertion::S2, Gelu::Tanh, Norms::Second);
        Self { insertion, bottleneck: 8, gelu, inner_skip: false, std: 0.02, norms, unfreeze: vec![Part::Head] }
    }
}

/// The method `peterrec`.
#[derive(Debug)]
pub struct PeterRec {
    read: Read,
    skip: bool,
    activation: BranchActivation,
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Where each patch stands; its parameters are the four from four times its number on.
    sites: Vec<SiteId>,
}

/// The residual blocks of a network, each with the sites below it in their order: hidden states of the body whose paths are prefixes.
fn blocks(architecture: &Architecture) -> Vec<(SiteId, Vec<SiteId>)> {
    let is_block = |kind: SiteKind, role: Role| matches!(kind, SiteKind::Hidden { .. }) && role == Role::Body;
    let sites = || architecture.sites.iter().enumerate();
    let below = |path: &str| {
        let inside = |site: &&str| site.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        sites().filter(|(_, site)| inside(&site.path.as_str())).map(|(i, _)| SiteId(i)).collect()
    };
    sites().filter(|(_, site)| is_block(site.kind, site.role)).map(|(i, site)| (SiteId(i), below(&site.path))).collect()
}

impl MethodConfig for PeterRecConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        if self.bottleneck == 0 {
            return Err(value("bottleneck", "must be at least 1"));
        }
        if !(self.std > 0.0 && self.std.is_finite()) {
            return Err(value("std", "must be above 0: with both matrices at 0 nothing could ever be learned"));
        }
        let is_parallel = matches!(self.insertion, Insertion::P1 | Insertion::P2);
        if self.inner_skip && !is_parallel {
            return Err(value("inner_skip", "is for the parallel insertions `p1` and `p2`"));
        }
        let architecture = target.backbone.architecture();
        let blocks = blocks(architecture);
        let of_kind = |sites: &[SiteId], wanted: fn(SiteKind) -> bool| -> Vec<SiteId> {
            sites.iter().copied().filter(|id| wanted(architecture.sites[id.0].kind)).collect()
        };
        let is_linear = |kind| matches!(kind, SiteKind::Linear { .. });
        let is_norm = |kind| matches!(kind, SiteKind::Norm { .. });
        if blocks.is_empty() || blocks.iter().any(|(_, sites)| of_kind(sites, is_linear).len() != 2) {
            let problem = "its backbone has no residual blocks of two convolutions; use `nextitnet`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let sites: Vec<SiteId> = blocks
            .iter()
            .flat_map(|(block, sites)| match self.insertion {
                Insertion::S2 | Insertion::P2 => of_kind(sites, is_linear),
                Insertion::S1 => of_kind(sites, is_linear)[1..].to_vec(),
                Insertion::P1 => vec![*block],
            })
            .collect();
        let m = self.bottleneck;
        let params = sites.iter().flat_map(|id| {
            let site = &architecture.sites[id.0];
            let d_out = match site.kind {
                SiteKind::Linear { d_out, .. } => d_out,
                _ => site.d_x,
            };
            let d = if is_parallel { site.d_x } else { d_out };
            [
                ParamSpec::weight(format!("{}.w1", site.path), [1, d, m], Init::TruncatedNormal(self.std)),
                ParamSpec::vector(format!("{}.b1", site.path), 1, m, 0.0),
                ParamSpec::weight(format!("{}.w2", site.path), [1, m, d_out], Init::Constant(0.0)),
                ParamSpec::vector(format!("{}.b2", site.path), 1, d_out, 0.0),
            ]
        });
        let params = params.collect();
        let mut scope = scope(&self.unfreeze, target.backbone);
        for (_, below) in &blocks {
            let norms = of_kind(below, is_norm);
            let trained = match self.norms {
                Norms::Second => norms.get(1..).unwrap_or_default(),
                Norms::All => &norms[..],
                Norms::None => &[],
            };
            scope.params.extend(trained.iter().flat_map(|&norm| architecture.params_of(norm)));
        }
        scope.params.sort_unstable();
        scope.params.dedup();
        let read = if is_parallel { Read::Input } else { Read::Output };
        Ok(Box::new(PeterRec { read, skip: self.inner_skip, activation: self.gelu.activation(), scope, params, sites }))
    }
}

impl Adaptation for PeterRec {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let patch = |i: usize| {
            let [w1, b1, w2, b2] = [0, 1, 2, 3].map(|k| own.get(ParamId(4 * i + k)));
            Effect::Branch(Branch { read: self.read, skip: self.skip, activation: self.activation, w1, b1, w2, b2 })
        };
        Ok(self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &site)| all.with(site, patch(i))))
    }
}
