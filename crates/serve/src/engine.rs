//! The engine: which base and patch a request means, what it is adapted to, and scoring on executors of one thread each.
//!
//! A request is resolved when it comes in (alias to version, domain to patch), waits in a bounded queue, and is taken by an executor together with what else waits. An executor encodes
//! the rows, adapts to support sets, and scores all rows of one patch in one pass. Whichever requests meet there, a row's score depends on base, patch, state and row alone.

mod config;
mod job;
mod loading;
mod metrics;
mod model;
mod queue;
mod resident;
mod rows;
mod service;
mod serving;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use acclimate_data::RawValue;
use acclimate_registry::{Digest, Name, PointerTarget, Registry, Route, Verdict, Version};
use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::api::{Answer, At, Caller, Choice, Fallback, Refusal, ScoreAsk, Source, SupportSet};
pub use config::{EngineConfig, EngineError};
pub use job::HISTORY;
use job::{Executor, Job, Place, Reply};
use loading::{chosen, load_base, routes};
use metrics::Metrics;
pub use model::{Adapted, Ask, Change, Files, LoadedBase, LoadedPatch, Loader, Model, ModelError, Support, Unfit};
use queue::{Full, Queue};
use resident::{Patch, Resident};
use rows::{Encoding, States};
use serving::{Adaptations, Target};
pub use users::{PATCH as SEGMENTS_PATCH, segments_of, user_key};

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
///
/// What it does for requests needs a runtime of tokio with timers and threads (`enable_time`, `new_multi_thread`): deadlines, and patches that are loaded when they are asked for.
pub struct Engine<L: Loader> {
    shared: Arc<Shared<L>>,
    executors: Mutex<Vec<JoinHandle<()>>>,
    /// Memory of those who score on the thread that asks.
    spare: Mutex<Vec<Executor<L>>>,
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
    slots: Arc<tokio::sync::Semaphore>,
    lanes: Arc<tokio::sync::Semaphore>,
    queue: Queue<Job<L::Base>>,
    /// Executors, and threads that ask, that score now.
    at_work: AtomicUsize,
    /// How many may.
    places: usize,
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

/// Rows of a request that is scored on the thread that asks, at most: a tenth of a millisecond or two.
const NOW_ROWS: usize = 512;

/// Patches that are loaded at a time.
const LANES: usize = 2;

/// Names that are remembered as absent, at most.
const MOST_ABSENT: usize = 10_000;

impl<L: Loader> Engine<L> {
    /// Loads the bases and starts the executors. Patches are loaded when they are asked for; those that routes name are loaded now.
    ///
    /// # Errors
    /// [`EngineError`]; a patch that can not be loaded is none, it is said by [`refresh`](crate::api::Service::refresh) and in the list of patches.
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
            slots: Arc::new(tokio::sync::Semaphore::new(config.loads.max(1))),
            lanes: Arc::new(tokio::sync::Semaphore::new(LANES)),
            queue: Queue::new(config.queue, config.queued_rows),
            at_work: AtomicUsize::new(0),
            places: threads,
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
        let engine = Self { shared, executors: Mutex::new(executors), spare: Mutex::default() };
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
        let arrived = Instant::now();
        let shared = &self.shared;
        shared.check(&ask, keeps)?;
        shared.base(ask.base.as_ref())?.encoding.name_domain(&mut ask)?;
        if let Choice::Domain(domain) = &ask.choice {
            // The rows are of the domain whose patch is asked for.
            ask.shared.entry("domain".into()).or_insert_with(|| RawValue::Text(domain.clone()));
        }
        let deadline = ask.deadline.map(|deadline| arrived + deadline);
        let target = shared.resolve_by(&ask, deadline).await?;
        let support = match &ask.support {
            Some(SupportSet::Rows(rows)) => rows.len(),
            _ => 0,
        };
        let rows = ask.items.len() + support.max(1);
        let (reply, answer) = oneshot::channel();
        let job = Job { target, ask, tenant: caller.tenant.clone(), arrived, deadline, reply: Reply(reply) };
        // Where nothing waits and there is a core, the thread that asks scores: handing over would cost more than that.
        let job = match self.try_now(rows, job) {
            None => return answer.await.unwrap_or_else(|_| Err(Refusal::Failed { problem: "the request was not answered".into() })),
            Some(job) => job,
        };
        let joins = job.is_quick();
        shared.queue.push(rows, joins, job).map_err(|full| match full {
            Full::Busy => Refusal::Busy { retry_ms: 10 },
            Full::Closed => Refusal::Unavailable { reason: "the server is shutting down".into() },
        })?;
        answer.await.unwrap_or_else(|_| Err(Refusal::Failed { problem: "the executor ended before it answered".into() }))
    }

    /// Answers a quick request of few rows on this thread, where nothing waits and fewer score than there are executors; else gives it back.
    fn try_now(&self, rows: usize, job: Job<L::Base>) -> Option<Job<L::Base>> {
        let shared = &self.shared;
        if rows > NOW_ROWS || !job.is_quick() || shared.queue.waiting() > 0 {
            return Some(job);
        }
        let Some(_place) = Place::free(&shared.at_work, shared.places) else { return Some(job) };
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = spare().pop();
        let mut executor = taken.unwrap_or_else(|| Executor::new(shared.clone()));
        executor.answer(vec![job]);
        spare().push(executor);
        None
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

pub(crate) fn champion() -> Name {
    "champion".parse().expect("a strict name")
}

/// Whether the gate has let a target through, or somebody has forced it. Pointers are checked when they move; whoever writes them otherwise is not asked to be honest.
pub(crate) fn may_serve(target: &PointerTarget) -> bool {
    target.verdict == Verdict::Promoted || target.forced
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

    /// As [`resolve`](Self::resolve), waiting for a patch that has to be loaded no longer than the request may take. What is being loaded is loaded all the same.
    async fn resolve_by(self: &Arc<Self>, ask: &ScoreAsk, deadline: Option<Instant>) -> Result<Target<L::Base>, Refusal> {
        let Some(deadline) = deadline else { return self.resolve(ask).await };
        if let Ok(resolved) = tokio::time::timeout_at(deadline.into(), self.resolve(ask)).await {
            return resolved;
        }
        let wanted = match &ask.choice {
            Choice::Patch { name, at } => said(name, at),
            Choice::Domain(domain) => format!("domain `{domain}`"),
            Choice::Base => "the base".into(),
        };
        if !ask.ladder {
            return Err(Refusal::Late { deadline_ms: ask.deadline.unwrap_or_default().as_millis() as u64 });
        }
        let base = self.base(ask.base.as_ref())?;
        let reason = "the deadline passed while the patch was loaded".to_owned();
        // The patch of the domain, if it is there.
        if let (Choice::Patch { .. }, Some(RawValue::Text(domain))) = (&ask.choice, ask.shared.get("domain"))
            && let Some(Route { patch, alias, .. }) = self.routes.load().get(domain)
            && let Some(found) = self.resident.get(patch).and_then(|there| found(&there, patch, &At::Alias(alias.clone()), &base))
        {
            return Ok(Target { base, patch: Some(found), fallback: Some(Fallback { wanted, got: format!("domain `{domain}`"), reason }) });
        }
        Ok(Target { base, patch: None, fallback: Some(Fallback { wanted, got: "base".into(), reason }) })
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
                if let Some(RawValue::Text(domain)) = ask.shared.get("domain").filter(|_| ask.ladder) {
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
        let is_there = |patch: &Patch| {
            let found = found(patch, name, at, base)?;
            if let At::Version(_) = at {
                found.loaded.asked.store(self.resident.tick(), Ordering::Relaxed);
            }
            Some(found)
        };
        if let Some(found) = self.resident.get(name).as_deref().and_then(is_there) {
            self.metrics.hit();
            return Ok(found);
        }
        let unknown = || Refusal::Unknown { what: said(name, at) };
        let refused = |problem: Option<String>| problem.map_or_else(unknown, |problem| Refusal::Conflict { what: said(name, at), problem });
        let of_alias = |patch: &Patch| if let At::Alias(alias) = at { patch.problems.get(alias).cloned() } else { None };
        if let (Some(problem), true) = (self.absent.lock().unwrap_or_else(PoisonError::into_inner).get(name), matches!(at, At::Alias(_))) {
            return Err(refused(problem.clone()));
        }
        // What an alias names could not be loaded: the refresh tries again, not each request.
        if let Some(problem) = self.resident.peek(name).as_deref().and_then(of_alias) {
            return Err(refused(Some(problem)));
        }
        // At most so many wait; whoever comes beyond that is told so at once. Two load at a time, so that those who score keep their cores.
        let Ok(slot) = self.slots.clone().try_acquire_owned() else { return Err(Refusal::Busy { retry_ms: 20 }) };
        let lane =
            self.lanes.clone().acquire_owned().await.map_err(|_| Refusal::Unavailable { reason: "the server is shutting down".into() })?;
        if let Some(found) = self.resident.get(name).as_deref().and_then(is_there) {
            return Ok(found);
        }
        let (own, wanted, at_load) = (self.clone(), name.clone(), at.clone());
        // Its places are given back once it is loaded, whether or not anybody still waits for it.
        let load = move || {
            let loaded = own.fetch_at(&wanted, Some(&at_load));
            drop((lane, slot));
            loaded
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        let patch = loaded.map_err(|error| Refusal::Failed { problem: format!("loading failed: {error}") })??;
        is_there(&patch).ok_or_else(|| refused(of_alias(&patch)))
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

impl<B> Base<B> {
    fn source(&self) -> Source {
        Source { name: self.name.clone(), version: self.version, digest: self.digest }
    }
}
