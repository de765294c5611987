//! Publishing: a version appears whole and durable, or not at all.
//!
//! Steps: a temporary folder beside the versions; each file written and synced; under the lock the manifest with the next free number; the temporary folder
//! synced, renamed to its number, and its parent synced. A reader sees nothing before the renaming and everything after it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::{Registry, Stored, place, shelf, temporary};
use crate::invariant::{self, Facts};
use crate::manifest::{About, FileEntry};
use crate::{
    AdapterConfig, Digest, Kind, Manifest, Name, RegistryError, Signer, TensorLimits, TensorSpec, Version, check_tensors, json, segment,
    signature,
};

/// The bytes of a file that is to be published.
#[derive(Clone, Debug)]
pub enum Content {
    /// As they are.
    Bytes(Vec<u8>),
    /// Those of a file, which is read while it is published.
    File(PathBuf),
}

/// A version that is to be published.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// What is said of it.
    pub about: About,
    /// Its files.
    pub files: BTreeMap<Name, Content>,
    /// What each tensor file must hold, where the caller can derive it from the base; other tensor files are checked without.
    pub expected: BTreeMap<Name, BTreeMap<String, TensorSpec>>,
}

impl Registry {
    /// Publishes a version under the next free number. Its tensor files pass the [strict look](check_tensors) first.
    ///
    /// # Errors
    /// A draft that is incomplete, a tensor file that is refused, a patch whose base is not there, or the system refuses. Nothing is published then, unless the system refused the very last step, once the
    /// version was in its place: then it may be there.
    pub fn publish(&self, draft: &Draft, signer: Option<&Signer>) -> Result<Stored, RegistryError> {
        if let Some(unknown) = draft.expected.keys().find(|name| !draft.files.contains_key(name)) {
            let problem = "its tensors are said, and it is not among the files".to_owned();
            return Err(RegistryError::Draft { what: format!("`{unknown}`"), problem });
        }
        // What is wrong with the draft is said before anything is written.
        let nothing = FileEntry { size: 0, sha256: Digest::of(b"") };
        let entries = draft.files.keys().map(|name| (name.clone(), nothing)).collect();
        let last = Version::new(u32::MAX).unwrap_or(Version::FIRST);
        checked(draft.manifest(last, entries))?;
        self.folder.create_folders(&shelf(draft.kind, &draft.name))?;
        let temporary = temporary(&place(draft.kind, &draft.name, Version::FIRST));
        self.folder.create_folder(&temporary)?;
        self.publish_from(draft, signer, &temporary).inspect_err(|_| {
            // What can not be cleared away is collected later.
            let _ = self.clear(&temporary);
        })
    }

    fn publish_from(&self, draft: &Draft, signer: Option<&Signer>, temporary: &str) -> Result<Stored, RegistryError> {
        let mut entries = BTreeMap::new();
        for (name, content) in &draft.files {
            entries.insert(name.clone(), self.write(&format!("{temporary}/{name}"), content)?);
        }
        self.check_files(draft, temporary)?;
        let _held = self.folder.lock()?;
        let before = {
            let mut view = self.view(draft.kind, &draft.name)?;
            view.bases = if draft.kind == Kind::Base { None } else { Some(self.bases()?) };
            view
        };
        let newest = self.versions(draft.kind, &draft.name)?.last().copied();
        let version = match newest {
            None => Version::FIRST,
            Some(last) => last.next().ok_or_else(|| RegistryError::Full { name: draft.name.clone(), last })?,
        };
        let manifest = checked(draft.manifest(version, entries))?;
        let bytes = manifest.to_bytes();
        if bytes.len() as u64 > Manifest::LARGEST {
            let problem = format!("its manifest has {} bytes, at most {} are read; shorten the config", bytes.len(), Manifest::LARGEST);
            return Err(RegistryError::Draft { what: "manifest".to_owned(), problem });
        }
        let digest = Digest::of(&bytes);
        let mut after = before.clone();
        after.versions.insert((draft.kind, draft.name.clone(), version), Facts { digest, base: draft.about.base });
        invariant::check(&before, &after)?;
        let signature = signer.map(|signer| signer.sign(&bytes));
        let to = place(draft.kind, &draft.name, version);
        let trust = signature::check(&to, &bytes, signature.as_deref(), &self.settings)?;
        self.folder.write(&format!("{temporary}/{}", Manifest::FILE), &bytes)?;
        if let Some(signature) = signature {
            self.folder.write(&format!("{temporary}/{}", Manifest::SIGNATURE), &signature)?;
        }
        self.folder.sync_folder(temporary)?;
        self.folder.rename(temporary, &to)?;
        self.folder.sync_folder(&shelf(draft.kind, &draft.name))?;
        Ok(Stored { manifest, digest, trust })
    }

    /// Writes a file and hashes what is written.
    fn write(&self, path: &str, content: &Content) -> Result<FileEntry, RegistryError> {
        match content {
            Content::Bytes(bytes) => {
                self.folder.write(path, bytes)?;
                Ok(FileEntry { size: bytes.len() as u64, sha256: Digest::of(bytes) })
            }
            Content::File(source) => {
                let unread = |error| RegistryError::Source { path: source.clone(), source: error };
                let mut file = std::fs::File::open(source).map_err(unread)?;
                self.folder.create(path)?;
                let (mut size, mut hash, mut buffer) = (0, Sha256::new(), vec![0; 1 << 20]);
                loop {
                    let read = file.read(&mut buffer).map_err(unread)?;
                    if read == 0 {
                        break;
                    }
                    self.folder.append(path, &buffer[..read])?;
                    hash.update(&buffer[..read]);
                    size += read as u64;
                }
                self.folder.sync(path)?;
                Ok(FileEntry { size, sha256: Digest::finish(hash) })
            }
        }
    }

    /// The strict look at what was written: tensor files, segments, and files that must be JSON.
    fn check_files(&self, draft: &Draft, folder: &str) -> Result<(), RegistryError> {
        let limits = if draft.kind == Kind::Base { TensorLimits::BASE } else { TensorLimits::PATCH };
        for name in draft.files.keys() {
            let path = format!("{folder}/{name}");
            if name.as_str().ends_with(".safetensors") {
                let blob = self.folder.open(&path)?;
                let checked = check_tensors(&*blob, &limits, draft.expected.get(name));
                checked.map_err(|problem| RegistryError::Tensors { path: name.to_string(), problem })?;
            } else if name.as_str().ends_with(".json") {
                let bytes = self.folder.read(&path, json::LARGEST)?;
                json::is_json(name.as_str(), &bytes)?;
            }
            if draft.kind == Kind::Patch && name.as_str() == AdapterConfig::FILE {
                AdapterConfig::read(name.as_str(), &self.folder.read(&path, AdapterConfig::LARGEST)?)?;
            }
        }
        if draft.kind == Kind::Segments {
            segment::check_version(&draft.files.keys().collect::<Vec<_>>(), |name| self.folder.open(&format!("{folder}/{name}")))?;
        }
        Ok(())
    }

    /// Removes a folder that is not published, with what lies in it.
    pub(super) fn clear(&self, path: &str) -> Result<(), RegistryError> {
        for entry in self.folder.list(path)? {
            let inner = format!("{path}/{}", entry.name);
            if entry.is_folder {
                self.clear(&inner)?;
            } else {
                self.folder.remove(&inner)?;
            }
        }
        self.folder.remove_folder(path)
    }
}

impl Draft {
    fn manifest(&self, version: Version, files: BTreeMap<Name, FileEntry>) -> Manifest {
        Manifest { format: Manifest::FORMAT, kind: self.kind, name: self.name.clone(), version, about: self.about.clone(), files }
    }
}

fn checked(manifest: Manifest) -> Result<Manifest, RegistryError> {
    match manifest.problem() {
        None => Ok(manifest),
        Some((what, problem)) => Err(RegistryError::Draft { what, problem }),
    }
}
