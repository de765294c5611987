//! A state on disk.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize, Serializer};

use super::FeatureState;
use super::line::{Filled, Held, Kept, Line, List};
use super::live::{Kind, Step};
use super::met::Keys;
use crate::hash::sha256_hex;
use crate::{DataError, Encoder, Zone};

/// Begins every file; the digit is the version of what follows.
const MAGIC: &[u8; 8] = b"ACLSTAT1";

/// Level of zstd: the fastest that still halves what repeats.
const LEVEL: i32 = 3;

/// What a file holds beside the magic.
#[derive(Serialize, Deserialize)]
struct Written<F> {
    /// SHA-256 of the encoder as JSON: what is kept means nothing with another.
    encoder: String,
    zone: Zone,
    lateness: i64,
    newest: i64,
    late: u64,
    features: Vec<F>,
}

/// What is kept of one feature, key by key in the order of the keys, so that equal states are equal files; under each key what is kept of all domains (0) or of
/// each.
#[derive(Serialize, Deserialize)]
enum WrittenFeature<L, S> {
    History(L),
    Statistic(Vec<S>),
}

/// Entries as they are read.
type Read<T> = Vec<(u128, Vec<(u128, T)>)>;

/// Entries as they are written, from where they are kept.
struct Entries<'a, T> {
    /// The keys in their order.
    sorted: &'a [(u128, u32)],
    kept: &'a Kept<T>,
}

impl<T: Filled + Serialize> Serialize for Entries<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = self.sorted.iter().map(|&(key, number)| (key, self.kept.of(Some(number))));
        let filled: Vec<(u128, Held<'_, T>)> = all.filter(|(_, held)| !held.is_empty()).collect();
        serializer.collect_seq(filled)
    }
}

/// Takes back what was kept; `false` where domains are kept apart and should not be.
fn restore<T: Filled>(keys: &mut Keys, kept: &mut Kept<T>, new: impl Fn() -> T, read: Read<T>) -> bool {
    let is_whole = matches!(kept, Kept::Whole(_));
    read.into_iter().all(|(key, places)| {
        let fits = !is_whole || matches!(places[..], [(0, _)]);
        let number = keys.number(key);
        places.into_iter().for_each(|(place, value)| *kept.reach(number, place, &new) = value);
        fits
    })
}

impl FeatureState {
    /// SHA-256 of an encoder as JSON: what tells the states of one set of features from those of another.
    #[must_use]
    pub fn spec(encoder: &Encoder) -> String {
        sha256_hex(&serde_json::to_string(encoder).expect("an encoder is plain data"))
    }

    /// Its bytes, as a file holds them, under the [spec](Self::spec) of its encoder. Equal states are equal bytes.
    ///
    /// # Errors
    /// There is no memory for them.
    pub fn to_bytes(&self, spec: &str) -> std::io::Result<Vec<u8>> {
        let sorted: Vec<Vec<(u128, u32)>> = self.keys.iter().map(Keys::sorted).collect();
        let features = self.features.iter().map(|feature| match &feature.kind {
            Kind::History { keys, lists, .. } => WrittenFeature::History(Entries { sorted: &sorted[*keys], kept: lists }),
            Kind::Statistic { steps, .. } => {
                let entries = steps.iter().map(|Step { keys, lines, .. }| Entries { sorted: &sorted[*keys], kept: lines });
                WrittenFeature::Statistic(entries.collect())
            }
        });
        let written = Written {
            encoder: spec.to_owned(),
            zone: self.zone,
            lateness: self.lateness,
            newest: self.newest,
            late: self.late,
            features: features.collect(),
        };
        let bytes = postcard::to_stdvec(&written).map_err(std::io::Error::other)?;
        let packed = zstd::encode_all(&bytes[..], LEVEL)?;
        Ok([&MAGIC[..], &packed].concat())
    }

    /// Reads its bytes back.
    ///
    /// # Errors
    /// What is wrong with them: no state, a damaged one, or that of another encoder.
    pub fn from_bytes(encoder: &Encoder, spec: &str, bytes: &[u8]) -> Result<Self, &'static str> {
        let packed = bytes.strip_prefix(&MAGIC[..]).ok_or("is no state of this version")?;
        let damaged = "is damaged";
        let unpacked = zstd::decode_all(packed).map_err(|_| damaged)?;
        let written: Written<WrittenFeature<Read<List>, Read<Line>>> = postcard::from_bytes(&unpacked).map_err(|_| damaged)?;
        if written.encoder != spec {
            return Err("belongs to another base");
        }
        let mut state = Self::new(encoder, written.zone, None);
        (state.lateness, state.newest, state.late) = (written.lateness, written.newest, written.late);
        state.restore(written.features).then_some(state).ok_or(damaged)
    }

    /// Writes it to a file, beside it first, so that an interruption leaves the old file or the new one.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self, encoder: &Encoder, path: &Path) -> Result<(), DataError> {
        let io = |source| DataError::Io { file: path.to_owned(), source };
        let bytes = self.to_bytes(&Self::spec(encoder)).map_err(io)?;
        // Appended to the whole name: siblings that differ only in their extension may be written at the same time.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".tmp{}", std::process::id()));
        let beside = path.with_file_name(name);
        let written = std::fs::File::create(&beside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        written.and_then(|()| std::fs::rename(&beside, path)).map_err(|source| {
            let _ = std::fs::remove_file(&beside);
            io(source)
        })
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`DataError::State`]: no state, a damaged one, or that of another encoder.
    pub fn load(encoder: &Encoder, path: &Path) -> Result<Self, DataError> {
        let bytes = std::fs::read(path).map_err(|source| DataError::Io { file: path.to_owned(), source })?;
        let problem = |problem: &'static str| DataError::State { file: path.to_owned(), problem };
        Self::from_bytes(encoder, &Self::spec(encoder), &bytes).map_err(problem)
    }

    /// Takes back what was kept; `false` where it is not that of these features.
    fn restore(&mut self, read: Vec<WrittenFeature<Read<List>, Read<Line>>>) -> bool {
        let fits = read.len() == self.features.len();
        fits && self.features.iter_mut().zip(read).all(|(feature, read)| match (&mut feature.kind, read) {
            (Kind::History { keys, lists, .. }, WrittenFeature::History(read)) => {
                restore(&mut self.keys[*keys], lists, List::default, read)
            }
            (Kind::Statistic { tally, steps, .. }, WrittenFeature::Statistic(read)) => {
                let mut lines = read.iter().flatten().flat_map(|(_, places)| places);
                let fits = read.len() == steps.len() && lines.all(|(_, line)| line.settled.is_of(*tally));
                fits && steps
                    .iter_mut()
                    .zip(read)
                    .all(|(Step { keys, lines, .. }, read)| restore(&mut self.keys[*keys], lines, || Line::new(*tally), read))
            }
            _ => false,
        })
    }
}
