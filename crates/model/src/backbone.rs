//! Backbones: networks as pure functions of parameters, rows and a modulation.

mod attention;
mod comparison;
mod dnn;
mod domains;
mod experts;
mod input;
mod interaction;
mod mmoe;
mod next_item;
mod nextitnet;
mod per_domain;
mod ple;
mod sasrec;
mod shared_bottom;
mod tower;

use std::sync::Arc;

use acclimate_data::{Batch, Schema};
use burn::tensor::Tensor;
pub use comparison::Comparison;
pub use dnn::{Dnn, DnnConfig, InputNorm};
pub use domains::DomainNetwork;
pub use interaction::{CrossForm, Interaction};
pub use mmoe::MmoeConfig;
pub use next_item::start_biases;
pub use nextitnet::{NextItNet, NextItNetConfig};
pub use per_domain::PerDomainConfig;
pub use ple::PleConfig;
pub use sasrec::{SasRec, SasRecConfig};
use serde::{Deserialize, Serialize};
pub use shared_bottom::SharedBottomConfig;
pub use tower::{Norm, Tower, TowerNorm};

use crate::{Architecture, ModelError, Objective, Pass, RowGradients, Sight, Table};

/// Objectives of the networks that score rows.
const OF_ROWS: &[Objective] = &[Objective::Logistic, Objective::SquaredError, Objective::Bpr];

/// Rows gathered on the host for one batch, to become a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gathered {
    /// `[G, N, d]`.
    pub shape: [usize; 3],
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// What a backbone says about a batch.
#[derive(Clone, Debug)]
pub enum Output {
    /// One score a row, `[G, N, 1]`: a logit or a rating.
    Rows(Tensor<3>),
    /// Scores of candidates at P positions.
    Candidates {
        /// `[1, P, K]`.
        scores: Tensor<3>,
        /// For each position, which candidate is the positive.
        target: Vec<u32>,
    },
    /// Hidden states beside the items they are compared with; scores are formed only where they are asked for.
    Comparison(Box<Comparison>),
}

/// A network: declared once, then a pure function. It holds no values; parameters and tables are passed in.
pub trait Backbone: Send + Sync {
    /// Name in configs.
    fn name(&self) -> &'static str;

    /// Parameters, sites and tables.
    fn architecture(&self) -> &Architecture;

    /// Objectives that its output fits, the usual one first.
    fn objectives(&self) -> &'static [Objective];

    /// What a row of a group sees of the others.
    fn sight(&self) -> Sight {
        Sight::Itself
    }

    /// Whether it gives one score a row, and not the scores of candidates.
    fn scores_rows(&self) -> bool {
        self.objectives().contains(&Objective::SquaredError)
    }

    /// Code of the input that stands for an item that is asked for, in a network that sees what comes before and after it; `None` where the next item is asked
    /// for at the last one.
    fn mask_token(&self) -> Option<u32> {
        None
    }

    /// Collects what the batch needs from the tables, outside autodiff. Each entry becomes one leaf tensor; the first one is the row that the architecture's
    /// slots describe.
    fn gather(&self, tables: &[Arc<Table>], batch: &Batch) -> Vec<Gathered>;

    /// Whether leaf `leaf` of [`gather`](Self::gather) holds rows of table `table`. Leaves of frozen tables are not differentiated.
    fn reads(&self, _leaf: usize, _table: usize) -> bool {
        true
    }

    /// Copies what is counted rather than learned from one network's tables into those of a fresh one.
    fn carry_over(&self, _from: &[Arc<Table>], _fresh: &mut [Arc<Table>]) {}

    /// Sends gradients of the gathered leaves back to the rows they came from.
    ///
    /// `gradients` has one entry per leaf of [`gather`](Self::gather), `sink` one per table; a `None` sink is a frozen table.
    fn scatter(&self, batch: &Batch, gradients: &[Vec<f32>], sink: &mut [Option<RowGradients>]);

    /// Scores a batch whose gathered leaves are `inputs`.
    fn forward(&self, pass: &Pass<'_>, batch: &Batch, inputs: &[Tensor<3>]) -> Output;

    /// The stack of linear layers that turns `inputs[0]` into the score, for methods with a closed-form inner loop; `None` if there is none.
    fn tower(&self) -> Option<&Tower> {
        None
    }
}

/// Configuration of a backbone, as in a config file: `kind = "dnn"` and its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum BackboneConfig {
    /// Feature embeddings and an MLP tower.
    Dnn(DnnConfig),
    /// Dilated convolutions over a sequence of items.
    #[serde(rename = "nextitnet")]
    NextItNet(NextItNetConfig),
    /// Self-attention over a sequence of items.
    #[serde(rename = "sasrec")]
    SasRec(SasRecConfig),
    /// Shared layers and a tower a domain.
    SharedBottom(SharedBottomConfig),
    /// Shared experts, a gate and a tower a domain.
    Mmoe(MmoeConfig),
    /// Experts of domains beside shared ones, a gate and a tower a domain.
    Ple(PleConfig),
    /// A whole tower a domain.
    PerDomain(PerDomainConfig),
}

acclimate_data::tagged!(BackboneConfig, "kind");

impl BackboneConfig {
    /// Features of the data set that the network does not read, by name.
    #[must_use]
    pub fn without(&self) -> &[String] {
        match self {
            Self::Dnn(config) => &config.without,
            Self::NextItNet(_) | Self::SasRec(_) => &[],
            Self::SharedBottom(config) => &config.without,
            Self::Mmoe(config) => &config.without,
            Self::Ple(config) => &config.without,
            Self::PerDomain(config) => &config.without,
        }
    }

    /// Whether it reads sequences of items.
    #[must_use]
    pub fn reads_sequences(&self) -> bool {
        matches!(self, Self::NextItNet(_) | Self::SasRec(_))
    }

    /// Half-lives of the fresh counts that a network over sequences adds to its scores.
    #[must_use]
    pub fn fresh_half_life_days(&self) -> &[f64] {
        match self {
            Self::NextItNet(config) => &config.fresh_half_life_days,
            Self::SasRec(config) => &config.fresh_half_life_days,
            _ => &[],
        }
    }

    /// A network over sequences that reads items of one vocabulary and predicts those of another; any other network stays as it is.
    #[must_use]
    pub fn with_items(mut self, vocabulary: &str, head: &str) -> Self {
        let named = [vocabulary, head].map(|name| Some(name.to_owned()));
        match &mut self {
            Self::NextItNet(config) => [config.vocabulary, config.head] = named,
            Self::SasRec(config) => [config.vocabulary, config.head] = named,
            _ => {}
        }
        self
    }

    /// Builds the network for a data set's schema.
    ///
    /// # Errors
    /// A field of the config that is out of range or does not fit the schema.
    pub fn build(&self, schema: &Schema) -> Result<Arc<dyn Backbone>, ModelError> {
        Ok(match self {
            Self::Dnn(config) => Arc::new(Dnn::new(config, schema)?),
            Self::NextItNet(config) => Arc::new(NextItNet::new(config, schema)?),
            Self::SasRec(config) => Arc::new(SasRec::new(config, schema)?),
            Self::SharedBottom(config) => Arc::new(config.network(schema)?),
            Self::Mmoe(config) => Arc::new(config.network(schema)?),
            Self::Ple(config) => Arc::new(config.network(schema)?),
            Self::PerDomain(config) => Arc::new(config.network(schema)?),
        })
    }
}
