//! A base on disk: a folder with `base.safetensors` (network and values; `model.safetensors` in a registry), `encoder.json` (vocabularies and scales) and
//! `run.json` (how it was made).

use std::path::{Path, PathBuf};

use acclimate_data::{DatasetConfig, Encoder, FeatureKind, RawDataset, SplitConfig, UnknownShare};
use acclimate_eval::Cost;
use acclimate_model::Base;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::lab::create_folder;
use crate::sequences::{SEQUENCES, SequenceFile};
use crate::source::digest_text;
use crate::state::StateMode;

const BASE: &str = "base.safetensors";
/// The same in a registry.
const PUBLISHED: &str = "model.safetensors";
const ENCODER: &str = "encoder.json";
pub(crate) const RUN: &str = "run.json";

/// How a base was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunRecord {
    /// Name of the run.
    pub name: String,
    /// Digest of everything that decided its values.
    pub key: String,
    /// What it cost.
    pub cost: Cost,
    /// Identity of the base.
    pub base: String,
    /// SHA-256 of the encoder.
    pub encoder: String,
    /// SHA-256 of what says how sequences are read; empty for a base of rows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sequences: String,
    /// The data-set file.
    pub dataset: Option<PathBuf>,
    /// The split whose part `train` it was trained on.
    pub split: Option<SplitConfig>,
    /// Which rows its features of earlier rows are made of.
    pub state: StateMode,
    /// Domains that the base must not know: their domain features are read as the unknown.
    pub unseen: Vec<String>,
    /// For how many epochs it learned, where validation rows have chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Seed.
    pub seed: u64,
    /// Version of the program.
    pub version: String,
}

/// A base with what it takes to read data for it.
#[derive(Clone, Debug)]
pub struct SavedBase {
    /// The base.
    pub base: Base,
    /// How its data is encoded.
    pub encoder: Encoder,
    /// How it was made.
    pub record: RunRecord,
    /// How sequences are read for it; none for a base of rows.
    pub(crate) sequences: Option<SequenceFile>,
}

impl SavedBase {
    /// How much of each feature the base has not met in training, domains that were kept from it included.
    ///
    /// # Errors
    /// The data has other features.
    pub fn unknown_shares(&self, config: &DatasetConfig, raw: &RawDataset, rows: &[u32]) -> Result<Vec<UnknownShare>, ExperimentError> {
        let mut shares = self.encoder.unknown_shares(raw, rows)?;
        let (domains, log) = (&raw.dataset().domains, &raw.dataset().log);
        // The encoder knows these as well: it was fitted on the whole log.
        let is_unseen: Vec<bool> = domains.iter().map(|domain| self.record.unseen.contains(domain)).collect();
        let hidden = rows.iter().filter(|&&row| is_unseen[log.domain[row as usize].at()]).count();
        let unseen: Vec<&String> = domains.iter().zip(&is_unseen).filter(|&(_, &unseen)| unseen).map(|(domain, _)| domain).collect();
        let is_domain =
            |share: &&mut UnknownShare| config.features.iter().any(|f| f.kind == FeatureKind::Domain && f.name == share.feature);
        for share in shares.iter_mut().filter(is_domain) {
            share.unknown += hidden as u64;
            share.unknown_examples.extend(unseen.iter().map(|&domain| domain.clone()));
            share.known_examples.retain(|domain| !unseen.contains(&domain));
        }
        Ok(shares)
    }

    /// Writes all files.
    ///
    /// # Errors
    /// The folder can not be written.
    pub fn save(&self, folder: &Path) -> Result<(), ExperimentError> {
        create_folder(folder)?;
        self.base.save(&folder.join(BASE))?;
        write_json(&folder.join(ENCODER), &self.encoder)?;
        if let Some(sequences) = &self.sequences {
            sequences.write(folder)?;
        }
        write_json(&folder.join(RUN), &self.record)
    }

    /// Whether a data-set file is the one that the base was trained on, however it is named.
    pub(crate) fn is_made_of(&self, file: &Path) -> bool {
        let own = self.record.dataset.as_deref().and_then(|own| own.canonicalize().ok());
        own.zip(file.canonicalize().ok()).is_some_and(|(own, file)| own == file)
    }

    /// Whether it reads sequences, and not rows one by one.
    #[must_use]
    pub fn reads_sequences(&self) -> bool {
        self.sequences.is_some()
    }

    /// The file of a folder that holds the network and its values.
    ///
    /// # Errors
    /// There is none.
    pub fn values_in(folder: &Path) -> Result<PathBuf, ExperimentError> {
        Ok(folder.join(values_file(folder)?))
    }

    /// Reads all files, of a folder that `pretrain` wrote or of a version in a registry.
    ///
    /// # Errors
    /// The folder holds no base, or a damaged one.
    pub fn load(folder: &Path) -> Result<Self, ExperimentError> {
        let values = values_file(folder)?;
        let base = Base::load(&folder.join(values))?;
        let (encoder, record): (Encoder, RunRecord) = (read_json(&folder.join(ENCODER))?, read_json(&folder.join(RUN))?);
        // Another encoder of the same sizes would score without complaint, and wrongly.
        for (file, named, found) in [(values, &record.base, base.hash()), (ENCODER, &record.encoder, digest(&encoder))] {
            if *named != found {
                let problem =
                    format!("{file} is {found}, but {RUN} names {named}: the files belong to different bases; make the base again");
                return Err(ExperimentError::Artifact { path: folder.into(), problem });
            }
        }
        let sequences = SequenceFile::load(folder)?;
        let found = sequences.as_ref().map(SequenceFile::digest).unwrap_or_default();
        if record.sequences != found {
            let problem =
                format!("{RUN} names another {SEQUENCES} than the folder has: the files belong to different bases; make the base again");
            return Err(ExperimentError::Artifact { path: folder.into(), problem });
        }
        Ok(Self { base, encoder, record, sequences })
    }
}

fn values_file(folder: &Path) -> Result<&'static str, ExperimentError> {
    [BASE, PUBLISHED].into_iter().find(|file| folder.join(file).exists()).ok_or_else(|| {
        let problem = format!("holds no {BASE}; make a base with `acclimate pretrain`");
        ExperimentError::Artifact { path: folder.into(), problem }
    })
}

/// Puts what says how sequences are read beside a base, and names it in its record.
///
/// # Errors
/// A file can not be read or written.
pub(crate) fn complete_sequences(folder: &Path, file: &SequenceFile) -> Result<(), ExperimentError> {
    let mut record: RunRecord = read_json(&folder.join(RUN))?;
    record.sequences = file.digest();
    file.write(folder)?;
    write_json(&folder.join(RUN), &record)
}

/// Adds the encoder to a base whose key names it, and to its record what `change` says.
///
/// # Errors
/// A file can not be read or written.
pub fn complete(folder: &Path, encoder: &Encoder, change: impl FnOnce(&mut RunRecord)) -> Result<(), ExperimentError> {
    let mut record: RunRecord = read_json(&folder.join(RUN))?;
    change(&mut record);
    record.encoder = digest(encoder);
    write_json(&folder.join(ENCODER), encoder)?;
    write_json(&folder.join(RUN), &record)
}

pub(crate) fn digest(encoder: &Encoder) -> String {
    digest_text(&serde_json::to_string(encoder).expect("an encoder is plain data"))
}

/// Saves a base under its key; the record's own identity and version are filled in.
pub(crate) fn save_keyed(folder: &Path, base: &Base, record: RunRecord) -> Result<(), ExperimentError> {
    create_folder(folder)?;
    // A record never stands beside a base that it does not describe, whenever this is cut off.
    let _ = std::fs::remove_file(folder.join(RUN));
    base.save(&folder.join(BASE))?;
    // The record comes last: a folder with a record is complete.
    write_json(&folder.join(RUN), &RunRecord { base: base.hash(), version: env!("CARGO_PKG_VERSION").into(), ..record })
}

pub(crate) fn load_keyed(folder: &Path, key: &str) -> Result<Option<(Base, Cost)>, ExperimentError> {
    if !folder.join(RUN).exists() {
        return Ok(None);
    }
    let record: RunRecord = read_json(&folder.join(RUN))?;
    if record.key != key {
        return Ok(None);
    }
    Ok(Some((Base::load(&folder.join(BASE))?, record.cost)))
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ExperimentError> {
    let io = |source| ExperimentError::Io { path: path.into(), source };
    let text = serde_json::to_string_pretty(value).map_err(|e| io(e.into()))?;
    // Written beside and renamed, so that an interruption leaves the old file or the new one.
    let beside = path.with_extension("json.tmp");
    std::fs::write(&beside, text + "\n").and_then(|()| std::fs::rename(&beside, path)).map_err(io)
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ExperimentError> {
    let text = std::fs::read_to_string(path).map_err(|source| ExperimentError::Io { path: path.into(), source })?;
    serde_json::from_str(&text)
        .map_err(|e| ExperimentError::Artifact { path: path.into(), problem: format!("is damaged ({e}); make the base again") })
}
