//! What can be wrong with a log of events. Paths are those inside its folder.

use acclimate_data::DataError;
use acclimate_registry::RegistryError;
use thiserror::Error;

/// Why a state can not be opened, or its log not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EventError {
    /// The system refuses.
    #[error(transparent)]
    Folder(#[from] RegistryError),
    /// The state of the base can not be read.
    #[error(transparent)]
    Base(#[from] DataError),
    /// A setting that can not be.
    #[error("`{key}` of the events must be {may_be}")]
    Config {
        /// The setting.
        key: &'static str,
        /// What it may be.
        may_be: &'static str,
    },
    /// A segment that is damaged where it was whole once.
    #[error(
        "{file} is damaged at byte {offset}: {problem}; restore the file from a copy, or move the folder away to begin again from the state of the base"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// Events that no file has.
    #[error(
        "the events from {from} on are missing before {file}; restore the segments, or move the folder away to begin again from the state of the base"
    )]
    Missing {
        /// The position of the first that is missing.
        from: u64,
        /// The first segment behind them.
        file: String,
    },
    /// No snapshot can be read.
    #[error(
        "{file} {problem}, and no older snapshot is there; restore it from a copy, or move the folder away to begin again from the state of the base"
    )]
    Snapshot {
        /// The newest snapshot.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// More than can be written at once.
    #[error("{bytes} bytes of events at once, and at most {limit} are written")]
    TooLarge {
        /// How many.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The system refuses a thread.
    #[error("can not start the thread that writes events: {0}")]
    Thread(std::io::Error),
    /// Bytes that can not be packed.
    #[error("can not pack the state: {0}")]
    Pack(std::io::Error),
}
