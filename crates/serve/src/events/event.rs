//! An event as the log keeps it, and as it waits to be written.

use acclimate_data::{RawValue, RowEncoder, RowEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::EventConfig;
use crate::api::{EVENT_ID, EventIn, Given, Refusal};

/// What the log keeps: the time is known, and columns are as they were given.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logged {
    pub(super) id: String,
    /// Microseconds since 1970 (UTC).
    pub(super) time: i64,
    pub(super) label: f64,
    pub(super) given: Given,
}

impl Logged {
    /// As a state learns of it.
    pub(super) fn read(&self, rows: &RowEncoder) -> Result<RowEvent, acclimate_data::RowError> {
        let none = Given::new();
        // Features of the moment are read of it.
        let mut given = self.given.clone();
        given.entry("time".to_owned()).or_insert_with(|| RawValue::Integer(self.time.div_euclid(1_000_000)));
        let columns = rows.columns(&given, std::iter::once(&none))?;
        rows.event(&columns, 0, self.time, self.label)
    }
}

/// An event that is checked and waits to be written.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) id: String,
    pub(super) key: IdKey,
    pub(super) json: Vec<u8>,
    pub(super) event: RowEvent,
}

/// 128 bits of the hash of an id.
pub(super) type IdKey = [u8; 16];

/// Characters of an id as it is kept: that of a client behind the name of its tenant and a slash.
const ID: usize = EVENT_ID + 65;

pub(super) fn id_key(id: &str) -> IdKey {
    Sha256::digest(id)[..16].try_into().expect("sixteen bytes")
}

/// Checks the events of a request; `now` is in microseconds since 1970.
pub(super) fn prepare(rows: &RowEncoder, config: &EventConfig, now: i64, events: Vec<EventIn>) -> Result<Vec<Prepared>, Refusal> {
    let too_large = |what: String, found: usize, limit: usize| Err(Refusal::TooLarge { what, found: found as u64, limit: limit as u64 });
    if events.len() > config.request_events {
        return too_large("events".to_owned(), events.len(), config.request_events);
    }
    let mut bytes = 0;
    let mut prepared = Vec::with_capacity(events.len());
    for (i, EventIn { id, time, label, given }) in events.into_iter().enumerate() {
        let what = |key: &str| format!("events[{i}].{key}");
        if id.is_empty() || id.chars().count() > ID {
            let problem = format!("an id has 1 to {ID} characters; give each event one of its own, so that it counts once");
            return Err(Refusal::invalid(what("id"), problem));
        }
        let time = match &time {
            Some(value) => rows.moment_of(value).map_err(|error| Refusal::invalid(what("time"), error.to_string()))?,
            None => None,
        };
        let time = time.unwrap_or(now);
        if time > now.saturating_add(config.ahead.micros()) {
            let problem = format!("{} is more than {} ahead of the server's clock; correct it", acclimate_data::date(time), config.ahead);
            return Err(Refusal::invalid(what("time"), problem));
        }
        // A clock that is a little fast: what lies ahead would make what others send late.
        let time = time.min(now);
        let logged = Logged { id, time, label, given };
        let event = logged.read(rows).map_err(|error| Refusal::invalid(format!("events[{i}]"), error.to_string()))?;
        let json = serde_json::to_vec(&logged).map_err(|error| Refusal::invalid(format!("events[{i}]"), error.to_string()))?;
        if json.len() > config.event_bytes {
            return too_large(format!("bytes of events[{i}]"), json.len(), config.event_bytes);
        }
        bytes += json.len() + 4;
        prepared.push(Prepared { key: id_key(&logged.id), id: logged.id, json, event });
    }
    if bytes > super::config::REQUEST_BYTES {
        return too_large("bytes of events".to_owned(), bytes, super::config::REQUEST_BYTES);
    }
    Ok(prepared)
}
