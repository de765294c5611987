//! Random operations against a model that is a list.

use std::collections::VecDeque;
use std::sync::Arc;

use acclimate_registry::folder::MemoryFolder;
use acclimate_serve::events::EventConfig;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::world::{World, config, event, events};

/// Ids that are remembered: few, so that some are forgotten.
const IDS: usize = 25;

#[test]
fn a_store_does_what_a_list_does() {
    let world = World::new();
    let seed: u64 = std::env::var("ACCLIMATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}");
    for run in 0..20 {
        let mut random = ChaCha8Rng::seed_from_u64(seed * 1000 + run);
        let own = || EventConfig { ids: IDS, segment_bytes: 1024, snapshot_events: 15, ..config() };
        let mut folder = Arc::new(MemoryFolder::default());
        let mut store = Some(world.open(folder.clone(), own()).unwrap().0);
        let mut reference = world.reference();
        let mut ids: VecDeque<u64> = VecDeque::new();
        let (mut next, mut forgotten, mut repeated) = (0, 0, 0);
        for _ in 0..60 {
            match random.random_range(0..10) {
                0..7 => {
                    // New ones, some that have come lately, some that have come long ago.
                    let mut numbers = Vec::new();
                    for _ in 0..random.random_range(1..6) {
                        let back = if random.random_bool(0.5) { 0 } else { random.random_range(0..40) };
                        numbers.push(if back == 0 { next } else { u64::saturating_sub(next, back) });
                        next = next.max(numbers[numbers.len() - 1] + 1);
                    }
                    let recorded = store.as_ref().unwrap().record_blocking(numbers.iter().map(|&number| event(number)).collect()).unwrap();
                    // What is forgotten in the middle of a request is forgotten behind it.
                    let known = ids.clone();
                    let mut new: Vec<u64> = Vec::new();
                    for &number in &numbers {
                        if !known.contains(&number) && !new.contains(&number) {
                            new.push(number);
                        }
                    }
                    let late = reference.state.late();
                    for &number in &new {
                        reference.learn(&event(number));
                        ids.push_back(number);
                        forgotten += usize::from(ids.len() > IDS);
                        ids.drain(..ids.len().saturating_sub(IDS));
                    }
                    let late = reference.state.late() - late;
                    repeated += numbers.len() - new.len();
                    let counts = (recorded.recorded, recorded.repeated, recorded.late);
                    assert_eq!(counts, (new.len() as u64 - late, (numbers.len() - new.len()) as u64, late), "run {run}");
                    assert_eq!(recorded.state.position, reference.done);
                    let last = new.last().map(|number| format!("event {number}"));
                    assert!(last.is_none() || recorded.state.event == last);
                }
                7 => assert_eq!(store.as_ref().unwrap().snapshot().unwrap(), reference.done),
                8 => {
                    drop(store.take());
                    store = Some(world.open(folder.clone(), own()).unwrap().0);
                }
                _ => {
                    drop(store.take());
                    let mut disks = folder.after_a_crash();
                    folder = Arc::new(disks.swap_remove(random.random_range(0..disks.len())));
                    store = Some(world.open(folder.clone(), own()).unwrap().0);
                }
            }
            reference.check(store.as_ref().unwrap(), &format!("run {run}"));
        }
        assert!(forgotten > 0 && repeated > 0, "run {run}: {forgotten} ids forgotten, {repeated} repeated");
        drop(store);
    }
}

#[test]
fn nothing_of_a_request_with_one_wrong_event_is_recorded() {
    let world = World::new();
    let (store, _) =
        world.open(Arc::new(MemoryFolder::default()), EventConfig { request_events: 5, event_bytes: 400, ..config() }).unwrap();
    let wrong = |change: &dyn Fn(&mut acclimate_serve::api::EventIn)| {
        let mut batch = events(0..3);
        change(&mut batch[1]);
        store.record_blocking(batch).unwrap_err().to_string()
    };
    use acclimate_data::RawValue;
    let text = |text: &str| RawValue::Text(text.to_owned());
    for (message, expected) in [
        (wrong(&|event| event.label = 0.5), "events[1]: `label`"),
        (wrong(&|event| event.label = f64::NAN), "events[1]: `label`"),
        (wrong(&|event| event.id.clear()), "events[1].id: an id has 1 to 193 characters"),
        (wrong(&|event| event.id = "x".repeat(194)), "events[1].id: an id has"),
        (wrong(&|event| event.time = Some(text("soon"))), "events[1].time: `time`: column `time` holds `soon`"),
        (wrong(&|event| event.time = Some(text("2099-01-01T00:00:00Z"))), "more than 5m ahead of the server's clock"),
        (wrong(&|event| event.time = Some(RawValue::Integer(-5))), "outside the years 1970..2100"),
        (wrong(&|event| _ = event.given.remove("user")), "events[1]: `user`: column `user` is empty"),
        (wrong(&|event| _ = event.given.insert("devise".to_owned(), text("x"))), "`devise` is no column of this base (there is `device`)"),
        (wrong(&|event| _ = event.given.insert("watched".to_owned(), text("long"))), "expected a finite number"),
        (wrong(&|event| _ = event.given.insert("device".to_owned(), text(&"x".repeat(500)))), "bytes of events[1]: "),
        (store.record_blocking(events(0..6)).unwrap_err().to_string(), "events: 6, and at most 5 are taken"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(store.position().position, 0);
    let none = store.record_blocking(Vec::new()).unwrap();
    assert_eq!((none.recorded, none.state.position), (0, 0));
    let mut now = events(0..1);
    now[0].time = None;
    assert_eq!(store.record_blocking(now).unwrap().recorded, 1);
}

/// One whose clock is some minutes fast makes nobody else's events late.
#[test]
fn an_event_from_a_fast_clock_counts_as_now() {
    let world = World::new();
    let (store, _) = world.open(Arc::new(MemoryFolder::default()), EventConfig { lateness: "1m".parse().unwrap(), ..config() }).unwrap();
    let at = |number: u64, ahead: u64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut one = events(number..number + 1);
        one[0].time = Some(acclimate_data::RawValue::Integer((now + ahead) as i64));
        let recorded = store.record_blocking(one).unwrap();
        (recorded.recorded, recorded.late)
    };
    assert_eq!([at(0, 0), at(1, 240), at(2, 0), at(3, 30), at(4, 0)], [(1, 0); 5]);
}
