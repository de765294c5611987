//! What lies in memory of a registry: bases and versions of patches are loaded, followed and let go here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use acclimate_registry::{Digest, Kind, Name, Registry, RegistryError, Route, Version};

use super::model::{Files, LoadedPatch, Loader};
use super::resident::{Loaded, Patch};
use super::rows::{self, Encoding, States};
use super::{Base, EngineConfig, EngineError, MOST_ABSENT, NUMBERED, Shared, champion, may_serve, said, users};
use crate::api::{At, PatchInfo, PatchVersion, Refusal};

pub(super) fn routes(registry: &Registry) -> Result<HashMap<String, Route>, RegistryError> {
    Ok(registry.routes()?.domains.into_iter().collect())
}

/// The bases that are meant.
pub(super) fn chosen(registry: &Registry, wanted: &[(Name, Option<At>)]) -> Result<Vec<(Name, Option<At>)>, EngineError> {
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    Ok(registry.names(Kind::Base)?.into_iter().map(|name| (name, None)).collect())
}

/// The version that an alias or number means; `None`: `champion`, else the latest.
pub(super) fn base_version(registry: &Registry, name: &Name, at: Option<&At>) -> Result<Version, EngineError> {
    let missing = |at: String| EngineError::NoVersion { name: name.clone(), at };
    let alias = |alias: &Name| registry.alias(Kind::Base, name, alias).map(|pointer| pointer.map(|pointer| pointer.target.version));
    match at {
        Some(At::Version(version)) => Ok(*version),
        Some(At::Alias(name)) => alias(name)?.ok_or_else(|| missing(format!("alias `{name}`"))),
        None => match alias(&champion())? {
            Some(version) => Ok(version),
            None => registry.versions(Kind::Base, name)?.last().copied().ok_or_else(|| missing("version".into())),
        },
    }
}

pub(super) fn load_base<L: Loader>(
    (registry, loader): (&Registry, &L),
    (config, states): (&EngineConfig, &States),
    name: &Name,
    at: Option<&At>,
) -> Result<Base<L::Base>, EngineError> {
    let version = base_version(registry, name, at)?;
    let problem = |problem: String| EngineError::Base { name: name.clone(), version, problem };
    let stored = registry.verify(Kind::Base, name, version).map_err(|error| problem(error.to_string()))?;
    if let Some(pinned) =
        registry.aliases(Kind::Base, name)?.into_values().map(|pointer| pointer.target).find(|target| target.version == version)
        && pinned.digest != stored.digest
    {
        return Err(problem(format!("its manifest is {}, and an alias pins {}", stored.digest, pinned.digest)));
    }
    let files = Files { registry, kind: Kind::Base, stored: &stored };
    let loaded = loader.base(&files).map_err(|error| problem(error.to_string()))?;
    let about = &stored.manifest.about;
    let state = rows::open_state(&loaded.encoder, &files, (states, &config.state, &config.events));
    let state = state.map_err(|problem| EngineError::State { name: name.clone(), problem })?;
    let encoding = Arc::new(Encoding::new(loaded.encoder.clone(), loaded.layout.clone(), loaded.unit, (state, loaded.catalogue.clone())));
    Ok(Base { name: name.clone(), version, digest: stored.digest, identity: about.base, loaded, encoding })
}

impl<L: Loader> Shared<L> {
    /// Loads what the aliases of a patch name.
    pub(super) fn fetch(&self, name: &Name) -> Result<Arc<Patch>, Refusal> {
        self.fetch_at(name, None)
    }

    /// Loads what the aliases of a patch name, and a version that was asked for. Two who want the same load it once.
    pub(super) fn fetch_at(&self, name: &Name, wanted: Option<&At>) -> Result<Arc<Patch>, Refusal> {
        let gate = self.loading.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone();
        let held = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.read(name, wanted);
        drop(held);
        let mut loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's own and ours: nobody else waits.
        if Arc::strong_count(&gate) == 2 {
            loading.remove(name);
        }
        found
    }

    pub(super) fn read(&self, name: &Name, wanted: Option<&At>) -> Result<Arc<Patch>, Refusal> {
        let failed = |error: RegistryError| Refusal::Failed { problem: error.to_string() };
        let before = self.resident.peek(name);
        if self.registry.versions(Kind::Patch, name).map_err(failed)?.is_empty() {
            self.remember_absent(name, None);
            self.resident.remove(name);
            return Err(Refusal::Unknown { what: format!("patch `{name}`") });
        }
        let pointers = self.registry.aliases(Kind::Patch, name).map_err(failed)?;
        let is_loaded = |version: &Version, digest: Option<Digest>| {
            let known = before.as_ref().and_then(|before| before.versions.get(version))?;
            let is_it = digest.is_none_or(|digest| known.digest == digest) && self.has_base(known.base) && self.has_users(name, known);
            is_it.then(|| known.clone())
        };
        let mut patch = Patch::default();
        for (alias, pointer) in pointers {
            let target = pointer.target;
            let found = if self.serves(name, &alias) && !may_serve(&target) {
                Err(format!("the gate said `{}` of {}, and `{alias}` serves; promote it, or force it", target.verdict, target.version))
            } else if let Some(loaded) = patch.versions.get(&target.version).filter(|loaded| loaded.digest == target.digest) {
                Ok(loaded.clone())
            } else {
                is_loaded(&target.version, Some(target.digest))
                    .map_or_else(|| self.load_version(name, target.version, Some(target.digest)), Ok)
            };
            match found {
                Ok(loaded) => {
                    patch.versions.insert(target.version, loaded);
                    patch.aliases.insert(alias, target);
                }
                Err(problem) => {
                    patch.problems.insert(alias.clone(), format!("{}: {problem}", target.version));
                    // The version before answers until it can be loaded.
                    let old = before.as_ref().and_then(|before| Some((before.aliases.get(&alias)?, before)));
                    if let Some((old, loaded)) = old.and_then(|(old, before)| Some((old, before.versions.get(&old.version)?))) {
                        patch.versions.insert(old.version, loaded.clone());
                        patch.aliases.insert(alias, old.clone());
                    }
                }
            }
        }
        // What is asked for by its number, and what was lately: they are no alias's.
        if let Some(At::Version(version)) = wanted
            && !patch.versions.contains_key(version)
        {
            match is_loaded(version, None).map_or_else(|| self.load_version(name, *version, None), Ok) {
                Ok(loaded) => _ = patch.versions.insert(*version, loaded),
                Err(problem) => return Err(Refusal::Conflict { what: said(name, &At::Version(*version)), problem }),
            }
        }
        let versions = before.iter().flat_map(|before| &before.versions).filter(|(version, _)| !patch.versions.contains_key(version));
        let mut numbers: Vec<(u64, Version)> = versions.map(|(version, loaded)| (loaded.asked.load(Ordering::Relaxed), *version)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        for (_, version) in numbers.into_iter().take(NUMBERED) {
            if let Some(loaded) = is_loaded(&version, None) {
                patch.versions.insert(version, loaded);
            }
        }
        if patch.versions.is_empty() {
            return Err(match patch.problem() {
                Some(problem) => {
                    self.remember_absent(name, Some(problem.clone()));
                    Refusal::Conflict { what: format!("patch `{name}`"), problem }
                }
                None => Refusal::Unknown {
                    what: format!("patch `{name}`, to which no alias points (`acclimate registry promote` moves one there),"),
                },
            });
        }
        Ok(self.resident.put(name, patch))
    }

    /// Whether an alias serves: by its name, or because a route names it.
    pub(super) fn serves(&self, name: &Name, alias: &Name) -> bool {
        *alias == champion() || self.routes.load().values().any(|route| route.patch == *name && route.alias == *alias)
    }

    /// Whether the heads of known users that were loaded with a version are those that serve now.
    pub(super) fn has_users(&self, name: &Name, loaded: &Loaded) -> bool {
        let Ok(target) = users::Users::target(&self.registry, name) else { return true };
        match (target, &loaded.users) {
            (Some((_, target)), Some(users)) => users.source.source.digest == target.digest,
            // Those of another version of the patch are none of this one.
            (Some((_, target)), None) => loaded.unused_users == Some(target.digest),
            (None, users) => users.is_none(),
        }
    }

    pub(super) fn remember_absent(&self, name: &Name, problem: Option<String>) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() < MOST_ABSENT {
            absent.insert(name.clone(), problem);
        }
    }

    pub(super) fn has_base(&self, identity: Digest) -> bool {
        self.bases.load().values().any(|base| base.identity == identity)
    }

    /// Loads a version. Its files are hashed against its manifest, and its manifest against what the alias pins.
    pub(super) fn load_version(&self, name: &Name, version: Version, digest: Option<Digest>) -> Result<Arc<Loaded>, String> {
        let began = Instant::now();
        let loaded = self.load_version_now(name, version, digest);
        self.metrics.loaded(loaded.is_ok(), began.elapsed());
        loaded
    }

    pub(super) fn load_version_now(&self, name: &Name, version: Version, digest: Option<Digest>) -> Result<Arc<Loaded>, String> {
        let stored = self.registry.verify(Kind::Patch, name, version).map_err(|error| error.to_string())?;
        if let Some(pinned) = digest.filter(|&pinned| pinned != stored.digest) {
            return Err(format!("its manifest is {}, and the alias pins {pinned}", stored.digest));
        }
        let about = &stored.manifest.about;
        let bases = self.bases.load();
        let Some(base) = bases.values().find(|base| base.identity == about.base) else {
            let served: Vec<String> = bases.values().map(|base| format!("`{}` {} ({})", base.name, base.version, base.identity)).collect();
            return Err(format!("it belongs to base {}, and served are {}", about.base, served.join(", ")));
        };
        let files = Files { registry: &self.registry, kind: Kind::Patch, stored: &stored };
        let LoadedPatch { model, encoder, catalogue } = self.loader.patch(&base.loaded, &files).map_err(|error| error.to_string())?;
        let encoding = encoder.map(|encoder| Arc::new(base.encoding.with(encoder, catalogue)));
        let (base, methods) = (about.base, about.methods.clone());
        let users = users::Users::open(&self.registry, name, stored.digest)?;
        let unused_users = match &users {
            Some(_) => None,
            None => users::Users::target(&self.registry, name)?.map(|(_, target)| target.digest),
        };
        Ok(Arc::new(Loaded {
            version,
            digest: stored.digest,
            base,
            methods,
            model,
            encoding,
            users,
            unused_users,
            asked: AtomicU64::new(self.resident.tick()),
        }))
    }

    /// Reads routes, bases and the aliases of up to so many patches in memory again; gives what could not be loaded and why.
    pub(super) fn refresh(&self, most: usize) -> Vec<String> {
        let mut problems = Vec::new();
        self.absent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        match routes(&self.registry) {
            Ok(routes) => {
                self.resident.pin(routes.values().map(|route| route.patch.clone()).collect());
                self.routes.store(Arc::new(routes));
            }
            Err(error) => problems.push(format!("routes: {error}; the old ones stay")),
        }
        self.refresh_bases(&mut problems);
        let names = self.resident.names();
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = cursor.as_ref().map_or(0, |last| names.partition_point(|name| name <= last));
        let due: Vec<&Name> = names[begin.min(names.len())..].iter().chain(&names[..begin.min(names.len())]).take(most).collect();
        for &name in &due {
            if !self.is_current(name) {
                match self.fetch(name) {
                    Ok(patch) => problems
                        .extend(patch.problem().map(|problem| format!("patch `{name}`: {problem}; the version before still answers"))),
                    Err(refusal) => problems.push(refusal.to_string()),
                }
            }
        }
        *cursor = due.last().map(|&name| name.clone());
        let routed: Vec<Name> = self.routes.load().values().map(|route| route.patch.clone()).collect();
        for name in routed {
            if self.resident.peek(&name).is_none()
                && let Err(refusal) = self.fetch(&name)
            {
                problems.push(refusal.to_string());
            }
        }
        problems
    }

    /// Whether what the aliases of a patch name is what is in memory.
    pub(super) fn is_current(&self, name: &Name) -> bool {
        let Some(patch) = self.resident.peek(name) else { return false };
        let Ok(pointers) = self.registry.aliases(Kind::Patch, name) else { return false };
        patch.problems.is_empty()
            && pointers.len() == patch.aliases.len()
            && pointers.iter().all(|(alias, pointer)| patch.aliases.get(alias) == Some(&pointer.target))
            && patch.versions.values().all(|loaded| self.has_base(loaded.base) && self.has_users(name, loaded))
    }

    pub(super) fn refresh_bases(&self, problems: &mut Vec<String>) {
        let now = self.bases.load_full();
        let wanted = match chosen(&self.registry, &self.config.bases) {
            Ok(wanted) => wanted,
            Err(error) => return problems.push(error.to_string()),
        };
        let mut bases = (*now).clone();
        for (name, at) in wanted {
            let version = match base_version(&self.registry, &name, at.as_ref()) {
                Ok(version) => version,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            if now.get(&name).is_some_and(|base| base.version == version) {
                continue;
            }
            match load_base((&self.registry, &self.loader), (&self.config, &self.states), &name, Some(&At::Version(version))) {
                Ok(base) => _ = bases.insert(name, Arc::new(base)),
                Err(error) => problems.push(format!("{error}; the version before still answers")),
            }
        }
        if !bases.iter().map(|(name, base)| (name, base.version)).eq(now.iter().map(|(name, base)| (name, base.version))) {
            self.bases.store(Arc::new(bases));
        }
    }

    pub(super) fn info(&self, name: &Name, patch: &Patch) -> Option<PatchInfo> {
        let bases = self.bases.load();
        let of_base = patch.versions.values().find_map(|loaded| bases.values().find(|base| base.identity == loaded.base));
        let version = |loaded: &Arc<Loaded>| PatchVersion {
            version: loaded.version,
            digest: loaded.digest,
            methods: loaded.methods.clone(),
            kind: loaded.model.kind(),
            bytes: loaded.model.bytes(),
        };
        let routes = self.routes.load();
        let mut domains: Vec<String> = routes.iter().filter(|(_, route)| route.patch == *name).map(|(domain, _)| domain.clone()).collect();
        domains.sort_unstable();
        Some(PatchInfo {
            name: name.clone(),
            base: of_base?.name.clone(),
            versions: patch.versions.values().map(version).collect(),
            aliases: patch.aliases.iter().map(|(alias, target)| (alias.clone(), target.version)).collect(),
            domains,
            problem: patch.problem(),
        })
    }
}
