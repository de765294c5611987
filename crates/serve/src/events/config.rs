//! What an operator decides about events.

use acclimate_data::Span;
use serde::{Deserialize, Serialize};

/// How events are kept. The defaults suit a server with some memory to spare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventConfig {
    /// How long after a later event one may come and still count. What is kept of each key in that time
    /// takes 16 bytes an event, and is summed up anew whenever a feature of the key is asked for: raising it makes answers slower where much happens. Default
    /// `1m`.
    pub lateness: Span,
    /// How far ahead of this machine's clock the time of an event may be: it counts as now, since it would make all others late. One that is further is refused. Default `5m`.
    pub ahead: Span,
    /// Ids that are remembered: an event whose id is among the last so many counts once. 40 to 60 bytes each. Default 1,000,000.
    pub ids: usize,
    /// How long an id is remembered at most. Default `1d`.
    pub id_age: Span,
    /// Bytes of an event as JSON. Default 64 KiB.
    pub event_bytes: usize,
    /// Events of one request. Default 10,000.
    pub request_events: usize,
    /// Requests that wait for the writer; more are told to come again. Default 1,024.
    pub queue: usize,
    /// Bytes that are written and synced together, if so many wait. Default 1 MiB.
    pub group_bytes: usize,
    /// Bytes of a segment after which the next begins. Default 64 MiB.
    pub segment_bytes: u64,
    /// Events after which a snapshot is written. Raising it makes restarts slower and the log longer. Default 200,000.
    pub snapshot_events: u64,
}

impl Default for EventConfig {
    fn default() -> Self {
        let span = |text: &str| text.parse().expect("a length of time");
        Self {
            lateness: span("1m"),
            ahead: span("5m"),
            ids: 1_000_000,
            id_age: span("1d"),
            event_bytes: 64 << 10,
            request_events: 10_000,
            queue: 1024,
            group_bytes: 1 << 20,
            segment_bytes: 64 << 20,
            snapshot_events: 200_000,
        }
    }
}

/// Bytes of a request, and so, with [`EventConfig::group_bytes`], of what is written at once.
pub(super) const REQUEST_BYTES: usize = 8 << 20;

impl EventConfig {
    /// The first value that can not be.
    ///
    /// # Errors
    /// The name of the key, and what it may be.
    pub fn validate(&self) -> Result<(), (&'static str, &'static str)> {
        let checks = [
            ("ids", self.ids >= 1, "at least 1"),
            ("event_bytes", (256..=1 << 20).contains(&self.event_bytes), "256 to 1,048,576"),
            ("request_events", (1..=1_000_000).contains(&self.request_events), "1 to 1,000,000"),
            ("queue", (1..=1 << 20).contains(&self.queue), "1 to 1,048,576"),
            ("group_bytes", (1..=8 << 20).contains(&self.group_bytes), "1 to 8,388,608"),
            ("segment_bytes", (1024..=1 << 30).contains(&self.segment_bytes), "1,024 to 1,073,741,824"),
            ("snapshot_events", self.snapshot_events >= 1, "at least 1"),
        ];
        checks.iter().find(|(_, fits, _)| !fits).map_or(Ok(()), |&(key, _, may_be)| Err((key, may_be)))
    }
}
