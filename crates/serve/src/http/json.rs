//! Requests in JSON, from bytes to what the service takes; no tree of values in between.
//!
//! What is wrong is told with its place: a first pass reads as fast as it can, and only if it fails a second one keeps track of where it is.

mod cell;
mod event;
mod keys;
mod row;
mod score;

pub use event::{EventsBody, parse_events};
pub use score::{Ranking, parse_adapt, parse_rank, parse_score};

pub(crate) use cell::{Cell, list_cell};
pub(crate) use keys::{Keys, unknown};
pub(crate) use row::{AtMost, Columns, Counted};
pub(crate) use score::{at, choice, deadline, version};

use serde::de::DeserializeSeed;

use crate::api::Refusal;

/// Reads one value that takes all of the bytes.
pub(crate) fn read<'de, S: DeserializeSeed<'de> + Copy>(bytes: &'de [u8], seed: S) -> Result<S::Value, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        located(&mut reader, seed, "").unwrap_or_else(|| Refusal::invalid("the body", error.to_string()))
    })
}

/// What is wrong with the next value, and where in it; `within` is where the value itself is. `None` if nothing is.
pub(crate) fn located<'de, S: DeserializeSeed<'de>>(
    reader: &mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>,
    seed: S,
    within: &str,
) -> Option<Refusal> {
    let mut track = serde_path_to_error::Track::new();
    let error = seed.deserialize(serde_path_to_error::Deserializer::new(reader, &mut track)).err()?;
    let path = track.path().to_string();
    // A path of a value as a whole is written as a dot.
    let what = match (within, path.as_str()) {
        ("", ".") => "the body".to_owned(),
        ("", path) => path.to_owned(),
        (within, ".") => within.to_owned(),
        (within, path) => format!("{within}.{path}"),
    };
    Some(Refusal::invalid(shortened(&what), error.to_string()))
}

/// Text of a request in a message: its beginning tells enough.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
