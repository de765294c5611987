//! A real server of events, killed at random moments.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acclimate_registry::folder::LocalFolder;
use acclimate_serve::events::EventConfig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::world::{World, config, event, events};

const FOLDER: &str = "ACCLIMATE_EVENT_KILL_TEST";
const FROM: &str = "ACCLIMATE_EVENT_KILL_FROM";
/// Kills; `ACCLIMATE_EVENT_KILLS` says more.
const KILLS: usize = 30;
const READY: &str = "ready";

/// Small segments and many snapshots, so that every step is met.
fn busy() -> EventConfig {
    EventConfig { segment_bytes: 20_000, snapshot_events: 300, group_bytes: 4096, ..config() }
}

/// The process that is killed: records one event after the other, several requests at a time, and says which are acknowledged. Without the variable there is
/// nothing to do.
#[test]
fn recorder() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let mut next: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let world = World::new();
    let (store, _) = world.open(Arc::new(LocalFolder::new(&folder).unwrap()), busy()).unwrap();
    let began = Instant::now();
    println!("\n{READY}");
    // Nobody kills it when its parent has died.
    while began.elapsed() < Duration::from_secs(20) {
        let mut answers = Vec::new();
        for size in [1, 4, 2, 8, 3] {
            answers.push((next + size, store.send(events(next..next + size)).unwrap()));
            next += size;
        }
        for (end, answer) in answers {
            let recorded = answer.blocking_recv().unwrap().unwrap();
            assert!(recorded.state.position >= end);
            println!("{end}");
        }
    }
}

/// Runs it for a while; how many events it said are acknowledged.
fn kill_one(folder: &Path, from: u64, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::recorder", "--test-threads", "1", "--nocapture"])
        .env(FOLDER, folder)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.by_ref().any(|line| line == READY), "the recorder did not begin");
    std::thread::sleep(after);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the recorder ended by itself: {status}");
    said.filter_map(|line| line.parse().ok()).max().unwrap_or(0)
}

#[test]
fn a_recorder_that_is_killed_loses_no_acknowledged_event_and_counts_none_twice() {
    let root = tempfile::tempdir().unwrap();
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (kills, seed) = (number("ACCLIMATE_EVENT_KILLS").unwrap_or(KILLS as u64), number("ACCLIMATE_SEED").unwrap_or(1));
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new();
    let mut reference = world.reference();
    let (mut cut, mut from_snapshot, mut unacknowledged, mut acknowledged) = (0, 0, 0, 0_u64);
    for kill in 0..kills {
        // What was acknowledged last comes again.
        let from = reference.done.saturating_sub(random.random_range(0..40));
        let said = kill_one(root.path(), from, Duration::from_micros(random.random_range(0..60_000)));
        acknowledged = acknowledged.max(said);
        let (store, opened) = world.open(Arc::new(LocalFolder::new(root.path()).unwrap()), busy()).unwrap();
        let found = store.position().position;
        assert!(found >= acknowledged, "kill {kill}: {acknowledged} were acknowledged and {found} are there");
        while reference.done < found {
            reference.learn(&event(reference.done));
        }
        // The same bytes: every event up to there, each once, in order.
        reference.check(&store, &format!("kill {kill}"));
        cut += usize::from(opened.cut > 0);
        from_snapshot += usize::from(opened.snapshot.is_some());
        unacknowledged += usize::from(found > acknowledged);
    }
    println!(
        "{kills} kills, {acknowledged} events, {from_snapshot} from a snapshot, {cut} with a torn tail, {unacknowledged} with unheard events"
    );
    assert!(acknowledged > 100 && from_snapshot > 0, "the recorder was not killed at work");
}
