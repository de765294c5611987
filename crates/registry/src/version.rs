//! What is published, and under which number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RegistryError;

/// What a version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A base: `bases/NAME/`.
    Base,
    /// A named patch: `patches/NAME/`.
    Patch,
    /// Patches of many users: `segments/NAME/`.
    Segments,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Base, Self::Patch, Self::Segments];

    /// The folder in which versions of the kind lie.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Base => "bases",
            Self::Patch => "patches",
            Self::Segments => "segments",
        }
    }

    /// Files that every version of the kind holds.
    #[must_use]
    pub fn required(self) -> &'static [&'static str] {
        match self {
            Self::Base => &["model.safetensors"],
            Self::Patch => &["adapter_model.safetensors", "adapter_config.json"],
            Self::Segments => &["index.json"],
        }
    }
}

/// Number of a version: 1, 2, ... of each name, written `v000001`. A number is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(u32);

impl Version {
    /// The first.
    pub const FIRST: Self = Self(1);

    /// A version from its number, which is at least 1.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The one after it; `None` after the last number there is.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{:06}", self.0)
    }
}

impl FromStr for Version {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let number = text.strip_prefix('v').and_then(|digits| digits.parse().ok()).and_then(Self::new);
        // Only one way to write it: `v17` and `v+00017` are no versions.
        let exact = number.filter(|version| version.to_string() == text);
        exact.ok_or_else(|| RegistryError::Version { found: text.chars().take(80).collect() })
    }
}

impl TryFrom<String> for Version {
    type Error = RegistryError;

    fn try_from(text: String) -> Result<Self, RegistryError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_in_one_way() {
        for number in [1, 17, 999_999, 1_000_000, u32::MAX] {
            let version = Version::new(number).unwrap();
            assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        }
        for wrong in ["v000000", "v17", "17", "v0000017", "v+00017", "v-00001", "v4294967296", "V000001", ""] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }
}
