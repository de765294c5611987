//! Patches of many users in one version.

mod common;

use std::collections::BTreeMap;
use std::time::Instant;

use acclimate_registry::folder::Folder;
use acclimate_registry::{Content, Draft, Kind, Registry, RegistryError, SegmentStore, Settings, segment_files};
use common::{about, base, get, in_memory, name, put, version};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 5;

/// Keys of users, and a value that follows from the key.
fn users(count: usize, width: usize, seed: u64) -> (Vec<u64>, Vec<f32>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut keys: Vec<u64> = (0..count).map(|_| random.random()).collect();
    keys.extend([0, u64::MAX]);
    keys.sort_unstable();
    keys.dedup();
    let values = keys.iter().flat_map(|&key| (0..width as u64).map(move |at| value(key, at))).collect();
    (keys, values)
}

fn value(key: u64, at: u64) -> f32 {
    (key.rotate_left(7 * at as u32) % 1000) as f32 / 1000.0
}

fn draft(files: BTreeMap<acclimate_registry::Name, Content>) -> Draft {
    Draft { kind: Kind::Segments, name: name("users"), about: about(0, 1_700_000_000), files, expected: BTreeMap::new() }
}

#[test]
fn every_user_is_found_and_nobody_else() {
    let (_, registry) = in_memory();
    let (keys, values) = users(3000, WIDTH, 1);
    registry.publish(&draft(segment_files(&keys, &values, 700).unwrap()), None).unwrap();
    let store = SegmentStore::open(&registry, &name("users"), version(1)).unwrap();
    assert_eq!((store.users(), store.width(), store.index_was_rebuilt()), (keys.len() as u64, WIDTH as u64, false));
    for &key in &keys {
        let expected: Vec<f32> = (0..WIDTH as u64).map(|at| value(key, at)).collect();
        assert_eq!(store.get(key).unwrap(), Some(expected));
        let next = key.wrapping_add(1);
        assert_eq!(store.get(next).unwrap().is_some(), keys.binary_search(&next).is_ok());
    }
}

#[test]
fn a_lost_index_is_made_again() {
    let (folder, registry) = in_memory();
    let (keys, values) = users(100, WIDTH, 2);
    registry.publish(&draft(segment_files(&keys, &values, 30).unwrap()), None).unwrap();
    let path = "segments/users/v000001/index.json";
    for damaged in [&b"junk"[..], b""] {
        put(&folder, path, damaged);
        let store = SegmentStore::open(&registry, &name("users"), version(1)).unwrap();
        assert!(store.index_was_rebuilt());
        assert!(keys.iter().all(|&key| store.get(key).unwrap().is_some()));
    }
    folder.remove(path).unwrap();
    assert!(SegmentStore::open(&registry, &name("users"), version(1)).unwrap().index_was_rebuilt());
}

#[test]
fn segments_that_could_answer_twice_are_refused() {
    let (_, registry) = in_memory();
    let (keys, values) = users(100, WIDTH, 3);
    let refused = |files| matches!(registry.publish(&draft(files), None), Err(RegistryError::Segment { .. }));
    assert!(matches!(segment_files(&[2, 1], &[0.0; 2], 10), Err(RegistryError::Segment { .. })));
    assert!(matches!(segment_files(&[1, 1], &[0.0; 2], 10), Err(RegistryError::Segment { .. })));
    assert!(matches!(segment_files(&[], &[], 10), Err(RegistryError::Segment { .. })));
    assert!(matches!(segment_files(&[1, 2], &[0.0; 3], 10), Err(RegistryError::Segment { .. })));
    let files = segment_files(&keys, &values, 40).unwrap();
    let mut twice = files.clone();
    let first = twice[&name("000000.safetensors")].clone();
    twice.insert(name("000009.safetensors"), first);
    assert!(refused(twice), "keys in two segments");
    let mut unlisted = files.clone();
    unlisted.remove(&name("000001.safetensors"));
    assert!(refused(unlisted), "the index lists what is not there");
    let mut stranger = files.clone();
    stranger.insert(name("000002.safetensors"), Content::Bytes(common::tensors(&[1.0])));
    assert!(refused(stranger), "a tensor file that is no segment");
    let wide = segment_files(&[u64::MAX], &[0.0; WIDTH + 1], 40).unwrap().remove(&name("000000.safetensors")).unwrap();
    let mut two_widths = segment_files(&keys[..40], &values[..40 * WIDTH], 40).unwrap();
    two_widths.insert(name("000001.safetensors"), wide);
    assert!(refused(two_widths));
    assert!(registry.publish(&draft(files), None).is_ok());
}

#[test]
fn a_damaged_segment_is_an_error_and_no_answer() {
    let (folder, registry) = in_memory();
    let (keys, values) = users(100, WIDTH, 4);
    registry.publish(&draft(segment_files(&keys, &values, 1000).unwrap()), None).unwrap();
    let path = "segments/users/v000001/000000.safetensors";
    let bytes = get(&folder, path);
    put(&folder, path, &bytes[..bytes.len() - 4]);
    assert!(SegmentStore::open(&registry, &name("users"), version(1)).is_err());
    assert!(registry.verify(Kind::Segments, &name("users"), version(1)).is_err());
}

/// `cargo test --release -p acclimate-registry --test segments -- --ignored --nocapture`
#[test]
#[ignore = "measures: 1,000,000 users"]
fn a_million_users() {
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::init(root.path(), Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    let (keys, values) = users(1_000_000, 16, 5);
    let files = segment_files(&keys, &values, 1 << 17).unwrap();
    let began = Instant::now();
    registry.publish(&draft(files), None).unwrap();
    println!("published {} users of 16 values in {:.2} s", keys.len(), began.elapsed().as_secs_f64());
    let began = Instant::now();
    let store = SegmentStore::open(&registry, &name("users"), version(1)).unwrap();
    println!("opened in {:.3} s", began.elapsed().as_secs_f64());
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let asked: Vec<u64> = (0..200_000).map(|_| keys[random.random_range(0..keys.len())]).collect();
    let mut times: Vec<f64> = Vec::with_capacity(asked.len());
    for key in asked {
        let began = Instant::now();
        let found = store.get(key).unwrap().unwrap();
        times.push(began.elapsed().as_secs_f64() * 1e6);
        assert_eq!(found[3], value(key, 3));
    }
    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize];
    println!("look-up: p50 {:.2} us, p99 {:.2} us, p99.9 {:.2} us", at(0.5), at(0.99), at(0.999));
    let stats = std::fs::read_dir(root.path().join("segments/users/v000001")).unwrap();
    let bytes: u64 = stats.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    println!("{:.1} bytes a user on disk", bytes as f64 / keys.len() as f64);
}
