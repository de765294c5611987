//! A folder in memory that records what is done and shows what a disk may hold after a crash.
//!
//! The model is the weakest that file systems promise. Of the bytes of a file that were not synced all, a part or none survive. Of the entries of a folder that
//! were not synced (a new file, a new name, a removed one) any subset survives, each for itself; a renaming survives as a whole or not at all.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Blob, Entry, Folder, Lock, io, parent, parts};
use crate::RegistryError;

/// One operation that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Folder::create_folder`].
    CreateFolder(String),
    /// [`Folder::create`].
    Create(String),
    /// [`Folder::append`].
    Append(String, Vec<u8>),
    /// [`Folder::sync`].
    Sync(String),
    /// [`Folder::sync_folder`].
    SyncFolder(String),
    /// [`Folder::rename`].
    Rename(String, String),
    /// [`Folder::remove`].
    Remove(String),
    /// [`Folder::remove_folder`].
    RemoveFolder(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File { durable: Vec<u8>, bytes: Arc<Vec<u8>> },
    Folder { durable: BTreeMap<String, usize>, unsynced: Vec<Change>, entries: BTreeMap<String, usize> },
}

/// What happens to the entries of a folder at once: names that go, a name that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    gone: Option<String>,
    new: Option<(String, usize)>,
}

impl Change {
    fn apply(&self, entries: &mut BTreeMap<String, usize>) {
        if let Some(name) = &self.gone {
            entries.remove(name);
        }
        if let Some((name, node)) = &self.new {
            entries.insert(name.clone(), *node);
        }
    }
}

fn empty_folder() -> Node {
    Node::Folder { durable: BTreeMap::new(), unsynced: Vec::new(), entries: BTreeMap::new() }
}

#[derive(Clone, Debug)]
struct State {
    /// The first is the root.
    nodes: Vec<Node>,
    steps: Vec<Step>,
}

/// A folder in memory.
#[derive(Debug)]
pub struct MemoryFolder {
    state: Mutex<State>,
    writer: Mutex<()>,
}

impl Default for MemoryFolder {
    fn default() -> Self {
        Self::of(State { nodes: vec![empty_folder()], steps: Vec::new() })
    }
}

impl Clone for MemoryFolder {
    fn clone(&self) -> Self {
        Self::of(self.state().clone())
    }
}

impl MemoryFolder {
    fn of(state: State) -> Self {
        Self { state: Mutex::new(state), writer: Mutex::new(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was done since the beginning, or since the last call.
    #[must_use]
    pub fn take_steps(&self) -> Vec<Step> {
        std::mem::take(&mut self.state().steps)
    }

    /// Does some steps.
    ///
    /// # Errors
    /// A step that does not fit what is there.
    pub fn replay(&self, steps: &[Step]) -> Result<(), RegistryError> {
        steps.iter().try_for_each(|step| self.step(step.clone()))
    }

    /// Every disk that a crash may leave now.
    #[must_use]
    pub fn after_a_crash(&self) -> Vec<Self> {
        let state = self.state();
        let mut disks = vec![state.nodes.clone()];
        for (at, node) in state.nodes.iter().enumerate() {
            let ways: Vec<Node> = match node {
                Node::File { durable, bytes } if durable == &**bytes => continue,
                Node::File { durable, bytes } => {
                    let torn = durable.len() + (bytes.len() - durable.len()) / 2;
                    let file = |length: usize| Node::File { durable: bytes[..length].to_vec(), bytes: Arc::new(bytes[..length].to_vec()) };
                    let mut lengths = vec![durable.len(), torn, bytes.len()];
                    lengths.dedup();
                    lengths.into_iter().map(file).collect()
                }
                Node::Folder { durable, unsynced, .. } => {
                    let survives = |set: usize| {
                        let mut entries = durable.clone();
                        unsynced.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).for_each(|(_, change)| change.apply(&mut entries));
                        Node::Folder { durable: entries.clone(), unsynced: Vec::new(), entries }
                    };
                    let mut ways: Vec<Node> = Vec::new();
                    for way in (0..1 << unsynced.len()).map(survives) {
                        if !ways.contains(&way) {
                            ways.push(way);
                        }
                    }
                    ways
                }
            };
            disks = disks.iter().flat_map(|disk| ways.iter().map(move |way| (disk, way))).map(|(disk, way)| with(disk, at, way)).collect();
        }
        disks.into_iter().map(|nodes| Self::of(State { nodes, steps: Vec::new() })).collect()
    }

    fn step(&self, step: Step) -> Result<(), RegistryError> {
        let mut state = self.state();
        state.step(&step)?;
        state.steps.push(step);
        Ok(())
    }
}

fn with(disk: &[Node], at: usize, node: &Node) -> Vec<Node> {
    let mut disk = disk.to_vec();
    disk[at] = node.clone();
    disk
}

fn refused(action: &'static str, path: &str, kind: ErrorKind) -> RegistryError {
    io(action, path)(kind.into())
}

impl State {
    fn find(&self, action: &'static str, path: &str) -> Result<usize, RegistryError> {
        parts(path)?.into_iter().try_fold(0, |at, part| match &self.nodes[at] {
            Node::Folder { entries, .. } => entries.get(part).copied().ok_or_else(|| refused(action, path, ErrorKind::NotFound)),
            Node::File { .. } => Err(refused(action, path, ErrorKind::NotADirectory)),
        })
    }

    /// Changes the entries of the folder in which `path` lies.
    fn change(&mut self, action: &'static str, path: &str, change: Change) -> Result<(), RegistryError> {
        let at = self.find(action, parent(path))?;
        match &mut self.nodes[at] {
            Node::Folder { unsynced, entries, .. } => {
                change.apply(entries);
                unsynced.push(change);
                Ok(())
            }
            Node::File { .. } => Err(refused(action, path, ErrorKind::NotADirectory)),
        }
    }

    fn add(&mut self, action: &'static str, path: &str, node: Node) -> Result<(), RegistryError> {
        if self.find(action, path).is_ok() {
            return Err(refused(action, path, ErrorKind::AlreadyExists));
        }
        self.change(action, path, Change { gone: None, new: Some((last(path), self.nodes.len())) })?;
        self.nodes.push(node);
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), RegistryError> {
        match step {
            Step::CreateFolder(path) => self.add("make folder", path, empty_folder()),
            Step::Create(path) => self.add("create", path, Node::File { durable: Vec::new(), bytes: Arc::default() }),
            Step::Append(path, more) => {
                let at = self.find("write", path)?;
                match &mut self.nodes[at] {
                    Node::File { bytes, .. } => Arc::make_mut(bytes).extend_from_slice(more),
                    Node::Folder { .. } => return Err(refused("write", path, ErrorKind::IsADirectory)),
                }
                Ok(())
            }
            Step::Sync(path) | Step::SyncFolder(path) => {
                let at = self.find("sync", path)?;
                match &mut self.nodes[at] {
                    Node::File { durable, bytes } => durable.clone_from(bytes),
                    Node::Folder { durable, unsynced, entries } => {
                        durable.clone_from(entries);
                        unsynced.clear();
                    }
                }
                Ok(())
            }
            Step::Rename(from, to) => {
                let node = self.find("rename", from)?;
                if parent(from) != parent(to) {
                    return Err(refused("rename", from, ErrorKind::CrossesDevices));
                }
                let is_folder = |node: usize| matches!(self.nodes[node], Node::Folder { .. });
                if self.find("rename", to).is_ok_and(|taken| is_folder(taken) || is_folder(node)) {
                    return Err(refused("rename to", to, ErrorKind::AlreadyExists));
                }
                self.change("rename", from, Change { gone: Some(last(from)), new: Some((last(to), node)) })
            }
            Step::Remove(path) | Step::RemoveFolder(path) => {
                let at = self.find("remove", path)?;
                match (&self.nodes[at], step) {
                    (Node::Folder { entries, .. }, Step::RemoveFolder(_)) if !entries.is_empty() => {
                        return Err(refused("remove", path, ErrorKind::DirectoryNotEmpty));
                    }
                    (Node::Folder { .. }, Step::RemoveFolder(_)) | (Node::File { .. }, Step::Remove(_)) => {}
                    _ => return Err(refused("remove", path, ErrorKind::InvalidInput)),
                }
                self.change("remove", path, Change { gone: Some(last(path)), new: None })
            }
        }
    }
}

fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

impl Folder for MemoryFolder {
    fn create_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::CreateFolder(path.to_owned()))
    }

    fn create(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::Create(path.to_owned()))
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        self.step(Step::Append(path.to_owned(), bytes.to_vec()))
    }

    fn sync(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::Sync(path.to_owned()))
    }

    fn sync_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::SyncFolder(path.to_owned()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), RegistryError> {
        self.step(Step::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::Remove(path.to_owned()))
    }

    fn remove_folder(&self, path: &str) -> Result<(), RegistryError> {
        self.step(Step::RemoveFolder(path.to_owned()))
    }

    fn list(&self, path: &str) -> Result<Vec<Entry>, RegistryError> {
        let state = self.state();
        let is_folder = |node: usize| matches!(state.nodes[node], Node::Folder { .. });
        match &state.nodes[state.find("list", path)?] {
            Node::Folder { entries, .. } => {
                Ok(entries.iter().map(|(name, &node)| Entry { name: name.clone(), is_folder: is_folder(node) }).collect())
            }
            Node::File { .. } => Err(refused("list", path, ErrorKind::NotADirectory)),
        }
    }

    fn open(&self, path: &str) -> Result<Box<dyn Blob>, RegistryError> {
        let state = self.state();
        match &state.nodes[state.find("open", path)?] {
            Node::File { bytes, .. } => Ok(Box::new(bytes.clone())),
            Node::Folder { .. } => Err(refused("open", path, ErrorKind::IsADirectory)),
        }
    }

    fn lock(&self) -> Result<Box<dyn Lock + '_>, RegistryError> {
        Ok(Box::new(self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }
}

impl Lock for MutexGuard<'_, ()> {}

impl Blob for Arc<Vec<u8>> {
    fn size(&self) -> std::io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = from.checked_add(buffer.len()).and_then(|to| self.get(from..to)).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sync_everything_may_be_lost() {
        let folder = MemoryFolder::default();
        folder.create("a").unwrap();
        folder.append("a", b"word").unwrap();
        let lengths = |folder: &MemoryFolder| -> Vec<Option<u64>> {
            let of = |disk: &MemoryFolder| disk.open("a").ok().map(|file| file.size().unwrap());
            let mut lengths: Vec<_> = folder.after_a_crash().iter().map(of).collect();
            lengths.sort_unstable();
            lengths.dedup();
            lengths
        };
        assert_eq!(lengths(&folder), [None, Some(0), Some(2), Some(4)]);
        folder.sync("a").unwrap();
        assert_eq!(lengths(&folder), [None, Some(4)]);
        folder.sync_folder("").unwrap();
        assert_eq!(lengths(&folder), [Some(4)]);
    }
}
