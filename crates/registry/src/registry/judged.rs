//! What the gate said of versions.

use super::audit::digest_of;
use super::{JUDGED, Registry, shelf, temporary};
use crate::judgement::Judgements;
use crate::{AuditEvent, Digest, Judgement, Kind, Name, RegistryError, Stored, Version};

impl Registry {
    /// Every time that the gate was asked of a version, the latest last; at most [`Judgement::MOST`].
    ///
    /// # Errors
    /// Their file can not be read.
    pub fn judged(&self, kind: Kind, name: &Name, version: Version) -> Result<Vec<Judgement>, RegistryError> {
        Ok(self.judgements(kind, name, version)?.judgements)
    }

    fn judgements(&self, kind: Kind, name: &Name, version: Version) -> Result<Judgements, RegistryError> {
        let path = judged_file(kind, name, version);
        let bytes = self.folder.read_if_there(&path, Judgements::LARGEST)?;
        bytes.map_or_else(|| Ok(Judgements::none()), |bytes| Judgements::read(&path, &bytes))
    }

    /// Keeps what the gate said of a version. No alias moves by it.
    ///
    /// # Errors
    /// The version is not there or has another manifest than the one that was judged, or the system refuses.
    pub fn record(&self, kind: Kind, name: &Name, version: Version, judgement: Judgement) -> Result<(), RegistryError> {
        let _held = self.folder.lock()?;
        let stored = self.show(kind, name, version)?;
        let path = judged_file(kind, name, version);
        if stored.digest != judgement.digest {
            return Err(RegistryError::Damaged { path, expected: judgement.digest, found: stored.digest });
        }
        let (by, reason) = (judgement.by.clone(), format!("judged on {}", judgement.rows));
        let verdict = judgement.report.verdict;
        let event =
            AuditEvent::Judged { kind, name: name.clone(), version, digest: stored.digest, verdict, judgement: digest_of(&judgement) };
        let bytes = self.judgements(kind, name, version)?.with(judgement)?;
        self.log(&by, &reason, event)?;
        self.folder.create_folders(&format!("{}/{JUDGED}", shelf(kind, name)))?;
        self.folder.replace(&path, &temporary(&path), &bytes)
    }

    /// The latest base of an identity; `None` where there is none.
    ///
    /// # Errors
    /// The system refuses, or the policy asks for a signature that it does not have.
    pub fn base_of(&self, base: Digest) -> Result<Option<Stored>, RegistryError> {
        for name in self.names(Kind::Base)? {
            for version in self.versions(Kind::Base, &name)?.into_iter().rev() {
                if self.facts(Kind::Base, &name, version)?.is_some_and(|facts| facts.base == base) {
                    return self.show(Kind::Base, &name, version).map(Some);
                }
            }
        }
        Ok(None)
    }
}

pub(super) fn judged_file(kind: Kind, name: &Name, version: Version) -> String {
    format!("{}/{JUDGED}/{version}.json", shelf(kind, name))
}
