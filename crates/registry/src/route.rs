//! Routes: which patch answers for a domain. They are data, since a patch's strict name is not the domain's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Name, RegistryError, json};

/// `routes.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// Version of this format.
    pub format: u32,
    /// One more with every change.
    pub generation: u64,
    /// Who made the last change.
    pub updated_by: String,
    /// Why.
    pub reason: String,
    /// The route of each domain, by the domain's own name, such as `tab=1`.
    pub domains: BTreeMap<String, Route>,
}

/// Where a domain goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The patch.
    pub patch: Name,
    /// Its alias.
    pub alias: Name,
}

impl Routes {
    /// Version of the format that is written.
    pub const FORMAT: u32 = 1;
    /// Its file.
    pub const FILE: &str = "routes.json";
    /// Most bytes of the file.
    pub const LARGEST: u64 = 64 << 20;
    /// Most bytes of a domain's name.
    pub const LONGEST: usize = 256;

    /// No route yet.
    #[must_use]
    pub fn none() -> Self {
        Self { format: Self::FORMAT, generation: 0, updated_by: String::new(), reason: String::new(), domains: BTreeMap::new() }
    }

    /// Their bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        json::written(self)
    }

    /// Reads the bytes of routes; `path` is named in errors.
    ///
    /// # Errors
    /// Bytes that nobody writes, or another format.
    pub fn read(path: &str, bytes: &[u8]) -> Result<Self, RegistryError> {
        let routes: Self = json::read(path, bytes)?;
        if routes.format != Self::FORMAT {
            return Err(RegistryError::Format { path: path.to_owned(), found: routes.format, known: Self::FORMAT });
        }
        routes.domains.keys().try_for_each(|domain| check_domain(domain))?;
        Ok(routes)
    }
}

/// A domain's name may be any text that fits in a line.
pub(crate) fn check_domain(domain: &str) -> Result<(), RegistryError> {
    if domain.is_empty() || domain.len() > Routes::LONGEST || domain.chars().any(char::is_control) {
        let what = format!("domain `{}`", domain.chars().take(80).collect::<String>());
        return Err(RegistryError::Draft { what, problem: "name it in 1 to 256 bytes without control characters".to_owned() });
    }
    Ok(())
}
