//! Files that are not what they were.

use std::sync::Arc;

use acclimate_registry::folder::{Folder, MemoryFolder};
use acclimate_serve::events::segment::{self, HEADER};
use acclimate_serve::events::{EventConfig, EventError};

use crate::world::{World, config, events};

/// What lies in the folder of a state, by name.
fn files(world: &World, folder: &MemoryFolder) -> Vec<(String, Vec<u8>)> {
    let list = folder.list(&world.spec).unwrap();
    list.into_iter().map(|entry| (entry.name.clone(), read(folder, &format!("{}/{}", world.spec, entry.name)))).collect()
}

fn read(folder: &MemoryFolder, path: &str) -> Vec<u8> {
    let blob = folder.open(path).unwrap();
    let mut bytes = vec![0; blob.size().unwrap() as usize];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn folder(world: &World, files: &[(String, Vec<u8>)]) -> Arc<MemoryFolder> {
    let folder = MemoryFolder::default();
    folder.create_folder(&world.spec).unwrap();
    for (name, bytes) in files {
        let path = format!("{}/{name}", world.spec);
        folder.create(&path).unwrap();
        folder.append(&path, bytes).unwrap();
    }
    Arc::new(folder)
}

/// Three frames of so many events, in one segment or in one each.
fn recorded(world: &World, size: u64, segment_bytes: u64) -> Vec<(String, Vec<u8>)> {
    let memory = Arc::new(MemoryFolder::default());
    let (store, _) = world.open(memory.clone(), EventConfig { segment_bytes, ..config() }).unwrap();
    for begin in [0, size, 2 * size] {
        store.record_blocking(events(begin..begin + size)).unwrap();
    }
    drop(store);
    files(world, &memory)
}

#[test]
fn a_torn_tail_is_cut_off_wherever_it_is_torn() {
    let world = World::new();
    let files = recorded(&world, 2, 1 << 20);
    let (name, bytes) = &files[0];
    let ends: Vec<u64> = segment::read(bytes, None).unwrap().frames.iter().map(|frame| frame.offset).chain([bytes.len() as u64]).collect();
    for length in HEADER..bytes.len() {
        let torn = folder(&world, &[(name.clone(), bytes[..length].to_vec())]);
        let (store, opened) = world.open(torn, config()).unwrap();
        let whole = ends.iter().rposition(|&end| end <= length as u64).unwrap();
        assert_eq!((store.position().position, opened.cut), (2 * whole as u64, length as u64 - ends[whole]), "{length} bytes");
        assert_eq!(store.record_blocking(events(0..6)).unwrap().repeated, 2 * whole as u64);
    }
}

#[test]
fn a_byte_that_changes_is_an_error_with_its_place_or_lies_in_the_last_write() {
    let world = World::new();
    let files = recorded(&world, 2, 1 << 20);
    let (name, bytes) = &files[0];
    let last = segment::read(bytes, None).unwrap().frames[2].offset as usize;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        match world.open(folder(&world, &[(name.clone(), changed)]), config()) {
            Err(EventError::Damaged { file, offset, .. }) => {
                assert!(at < last && file.ends_with(name) && offset as usize <= at, "byte {at}: {file} at {offset}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            // Whether a last write was never finished or has changed later can not be told.
            Ok((store, opened)) => {
                assert!(at >= last && store.position().position == 4 && opened.cut > 0, "byte {at}");
            }
        }
    }
}

#[test]
fn segments_before_the_last_one_are_whole_or_damaged() {
    let world = World::new();
    let files = recorded(&world, 10, 1024);
    assert!(files.len() == 3, "{:?}", files.iter().map(|(name, bytes)| (name, bytes.len())).collect::<Vec<_>>());
    let mut shorter = files.clone();
    shorter[0].1.pop();
    assert!(matches!(world.open(folder(&world, &shorter), config()), Err(EventError::Damaged { .. })));
    // What lies behind what counts is what a write that failed has left.
    let mut longer = files.clone();
    longer[0].1.extend(b"AEVF and what not");
    assert_eq!(world.open(folder(&world, &longer), config()).unwrap().0.position().position, 30);
    let error = world.open(folder(&world, &files[1..]), config()).unwrap_err();
    assert!(matches!(error, EventError::Missing { from: 0, .. }), "{error}");
    let mut other = files.clone();
    other[0].0 = "segment-000000000009".to_owned();
    let error = world.open(folder(&world, &other), config()).unwrap_err();
    assert!(error.to_string().contains("another segment under this name"), "{error}");
}

#[test]
fn of_two_snapshots_one_may_be_damaged() {
    let world = World::new();
    let memory = Arc::new(MemoryFolder::default());
    let (store, _) = world.open(memory.clone(), config()).unwrap();
    for begin in [0, 5, 10] {
        store.record_blocking(events(begin..begin + 5)).unwrap();
        store.snapshot().unwrap();
    }
    drop(store);
    let files = files(&world, &memory);
    let snapshots: Vec<usize> = (0..files.len()).filter(|&i| files[i].0.starts_with("snapshot-")).collect();
    assert_eq!(snapshots.len(), 2);
    let mut reference = world.reference();
    events(0..15).iter().for_each(|event| reference.learn(event));
    let mut damaged = files.clone();
    let middle = damaged[snapshots[1]].1.len() / 2;
    damaged[snapshots[1]].1[middle] ^= 4;
    let held = folder(&world, &damaged);
    let (store, opened) = world.open(held.clone(), config()).unwrap();
    assert_eq!((opened.snapshot, opened.replayed), (Some(10), 5));
    assert!(opened.problems[0].contains("is damaged"), "{:?}", opened.problems);
    reference.check(&store, "from the older snapshot");
    // It is put aside: the next snapshot and the older good one are what is kept.
    store.snapshot().unwrap();
    drop(store);
    let names: Vec<String> =
        held.list(&world.spec).unwrap().into_iter().map(|entry| entry.name).filter(|name| name.contains("snapshot-")).collect();
    let position = |name: &String| name[name.len() - 2..].to_owned();
    assert_eq!(names.iter().filter(|name| name.starts_with("damaged-")).map(position).collect::<Vec<_>>(), ["15"]);
    assert_eq!(names.iter().filter(|name| name.starts_with("snapshot-")).map(position).collect::<Vec<_>>(), ["10", "15"]);
    damaged[snapshots[0]].1.truncate(9);
    let error = world.open(folder(&world, &damaged), config()).unwrap_err();
    assert!(matches!(error, EventError::Snapshot { ref file, .. } if file.ends_with("00015")), "{error}");
}
