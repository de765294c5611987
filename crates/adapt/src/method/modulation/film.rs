//! `film`: scales and shifts hidden features under a condition.
//!
//! With `y = x W + b` at a site, before norm and activation: `γ ⊙ y + β`, `γ = 1 + δ`, and one generator for all sites: `[δ_1, β_1, δ_2, β_2, ..]` is
//!
//! | `generator` | formula | at start |
//! |---|---|---|
//! | `table` | `r_c`, of several features the sum | `r = 0` |
//! | `linear` | `e_c V + c` | `V = 0`, `c = 0` |
//! | `mlp` | `ReLU(e_c V1 + c1) V2 + c2` | `V2 = 0`, `c2 = 0` |
//!
//! `e_c` is the method's own embedding of the condition c: the row's domain, features of any kind, or several of these concatenated ([`Features`]). Trained: embedding, generator and the head.
//! A condition that no training row has keeps the embedding from which all others start, instead of a random place that the generator never saw; in a table it is the base. The patched network
//! equals the base at start (the published generator is drawn and is not the identity). FiLM stands between a layer's linear map and its norm; the paper replaces the affine part of a norm.
//! A condition that is the same for all rows folds into the weights.
//!
//! With `post`, as in TADAM: `γ = 1 + γ0 ⊙ δ`, `β = β0 ⊙ β'`, and `λ/2 (|γ0|² + |β0|²)` is added to the loss, so that modulation is turned off where it is not needed. γ0 and β0 start at 0,
//! and what starts at 0 in the table above is drawn; of a table it is a common row, to which `r_c` is added.
//!
//! # References
//! E. Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, AAAI 2018; B. Oreshkin et al., *TADAM: Task dependent adaptive metric for improved few-shot learning*,
//! NeurIPS 2018.

use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Init, Modulation, ParamId, ParamSpec};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use serde::{Deserialize, Serialize};

use crate::method::{Condition, Features, Widths};
use crate::selection::{Part, scope};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<FilmConfig>("film", Kind::Adaptation, "hidden features scaled and shifted under a condition").tested_with(&[
        "condition = 'segment'",
        "condition = 'item'",
        "condition = ['segment', 'user_trait_0']\ngenerator = 'linear'",
        "condition = ['domain', 'tags']\ngenerator = 'table'",
        "condition = ['tags', 'segment']\npost = true",
        "condition = 'segment'\ngenerator = 'table'\npost = true",
    ]);

/// What turns a condition into `δ` and `β`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// Rows of a table, a row for each code: `r_c`, of several features their sum.
    Table,
    /// `e V + c`.
    Linear,
    /// `ReLU(e V1 + c1) V2 + c2`.
    #[default]
    Mlp,
}

/// Configuration of [`Film`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilmConfig {
    /// `domain`, the name of a feature of any kind, or a list of these; default `domain`.
    pub condition: Features,
    /// What stands between the condition and the factors; default `mlp`.
    pub generator: Generator,
    /// Width of each feature's embedding, where there are embeddings; default 8.
    pub embedding: usize,
    /// Width of the hidden layer of `mlp`; default 16. The generator's size grows with it times the widths of all sites.
    pub hidden: usize,
    /// Whether learned factors, 0 at start, stand behind the generator; default no.
    pub post: bool,
    /// λ of their penalty; default 0.01.
    pub post_penalty: f32,
    /// Patterns of the sites that are modulated; default every linear layer of the body.
    pub sites: Vec<String>,
    /// Parts of the base trained beside the generator; default the head.
    pub unfreeze: Vec<Part>,
}

impl Default for FilmConfig {
    fn default() -> Self {
        Self {
            condition: Features::default(),
            generator: Generator::Mlp,
            embedding: 8,
            hidden: 16,
            post: false,
            post_penalty: 0.01,
            sites: vec!["*".into()],
            unfreeze: vec![Part::Head],
        }
    }
}

/// The method `film`.
#[derive(Debug)]
pub struct Film {
    condition: Condition,
    generator: Generator,
    /// The first of the generator's parameters: weights and biases of its layers, in their order.
    first: usize,
    /// `γ0` and `β0` in the generator's layout, and λ.
    post: Option<(ParamId, f32)>,
    scope: Scope,
    params: Vec<ParamSpec>,
    sites: Widths,
}

impl MethodConfig for FilmConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: &str| Err(AdaptError::Value { method: METHOD.name, key, problem: problem.into() });
        if self.hidden == 0 {
            return value("hidden", "must be at least 1");
        }
        if !(self.post_penalty >= 0.0 && self.post_penalty.is_finite()) {
            return value("post_penalty", "must be a number of at least 0");
        }
        let sites = Widths::of_body(METHOD.name, &self.sites, target.backbone)?;
        let (mut params, schema, width) = (Vec::new(), target.schema, 2 * sites.sum());
        let condition = match self.generator {
            // Behind factors that start at 0 the rows must not, or nothing would ever move.
            Generator::Table => {
                let common = self.post.then_some(Init::Normal(1.0));
                Condition::tables(&mut params, METHOD.name, (&self.condition, width, common), schema)?
            }
            Generator::Linear | Generator::Mlp => Condition::declare(&mut params, METHOD.name, (&self.condition, self.embedding), schema)?,
        };
        let (first, last) = (params.len(), if self.post { Init::KaimingUniform } else { Init::Constant(0.0) });
        let mut layer = |i: usize, [d_in, d_out]: [usize; 2], init: Init| {
            params.push(ParamSpec::weight(format!("generator.{i}.weight"), [1, d_in, d_out], init));
            params.push(ParamSpec::vector(format!("generator.{i}.bias"), 1, d_out, 0.0));
        };
        match self.generator {
            Generator::Table => {}
            Generator::Linear => layer(0, [condition.width(), width], last),
            Generator::Mlp => {
                layer(0, [condition.width(), self.hidden], Init::KaimingUniform);
                layer(1, [self.hidden, width], last);
            }
        }
        let post = self.post.then(|| {
            params.push(ParamSpec::vector("post", 1, width, 0.0));
            (ParamId(params.len() - 1), self.post_penalty)
        });
        let scope = scope(&self.unfreeze, target.backbone);
        Ok(Box::new(Film { condition, generator: self.generator, first, post, scope, params, sites }))
    }
}

impl Film {
    /// `[δ_1, β_1, δ_2, β_2, ..]` of each condition, `[1, U, 2 Σ d]`.
    fn generate(&self, own: &Bound, e: Tensor<3>) -> Tensor<3> {
        let layer = |i: usize, x: Tensor<3>| product(x, own.get(ParamId(self.first + 2 * i))) + own.get(ParamId(self.first + 2 * i + 1));
        match self.generator {
            Generator::Table => e,
            Generator::Linear => layer(0, e),
            Generator::Mlp => layer(1, relu(layer(0, e))),
        }
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
        let conditions = self.condition.embed(own, context);
        let generated = self.generate(own, conditions.values.clone());
        let (generated, penalty) = match self.post {
            None => (generated, None),
            Some((factors, lambda)) => {
                let factors = own.get(factors); // [1, 1, 2 Σ d]
                (generated * factors.clone(), Some(factors.powi_scalar(2).sum() * (lambda / 2.0)))
            }
        };
        // Cut for the sites while there is one row a condition.
        let spread = |of_each: Tensor<3>| conditions.spread(of_each); // [G|1, N|1, d]
        let parts = self.sites.parts(&generated, 2);
        let all = parts.fold(Modulation::none(), |all, (site, part)| all.with(site, Effect::scaled(spread(part(0) + 1.0), spread(part(1)))));
        Ok(match penalty {
            Some(penalty) => all.penalised(penalty),
            None => all,
        })
    }
}
