//! Many that ask while one tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_data::{EncodedRows, RawValue};
use acclimate_registry::folder::MemoryFolder;
use acclimate_serve::api::{EventIn, Given};

use crate::world::{World, config, event, events};

fn given(pairs: &[(&str, &str)]) -> Given {
    pairs.iter().map(|&(name, value)| (name.to_owned(), RawValue::Text(value.to_owned()))).collect()
}

/// An event that is never late.
fn on_time(number: u64) -> EventIn {
    EventIn { time: Some(RawValue::Integer(1_650_200_000 + number as i64)), ..event(number) }
}

#[test]
fn what_is_read_is_the_state_of_one_position() {
    let world = World::new();
    let (store, _) = world.open(Arc::new(MemoryFolder::default()), config()).unwrap();
    let later = given(&[("user", "u1"), ("item", "i1"), ("domain", "s1")]);
    let none = [Given::new(), Given::new()];
    let columns = world.rows.columns(&later, none.iter()).unwrap();
    let asked = world.rows.asked(&columns, 1_700_000_000_000_000).unwrap();
    let all = world.encoder.features().iter().filter(|feature| feature.is_derived()).position(|feature| feature.name == "all").unwrap() - 2;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut seen, mut last) = (0_u64, 0);
                    while !is_over.load(Ordering::SeqCst) {
                        let (made, position) = store.features(&asked);
                        // All rows of the log are counted in one of the features.
                        assert_eq!(f64::from(made.numbers[all]), (world.known + position.position) as f64);
                        assert_eq!(made.numbers[..made.statistics], made.numbers[made.statistics..]);
                        assert_eq!(position.event, position.position.checked_sub(1).map(|last| format!("event {last}")));
                        seen += u64::from(position.position != last);
                        last = position.position;
                    }
                    seen
                })
            })
            .collect();
        for begin in (0..3000).step_by(50) {
            store.record_blocking((begin..begin + 50).map(on_time).collect()).unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        let seen: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(seen > 0, "nobody saw it move");
    });
}

#[test]
fn an_event_is_known_to_the_next_request() {
    let world = World::new();
    let (store, _) = world.open(Arc::new(MemoryFolder::default()), config()).unwrap();
    store.record_blocking(events(0..40)).unwrap();
    let before = store.position();
    let shared = given(&[("user", "new"), ("domain", "s1"), ("device", "d1"), ("time", "2022-04-25T00:00:00Z")]);
    let items: Vec<Given> = ["i1", "i2", "i3"].iter().map(|item| given(&[("item", item)])).collect();
    let ask = || {
        let columns = world.rows.columns(&shared, items.iter()).unwrap();
        let time = world.rows.time(&columns, 0).unwrap().unwrap();
        let (made, position) = store.features(&world.rows.asked(&columns, time).unwrap());
        let mut out = EncodedRows::default();
        world.rows.encode(&columns, &mut out).unwrap();
        world.rows.fill(&made, &mut out);
        (out, position)
    };
    let (empty, position) = ask();
    assert_eq!((&position, empty.bags[0].codes.len()), (&before, 0));
    let event = EventIn {
        id: "a click".to_owned(),
        time: Some(RawValue::Text("2022-04-24T23:00:00Z".to_owned())),
        label: 1.0,
        given: given(&[("user", "new"), ("domain", "s1"), ("device", "d1"), ("item", "i2")]),
    };
    let recorded = store.record_blocking(vec![event.clone(), event]).unwrap();
    assert_eq!((recorded.recorded, recorded.repeated), (1, 1));
    let (known, position) = ask();
    assert_eq!(position, recorded.state);
    assert_eq!(position.event.as_deref(), Some("a click"));
    let code = world.encoder.vocabularies()[0].row("i2");
    assert_eq!((&known.bags[0].codes[..], &known.bags[0].offsets[..]), (&[code; 3][..], &[0, 1, 2, 3][..]));
    assert_ne!(known.numeric, empty.numeric);
}
