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
//! (`norms`), and the parts in `unfreeze`: the head. With `cardinality` g a patch is `Σ_i GELU(x U_i + u_i) V_i + v_i`, g branches of width m / g that read the same, and
//! with `inner_skip` add it once.
//!
//! With `token` each sequence ends with a position of its own for the task, whose state is read in place of the last item's: there a row `e` is added to what the input table
//! has, `x <- x + e`, `e` starting at 0. Behind a causal network's history that is the row of padding, which is zero; in a network that sees both sides it is the mask token's,
//! wherever it stands. In the published code the token is the padding row itself and not trained, and in networks that see both sides it stands at both ends, whose states
//! are added; here it stands at the end only, where such a network is asked anyway. A causal network with the token is asked at a position that its base never had: such a patch
//! does not start as the base on the base's own questions, as the published one does not.
//!
//! # References
//! F. Yuan et al., *Parameter-Efficient Transfer from Sequential Behaviors for User Modeling and Recommendation* (PeterRec), SIGIR 2020.

use acclimate_model::{Architecture, Bound, Branch, BranchActivation, Effect, Init, Modulation, ParamId, ParamSpec, Read, Role, SiteId, SiteKind};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::adapter::Gelu;
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target, Unlabelled};

/// The list entry.
pub const METHOD: Method = Method::new::<PeterRecConfig>("peterrec", Kind::Adaptation, "bottleneck patches in the residual blocks of a sequence network")
    .tested_with(&[
        "insertion = 's1'\nnorms = 'all'",
        "insertion = 'p2'\nnorms = 'none'",
        "insertion = 'p1'\ngelu = 'exact'\nunfreeze = ['head', 'rows']",
        "insertion = 'p1'\ncardinality = 2",
        "token = true",
    ]);

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
    /// Parallel branches g of a patch, each of width m / g; default 1, and more gave no gain as published.
    pub cardinality: usize,
    /// Which GELU; default tanh, as published.
    pub gelu: Gelu,
    /// Whether a parallel patch adds what it reads; default false.
    pub inner_skip: bool,
    /// Standard deviation of `U` at start (truncated normal); default 0.02, as published.
    pub std: f32,
    /// Norms trained beside the patches; default `second`.
    pub norms: Norms,
    /// Whether each sequence ends with a position for the task, with a trained row, whose state is read in place of the last item's; default false.
    pub token: bool,
    /// Parts of the base trained beside the patches; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for PeterRecConfig {
    fn default() -> Self {
        let (insertion, gelu, norms) = (Insertion::S2, Gelu::Tanh, Norms::Second);
        Self { insertion, bottleneck: 8, cardinality: 1, gelu, inner_skip: false, std: 0.02, norms, token: false, unfreeze: vec![Part::Head] }
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
    /// Where each patch stands; those of patch i are the `4 g` parameters from `4 g i` on, four for each of g branches.
    sites: Vec<SiteId>,
    cardinality: usize,
    token: Option<Token>,
}

/// The row of the task.
#[derive(Debug)]
struct Token {
    /// Where rows of items enter the network.
    site: SiteId,
    /// `[1, 1, d]`.
    row: ParamId,
    /// What stands at the task's positions, in a network that sees both sides; else it's the last position of each sequence.
    mask: Option<u32>,
}

impl Token {
    /// 1 at the positions of the task, `[G, N, 1]`.
    fn places(&self, query: &Unlabelled<'_>) -> Vec<f32> {
        let ([groups, n], mask) = (query.shape(), query.mask());
        match self.mask {
            Some(token) => query.codes(0).map(|code| f32::from(u8::from(code == token))).collect(),
            None => {
                let last = |g: usize| mask[g * n..(g + 1) * n].iter().rposition(|&m| m != 0.0);
                let mut places = vec![0.0; groups * n];
                (0..groups).filter_map(|g| Some(g * n + last(g)?)).for_each(|place| places[place] = 1.0);
                places
            }
        }
    }
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
        if self.cardinality == 0 || !self.bottleneck.is_multiple_of(self.cardinality) {
            return Err(value("cardinality", &format!("must divide the width of a patch, `bottleneck` = {}", self.bottleneck)));
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
        let (g, m) = (self.cardinality, self.bottleneck / self.cardinality);
        let branches = sites.iter().flat_map(|id| (0..g).map(move |branch| (id, branch)));
        let params = branches.flat_map(|(id, branch)| {
            let site = &architecture.sites[id.0];
            let d_out = match site.kind {
                SiteKind::Linear { d_out, .. } => d_out,
                _ => site.d_x,
            };
            let d = if is_parallel { site.d_x } else { d_out };
            let path = if g == 1 { site.path.clone() } else { format!("{}.branch.{branch}", site.path) };
            [
                ParamSpec::weight(format!("{path}.w1"), [1, d, m], Init::TruncatedNormal(self.std)),
                ParamSpec::vector(format!("{path}.b1"), 1, m, 0.0),
                ParamSpec::weight(format!("{path}.w2"), [1, m, d_out], Init::Constant(0.0)),
                ParamSpec::vector(format!("{path}.b2"), 1, d_out, 0.0),
            ]
        });
        let mut params: Vec<ParamSpec> = params.collect();
        let rows = architecture.sites.iter().enumerate().find(|(_, s)| s.role == Role::Body && matches!(s.kind, SiteKind::Rows { .. }));
        let token = rows.filter(|_| self.token).map(|(i, site)| {
            params.push(ParamSpec::vector(format!("{}.token", site.path), 1, site.d_x, 0.0));
            Token { site: SiteId(i), row: ParamId(params.len() - 1), mask: target.backbone.mask_token() }
        });
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
        let (skip, activation) = (self.inner_skip, self.gelu.activation());
        Ok(Box::new(PeterRec { read, skip, activation, scope, params, sites, cardinality: g, token }))
    }
}

impl Adaptation for PeterRec {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { token: self.token.is_some(), ..Needs::default() }
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let g = self.cardinality;
        let patch = |i: usize| {
            // Side by side the branches are one, of their summed width.
            let of_branches = |k: usize| (0..g).map(|branch| own.get(ParamId(4 * (g * i + branch) + k))).collect::<Vec<_>>();
            let [w1, b1, w2, b2] = [0, 1, 2, 3].map(of_branches);
            let (w1, b1, w2) = (joined(w1, 2), joined(b1, 2), joined(w2, 1));
            let b2 = b2.into_iter().reduce(|sum, b2| sum + b2).expect("at least one branch");
            Effect::Branch(Branch { read: self.read, skip: self.skip, activation: self.activation, w1, b1, w2, b2 })
        };
        let all = self.sites.iter().enumerate().fold(Modulation::none(), |all, (i, &site)| all.with(site, patch(i)));
        let Some(token) = &self.token else { return Ok(all) };
        let (row, [groups, n]) = (own.get(token.row), context.query.shape());
        let places = Tensor::<3>::from_data(TensorData::new(token.places(&context.query), [groups, n, 1]), &row.device());
        Ok(all.with(token.site, Effect::Added(places * row)))
    }
}

/// Tensors side by side along a dimension.
fn joined(mut parts: Vec<Tensor<3>>, dimension: usize) -> Tensor<3> {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => Tensor::cat(parts, dimension),
    }
}
