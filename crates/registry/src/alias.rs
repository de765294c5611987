//! Aliases: tiny pointers to versions, and the only thing that moves.

use serde::{Deserialize, Serialize};

use crate::{Digest, Kind, Name, RegistryError, Verdict, Version, json};

/// Where an alias points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Version of this format.
    pub format: u32,
    /// What it points to.
    #[serde(flatten)]
    pub target: PointerTarget,
    /// 1 for the first move, one more with every move, backwards too: who has seen it can tell whether it has moved since.
    pub generation: u64,
    /// Who moved it.
    pub updated_by: String,
    /// Why.
    pub reason: String,
    /// What it named before, the latest last: this is where it can go back to. At most [`EARLIER`](Self::EARLIER).
    pub earlier: Vec<PointerTarget>,
}

/// A version, the digest of its manifest, and what the gate said when an alias was moved to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerTarget {
    /// The version.
    pub version: Version,
    /// SHA-256 of its manifest.
    pub digest: Digest,
    /// What the gate said.
    pub verdict: Verdict,
    /// Whether it was moved here against the gate.
    pub forced: bool,
}

impl Pointer {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;
    /// Most versions that an alias remembers.
    pub const EARLIER: usize = 8;
    /// Most bytes of a pointer.
    pub const LARGEST: u64 = 1 << 16;

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads the bytes of a pointer; `path` is named in errors.
    ///
    /// # Errors
    /// Bytes that nobody writes, or another format.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let pointer: Self = json::read(path, bytes)?;
        if pointer.format == Self::FORMAT {
            Ok(pointer)
        } else {
            Err(RegistryError::Format { path: path.to_owned(), found: pointer.format, known: Self::FORMAT })
        }
    }

    /// The same pointer to something else; what it names now can be gone back to.
    pub(crate) fn moved(before: Option<&Self>, target: PointerTarget, by: &str, reason: &str) -> Self {
        let mut earlier = before.map_or_else(Vec::new, |pointer| pointer.earlier.clone());
        earlier.extend(before.map(|pointer| pointer.target.clone()));
        earlier.drain(..earlier.len().saturating_sub(Self::EARLIER));
        let generation = before.map_or(0, |pointer| pointer.generation) + 1;
        Self { format: Self::FORMAT, target, generation, updated_by: by.to_owned(), reason: reason.to_owned(), earlier }
    }

    /// The same pointer to what it named before; `None` if that is nothing.
    pub(crate) fn moved_back(&self, by: &str, reason: &str) -> Option<Self> {
        let mut earlier = self.earlier.clone();
        let target = earlier.pop()?;
        let (generation, updated_by, reason) = (self.generation + 1, by.to_owned(), reason.to_owned());
        Some(Self { format: Self::FORMAT, target, generation, updated_by, reason, earlier })
    }
}

/// A wish to move an alias.
#[derive(Clone, Debug)]
pub struct AliasMove {
    /// Of a base, a patch or patches of many users.
    pub kind: Kind,
    /// Of which.
    pub name: Name,
    /// The alias: `champion`, `challenger`, or any other name.
    pub alias: Name,
    /// Where to.
    pub version: Version,
    /// The generation that the caller has seen; 0 for an alias that is new.
    pub expected: u64,
    /// Who moves it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What the gate said of the version; [`Verdict::Ungated`] if nobody asked it.
    pub verdict: Verdict,
    /// Whether to move it even if the gate does not let it through. It is written into the pointer.
    pub force: bool,
}

/// The text that says who and why, checked.
pub(crate) fn check_note(what: &str, text: &str) -> Result<(), RegistryError> {
    if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
        let problem = "write 1 to 1024 bytes without control characters".to_owned();
        return Err(RegistryError::Draft { what: what.to_owned(), problem });
    }
    Ok(())
}
