//! A folder of the local file system.
//!
//! Every path is walked from the open root, part by part, and no part may be a link: what another process puts in the way between a check and its use changes
//! nothing.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fsync, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::{Errno, write};

use super::{Blob, Entry, Folder, Lock, io, parts};
use crate::RegistryError;

/// A folder on disk.
#[derive(Debug)]
pub struct LocalFolder {
    root: OwnedFd,
}

/// The file on which processes wait for each other.
const LOCK: &str = ".lock";

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl LocalFolder {
    /// A folder that exists. The path to it may hold links; nothing below it may.
    ///
    /// # Errors
    /// It can not be opened.
    pub fn new(path: &Path) -> Result<Self, RegistryError> {
        let root = openat(CWD, path, FOLDER, Mode::empty()).map_err(|e| io("open", &path.display().to_string())(e.into()))?;
        Ok(Self { root })
    }

    fn failed(&self, action: &'static str, path: &str) -> impl Fn(Errno) -> RegistryError {
        let path = path.to_owned();
        move |errno| {
            if errno == Errno::LOOP { RegistryError::Symlink { path: path.clone() } } else { io(action, &path)(errno.into()) }
        }
    }

    /// Opens a folder, part by part.
    fn folder(&self, path: &str) -> Result<OwnedFd, RegistryError> {
        let mut folder = openat(&self.root, ".", FOLDER, Mode::empty()).map_err(self.failed("open", path))?;
        for part in parts(path)? {
            let opened = openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty());
            folder = opened.map_err(|errno| {
                // The kernel says of a link that it is no folder.
                let is_link =
                    statat(&folder, part, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_symlink());
                self.failed("open", path)(if is_link { Errno::LOOP } else { errno })
            })?;
        }
        Ok(folder)
    }

    /// The open folder of a path, and the last part of the path.
    fn place<'a>(&self, path: &'a str) -> Result<(OwnedFd, &'a str), RegistryError> {
        let last = parts(path)?.pop().ok_or_else(|| RegistryError::Path { path: path.to_owned() })?;
        Ok((self.folder(super::parent(path))?, last))
    }

    fn file(&self, action: &'static str, path: &str, flags: OFlags) -> Result<OwnedFd, RegistryError> {
        let (folder, name) = self.place(path)?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(&folder, name, flags, Mode::from_raw_mode(0o644)).map_err(self.failed(action, path))
    }
}

impl Folder for LocalFolder {
    fn create_folder(&self, path: &str) -> Result<(), RegistryError> {
        let (folder, name) = self.place(path)?;
        mkdirat(&folder, name, Mode::from_raw_mode(0o755)).map_err(self.failed("make folder", path))
    }

    fn create(&self, path: &str) -> Result<(), RegistryError> {
        self.file("create", path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL).map(drop)
    }

    fn append(&self, path: &str, mut bytes: &[u8]) -> Result<(), RegistryError> {
        let file = self.file("write", path, OFlags::WRONLY | OFlags::APPEND)?;
        while !bytes.is_empty() {
            let written = rustix::io::retry_on_intr(|| write(&file, bytes)).map_err(self.failed("write", path))?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn sync(&self, path: &str) -> Result<(), RegistryError> {
        let file = self.file("sync", path, OFlags::RDONLY)?;
        fsync(&file).map_err(self.failed("sync", path))
    }

    fn sync_folder(&self, path: &str) -> Result<(), RegistryError> {
        fsync(self.folder(path)?).map_err(self.failed("sync", path))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        let ((old, from_name), (new, to_name)) = (self.place(from)?, self.place(to)?);
        let is_folder = |folder: &OwnedFd, name: &str| {
            statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
        };
        // The system would let a folder take the place of an empty one.
        if is_folder(&old, from_name) && is_folder(&new, to_name) {
            return Err(self.failed("rename to", to)(Errno::EXIST));
        }
        renameat(&old, from_name, &new, to_name).map_err(self.failed("rename", from))
    }

    fn remove(&self, path: &str) -> Result<(), RegistryError> {
        let (folder, name) = self.place(path)?;
        unlinkat(&folder, name, AtFlags::empty()).map_err(self.failed("remove", path))
    }

    fn remove_folder(&self, path: &str) -> Result<(), RegistryError> {
        let (folder, name) = self.place(path)?;
        unlinkat(&folder, name, AtFlags::REMOVEDIR).map_err(self.failed("remove", path))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, RegistryError> {
        let folder = self.folder(path)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder).map_err(self.failed("list", path))? {
            let entry = entry.map_err(self.failed("list", path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed("list", path))?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            entries.push(Entry { name, is_folder: kind.is_dir() });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn open(&self, path: &str) -> Result<Box<dyn Blob>, RegistryError> {
        let file = File::from(self.file("open", path, OFlags::RDONLY)?);
        // Not a pipe or a device, on which a reader would wait for ever.
        if !file.metadata().map_err(io("open", path))?.is_file() {
            return Err(io("open", path)(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file")));
        }
        Ok(Box::new(file))
    }

    fn lock(&self) -> Result<Box<dyn Lock + '_>, RegistryError> {
        let file = File::from(self.file("lock", LOCK, OFlags::RDWR | OFlags::CREATE)?);
        file.lock().map_err(io("lock", LOCK))?;
        Ok(Box::new(file))
    }
}

/// Closing the file lets go of the lock.
impl Lock for File {}

impl Blob for File {
    fn size(&self) -> std::io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_refused_wherever_they_stand() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
        let folder = LocalFolder::new(inside.path()).unwrap();
        let link = |error: RegistryError| matches!(error, RegistryError::Symlink { .. });
        assert!(folder.open("file").err().is_some_and(link));
        assert!(folder.open("folder/secret").err().is_some_and(link));
        assert!(folder.list("folder").err().is_some_and(link));
        assert!(folder.create("folder/new").err().is_some_and(link));
        assert!(folder.append("file", b"y").err().is_some_and(link));
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"x");
    }

    #[test]
    fn a_folder_takes_no_place() {
        let root = tempfile::tempdir().unwrap();
        let folder = LocalFolder::new(root.path()).unwrap();
        folder.create_folder("a").unwrap();
        folder.create_folder("b").unwrap();
        assert!(folder.rename("a", "b").is_err());
        folder.rename("a", "c").unwrap();
        assert_eq!(folder.list("").unwrap().len(), 2);
    }
}
