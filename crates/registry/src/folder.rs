//! Where a registry lies: the few operations that it is made of.
//!
//! Publishing is a sequence of these operations and nothing else, so that a recording folder ([`MemoryFolder`]) can stop it after any of them and show what a
//! disk may hold then. Paths are relative, parts are separated by `/`, the empty path is the folder itself. A bucket can follow: a version is a prefix that is
//! complete with its manifest, and what is done under [`lock`](Folder::lock) here is a conditional put there.

mod local;
mod memory;

pub use local::LocalFolder;
pub use memory::{MemoryFolder, Step};

use sha2::{Digest as _, Sha256};

use crate::{Digest, Name, RegistryError};

/// A folder and what can be done in it.
///
/// Nothing is durable before its sync: the bytes of a file not before [`sync`](Self::sync), what a folder lists not before [`sync_folder`](Self::sync_folder).
/// No operation follows a symbolic link.
pub trait Folder: Send + Sync {
    /// Makes a folder; its parent must be there.
    ///
    /// # Errors
    /// It is there, its parent is not, or the system refuses.
    fn create_folder(&self, path: &str) -> Result<(), RegistryError>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// It is there, its parent is not, or the system refuses.
    fn create(&self, path: &str) -> Result<(), RegistryError>;

    /// Adds bytes to the end of a file.
    ///
    /// # Errors
    /// It is not there, or the system refuses.
    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), RegistryError>;

    /// Makes the bytes of a file durable.
    ///
    /// # Errors
    /// It is not there, or the system refuses.
    fn sync(&self, path: &str) -> Result<(), RegistryError>;

    /// Makes durable what a folder lists.
    ///
    /// # Errors
    /// It is not there, or the system refuses.
    fn sync_folder(&self, path: &str) -> Result<(), RegistryError>;

    /// Gives a file or folder another name in the same folder, at once. A file takes the place of a file; a folder takes no place.
    ///
    /// # Errors
    /// It is not there, its new place is taken, or the system refuses.
    fn rename(&self, from: &str, to: &str) -> Result<(), RegistryError>;

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there, or the system refuses.
    fn remove(&self, path: &str) -> Result<(), RegistryError>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// It is not there, holds something, or the system refuses.
    fn remove_folder(&self, path: &str) -> Result<(), RegistryError>;

    /// What lies in a folder, by name.
    ///
    /// # Errors
    /// It is not there, or the system refuses.
    fn list(&self, path: &str) -> Result<Vec<Entry>, RegistryError>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// It is not there, is a link, or the system refuses.
    fn open(&self, path: &str) -> Result<Box<dyn Blob>, RegistryError>;

    /// Waits until nobody else changes an alias, the routes or the set of versions, and keeps it so until the value is dropped. A process that dies lets go.
    ///
    /// # Errors
    /// The system refuses.
    fn lock(&self) -> Result<Box<dyn Lock + '_>, RegistryError>;
}

/// A held lock.
pub trait Lock {}

/// Something that lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name, which need not be a [`Name`].
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// An open file.
pub trait Blob: Send + Sync {
    /// Bytes.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> std::io::Result<u64>;

    /// Fills the buffer with the bytes from `offset` on.
    ///
    /// # Errors
    /// The file ends before, or what the system says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;
}

/// The parts of a path, each a name or a dot before one (what is not published yet or not any more).
pub(crate) fn parts(path: &str) -> Result<Vec<&str>, RegistryError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let fits = |part: &str| part.strip_prefix('.').unwrap_or(part).parse::<Name>().is_ok();
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().all(|part| fits(part)) { Ok(parts) } else { Err(RegistryError::Path { path: path.chars().take(200).collect() }) }
}

/// The folder in which a path lies.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

pub(crate) fn io(action: &'static str, path: &str) -> impl Fn(std::io::Error) -> RegistryError {
    move |source| RegistryError::Io { action, path: path.to_owned(), source }
}

/// Bytes that are read or hashed at a time.
const CHUNK: usize = 1 << 20;

impl dyn Folder + '_ {
    /// A whole file of at most so many bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let blob = self.open(path)?;
        let size = blob.size().map_err(io("read", path))?;
        if size > limit {
            return Err(RegistryError::TooLarge { path: path.to_owned(), size, limit });
        }
        let mut bytes = vec![0; size as usize];
        blob.read_exact_at(&mut bytes, 0).map_err(io("read", path))?;
        Ok(bytes)
    }

    /// The same, `None` where there is no such file.
    pub(crate) fn read_if_there(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        match self.read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What lies in a folder; nothing where there is none.
    pub(crate) fn list_if_there(&self, path: &str) -> Result<Vec<Entry>, RegistryError> {
        match self.list(path) {
            Err(error) if error.is_absent() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// SHA-256 of a file, without holding it in memory.
    pub(crate) fn digest(&self, path: &str) -> Result<(u64, Digest), RegistryError> {
        let blob = self.open(path)?;
        let size = blob.size().map_err(io("read", path))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK.min(size as usize)];
        let mut offset = 0;
        while offset < size {
            let part = &mut buffer[..CHUNK.min((size - offset) as usize)];
            blob.read_exact_at(part, offset).map_err(io("read", path))?;
            hash.update(&part);
            offset += part.len() as u64;
        }
        Ok((size, Digest::finish(hash)))
    }

    /// Makes a folder and, first, those above it; each is listed durably by its parent.
    pub(crate) fn create_folders(&self, path: &str) -> Result<(), RegistryError> {
        self.make_folders(path)?;
        // Those that were there as well: whoever made them may have died before they were listed durably.
        let mut at = path;
        while !at.is_empty() {
            at = parent(at);
            self.sync_folder(at)?;
        }
        Ok(())
    }

    fn make_folders(&self, path: &str) -> Result<(), RegistryError> {
        if path.is_empty() {
            return Ok(());
        }
        // Never by listing: a folder may hold a hundred thousand names.
        let there = |error: &RegistryError| {
            let RegistryError::Io { source, .. } = error else { return false };
            source.kind() == std::io::ErrorKind::AlreadyExists
        };
        match self.create_folder(path) {
            Err(error) if there(&error) => Ok(()),
            Err(error) if error.is_absent() => {
                self.make_folders(parent(path))?;
                match self.create_folder(path) {
                    // Somebody else has just made it.
                    Err(error) if there(&error) => Ok(()),
                    made => made,
                }
            }
            made => made,
        }
    }

    /// Writes a new file with durable bytes; its folder does not list it durably yet.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        self.create(path)?;
        bytes.chunks(CHUNK).try_for_each(|chunk| self.append(path, chunk))?;
        self.sync(path)
    }

    /// Puts a file in the place of another (or of none), at once and durably, by way of a temporary sibling.
    pub(crate) fn replace(&self, path: &str, temporary: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        self.write(temporary, bytes)?;
        self.rename(temporary, path)?;
        self.sync_folder(parent(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out() {
        for fine in ["", "a", "patches/movies/v000001/manifest.json", "patches/movies/.tmp-1"] {
            assert!(parts(fine).is_ok(), "{fine}");
        }
        for wrong in ["/", "/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\\b", "..a", "a\0", "A"] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
