//! Errors of training and scoring.

use std::path::PathBuf;

use acclimate_adapt::AdaptError;
use acclimate_model::TensorFileError;
use thiserror::Error;

/// What can go wrong while training or scoring.
#[derive(Debug, Error)]
pub enum TrainError {
    /// A config value out of range.
    #[error("training: `{key}` {problem}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// No row to train on.
    #[error("training: there is no {what} to train on; check the split")]
    Nothing {
        /// Rows, tasks or sequences.
        what: &'static str,
    },
    /// The loss is no number any more.
    #[error(
        "training: the loss became {loss} at epoch {}, step {}; lower `rate` or set `clip_norm`. The last checkpoint is untouched.", epoch + 1, step + 1
    )]
    Diverged {
        /// Loss.
        loss: f32,
        /// Epoch, from 0.
        epoch: u64,
        /// Step in the epoch, from 0.
        step: u64,
    },
    /// A checkpoint of another run.
    #[error("{}: the checkpoint belongs to another run ({what} differs); remove the file, or write to another folder (`--out`)", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The run was asked to stop; its checkpoint holds everything.
    #[error("training: interrupted at epoch {}, step {}; run the same command again to go on", epoch + 1, step + 1)]
    Interrupted {
        /// Epoch, from 0.
        epoch: u64,
        /// Step in the epoch, from 0.
        step: u64,
    },
    /// A log that can not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A method's own error.
    #[error(transparent)]
    Adapt(#[from] AdaptError),
    /// A checkpoint that can not be read or written.
    #[error(transparent)]
    File(#[from] TensorFileError),
}
