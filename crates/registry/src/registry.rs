//! The registry: what lies where, and reading it.
//!
//! ```text
//! registry.json                              the format
//! routes.json                                domain -> alias of a patch
//! audit/2026-11-29.jsonl, head.json          who has moved what
//! bases/NAME/v000001/                        model.safetensors, ..., manifest.json, manifest.sig
//! patches/NAME/v000017/                      adapter_model.safetensors, adapter_config.json, ..., manifest.json
//! segments/NAME/v000003/                     index.json, one file a segment, manifest.json
//! KIND/NAME/aliases/champion.json            a pointer
//! KIND/NAME/judged/v000017.json              what the gate said of a version
//! ```
//!
//! A folder whose name begins with a dot is not published yet, or not any more.

mod audit;
mod collect;
mod judged;
mod point;
mod publish;
mod verify;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::folder::{Blob, Folder, LocalFolder};
use crate::invariant::{Facts, View};
use crate::{
    Digest, Kind, Manifest, Name, Pointer, PublicKey, RegistryError, Routes, SignatureFile, SignaturePolicy, Trust, Version, json,
    signature,
};

pub use collect::{Collected, Collection};
pub use publish::{Content, Draft};
pub use verify::Finding;

/// How a registry is used; nothing of this is stored in it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What is asked of signatures.
    pub policy: SignaturePolicy,
    /// Keys whose signatures count.
    pub trusted: Vec<PublicKey>,
    /// Keys whose signatures count no more, trusted or not: those of a publisher who has lost one.
    pub revoked: Vec<PublicKey>,
}

/// A registry of bases and patches.
///
/// It holds no state: each call reads what is there, so any number of processes may use one registry. It is cheap to clone and can be shared by threads.
#[derive(Clone)]
pub struct Registry {
    folder: Arc<dyn Folder>,
    settings: Settings,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// `registry.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    format: u32,
}

const ROOT: &str = "registry.json";
const FORMAT: u32 = 1;
const ALIASES: &str = "aliases";
const JUDGED: &str = "judged";

/// A version as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it is.
    pub manifest: Manifest,
    /// SHA-256 of the manifest: the version's identity.
    pub digest: Digest,
    /// Who published it, as far as that is known.
    pub trust: Trust,
}

/// A version and the aliases that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The version, or what is wrong with its manifest.
    pub stored: Result<Stored, String>,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Its number.
    pub version: Version,
    /// The aliases.
    pub aliases: Vec<Name>,
}

/// Where a domain's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The patch.
    pub patch: Name,
    /// Its alias.
    pub alias: Name,
    /// Where the alias points.
    pub pointer: Pointer,
}

impl Registry {
    /// Makes a registry in a folder, which is made if it is not there. One that is a registry already stays as it is.
    ///
    /// # Errors
    /// The system refuses, or it is of a later format.
    pub fn init(path: &Path, settings: Settings) -> Result<Self, RegistryError> {
        std::fs::create_dir_all(path).map_err(|source| RegistryError::Source { path: path.to_owned(), source })?;
        Self::init_in(Arc::new(LocalFolder::new(path)?), settings)
    }

    /// Opens a registry.
    ///
    /// # Errors
    /// There is none, or it is of a later format.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, RegistryError> {
        Self::open_in(Arc::new(LocalFolder::new(path)?), settings).map_err(|error| match error {
            RegistryError::NoRegistry { .. } => RegistryError::NoRegistry { path: path.display().to_string() },
            error => error,
        })
    }

    /// [`init`](Self::init) in any folder.
    ///
    /// # Errors
    /// As there.
    pub fn init_in(folder: Arc<dyn Folder>, settings: Settings) -> Result<Self, RegistryError> {
        {
            let _held = folder.lock()?;
            if folder.read_if_there(ROOT, 4096)?.is_none() {
                for kind in Kind::ALL {
                    folder.create_folders(kind.folder())?;
                }
                folder.replace(ROOT, &temporary(ROOT), &json::written(&Root { format: FORMAT }))?;
            }
        }
        Self::open_in(folder, settings)
    }

    /// [`open`](Self::open) in any folder.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(folder: Arc<dyn Folder>, settings: Settings) -> Result<Self, RegistryError> {
        let bytes = folder.read_if_there(ROOT, 4096)?.ok_or_else(|| RegistryError::NoRegistry { path: ROOT.to_owned() })?;
        let root: Root = json::read(ROOT, &bytes)?;
        if root.format == FORMAT {
            Ok(Self { folder, settings })
        } else {
            Err(RegistryError::Format { path: ROOT.to_owned(), found: root.format, known: FORMAT })
        }
    }

    /// Names of a kind, in order.
    ///
    /// # Errors
    /// The system refuses.
    pub fn names(&self, kind: Kind) -> Result<Vec<Name>, RegistryError> {
        let entries = self.folder.list_if_there(kind.folder())?;
        Ok(entries.into_iter().filter(|entry| entry.is_folder).filter_map(|entry| entry.name.parse().ok()).collect())
    }

    /// Versions of a name, in order.
    ///
    /// # Errors
    /// The system refuses.
    pub fn versions(&self, kind: Kind, name: &Name) -> Result<Vec<Version>, RegistryError> {
        let entries = self.folder.list_if_there(&shelf(kind, name))?;
        let mut versions: Vec<Version> = entries.iter().filter(|e| e.is_folder).filter_map(|e| e.name.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// What a version is. Its manifest and signature are checked, its files are not: see [`verify`](Self::verify).
    ///
    /// # Errors
    /// It is not there, its manifest can not be read or is that of something else, or the policy asks for a signature that it does not have.
    pub fn show(&self, kind: Kind, name: &Name, version: Version) -> Result<Stored, RegistryError> {
        let place = place(kind, name, version);
        let path = format!("{place}/{}", Manifest::FILE);
        let Some(bytes) = self.folder.read_if_there(&path, Manifest::LARGEST)? else {
            let known = self.versions(kind, name)?.iter().map(Version::to_string).collect::<Vec<_>>().join(", ");
            return Err(RegistryError::Unknown { what: "version", name: place, known });
        };
        let manifest = Manifest::read(&path, &bytes)?;
        if (manifest.kind, &manifest.name, manifest.version) != (kind, name, version) {
            let problem = format!("it is the manifest of {}", self::place(manifest.kind, &manifest.name, manifest.version));
            return Err(RegistryError::Content { path, problem });
        }
        let signature = self.folder.read_if_there(&format!("{place}/{}", Manifest::SIGNATURE), SignatureFile::LARGEST)?;
        let trust = signature::check(&place, &bytes, signature.as_deref(), &self.settings)?;
        Ok(Stored { manifest, digest: Digest::of(&bytes), trust })
    }

    /// Where an alias points; `None` where there is none.
    ///
    /// # Errors
    /// Its file can not be read.
    pub fn alias(&self, kind: Kind, name: &Name, alias: &Name) -> Result<Option<Pointer>, RegistryError> {
        let path = alias_file(kind, name, alias);
        let bytes = self.folder.read_if_there(&path, Pointer::LARGEST)?;
        bytes.map(|bytes| Pointer::read(&path, &bytes)).transpose()
    }

    /// Every alias of a name.
    ///
    /// # Errors
    /// A file of one can not be read.
    pub fn aliases(&self, kind: Kind, name: &Name) -> Result<BTreeMap<Name, Pointer>, RegistryError> {
        let folder = format!("{}/{ALIASES}", shelf(kind, name));
        let mut aliases = BTreeMap::new();
        for entry in self.folder.list_if_there(&folder)? {
            let Some(alias) = entry.name.strip_suffix(".json").and_then(|alias| alias.parse::<Name>().ok()) else { continue };
            // One that has gone since is not there.
            if let Some(pointer) = self.alias(kind, name, &alias)? {
                aliases.insert(alias, pointer);
            }
        }
        Ok(aliases)
    }

    /// The routes.
    ///
    /// # Errors
    /// Their file can not be read.
    pub fn routes(&self) -> Result<Routes, RegistryError> {
        let bytes = self.folder.read_if_there(Routes::FILE, Routes::LARGEST)?;
        bytes.map_or_else(|| Ok(Routes::none()), |bytes| Routes::read(Routes::FILE, &bytes))
    }

    /// Where requests of a domain go; `None` where no route was set.
    ///
    /// # Errors
    /// The routes or the alias can not be read.
    pub fn resolve(&self, domain: &str) -> Result<Option<Resolved>, RegistryError> {
        let Some(route) = self.routes()?.domains.remove(domain) else { return Ok(None) };
        let path = alias_file(Kind::Patch, &route.patch, &route.alias);
        let missing = || RegistryError::Content { path, problem: format!("the route of domain `{domain}` leads here") };
        let pointer = self.alias(Kind::Patch, &route.patch, &route.alias)?.ok_or_else(missing)?;
        Ok(Some(Resolved { patch: route.patch, alias: route.alias, pointer }))
    }

    /// Everything there is, with the aliases that name it. A version whose manifest can not be read is listed with the reason.
    ///
    /// # Errors
    /// The system refuses, or an alias can not be read.
    pub fn list(&self) -> Result<Vec<Listed>, RegistryError> {
        let mut listed = Vec::new();
        for kind in Kind::ALL {
            for name in self.names(kind)? {
                let pointers = self.aliases(kind, &name)?;
                for version in self.versions(kind, &name)? {
                    let stored = self.show(kind, &name, version).map_err(|error| error.to_string());
                    let named = pointers.iter().filter(|(_, pointer)| pointer.target.version == version);
                    let aliases = named.map(|(alias, _)| alias.clone()).collect();
                    listed.push(Listed { stored, kind, name: name.clone(), version, aliases });
                }
            }
        }
        Ok(listed)
    }

    /// Opens a file of a version. Its bytes are not hashed: [`verify`](Self::verify) does that once, versions never change.
    ///
    /// # Errors
    /// The version or the file is not there.
    pub fn file(&self, kind: Kind, name: &Name, version: Version, file: &Name) -> Result<Box<dyn Blob>, RegistryError> {
        self.folder.open(&format!("{}/{file}", place(kind, name, version)))
    }

    /// A whole file of a version, hashed.
    ///
    /// # Errors
    /// The version or the file is not there, has more than `limit` bytes, or is damaged.
    pub fn read(&self, kind: Kind, name: &Name, version: Version, file: &Name, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let stored = self.show(kind, name, version)?;
        let path = format!("{}/{file}", place(kind, name, version));
        let entry = stored.manifest.files.get(file).ok_or_else(|| RegistryError::Unknown {
            what: "file",
            name: path.clone(),
            known: stored.manifest.files.keys().map(Name::as_str).collect::<Vec<_>>().join(", "),
        })?;
        let bytes = self.folder.read(&path, limit)?;
        let found = Digest::of(&bytes);
        if found == entry.sha256 { Ok(bytes) } else { Err(RegistryError::Damaged { path, expected: entry.sha256, found }) }
    }

    /// What invariants know of a name and its aliases.
    fn view(&self, kind: Kind, name: &Name) -> Result<View, RegistryError> {
        let mut view = View { versions: BTreeMap::new(), aliases: BTreeMap::new(), routes: self.routes()?, bases: None };
        self.add(&mut view, kind, name)?;
        Ok(view)
    }

    fn add(&self, view: &mut View, kind: Kind, name: &Name) -> Result<(), RegistryError> {
        for version in self.versions(kind, name)? {
            // A damaged version is none that an alias may name.
            if let Some(facts) = self.facts(kind, name, version)? {
                view.versions.insert((kind, name.clone(), version), facts);
            }
        }
        for (alias, pointer) in self.aliases(kind, name)? {
            view.aliases.insert((kind, name.clone(), alias), pointer);
        }
        Ok(())
    }

    /// Facts of a version; `None` where its manifest can not be read, and an error where the system refuses.
    fn facts(&self, kind: Kind, name: &Name, version: Version) -> Result<Option<Facts>, RegistryError> {
        let unasked = Self { folder: self.folder.clone(), settings: Settings { policy: SignaturePolicy::Off, ..Settings::default() } };
        match unasked.show(kind, name, version) {
            Ok(stored) => Ok(Some(Facts { digest: stored.digest, base: stored.manifest.about.base })),
            Err(error @ RegistryError::Io { .. }) if !error.is_absent() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Identities of all bases.
    fn bases(&self) -> Result<Vec<Digest>, RegistryError> {
        let mut bases = Vec::new();
        for name in self.names(Kind::Base)? {
            for version in self.versions(Kind::Base, &name)? {
                bases.extend(self.facts(Kind::Base, &name, version)?.map(|facts| facts.base));
            }
        }
        Ok(bases)
    }
}

/// The folder of a name.
fn shelf(kind: Kind, name: &Name) -> String {
    format!("{}/{name}", kind.folder())
}

/// The folder of a version.
fn place(kind: Kind, name: &Name, version: Version) -> String {
    format!("{}/{name}/{version}", kind.folder())
}

fn alias_file(kind: Kind, name: &Name, alias: &Name) -> String {
    format!("{}/{ALIASES}/{alias}.json", shelf(kind, name))
}

/// A name beside a path that nobody else uses: it holds the process and a count.
fn temporary(path: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let own = format!("{TEMPORARY}{clock:x}-{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = crate::folder::parent(path);
    if folder.is_empty() { own } else { format!("{folder}/{own}") }
}

/// How the names of temporary files and folders begin.
const TEMPORARY: &str = ".tmp-";
