//! A real publisher, killed at random moments.

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use acclimate_registry::{Collection, Kind, Registry, Settings};
use common::{base, name, patch, to};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const FOLDER: &str = "ACCLIMATE_REGISTRY_KILL_TEST";
const KILLS: usize = 200;
/// What it says before its first update.
const READY: &str = "ready";

/// The process that is killed: publishes versions and moves the alias to each, until it dies. Without the variable there is nothing to do.
#[test]
fn publisher() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let registry = Registry::open(&folder, Settings::default()).unwrap();
    let began = Instant::now();
    println!("\n{READY}");
    // Nobody kills it when its parent has died.
    while began.elapsed() < Duration::from_secs(20) {
        let number = registry.versions(Kind::Patch, &name("movies")).unwrap().last().map_or(1, |last| last.number() + 1);
        let stored = registry.publish(&patch("movies", number.into()), None).unwrap();
        let seen = registry.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap().map_or(0, |pointer| pointer.generation);
        registry.move_alias(&to("movies", "champion", stored.manifest.version.number(), seen)).unwrap();
    }
}

fn kill_one(folder: &Path, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "publisher", "--test-threads", "1", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == READY), "the publisher did not begin");
    std::thread::sleep(after);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success() && status.code().is_none(), "the publisher ended by itself: {status}");
}

#[test]
fn a_publisher_that_is_killed_leaves_a_registry_that_is_whole() {
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::init(root.path(), Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    let seed = std::env::var("ACCLIMATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut generation, mut published, mut cut) = (0, 0, 0);
    for kill in 0..KILLS {
        kill_one(root.path(), Duration::from_micros(random.random_range(0..20_000)));
        let findings = registry.verify_all().unwrap();
        assert!(findings.is_empty(), "kill {kill}: {findings:?}");
        let audit = registry.audit(&mut |_| {}).unwrap();
        assert!(audit.unlogged.is_empty(), "kill {kill}: {audit:?}");
        let pointer = registry.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap();
        let now = pointer.map_or(0, |pointer| pointer.generation);
        assert!(now >= generation, "an alias never goes back by itself");
        generation = now;
        // Numbers of collected versions are never used again, so the last tells how many there were.
        published = registry.versions(Kind::Patch, &name("movies")).unwrap().last().map_or(0, |last| last.number());
        let collected = registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
        cut += collected.leftovers.len();
    }
    println!("{KILLS} kills, {published} versions published, {cut} unfinished ones collected");
    assert!(published > 5 && cut > 5, "the publisher was not killed at work: {published} published, {cut} unfinished");
}
