//! What an operator decides about the engine, and why it does not start.

use acclimate_registry::{Name, RegistryError, Version};
use serde::{Deserialize, Serialize};

use crate::api::At;
use crate::events::EventConfig;

/// How the engine works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Bases to serve, each at an alias or version; empty: every base, at `champion`, or at its latest version where it has no such alias.
    #[serde(skip)]
    pub bases: Vec<(Name, Option<At>)>,
    /// Threads that score; 0: as many as there are cores.
    pub executors: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Rows that may wait.
    pub queued_rows: usize,
    /// Rows that an executor takes at once.
    pub batch_rows: usize,
    /// Most rows of a request.
    pub rows: usize,
    /// Most rows of a support set.
    pub support: usize,
    /// Bytes of patches in memory; what has not been asked for longest goes first.
    pub patch_bytes: usize,
    /// Bytes of what requests were adapted to.
    pub adapted_bytes: usize,
    /// Requests that may wait for a patch that is not in memory; more are told to come again.
    pub loads: usize,
    /// Milliseconds after which aliases and routes are read again.
    pub refresh_ms: u64,
    /// Names that are read again at a time.
    pub refresh_names: usize,
    /// How events are kept.
    pub events: EventConfig,
    /// Folder of feature states and events.
    #[serde(skip)]
    pub state: std::path::PathBuf,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            bases: Vec::new(),
            executors: 0,
            queue: 1024,
            queued_rows: 1 << 17,
            batch_rows: 4096,
            rows: 4096,
            support: 256,
            patch_bytes: 1 << 30,
            adapted_bytes: 256 << 20,
            loads: 256,
            refresh_ms: 1000,
            refresh_names: 1000,
            events: EventConfig::default(),
            state: "state".into(),
        }
    }
}

impl EngineConfig {
    /// The first value that can not be.
    ///
    /// # Errors
    /// The name of the key, and what it may be.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        let sizes = [
            ("queue", self.queue),
            ("queued_rows", self.queued_rows),
            ("batch_rows", self.batch_rows),
            ("rows", self.rows),
            ("loads", self.loads),
            ("refresh_names", self.refresh_names),
        ];
        if let Some((key, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err((key, "at least 1"));
        }
        if self.refresh_ms < 10 { Err(("refresh_ms", "at least 10")) } else { Ok(()) }
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The registry can not be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A base can not be loaded.
    #[error("base `{name}` {version}: {problem}")]
    Base {
        /// Its name.
        name: Name,
        /// Its version.
        version: Version,
        /// What is wrong.
        problem: String,
    },
    /// There is none.
    #[error("no base is published in the registry; see `acclimate registry publish --help`")]
    NoBase,
    /// A base has no such alias or version.
    #[error("base `{name}` has no {at}; `acclimate registry list` says what there is")]
    NoVersion {
        /// Its name.
        name: Name,
        /// What was asked for.
        at: String,
    },
    /// The feature state can not be opened.
    #[error("the feature state of base `{name}`: {problem}")]
    State {
        /// The base.
        name: Name,
        /// What is wrong.
        problem: String,
    },
}
