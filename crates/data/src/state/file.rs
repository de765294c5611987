//! A state on disk.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::FeatureState;
use super::live::Kept;
use crate::hash::sha256_hex;
use crate::{DataError, Encoder, Zone};

/// Begins every file; the digit is the version of what follows.
const MAGIC: &[u8; 8] = b"ACLSTAT1";

/// Level of zstd: the fastest that still halves what repeats.
const LEVEL: i32 = 3;

/// What a file holds beside the magic.
#[derive(Serialize, Deserialize)]
struct Written {
    /// SHA-256 of the encoder as JSON: what is kept means nothing with another.
    encoder: String,
    zone: Zone,
    lateness: i64,
    newest: i64,
    late: u64,
    features: Vec<Kept>,
}

fn digest(encoder: &Encoder) -> String {
    sha256_hex(&serde_json::to_string(encoder).expect("an encoder is plain data"))
}

impl FeatureState {
    /// Writes it to a file, beside it first, so that an interruption leaves the old file or the new one.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self, encoder: &Encoder, path: &Path) -> Result<(), DataError> {
        let io = |source| DataError::Io { file: path.to_owned(), source };
        let written = Written {
            encoder: digest(encoder),
            zone: self.zone,
            lateness: self.lateness,
            newest: self.newest,
            late: self.late,
            features: self.kept(),
        };
        let bytes = postcard::to_stdvec(&written).map_err(|e| io(std::io::Error::other(e)))?;
        let packed = zstd::encode_all(&bytes[..], LEVEL).map_err(io)?;
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, [&MAGIC[..], &packed].concat()).and_then(|()| std::fs::rename(&beside, path)).map_err(io)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`DataError::State`]: no state, a damaged one, or that of another encoder.
    pub fn load(encoder: &Encoder, path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|source| DataError::Io { file: path.to_owned(), source })?;
        let problem = |problem: &'static str| DataError::State { file: path.to_owned(), problem };
        let packed = bytes.strip_prefix(&MAGIC[..]).ok_or_else(|| problem("is no state of this version"))?;
        let damaged = || problem("is damaged");
        let unpacked = zstd::decode_all(packed).map_err(|_| damaged())?;
        let written: Written = postcard::from_bytes(&unpacked).map_err(|_| damaged())?;
        if written.encoder != digest(encoder) {
            return Err(problem("belongs to another base"));
        }
        let lateness = written.lateness;
        let mut state = Self::new(encoder, written.zone, None);
        (state.lateness, state.newest, state.late) = (lateness, written.newest, written.late);
        state.restore(written.features).then_some(state).ok_or_else(damaged)
    }
}
