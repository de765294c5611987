//! `mmoe`: experts that all domains share, mixed for each domain by a gate of its own, and a tower a domain on top.
//!
//! `h_d = Σ_e g_de(x0) f_e(x0)`, `g_d(x0) = softmax(x0 W_d + b_d)`, `s_d = tower_d(h_d)`. What is said of rows, unknown domains and cost stands in `domains.rs`.
//!
//! # References
//! J. Ma et al., *Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts*, KDD 2018; a domain stands in the place of a task. The
//! published gates have no bias.

use acclimate_data::Schema;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::domains::{Body, Common, DomainNetwork};
use super::experts::{Experts, Gate};
use crate::{ModelError, Pass};

/// Configuration of `mmoe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MmoeConfig {
    /// Width of every embedding, default 16.
    pub embedding: usize,
    /// Standard deviation of the embeddings' start, default 0.01.
    pub embedding_std: f32,
    /// Number of experts, default 4.
    pub experts: usize,
    /// Widths of an expert's layers, default `[128, 64]`.
    pub expert: Vec<usize>,
    /// Widths of each tower's hidden layers, default `[32]`.
    pub tower: Vec<usize>,
    /// Features left out, by name.
    pub without: Vec<String>,
}

impl Default for MmoeConfig {
    fn default() -> Self {
        Self { embedding: 16, embedding_std: 0.01, experts: 4, expert: vec![128, 64], tower: vec![32], without: Vec::new() }
    }
}

/// Experts, and a gate a domain.
#[derive(Debug)]
struct Mixture {
    experts: Experts,
    gates: Vec<Gate>,
}

impl Body for Mixture {
    fn states(&self, pass: &Pass<'_>, x: &Tensor<3>, wanted: &[bool]) -> Vec<Option<Tensor<3>>> {
        let experts = self.experts.forward(pass, x);
        self.gates.iter().zip(wanted).map(|(gate, wanted)| wanted.then(|| gate.mix(pass, x, &experts))).collect()
    }
}

impl MmoeConfig {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for numbers of 0, an unknown name in `without` or data without domains.
    pub fn network(&self, schema: &Schema) -> Result<DomainNetwork, ModelError> {
        let Self { embedding, embedding_std: std, experts, expert, tower, without } = self;
        if *experts == 0 {
            return Err(ModelError::config("mmoe", "experts", "must be at least 1"));
        }
        if expert.is_empty() || expert.contains(&0) {
            return Err(ModelError::config("mmoe", "expert", "must be widths of at least 1"));
        }
        let common = Common { name: "mmoe", embedding: *embedding, std: *std, without, tower };
        DomainNetwork::new(&common, schema, |architecture, width, domains| {
            let (mixed, d) = Experts::new(architecture, "expert", *experts, width, expert);
            let gates = (0..domains).map(|d| Gate::new(architecture, &format!("gate.{d}"), width, *experts)).collect();
            (Mixture { experts: mixed, gates }, d)
        })
    }
}
