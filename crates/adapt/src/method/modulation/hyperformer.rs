//! `hyperformer`: one small network writes the bottleneck branches of every layer, and what becomes of its norms, from vectors of the domain, the layer and the position.
//!
//! `z = LN(ReLU([e_D; e_l; e_p] V1 + c1) V2 + c2)`, `e_D = e + r_D`, and of z the parts of a site, each by a linear map of its own: `W1 = reshape(z A1 + a1)`, `b1 = z A2 + a2`, `W2 = reshape(z A3 + a3)`,
//! `b2 = z A4 + a4`. At a linear site `y + GELU(y W1 + b1) W2 + b2`, `W1 [d, m]`, `W2 [m, d]`; at a norm `gain + z A5 + a5`, `shift + z A6 + a6`. Sites of one width share the maps; l is the number in a site's
//! path, p what stands after it. By default branches follow the last map of each sub-layer of a Transformer, and every linear layer of other networks.
//!
//! Trained: the vectors, the network and its maps; norms and head of the base. `e`, `e_l` and `e_p` are drawn, `r_D` starts at 0: domains that the base does not know share one vector, and a domain without
//! training rows is at the common place. The maps of `W2`, `b2`, gain and shift start at 0, so the patched network equals the base at start. Of a domain, what is served are the matrices that are written
//! for it, which do not change with the rows.
//!
//! With `new_vector_only` rows of a domain that the base does not know train its `r_D` and nothing else; what the network writes is learned from rows of the domains that it knows, which are pooled with them.
//! Of W2, b2, gain and shift of a new domain counts what is written from `e + r_D` less what is written from `e`: with `r_D = 0` it is the base, whatever the others have learned.
//!
//! Deviations from the paper: no norm after the branch, whose gain near 0 is there what makes the start nearly the identity; instead the maps of the second matrix start at 0, and gain and shift are written
//! for the norms of the base. Widths are those of small networks. Domains are not drawn by its sampling with a temperature (`domain_sampling` of a run does that).
//!
//! # References
//! R. Karimi Mahabadi et al., *Parameter-efficient Multi-task Fine-tuning for Transformers via Shared Hypernetworks*, ACL 2021 (the form with one network for all layers, HyperFormer++).

use acclimate_model::layer::product;
use acclimate_model::{Architecture, Bound, Branch, BranchActivation, Effect, Init, Modulation, NormChange, ParamId, ParamSpec, Read, Role, SiteId, SiteKind};
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::method::Sets;
use crate::selection::{Part, scope, sub_layer_ends};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, SourceRows, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<HyperformerConfig>("hyperformer", Kind::Adaptation, "branches of all layers, written by one network from a vector of the domain")
        .tested_with(&[
            "norms = false\nbottleneck = 4\nunfreeze = []",
            // The published widths: a vector of the default width learns too little in so short a run.
            "new_vector_only = true\nunfreeze = []\nembedding = 64\nhidden = 128\nprojected = 64\nbottleneck = 16",
        ]);

/// Configuration of [`Hyperformer`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HyperformerConfig {
    /// Width of the vectors of domains, layers and positions; default 16 (published 64).
    pub embedding: usize,
    /// Width of the network's hidden layer; default 32 (published 128).
    pub hidden: usize,
    /// Width of z. The maps grow with it times all that they write; default 16 (published 64).
    pub projected: usize,
    /// Width m of the branches; default 8.
    pub bottleneck: usize,
    /// Whether gain and shift of the body's norms are written too; default true.
    pub norms: bool,
    /// Whether rows of a domain that the base does not know train its vector and nothing else; default false. It needs rows of the base's domains, and `unfreeze = []`. One vector changes little: the published widths change more than the default ones.
    pub new_vector_only: bool,
    /// Patterns of the sites that get a branch; default (none) `*.attention.output` and `*.feed_forward.out` of a Transformer, else every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside; default norms and head.
    pub unfreeze: Vec<Part>,
}

impl Default for HyperformerConfig {
    fn default() -> Self {
        Self {
            embedding: 16,
            hidden: 32,
            projected: 16,
            bottleneck: 8,
            norms: true,
            new_vector_only: false,
            sites: Vec::new(),
            unfreeze: vec![Part::Norms, Part::Head],
        }
    }
}

/// The method `hyperformer`.
#[derive(Debug)]
pub struct Hyperformer {
    config: HyperformerConfig,
    scope: Scope,
    params: Vec<ParamSpec>,
    sets: Sets,
    sites: Vec<Written>,
}

/// A site for which something is written.
#[derive(Clone, Copy, Debug)]
struct Written {
    site: SiteId,
    d: usize,
    /// Rows of the vectors of layers and of positions.
    layer: usize,
    position: usize,
    /// The first of its maps' weights.
    maps: ParamId,
    is_norm: bool,
}

const COMMON: ParamId = ParamId(0);
const DOMAIN: ParamId = ParamId(1);
const LAYER: ParamId = ParamId(2);
const POSITION: ParamId = ParamId(3);
/// V1, c1, V2, c2, gain and shift of LN.
const NETWORK: [ParamId; 6] = [ParamId(4), ParamId(5), ParamId(6), ParamId(7), ParamId(8), ParamId(9)];
const EPSILON: f64 = 1e-5;
/// Standard deviation at start of the maps that are not 0, as published.
const STD: f32 = 0.01;

/// The layer that a site is part of, and its place in it: its path up to the last number, and what follows.
fn layer_of(path: &str) -> (String, String) {
    let parts: Vec<_> = path.split('.').collect();
    let end = parts.iter().rposition(|part| part.bytes().all(|b| b.is_ascii_digit())).map_or(parts.len(), |at| at + 1);
    (parts[..end].join("."), parts[end..].join("."))
}

/// Where a name stands in a list, at its end if it is new.
fn place(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

/// The norms of the body, with their widths.
fn norms(architecture: &Architecture) -> impl Iterator<Item = (SiteId, String, usize)> {
    architecture.sites.iter().enumerate().filter_map(|(i, site)| match site.kind {
        SiteKind::Norm { d } if site.role == Role::Body => Some((SiteId(i), site.path.clone(), d)),
        _ => None,
    })
}

impl MethodConfig for HyperformerConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| AdaptError::Value { method: METHOD.name, key, problem: problem.into() };
        let widths = [("embedding", self.embedding), ("hidden", self.hidden), ("projected", self.projected), ("bottleneck", self.bottleneck)];
        if let Some((key, _)) = widths.into_iter().find(|(_, width)| *width == 0) {
            return Err(value(key, "must be at least 1"));
        }
        if self.new_vector_only && !self.unfreeze.is_empty() {
            return Err(value("unfreeze", "with `new_vector_only` nothing of the base is trained; set `unfreeze = []`"));
        }
        let sets = Sets::at_sites(METHOD.name, true, target)?;
        let branches: Vec<_> = sub_layer_ends(&self.sites, target.backbone).into_iter().map(|(site, path, [_, d])| (site, path, d, false)).collect();
        if branches.is_empty() {
            return Err(value("sites", "matches no linear layer of the backbone's body"));
        }
        let of_norms = norms(target.backbone.architecture()).filter(|_| self.norms).map(|(site, path, d)| (site, path, d, true));
        let Self { embedding: e, hidden: h, projected: p, bottleneck: m, .. } = self;
        let (mut layers, mut positions, mut maps) = (Vec::new(), Vec::new(), Vec::<ParamSpec>::new());
        let (mut known, mut sites) = (Vec::new(), Vec::new());
        for (site, path, d, is_norm) in branches.into_iter().chain(of_norms) {
            let (layer, position) = layer_of(&path);
            let (layer, position) = (place(&mut layers, layer), place(&mut positions, position));
            let found = known.iter().find(|(of, norm, _)| (*of, *norm) == (d, is_norm)).map(|(.., first)| *first);
            let first = found.unwrap_or_else(|| {
                let first = ParamId(NETWORK[5].0 + 1 + maps.len());
                let parts: &[(&str, usize, f32)] =
                    if is_norm { &[("gain", d, 0.0), ("shift", d, 0.0)] } else { &[("w1", d * m, STD), ("b1", m, STD), ("w2", m * d, 0.0), ("b2", d, 0.0)] };
                let kind = if is_norm { "norm" } else { "branch" };
                for &(name, width, std) in parts {
                    let init = if std > 0.0 { Init::Normal(std) } else { Init::Constant(0.0) };
                    maps.push(ParamSpec::weight(format!("{kind}.{d}.{name}.weight"), [1, p, width], init));
                    maps.push(ParamSpec::vector(format!("{kind}.{d}.{name}.bias"), 1, width, 0.0));
                }
                known.push((d, is_norm, first));
                first
            });
            sites.push(Written { site, d, layer, position, maps: first, is_norm });
        }
        let mut params = vec![
            ParamSpec::weight("domain.common", [1, 1, e], Init::Normal(1.0)),
            sets.declare(ParamSpec::weight("domain.embedding", [sets.len(), 1, e], Init::Constant(0.0))),
            ParamSpec::weight("layer.embedding", [1, layers.len(), e], Init::Normal(1.0)),
            ParamSpec::weight("position.embedding", [1, positions.len(), e], Init::Normal(1.0)),
            ParamSpec::weight("network.0.weight", [1, 3 * e, h], Init::KaimingUniform),
            ParamSpec::vector("network.0.bias", 1, h, 0.0),
            ParamSpec::weight("network.1.weight", [1, h, p], Init::KaimingUniform),
            ParamSpec::vector("network.1.bias", 1, p, 0.0),
            ParamSpec::vector("network.norm.gain", 1, p, 1.0),
            ParamSpec::vector("network.norm.shift", 1, p, 0.0),
        ];
        params.extend(maps);
        Ok(Box::new(Hyperformer { scope: scope(&self.unfreeze, target.backbone), params, sets, sites, config: self }))
    }
}

/// What is written for one site, `[G, ..]`: of a branch W1, b1, W2 and b2, of a norm gain and shift.
type Parts = Vec<Tensor<3>>;

impl Hyperformer {
    /// What is written for each site from `e_D [G, 1, e]`.
    fn write(&self, get: &dyn Fn(ParamId) -> Tensor<3>, domain: &Tensor<3>) -> Vec<Parts> {
        let [g, _, e] = domain.dims();
        let count = self.sites.len();
        let picked = |table: ParamId, row: fn(&Written) -> usize| {
            let rows: Vec<i32> = self.sites.iter().map(|site| row(site) as i32).collect();
            get(table).select(1, Tensor::<1, Int>::from_ints(rows.as_slice(), &domain.device())).expand([g, count, e])
        };
        let all = vec![domain.clone().expand([g, count, e]), picked(LAYER, |site| site.layer), picked(POSITION, |site| site.position)];
        let [v1, c1, v2, c2, gain, shift] = NETWORK.map(get);
        let z = product(relu(product(Tensor::cat(all, 2), v1) + c1), v2) + c2; // [G, S, p]
        let centred = z.clone() - z.mean_dim(2);
        let z = centred.clone() / (centred.square().mean_dim(2) + EPSILON).sqrt() * gain + shift;
        let (p, m) = (self.config.projected, self.config.bottleneck);
        let of_site = |(i, site): (usize, &Written)| {
            let z = z.clone().slice([0..g, i..i + 1, 0..p]); // [G, 1, p]
            let map = |part: usize| product(z.clone(), get(ParamId(site.maps.0 + 2 * part))) + get(ParamId(site.maps.0 + 2 * part + 1));
            if site.is_norm {
                return vec![map(0), map(1)];
            }
            vec![map(0).reshape([g, site.d, m]), map(1), map(2).reshape([g, m, site.d]), map(3)]
        };
        self.sites.iter().enumerate().map(of_site).collect()
    }

    /// The same, of which groups of new domains (1 in `new`) train their vector alone.
    fn write_guarded(&self, own: &Bound, rest: &Tensor<3>, new: &[f32]) -> Vec<Parts> {
        let fixed = |id: ParamId| own.get(id).detach();
        let trained = |id: ParamId| own.get(id);
        let of_known = || self.write(&trained, &(rest.clone() + trained(COMMON)));
        let of_new = || {
            let common = self.write(&fixed, &fixed(COMMON));
            let parts = self.write(&fixed, &(rest.clone() + fixed(COMMON))).into_iter().zip(common).zip(&self.sites);
            let relative = |((parts, common), site): ((Parts, Parts), &Written)| {
                // W1 and b1 stay: where the rest is 0, nothing is written.
                let whole = if site.is_norm { 0 } else { 2 };
                parts.into_iter().zip(common).enumerate().map(|(i, (part, common))| if i < whole { part } else { part - common }).collect()
            };
            parts.map(relative).collect()
        };
        if new.iter().all(|&is_new| is_new == 0.0) {
            return of_known();
        }
        if new.iter().all(|&is_new| is_new != 0.0) {
            return of_new();
        }
        let new = Tensor::<3>::from_data(TensorData::new(new.to_vec(), [new.len(), 1, 1]), &rest.device());
        let mixed = |(known, fresh): (Tensor<3>, Tensor<3>)| known * (-new.clone() + 1.0) + fresh * new.clone();
        of_known().into_iter().zip(of_new()).map(|(known, fresh)| known.into_iter().zip(fresh).map(mixed).collect()).collect()
    }
}

impl Adaptation for Hyperformer {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        let source = if self.config.new_vector_only { SourceRows::Pooled } else { SourceRows::None };
        Needs { source, ..self.sets.needs() }
    }

    // Rows of a new domain do not move all that their loss depends on.
    fn is_exact(&self) -> bool {
        !self.config.new_vector_only
    }

    fn is_downhill(&self) -> bool {
        !self.config.new_vector_only
    }

    // Norms with a gain and a shift for each group add up in another order than those with one.
    fn rounds_at_start(&self) -> bool {
        self.sites.iter().any(|site| site.is_norm)
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let chosen = self.sets.choose(context)?;
        let rest = chosen.pick(own, DOMAIN); // r_D, [G, 1, e]
        let unknown = self.sets.len() as u32 - 1;
        let is_new = |set: u32| f32::from(u8::from(self.config.new_vector_only && set == unknown));
        let written = self.write_guarded(own, &rest, &chosen.sets().into_iter().map(is_new).collect::<Vec<_>>());
        let effect = |site: &Written, parts: Parts| match <[Tensor<3>; 4]>::try_from(parts) {
            Ok([w1, b1, w2, b2]) => Effect::Branch(Branch { read: Read::Output, skip: false, activation: BranchActivation::Gelu, w1, b1, w2, b2 }),
            Err(mut parts) => {
                let (shift, plus) = (parts.pop(), parts.pop());
                debug_assert!(site.is_norm, "a norm has two parts");
                Effect::Norm(NormChange { plus, shift, ..NormChange::default() })
            }
        };
        Ok(self.sites.iter().zip(written).fold(Modulation::none(), |all, (site, parts)| all.with(site.site, effect(site, parts))))
    }
}

#[cfg(test)]
mod tests {
    use super::layer_of;

    #[test]
    fn a_layer_ends_with_a_number() {
        let of = |path: &str| layer_of(path);
        assert_eq!(of("tower.1.linear"), ("tower.1".into(), "linear".into()));
        assert_eq!(of("block.0.attention.output"), ("block.0".into(), "attention.output".into()));
        assert_eq!(of("norm"), ("norm".into(), String::new()));
    }
}
