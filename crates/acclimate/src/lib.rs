//! Train a recommender once, adapt it to every domain and every new user, and compare methods honestly.
//!
//! This crate is the front door: it re-exports what a program needs and runs whole experiments. The binary `acclimate` is a thin layer over it.
//!
//! - [`Experiment`] is an experiment file; [`compare`] runs it and returns an [`eval::Report`].
//! - [`scenario`] lists what can be compared: a scenario is one file there.
//! - [`artifact`] reads and writes bases for [`adapt`] and scoring.

pub mod artifact;
mod compare;
pub mod drift;
mod error;
pub mod evaluate;
pub mod evidence;
pub mod experiment;
pub mod floors;
pub mod gate;
pub mod guard;
mod host;
pub mod init;
pub mod interrupt;
pub mod lab;
pub mod log;
pub mod open;
pub mod predict;
mod preflight;
pub mod pretrain;
pub mod progress;
pub mod scenario;
pub mod scores;
pub mod sequences;
pub mod serving;
pub mod source;
pub mod state;
pub mod tune;

pub use acclimate_adapt as adapt;
pub use acclimate_adapt::{AdaptError, Adaptation, METHODS, Method, Patch, Serve, TrainedOn, build_method, find_method};
pub use acclimate_data as data;
pub use acclimate_data::{Dataset, DatasetConfig, Encoder, RawDataset, SimulatorConfig, SplitConfig, TaskConfig};
pub use acclimate_eval as eval;
pub use acclimate_eval::{Leaderboard, Metric, Paint, Report};
pub use acclimate_model as model;
pub use acclimate_model::{BackboneConfig, Base, BaseSpec, Objective};
pub use acclimate_train as train;
pub use acclimate_train::{Scorer, TrainConfig};
pub use compare::{Setup, compare};
pub use error::ExperimentError;
pub use experiment::Experiment;
pub use lab::{Lab, Measure};
pub use source::Source;
pub use state::StateMode;
