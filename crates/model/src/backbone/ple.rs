//! `ple`: experts of each domain beside shared ones, in levels, each domain mixing its own with the shared, and a tower a domain on top.
//!
//! Level l, with `x_d = x_s = x0` in the first: `x_d' = mix(g_d(x_d); f_d1(x_d), .., f_dK(x_d), f_s1(x_s), .., f_sS(x_s))`, and but for the last level
//! `x_s' = mix(g_s(x_s); all experts of all domains and the shared ones)`, where `mix(g; f) = Σ_e softmax(g)_e f_e` and `g(x) = x W + b`. `s_d = tower_d(x_d)` of the last level. With one
//! level it is CGC. What is said of rows, unknown domains and cost stands in `domains.rs`.
//!
//! # References
//! H. Tang et al., *Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for Personalized Recommendations*, RecSys 2020; a domain stands in the
//! place of a task. The published gates have no bias.

use acclimate_data::Schema;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::domains::{Body, Common, DomainNetwork};
use super::experts::{Experts, Gate};
use crate::{Architecture, ModelError, Pass};

/// Configuration of `ple`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PleConfig {
    /// Width of every embedding, default 16.
    pub embedding: usize,
    /// Standard deviation of the embeddings' start, default 0.01.
    pub embedding_std: f32,
    /// Levels of extraction, default 1.
    pub levels: usize,
    /// Experts of each domain in a level, default 1.
    pub specific: usize,
    /// Experts that all share in a level, default 2. More of them than of each domain's own help domains with little data.
    pub shared: usize,
    /// Widths of an expert's layers, default `[128, 64]`.
    pub expert: Vec<usize>,
    /// Widths of each tower's hidden layers, default `[32]`.
    pub tower: Vec<usize>,
    /// Features left out, by name.
    pub without: Vec<String>,
}

impl Default for PleConfig {
    fn default() -> Self {
        let (expert, tower, without) = (vec![128, 64], vec![32], Vec::new());
        Self { embedding: 16, embedding_std: 0.01, levels: 1, specific: 1, shared: 2, expert, tower, without }
    }
}

/// One level.
#[derive(Debug)]
struct Level {
    own: Vec<Experts>,
    shared: Experts,
    gates: Vec<Gate>,
    /// But for the last level.
    shared_gate: Option<Gate>,
}

impl Level {
    fn new(architecture: &mut Architecture, config: &PleConfig, at: usize, d_in: usize, domains: usize) -> (Self, usize) {
        let PleConfig { specific, shared, expert, .. } = config;
        let path = |name: &str| format!("level.{at}.{name}");
        let own = (0..domains).map(|d| Experts::new(architecture, &path(&format!("domain.{d}")), *specific, d_in, expert).0).collect();
        let (of_all, d_out) = Experts::new(architecture, &path("shared"), *shared, d_in, expert);
        let gates = (0..domains).map(|d| Gate::new(architecture, &path(&format!("gate.{d}")), d_in, specific + shared)).collect();
        let is_last = at + 1 == config.levels;
        let shared_gate = (!is_last).then(|| Gate::new(architecture, &path("gate.shared"), d_in, domains * specific + shared));
        (Self { own, shared: of_all, gates, shared_gate }, d_out)
    }

    /// The states of the wanted domains and the shared one after the level.
    fn forward(
        &self,
        pass: &Pass<'_>,
        states: &[Option<Tensor<3>>],
        shared: &Tensor<3>,
        wanted: &[bool],
    ) -> (Vec<Option<Tensor<3>>>, Tensor<3>) {
        let of_all = self.shared.forward(pass, shared);
        // The shared gate reads the experts of every domain.
        let needed = |d: usize| wanted[d] || self.shared_gate.is_some();
        let own = self.own.iter().zip(states).enumerate();
        let own: Vec<_> = own.map(|(d, (experts, x))| x.as_ref().filter(|_| needed(d)).map(|x| experts.forward(pass, x))).collect();
        let mixed = self.gates.iter().zip(states).zip(&own).map(|((gate, x), own)| {
            let experts = [own.clone()?, of_all.clone()].concat();
            Some(gate.mix(pass, x.as_ref()?, &experts))
        });
        let mixed = mixed.collect();
        let next = self.shared_gate.map(|gate| {
            let experts: Vec<_> = own.into_iter().flatten().flatten().chain(of_all).collect();
            gate.mix(pass, shared, &experts)
        });
        (mixed, next.unwrap_or_else(|| shared.clone()))
    }
}

#[derive(Debug)]
struct Extraction(Vec<Level>);

impl Body for Extraction {
    fn states(&self, pass: &Pass<'_>, x: &Tensor<3>, wanted: &[bool]) -> Vec<Option<Tensor<3>>> {
        let start = (vec![Some(x.clone()); wanted.len()], x.clone());
        self.0.iter().fold(start, |(states, shared), level| level.forward(pass, &states, &shared, wanted)).0
    }
}

impl PleConfig {
    /// Declares the network for a schema.
    ///
    /// # Errors
    /// [`ModelError::Config`] for numbers of 0, an unknown name in `without` or data without domains.
    pub fn network(&self, schema: &Schema) -> Result<DomainNetwork, ModelError> {
        let error = |key: &str, problem: &str| Err(ModelError::config("ple", key, problem));
        for (key, value) in [("levels", self.levels), ("specific", self.specific), ("shared", self.shared)] {
            if value == 0 {
                return error(key, "must be at least 1");
            }
        }
        if self.expert.is_empty() || self.expert.contains(&0) {
            return error("expert", "must be widths of at least 1");
        }
        let Self { embedding, embedding_std: std, tower, without, .. } = self;
        let common = Common { name: "ple", embedding: *embedding, std: *std, without, tower };
        DomainNetwork::new(&common, schema, |architecture, width, domains| {
            let mut d = width;
            let levels = (0..self.levels).map(|at| {
                let (level, d_out) = Level::new(architecture, self, at, d, domains);
                d = d_out;
                level
            });
            let levels = levels.collect();
            (Extraction(levels), d)
        })
    }
}
