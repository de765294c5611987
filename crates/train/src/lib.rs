//! Training: one outer step for pre-training and for every method, early stopping, checkpoints, scoring.

mod checkpoint;
mod config;
pub mod contract;
mod error;
mod extract;
pub mod feed;
mod hide;
mod measuring;
mod memory;
mod observer;
mod optimizer;
mod paths;
mod preparation;
mod rearrange;
mod run;
mod schedule;
mod scorer;
mod solving;
mod stages;
mod teacher;
mod trainee;

pub use config::{Hide, HideRare, HideTogether, Keep, TrainConfig};
pub use error::TrainError;
pub use extract::PatchNotes;
pub use memory::{FittedMemory, Gate, Kernel, Memory, MemoryConfig};
pub use observer::{EpochReport, Observer, StepReport};
pub use optimizer::{Moments, OptimizerConfig, Rule, Update};
pub use preparation::{Draw, Head, Histories, History, Preparation, RowPreparation, TaskRule, TrainingNegatives};
pub use run::{Run, Summary, Trained, Validate, train, train_from_values};
pub use schedule::Schedule;
pub use scorer::{Bindings, NextItemQuery, NextItemRanks, Scorer, Sensitivity};
pub use trainee::Trainee;
