//! Names of bases, patches, aliases and files: what may stand in a path.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::RegistryError;

/// A name: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// It is one part of a path and never leads out of its folder: no separator, no leading dot, no case that a file system could fold, no character beyond ASCII.
///
/// ```
/// use acclimate_registry::Name;
/// assert!("movies-lora.v2".parse::<Name>().is_ok());
/// for hostile in ["", "..", ".hidden", "a/b", "A", "ü", "-rf", "a\0"] {
///     assert!(hostile.parse::<Name>().is_err());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Most characters of a name.
    pub const LONGEST: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is wrong with a name, if anything.
fn problem(text: &str) -> Option<&'static str> {
    let bytes = text.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match bytes.first() {
        None => Some("it is empty"),
        Some(first) if !plain(first) => Some("it does not begin with a lower-case letter or a digit"),
        Some(_) if bytes.len() > Name::LONGEST => Some("it has more than 64 characters"),
        Some(_) if !bytes.iter().all(|byte| plain(byte) || b"._-".contains(byte)) => {
            Some("it holds something else than lower-case letters, digits, dots, underscores and hyphens")
        }
        Some(_) => None,
    }
}

impl FromStr for Name {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        match problem(text) {
            None => Ok(Self(text.to_owned())),
            // A hostile name may be long: its beginning tells enough.
            Some(problem) => Err(RegistryError::Name { found: text.chars().take(80).collect(), problem }),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = RegistryError;

    fn try_from(text: String) -> Result<Self, RegistryError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_what_the_pattern_says(text in "[a-z0-9._/ A-Zü-]{0,70}") {
            let mut chars = text.chars();
            let head = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let expected = chars.next().is_some_and(head) && text.len() <= 64 && chars.all(|c| head(c) || "._-".contains(c));
            prop_assert_eq!(text.parse::<Name>().is_ok(), expected);
        }
    }

    #[test]
    fn a_name_in_json_is_checked() {
        assert!(serde_json::from_str::<Name>("\"champion\"").is_ok());
        assert!(serde_json::from_str::<Name>("\"../champion\"").unwrap_err().to_string().contains("is no name"));
    }
}
