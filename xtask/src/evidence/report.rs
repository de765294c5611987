//! What is read of a report, as `acclimate compare --json` writes it.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Report {
    pub(crate) inputs: Vec<Input>,
    pub(crate) environment: Environment,
    pub(crate) notes: Vec<String>,
    pub(crate) results: Vec<Result>,
    pub(crate) differences: Vec<Difference>,
    /// Settings of floors, where the report names them.
    #[serde(default)]
    pub(crate) floor_settings: Vec<FloorSettings>,
}

#[derive(Deserialize)]
pub(crate) struct FloorSettings {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) method: String,
    pub(crate) settings: Vec<Setting>,
}

#[derive(Deserialize)]
pub(crate) struct Setting {
    pub(crate) setting: String,
    pub(crate) value: f64,
}

#[derive(Deserialize)]
pub(crate) struct Input {
    pub(crate) file: String,
    pub(crate) sha256: String,
}

#[derive(Deserialize)]
pub(crate) struct Environment {
    pub(crate) version: String,
    pub(crate) seeds: Vec<u64>,
    pub(crate) threads: usize,
    pub(crate) processor: String,
    pub(crate) peak_memory_mib: Option<f64>,
    pub(crate) started: String,
    pub(crate) seconds: f64,
    pub(crate) bootstrap: Bootstrap,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    pub(crate) draws: u64,
    pub(crate) seed: u64,
    pub(crate) level: f64,
}

#[derive(Clone, PartialEq, Deserialize)]
pub(crate) struct Place {
    pub(crate) dataset: String,
    pub(crate) scenario: String,
    pub(crate) setting: String,
}

#[derive(Deserialize)]
pub(crate) struct Result {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) method: String,
    pub(crate) kind: String,
    pub(crate) metric: String,
    pub(crate) value: Option<f64>,
    pub(crate) ci_low: Option<f64>,
    pub(crate) ci_high: Option<f64>,
    pub(crate) seeds: usize,
    pub(crate) per_seed: Vec<Option<f64>>,
    pub(crate) trainable_parameters: Option<u64>,
    pub(crate) patch_bytes: Option<u64>,
    pub(crate) train_seconds: Option<f64>,
}

#[derive(Deserialize)]
pub(crate) struct Difference {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) metric: String,
    pub(crate) method: String,
    pub(crate) reference: String,
    pub(crate) reference_is_best_floor: bool,
    pub(crate) reference_is_own_base: bool,
    pub(crate) value: f64,
    pub(crate) ci_low: Option<f64>,
    pub(crate) ci_high: Option<f64>,
    pub(crate) better: String,
}
