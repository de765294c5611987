//! What is asked and answered, whatever the protocol.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use acclimate_data::RawValue;
use acclimate_registry::{Digest, Name, Verdict, Version};
use serde::{Deserialize, Serialize};

/// Values of some columns, by the name of the feature; `user`, `item` and `time` are columns of every row.
pub type Given = BTreeMap<String, RawValue>;

/// Who asks, as the key of the request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant; caches and quotas are by tenant.
    pub tenant: String,
    /// What it may do.
    pub roles: Roles,
}

/// What a key allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Roles {
    /// Scores.
    pub score: bool,
    /// Support sets and events.
    pub adapt: bool,
    /// The admin listener.
    pub admin: bool,
}

/// Which patch is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// None: the base as it is.
    Base,
    /// A patch by name.
    Patch {
        /// Its name.
        name: Name,
        /// Which version of it.
        at: At,
    },
    /// Whatever the routes send this domain to.
    Domain(String),
}

/// A version, or the alias that points to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// Where an alias points when the request comes in.
    Alias(Name),
    /// A number.
    Version(Version),
}

/// A request for scores.
#[derive(Clone, Debug)]
pub struct ScoreAsk {
    /// The base; may be left out where one is served.
    pub base: Option<Name>,
    /// The patch.
    pub choice: Choice,
    /// Whether the next best answers where the patch can not: user, then domain, then base, each named in the answer. Else that is an error.
    pub ladder: bool,
    /// Columns that all rows share: user, time, domain, features of the user and of the moment.
    pub shared: Given,
    /// The rows: item and its features.
    pub items: Vec<Given>,
    /// What is known of a new user.
    pub support: Option<SupportSet>,
    /// Time from the arrival of the request to its answer; less is done where it does not suffice.
    pub deadline: Option<Duration>,
}

/// Labelled rows to adapt from.
#[derive(Clone, Debug)]
pub enum SupportSet {
    /// The rows themselves.
    Rows(Vec<SupportRow>),
    /// What an earlier call of `adapt` has made of some, by the key that it answered.
    Kept(Digest),
}

/// A labelled row.
#[derive(Clone, Debug)]
pub struct SupportRow {
    /// Its columns; those that it does not have are taken from the shared ones.
    pub given: Given,
    /// Its label, in the units of the data.
    pub label: f32,
}

/// Scores and where they come from.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// One for each row: probabilities for a logistic objective, values of the label else.
    pub scores: Vec<f32>,
    /// Where they come from.
    pub served: Served,
    /// Values that nothing recognises, by feature: how many of them there were.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, u64>,
}

/// Where an answer comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// The base.
    pub base: Source,
    /// The patch; none where the base answered as it is.
    pub patch: Option<PatchSource>,
    /// How it was computed: `base`, `merged`, `epilogue`, `personal`, `segmented` or `device`.
    pub kind: &'static str,
    /// What the features of earlier rows were made of; none for a base without such features.
    pub state: Option<StatePosition>,
    /// The heads of known users from which this one's was taken, for the kind `segmented`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<PatchSource>,
    /// What came of the support set; none where there was none.
    pub adapted: Option<Adaptation>,
    /// Why something else answered than what was asked for.
    pub fallback: Option<Fallback>,
}

/// A version of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
}

/// A patch that answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PatchSource {
    /// Which.
    #[serde(flatten)]
    pub source: Source,
    /// The alias that was asked for.
    pub alias: Option<Name>,
    /// What the gate said when the alias was moved.
    pub verdict: Option<Verdict>,
    /// Whether it serves against the gate.
    pub forced: bool,
}

/// What a feature state knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatePosition {
    /// Number of events since the base was trained.
    pub position: u64,
    /// The id of the last one.
    pub event: Option<String>,
}

/// What came of a support set.
#[derive(Clone, Debug, Serialize)]
pub struct Adaptation {
    /// Its key, made of base, patch, state position and support; none where it is not kept: a deadline cut it short, or it is larger than the tenant's share of memory.
    pub key: Option<Digest>,
    /// `closed_form`, `inner_steps`, `amortised`, `history`, `kept` (a head that was published), `device`, or `none`.
    pub form: &'static str,
    /// Steps of the inner loop that were taken.
    pub steps: u32,
    /// Rows that were adapted from.
    pub rows: usize,
    /// Whether it was remembered.
    pub cached: bool,
}

/// Why something else answered.
#[derive(Clone, Debug, Serialize)]
pub struct Fallback {
    /// What was asked for.
    pub wanted: String,
    /// What answered.
    pub got: String,
    /// Why.
    pub reason: String,
}

/// Most characters of the id of an event.
pub const EVENT_ID: usize = 128;

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventIn {
    /// Its id: an event that comes twice counts once.
    pub id: String,
    /// When, as text (RFC 3339) or Unix seconds; default now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<RawValue>,
    /// The label.
    pub label: f64,
    /// Its columns: user, item, domain and features.
    #[serde(flatten)]
    pub given: Given,
}

/// What became of events.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// How many are new, durable and known to the next request.
    pub recorded: u64,
    /// How many had come before.
    pub repeated: u64,
    /// How many are older than what the state may still learn of: durable, and not counted.
    pub late: u64,
    /// Where the state is now.
    pub state: StatePosition,
}

/// A patch as it is served.
#[derive(Clone, Debug, Serialize)]
pub struct PatchInfo {
    /// Its name.
    pub name: Name,
    /// Its base.
    pub base: Name,
    /// Its versions that are in memory.
    pub versions: Vec<PatchVersion>,
    /// Where its aliases point.
    pub aliases: BTreeMap<Name, Version>,
    /// Domains that are sent to it.
    pub domains: Vec<String>,
    /// Why its newest version could not be loaded, if so.
    pub problem: Option<String>,
}

/// A version of a patch.
#[derive(Clone, Debug, Serialize)]
pub struct PatchVersion {
    /// Number.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Its methods.
    pub methods: Vec<String>,
    /// How it is computed.
    pub kind: &'static str,
    /// Bytes that it takes beside the base.
    pub bytes: usize,
}

/// A base as it is served.
#[derive(Clone, Debug, Serialize)]
pub struct ModelInfo {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// Its features.
    pub columns: Vec<ColumnInfo>,
    /// What a score is: `probability` or `value`.
    pub output: &'static str,
}

/// A feature as a request gives it.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnInfo {
    /// Its name.
    pub name: String,
    /// `text`, `number` or `list`.
    pub kind: &'static str,
    /// Whether all rows of a request share it.
    pub shared: bool,
    /// Whether the feature state makes it, so that a request does not give it.
    pub derived: bool,
}

/// Whether the server can answer.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// What is missing.
    pub reasons: Vec<String>,
}

/// Why there is no answer. Each has a status of HTTP and says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// 400.
    #[error("{what}: {problem}")]
    Invalid {
        /// Where in the request.
        what: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// 404: unknown, or not this tenant's.
    #[error("{what} is not served; GET /v1/patches says what is")]
    Unknown {
        /// What was asked for.
        what: String,
    },
    /// 409.
    #[error("{what}: {problem}")]
    Conflict {
        /// What.
        what: String,
        /// Why.
        problem: String,
    },
    /// 410: what was kept is gone.
    #[error("what was adapted under {key} is not in memory any more; send the support set again")]
    Gone {
        /// The key.
        key: Digest,
    },
    /// 413.
    #[error("{what}: {found}, and at most {limit} are taken; send less at once")]
    TooLarge {
        /// What.
        what: String,
        /// How many.
        found: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// 429: the queue is full.
    #[error("the server is at its limit; try again in {retry_ms} ms")]
    Busy {
        /// When to try again.
        retry_ms: u64,
    },
    /// 503: not ready, or shutting down.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// 504: the deadline passed before anything was done.
    #[error("the deadline of {deadline_ms} ms passed in the queue")]
    Late {
        /// The deadline.
        deadline_ms: u64,
    },
    /// 500.
    #[error("{problem}")]
    Failed {
        /// What failed.
        problem: String,
    },
}

impl Refusal {
    /// A part of a request that is wrong.
    #[must_use]
    pub fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), problem: problem.into() }
    }

    /// The status of HTTP.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid { .. } => 400,
            Self::Unknown { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::Gone { .. } => 410,
            Self::TooLarge { .. } => 413,
            Self::Busy { .. } => 429,
            Self::Failed { .. } => 500,
            Self::Unavailable { .. } => 503,
            Self::Late { .. } => 504,
        }
    }

    /// Its name in answers and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Unknown { .. } => "unknown",
            Self::Conflict { .. } => "conflict",
            Self::Gone { .. } => "gone",
            Self::TooLarge { .. } => "too_large",
            Self::Busy { .. } => "busy",
            Self::Failed { .. } => "failed",
            Self::Unavailable { .. } => "unavailable",
            Self::Late { .. } => "late",
        }
    }
}

/// What answers. The engine is one; tests of a protocol have their own.
pub trait Service: Send + Sync + 'static {
    /// Scores rows.
    fn score(&self, caller: &Caller, ask: ScoreAsk) -> impl Future<Output = Result<Answer, Refusal>> + Send;

    /// Adapts to a support set and keeps what came of it; `ask` has no items.
    fn adapt(&self, caller: &Caller, ask: ScoreAsk) -> impl Future<Output = Result<Served, Refusal>> + Send;

    /// Learns of events, durably, in the state of a base; none where one base is served.
    fn record(&self, caller: &Caller, base: Option<Name>, events: Vec<EventIn>) -> impl Future<Output = Result<Recorded, Refusal>> + Send;

    /// Finds a version of a patch of a base, loaded if it is not in memory yet, as a request for it would.
    fn look_up(&self, caller: &Caller, base: Name, patch: Name, at: At) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// The patches that are in memory.
    fn patches(&self, caller: &Caller) -> Vec<PatchInfo>;

    /// The bases that are served.
    fn models(&self) -> Vec<ModelInfo>;

    /// Whether it can answer.
    fn readiness(&self) -> Readiness;

    /// Appends its metrics in the text format of Prometheus.
    fn metrics(&self, out: &mut String);

    /// Reads the registry again now: what aliases and routes have moved to is loaded before it serves; gives what could not be loaded and why.
    fn refresh(&self) -> impl Future<Output = Vec<String>> + Send;

    /// Loads a version of a patch, or every version that an alias names.
    fn load(&self, name: Name, at: Option<At>) -> impl Future<Output = Result<PatchInfo, Refusal>> + Send;

    /// Lets a patch go from memory; it is loaded again when it is asked for.
    fn unload(&self, name: Name) -> impl Future<Output = Result<(), Refusal>> + Send;
}
