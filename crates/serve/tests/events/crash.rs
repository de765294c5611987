//! A crash at any moment: after each step of rotations and snapshots every disk that may be left is opened.

use std::sync::Arc;

use acclimate_registry::folder::{MemoryFolder, Step};
use acclimate_serve::events::EventConfig;

use crate::world::{World, config, event, events};

/// Segments of a few frames.
fn small() -> EventConfig {
    EventConfig { segment_bytes: 1024, ..config() }
}

#[test]
fn whatever_a_crash_leaves_has_every_acknowledged_event_once() {
    let world = World::new();
    let folder = Arc::new(MemoryFolder::default());
    let (store, _) = world.open(folder.clone(), small()).unwrap();
    let mut steps: Vec<Step> = folder.take_steps();
    // How many events are acknowledged after so many steps.
    let mut acknowledged = vec![(0, 0)];
    let mut next = 0;
    for size in [1, 3, 5, 2, 7, 4, 6, 3] {
        let recorded = store.record_blocking(events(next..next + size)).unwrap();
        next += size;
        assert_eq!(recorded.state.position, next);
        steps.extend(folder.take_steps());
        acknowledged.push((steps.len(), next));
        if size % 3 != 1 {
            assert_eq!(store.snapshot().unwrap(), next);
            steps.extend(folder.take_steps());
        }
    }
    drop(store);
    steps.extend(folder.take_steps());
    let count = |wanted: fn(&Step) -> bool| steps.iter().filter(|&step| wanted(step)).count();
    let removed = count(|step| matches!(step, Step::Remove(path) if path.contains("/segment-")));
    let begun = count(|step| matches!(step, Step::Rename(_, path) if path.contains("/segment-")));
    assert!(removed >= 2 && begun >= 4, "{begun} segments begun, {removed} removed");

    // The state behind each number of events.
    let mut reference = world.reference();
    let mut states = vec![reference.bytes()];
    for number in 0..next + 1 {
        reference.learn(&event(number));
        states.push(reference.bytes());
    }
    let mut disks = 0;
    for done in 0..=steps.len() {
        let folder = MemoryFolder::default();
        folder.replay(&steps[..done]).unwrap();
        let least = acknowledged.iter().filter(|(steps, _)| *steps <= done).map(|(_, events)| *events).max().unwrap();
        for disk in folder.after_a_crash() {
            disks += 1;
            let disk = Arc::new(disk);
            let why = || format!("after {done} steps, the last {:?}", steps[..done].last());
            for _ in 0..2 {
                let (store, opened) = world.open(disk.clone(), small()).unwrap_or_else(|error| panic!("{}: {error}", why()));
                assert!(opened.problems.is_empty(), "{}: {:?}", why(), opened.problems);
                let found = store.position().position;
                assert!((least..=next + 1).contains(&found), "{}: {found} events, and {least} were acknowledged", why());
                store.read(|state, _| assert!(state.to_bytes(&world.spec).unwrap() == states[found as usize], "{}", why()));
                // The log goes on, and what was not acknowledged may come again.
                let recorded = store.record_blocking(events(found.saturating_sub(3)..(found + 1).min(next + 1))).unwrap();
                assert_eq!(recorded.recorded + recorded.late, u64::from(found <= next), "{}", why());
                assert_eq!(recorded.repeated, found.min(3), "{}", why());
            }
        }
    }
    println!("{} steps, {disks} disks", steps.len());
}
