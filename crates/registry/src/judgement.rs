//! What the gate said of a version, each time it was asked.
//!
//! `KIND/NAME/judged/v000017.json` lies beside the versions, since a version never changes: it can be judged again, on later rows. It says of which manifest it
//! speaks, so that it is never taken for one of something else.

use serde::{Deserialize, Serialize};

use crate::alias::check_note;
use crate::{Digest, GateReport, RegistryError, json};

/// What the gate said of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// When, in Unix seconds.
    pub at: i64,
    /// Who has asked.
    pub by: String,
    /// SHA-256 of the manifest that was judged.
    pub digest: Digest,
    /// Identity of the base that it was compared with.
    pub base: Digest,
    /// On which rows.
    pub rows: String,
    /// What was found.
    pub report: GateReport,
    /// What a reader must know: rows that the base serves in the patch's place, rows that have chosen something.
    pub notes: Vec<String>,
}

/// The file: the latest last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Judgements {
    format: u32,
    pub(crate) judgements: Vec<Judgement>,
}

impl Judgement {
    /// Most of one version that are kept.
    pub const MOST: usize = 8;

    fn check(&self) -> Result<(), RegistryError> {
        check_note("who has asked", &self.by)?;
        check_note("the rows", &self.rows)?;
        let wrong = |problem: &str| Err(RegistryError::Draft { what: "judgement".to_owned(), problem: problem.to_owned() });
        // JSON has no such numbers: they would come back as none.
        let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
        if !self.report.slices.iter().all(|slice| finite(slice.gain) && finite(slice.low)) {
            return wrong("a gain is not a finite number");
        }
        self.report.config.validate()
    }
}

impl Judgements {
    pub(crate) const FORMAT: u32 = 1;
    /// Most bytes of the file.
    pub(crate) const LARGEST: u64 = 1 << 20;

    pub(crate) fn none() -> Self {
        Self { format: Self::FORMAT, judgements: Vec::new() }
    }

    pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let read: Self = json::read(path, bytes)?;
        if read.format == Self::FORMAT {
            Ok(read)
        } else {
            Err(RegistryError::Format { path: path.to_owned(), found: read.format, known: Self::FORMAT })
        }
    }

    /// The bytes with one more; the oldest go.
    pub(crate) fn with(mut self, judgement: Judgement) -> Result<Vec<u8>, RegistryError> {
        judgement.check()?;
        self.judgements.push(judgement);
        loop {
            let spare = self.judgements.len().saturating_sub(Judgement::MOST);
            self.judgements.drain(..spare);
            let bytes = json::written(&self);
            if bytes.len() as u64 <= Self::LARGEST {
                return Ok(bytes);
            }
            if self.judgements.len() == 1 {
                let problem = format!("it has {} bytes, at most {} are kept; protect fewer slices", bytes.len(), Self::LARGEST);
                return Err(RegistryError::Draft { what: "judgement".to_owned(), problem });
            }
            self.judgements.remove(0);
        }
    }
}
