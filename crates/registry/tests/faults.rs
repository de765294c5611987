//! A disk that refuses: full, or failing, at every single operation.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use acclimate_registry::folder::{Blob, Entry, Folder, Lock, MemoryFolder};
use acclimate_registry::{Kind, Registry, RegistryError, Settings};
use common::{in_memory, name, patch, to};

/// Refuses every change from a certain one on.
struct Failing {
    folder: Arc<MemoryFolder>,
    left: AtomicI64,
}

impl Failing {
    fn allowed(&self, path: &str) -> Result<(), RegistryError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        let source = std::io::ErrorKind::StorageFull.into();
        Err(RegistryError::Io { action: "change", path: path.to_owned(), source })
    }
}

impl Folder for Failing {
    fn create_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.create_folder(path))
    }

    fn create(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.create(path))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        // A disk that is full takes a part.
        self.allowed(path).inspect_err(|_| self.folder.append(path, &bytes[..bytes.len() / 2]).unwrap())?;
        self.folder.append(path, bytes)
    }

    fn sync(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.sync(path))
    }

    fn sync_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.sync_folder(path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        self.allowed(from).and_then(|()| self.folder.rename(from, to))
    }

    fn remove(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.remove(path))
    }

    fn remove_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.allowed(path).and_then(|()| self.folder.remove_folder(path))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, RegistryError> {
        self.folder.list(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Blob>, RegistryError> {
        self.folder.open(path)
    }

    fn lock(&self) -> Result<Box<dyn Lock + '_>, RegistryError> {
        self.folder.lock()
    }
}

#[test]
fn a_full_disk_at_any_operation_is_an_error_and_leaves_everything_whole() {
    let (folder, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    for allowed in 0.. {
        let folder = Arc::new((*folder).clone());
        let failing = Arc::new(Failing { folder: folder.clone(), left: AtomicI64::new(allowed) });
        let registry = Registry::open_in(failing.clone(), Settings::default()).unwrap();
        let done = registry.publish(&patch("movies", 2), None).and_then(|_| registry.move_alias(&to("movies", "champion", 2, 1)));
        let again = Registry::open_in(folder, Settings::default()).unwrap();
        assert!(again.verify_all().unwrap().is_empty(), "{allowed} operations");
        let pointer = again.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap().unwrap();
        match done {
            Ok(_) => {
                assert_eq!(pointer.generation, 2);
                assert!(allowed > 15, "a publish and a move take more than {allowed} operations");
                break;
            }
            Err(error) => {
                assert!(matches!(error, RegistryError::Io { .. }), "{error}");
                // Only where the last sync is refused has the alias moved, and a crash may still undo it.
                assert!(pointer.generation == 1 || failing.left.load(Ordering::Relaxed) < 0);
            }
        }
        again.publish(&patch("movies", 3), None).unwrap();
        again.move_alias(&to("movies", "champion", 1, pointer.generation)).unwrap();
    }
}
