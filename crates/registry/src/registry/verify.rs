//! Whether what lies there is what was published.

use super::judged::judged_file;
use super::{Registry, Stored, place};
use crate::{Kind, Manifest, Name, RegistryError, Version};

/// Something that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// Where: a version, an alias or the routes.
    pub path: String,
    /// What.
    pub error: RegistryError,
}

impl Registry {
    /// Hashes every file of a version and checks its signature.
    ///
    /// # Errors
    /// It is not there, a file is missing, damaged or one too many, or the policy asks for a signature that it does not have.
    pub fn verify(&self, kind: Kind, name: &Name, version: Version) -> Result<Stored, RegistryError> {
        let stored = self.show(kind, name, version)?;
        let place = place(kind, name, version);
        let own = |name: &str| name == Manifest::FILE || name == Manifest::SIGNATURE;
        let listed = |name: &str| stored.manifest.files.keys().any(|file| file.as_str() == name);
        if let Some(entry) =
            self.folder.list(&place)?.into_iter().find(|entry| entry.is_folder || !(own(&entry.name) || listed(&entry.name)))
        {
            return Err(RegistryError::Files { path: format!("{place}/{}", entry.name), problem: "is not in the manifest" });
        }
        for (file, entry) in &stored.manifest.files {
            let path = format!("{place}/{file}");
            let (size, found) = match self.folder.digest(&path) {
                Err(error) if error.is_absent() => {
                    return Err(RegistryError::Files { path, problem: "is in the manifest and not there" });
                }
                read => read?,
            };
            if (size, found) != (entry.size, entry.sha256) {
                return Err(RegistryError::Damaged { path, expected: entry.sha256, found });
            }
        }
        Ok(stored)
    }

    /// Verifies every version, that every alias names one, and that every route leads to an alias; what is wrong, in the order of the paths.
    ///
    /// # Errors
    /// The system refuses to list.
    pub fn verify_all(&self) -> Result<Vec<Finding>, RegistryError> {
        let mut findings = Vec::new();
        let mut find = |path: String, error: RegistryError| findings.push(Finding { path, error });
        for kind in Kind::ALL {
            for name in self.names(kind)? {
                for version in self.versions(kind, &name)? {
                    if let Err(error) = self.verify(kind, &name, version) {
                        find(place(kind, &name, version), error);
                    }
                    if let Err(error) = self.judged(kind, &name, version) {
                        find(judged_file(kind, &name, version), error);
                    }
                }
                let aliases = match self.aliases(kind, &name) {
                    Ok(aliases) => aliases,
                    Err(error) => {
                        find(format!("{}/{name}/aliases", kind.folder()), error);
                        continue;
                    }
                };
                for (alias, pointer) in aliases {
                    for target in pointer.earlier.iter().chain([&pointer.target]) {
                        let path = || format!("{}/{name}/aliases/{alias}.json", kind.folder());
                        match self.show(kind, &name, target.version) {
                            Ok(stored) if stored.digest == target.digest => {}
                            Ok(stored) => {
                                find(path(), RegistryError::Damaged { path: path(), expected: target.digest, found: stored.digest });
                            }
                            Err(error) => find(path(), error),
                        }
                    }
                }
            }
        }
        match self.routes() {
            Err(error) => find("routes.json".to_owned(), error),
            Ok(routes) => routes.domains.keys().for_each(|domain| {
                if let Err(error) = self.resolve(domain) {
                    find(format!("routes.json, domain `{domain}`"), error);
                }
            }),
        }
        Ok(findings)
    }
}
