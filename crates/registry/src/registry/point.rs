//! Moving aliases and setting routes: compare, check, swap.

use super::{ALIASES, Registry, alias_file, shelf, temporary};
use crate::alias::check_note;
use crate::invariant::{self, View};
use crate::route::check_domain;
use crate::{AliasMove, AliasStep, AuditEvent, Kind, Name, Pointer, PointerTarget, RegistryError, Route, Routes, Verdict};

impl Registry {
    /// Moves an alias to a version, all of whose files are hashed first.
    ///
    /// What serves, that is `champion` and every alias that a route names, takes a patch only with the verdict [`Verdict::Promoted`], or by force, which is
    /// recorded in the pointer. After an error of the system's the alias may have moved or not: whoever wants to try again reads it first.
    ///
    /// # Errors
    /// [`RegistryError::Stale`] when the alias has moved since the caller has seen it; a version that is not there or damaged; [`RegistryError::Refused`].
    pub fn move_alias(&self, wish: &AliasMove) -> Result<Pointer, RegistryError> {
        check_note("who moves it", &wish.by)?;
        check_note("why", &wish.reason)?;
        // Without the lock, since it may take long: a version never changes.
        let stored = self.verify(wish.kind, &wish.name, wish.version)?;
        let forced = wish.force && wish.verdict != Verdict::Promoted;
        let target = PointerTarget { version: wish.version, digest: stored.digest, verdict: wish.verdict, forced };
        let moved = |before: Option<&Pointer>| Ok(Pointer::moved(before, target, &wish.by, &wish.reason));
        self.swap(wish.kind, &wish.name, &wish.alias, wish.expected, moved, AuditEvent::Moved)
    }

    /// Moves an alias back to what it named before; its generation grows all the same. The files of that version are hashed first.
    ///
    /// # Errors
    /// As [`move_alias`](Self::move_alias); [`RegistryError::NothingEarlier`].
    pub fn rollback(
        &self,
        kind: Kind,
        name: &Name,
        alias: &Name,
        expected: u64,
        (by, reason): (&str, &str),
    ) -> Result<Pointer, RegistryError> {
        check_note("who moves it", by)?;
        check_note("why", reason)?;
        let nothing = || RegistryError::NothingEarlier { alias: alias.clone() };
        if let Some(earlier) = self.alias(kind, name, alias)?.and_then(|pointer| pointer.earlier.last().cloned()) {
            let stored = self.verify(kind, name, earlier.version)?;
            if stored.digest != earlier.digest {
                let path = format!("{}/{name}/{}", kind.folder(), earlier.version);
                return Err(RegistryError::Damaged { path, expected: earlier.digest, found: stored.digest });
            }
        }
        let back = |before: Option<&Pointer>| before.and_then(|pointer| pointer.moved_back(by, reason)).ok_or_else(nothing);
        self.swap(kind, name, alias, expected, back, AuditEvent::RolledBack)
    }

    /// Whether an alias of a patch serves: `champion`, and whatever a route names.
    ///
    /// # Errors
    /// The routes can not be read.
    pub fn serves(&self, kind: Kind, name: &Name, alias: &Name) -> Result<bool, RegistryError> {
        Ok(kind == Kind::Patch && invariant::serves(&self.routes()?, name, alias))
    }

    /// Passes an update through every invariant; that it was refused is logged.
    fn check_or_log(
        &self,
        before: &View,
        after: &View,
        (by, reason): (&str, &str),
        subject: &dyn Fn() -> String,
    ) -> Result<(), RegistryError> {
        let Err(error) = invariant::check(before, after) else { return Ok(()) };
        if let RegistryError::Refused { problem, .. } = &error {
            self.log(by, reason, AuditEvent::Refused { subject: subject(), problem: problem.clone() })?;
        }
        Err(error)
    }

    /// Compare and swap of an alias.
    fn swap(
        &self,
        kind: Kind,
        name: &Name,
        alias: &Name,
        expected: u64,
        new: impl FnOnce(Option<&Pointer>) -> Result<Pointer, RegistryError>,
        event: impl FnOnce(AliasStep) -> AuditEvent,
    ) -> Result<Pointer, RegistryError> {
        let _held = self.folder.lock()?;
        let before = self.view(kind, name)?;
        let key = (kind, name.clone(), alias.clone());
        let pointer = before.aliases.get(&key);
        let found = pointer.map_or(0, |pointer| pointer.generation);
        if found != expected {
            return Err(RegistryError::Stale { what: format!("alias `{alias}` of `{name}`"), expected, found });
        }
        let old = pointer.map(|pointer| pointer.target.version);
        let mut pointer = new(pointer)?;
        // Whatever it named that is not there is nothing to go back to.
        pointer.earlier.retain(|target| {
            let facts = before.versions.get(&(kind, name.clone(), target.version));
            facts.is_some_and(|facts| facts.digest == target.digest)
        });
        let mut after = before.clone();
        after.aliases.insert(key, pointer.clone());
        let PointerTarget { version, digest, verdict, forced } = pointer.target;
        let subject = || format!("{}/{name}/{alias} to {version}", kind.folder());
        self.check_or_log(&before, &after, (&pointer.updated_by, &pointer.reason), &subject)?;
        let (from, to, new) = (found, pointer.generation, version);
        let step = AliasStep { kind, name: name.clone(), alias: alias.clone(), from, to, old, new, digest, verdict, forced };
        self.log(&pointer.updated_by, &pointer.reason, event(step))?;
        self.folder.create_folders(&format!("{}/{ALIASES}", shelf(kind, name)))?;
        let path = alias_file(kind, name, alias);
        self.folder.replace(&path, &temporary(&path), &pointer.to_bytes())?;
        Ok(pointer)
    }

    /// Sets the route of a domain, or takes it away.
    ///
    /// # Errors
    /// [`RegistryError::Stale`] when the routes have changed since the caller has seen them; [`RegistryError::Refused`] when the alias is not there, or names
    /// what the gate has not let through.
    pub fn set_route(
        &self,
        domain: &str,
        route: Option<Route>,
        expected: u64,
        (by, reason): (&str, &str),
    ) -> Result<Routes, RegistryError> {
        check_domain(domain)?;
        check_note("who sets it", by)?;
        check_note("why", reason)?;
        let _held = self.folder.lock()?;
        let routes = self.routes()?;
        if routes.generation != expected {
            return Err(RegistryError::Stale { what: "the table of routes".to_owned(), expected, found: routes.generation });
        }
        let before = match &route {
            Some(route) => self.view(Kind::Patch, &route.patch)?,
            None => View { versions: Default::default(), aliases: Default::default(), routes, bases: None },
        };
        let mut after = before.clone();
        match route {
            Some(route) => after.routes.domains.insert(domain.to_owned(), route),
            None => after.routes.domains.remove(domain),
        };
        if after.routes.domains == before.routes.domains {
            return Ok(before.routes);
        }
        after.routes.generation += 1;
        after.routes.updated_by = by.to_owned();
        after.routes.reason = reason.to_owned();
        let (old, new) = (before.routes.domains.get(domain), after.routes.domains.get(domain));
        let said = |route: Option<&Route>| route.map_or_else(|| "nowhere".to_owned(), |route| format!("{}/{}", route.patch, route.alias));
        self.check_or_log(&before, &after, (by, reason), &|| format!("requests of domain `{domain}` to {}", said(new)))?;
        let (from, to) = (before.routes.generation, after.routes.generation);
        let event = AuditEvent::Routed { domain: domain.to_owned(), from, to, old: old.cloned(), new: new.cloned() };
        self.log(by, reason, event)?;
        self.folder.replace(Routes::FILE, &temporary(Routes::FILE), &after.routes.to_bytes())?;
        Ok(after.routes)
    }
}
