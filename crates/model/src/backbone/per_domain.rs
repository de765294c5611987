//! `per_domain`: a whole tower a domain on shared embeddings.
//!
//! `s_d = tower_d(x0)`: what nothing but the embeddings carries over. The control of the networks that share more. What is said of rows, unknown domains and cost stands in
//! `domains.rs`.

use acclimate_data::Schema;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::domains::{Body, Common, DomainNetwork};
use crate::{ModelError, Pass};

/// Configuration of `per_domain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerDomainConfig {
    /// Width of every embedding, default 16.
    pub embedding: usize,
    /// Standard deviation of the embeddings' start, default 0.01.
    pub embedding_std: f32,
    /// Widths of each tower's hidden layers, default `[128, 64, 32]`.
    pub hidden: Vec<usize>,
    /// Features left out, by name.
    pub without: Vec<String>,
}

impl Default for PerDomainConfig {
    fn default() -> Self {
        Self { embedding: 16, embedding_std: 0.01, hidden: vec![128, 64, 32], without: Vec::new() }
    }
}

/// Nothing between row and towers.
#[derive(Debug)]
struct Nothing;

impl Body for Nothing {
    fn states(&self, _: &Pass<'_>, x: &Tensor<3>, wanted: &[bool]) -> Vec<Option<Tensor<3>>> {
        wanted.iter().map(|wanted| wanted.then(|| x.clone())).collect()
    }
}

impl PerDomainConfig {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for widths of 0, an unknown name in `without` or data without domains.
    pub fn network(&self, schema: &Schema) -> Result<DomainNetwork, ModelError> {
        let Self { embedding, embedding_std: std, hidden: tower, without } = self;
        let common = Common { name: "per_domain", embedding: *embedding, std: *std, without, tower };
        DomainNetwork::new(&common, schema, |_, width, _| (Nothing, width))
    }
}
