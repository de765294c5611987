//! `dnn`: feature embeddings, mean-pooled multi-valued features and an MLP tower.
//!
//! `x0 = [E_1[c_1]; ..; E_F[c_F]; mean_j E_b[c_bj] for each bag b; numbers]`, `x_{l+1} = ReLU(norm(x_l W_l + b_l))` with no, layer or batch norm, score `= x_L w + b`.
//! MeLU's network (Lee et al., KDD 2019) is `embedding = 32, hidden = [64, 64]` on content features.

use std::sync::Arc;

use acclimate_data::{BagColumn, Batch, Schema};
use burn::tensor::Tensor;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::tower::{Hidden, TowerNorm};
use super::{Backbone, Gathered, Output, Tower};
use crate::{Architecture, Ids, Init, ModelError, Objective, Pass, Role, RowGradients, SiteId, SiteKind, Table, TableSpec};

/// Norm between a hidden layer's linear map and its activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// None.
    #[default]
    None,
    /// Layer norm, epsilon 1e-5.
    Layer,
    /// Batch norm, epsilon 1e-5, running moments with momentum 0.1.
    Batch,
}

/// How weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Kaiming-uniform hidden weights, Xavier-uniform head, zero biases.
    #[default]
    Kaiming,
    /// Weights and biases U(±1/sqrt(fan_in)), the default of PyTorch and so of the published MeLU code; rows of multi-valued features, which are
    /// the weights of a linear map there, start the same way with the vocabulary's size as fan-in.
    FanIn,
}

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
}

impl Default for DnnConfig {
    fn default() -> Self {
        let (norm, start) = (Norm::None, Start::Kaiming);
        Self { embedding: 16, embedding_std: 0.01, hidden: vec![128, 64, 32], norm, start, without: Vec::new() }
    }
}

/// Rows of the batch whose embeddings are asked for ahead of their turn.
const AHEAD: usize = 4;

/// One embedded feature: which column of the batch, which table.
#[derive(Clone, Copy, Debug)]
struct Field {
    column: usize,
    table: usize,
}

/// The backbone `dnn`.
#[derive(Debug)]
pub struct Dnn {
    architecture: Architecture,
    fields: Vec<Field>,
    bags: Vec<Field>,
    numbers: Vec<usize>,
    d: usize,
    width: usize,
    rows: SiteId,
    tower: Tower,
}

impl Dnn {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for widths of 0 or an unknown name in `without`; [`ModelError::NoFeature`] if no feature is left.
    pub fn new(config: &DnnConfig, schema: &Schema) -> Result<Self, ModelError> {
        let zero = |key: &str| ModelError::config("dnn", key, "must be at least 1");
        if config.embedding == 0 {
            return Err(zero("embedding"));
        }
        if config.hidden.contains(&0) {
            return Err(zero("hidden"));
        }
        let names = || {
            let fields = schema.categorical.iter().chain(&schema.bags).map(|f| &f.name);
            fields.chain(&schema.numeric)
        };
        if let Some(unknown) = config.without.iter().find(|w| !names().any(|n| n == *w)) {
            let known: Vec<_> = names().map(String::as_str).collect();
            return Err(ModelError::config("dnn", "without", &format!("names no feature `{unknown}`; there are {}", known.join(", "))));
        }
        let kept = |name: &String| !config.without.contains(name);
        let mut architecture = Architecture::default();
        let mut tables: Vec<Option<usize>> = vec![None; schema.vocabularies.len()];
        let mut field = |(column, field): (usize, &acclimate_data::FieldSchema), bag: bool| {
            let vocabulary = &schema.vocabularies[field.vocabulary.at()];
            // A pooled bag is a linear map of a multi-hot row, so its fan-in is the vocabulary.
            let fan_in = Init::Uniform(1.0 / (vocabulary.rows as f32).sqrt());
            let init = if bag && config.start == Start::FanIn { fan_in } else { Init::Normal(config.embedding_std) };
            let table = *tables[field.vocabulary.at()].get_or_insert_with(|| {
                architecture.table(TableSpec {
                    name: vocabulary.name.clone(),
                    rows: vocabulary.rows,
                    d: config.embedding,
                    init,
                    zero_row: false,
                    spared: 0,
                })
            });
            Field { column, table }
        };
        let fields: Vec<_> = schema.categorical.iter().enumerate().filter(|(_, f)| kept(&f.name)).map(|f| field(f, false)).collect();
        let bags: Vec<_> = schema.bags.iter().enumerate().filter(|(_, f)| kept(&f.name)).map(|f| field(f, true)).collect();
        let numbers: Vec<_> = schema.numeric.iter().enumerate().filter(|(_, n)| kept(n)).map(|(i, _)| i).collect();
        let width = (fields.len() + bags.len()) * config.embedding + numbers.len();
        if width == 0 {
            return Err(ModelError::NoFeature);
        }
        let rows = architecture.site("input", SiteKind::Rows { d: width }, Role::Body);
        let tower = tower(&mut architecture, config, width);
        Ok(Self { architecture, fields, bags, numbers, d: config.embedding, width, rows, tower })
    }
}

fn tower(architecture: &mut Architecture, config: &DnnConfig, width: usize) -> Tower {
    let start = |fan_in: usize, kaiming: Init| match config.start {
        Start::Kaiming => (kaiming, Init::Constant(0.0)),
        Start::FanIn => {
            let uniform = Init::Uniform(1.0 / (fan_in as f32).sqrt());
            (uniform, uniform)
        }
    };
    let mut d_in = width;
    let mut hidden = Vec::new();
    for (i, &d_out) in config.hidden.iter().enumerate() {
        let (weight, bias) = start(d_in, Init::KaimingUniform);
        let linear = architecture.linear(&format!("tower.{i}.linear"), [d_in, d_out], weight, bias, Role::Body);
        let norm = match config.norm {
            Norm::None => None,
            Norm::Layer => Some(TowerNorm::Layer(architecture.layer_norm(&format!("tower.{i}.norm"), d_out, 1e-5))),
            Norm::Batch => Some(TowerNorm::Batch(architecture.batch_norm(&format!("tower.{i}.norm"), d_out, 1e-5))),
        };
        hidden.push(Hidden { linear, norm });
        d_in = d_out;
    }
    let (weight, bias) = start(d_in, Init::XavierUniform);
    Tower { hidden, head: architecture.linear("head", [d_in, 1], weight, bias, Role::Head) }
}

impl Backbone for Dnn {
    fn name(&self) -> &'static str {
        "dnn"
    }

    fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    fn objectives(&self) -> &'static [Objective] {
        &[Objective::Logistic, Objective::SquaredError, Objective::Bpr]
    }

    fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered> {
        let mut values = Vec::with_capacity(batch.len() * self.width);
        let codes = |i: usize| batch.categorical.get(i * batch.fields..(i + 1) * batch.fields);
        for i in 0..batch.len() {
            if let Some(codes) = codes(i + AHEAD) {
                self.fields.iter().for_each(|field| tables[field.table].prefetch(codes[field.column]));
            }
            let codes = codes(i).unwrap_or_default();
            for field in &self.fields {
                values.extend_from_slice(tables[field.table].row(codes[field.column]));
            }
            for bag in &self.bags {
                let at = values.len();
                values.resize(at + self.d, 0.0);
                pool(&tables[bag.table], bag_codes(&batch.bags[bag.column], i), &mut values[at..]);
            }
            values.extend(self.numbers.iter().map(|column| batch.numeric[i * batch.numbers + column]));
        }
        vec![Gathered { shape: [batch.groups, batch.rows, self.width], values }]
    }

    fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]) {
        // Threads own tables; within one, field by field, so that its slots stay in cache.
        let gradients = || gradients[0].chunks_exact(self.width).enumerate();
        sink.par_iter_mut().enumerate().filter_map(|(table, rows)| Some((table, rows.as_mut()?))).for_each(|(table, rows)| {
            for (f, field) in self.fields.iter().enumerate().filter(|(_, field)| field.table == table) {
                for (i, gradient) in gradients().filter(|&(i, _)| batch.mask[i] != 0.0) {
                    rows.add(batch.categorical[i * batch.fields + field.column], &gradient[f * self.d..][..self.d], 1.0);
                }
            }
            for (b, bag) in self.bags.iter().enumerate().filter(|(_, bag)| bag.table == table) {
                let at = (self.fields.len() + b) * self.d;
                for (i, gradient) in gradients() {
                    let codes = bag_codes(&batch.bags[bag.column], i);
                    for &code in codes {
                        rows.add(code, &gradient[at..][..self.d], 1.0 / codes.len() as f32);
                    }
                }
            }
        });
    }

    fn forward(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Output {
        let ids = Ids::Codes { codes: &batch.categorical, fields: batch.fields };
        let x = pass.modulation.rows(self.rows, ids, inputs[0].clone());
        Output::Rows(self.tower.forward(pass, x))
    }

    fn tower(&self) -> Option<&Tower> {
        Some(&self.tower)
    }
}

fn bag_codes(bag: &BagColumn, row: usize) -> &[u32] {
    &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
}

/// Mean of the rows; zero for an empty bag.
fn pool(table: &Table, codes: &[u32], out: &mut [f32]) {
    for &code in codes {
        for (o, x) in out.iter_mut().zip(table.row(code)) {
            *o += x;
        }
    }
    if codes.len() > 1 {
        let scale = 1.0 / codes.len() as f32;
        out.iter_mut().for_each(|o| *o *= scale);
    }
}
