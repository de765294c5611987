//! `dynamic_instance_norm`: hidden states normalised over a sequence's positions and convolved with a kernel that a condition writes.
//!
//! At the end y of each block, `y_t <- y_t + g ⊙ (D_t - y_t)`, with
//!
//! `D_t = b + Σ_j K_j ⊙ z_{t-j}`, `z_t = (y_t - μ_t) / sqrt(v'_t)`, `v'_t = (n_t v_t + n0) / (n_t + n0)`, `n0 = 4`, `j = 0 .. k - 1`.
//!
//! μ_t and v_t are mean and variance, channel by channel, of the n_t real positions up to t (of all of them in a network that sees both sides): prefix moments, for those of a whole sequence would tell what
//! follows. Few positions say little of a variance, so it is drawn to 1. `[K_0 - 1, K_1, .., b]` of all sites is `ReLU(e_c V1 + c1) V2 + c2`, `e_c` the method's own embedding of the condition c
//! (`condition.rs`); K works channel by channel, z is 0 before the first position.
//!
//! Trained: embedding, generator, gates and the head. V2, c2 and the gates g start at 0, so the patched network equals the base at start: normalising alone would not.
//!
//! In a network of rows the instance is one row: μ and v are those of the d units that a linear layer of the body gives, before norm and activation, n is d, and k is 1.
//!
//! Deviations from the paper: prefix moments and a causal kernel in place of those over an image; the shrunken variance; the gate, without which no start is the base; kernel and bias
//! from a small network of a condition, not from the features of a style image. Over rows it is a layer norm without gain of its own, behind a gate.
//!
//! # References
//! Y. Jing et al., *Dynamic Instance Normalization for Arbitrary Style Transfer*, AAAI 2020.

use acclimate_model::kernel::blended_rows;
use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec, Role, Sight, SiteId, SiteKind};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::method::{Condition, Earlier, Features, Widths};
use crate::selection::{Part, matches, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<DynamicInstanceNormConfig>(
    "dynamic_instance_norm",
    Kind::Adaptation,
    "hidden states normalised over positions and convolved with a kernel written from a condition",
)
.tested_with(&[
    "condition = 'segment'",
    "condition = ['domain', 'tags']\nhidden = 6\nunfreeze = []",
    "condition = 'item'",
    "condition = 'item'\nkernel = 1",
]);

/// Configuration of [`DynamicInstanceNorm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DynamicInstanceNormConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// Width of each feature's embedding; default 8.
    pub embedding: usize,
    /// Width of the generator's hidden layer; default 16. Its size grows with it times k + 1 times the widths of all sites.
    pub hidden: usize,
    /// Taps k of the kernel: the current position and those before it; default 3 on sequences, and 1 on rows, where nothing else is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<usize>,
    /// Patterns of the sites that are changed; default the ends of all blocks of a sequence network, and every linear layer of the body of a network of rows.
    pub sites: Vec<String>,
    /// Parts of the base trained beside; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for DynamicInstanceNormConfig {
    fn default() -> Self {
        Self { condition: Features::default(), embedding: 8, hidden: 16, kernel: None, sites: vec!["*".into()], unfreeze: vec![Part::Head] }
    }
}

/// The method `dynamic_instance_norm`.
#[derive(Debug)]
pub struct DynamicInstanceNorm {
    condition: Condition,
    /// V1, c1, V2, c2 and the gates.
    params_at: [ParamId; 5],
    kernel: usize,
    sight: Sight,
    scope: Scope,
    params: Vec<ParamSpec>,
    sites: Widths,
}

/// n0: how many positions the variance 1 counts as.
const PRIOR: f64 = 4.0;

/// Ends of blocks whose path matches one of `patterns`, with their widths.
fn blocks(patterns: &[String], target: Target<'_>) -> Vec<(SiteId, usize)> {
    let sites = target.backbone.architecture().sites.iter().enumerate();
    let ends = sites.filter_map(|(id, site)| match site.kind {
        SiteKind::Hidden { d } if site.role == Role::Body && patterns.iter().any(|pattern| matches(pattern, &site.path)) => Some((SiteId(id), d)),
        _ => None,
    });
    ends.collect()
}

impl MethodConfig for DynamicInstanceNormConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        let sight = target.backbone.sight();
        let is_rows = sight == Sight::Itself;
        let kernel = self.kernel.unwrap_or(if is_rows { 1 } else { 3 });
        if self.hidden == 0 {
            return Err(value("hidden", "must be at least 1"));
        }
        if kernel == 0 {
            return Err(value("kernel", "must be at least 1: the current position"));
        }
        if is_rows && kernel > 1 {
            return Err(value("kernel", "must be 1 on a network of rows, whose units have no order; leave it out"));
        }
        let sites = if is_rows {
            Widths::of_body(METHOD.name, &self.sites, target.backbone)?
        } else {
            let ends = blocks(&self.sites, target);
            if ends.is_empty() {
                return Err(value("sites", "matches no end of a block of the backbone"));
            }
            Widths::side_by_side(ends)
        };
        let mut params = Vec::new();
        let condition = Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), target.schema)?;
        let (first, width) = (params.len(), (kernel + 1) * sites.sum());
        params.extend([
            ParamSpec::weight("generator.0.weight", [1, condition.width(), self.hidden], Init::KaimingUniform),
            ParamSpec::vector("generator.0.bias", 1, self.hidden, 0.0),
            ParamSpec::weight("generator.1.weight", [1, self.hidden, width], Init::Constant(0.0)),
            ParamSpec::vector("generator.1.bias", 1, width, 0.0),
            ParamSpec::vector("gate", 1, sites.sum(), 0.0),
        ]);
        let params_at = [0, 1, 2, 3, 4].map(|i| ParamId(first + i));
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(DynamicInstanceNorm { condition, params_at, kernel, sight, scope, params, sites }))
    }
}

/// Over what a state is normalised.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "handles of tensors; a modulation holds some dozen of them")]
enum Instance {
    /// The units of a row.
    Row,
    /// The positions that each position sees.
    Sequence(Earlier),
}

impl Instance {
    /// # Shapes
    /// `y` and the result `[G, N, d]`.
    fn normalised(&self, y: &Tensor<3>) -> Tensor<3> {
        match self {
            Self::Sequence(earlier) => earlier.normalised(y.clone(), PRIOR),
            Self::Row => {
                let n = y.dims()[2] as f64;
                let centred = y.clone() - y.clone().mean_dim(2);
                let variance = centred.clone().square().mean_dim(2); // [G, N, 1]
                centred / ((variance * n + PRIOR) / (n + PRIOR)).sqrt()
            }
        }
    }
}

/// What stood `by` positions before, `[G, L, d]`; 0 before the first.
fn delayed(z: &Tensor<3>, by: usize) -> Tensor<3> {
    let [g, l, d] = z.dims();
    let by = by.min(l);
    if by == 0 {
        return z.clone();
    }
    let none = Tensor::zeros([g, by, d], &z.device());
    Tensor::cat(vec![none, z.clone().slice([0..g, 0..l - by, 0..d])], 1)
}

impl Adaptation for DynamicInstanceNorm {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let [v1, c1, v2, c2, gate] = self.params_at.map(|id| own.get(id));
        let conditions = self.condition.embed(own, context);
        let out = product(relu(product(conditions.values.clone(), v1) + c1), v2) + c2; // [1, U, (k + 1) Σ d]
        let instance = match self.sight {
            Sight::Itself => Instance::Row,
            sight => Instance::Sequence(Earlier::new(context.query, sight, None, &out.device())),
        };
        let written = self.sites.parts(&out, self.kernel + 1).zip(self.sites.parts(&gate, 1));
        Ok(written.fold(Modulation::none(), |all, ((site, part), (_, gate))| {
            let part = |i: usize| conditions.spread(part(i)); // [G|1, N|1, d]
            let (taps, bias, gate) = ((0..self.kernel).map(&part).collect::<Vec<_>>(), part(self.kernel), gate(0));
            let instance = instance.clone();
            let change = move |_: &Tensor<3>, y: Tensor<3>| {
                let y = match (&instance, &taps[..]) {
                    (Instance::Row, [tap]) => match blended_rows(y, [&(tap.clone() + 1.0), &bias, &gate], PRIOR as f32) {
                        Ok(found) => return found,
                        Err(y) => y,
                    },
                    _ => y,
                };
                let z = instance.normalised(&y);
                let first = z.clone() * (taps[0].clone() + 1.0) + bias.clone();
                let found = taps.iter().enumerate().skip(1).fold(first, |sum, (j, tap)| sum + delayed(&z, j) * tap.clone());
                y.clone() + (found - y) * gate.clone()
            };
            all.with(site, Effect::opaque(change))
        }))
    }
}
