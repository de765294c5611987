//! Writing and checking the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Registry, temporary};
use crate::audit::{AliasStep, AuditEvent, AuditLine, AuditReport, Head, day};
use crate::folder::{Blob, io};
use crate::{Digest, Kind, Name, Pointer, RegistryError, Route, Verdict, Version};

/// The folder.
pub(super) const AUDIT: &str = "audit";
const ENDING: &str = ".jsonl";
/// Most bytes that writers who died may have left after the head.
const MOST_LEFT: u64 = 1 << 20;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;

impl Registry {
    /// Adds a line, durably. The caller holds the lock, and does what the line tells of after it.
    pub(super) fn log(&self, by: &str, reason: &str, event: AuditEvent) -> Result<(), RegistryError> {
        let head = self.settled()?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        // A clock that goes back changes no order.
        let file = format!("{}{ENDING}", day(at)).max(head.file.clone());
        let (by, reason, format) = (by.to_owned(), reason.to_owned(), AuditLine::FORMAT);
        let line = AuditLine { format, number: head.number + 1, before: head.last, at, by, reason, event }.to_bytes()?;
        let path = format!("{AUDIT}/{file}");
        self.folder.create_folders(AUDIT)?;
        let begin = if file == head.file { head.end } else { 0 };
        match self.folder.create(&path) {
            Ok(()) => self.folder.sync_folder(AUDIT)?,
            Err(RegistryError::Io { source, .. }) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.folder.append(&path, &line)?;
        self.folder.sync(&path)?;
        self.set_head(&head.after(&line[..line.len() - 1], &file, begin + line.len() as u64))
    }

    fn set_head(&self, head: &Head) -> Result<(), RegistryError> {
        self.folder.replace(Head::FILE, &temporary(Head::FILE), &head.to_bytes())
    }

    fn head(&self) -> Result<Head, RegistryError> {
        self.folder.read_if_there(Head::FILE, 4096)?.map_or_else(|| Ok(Head::none()), |bytes| Head::read(&bytes))
    }

    /// The head, after lines that a writer who died has left behind it were taken up, and a part of one was cleared away.
    fn settled(&self) -> Result<Head, RegistryError> {
        let stored = self.head()?;
        let mut head = stored.clone();
        let days = self.days()?;
        if !(head.file.is_empty() || days.contains(&head.file)) {
            return Err(broken(&head.file, head.number, "the file is not there, and the head names it"));
        }
        for file in days.into_iter().filter(|file| *file >= stored.file) {
            let path = format!("{AUDIT}/{file}");
            let blob = self.folder.open(&path)?;
            let mut lines = Lines::open(&*blob, &path, if file == stored.file { stored.end } else { 0 })?;
            if lines.left > MOST_LEFT {
                return Err(broken(&file, head.number, "there are more lines than the head knows of: was it removed or put back"));
            }
            while let Some(Found { bytes, end, whole }) = lines.next()? {
                if !whole {
                    self.cut(&path, end - bytes.len() as u64)?;
                    break;
                }
                AuditLine::read(&bytes, head.number + 1, head.last).map_err(|problem| broken(&file, head.number + 1, &problem))?;
                head = head.after(&bytes, &file, end);
            }
        }
        if head != stored {
            self.set_head(&head)?;
        }
        Ok(head)
    }

    /// Leaves the first bytes of a file.
    fn cut(&self, path: &str, length: u64) -> Result<(), RegistryError> {
        let (blob, beside) = (self.folder.open(path)?, temporary(path));
        self.folder.create(&beside)?;
        let mut done = 0;
        while done < length {
            let mut part = vec![0; CHUNK.min((length - done) as usize)];
            blob.read_exact_at(&mut part, done).map_err(io("read", path))?;
            self.folder.append(&beside, &part)?;
            done += part.len() as u64;
        }
        self.folder.sync(&beside)?;
        self.folder.rename(&beside, path)?;
        self.folder.sync_folder(AUDIT)
    }

    /// The files of the log, oldest first.
    fn days(&self) -> Result<Vec<String>, RegistryError> {
        let entries = self.folder.list_if_there(AUDIT)?;
        Ok(entries
            .into_iter()
            .filter(|entry| !entry.is_folder && entry.name.ends_with(ENDING) && !entry.name.starts_with('.'))
            .map(|entry| entry.name)
            .collect())
    }

    /// Reads the whole audit log, gives each line to `each`, and checks that every line follows the one before, that the last that the head knows is there, and
    /// that every alias and every route is where the last line on it says. Aliases, routes and publishing wait meanwhile.
    ///
    /// # Errors
    /// [`RegistryError::Audit`] with the first line that was changed, removed or put elsewhere.
    pub fn audit(&self, each: &mut dyn FnMut(&AuditLine)) -> Result<AuditReport, RegistryError> {
        let _held = self.folder.lock()?;
        let (head, days) = (self.head()?, self.days()?);
        let (mut report, mut chain, mut steps) = (AuditReport::default(), Head::none(), Steps::default());
        for (at, file) in days.iter().enumerate() {
            let path = format!("{AUDIT}/{file}");
            let blob = self.folder.open(&path)?;
            let mut lines = Lines::open(&*blob, &path, 0)?;
            while let Some(Found { bytes, end, whole }) = lines.next()? {
                let number = chain.number + 1;
                if !whole {
                    if at + 1 < days.len() || number <= head.number {
                        return Err(broken(file, number, "it was cut off"));
                    }
                    report.cut_off = Some(path.clone());
                    break;
                }
                let line = AuditLine::read(&bytes, number, chain.last).map_err(|problem| broken(file, number, &problem))?;
                chain = chain.after(&bytes, file, end);
                if number == head.number && chain != head {
                    return Err(broken(file, number, "the head names another line of this number"));
                }
                steps.take(&line, &mut report);
                each(&line);
            }
        }
        if chain.number < head.number {
            let problem = format!("the log ends with line {}, and there were more: they were removed", chain.number);
            return Err(broken(&head.file, chain.number + 1, &problem));
        }
        report.lines = chain.number;
        steps.finish(self, &mut report)?;
        Ok(report)
    }
}

fn broken(file: &str, line: u64, problem: &str) -> RegistryError {
    RegistryError::Audit { path: format!("{AUDIT}/{file}"), line, problem: problem.to_owned() }
}

/// Where the log leads each alias and each route.
#[derive(Default)]
struct Steps {
    aliases: BTreeMap<(Kind, Name, Name), Led<Taken>>,
    routes: Led<(String, Option<Route>)>,
    /// By domain, what the steps that were done have set.
    routed: BTreeMap<String, Route>,
}

/// A step of an alias, with who took it and why.
type Taken = (AliasStep, String, String);

/// The last step of something, and the one before it that was done.
struct Led<T> {
    last: Option<(Step, T)>,
    done: Option<T>,
}

impl<T> Default for Led<T> {
    fn default() -> Self {
        Self { last: None, done: None }
    }
}

#[derive(Clone, Copy)]
struct Step {
    number: u64,
    from: u64,
    to: u64,
}

impl Step {
    /// What the generation that comes next says of this step: whether it was done.
    fn judge(self, found: u64, what: &str, report: &mut AuditReport) -> bool {
        if found == self.from {
            report.undone.push(self.number);
        } else if found != self.to {
            report.unlogged.push(format!("{what}: line {} led to generation {}, it went on from {found}", self.number, self.to));
        }
        found != self.from
    }
}

impl<T> Led<T> {
    /// Hands on the last step, if the generation that comes next says that it was done.
    fn settle(&mut self, found: u64, what: &str, report: &mut AuditReport) -> Option<&T> {
        let (step, told) = self.last.take()?;
        if !step.judge(found, what, report) {
            return None;
        }
        self.done = Some(told);
        self.done.as_ref()
    }
}

impl Steps {
    fn take(&mut self, line: &AuditLine, report: &mut AuditReport) {
        let number = line.number;
        match &line.event {
            AuditEvent::Moved(step) | AuditEvent::RolledBack(step) => {
                let AliasStep { kind, name, alias, from, to, .. } = step;
                let led = self.aliases.entry((*kind, name.clone(), alias.clone())).or_default();
                let (what, before) = (of_alias(name, alias), report.unlogged.len());
                led.settle(*from, &what, report);
                let done = led.done.as_ref().map(|(step, ..)| step.new);
                if done != step.old && report.unlogged.len() == before {
                    let said = |version: Option<Version>| version.map_or("nothing".to_owned(), |version| version.to_string());
                    report.unlogged.push(format!(
                        "{what}: the log had led to {}, and line {number} begins at {}",
                        said(done),
                        said(step.old)
                    ));
                }
                led.last = Some((Step { number, from: *from, to: *to }, (step.clone(), line.by.clone(), line.reason.clone())));
            }
            AuditEvent::Routed { from, to, domain, old, new } => {
                self.route(*from, report);
                if self.routed.get(domain) != old.as_ref() {
                    let (led_to, begins) = (said(self.routed.get(domain)), said(old.as_ref()));
                    report
                        .unlogged
                        .push(format!("the route of `{domain}`: the log had led to {led_to}, and line {number} begins at {begins}"));
                }
                self.routes.last = Some((Step { number, from: *from, to: *to }, (domain.clone(), new.clone())));
            }
            AuditEvent::Judged { .. } | AuditEvent::Refused { .. } => {}
        }
    }

    /// Does the last step of the routes, unless it was not done.
    fn route(&mut self, found: u64, report: &mut AuditReport) {
        match self.routes.settle(found, "the routes", report).cloned() {
            Some((domain, Some(route))) => _ = self.routed.insert(domain, route),
            Some((domain, None)) => _ = self.routed.remove(&domain),
            None => {}
        }
    }

    fn finish(mut self, registry: &Registry, report: &mut AuditReport) -> Result<(), RegistryError> {
        for ((kind, name, alias), led) in &mut self.aliases {
            let (what, pointer) = (of_alias(name, alias), registry.alias(*kind, name, alias)?);
            let before = report.unlogged.len();
            led.settle(pointer.as_ref().map_or(0, |pointer| pointer.generation), &what, report);
            let led_to =
                led.done.as_ref().map(|(step, by, reason)| (step.new, step.digest, step.verdict, step.forced, &by[..], &reason[..]));
            let names = pointer.as_ref().map(|Pointer { target, updated_by, reason, .. }| {
                (target.version, target.digest, target.verdict, target.forced, &updated_by[..], &reason[..])
            });
            if names != led_to && report.unlogged.len() == before {
                let said = |to: Option<(Version, Digest, Verdict, bool, &str, &str)>| match to {
                    Some((version, digest, verdict, forced, by, reason)) => {
                        format!("{version} ({digest}), `{verdict}`{}, by {by}: {reason}", if forced { ", forced" } else { "" })
                    }
                    None => "nothing".to_owned(),
                };
                report.unlogged.push(format!("{what}: the log leads to {}, and it names {}", said(led_to), said(names)));
            }
        }
        for kind in Kind::ALL {
            for name in registry.names(kind)? {
                for alias in registry.aliases(kind, &name)?.into_keys() {
                    if !self.aliases.contains_key(&(kind, name.clone(), alias.clone())) {
                        report.unlogged.push(format!("{}: no line tells of it", of_alias(&name, &alias)));
                    }
                }
            }
        }
        let routes = registry.routes()?;
        self.route(routes.generation, report);
        let differ = |domain: &&String| self.routed.get(*domain) != routes.domains.get(*domain);
        let domains: BTreeSet<&String> = self.routed.keys().chain(routes.domains.keys()).filter(differ).collect();
        for domain in domains {
            let (led_to, goes) = (said(self.routed.get(domain)), said(routes.domains.get(domain)));
            report.unlogged.push(format!("the route of `{domain}`: the log leads to {led_to}, and it goes to {goes}"));
        }
        report.undone.sort_unstable();
        Ok(())
    }
}

fn said(route: Option<&Route>) -> String {
    route.map_or("nothing".to_owned(), |route| format!("`{}@{}`", route.patch, route.alias))
}

fn of_alias(name: &Name, alias: &Name) -> String {
    format!("alias `{alias}` of `{name}`")
}

/// The lines of a file from an offset on, a part of the file at a time.
struct Lines<'a> {
    blob: &'a dyn Blob,
    path: &'a str,
    /// What was read; up to `given` it was given.
    held: Vec<u8>,
    given: usize,
    /// Where `held` ends in the file.
    offset: u64,
    /// Bytes that were not read yet.
    left: u64,
}

struct Found {
    bytes: Vec<u8>,
    /// Where it ends in the file, line break included.
    end: u64,
    /// Whether there is a line break.
    whole: bool,
}

impl<'a> Lines<'a> {
    fn open(blob: &'a dyn Blob, path: &'a str, offset: u64) -> Result<Self, RegistryError> {
        let size = blob.size().map_err(io("read", path))?;
        let Some(left) = size.checked_sub(offset) else {
            let problem = format!("the file has {size} bytes, and there were {offset}: lines were removed");
            return Err(RegistryError::Audit { path: path.to_owned(), line: 0, problem });
        };
        Ok(Self { blob, path, held: Vec::new(), given: 0, offset, left })
    }

    fn next(&mut self) -> Result<Option<Found>, RegistryError> {
        let mut searched = self.given;
        loop {
            if let Some(at) = self.held[searched..].iter().position(|&byte| byte == b'\n') {
                return Ok(Some(self.give(searched + at, true)));
            }
            if self.left == 0 {
                return Ok((self.given < self.held.len()).then(|| self.give(self.held.len(), false)));
            }
            self.held.drain(..self.given);
            (self.given, searched) = (0, self.held.len());
            if searched > AuditLine::LARGEST {
                let problem = format!("a line has more than {} bytes", AuditLine::LARGEST);
                return Err(RegistryError::Audit { path: self.path.to_owned(), line: 0, problem });
            }
            let mut part = vec![0; CHUNK.min(usize::try_from(self.left).unwrap_or(CHUNK))];
            self.blob.read_exact_at(&mut part, self.offset).map_err(io("read", self.path))?;
            self.left -= part.len() as u64;
            self.offset += part.len() as u64;
            self.held.extend(part);
        }
    }

    /// What is held up to `to`, and the line break after it.
    fn give(&mut self, to: usize, whole: bool) -> Found {
        let bytes = self.held[self.given..to].to_vec();
        self.given = to + usize::from(whole);
        Found { bytes, end: self.offset - (self.held.len() - self.given) as u64, whole }
    }
}

/// SHA-256 of a value as the registry writes it.
pub(super) fn digest_of(value: &impl serde::Serialize) -> Digest {
    Digest::of(&crate::json::written(value))
}
