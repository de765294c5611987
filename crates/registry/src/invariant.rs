//! What always holds of a registry, as predicates of the state before and after.
//!
//! Every update (a new version, a move, a route, a collection) builds the part of the state that it touches, before and after, and passes all of them before it
//! does its one renaming. So there is one list of what is allowed, and no way round it.

use std::collections::BTreeMap;

use crate::{Digest, Kind, Name, Pointer, PointerTarget, RegistryError, Routes, Verdict, Version};

/// The part of a registry that an update touches.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Complete versions, and the digest of each.
    pub(crate) versions: BTreeMap<(Kind, Name, Version), Facts>,
    /// Aliases, by name.
    pub(crate) aliases: BTreeMap<(Kind, Name, Name), Pointer>,
    /// Routes.
    pub(crate) routes: Routes,
    /// Identities of the bases there are; `None` where the update does not touch what belongs to one.
    pub(crate) bases: Option<Vec<Digest>>,
}

/// What invariants know of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// SHA-256 of its manifest.
    pub(crate) digest: Digest,
    /// The base it belongs to, or is.
    pub(crate) base: Digest,
}

/// A property of every update.
struct Invariant {
    name: &'static str,
    /// What breaks it, in words; `None` if nothing does.
    broken: fn(&View, &View) -> Option<String>,
}

const INVARIANTS: &[Invariant] = &[
    Invariant { name: "a version never changes", broken: changed_version },
    Invariant { name: "the number of a version is never used again", broken: lost_number },
    Invariant { name: "an alias names a complete version", broken: dangling_alias },
    Invariant { name: "a generation grows by one with every move", broken: odd_generation },
    Invariant { name: "a route names an alias", broken: dangling_route },
    Invariant { name: "what serves has passed the gate or was forced", broken: ungated_service },
    Invariant { name: "a patch has its base", broken: orphan },
];

/// Passes an update through every invariant.
pub(crate) fn check(before: &View, after: &View) -> Result<(), RegistryError> {
    INVARIANTS.iter().try_for_each(|invariant| match (invariant.broken)(before, after) {
        None => Ok(()),
        Some(problem) => Err(RegistryError::Refused { invariant: invariant.name, problem }),
    })
}

fn changed_version(before: &View, after: &View) -> Option<String> {
    let changed = |(key, facts): (&(Kind, Name, Version), &Facts)| after.versions.get(key).is_some_and(|now| now != facts);
    let ((kind, name, version), _) = before.versions.iter().find(|&version| changed(version))?;
    Some(format!("{}/{name}/{version} would hold something else; publish a new version", kind.folder()))
}

fn lost_number(before: &View, after: &View) -> Option<String> {
    let last = |view: &View| {
        let mut last: BTreeMap<(Kind, Name), Version> = BTreeMap::new();
        view.versions.keys().for_each(|(kind, name, version)| {
            last.insert((*kind, name.clone()), *version);
        });
        last
    };
    let now = last(after);
    let ((kind, name), version) = last(before).into_iter().find(|(key, version)| now.get(key).is_none_or(|now| now < version))?;
    Some(format!("{}/{name}/{version} is the last of its name and stays", kind.folder()))
}

fn dangling_alias(before: &View, after: &View) -> Option<String> {
    after.aliases.iter().find_map(|(key, pointer)| {
        let (kind, name, alias) = key;
        let is_there = |view: &View, target: &PointerTarget| {
            let facts = view.versions.get(&(*kind, name.clone(), target.version));
            facts.is_some_and(|facts| facts.digest == target.digest)
        };
        // One that was broken behind the registry's back keeps nobody from mending it, nor another.
        let is_untouched = before.aliases.get(key) == Some(pointer);
        let mut targets = pointer.earlier.iter().chain([&pointer.target]);
        let target = targets.find(|target| !is_there(after, target) && (!is_untouched || is_there(before, target)))?;
        let path = format!("{}/{name}/{}", kind.folder(), target.version);
        Some(format!("alias `{alias}` would name {path} with digest {}, which is not there; publish it first", target.digest))
    })
}

fn odd_generation(before: &View, after: &View) -> Option<String> {
    let odd = |before: u64, after: u64, same: bool| if same { after != before } else { after != before + 1 };
    let routes = before.routes == after.routes;
    if odd(before.routes.generation, after.routes.generation, routes) {
        return Some(format!("the routes would go from {} to {}", before.routes.generation, after.routes.generation));
    }
    after.aliases.iter().find_map(|(key, pointer)| {
        let old = before.aliases.get(key);
        let generation = old.map_or(0, |old| old.generation);
        odd(generation, pointer.generation, old == Some(pointer))
            .then(|| format!("alias `{}` would go from {generation} to {}", key.2, pointer.generation))
    })
}

fn dangling_route(before: &View, after: &View) -> Option<String> {
    let new = after.routes.domains.iter().filter(|&(domain, route)| before.routes.domains.get(domain) != Some(route));
    new.map(|(domain, route)| (domain, route, (Kind::Patch, route.patch.clone(), route.alias.clone()))).find_map(|(domain, route, key)| {
        let missing = !after.aliases.contains_key(&key);
        missing.then(|| format!("domain `{domain}` would go to alias `{}` of patch `{}`, which is not there", route.alias, route.patch))
    })
}

/// The alias that serves by its name alone.
pub(crate) const CHAMPION: &str = "champion";

/// Whether an alias of a patch serves.
pub(crate) fn serves(routes: &Routes, patch: &Name, alias: &Name) -> bool {
    alias.as_str() == CHAMPION || routes.domains.values().any(|route| route.patch == *patch && route.alias == *alias)
}

/// A gate that lets bad things through has no complainant: so what is not known to be good does not serve.
fn ungated_service(before: &View, after: &View) -> Option<String> {
    let serves = |view: &View, (kind, name, alias): &(Kind, Name, Name)| match kind {
        Kind::Patch => serves(&view.routes, name, alias),
        _ => alias.as_str() == CHAMPION,
    };
    after.aliases.iter().filter(|(key, _)| key.0 != Kind::Base).find_map(|(key, pointer)| {
        let untouched = before.aliases.get(key) == Some(pointer) && serves(before, key);
        let passed = pointer.target.verdict == Verdict::Promoted || pointer.target.forced;
        (serves(after, key) && !untouched && !passed).then(|| {
            let (verdict, alias, version) = (pointer.target.verdict, &key.2, pointer.target.version);
            format!("the gate said `{verdict}` of {version}, and alias `{alias}` of `{}` serves; let the gate judge it, or force it", key.1)
        })
    })
}

fn orphan(before: &View, after: &View) -> Option<String> {
    let bases = after.bases.as_ref()?;
    let new = after.versions.iter().filter(|((kind, ..), _)| *kind != Kind::Base);
    let ((kind, name, version), facts) = new
        .filter(|(key, _)| !before.versions.contains_key(key) || before.bases != after.bases)
        .find(|(_, facts)| !bases.contains(&facts.base))?;
    Some(format!("{}/{name}/{version} belongs to base {}, which is not there; publish the base first", kind.folder(), facts.base))
}
