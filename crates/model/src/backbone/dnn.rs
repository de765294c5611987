//! `dnn`: feature embeddings, pooled multi-valued features and an MLP tower.
//!
//! `x0 = [E_1[c_1]; ..; E_F[c_F]; mean_j E_b[c_bj] for each list b; numbers]`, `x_{l+1} = ReLU(norm(x_l W_l + b_l))` with no, layer or batch norm, score `= x_L w + b`.
//! MeLU's network (Lee et al., KDD 2019) is `embedding = 32, hidden = [64, 64]` on content features.
//!
//! Off by default: a batch norm of the row before the tower, products of features beside it (a factorisation machine, `DeepFM`, or a cross network, `DCN-v2`), and lists pooled by
//! target attention (`DIN`). Their formulas stand in `interaction.rs` and `attention.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_data::{Batch, Schema};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::input::{Input, InputConfig};
use super::interaction::{Cross, CrossForm, Fm, Interaction};
use super::tower::{Hidden, Layers, Norm, Start};
use super::{Backbone, Gathered, Output, Tower};
use crate::{Activation, Architecture, BatchNorm, ModelError, Objective, Pass, Role, RowGradients, SiteId, SiteKind, Table};

/// Configuration of [`Dnn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DnnConfig {
    /// Width of every embedding. Wider rows hold more but over-fit rare ids sooner.
    pub embedding: usize,
    /// Standard deviation of the embeddings' start; small, so that an unseen id says little.
    pub embedding_std: f32,
    /// Widths of the hidden layers, first to last.
    pub hidden: Vec<usize>,
    /// Norm after each hidden linear map.
    pub norm: Norm,
    /// How the tower starts.
    pub start: Start,
    /// Features left out, by name.
    pub without: Vec<String>,
    /// Norm of the row before the tower, default none. With `batch` the method `star` can have one set of moments a domain there.
    #[serde(skip_serializing_if = "is_default")]
    pub input_norm: InputNorm,
    /// Products of features beside the tower: `none` (the default), `fm` or `cross`.
    #[serde(skip_serializing_if = "is_default")]
    pub interaction: Interaction,
    /// Layers of the cross network, default 2: products of up to one feature more.
    #[serde(skip_serializing_if = "is_two")]
    pub cross_layers: usize,
    /// Rank of its matrices; default full. A quarter of the row's width costs half as much and is rarely worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cross_rank: Option<usize>,
    /// Where it stands, beside the tower (`parallel`, the default) or before it (`stacked`).
    #[serde(skip_serializing_if = "is_default")]
    pub cross_form: CrossForm,
    /// Lists that are pooled by target attention instead of by their mean, by name; default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attention: Vec<String>,
    /// Target of such a list: a categorical feature with the same vocabulary. Default the item's that has it, else the first that has it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attention_on: BTreeMap<String, String>,
    /// Width of the hidden layer of its unit, default 36 as published.
    #[serde(skip_serializing_if = "is_published")]
    pub attention_hidden: usize,
}

/// Norm of the row that enters the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNorm {
    /// None.
    #[default]
    None,
    /// Batch norm, epsilon 1e-5, running moments with momentum 0.1.
    Batch,
}

/// Bases of before have no such key, and keep their hash.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for references")]
fn is_two(value: &usize) -> bool {
    *value == 2
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for references")]
fn is_published(value: &usize) -> bool {
    *value == 36
}

impl Default for DnnConfig {
    fn default() -> Self {
        Self {
            embedding: 16,
            embedding_std: 0.01,
            hidden: vec![128, 64, 32],
            norm: Norm::None,
            start: Start::Kaiming,
            without: Vec::new(),
            input_norm: InputNorm::None,
            interaction: Interaction::None,
            cross_layers: 2,
            cross_rank: None,
            cross_form: CrossForm::Parallel,
            attention: Vec::new(),
            attention_on: BTreeMap::new(),
            attention_hidden: 36,
        }
    }
}

impl DnnConfig {
    fn check(&self) -> Result<(), ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config("dnn", key, problem));
        if self.hidden.contains(&0) {
            return error("hidden", "must be at least 1");
        }
        let is_cross = self.interaction == Interaction::Cross;
        if is_cross && self.cross_layers == 0 {
            return error("cross_layers", "must be at least 1");
        }
        if self.cross_rank == Some(0) {
            return error("cross_rank", "must be at least 1");
        }
        let says_nothing = is_two(&self.cross_layers) && self.cross_rank.is_none() && is_default(&self.cross_form);
        if !is_cross && !says_nothing {
            return error("interaction", "must be `cross` where `cross_layers`, `cross_rank` or `cross_form` is given");
        }
        Ok(())
    }
}

/// What stands beside the tower.
#[derive(Debug)]
enum Beside {
    Nothing,
    Fm(Fm),
    Cross(Cross),
}

/// The backbone `dnn`.
#[derive(Debug)]
pub struct Dnn {
    architecture: Architecture,
    input: Input,
    norm: Option<BatchNorm>,
    beside: Beside,
    tower: Tower,
    /// The score, where something is added to what comes out of the head.
    score: Option<SiteId>,
}

impl Dnn {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for widths of 0 or a name that the schema does not have; [`ModelError::NoFeature`] if no feature is left.
    pub fn new(config: &DnnConfig, schema: &Schema) -> Result<Self, ModelError> {
        config.check()?;
        let mut architecture = Architecture::default();
        let of_input = InputConfig {
            owner: "dnn",
            embedding: config.embedding,
            std: config.embedding_std,
            fan_in: config.start == Start::FanIn,
            without: &config.without,
            attention: &config.attention,
            attention_on: &config.attention_on,
            attention_hidden: config.attention_hidden,
            first_order: config.interaction == Interaction::Fm,
        };
        let input = Input::new(&mut architecture, &of_input, schema)?;
        let width = input.width;
        let norm = match config.input_norm {
            InputNorm::None => None,
            InputNorm::Batch => Some(architecture.batch_norm("input.norm", width, 1e-5)),
        };
        let beside = match config.interaction {
            Interaction::None => Beside::Nothing,
            Interaction::Fm => Beside::Fm(Fm::new(&mut architecture, &input)),
            Interaction::Cross => {
                Beside::Cross(Cross::new(&mut architecture, width, config.cross_layers, config.cross_rank, config.cross_form))
            }
        };
        let layers = Layers { norm: config.norm, start: config.start };
        let (hidden, d) = layers.hidden(&mut architecture, "tower", width, &config.hidden);
        let is_parallel = matches!(&beside, Beside::Cross(cross) if cross.form == CrossForm::Parallel);
        let head = layers.head(&mut architecture, "head", if is_parallel { width + d } else { d });
        let is_added = matches!(&beside, Beside::Fm(_));
        let score = is_added.then(|| architecture.site("score", SiteKind::Hidden { d: 1 }, Role::Head));
        Ok(Self { architecture, input, norm, beside, tower: Tower { hidden, head }, score })
    }
}

impl Backbone for Dnn {
    fn name(&self) -> &'static str {
        "dnn"
    }

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn objectives(&self) -> &'static [Objective] {
        super::OF_ROWS
    }

    fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
        self.input.gather(tables, batch)
    }

    fn reads(&self, leaf: usize, table: usize) -> bool {
        self.input.reads(leaf, table)
    }

    fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
        self.input.scatter(batch, gradients, sink);
    }

    fn forward(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Output {
        let row = self.input.row(pass, batch, inputs);
        let x = match &self.norm {
            Some(norm) => norm.forward(pass, row.clone(), Activation::Identity),
            None => row.clone(),
        };
        Output::Rows(match &self.beside {
            Beside::Nothing => self.tower.forward(pass, x),
            Beside::Fm(fm) => {
                let products = self.input.first_order(inputs).map(|weights| fm.forward(pass, &self.input, &row, weights));
                let of_tower = self.tower.forward(pass, x);
                let score = products.map_or(of_tower.clone(), |products| of_tower + products);
                self.score.map_or(score.clone(), |site| pass.modulation.output(site, &score, score.clone()))
            }
            Beside::Cross(cross) if cross.form == CrossForm::Stacked => self.tower.forward(pass, cross.forward(pass, &x)),
            Beside::Cross(cross) => {
                let crossed = cross.forward(pass, &x);
                let hidden = Hidden::forward(&self.tower.hidden, pass, x);
                self.tower.head.forward(pass, Tensor::cat(vec![crossed, hidden], 2), Activation::Identity)
            }
        })
    }

    /// None where something stands between the gathered row and the tower, or beside it.
    fn tower(&self) -> Option<&Tower> {
        let is_plain = self.input.is_plain() && self.norm.is_none() && matches!(self.beside, Beside::Nothing);
        is_plain.then_some(&self.tower)
    }
}
