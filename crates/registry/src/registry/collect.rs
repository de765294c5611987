//! Collecting what nobody needs: marked from aliases, swept after a grace period.
//!
//! Kept are: what an alias names or can go back to; the last version of each name, so that its number is never used again; every version that is younger than the
//! grace period; and each base of a patch that is kept. A version goes by one renaming to a name that nobody reads, then its files are removed.

use std::collections::{BTreeMap, BTreeSet};

use super::judged::judged_file;
use super::{Registry, TEMPORARY, place, shelf};
use crate::invariant::{self, View};
use crate::{Digest, Kind, Name, RegistryError, Routes, SignaturePolicy, Version};

/// What is to be collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The time now, in Unix seconds.
    pub now: i64,
    /// How many seconds a version stays at least after it was published, and what a publisher has left behind after it began.
    pub grace: i64,
    /// Whether to say only what would go.
    pub dry_run: bool,
}

/// What was collected, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Versions.
    pub versions: Vec<(Kind, Name, Version)>,
    /// Paths of what publishers have left behind.
    pub leftovers: Vec<String>,
    /// Versions that can not be read and stay until somebody has looked at them.
    pub unreadable: Vec<(Kind, Name, Version)>,
}

/// How the names of versions begin that are on their way out.
const GONE: &str = ".gone-";

impl Registry {
    /// Collects garbage. Aliases, routes and publishing wait meanwhile.
    ///
    /// # Errors
    /// An alias or the routes can not be read (nothing is collected then), or the system refuses.
    pub fn collect(&self, wish: Collection) -> Result<Collected, RegistryError> {
        let _held = self.folder.lock()?;
        let mut collected = Collected::default();
        let routes: Routes = self.routes()?;
        let mut before = View { versions: BTreeMap::new(), aliases: BTreeMap::new(), routes, bases: Some(self.bases()?) };
        for kind in Kind::ALL {
            for name in self.names(kind)? {
                self.add(&mut before, kind, &name)?;
                let readable = |version: &Version| before.versions.contains_key(&(kind, name.clone(), *version));
                let unreadable = self.versions(kind, &name)?.into_iter().filter(|version| !readable(version));
                collected.unreadable.extend(unreadable.map(|version| (kind, name.clone(), version)));
            }
        }
        let mut kept = self.kept(&before, wish)?;
        if !collected.unreadable.is_empty() {
            // What can not be read may need any of them.
            kept.extend(before.versions.keys().filter(|(kind, ..)| *kind == Kind::Base).cloned());
        }
        let mut after = before.clone();
        after.versions.retain(|key, _| kept.contains(key));
        after.bases = Some(after.versions.iter().filter(|((kind, ..), _)| *kind == Kind::Base).map(|(_, facts)| facts.base).collect());
        invariant::check(&before, &after)?;
        collected.versions = before.versions.into_keys().filter(|key| !kept.contains(key)).collect();
        if !wish.dry_run {
            for (kind, name, version) in &collected.versions {
                self.folder.rename(&place(*kind, name, *version), &format!("{}/{GONE}{version}", shelf(*kind, name)))?;
                self.folder.sync_folder(&shelf(*kind, name))?;
                match self.folder.remove(&judged_file(*kind, name, *version)) {
                    Err(error) if !error.is_absent() => return Err(error),
                    _ => {}
                }
            }
        }
        self.sweep(wish, &mut collected)?;
        Ok(collected)
    }

    /// What stays.
    fn kept(&self, view: &View, wish: Collection) -> Result<BTreeSet<(Kind, Name, Version)>, RegistryError> {
        let mut kept = BTreeSet::new();
        for ((kind, name, _), pointer) in &view.aliases {
            kept.extend(pointer.earlier.iter().chain([&pointer.target]).map(|target| (*kind, name.clone(), target.version)));
        }
        let mut last: BTreeMap<(Kind, &Name), Version> = BTreeMap::new();
        for (kind, name, version) in view.versions.keys() {
            last.insert((*kind, name), *version);
        }
        kept.extend(last.into_iter().map(|((kind, name), version)| (kind, name.clone(), version)));
        let mut unasked = self.clone();
        unasked.settings.policy = SignaturePolicy::Off;
        for (kind, name, version) in view.versions.keys() {
            let created = unasked.show(*kind, name, *version)?.manifest.about.created;
            if wish.now.saturating_sub(created) < wish.grace {
                kept.insert((*kind, name.clone(), *version));
            }
        }
        let needed: BTreeSet<Digest> = view.versions.iter().filter(|(key, _)| kept.contains(key)).map(|(_, facts)| facts.base).collect();
        let bases = view.versions.iter().filter(|((kind, ..), facts)| *kind == Kind::Base && needed.contains(&facts.base));
        kept.extend(bases.map(|(key, _)| key.clone()));
        Ok(kept)
    }

    /// Removes what no reader sees.
    fn sweep(&self, wish: Collection, collected: &mut Collected) -> Result<(), RegistryError> {
        let mut folders = vec![String::new(), super::audit::AUDIT.to_owned()];
        for kind in Kind::ALL {
            for name in self.names(kind)? {
                folders.push(shelf(kind, &name));
                folders.extend([super::ALIASES, super::JUDGED].map(|inner| format!("{}/{inner}", shelf(kind, &name))));
            }
        }
        for folder in folders {
            for entry in self.folder.list_if_there(&folder)? {
                let age = |name: &str| began(name).is_some_and(|began| wish.now.saturating_sub(began) >= wish.grace);
                if !(entry.name.starts_with(GONE) || age(&entry.name)) {
                    continue;
                }
                let path = if folder.is_empty() { entry.name } else { format!("{folder}/{}", entry.name) };
                if !wish.dry_run {
                    if entry.is_folder { self.clear(&path)? } else { self.folder.remove(&path)? }
                }
                // What this very collection has renamed is named by its version.
                if !path.contains(GONE) {
                    collected.leftovers.push(path);
                }
            }
        }
        Ok(())
    }
}

/// When whoever made a temporary file or folder began, in Unix seconds; `None` for anything else.
fn began(name: &str) -> Option<i64> {
    let clock = name.strip_prefix(TEMPORARY)?.split('-').next()?;
    i64::try_from(u128::from_str_radix(clock, 16).ok()? / 1_000_000_000).ok()
}
