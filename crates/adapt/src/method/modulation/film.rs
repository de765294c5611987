//! `film`: scales and shifts hidden features under a condition.
//!
//! With `y = x W + b` at a site, before norm and activation: `γ ⊙ y + β`, `γ = 1 + δ`, and one generator for all sites,
//! `[δ_1, β_1, δ_2, β_2, ..] = ReLU(e_c V1 + c1) V2 + c2`. `e_c = e + r_c` is the method's own embedding of the condition c: the row's domain or any
//! categorical feature. Trained: embedding, generator and the head. `e` is drawn, `r_c` starts at 0: a condition that no training row has (an unknown
//! domain among them) keeps the common `e`, around which the trained conditions lie, instead of a random place that the generator never saw. `V2` and
//! `c2` start at 0, so the patched network equals the base at start (the published generator draws them and is not the identity). FiLM stands
//! between a layer's linear map and its norm; the paper replaces the affine part of a norm. A condition that is the same for all rows folds into the
//! weights.
//!
//! # References
//! E. Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018.

use std::collections::BTreeMap;

use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec, SiteId};
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::selection::{Part, linear_sites, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<FilmConfig>("film", Kind::Adaptation, "hidden features scaled and shifted under a condition")
    .tested_with(&["condition = 'segment'", "condition = 'item'"]);

/// Configuration of [`Film`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilmConfig {
    /// `domain`, or the name of a categorical feature; default `domain`.
    pub condition: String,
    /// Width of the condition's embedding; default 8.
    pub embedding: usize,
    /// Width of the generator's hidden layer; default 16. The generator's size grows with it times the widths of all sites.
    pub hidden: usize,
    /// Patterns of the sites that are modulated; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the generator; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for FilmConfig {
    fn default() -> Self {
        Self { condition: "domain".into(), embedding: 8, hidden: 16, sites: vec!["*".into()], unfreeze: vec![Part::Head] }
    }
}

/// Where a row's condition is read.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// With the code of domains that the base does not know: one for all of them.
    Domain { unknown: u32 },
    /// A feature and its number of codes; one beyond them, such as a mask token's, is the unknown.
    Field { field: usize, rows: u32 },
}

/// The method `film`.
#[derive(Debug)]
pub struct Film {
    condition: Condition,
    scope: Scope,
    params: Vec<ParamSpec>,
    /// Sites with the place of their `δ` in the generator's output; `β` follows.
    sites: Vec<(SiteId, usize, usize)>,
}

const COMMON: ParamId = ParamId(0);
const EMBEDDING: ParamId = ParamId(1);

impl MethodConfig for FilmConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: String| AdaptError::Value { method: METHOD.name, key, problem };
        for (key, width) in [("embedding", self.embedding), ("hidden", self.hidden)] {
            if width == 0 {
                return Err(value(key, "must be at least 1".into()));
            }
        }
        let schema = target.schema;
        let (condition, rows) = if self.condition == "domain" {
            if schema.domains.is_empty() {
                let problem = "`condition = \"domain\"`, but the data names no domain; condition on a categorical feature".into();
                return Err(AdaptError::Unsupported { method: METHOD.name, problem });
            }
            (Condition::Domain { unknown: schema.domains.len() as u32 }, schema.domains.len() + 1)
        } else {
            let field = schema.categorical.iter().position(|f| f.name == self.condition).ok_or_else(|| {
                let known: Vec<_> = schema.categorical.iter().map(|f| f.name.as_str()).collect();
                value("condition", format!("names no categorical feature; there are `domain`, {}", known.join(", ")))
            })?;
            let rows = schema.vocabularies[schema.categorical[field].vocabulary.at()].rows;
            (Condition::Field { field, rows: rows as u32 }, rows)
        };
        let (mut sites, mut width) = (Vec::new(), 0);
        for (site, _, [_, d]) in linear_sites(&self.sites, target.backbone) {
            sites.push((site, width, d));
            width += 2 * d;
        }
        if sites.is_empty() {
            return Err(value("sites", "matches no linear layer of the backbone's body".into()));
        }
        let (c, h) = (self.embedding, self.hidden);
        let params = vec![
            ParamSpec::weight("condition.common", [1, 1, c], Init::Normal(1.0)),
            ParamSpec::weight("condition.embedding", [1, rows, c], Init::Constant(0.0)),
            ParamSpec::weight("generator.0.weight", [1, c, h], Init::KaimingUniform),
            ParamSpec::vector("generator.0.bias", 1, h, 0.0),
            ParamSpec::weight("generator.1.weight", [1, h, width], Init::Constant(0.0)),
            ParamSpec::vector("generator.1.bias", 1, width, 0.0),
        ];
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Film { condition, scope, params, sites }))
    }
}

impl Adaptation for Film {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let codes: Vec<u32> = match self.condition {
            Condition::Domain { unknown } => context.query.domains().iter().map(|d| d.0.min(unknown)).collect(),
            Condition::Field { field, rows } => context.query.codes(field).map(|code| if code < rows { code } else { 0 }).collect(),
        };
        // Padding takes the first row's condition, so that it does not cost a row of its own.
        let first = codes.first().copied().unwrap_or(0);
        let real = codes.iter().zip(context.query.mask()).map(|(&code, &m)| if m == 0.0 { first } else { code });
        let mut distinct: BTreeMap<u32, i32> = real.clone().map(|code| (code, 0)).collect();
        distinct.values_mut().zip(0..).for_each(|(place, i)| *place = i);
        let device = own.get(EMBEDDING).device();
        let index = |values: Vec<i32>| Tensor::<1, Int>::from_ints(values.as_slice(), &device);
        let e = own.get(EMBEDDING).select(1, index(distinct.keys().map(|&c| c as i32).collect())) + own.get(COMMON); // [1, U, c]
        let mut out = generate([2, 3, 4, 5].map(|i| own.get(ParamId(i))), e); // [1, U, 2 sum d]
        if distinct.len() > 1 {
            let [g, n] = context.query.shape();
            let width = out.dims()[2];
            out = out.select(1, index(real.map(|code| distinct[&code]).collect())).reshape([g, n, width]); // [G, N, 2 sum d]
        }
        let [g, n, _] = out.dims();
        let part = |at: usize, d: usize| out.clone().slice([0..g, 0..n, at..at + d]);
        let scaled = |&(_, at, d): &(SiteId, usize, usize)| Effect::scaled(part(at, d) + 1.0, part(at + d, d));
        Ok(self.sites.iter().fold(Modulation::none(), |all, at| all.with(at.0, scaled(at))))
    }
}

/// `ReLU(e V1 + c1) V2 + c2`.
fn generate([v1, c1, v2, c2]: [Tensor<3>; 4], e: Tensor<3>) -> Tensor<3> {
    product(relu(product(e, v1) + c1), v2) + c2
}
