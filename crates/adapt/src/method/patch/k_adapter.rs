//! `k_adapter`: a network beside the base that reads its hidden states at some depths.
//!
//! With `Y_1 .. Y_K` the base's hidden states at K depths, in each of S stacks:
//!
//! `I_k = Y_k + O_{k-1}`, `O_k = I_k + T_k(I_k D_k + d_k) U_k + u_k`, `O_0 = 0`,
//!
//! `T_k` some Transformer layers of width m: `a = LN(s + Attn(s) A + a')`, `LN(a + GELU(a B + b) C + c)`; where rows have nothing to do with each other the attention is left out. Where the states of two depths differ in width, as in a
//! tower, `O_{k-1}` is first mapped to the next one. At the end of the body, with its state Y and stack s's last state `O^s`:
//!
//! | `fusion` | the state becomes |
//! |---|---|
//! | `concatenate` | `Y + [Y; O^1; ..; O^S] F + f` |
//! | `sum` | `Y + Σ_s g_s ⊙ O^s` |
//!
//! `F`, `f` and `g` start at 0, so the patched network equals the base at start. Hidden states are the ends of a sequence network's blocks, and what the linear layers of a tower give, before norm and activation. No gradient enters
//! the base unless it has something to train. Trained: the stacks and the fusion, and the parts in `unfreeze`: the head. It does not fold into the weights.
//!
//! Deviations from the paper: its fusion is drawn, and its sum is plain, so it differs from the base at start; `D` and `U` start with std 0.02 where its code takes 2e-4, for the fusion alone decides where the network starts; its
//! attention reads padding, here none does; stacks are trained together (train one, then another on the base with the first, for stacks of their own; or put two of them in a `stack`); one layer in each `T` by default instead of two;
//! no dropout. Keys have no bias, which changes nothing.
//!
//! # References
//! R. Wang et al., *K-Adapter: Infusing Knowledge into Pre-Trained Models with Adapters*, Findings of ACL 2021.

use std::sync::{Arc, Mutex, PoisonError};

use acclimate_model::kernel::{Seen, layer_norm};
use acclimate_model::{Activation, Architecture, Bound, Effect, Init, Modulation, ParamId, ParamSpec, Role, Sight, SiteId, SiteKind};
use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use serde::{Deserialize, Serialize};

use crate::method::{BoundHeads, BoundMap, Heads, Map, Sets};
use crate::selection::{Part, heads, matches, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<KAdapterConfig>("k_adapter", Kind::Adaptation, "a network beside the base that reads its hidden states").tested_with(&[
            "stacks = 2\nunfreeze = ['head', 'norms']\nsites = ['block.0', 'tower.1.linear']",
            "layers = 2\nheads = 1\nsites = ['block.0', 'tower.0.linear']",
            "fusion = 'sum'\nsites = ['block.*', 'tower.1.linear']",
        ]);

/// How the stacks join the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// A linear map of all states side by side.
    Concatenate,
    /// A sum with a factor for each feature.
    Sum,
}

/// Configuration of [`KAdapter`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KAdapterConfig {
    /// Patterns of the hidden states that are read; default (none) the first, the middle and the last, as published.
    pub sites: Vec<String>,
    /// Stacks beside each other; default 1.
    pub stacks: usize,
    /// Width m of their Transformer layers; default 16.
    pub width: usize,
    /// Heads of their attention, which must divide the width; default 2.
    pub heads: usize,
    /// Transformer layers at each depth; default 1 (the paper has 2).
    pub layers: usize,
    /// `concatenate` or `sum`; default concatenate.
    pub fusion: Fusion,
    /// Standard deviation of `D` and `U` at start; default 0.02.
    pub std: f32,
    /// Parts of the base trained beside the stacks; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for KAdapterConfig {
    fn default() -> Self {
        let (sites, fusion, unfreeze) = (Vec::new(), Fusion::Concatenate, vec![Part::Head]);
        Self { sites, stacks: 1, width: 16, heads: 2, layers: 1, fusion, std: 0.02, unfreeze }
    }
}

/// A Transformer layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// Attention, its output map and its norm, where rows see each other.
    attention: Option<(Heads, Map, Norm)>,
    feed_forward: [Map; 2],
    norm: Norm,
}

/// Gain, then shift.
#[derive(Clone, Copy, Debug)]
struct Norm(ParamId);

/// What a stack does at one depth.
#[derive(Clone, Debug)]
struct Depth {
    /// From the state of the depth before, where that has another width.
    carried: Option<Map>,
    down: Map,
    layers: Vec<Layer>,
    up: Map,
}

/// How stacks join the state at the end: a matrix (or factor) of each, and for `concatenate` those of the state itself and a bias.
#[derive(Clone, Debug)]
enum Join {
    Concatenate { own: Map, stacks: Vec<Map> },
    Sum(Vec<ParamId>),
}

/// The method `k_adapter`.
#[derive(Debug)]
pub struct KAdapter {
    scope: Scope,
    params: Vec<ParamSpec>,
    sight: Sight,
    /// Sites that are read.
    read: Vec<SiteId>,
    /// The last hidden state.
    end: SiteId,
    stacks: Vec<Vec<Depth>>,
    join: Join,
}

/// Hidden states of a body with their widths: the ends of blocks, or what linear layers give where there are no blocks.
fn states(architecture: &Architecture) -> Vec<(SiteId, &str, usize)> {
    let of = |wanted: fn(SiteKind) -> Option<usize>| -> Vec<_> {
        let sites = architecture.sites.iter().enumerate().filter(|(_, site)| site.role == Role::Body);
        sites.filter_map(|(i, site)| wanted(site.kind).map(|d| (SiteId(i), site.path.as_str(), d))).collect()
    };
    let blocks = of(|kind| if let SiteKind::Hidden { d } = kind { Some(d) } else { None });
    if blocks.is_empty() { of(|kind| if let SiteKind::Linear { d_out, .. } = kind { Some(d_out) } else { None }) } else { blocks }
}

impl MethodConfig for KAdapterConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: String| AdaptError::Value { method: METHOD.name, key, problem };
        for (key, size) in [("stacks", self.stacks), ("width", self.width), ("heads", self.heads), ("layers", self.layers)] {
            if size == 0 {
                return Err(value(key, "must be at least 1".into()));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(value("heads", format!("must divide the width, {}", self.width)));
        }
        if !(self.std > 0.0 && self.std.is_finite()) {
            return Err(value("std", "must be above 0".into()));
        }
        if heads(target.backbone).len() > 1 {
            let problem = "it reads every hidden state of a pass, and of towers of domains a pass takes those that its rows ask for; use `dnn`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        let states = states(target.backbone.architecture());
        let Some(&(end, end_path, d_end)) = states.last() else {
            return Err(AdaptError::Unsupported { method: METHOD.name, problem: "its backbone has no hidden state".into() });
        };
        let chosen: Vec<_> = if self.sites.is_empty() {
            let mut places = vec![0, states.len() / 2, states.len() - 1];
            places.dedup();
            places.into_iter().map(|place| states[place]).collect()
        } else {
            states.iter().copied().filter(|(_, path, _)| self.sites.iter().any(|pattern| matches(pattern, path))).collect()
        };
        let Some(&(_, _, d_last)) = chosen.last() else {
            let known: Vec<_> = states.iter().map(|(_, path, _)| *path).collect();
            return Err(value("sites", format!("matches no hidden state; there are {}", known.join(", "))));
        };
        if self.fusion == Fusion::Sum && d_last != d_end {
            return Err(value("fusion", format!("can not be `sum`: the last state read is {d_last} wide, that of `{end_path}` {d_end}")));
        }
        let one = Sets::new(METHOD.name, false, target.schema)?;
        let mut params = Vec::new();
        let stacks = (0..self.stacks).map(|s| {
            let mut before = None;
            let depths = chosen.iter().enumerate().map(|(k, &(_, _, d))| {
                let depth = self.depth(&mut params, one, &format!("stack.{s}.{k}"), [before.unwrap_or(d), d], target.backbone.sight());
                before = Some(d);
                depth
            });
            depths.collect::<Vec<_>>()
        });
        let stacks = stacks.collect();
        let join = match self.fusion {
            Fusion::Concatenate => Join::Concatenate {
                own: Map::declare(&mut params, one, "fusion.base", [d_end, d_end], Init::Constant(0.0)),
                stacks: (0..self.stacks)
                    .map(|s| Map::without_bias(&mut params, one, &format!("fusion.{s}"), [d_last, d_end], Init::Constant(0.0)))
                    .collect(),
            },
            Fusion::Sum => {
                let factor = |s| {
                    params.push(ParamSpec::vector(format!("fusion.{s}.gain"), 1, d_end, 0.0));
                    ParamId(params.len() - 1)
                };
                Join::Sum((0..self.stacks).map(factor).collect())
            }
        };
        let (scope, sight) = (scope(&self.unfreeze, target.backbone), target.backbone.sight());
        Ok(Box::new(KAdapter { scope, params, sight, read: chosen.iter().map(|(site, ..)| *site).collect(), end, stacks, join }))
    }
}

impl KAdapterConfig {
    fn depth(&self, params: &mut Vec<ParamSpec>, one: Sets, path: &str, [before, d]: [usize; 2], sight: Sight) -> Depth {
        let (m, std, xavier) = (self.width, Init::Normal(self.std), Init::XavierUniform);
        let carried = (before != d).then(|| Map::declare(params, one, &format!("{path}.carried"), [before, d], xavier));
        let down = Map::declare(params, one, &format!("{path}.down"), [d, m], std);
        let norm = |params: &mut Vec<ParamSpec>, path: &str| {
            params.extend([ParamSpec::vector(format!("{path}.gain"), 1, m, 1.0), ParamSpec::vector(format!("{path}.shift"), 1, m, 0.0)]);
            Norm(ParamId(params.len() - 2))
        };
        let layers = (0..self.layers).map(|l| {
            let path = format!("{path}.layer.{l}");
            let attention = (sight != Sight::Itself).then(|| {
                let heads = Heads::declare(params, one, &format!("{path}.attention"), m, self.heads);
                let output = Map::declare(params, one, &format!("{path}.attention.output"), [m, m], xavier);
                (heads, output, norm(params, &format!("{path}.norm_attention")))
            });
            let feed_forward = [("in", [m, 4 * m]), ("out", [4 * m, m])]
                .map(|(name, widths)| Map::declare(params, one, &format!("{path}.feed_forward.{name}"), widths, xavier));
            Layer { attention, feed_forward, norm: norm(params, &format!("{path}.norm_feed_forward")) }
        });
        let layers = layers.collect();
        Depth { carried, down, layers, up: Map::declare(params, one, &format!("{path}.up"), [m, d], std) }
    }
}

/// Added to the variance in the layers' norms.
const EPSILON: f64 = 1e-5;

#[derive(Clone, Debug)]
struct BoundNorm([Tensor<3>; 2]);

impl BoundNorm {
    fn of(&self, x: Tensor<3>) -> Tensor<3> {
        let [gain, shift] = self.0.clone();
        layer_norm(x, gain, shift, EPSILON, Activation::Identity)
    }
}

#[derive(Clone, Debug)]
struct BoundLayer {
    attention: Option<(BoundHeads, BoundMap, BoundNorm)>,
    feed_forward: [BoundMap; 2],
    norm: BoundNorm,
}

impl BoundLayer {
    /// # Shapes
    /// `s` and the result `[G, N, m]`.
    fn of(&self, s: Tensor<3>, seen: Seen<'_>) -> Tensor<3> {
        let a = match &self.attention {
            Some((heads, output, norm)) => norm.of(output.of(heads.of(&s, seen)) + s),
            None => s,
        };
        let [inner, outer] = &self.feed_forward;
        self.norm.of(outer.of(gelu(inner.of(a.clone()))) + a)
    }
}

#[derive(Clone, Debug)]
struct BoundDepth {
    carried: Option<BoundMap>,
    down: BoundMap,
    layers: Vec<BoundLayer>,
    up: BoundMap,
}

impl BoundDepth {
    /// `O_k` of `Y_k` and `O_{k-1}`, `[G, N, d]` each.
    fn of(&self, y: Tensor<3>, before: Option<Tensor<3>>, seen: Seen<'_>) -> Tensor<3> {
        let before = before.map(|o| self.carried.as_ref().map_or(o.clone(), |map| map.of(o)));
        let i = match before {
            Some(o) => y + o,
            None => y,
        };
        let s = self.layers.iter().fold(self.down.of(i.clone()), |s, layer| layer.of(s, seen)); // [G, N, m]
        self.up.of(s) + i
    }
}

impl Depth {
    fn bind(&self, pick: &dyn Fn(ParamId) -> Tensor<3>) -> BoundDepth {
        let norm = |Norm(gain): Norm| BoundNorm([pick(gain), pick(ParamId(gain.0 + 1))]);
        let layer = |layer: &Layer| BoundLayer {
            attention: layer.attention.map(|(heads, output, of)| (heads.bind(pick), output.bind(pick), norm(of))),
            feed_forward: layer.feed_forward.map(|map| map.bind(pick)),
            norm: norm(layer.norm),
        };
        let layers = self.layers.iter().map(layer).collect();
        BoundDepth { carried: self.carried.map(|map| map.bind(pick)), down: self.down.bind(pick), layers, up: self.up.bind(pick) }
    }
}

/// States that one pass has read so far.
type States = Mutex<Vec<Option<Tensor<3>>>>;

fn put(states: &States, depth: usize, state: Tensor<3>) {
    // A panic elsewhere leaves no state half written.
    states.lock().unwrap_or_else(PoisonError::into_inner)[depth] = Some(state);
}

impl Adaptation for KAdapter {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let pick = |id: ParamId| own.get(id);
        let (sight, mask) = (self.sight, context.query.mask().to_vec());
        let stacks: Vec<Vec<BoundDepth>> =
            self.stacks.iter().map(|depths| depths.iter().map(|depth| depth.bind(&pick)).collect()).collect();
        let states: Arc<States> = Arc::new(Mutex::new(vec![None; self.read.len()]));
        let mut all = Modulation::none();
        for (k, &site) in self.read.iter().enumerate() {
            let states = states.clone();
            all = all.with(
                site,
                Effect::opaque(move |_, y| {
                    put(&states, k, y.clone());
                    y
                }),
            );
        }
        let join = match &self.join {
            Join::Concatenate { own, stacks } => {
                (Some(own.bind(&pick)), stacks.iter().map(|map| Factor::Matrix(map.bind(&pick))).collect())
            }
            Join::Sum(gains) => (None, gains.iter().map(|&gain| Factor::Gain(pick(gain))).collect::<Vec<_>>()),
        };
        let fuse = move |_: &Tensor<3>, y: Tensor<3>| {
            let seen = Seen { sight: if sight == Sight::Itself { Sight::All } else { sight }, mask: Some(&mask) };
            let read = std::mem::take(&mut *states.lock().unwrap_or_else(PoisonError::into_inner));
            let (base, factors) = &join;
            let mut fused = match base {
                Some(map) => map.of(y.clone()) + y,
                None => y,
            };
            for (depths, factor) in stacks.iter().zip(factors) {
                let last = depths.iter().zip(&read).fold(None, |before, (depth, state)| {
                    let state = state.clone().expect("a pass goes through every site before the last, which read it");
                    Some(depth.of(state, before, seen))
                });
                fused = fused + factor.of(last.expect("there is at least one depth"));
            }
            *states.lock().unwrap_or_else(PoisonError::into_inner) = vec![None; read.len()];
            fused
        };
        Ok(all.with(self.end, Effect::opaque(fuse)))
    }
}

/// What a stack's last state is multiplied with.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "handles of tensors; a method has a few of them")]
enum Factor {
    Matrix(BoundMap),
    Gain(Tensor<3>),
}

impl Factor {
    fn of(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Matrix(map) => map.of(x),
            Self::Gain(gain) => x * gain.clone(),
        }
    }
}
