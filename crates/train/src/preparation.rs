//! How data becomes what a network reads and is asked: one trait, for labelled rows and for sequences.

mod histories;
mod rows;

use acclimate_adapt::Needs;
use acclimate_data::Schema;
use acclimate_model::Backbone;

use crate::feed::{Asking, Feed, Sampling};
use crate::{Scorer, TrainConfig, TrainError};

pub use histories::{Head, Histories, History, TrainingNegatives};
pub use rows::{RowPreparation, TaskRule};

/// A list of examples, each with what a network reads and what it is asked: a labelled row, or a history and what followed it.
///
/// Examples are named by their number; a part of a split is a list of them.
pub trait Preparation: Send + Sync {
    /// What a network reads of an example.
    fn schema(&self) -> Schema;

    /// Batches to train on. Equal arguments give equal batches.
    ///
    /// # Errors
    /// No example, a batch of 0, or a need that this data can not meet, such as support rows or rows of the base's domains.
    fn feed(&self, examples: &[u32], draw: Draw<'_>) -> Result<Box<dyn Feed + '_>, TrainError>;

    /// What a model says of each example, in their order: the score of a row, or the rank of what followed a history in its whole catalogue.
    ///
    /// # Errors
    /// A context that the method can not adapt from.
    fn answers(&self, scorer: &Scorer<'_>, examples: &[u32]) -> Result<Vec<f32>, TrainError>;
}

/// How examples are drawn for training.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Examples in a batch.
    pub batch: usize,
    /// Seed of their order.
    pub seed: u64,
    /// What the method asks of a batch.
    pub needs: Needs,
    /// Where a network of sequences is asked for items.
    pub asking: Asking,
    /// Which share of the rows each domain has.
    pub sampling: Sampling,
    /// Examples of the domains that the base was trained on, for a method that trains on those as well.
    pub sources: &'a [u32],
}

impl<'a> Draw<'a> {
    /// Draws for a network of rows, or for a causal one that is asked at the last item.
    #[must_use]
    pub fn new(config: &TrainConfig, seed: u64, needs: Needs) -> Self {
        Self { batch: config.batch, seed, needs, asking: Asking::default(), sampling: Sampling::of(config), sources: &[] }
    }

    /// Draws sequences for a network, which may see both sides, as a method with needs asks it.
    #[must_use]
    pub fn of_sequences(backbone: &dyn Backbone, config: &TrainConfig, seed: u64, needs: Needs) -> Self {
        Self { asking: Asking::of(backbone, needs, config.mask_share), ..Self::new(config, seed, needs) }
    }

    /// The same with examples of the domains that the base was trained on; they are read only where the method asks for them.
    #[must_use]
    pub fn with_sources(self, sources: &'a [u32]) -> Self {
        Self { sources, ..self }
    }
}
