//! A folder that refuses, and one that is slow.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use acclimate_registry::RegistryError;
use acclimate_registry::folder::{Blob, Entry, Folder, Lock, MemoryFolder};
use acclimate_serve::api::Refusal;
use acclimate_serve::events::EventConfig;

use crate::world::{World, config, event, events};

/// A folder with so much room, whose syncs may be held up.
#[derive(Default)]
struct Limited {
    inner: MemoryFolder,
    room: AtomicU64,
    syncs: AtomicUsize,
    fails_to_sync: AtomicUsize,
    held: Mutex<bool>,
    moves: Condvar,
}

impl Limited {
    fn with(room: u64) -> Arc<Self> {
        Arc::new(Self { room: AtomicU64::new(room), ..Self::default() })
    }

    fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.moves.notify_all();
    }

    /// Waits until so many syncs have begun.
    fn wait_for(&self, syncs: usize) {
        let mut held = self.held.lock().unwrap();
        while self.syncs.load(Ordering::SeqCst) < syncs {
            held = self.moves.wait(held).unwrap();
        }
    }
}

fn refused(path: &str, kind: ErrorKind) -> RegistryError {
    RegistryError::Io { action: "write", path: path.to_owned(), source: kind.into() }
}

impl Folder for Limited {
    fn create_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.inner.create_folder(path)
    }

    fn create(&self, path: &str) -> Result<(), RegistryError> {
        self.inner.create(path)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let room = self.room.load(Ordering::SeqCst);
        if (bytes.len() as u64) > room {
            // As a disk that fills up in the middle of a write.
            self.inner.append(path, &bytes[..room as usize])?;
            self.room.store(0, Ordering::SeqCst);
            return Err(refused(path, ErrorKind::StorageFull));
        }
        self.room.fetch_sub(bytes.len() as u64, Ordering::SeqCst);
        self.inner.append(path, bytes)
    }

    fn sync(&self, path: &str) -> Result<(), RegistryError> {
        let mut held = self.held.lock().unwrap();
        self.syncs.fetch_add(1, Ordering::SeqCst);
        self.moves.notify_all();
        while *held {
            held = self.moves.wait(held).unwrap();
        }
        if self.fails_to_sync.load(Ordering::SeqCst) > 0 {
            self.fails_to_sync.fetch_sub(1, Ordering::SeqCst);
            return Err(refused(path, ErrorKind::Other));
        }
        self.inner.sync(path)
    }

    fn sync_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.inner.sync_folder(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), RegistryError> {
        self.inner.remove(path)
    }

    fn remove_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.inner.remove_folder(path)
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, RegistryError> {
        self.inner.list(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Blob>, RegistryError> {
        self.inner.open(path)
    }

    fn lock(&self) -> Result<Box<dyn Lock + '_>, RegistryError> {
        self.inner.lock()
    }
}

#[test]
fn a_full_disk_refuses_and_loses_nothing_and_goes_on_when_there_is_room() {
    let world = World::new();
    for room in (0..3000).step_by(97) {
        let folder = Limited::with(room);
        let (store, _) = world.open(folder.clone(), EventConfig { segment_bytes: 1200, ..config() }).unwrap();
        let mut reference = world.reference();
        let mut refusals = 0;
        for begin in (0..24).step_by(3) {
            let batch = events(begin..begin + 3);
            for attempt in 0.. {
                match store.record_blocking(batch.clone()) {
                    Ok(recorded) => {
                        assert_eq!(recorded.recorded + recorded.late, 3);
                        break;
                    }
                    Err(Refusal::Unavailable { reason }) if attempt < 3 => {
                        assert!(reason.contains("not stored") && reason.contains("room"), "{reason}");
                        reference.check(&store, "a refused event is not known");
                        refusals += 1;
                        // Once without room again, and then with it.
                        if attempt > 0 {
                            folder.room.fetch_add(5000, Ordering::SeqCst);
                        }
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            batch.iter().for_each(|event| reference.learn(event));
            reference.check(&store, "what was stored is known");
        }
        assert!(refusals > 0, "with room for {room} bytes");
        folder.room.store(0, Ordering::SeqCst);
        assert!(matches!(store.snapshot(), Err(Refusal::Failed { .. })));
        folder.room.store(1 << 20, Ordering::SeqCst);
        assert_eq!(store.snapshot().unwrap(), 24);
        drop(store);
        let (store, _) = world.open(folder, config()).unwrap();
        reference.check(&store, "after a restart");
    }
}

#[test]
fn what_can_not_be_synced_is_not_acknowledged() {
    let world = World::new();
    let folder = Limited::with(1 << 20);
    let (store, _) = world.open(folder.clone(), config()).unwrap();
    let mut reference = world.reference();
    for number in 0..6 {
        if number % 2 == 0 {
            folder.fails_to_sync.store(1, Ordering::SeqCst);
            assert!(matches!(store.record_blocking(events(number..number + 1)), Err(Refusal::Unavailable { .. })));
        }
        store.record_blocking(events(number..number + 1)).unwrap();
        reference.learn(&event(number));
    }
    drop(store);
    let (store, _) = world.open(folder, config()).unwrap();
    reference.check(&store, "after a restart");
}

#[test]
fn who_asks_does_not_wait_for_a_disk_and_what_waits_is_synced_together() {
    let world = World::new();
    let folder = Limited::with(1 << 20);
    let (store, _) = world.open(folder.clone(), config()).unwrap();
    store.record_blocking(events(0..1)).unwrap();
    let before = folder.syncs.load(Ordering::SeqCst);
    folder.hold(true);
    let first = store.send(events(1..2)).unwrap();
    folder.wait_for(before + 1);
    // The writer waits for the disk now. What is asked is answered from what is known.
    assert_eq!(store.position().position, 1);
    let waiting: Vec<_> = (2..30).map(|number| store.send(events(number..number + 1)).unwrap()).collect();
    assert_eq!(store.position().position, 1);
    folder.hold(false);
    assert_eq!(first.blocking_recv().unwrap().unwrap().state.position, 2);
    for answer in waiting {
        assert_eq!(answer.blocking_recv().unwrap().unwrap().state.position, 30);
    }
    assert_eq!(folder.syncs.load(Ordering::SeqCst), before + 2, "28 requests share one sync");
}

#[test]
fn a_full_queue_is_busy() {
    let world = World::new();
    let folder = Limited::with(1 << 20);
    let (store, _) = world.open(folder.clone(), EventConfig { queue: 2, ..config() }).unwrap();
    folder.hold(true);
    let first = store.send(events(0..1)).unwrap();
    folder.wait_for(1);
    let two = [1, 2].map(|number| store.send(events(number..number + 1)).unwrap());
    assert!(matches!(store.send(events(3..4)), Err(Refusal::Busy { .. })));
    folder.hold(false);
    first.blocking_recv().unwrap().unwrap();
    two.into_iter().for_each(|answer| assert!(answer.blocking_recv().unwrap().is_ok()));
    assert_eq!(store.position().position, 3);
}
