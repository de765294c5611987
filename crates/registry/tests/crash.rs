//! A crash at any moment: after each step of an update every disk that may be left is opened.

mod common;

use std::sync::Arc;

use acclimate_registry::folder::{MemoryFolder, Step};
use acclimate_registry::{Collection, Kind, Registry, Route, Settings};
use common::{in_memory, name, patch, to, version};

/// Everything durable, nothing recorded.
fn settled(folder: &MemoryFolder) -> MemoryFolder {
    let mut disks = folder.after_a_crash();
    assert_eq!(disks.len(), 1, "an update ends durable");
    disks.remove(0)
}

/// Opens each disk that a crash within the steps may leave; how many there were, and the first that is broken.
fn broken(before: &MemoryFolder, steps: &[Step]) -> (usize, Option<String>) {
    let mut disks = 0;
    for done in 0..=steps.len() {
        let folder = before.clone();
        folder.replay(&steps[..done]).unwrap();
        for disk in folder.after_a_crash() {
            disks += 1;
            let registry = Registry::open_in(Arc::new(disk), Settings::default()).unwrap();
            let findings = registry.verify_all().unwrap();
            if let Some(finding) = findings.first() {
                return (disks, Some(format!("after {done} steps, the last {:?}: {}", steps[..done].last(), finding.error)));
            }
            let of_crash = |problem: String| Some(format!("after {done} steps, the last {:?}: {problem}", steps[..done].last()));
            match registry.audit(&mut |_| {}) {
                Ok(report) if report.unlogged.is_empty() => {}
                Ok(report) => return (disks, of_crash(format!("moved without a line: {:?}", report.unlogged))),
                Err(error) => return (disks, of_crash(error.to_string())),
            }
            // What was left behind is no obstacle: everything can be done again.
            let newest = registry.publish(&patch("movies", 9), None).unwrap().manifest.version.number();
            let seen = registry.alias(Kind::Patch, &name("movies"), &name("challenger")).unwrap().map_or(0, |pointer| pointer.generation);
            registry.move_alias(&to("movies", "challenger", newest, seen)).unwrap();
            let report = registry.audit(&mut |_| {}).unwrap();
            assert!(report.cut_off.is_none() && report.unlogged.is_empty(), "{report:?}");
        }
    }
    (disks, None)
}

/// The steps of an update, and the disk before it.
fn recorded(update: impl FnOnce(&Registry)) -> (MemoryFolder, Vec<Step>) {
    let (folder, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.publish(&patch("movies", 2), None).unwrap();
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    let before = settled(&folder);
    let folder = Arc::new(before.clone());
    update(&Registry::open_in(folder.clone(), Settings::default()).unwrap());
    let steps = folder.take_steps();
    assert!(steps.len() > 3);
    (before, steps)
}

fn publish_and_move(registry: &Registry) {
    let stored = registry.publish(&patch("movies", 3), None).unwrap();
    registry.move_alias(&to("movies", "champion", stored.manifest.version.number(), 1)).unwrap();
}

#[test]
fn a_publish_and_a_move_of_an_alias_survive_a_crash_after_any_step() {
    let (before, steps) = recorded(publish_and_move);
    let after = before.clone();
    after.replay(&steps).unwrap();
    settled(&after);
    let (disks, broken) = broken(&before, &steps);
    println!("{} steps, {disks} disks", steps.len());
    assert_eq!(broken, None);
}

#[test]
fn so_do_a_new_name_a_route_a_rollback_and_a_collection() {
    let updates: [&dyn Fn(&Registry); 4] = [
        &|registry| {
            let digest = registry.show(Kind::Patch, &name("movies"), version(2)).unwrap().digest;
            for at in 1..=2 {
                registry.record(Kind::Patch, &name("movies"), version(2), common::judgement(digest, at)).unwrap();
            }
        },
        &|registry| {
            registry.publish(&patch("books", 1), None).unwrap();
            registry.move_alias(&to("books", "champion", 1, 0)).unwrap();
        },
        &|registry| {
            let route = Route { patch: name("movies"), alias: name("champion") };
            registry.set_route("tab=1", Some(route), 0, ("tests", "to see")).unwrap();
            registry.move_alias(&to("movies", "champion", 2, 1)).unwrap();
            registry.rollback(Kind::Patch, &name("movies"), &name("champion"), 2, ("tests", "to see")).unwrap();
        },
        &|registry| {
            registry.publish(&patch("movies", 3), None).unwrap();
            let collected = registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
            assert_eq!(collected.versions, [(Kind::Patch, name("movies"), version(2))]);
        },
    ];
    for update in updates {
        let (before, steps) = recorded(update);
        assert_eq!(broken(&before, &steps).1, None);
    }
}

#[test]
fn a_publisher_that_forgets_a_sync_is_found_out() {
    let (before, steps) = recorded(publish_and_move);
    let file = |step: &Step| matches!(step, Step::Sync(_));
    let temporary = |step: &Step| matches!(step, Step::SyncFolder(path) if path.contains("/.tmp"));
    let parent = |step: &Step| matches!(step, Step::SyncFolder(path) if path == "patches/movies");
    let line = |step: &Step| matches!(step, Step::Sync(path) if path.ends_with(".jsonl"));
    let forgotten: [&dyn Fn(&Step) -> bool; 4] = [&file, &temporary, &parent, &line];
    for (which, forgets) in forgotten.iter().enumerate() {
        let steps: Vec<Step> = steps.iter().filter(|step| !forgets(step)).cloned().collect();
        let found = broken(&before, &steps).1;
        assert!(found.is_some(), "sync {which} is not needed");
    }
}

#[test]
fn an_alias_before_its_version_is_found_out() {
    let (before, mut steps) = recorded(publish_and_move);
    let publishing = steps.iter().position(|step| matches!(step, Step::Rename(_, to) if to.ends_with("v000003"))).unwrap();
    let renaming = steps.remove(publishing);
    let sync = steps.remove(publishing);
    steps.extend([renaming, sync]);
    assert!(broken(&before, &steps).1.is_some());
}
