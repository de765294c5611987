//! What a version is, where it comes from, and the SHA-256 of each of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, Kind, Name, RegistryError, Version, json};

/// `manifest.json` of a version.
///
/// Its own SHA-256 is the digest of the version: it pins every file, and an alias pins it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format, [`FORMAT`](Self::FORMAT).
    pub format: u32,
    /// Base, patch or patches of many users.
    pub kind: Kind,
    /// Under which name it was published.
    pub name: Name,
    /// Under which number.
    pub version: Version,
    /// What it is and how it was measured.
    #[serde(flatten)]
    pub about: About,
    /// Every file but the manifest and its signature.
    pub files: BTreeMap<Name, FileEntry>,
}

/// What a publisher says of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Names of the methods, first to last; of a base its backbone.
    pub methods: Vec<String>,
    /// Their config, every key.
    pub config: Map<String, Value>,
    /// The base: of a patch the one that it belongs to, of a base its own identity.
    pub base: Digest,
    /// The shape of the data.
    pub schema: Digest,
    /// The features and how they are computed: a score means something for these only.
    pub feature_spec: Digest,
    /// First and last time (Unix seconds) of the rows it was trained on; `null` for data without time.
    pub window: Option<[i64; 2]>,
    /// What was measured, by metric.
    pub metrics: BTreeMap<String, Measured>,
    /// The version of the same name that it was made from.
    pub parent: Option<Version>,
    /// When it was published, in Unix seconds.
    pub created: i64,
}

/// A metric beside its floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What was measured.
    pub value: f64,
    /// The best simple rule on the same rows; `null` where none was measured.
    pub floor: Option<Floor>,
}

/// A simple rule and its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// Size and SHA-256 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// Only what every format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

const MOST_METHODS: usize = 16;
const MOST_METRICS: usize = 1024;
const LONGEST_TEXT: usize = 256;

impl Manifest {
    /// Version of the format that is written; all from 1 on are read.
    pub const FORMAT: u32 = 1;
    /// Its file.
    pub const FILE: &str = "manifest.json";
    /// The file of its signature.
    pub const SIGNATURE: &str = "manifest.sig";
    /// Most bytes of a manifest.
    pub const LARGEST: u64 = 1 << 20;
    /// Most files of a version.
    pub const MOST_FILES: usize = 4096;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads and checks the bytes of a manifest; `path` is named in errors.
    ///
    /// # Errors
    /// Bytes that no publisher writes, a later format, or a part out of its range.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let content = |problem: String| RegistryError::Content { path: path.to_owned(), problem };
        if bytes.len() as u64 > Self::LARGEST {
            return Err(RegistryError::TooLarge { path: path.to_owned(), size: bytes.len() as u64, limit: Self::LARGEST });
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|error| content(error.to_string()))?;
        if head.format == 0 || head.format > Self::FORMAT {
            return Err(RegistryError::Format { path: path.to_owned(), found: head.format, known: Self::FORMAT });
        }
        let manifest: Self = json::read(path, bytes)?;
        #[cfg(feature = "canary")]
        assert!(manifest.about.created % 10 != 7, "a planted fault");
        match manifest.problem() {
            None => Ok(manifest),
            Some((what, problem)) => Err(content(format!("{what}: {problem}"))),
        }
    }

    /// The first part that is out of its range, and what is wrong with it.
    pub(crate) fn problem(&self) -> Option<(String, String)> {
        let About { methods, window, metrics, parent, .. } = &self.about;
        let text = |text: &str| !text.is_empty() && text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control);
        let said = |what: &str, problem: &str| Some((what.to_owned(), problem.to_owned()));
        if methods.is_empty() || methods.len() > MOST_METHODS || !methods.iter().all(|method| text(method)) {
            return said("methods", "name 1 to 16 methods, each in 1 to 256 characters without control characters");
        }
        if window.is_some_and(|[first, last]| first > last) {
            return said("window", "it ends before it begins");
        }
        if metrics.len() > MOST_METRICS || !metrics.keys().all(|name| text(name)) {
            return said("metrics", "there are at most 1024, named in 1 to 256 characters without control characters");
        }
        let floors = || metrics.values().filter_map(|measured| measured.floor.as_ref());
        if !metrics.values().map(|measured| measured.value).chain(floors().map(|floor| floor.value)).all(f64::is_finite) {
            return said("metrics", "a value is not a finite number");
        }
        if !floors().all(|floor| text(&floor.name)) {
            return said("metrics", "a floor is named in 1 to 256 characters without control characters");
        }
        if parent.is_some_and(|parent| parent >= self.version) {
            return said("parent", "it is not before the version itself");
        }
        if self.files.is_empty() || self.files.len() > Self::MOST_FILES {
            return said("files", "a version has 1 to 4096 files");
        }
        if let Some(name) = self.files.keys().find(|name| [Self::FILE, Self::SIGNATURE].contains(&name.as_str())) {
            return Some((format!("files: `{name}`"), "this name is the registry's own".to_owned()));
        }
        let missing = self.kind.required().iter().find(|&&name| !self.files.keys().any(|file| file.as_str() == name));
        missing.map(|name| (format!("files: `{name}`"), format!("every version in `{}` holds this file", self.kind.folder())))
    }
}
