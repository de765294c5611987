//! Networks with a part of each domain: an input side and a body that are shared, and a tower a domain.
//!
//! `s_i = Σ_d π_d(i) s_d(x_i)`, `s_d` the tower of domain d on what the body makes for it; `π_d(i)` is 1 for the domain of row i and 0 for the others. A row of a domain that the
//! base does not know gets the mean of all towers' logits, `π_d = 1 / D`, and trains them all. What is known of a row's domain besides (a feature of it, say) enters as
//! for any network.
//!
//! Every tower is computed on every row, so that methods find hidden states of all rows at every site; towers that no row of the batch asks for are left out. With groups of one
//! domain each that is one tower a domain of the batch. The cost of mixed batches grows with the number of domains.

use std::fmt::Debug;
use std::sync::Arc;

use acclimate_data::{Batch, Schema};
use burn::tensor::{Device, Tensor, TensorData};

use super::input::{Input, InputConfig};
use super::tower::Layers;
use super::{Backbone, Gathered, Output, Tower};
use crate::{Architecture, ModelError, Objective, Pass, RowGradients, Table};

/// What stands between the row and the towers.
pub(super) trait Body: Debug + Send + Sync {
    /// What the tower of each wanted domain reads.
    ///
    /// # Shapes
    /// `x [G, N, width]` to `[G, N, d]` each.
    fn states(&self, pass: &Pass<'_>, x: &Tensor<3>, wanted: &[bool]) -> Vec<Option<Tensor<3>>>;
}

/// The settings that all of them have.
pub(super) struct Common<'a> {
    pub(super) name: &'static str,
    pub(super) embedding: usize,
    pub(super) std: f32,
    pub(super) without: &'a [String],
    /// Widths of a tower's hidden layers.
    pub(super) tower: &'a [usize],
}

/// A network with a tower for each domain that the base knows.
#[derive(Debug)]
pub struct DomainNetwork {
    name: &'static str,
    architecture: Architecture,
    input: Input,
    body: Box<dyn Body>,
    towers: Vec<Tower>,
}

impl DomainNetwork {
    /// Declares the network: `body` declares what stands between a row of a width and the towers of so many domains, and says how wide its states are.
    pub(super) fn new<B: Body + 'static>(
        common: &Common<'_>,
        schema: &Schema,
        body: impl FnOnce(&mut Architecture, usize, usize) -> (B, usize),
    ) -> Result<Self, ModelError> {
        if common.tower.contains(&0) {
            return Err(ModelError::config(common.name, "widths", "must be at least 1"));
        }
        let domains = schema.domains.len();
        if domains == 0 {
            return Err(ModelError::config(common.name, "kind", "has a tower a domain, but the data names no domain; use `dnn`"));
        }
        let mut architecture = Architecture::default();
        let input = InputConfig::plain(common.name, common.embedding, common.std, common.without);
        let input = Input::new(&mut architecture, &input, schema)?;
        let (body, width) = body(&mut architecture, input.width, domains);
        let layers = Layers::default();
        let towers = (0..domains).map(|d| {
            let (hidden, width) = layers.hidden(&mut architecture, &format!("tower.{d}"), width, common.tower);
            Tower { hidden, head: layers.head(&mut architecture, &format!("head.{d}"), width) }
        });
        let towers = towers.collect();
        Ok(Self { name: common.name, architecture, input, body: Box::new(body), towers })
    }
}

impl Backbone for DomainNetwork {
    fn name(&self) -> &'static str {
        self.name
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
        let x = self.input.row(pass, batch, inputs);
        let shares = shares(batch, self.towers.len());
        let wanted: Vec<bool> = shares.iter().map(Option::is_some).collect();
        let states = self.body.states(pass, &x, &wanted);
        let device = x.device();
        let of_domain = self.towers.iter().zip(states).zip(shares).filter_map(|((tower, state), share)| {
            Some(tower.forward(pass, state?) * column(share?, batch, &device)) // [G, N, 1]
        });
        Output::Rows(of_domain.reduce(|a, b| a + b).expect("a batch asks for one tower at least"))
    }
}

/// π of each domain, one number a row; `None` where no row asks for the domain's tower.
fn shares(batch: &Batch, domains: usize) -> Vec<Option<Vec<f32>>> {
    let mut shares = vec![vec![0.0; batch.len()]; domains];
    for i in (0..batch.len()).filter(|&i| batch.mask[i] != 0.0) {
        match shares.get_mut(batch.domain[i].at()) {
            Some(own) => own[i] = 1.0,
            None => shares.iter_mut().for_each(|share| share[i] = 1.0 / domains as f32),
        }
    }
    let mut asked: Vec<bool> = shares.iter().map(|share| share.iter().any(|&s| s != 0.0)).collect();
    // Padding alone: any tower will do.
    asked[0] |= !asked.contains(&true);
    shares.into_iter().zip(asked).map(|(share, asked)| asked.then_some(share)).collect()
}

fn column(values: Vec<f32>, batch: &Batch, device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, [batch.groups, batch.rows, 1]), device)
}
