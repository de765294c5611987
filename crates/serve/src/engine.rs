//! The engine: which base and patch a request means, what it is adapted to, and scoring on executors of one thread each.
//!
//! A request is resolved when it comes in (alias to version, domain to patch), waits in a bounded queue, and is taken by an executor together with what else waits. An executor encodes
//! the rows, adapts to support sets, and scores all rows of one patch in one pass. Whichever requests meet there, a row's score depends on base, patch, state and row alone.

mod job;
mod metrics;
mod model;
mod queue;
mod resident;
mod rows;
mod serving;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use acclimate_registry::{Digest, Kind, Name, PointerTarget, Registry, RegistryError, Route, Verdict, Version};
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::api::{
    Answer, At, Caller, Choice, ColumnInfo, EventIn, Fallback, ModelInfo, PatchInfo, PatchVersion, Readiness, Recorded, Refusal, ScoreAsk,
    Served, Service, Source, SupportSet,
};
use crate::events::EventConfig;
use job::{Executor, Job, Reply};
use metrics::Metrics;
pub use model::{Adapted, Ask, Change, Files, LoadedBase, LoadedPatch, Loader, Model, ModelError, Support};
use queue::{Full, Queue};
use resident::{Loaded, Patch, Resident};
use rows::{Encoding, States};
use serving::{Adaptations, Target};
pub use users::{PATCH as SEGMENTS_PATCH, segments_of, user_key};

/// How the engine works.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Bases to serve, each at an alias or version; empty: every base, at `champion`, or at its latest version where it has no such alias.
    #[serde(skip)]
    pub bases: Vec<(Name, Option<At>)>,
    /// Threads that score; 0: as many as there are cores.
    pub executors: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Rows that may wait.
    pub queued_rows: usize,
    /// Rows that an executor takes at once.
    pub batch_rows: usize,
    /// Most rows of a request.
    pub rows: usize,
    /// Most rows of a support set.
    pub support: usize,
    /// Bytes of patches in memory; what has not been asked for longest goes first.
    pub patch_bytes: usize,
    /// Bytes of what requests were adapted to.
    pub adapted_bytes: usize,
    /// Requests that may wait for a patch that is not in memory; more are told to come again.
    pub loads: usize,
    /// Milliseconds after which aliases and routes are read again.
    pub refresh_ms: u64,
    /// Names that are read again at a time.
    pub refresh_names: usize,
    /// How events are kept.
    pub events: EventConfig,
    /// Folder of feature states and events.
    #[serde(skip)]
    pub state: std::path::PathBuf,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            bases: Vec::new(),
            executors: 0,
            queue: 1024,
            queued_rows: 1 << 17,
            batch_rows: 4096,
            rows: 4096,
            support: 256,
            patch_bytes: 1 << 30,
            adapted_bytes: 256 << 20,
            loads: 256,
            refresh_ms: 1000,
            refresh_names: 1000,
            events: EventConfig::default(),
            state: "state".into(),
        }
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The registry can not be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A base can not be loaded.
    #[error("base `{name}` {version}: {problem}")]
    Base {
        /// Its name.
        name: Name,
        /// Its version.
        version: Version,
        /// What is wrong.
        problem: String,
    },
    /// There is none.
    #[error("no base is published in the registry; see `acclimate registry publish --help`")]
    NoBase,
    /// A base has no such alias or version.
    #[error("base `{name}` has no {at}; `acclimate registry list` says what there is")]
    NoVersion {
        /// Its name.
        name: Name,
        /// What was asked for.
        at: String,
    },
    /// The feature state can not be opened.
    #[error("the feature state of base `{name}`: {problem}")]
    State {
        /// The base.
        name: Name,
        /// What is wrong.
        problem: String,
    },
}

/// A base that is served.
pub(crate) struct Base<B> {
    pub(crate) name: Name,
    pub(crate) version: Version,
    pub(crate) digest: Digest,
    /// Its own identity, which patches name.
    pub(crate) identity: Digest,
    pub(crate) loaded: LoadedBase<B>,
    pub(crate) encoding: Arc<Encoding>,
}

/// The engine. Dropping it ends its threads once what waits is answered.
pub struct Engine<L: Loader> {
    shared: Arc<Shared<L>>,
    executors: Mutex<Vec<JoinHandle<()>>>,
}

pub(crate) struct Shared<L: Loader> {
    loader: L,
    registry: Registry,
    config: EngineConfig,
    bases: ArcSwap<BTreeMap<Name, Arc<Base<L::Base>>>>,
    routes: ArcSwap<HashMap<String, Route>>,
    resident: Resident,
    /// Names that are being loaded, each with a lock that the loader holds: whoever wants the same waits for it.
    loading: Mutex<HashMap<Name, Arc<Mutex<()>>>>,
    /// Names that are not in the registry, or why nothing of them can be loaded, until the next refresh: asking again costs nothing.
    absent: Mutex<HashMap<Name, Option<String>>>,
    slots: tokio::sync::Semaphore,
    lanes: tokio::sync::Semaphore,
    queue: Queue<Job<L::Base>>,
    adaptations: Adaptations,
    metrics: Metrics,
    closing: AtomicBool,
    states: States,
    /// Where the next refresh of names begins.
    cursor: Mutex<Option<Name>>,
}

/// The tenant of whoever asks where no key is asked for.
pub(crate) const LOCAL: &str = "local";

/// Versions of a patch that are kept though no alias names them.
const NUMBERED: usize = 4;

/// Patches that are loaded at a time.
const LANES: usize = 2;

/// Names that are remembered as absent, at most.
const MOST_ABSENT: usize = 10_000;

impl<L: Loader> Engine<L> {
    /// Loads the bases and starts the executors. Patches are loaded when they are asked for; those that routes name are loaded now.
    ///
    /// # Errors
    /// [`EngineError`]; a patch that can not be loaded is none, it is said by [`refresh`](Service::refresh) and in the list of patches.
    pub fn start(registry: Registry, loader: L, config: EngineConfig) -> Result<Self, EngineError> {
        std::fs::create_dir_all(&config.state).map_err(|error| EngineError::State {
            name: "all".parse().expect("a strict name"),
            problem: format!("{}: {error}", config.state.display()),
        })?;
        let (mut bases, states, mut skipped) = (BTreeMap::new(), States::default(), Vec::new());
        for (name, at) in chosen(&registry, &config.bases)? {
            match load_base((&registry, &loader), (&config, &states), &name, at.as_ref()) {
                Ok(base) => _ = bases.insert(name, Arc::new(base)),
                // One that nobody has named is left out, so that the others are served.
                Err(error) if config.bases.is_empty() => skipped.push(error),
                Err(error) => return Err(error),
            }
        }
        if bases.is_empty() {
            return Err(skipped.pop().unwrap_or(EngineError::NoBase));
        }
        skipped.iter().for_each(|error| tracing::warn!("not served: {error}"));
        let threads = match config.executors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let shared = Arc::new(Shared {
            loader,
            bases: ArcSwap::from_pointee(bases),
            routes: ArcSwap::from_pointee(routes(&registry)?),
            registry,
            resident: Resident::new(config.patch_bytes),
            loading: Mutex::default(),
            absent: Mutex::default(),
            slots: tokio::sync::Semaphore::new(config.loads.max(1)),
            lanes: tokio::sync::Semaphore::new(LANES),
            queue: Queue::new(config.queue, config.queued_rows),
            adaptations: Adaptations::new(config.adapted_bytes),
            metrics: Metrics::default(),
            closing: AtomicBool::new(false),
            states,
            cursor: Mutex::default(),
            config,
        });
        let executor = |i: usize| {
            let shared = shared.clone();
            let run = move || Executor::new(shared).run();
            std::thread::Builder::new().name(format!("executor-{i}")).spawn(run).expect("the system gives a thread")
        };
        let executors = (0..threads).map(executor).collect();
        let engine = Self { shared, executors: Mutex::new(executors) };
        let routed: HashSet<Name> = engine.shared.routes.load().values().map(|route| route.patch.clone()).collect();
        engine.shared.resident.pin(routed.clone());
        routed.iter().for_each(|name| _ = engine.shared.fetch(name));
        Ok(engine)
    }

    /// Takes no more requests, answers those that wait, and ends the executors.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.queue.close();
        let executors = std::mem::take(&mut *self.executors.lock().unwrap_or_else(PoisonError::into_inner));
        executors.into_iter().for_each(|executor| _ = executor.join());
    }

    /// Reads aliases and routes again every so often, until the engine is closed. It blocks: give it a thread of its own.
    pub fn keep_fresh(&self) {
        let (shared, mut said) = (self.shared.clone(), Vec::new());
        while !shared.closing.load(Ordering::SeqCst) {
            // A fault while something is loaded must not be the last time that anything is followed.
            let refreshed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.refresh(shared.config.refresh_names)));
            let problems = refreshed.unwrap_or_else(|_| vec!["a fault inside the server while the registry was read again".into()]);
            // Said when it is new, not every second.
            problems.iter().filter(|problem| !said.contains(*problem)).for_each(|problem| tracing::warn!("{problem}"));
            said = problems;
            std::thread::park_timeout(Duration::from_millis(shared.config.refresh_ms));
        }
    }

    async fn submit(&self, caller: &Caller, mut ask: ScoreAsk, keeps: bool) -> Result<Answer, Refusal> {
        if let Choice::Domain(domain) = &ask.choice {
            // The rows are of the domain whose patch is asked for.
            let domain = domain.clone();
            ask.shared.entry("domain".into()).or_insert(acclimate_data::RawValue::Text(domain));
        }
        let arrived = Instant::now();
        let shared = &self.shared;
        shared.check(&ask, keeps)?;
        let target = shared.resolve(&ask).await?;
        let support = match &ask.support {
            Some(SupportSet::Rows(rows)) => rows.len(),
            _ => 0,
        };
        let rows = ask.items.len() + support.max(1);
        let (reply, answer) = oneshot::channel();
        let deadline = ask.deadline.map(|deadline| arrived + deadline);
        let job = Job { target, ask, tenant: caller.tenant.clone(), arrived, deadline, reply: Reply(reply) };
        shared.queue.push(rows, job).map_err(|full| match full {
            Full::Busy => Refusal::Busy { retry_ms: 10 },
            Full::Closed => Refusal::Unavailable { reason: "the server is shutting down".into() },
        })?;
        answer.await.unwrap_or_else(|_| Err(Refusal::Failed { problem: "the executor ended before it answered".into() }))
    }

    fn counted<T>(&self, answer: Result<T, Refusal>) -> Result<T, Refusal> {
        self.shared.metrics.answered(answer.as_ref().err().map_or("ok", Refusal::code));
        answer
    }
}

impl<L: Loader> Drop for Engine<L> {
    fn drop(&mut self) {
        self.close();
    }
}

fn routes(registry: &Registry) -> Result<HashMap<String, Route>, RegistryError> {
    Ok(registry.routes()?.domains.into_iter().collect())
}

/// The bases that are meant.
fn chosen(registry: &Registry, wanted: &[(Name, Option<At>)]) -> Result<Vec<(Name, Option<At>)>, EngineError> {
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    Ok(registry.names(Kind::Base)?.into_iter().map(|name| (name, None)).collect())
}

/// The version that an alias or number means; `None`: `champion`, else the latest.
fn base_version(registry: &Registry, name: &Name, at: Option<&At>) -> Result<Version, EngineError> {
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

pub(crate) fn champion() -> Name {
    "champion".parse().expect("a strict name")
}

/// Whether the gate has let a target through, or somebody has forced it. Pointers are checked when they move; whoever writes them otherwise is not asked to be honest.
pub(crate) fn may_serve(target: &PointerTarget) -> bool {
    target.verdict == Verdict::Promoted || target.forced
}

fn load_base<L: Loader>(
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
    /// What is wrong with a request before anything is looked up.
    fn check(&self, ask: &ScoreAsk, keeps: bool) -> Result<(), Refusal> {
        let most = |what: &str, found: usize, limit: usize| match found > limit {
            true => Err(Refusal::TooLarge { what: what.into(), found: found as u64, limit: limit as u64 }),
            false => Ok(()),
        };
        most("items", ask.items.len(), self.config.rows)?;
        if let Some(SupportSet::Rows(rows)) = &ask.support {
            most("support", rows.len(), self.config.support)?;
            if let Some(at) = rows.iter().position(|row| !row.label.is_finite()) {
                return Err(Refusal::invalid(format!("support[{at}].label"), "it is not a finite number"));
            }
        }
        if keeps && ask.support.is_none() {
            return Err(Refusal::invalid("support", "there is nothing to adapt to; give labelled rows"));
        }
        if self.closing.load(Ordering::SeqCst) {
            return Err(Refusal::Unavailable { reason: "the server is shutting down".into() });
        }
        Ok(())
    }

    fn base(&self, name: Option<&Name>) -> Result<Arc<Base<L::Base>>, Refusal> {
        let bases = self.bases.load();
        match name {
            Some(name) => bases.get(name).cloned().ok_or_else(|| Refusal::Unknown { what: format!("base `{name}`") }),
            None if bases.len() == 1 => Ok(bases.values().next().cloned().expect("there is one")),
            None => {
                let names: Vec<&str> = bases.keys().map(Name::as_str).collect();
                Err(Refusal::invalid("base", format!("several are served, name one of {}", names.join(", "))))
            }
        }
    }

    /// The base and patch that a request means, loaded if they are not in memory yet.
    async fn resolve(self: &Arc<Self>, ask: &ScoreAsk) -> Result<Target<L::Base>, Refusal> {
        let base = self.base(ask.base.as_ref())?;
        let mut steps: Vec<(String, Name, At)> = Vec::new();
        let routed = |domain: &str| {
            let routes = self.routes.load();
            routes.get(domain).map(|route| (format!("domain `{domain}`"), route.patch.clone(), At::Alias(route.alias.clone())))
        };
        let mut fallback: Option<Fallback> = None;
        let wanted = match &ask.choice {
            Choice::Base => return Ok(Target { base, patch: None, fallback: None }),
            Choice::Patch { name, at } => {
                steps.push((said(name, at), name.clone(), at.clone()));
                if let Some(acclimate_data::RawValue::Text(domain)) = ask.shared.get("domain").filter(|_| ask.ladder) {
                    steps.extend(routed(domain));
                }
                said(name, at)
            }
            Choice::Domain(domain) => {
                steps.extend(routed(domain));
                if steps.is_empty() && !ask.ladder {
                    let problem = format!(
                        "no route leads from `{domain}`; `acclimate registry route` sets one, and with `fallback` the base answers"
                    );
                    return Err(Refusal::Conflict { what: "domain".into(), problem });
                }
                if steps.is_empty() {
                    fallback = Some(Fallback {
                        wanted: format!("domain `{domain}`"),
                        got: "base".into(),
                        reason: "no route leads from this domain".into(),
                    });
                }
                format!("domain `{domain}`")
            }
        };
        for (got, name, at) in steps {
            match self.find(&base, &name, &at).await {
                Ok(found) => {
                    let fallback = fallback.map(|fallback| Fallback { got, ..fallback });
                    return Ok(Target { base, patch: Some(found), fallback });
                }
                Err(refusal) if !ask.ladder => return Err(refusal),
                Err(refusal) => {
                    fallback.get_or_insert(Fallback { wanted: wanted.clone(), got: "base".into(), reason: refusal.to_string() });
                }
            }
        }
        Ok(Target { base, patch: None, fallback })
    }

    /// A version of a patch for a base.
    async fn find(self: &Arc<Self>, base: &Base<L::Base>, name: &Name, at: &At) -> Result<serving::Found, Refusal> {
        let is_there = |patch: &Patch| found(patch, name, at, base);
        if let Some(found) = self.resident.get(name).as_deref().and_then(is_there) {
            self.metrics.hit();
            return Ok(found);
        }
        let unknown = || Refusal::Unknown { what: said(name, at) };
        let refused = |problem: Option<String>| problem.map_or_else(unknown, |problem| Refusal::Conflict { what: said(name, at), problem });
        if let (Some(problem), true) = (self.absent.lock().unwrap_or_else(PoisonError::into_inner).get(name), matches!(at, At::Alias(_))) {
            return Err(refused(problem.clone()));
        }
        // What an alias names could not be loaded: the refresh tries again, not each request.
        if let (At::Alias(_), Some(patch)) = (at, self.resident.peek(name))
            && patch.problem.is_some()
        {
            return Err(refused(patch.problem.clone()));
        }
        // At most so many wait; whoever comes beyond that is told so at once. Two load at a time, so that those who score keep their cores.
        let Ok(slot) = self.slots.try_acquire() else { return Err(Refusal::Busy { retry_ms: 20 }) };
        let lane = self.lanes.acquire().await.map_err(|_| Refusal::Unavailable { reason: "the server is shutting down".into() })?;
        if let Some(found) = self.resident.get(name).as_deref().and_then(is_there) {
            return Ok(found);
        }
        let (own, wanted, at_load) = (self.clone(), name.clone(), at.clone());
        let identity = base.identity;
        let loaded = tokio::task::spawn_blocking(move || own.fetch_at(&wanted, Some((&at_load, identity)))).await;
        drop((lane, slot));
        let patch = loaded.map_err(|error| Refusal::Failed { problem: format!("loading failed: {error}") })??;
        is_there(&patch).ok_or_else(|| refused(patch.problem.clone()))
    }

    /// Loads what the aliases of a patch name.
    fn fetch(&self, name: &Name) -> Result<Arc<Patch>, Refusal> {
        self.fetch_at(name, None)
    }

    /// Loads what the aliases of a patch name, and a version that was asked for. Two who want the same load it once.
    fn fetch_at(&self, name: &Name, wanted: Option<(&At, Digest)>) -> Result<Arc<Patch>, Refusal> {
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

    fn read(&self, name: &Name, wanted: Option<(&At, Digest)>) -> Result<Arc<Patch>, Refusal> {
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
                    patch.problem = Some(format!("{}: {problem}", target.version));
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
        if let Some((At::Version(version), _)) = wanted
            && !patch.versions.contains_key(version)
        {
            match is_loaded(version, None).map_or_else(|| self.load_version(name, *version, None), Ok) {
                Ok(loaded) => _ = patch.versions.insert(*version, loaded),
                Err(problem) => return Err(Refusal::Conflict { what: said(name, &At::Version(*version)), problem }),
            }
        }
        let numbers =
            before.iter().flat_map(|before| before.versions.keys().rev()).filter(|version| !patch.versions.contains_key(version)).copied();
        for version in numbers.take(NUMBERED).collect::<Vec<_>>() {
            if let Some(loaded) = is_loaded(&version, None) {
                patch.versions.insert(version, loaded);
            }
        }
        if patch.versions.is_empty() {
            return Err(match &patch.problem {
                Some(problem) => {
                    self.remember_absent(name, Some(problem.clone()));
                    Refusal::Conflict { what: format!("patch `{name}`"), problem: problem.clone() }
                }
                None => Refusal::Unknown { what: format!("patch `{name}`, to which no alias points") },
            });
        }
        Ok(self.resident.put(name, patch))
    }

    /// Whether an alias serves: by its name, or because a route names it.
    fn serves(&self, name: &Name, alias: &Name) -> bool {
        *alias == champion() || self.routes.load().values().any(|route| route.patch == *name && route.alias == *alias)
    }

    /// Whether the heads of known users that were loaded with a version are those that serve now.
    fn has_users(&self, name: &Name, loaded: &Loaded) -> bool {
        let Ok(target) = users::Users::target(&self.registry, name) else { return true };
        match (target, &loaded.users) {
            (Some((_, target)), Some(users)) => users.source.source.digest == target.digest,
            // Those of another version of the patch are none of this one.
            (Some((_, target)), None) => loaded.unused_users == Some(target.digest),
            (None, users) => users.is_none(),
        }
    }

    fn remember_absent(&self, name: &Name, problem: Option<String>) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() < MOST_ABSENT {
            absent.insert(name.clone(), problem);
        }
    }

    fn has_base(&self, identity: Digest) -> bool {
        self.bases.load().values().any(|base| base.identity == identity)
    }

    /// Loads a version. Its files are hashed against its manifest, and its manifest against what the alias pins.
    fn load_version(&self, name: &Name, version: Version, digest: Option<Digest>) -> Result<Arc<Loaded>, String> {
        let began = Instant::now();
        let loaded = self.load_version_now(name, version, digest);
        self.metrics.loaded(loaded.is_ok(), began.elapsed());
        loaded
    }

    fn load_version_now(&self, name: &Name, version: Version, digest: Option<Digest>) -> Result<Arc<Loaded>, String> {
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
        Ok(Arc::new(Loaded { version, digest: stored.digest, base, methods, model, encoding, users, unused_users }))
    }

    /// Reads routes, bases and the aliases of up to so many patches in memory again; gives what could not be loaded and why.
    fn refresh(&self, most: usize) -> Vec<String> {
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
                    Ok(patch) => problems.extend(
                        patch.problem.as_ref().map(|problem| format!("patch `{name}` {problem}; the version before still answers")),
                    ),
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
    fn is_current(&self, name: &Name) -> bool {
        let Some(patch) = self.resident.peek(name) else { return false };
        let Ok(pointers) = self.registry.aliases(Kind::Patch, name) else { return false };
        patch.problem.is_none()
            && pointers.len() == patch.aliases.len()
            && pointers.iter().all(|(alias, pointer)| patch.aliases.get(alias) == Some(&pointer.target))
            && patch.versions.values().all(|loaded| self.has_base(loaded.base) && self.has_users(name, loaded))
    }

    fn refresh_bases(&self, problems: &mut Vec<String>) {
        let now = self.bases.load_full();
        let Ok(wanted) = chosen(&self.registry, &self.config.bases) else { return };
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

    fn info(&self, name: &Name, patch: &Patch) -> Option<PatchInfo> {
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
            problem: patch.problem.clone(),
        })
    }
}

fn said(name: &Name, at: &At) -> String {
    match at {
        At::Alias(alias) => format!("patch `{name}@{alias}`"),
        At::Version(version) => format!("patch `{name}@{version}`"),
    }
}

/// The version that is meant, if it is in memory and of this base.
fn found<B>(patch: &Patch, name: &Name, at: &At, base: &Base<B>) -> Option<serving::Found> {
    let (version, alias, target) = match at {
        At::Version(version) => (*version, None, None),
        At::Alias(alias) => {
            let target = patch.aliases.get(alias)?;
            (target.version, Some(alias.clone()), Some(target.clone()))
        }
    };
    let loaded = patch.versions.get(&version).filter(|loaded| loaded.base == base.identity)?;
    Some(serving::Found { name: name.clone(), loaded: loaded.clone(), alias, target })
}

impl<L: Loader> Service for Engine<L> {
    async fn score(&self, caller: &Caller, ask: ScoreAsk) -> Result<Answer, Refusal> {
        let answer = self.submit(caller, ask, false).await;
        self.counted(answer)
    }

    async fn adapt(&self, caller: &Caller, ask: ScoreAsk) -> Result<Served, Refusal> {
        let answer = self.submit(caller, ask, true).await.map(|answer| answer.served);
        self.counted(answer)
    }

    async fn record(&self, caller: &Caller, base: Option<Name>, mut events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        // Ids are a tenant's own: that of another is no repetition.
        if caller.tenant != LOCAL {
            events.iter_mut().for_each(|event| event.id = format!("{}/{}", caller.tenant, event.id));
        }
        let recorded = match self.shared.base(base.as_ref()) {
            Ok(base) => base.encoding.record(events).await,
            Err(refusal) => Err(refusal),
        };
        self.counted(recorded)
    }

    fn patches(&self, _: &Caller) -> Vec<PatchInfo> {
        let shared = &self.shared;
        shared.resident.names().iter().filter_map(|name| shared.info(name, &*shared.resident.peek(name)?)).collect()
    }

    fn models(&self) -> Vec<ModelInfo> {
        let columns = |base: &Base<L::Base>| -> Vec<ColumnInfo> { base.encoding.columns() };
        let info = |base: &Arc<Base<L::Base>>| ModelInfo {
            name: base.name.clone(),
            version: base.version,
            digest: base.digest,
            columns: columns(base),
            output: base.loaded.output,
        };
        self.shared.bases.load().values().map(info).collect()
    }

    fn readiness(&self) -> Readiness {
        let closing = self.shared.closing.load(Ordering::SeqCst);
        let mut reasons: Vec<String> = Vec::new();
        if closing {
            reasons.push("it is shutting down".into());
        }
        for (domain, route) in self.shared.routes.load().iter() {
            if self.shared.resident.peek(&route.patch).is_none_or(|patch| !patch.aliases.contains_key(&route.alias)) {
                reasons.push(format!(
                    "domain `{domain}` is sent to {}, which is not loaded",
                    said(&route.patch, &At::Alias(route.alias.clone()))
                ));
            }
        }
        reasons.sort_unstable();
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn metrics(&self, out: &mut String) {
        let shared = &self.shared;
        shared.metrics.write(out);
        shared.metrics.gauges(
            out,
            &[
                ("acclimate_queue_jobs", "Requests that wait.", shared.queue.waiting() as f64),
                ("acclimate_patches", "Patches in memory.", shared.resident.count() as f64),
                ("acclimate_patch_bytes", "Bytes of patches in memory.", shared.resident.bytes() as f64),
                (
                    "acclimate_patches_evicted",
                    "Patches that were let go because memory was short.",
                    shared.resident.evicted.load(Ordering::Relaxed) as f64,
                ),
            ],
        );
        shared.adaptations.write(out);
    }

    async fn refresh(&self) -> Vec<String> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || shared.refresh(usize::MAX)).await {
            Ok(problems) => problems,
            Err(error) => vec![format!("the refresh failed: {error}")],
        }
    }

    async fn load(&self, name: Name, at: Option<At>) -> Result<PatchInfo, Refusal> {
        let shared = self.shared.clone();
        let identity = Digest::of(b"");
        let load = move || {
            shared.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            let patch = shared.fetch_at(&name, at.as_ref().map(|at| (at, identity)))?;
            shared.info(&name, &patch).ok_or_else(|| Refusal::Unknown { what: format!("patch `{name}`") })
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(Refusal::Failed { problem: error.to_string() }))
    }

    async fn unload(&self, name: Name) -> Result<(), Refusal> {
        match self.shared.resident.remove(&name) {
            true => Ok(()),
            false => Err(Refusal::Unknown { what: format!("patch `{name}`") }),
        }
    }
}

impl<B> Base<B> {
    fn source(&self) -> Source {
        Source { name: self.name.clone(), version: self.version, digest: self.digest }
    }
}
