//! A server under change: random operations beside a map that says what must be answered; loading, swapping and unloading under traffic; and two patches and the base in rapid
//! alternation.
//!
//! `ACCLIMATE_SEED=N` replays a seed, `ACCLIMATE_OPERATIONS=N` asks for more of everything, `ACCLIMATE_SOAK=FILE` writes what was measured.

mod served;
mod shop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use acclimate::serving::PublishedLoader;
use acclimate_data::RandomStream;
use acclimate_registry::{AliasMove, Collection, Content, Draft, Kind, Name, Registry, Route, Settings, Verdict, Version};
use acclimate_serve::api::{At, Choice, EventIn, Refusal, ScoreAsk, Service, SupportSet};
use acclimate_serve::engine::{Engine, EngineConfig};
use served::{Row, ask, caller, known, log, world};

/// That of the server: what another keeps of memory says nothing about it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// What a patch may be: the published ones, whose answers are known.
const CONTENTS: [&str; 4] = ["low", "last", "neck", "heads"];

/// A registry of its own, with the base and what its patches are made of.
struct Ground {
    folder: PathBuf,
    registry: Registry,
    drafts: Vec<Draft>,
    log: Vec<Row>,
}

impl Ground {
    fn new() -> Self {
        let from = Registry::open(&world().join("registry"), Settings::default()).unwrap();
        let folder = tempfile::tempdir().unwrap().keep();
        let registry = Registry::init(&folder.join("registry"), Settings::default()).unwrap();
        registry.publish(&copy(&from, Kind::Base, "shop"), None).unwrap();
        let drafts = CONTENTS.iter().map(|content| copy(&from, Kind::Patch, content)).collect();
        Self { folder, registry, drafts, log: log(world()) }
    }

    fn publish(&self, of: &str, content: usize) -> Version {
        let draft = &self.drafts[content];
        let parent = self.registry.versions(Kind::Patch, &name(of)).unwrap().last().copied();
        let about = acclimate_registry::About { parent, ..draft.about.clone() };
        self.registry.publish(&Draft { name: name(of), about, ..draft.clone() }, None).unwrap().manifest.version
    }

    fn point(&self, of: &str, alias: &str, version: Version) {
        let expected = self.registry.alias(Kind::Patch, &name(of), &name(alias)).unwrap().map_or(0, |pointer| pointer.generation);
        let wish = AliasMove {
            kind: Kind::Patch,
            name: name(of),
            alias: name(alias),
            version,
            expected,
            by: "a test".into(),
            reason: "a test".into(),
            verdict: Verdict::Ungated,
            force: true,
        };
        self.registry.move_alias(&wish).unwrap();
    }

    fn engine(&self, executors: usize) -> Engine<PublishedLoader> {
        let config = EngineConfig { executors, state: self.folder.join("state"), ..EngineConfig::default() };
        Engine::start(self.registry.clone(), PublishedLoader::default(), config).unwrap()
    }

    /// A request that every content answers otherwise.
    fn ask(&self, choice: Choice) -> ScoreAsk {
        let row = &self.log[100];
        ask(choice, row.shared(), (0..8).map(|i| self.log[100 + i].item()).collect(), None)
    }

    /// What each content answers, and the base, alone on an engine of their own.
    fn answers(&self) -> (Vec<Vec<u32>>, Vec<u32>) {
        let own = Self {
            folder: tempfile::tempdir().unwrap().keep(),
            drafts: self.drafts.clone(),
            log: self.log.clone(),
            registry: self.registry.clone(),
        };
        let registry = Registry::init(&own.folder.join("registry"), Settings::default()).unwrap();
        let from = Registry::open(&world().join("registry"), Settings::default()).unwrap();
        registry.publish(&copy(&from, Kind::Base, "shop"), None).unwrap();
        let own = Self { registry, ..own };
        for (content, of) in CONTENTS.iter().enumerate() {
            let version = own.publish(of, content);
            own.point(of, "champion", version);
        }
        let (engine, runtime) = (own.engine(1), runtime());
        let answer = |choice| bits(&runtime.block_on(engine.score(&caller(), self.ask(choice))).unwrap().scores);
        (CONTENTS.iter().map(|of| answer(at(of, "champion"))).collect(), answer(Choice::Base))
    }
}

/// A published version as a draft.
fn copy(from: &Registry, kind: Kind, of: &str) -> Draft {
    let version = from.versions(kind, &name(of)).unwrap()[0];
    let stored = from.show(kind, &name(of), version).unwrap();
    let file = |file: &Name| Content::Bytes(from.read(kind, &name(of), version, file, u64::MAX).unwrap());
    let files = stored.manifest.files.keys().map(|name| (name.clone(), file(name))).collect();
    Draft { kind, name: name(of), about: stored.manifest.about, files, expected: BTreeMap::new() }
}

fn at(of: &str, alias: &str) -> Choice {
    Choice::Patch { name: name(of), at: At::Alias(name(alias)) }
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap()
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ALIASES: [&str; 2] = ["champion", "challenger"];
const DOMAINS: [&str; 2] = ["north", "south"];

/// What must be answered.
#[derive(Default)]
struct Model {
    /// Contents by name and version.
    versions: BTreeMap<&'static str, BTreeMap<Version, usize>>,
    /// What an alias has named, the latest last.
    aliases: BTreeMap<(&'static str, &'static str), Vec<Version>>,
    routes: BTreeMap<&'static str, (&'static str, &'static str)>,
    events: u64,
}

#[test]
fn whatever_is_done_to_it_a_server_answers_from_exactly_what_was_asked_for() {
    let (seed, operations) = (variable("ACCLIMATE_SEED", 1), variable("ACCLIMATE_OPERATIONS", 5_000));
    println!("ACCLIMATE_SEED={seed}");
    let ground = Ground::new();
    let (answers, of_base) = ground.answers();
    let (mut model, mut random, runtime) = (Model::default(), RandomStream::new(seed, 0, 0), runtime());
    let mut engine = ground.engine(1);
    let mut ids = 0_u64;
    for operation in 0..operations {
        let (of, alias, domain) =
            (NAMES[random.position(NAMES.len())], ALIASES[random.position(ALIASES.len())], DOMAINS[random.position(DOMAINS.len())]);
        let known: Vec<Version> = model.versions.get(of).into_iter().flat_map(|versions| versions.keys().copied()).collect();
        let mut moved = false;
        match random.below(100) {
            0..=9 => {
                let content = random.position(CONTENTS.len());
                let version = ground.publish(of, content);
                model.versions.entry(of).or_default().insert(version, content);
            }
            10..=29 if !known.is_empty() => {
                let version = known[random.position(known.len())];
                ground.point(of, alias, version);
                model.aliases.entry((of, alias)).or_default().push(version);
                moved = true;
            }
            30..=34 => {
                let named = model.aliases.get_mut(&(of, alias));
                let pointer = ground.registry.alias(Kind::Patch, &name(of), &name(alias)).unwrap();
                let expected = pointer.as_ref().map_or(0, |pointer| pointer.generation);
                let back = ground.registry.rollback(Kind::Patch, &name(of), &name(alias), expected, ("a test", "a test"));
                assert_eq!(back.is_ok(), pointer.is_some_and(|pointer| !pointer.earlier.is_empty()));
                if let (Ok(pointer), Some(named)) = (back, named) {
                    named.pop();
                    assert_eq!(Some(&pointer.target.version), named.last());
                    moved = true;
                }
            }
            35..=39 => {
                let to = model.aliases.contains_key(&(of, alias)).then(|| Route { patch: name(of), alias: name(alias) });
                let generation = ground.registry.routes().unwrap().generation;
                if ground.registry.set_route(domain, to.clone(), generation, ("a test", "a test")).is_ok() {
                    match to {
                        Some(_) => _ = model.routes.insert(domain, (of, alias)),
                        None => _ = model.routes.remove(domain),
                    }
                }
                moved = true;
            }
            40..=44 => {
                let gone = ground.registry.collect(Collection { now: i64::MAX / 2, grace: 0, dry_run: false }).unwrap();
                for (_, of, version) in gone.versions {
                    model.versions.get_mut(of.as_str()).unwrap().remove(&version);
                }
            }
            45..=54 => {
                let loaded = runtime.block_on(engine.load(name(of), None));
                assert_eq!(loaded.is_ok(), model.aliases.keys().any(|key| key.0 == of), "{loaded:?}");
            }
            55..=64 => _ = runtime.block_on(engine.unload(name(of))),
            65..=66 => {
                drop(engine);
                engine = ground.engine(1);
            }
            67..=74 => {
                ids += 1;
                let row = &ground.log[random.position(1000)];
                let mut given = row.shared();
                given.extend(row.item());
                let time = given.remove("time");
                // Far in the past of the state, so that what is asked about does not change.
                let event = EventIn { id: format!("event-{}", ids - random.below(2).min(ids - 1)), time, label: row.click.into(), given };
                let recorded = runtime.block_on(engine.record(&caller(), None, vec![event])).unwrap();
                assert_eq!(recorded.recorded + recorded.repeated + recorded.late, 1, "{recorded:?}");
                model.events = recorded.state.position;
            }
            75..=79 => {
                let row = &ground.log[random.position(ground.log.len())];
                let support = known_rows(&ground, row);
                let rows = support.len();
                if let Some(version) = model.aliases.get(&(of, alias)).and_then(|named| named.last()) {
                    let adapts = CONTENTS[model.versions[of][version]] == "heads";
                    let wish = ask(at(of, alias), row.shared(), Vec::new(), Some(support));
                    runtime.block_on(engine.refresh());
                    let adapted = runtime.block_on(engine.adapt(&caller(), wish));
                    assert_eq!(adapted.is_ok(), adapts, "{adapted:?}");
                    if let Ok(served) = adapted {
                        let adapted = served.adapted.unwrap();
                        assert_eq!((adapted.rows, adapted.form), (rows, "closed_form"));
                        let kept = ScoreAsk { support: Some(SupportSet::Kept(adapted.key.unwrap())), ..ground.ask(at(of, alias)) };
                        assert!(runtime.block_on(engine.score(&caller(), kept)).is_ok());
                    }
                }
            }
            _ => {}
        }
        if moved {
            let problems = runtime.block_on(engine.refresh());
            assert!(problems.is_empty(), "operation {operation}: {problems:?}");
        }
        // What is asked for is what answers.
        let expected = model.aliases.get(&(of, alias)).and_then(|named| named.last()).map(|version| &answers[model.versions[of][version]]);
        let found = runtime.block_on(engine.score(&caller(), ground.ask(at(of, alias))));
        match (found, expected) {
            (Ok(answer), Some(expected)) => assert_eq!(bits(&answer.scores), *expected, "operation {operation}: {of}@{alias}"),
            (Err(Refusal::Unknown { .. }), None) => {}
            (found, expected) => panic!("operation {operation}: {of}@{alias} gives {found:?}, and {} was expected", expected.is_some()),
        }
        let routed = model
            .routes
            .get(domain)
            .map(|&(of, alias)| model.aliases[&(of, alias)].last().unwrap())
            .map(|version| &answers[model.versions[model.routes[domain].0][version]]);
        let wish = ScoreAsk { ladder: true, ..ground.ask(Choice::Domain(domain.into())) };
        let found = runtime.block_on(engine.score(&caller(), wish)).unwrap();
        assert_eq!(bits(&found.scores), *routed.unwrap_or(&of_base), "operation {operation}: domain {domain}");
        assert_eq!(found.served.fallback.is_some(), routed.is_none());
        if operation % 50 == 0 {
            let found = runtime.block_on(engine.score(&caller(), ground.ask(Choice::Base))).unwrap();
            assert_eq!(bits(&found.scores), of_base, "operation {operation}: the base");
            assert_eq!(found.served.state.map_or(0, |state| state.position), model.events, "operation {operation}");
        }
    }
}

fn known_rows(ground: &Ground, row: &Row) -> Vec<acclimate_serve::api::SupportRow> {
    known(&ground.log, &row.user)
}

/// Resident memory in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Windows of a run, by its operations.
const WINDOWS: usize = 50;

/// Times of each window, in buckets that are 1.1 % wide, so that what is kept of a run does not grow with it.
struct Times(Vec<[u32; 1536]>);

impl Times {
    fn new() -> Self {
        Self(vec![[0; 1536]; WINDOWS])
    }

    fn see(&mut self, window: usize, micros: u64) {
        let bucket = ((micros.max(1) as f64).log2() * 64.0) as usize;
        self.0[window.min(WINDOWS - 1)][bucket.min(1535)] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
    }

    /// The median over some windows of a quantile, in microseconds; none where nothing was answered.
    fn quantile(&self, windows: std::ops::Range<usize>, q: f64) -> Option<f64> {
        let of = |buckets: &[u32; 1536]| {
            let total: u64 = buckets.iter().map(|&n| u64::from(n)).sum();
            let wanted = ((total.max(1) - 1) as f64 * q) as u64;
            let mut seen = 0;
            let at = buckets.iter().position(|&n| {
                seen += u64::from(n);
                seen > wanted
            })?;
            Some(((at as f64 + 0.5) / 64.0).exp2())
        };
        let mut found: Vec<f64> = self.0[windows].iter().filter_map(of).collect();
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied()
    }
}

/// Loading, swapping and unloading while three threads ask: no answer fails or comes from anything else.
#[test]
fn load_swap_and_unload_under_traffic() {
    let operations = variable("ACCLIMATE_OPERATIONS", 3_000);
    let ground = Ground::new();
    let (answers, _) = ground.answers();
    let two = [ground.publish("moving", 0), ground.publish("moving", 1)];
    ground.point("moving", "champion", two[0]);
    let still = ground.publish("still", 2);
    ground.point("still", "champion", still);
    let engine = Arc::new(ground.engine(0));
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let asker = |of: &'static str, contents: Vec<usize>| {
        let (engine, stop, done) = (engine.clone(), stop.clone(), done.clone());
        let (ask, answers) = (ground.ask(at(of, "champion")), answers.clone());
        std::thread::spawn(move || {
            let (runtime, mut times, mut seen) = (runtime(), Times::new(), [0_u64; CONTENTS.len()]);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = match runtime.block_on(engine.score(&caller(), ask.clone())) {
                    Ok(answer) => answer,
                    // All loading slots are taken: a refusal that says when to come again, and no wrong answer.
                    Err(Refusal::Busy { .. }) => continue,
                    Err(refusal) => panic!("{of}: {refusal}"),
                };
                let window = done.load(Ordering::Relaxed) * WINDOWS as u64 / operations.max(1);
                times.see(window as usize, began.elapsed().as_micros() as u64);
                let found = bits(&answer.scores);
                let content = contents.iter().find(|&&content| answers[content] == found);
                seen[*content.unwrap_or_else(|| panic!("{of} gave what none of its versions gives"))] += 1;
            }
            (times, seen)
        })
    };
    let askers = [asker("moving", vec![0, 1]), asker("still", vec![2]), asker("still", vec![2])];
    let (runtime, mut memory) = (runtime(), Vec::new());
    for operation in 0..operations {
        match operation % 4 {
            0 => {
                ground.point("moving", "champion", two[(operation / 4 % 2) as usize]);
                assert!(runtime.block_on(engine.refresh()).is_empty());
            }
            1 => _ = runtime.block_on(engine.load(name("moving"), Some(At::Version(two[0])))).unwrap(),
            2 => _ = runtime.block_on(engine.unload(name("moving"))),
            _ => _ = runtime.block_on(engine.load(name("moving"), None)).unwrap(),
        }
        done.store(operation, Ordering::Relaxed);
        if operation % (operations / 20).max(1) == 0 {
            memory.push(resident());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let found: Vec<_> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
    let seen = found.iter().fold([0; CONTENTS.len()], |all, (_, seen)| std::array::from_fn(|i| all[i] + seen[i]));
    assert!(seen[0] > 0 && seen[1] > 0 && seen[2] > 0, "every version has answered: {seen:?}");
    let mut times = Times::new();
    found.iter().for_each(|(own, _)| times.add(own));
    // Medians of five windows near the start, once everything is warm, and at the end.
    let ends = |q: f64| [times.quantile(2..7, q), times.quantile(WINDOWS - 5..WINDOWS, q)];
    report(
        "swaps",
        &serde_json::json!({
            "operations": operations, "answers": seen.iter().sum::<u64>(), "wrong": 0, "failed": 0,
            "resident_bytes": memory, "p50_us": ends(0.5), "p99_us": ends(0.99),
        }),
    );
    // What was let go is gone: memory does not grow with the operations.
    let settled = &memory[memory.len() / 4..];
    let (least, most) = (settled.iter().min().unwrap(), settled.iter().max().unwrap());
    assert!(*most < least + least / 4 + (64 << 20), "memory grows: {memory:?}");
}

/// Two patches and the base in turn, at random gaps, each answer with the bits of the one that was asked for.
#[test]
fn rapid_alternation_never_mixes() {
    let rounds = variable("ACCLIMATE_OPERATIONS", 3_000);
    let ground = Ground::new();
    let (answers, of_base) = ground.answers();
    for (of, content) in [("a", 0), ("b", 3)] {
        let version = ground.publish(of, content);
        ground.point(of, "champion", version);
    }
    let engine = Arc::new(ground.engine(0));
    let expected = [("a", answers[0].clone()), ("b", answers[3].clone()), ("base", of_base)];
    let askers = (0..3).map(|thread| {
        let (engine, expected) = (engine.clone(), expected.clone());
        let asks: Vec<ScoreAsk> =
            expected.iter().map(|(of, _)| ground.ask(if *of == "base" { Choice::Base } else { at(of, "champion") })).collect();
        std::thread::spawn(move || {
            let (runtime, mut random) = (runtime(), RandomStream::new(3, thread, 0));
            for _ in 0..rounds / 3 {
                let which = random.position(3);
                let answer = runtime.block_on(engine.score(&caller(), asks[which].clone())).unwrap();
                assert_eq!(bits(&answer.scores), expected[which].1, "{}", expected[which].0);
                let gap = Duration::from_micros(random.below(10_000));
                // Most gaps are none: requests then meet in one batch.
                if random.below(8) == 0 {
                    std::thread::sleep(gap);
                }
            }
        })
    });
    askers.collect::<Vec<_>>().into_iter().for_each(|asker| asker.join().unwrap());
    report("alternations", &serde_json::json!({ "rounds": rounds, "wrong": 0 }));
}

/// Adds what was measured to the file that `ACCLIMATE_SOAK` names.
fn report(what: &str, found: &serde_json::Value) {
    println!("{what}: {found}");
    let Some(file) = std::env::var_os("ACCLIMATE_SOAK") else { return };
    let file = Path::new(&file);
    let mut all: serde_json::Value =
        std::fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| serde_json::json!({}));
    all[what] = found.clone();
    std::fs::write(file, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}
