//! `shared_bottom`: layers that all domains share, and a tower a domain on top.
//!
//! `h = bottom(x0)`, `s_d = tower_d(h)`. What is said of rows, unknown domains and cost stands in `domains.rs`.
//!
//! # References
//! R. Caruana, *Multitask Learning*, Machine Learning 1997.

use acclimate_data::Schema;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::domains::{Body, Common, DomainNetwork};
use super::tower::{Hidden, Layers};
use crate::{ModelError, Pass};

/// Configuration of `shared_bottom`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharedBottomConfig {
    /// Width of every embedding, default 16.
    pub embedding: usize,
    /// Standard deviation of the embeddings' start, default 0.01.
    pub embedding_std: f32,
    /// Widths of the shared layers, first to last, default `[128, 64]`.
    pub bottom: Vec<usize>,
    /// Widths of each tower's hidden layers, default `[32]`. Small domains over-fit wide towers.
    pub tower: Vec<usize>,
    /// Features left out, by name.
    pub without: Vec<String>,
}

impl Default for SharedBottomConfig {
    fn default() -> Self {
        Self { embedding: 16, embedding_std: 0.01, bottom: vec![128, 64], tower: vec![32], without: Vec::new() }
    }
}

/// The shared layers.
#[derive(Debug)]
struct Bottom(Vec<Hidden>);

impl Body for Bottom {
    fn states(&self, pass: &Pass<'_>, x: &Tensor<3>, wanted: &[bool]) -> Vec<Option<Tensor<3>>> {
        let h = Hidden::forward(&self.0, pass, x.clone());
        wanted.iter().map(|wanted| wanted.then(|| h.clone())).collect()
    }
}

impl SharedBottomConfig {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for widths of 0, an unknown name in `without` or data without domains.
    pub fn network(&self, schema: &Schema) -> Result<DomainNetwork, ModelError> {
        let Self { embedding, embedding_std: std, bottom, tower, without } = self;
        if bottom.contains(&0) {
            return Err(ModelError::config("shared_bottom", "bottom", "must be at least 1"));
        }
        let common = Common { name: "shared_bottom", embedding: *embedding, std: *std, without, tower };
        DomainNetwork::new(&common, schema, |architecture, width, _| {
            let (hidden, width) = Layers::default().hidden(architecture, "bottom", width, bottom);
            (Bottom(hidden), width)
        })
    }
}
