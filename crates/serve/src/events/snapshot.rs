//! A snapshot: a state, where it stands in the log, and the ids that it has met.

use acclimate_data::{Encoder, FeatureState, Span};
use serde::{Deserialize, Serialize};

use super::EventError;
use super::event::IdKey;
use super::ids::Ids;

/// Begins every snapshot; the digit is the version of what follows.
const MAGIC: &[u8; 8] = b"ACSNAPS1";

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) spec: String,
    pub(super) position: u64,
    /// The id of the last event.
    pub(super) event: Option<String>,
    /// Events before it are late.
    pub(super) floor: i64,
    /// How many ids follow.
    ids: usize,
}

/// A state and its place in the log.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) about: About,
    pub(super) ids: Vec<(IdKey, i64)>,
    pub(super) state: FeatureState,
}

/// Bytes of an id with its moment.
const ID: usize = 24;

pub(super) fn about(spec: &str, position: u64, event: Option<&str>, floor: i64, ids: &Ids) -> About {
    About { spec: spec.to_owned(), position, event: event.map(str::to_owned), floor, ids: ids.iter().len() }
}

/// The bytes of a snapshot: magic, length of what it says of itself, that as JSON, ids, state, checksum.
pub(super) fn bytes(about: &About, ids: &Ids, state: &FeatureState) -> Result<Vec<u8>, EventError> {
    let packed = state.to_bytes(&about.spec).map_err(EventError::Pack)?;
    let json = serde_json::to_vec(about).map_err(|error| EventError::Pack(error.into()))?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + json.len() + about.ids * ID + packed.len() + 4);
    bytes.extend(MAGIC);
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json);
    for (id, at) in ids.iter() {
        bytes.extend(id);
        bytes.extend(at.to_le_bytes());
    }
    bytes.extend(packed);
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Reads a snapshot back; the error says what is wrong with it.
pub(super) fn read(bytes: &[u8], encoder: &Encoder, spec: &str, lateness: Span) -> Result<Snapshot, String> {
    let damaged = || "is damaged".to_owned();
    let (bytes, crc) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    let rest = bytes.strip_prefix(MAGIC).ok_or("is no snapshot of this version")?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (json, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
    let about: About = serde_json::from_slice(json).map_err(|_| damaged())?;
    if about.spec != spec {
        return Err("belongs to other features".to_owned());
    }
    let length = about.ids.checked_mul(ID).ok_or_else(damaged)?;
    let (ids, packed) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let mut state = FeatureState::from_bytes(encoder, spec, packed)?;
    state.expect(lateness, about.floor);
    let id = |bytes: &[u8]| {
        let (id, at) = bytes.split_at(16);
        (id.try_into().expect("sixteen bytes"), i64::from_le_bytes(at.try_into().expect("eight bytes")))
    };
    Ok(Snapshot { ids: ids.chunks_exact(ID).map(id).collect(), about, state })
}
