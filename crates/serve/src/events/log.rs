//! The log: segments in a folder, written by one.
//!
//! `segment-000000000001` and so on. A segment is made under a name with a dot before it, synced and renamed, so whatever has its name has its header. What a
//! write that failed has left behind is never read: the next segment says how much of the one before it counts.

use std::sync::Arc;

use acclimate_registry::RegistryError;
use acclimate_registry::folder::Folder;

use super::EventError;
use super::segment::{self, HEADER, Header};

/// A log that is open.
pub(super) struct Log {
    folder: Arc<dyn Folder>,
    root: String,
    spec: String,
    /// The segment that is written.
    number: u64,
    /// How many of its bytes count.
    length: u64,
    /// The position of the next event.
    next: u64,
    /// Whether something stands behind what counts, so that nothing may follow in this segment.
    is_torn: bool,
}

/// What was found in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes of a write that was never finished.
    pub(super) cut: u64,
    /// Segments that are there.
    pub(super) segments: usize,
}

/// A frame, and where it stands, for messages.
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) frame: segment::Frame<'a>,
}

fn name(number: u64) -> String {
    format!("segment-{number:012}")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("segment-").filter(|digits| digits.len() == 12)?.parse().ok()
}

/// A whole file.
pub(super) fn read_file(folder: &dyn Folder, path: &str) -> Result<Vec<u8>, RegistryError> {
    let io = |source| RegistryError::Io { action: "read", path: path.to_owned(), source };
    let blob = folder.open(path)?;
    let size = usize::try_from(blob.size().map_err(io)?).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|error| io(std::io::Error::other(error)))?;
    bytes.resize(size, 0);
    blob.read_exact_at(&mut bytes, 0).map_err(io)?;
    Ok(bytes)
}

/// Removes what an interruption or a failed write left under a temporary name.
pub(super) fn remove_if_there(folder: &dyn Folder, path: &str) -> Result<(), RegistryError> {
    match folder.remove(path) {
        Err(error) if error.is_absent() => Ok(()),
        done => done,
    }
}

/// Writes a file beside its place and renames it, so that it is there whole or not at all.
pub(super) fn write_file(folder: &dyn Folder, root: &str, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    let (beside, path) = (format!("{root}/.{name}"), format!("{root}/{name}"));
    remove_if_there(folder, &beside)?;
    folder.create(&beside)?;
    bytes.chunks(1 << 20).try_for_each(|chunk| folder.append(&beside, chunk))?;
    folder.sync(&beside)?;
    folder.rename(&beside, &path)?;
    folder.sync_folder(root)
}

impl Log {
    /// Opens a log behind a snapshot of the first `after` events, and gives away the frames from there on, oldest first.
    pub(super) fn open(
        folder: Arc<dyn Folder>,
        root: &str,
        spec: &str,
        after: u64,
        mut each: impl FnMut(Place<'_>) -> Result<(), EventError>,
    ) -> Result<(Self, Found), EventError> {
        let mut numbers: Vec<u64> = folder.list(root)?.iter().filter_map(|entry| number_of(&entry.name)).collect();
        numbers.sort_unstable();
        let mut found = Found { segments: numbers.len(), cut: 0 };
        let mut log = Self { folder, root: root.to_owned(), spec: spec.to_owned(), number: 0, length: 0, next: after, is_torn: true };
        let Some(&last) = numbers.last() else {
            // The last segment is never removed.
            return if after == 0 { Ok((log, found)) } else { Err(EventError::Missing { from: 0, file: log.path(1) }) };
        };
        // Old segments are removed one by one, and a crash may leave any of them.
        let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |at| at + 1);
        let numbers = &numbers[gap..];
        let headers = numbers.iter().map(|&number| log.header(number)).collect::<Result<Vec<Header>, _>>()?;
        let begin = headers.iter().rposition(|header| header.first <= after);
        let Some(begin) = begin else {
            return Err(EventError::Missing { from: after, file: log.path(numbers[0]) });
        };
        let mut next = headers[begin].first;
        for (at, header) in headers.iter().enumerate().skip(begin) {
            let path = log.path(header.number);
            if header.first != next {
                return Err(EventError::Missing { from: next, file: path });
            }
            let is_last = header.number == last;
            if is_last {
                // What is read now is acknowledged by what follows it.
                log.folder.sync(&path)?;
            }
            let bytes = read_file(&*log.folder, &path)?;
            let read = segment::read(&bytes, headers.get(at + 1).map(|header| header.before));
            let read = read.map_err(|damage| log.damaged(header.number, damage.offset, damage.problem))?;
            for &frame in &read.frames {
                next = frame.first + u64::from(frame.count);
                if next > after {
                    each(Place { file: &path, frame })?;
                }
            }
            if is_last {
                found.cut = bytes.len() as u64 - read.end;
                (log.number, log.length, log.next, log.is_torn) = (header.number, read.end, next, found.cut > 0);
            }
        }
        if log.next < after {
            return Err(EventError::Missing { from: log.next, file: "the snapshot".to_owned() });
        }
        Ok((log, found))
    }

    /// The header of a segment, which has the number of its name and the features of this log.
    fn header(&self, number: u64) -> Result<Header, EventError> {
        let path = self.path(number);
        let io = |source| RegistryError::Io { action: "read", path: path.clone(), source };
        let blob = self.folder.open(&path)?;
        let size = blob.size().map_err(io)?;
        let mut bytes = vec![0; HEADER.min(usize::try_from(size).unwrap_or(HEADER))];
        blob.read_exact_at(&mut bytes, 0).map_err(io)?;
        let header = Header::read(&bytes).map_err(|damage| self.damaged(number, damage.offset, damage.problem))?;
        match header {
            Header { number: own, .. } if own != number => Err(self.damaged(number, 0, "it is another segment under this name")),
            Header { ref spec, .. } if *spec != self.spec => Err(self.damaged(number, 0, "it belongs to other features")),
            header => Ok(header),
        }
    }

    fn damaged(&self, number: u64, offset: u64, problem: &str) -> EventError {
        EventError::Damaged { file: self.path(number), offset, problem: problem.to_owned() }
    }

    fn path(&self, number: u64) -> String {
        format!("{}/{}", self.root, name(number))
    }

    /// The position of the next event.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Writes events and makes them durable. After an error nothing of it counts, and the next call begins a new segment.
    pub(super) fn append(&mut self, at: i64, count: u32, events: &[u8], segment_bytes: u64) -> Result<(), EventError> {
        if events.len() > segment::MOST {
            return Err(EventError::TooLarge { bytes: events.len(), limit: segment::MOST });
        }
        if self.is_torn || self.length >= segment_bytes {
            self.begin()?;
        }
        let path = self.path(self.number);
        let header = segment::frame_header(self.number, self.length, (count, at, self.next), events);
        self.is_torn = true;
        self.folder.append(&path, &[&header[..], events].concat())?;
        self.folder.sync(&path)?;
        self.is_torn = false;
        self.length += (header.len() + events.len()) as u64;
        self.next += u64::from(count);
        Ok(())
    }

    /// Begins the next segment.
    fn begin(&mut self) -> Result<(), EventError> {
        let header = Header { spec: self.spec.clone(), number: self.number + 1, first: self.next, before: self.length };
        write_file(&*self.folder, &self.root, &name(header.number), &header.bytes())?;
        (self.number, self.length, self.is_torn) = (header.number, HEADER as u64, false);
        Ok(())
    }

    /// Removes the segments all of whose events lie before a position, but for the one that is written.
    pub(super) fn forget(&self, before: u64) -> Result<(), EventError> {
        let mut numbers: Vec<u64> = self.folder.list(&self.root)?.iter().filter_map(|entry| number_of(&entry.name)).collect();
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            // A segment ends where the next one begins.
            if self.header(pair[1])?.first > before {
                break;
            }
            self.folder.remove(&self.path(pair[0]))?;
        }
        Ok(self.folder.sync_folder(&self.root)?)
    }
}
