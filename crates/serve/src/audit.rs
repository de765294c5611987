//! A log whose lines can not be changed, removed or reordered unseen: each carries the SHA-256 of the one before.
//!
//! A line is written and synced before the next. Lines that are cut off at the end leave a log that is whole in itself: keep the digest that [`verify`] gives
//! elsewhere to see that too.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acclimate_registry::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Entries that wait to be written.
const WAITING: usize = 1024;

/// Most bytes of a line.
const LINE: u64 = 64 << 10;

/// What is wrong with an audit log.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The system refuses.
    #[error("can not {action} {}: {source}; check that its folder exists, is writable and has room", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line that is not what followed the one before.
    #[error("{} line {line}: {problem}; somebody has changed the log: keep it, and let the server begin another", .path.display())]
    Broken {
        /// The log.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// What happened: `denied`, `admin`, `torn` or `unrecorded`.
    pub event: String,
    /// Who, as far as that is known: the name of the key, or the address.
    pub who: String,
    /// What was asked for.
    pub what: String,
    /// Why it went as it did.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Number of the line, from 1.
    number: u64,
    /// Microseconds since 1970.
    micros: u64,
    /// SHA-256 of the line before without its end; that of nothing for the first.
    previous: Digest,
    entry: AuditEntry,
}

/// What a whole log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of lines.
    pub lines: u64,
    /// SHA-256 of the last line.
    pub last: Digest,
    /// Bytes after the last whole line, which a crash may leave.
    pub torn: u64,
}

/// Reads a log and checks every line of it; one that is not there holds nothing.
///
/// # Errors
///
/// The first line that does not follow the one before.
pub fn verify(path: &Path) -> Result<Verified, AuditError> {
    let failed = |source| AuditError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verified { lines: 0, last: Digest::of(b""), torn: 0 }),
        Err(error) => return Err(failed(error)),
    };
    let mut reader = BufReader::new(file);
    let (mut found, mut line) = (Verified { lines: 0, last: Digest::of(b""), torn: 0 }, Vec::new());
    loop {
        line.clear();
        let size = io::Read::take(&mut reader, LINE).read_until(b'\n', &mut line).map_err(failed)?;
        if size == 0 {
            return Ok(found);
        }
        let broken = |problem| AuditError::Broken { path: path.to_owned(), line: found.lines + 1, problem };
        if line.pop() != Some(b'\n') {
            // Only the last line can lack its end.
            let rest = io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
            if size as u64 == LINE {
                return Err(broken("it has no end"));
            }
            found.torn = size as u64 + rest;
            return Ok(found);
        }
        let read: Line = serde_json::from_slice(&line).map_err(|_| broken("it is no line of an audit log"))?;
        if read.number != found.lines + 1 {
            return Err(broken("its number does not follow that of the line before"));
        }
        if read.previous != found.last {
            return Err(broken("it does not carry the digest of the line before"));
        }
        found = Verified { lines: read.number, last: Digest::of(&line), torn: 0 };
    }
}

/// The end of a log.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    lines: u64,
    last: Digest,
}

impl Log {
    fn open(path: &Path) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Io { action: "open", path: path.to_owned(), source };
        let found = verify(path)?;
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        let whole = file.metadata().map_err(failed)?.len() - found.torn;
        if found.torn > 0 {
            file.set_len(whole).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(whole)).map_err(failed)?;
        let mut log = Self { path: path.to_owned(), file, lines: found.lines, last: found.last };
        if found.torn > 0 {
            let why = format!("{} bytes of a line that was not finished were cut off", found.torn);
            log.append(AuditEntry { event: "torn".to_owned(), who: "server".to_owned(), what: "audit".to_owned(), why })?;
        }
        Ok(log)
    }

    fn append(&mut self, entry: AuditEntry) -> Result<(), AuditError> {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let line = Line { number: self.lines + 1, micros, previous: self.last, entry };
        let mut bytes = serde_json::to_vec(&line).expect("a line is plain data with string keys");
        let digest = Digest::of(&bytes);
        bytes.push(b'\n');
        let whole = self.file.stream_position();
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Half a line before the next would look like a change by somebody.
            if let Ok(whole) = whole {
                let _ = self.file.set_len(whole).and_then(|()| self.file.seek(SeekFrom::Start(whole)));
            }
            return Err(AuditError::Io { action: "append to", path: self.path.clone(), source });
        }
        (self.lines, self.last) = (line.number, digest);
        Ok(())
    }
}

/// A log that is written by a thread of its own, so that nobody waits for the disk.
///
/// What comes faster than it can be written, or above the lines of a minute, is counted, and the number becomes a line: whoever is denied can neither fill the disk
/// nor stop the server.
#[derive(Debug)]
pub struct Audit {
    sender: Option<SyncSender<AuditEntry>>,
    lost: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl Audit {
    /// Opens a log, or begins one, after checking every line of it.
    ///
    /// # Errors
    ///
    /// A log that was changed, or one that can not be written.
    pub fn open(path: &Path, lines_per_minute: u32) -> Result<Self, AuditError> {
        let mut log = Log::open(path)?;
        let (sender, receiver) = sync_channel::<AuditEntry>(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let writer = std::thread::spawn(move || {
            let (mut began, mut written) = (Instant::now(), 0_u32);
            let mut put = |entry: AuditEntry| {
                if let Err(error) = log.append(entry) {
                    tracing::error!(%error, "the audit log is not written");
                }
            };
            for entry in receiver {
                if began.elapsed() >= Duration::from_secs(60) {
                    (began, written) = (Instant::now(), 0);
                    unrecorded(&counter, &mut put);
                }
                if written == lines_per_minute {
                    counter.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                written += 1;
                put(entry);
            }
            unrecorded(&counter, &mut put);
        });
        Ok(Self { sender: Some(sender), lost, writer: Some(writer) })
    }

    /// Records an entry, soon; its parts are cut to a length that fits a line.
    pub fn record(&self, mut entry: AuditEntry) {
        for part in [&mut entry.event, &mut entry.who, &mut entry.what, &mut entry.why] {
            if let Some((end, _)) = part.char_indices().nth(200) {
                part.truncate(end);
            }
        }
        let sent = self.sender.as_ref().map_or(Ok(()), |sender| sender.try_send(entry));
        if matches!(sent, Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes how many entries were not.
fn unrecorded(lost: &AtomicU64, put: &mut impl FnMut(AuditEntry)) {
    let count = lost.swap(0, Ordering::Relaxed);
    if count > 0 {
        let why = format!("{count} more entries came than are written in a minute");
        put(AuditEntry { event: "unrecorded".to_owned(), who: "server".to_owned(), what: "audit".to_owned(), why });
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // The writer ends with the channel, once everything in it is written.
        drop(self.sender.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: &str) -> AuditEntry {
        AuditEntry { event: "denied".to_owned(), who: "key".to_owned(), what: what.to_owned(), why: "no role".to_owned() }
    }

    /// A log of five lines.
    fn log(folder: &tempfile::TempDir) -> (PathBuf, Vec<String>) {
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path, 600).unwrap();
        (0..5).for_each(|number| audit.record(entry(&format!("/v1/{number}"))));
        drop(audit);
        let lines = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        (path, lines)
    }

    fn broken_line(path: &Path, lines: &[String]) -> Option<u64> {
        std::fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        match verify(path) {
            Ok(_) => None,
            Err(AuditError::Broken { line, .. }) => Some(line),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_line_that_is_changed_removed_or_moved_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (path, lines) = log(&folder);
        assert_eq!(lines.len(), 5);
        assert_eq!(broken_line(&path, &lines), None);
        for at in 0..4 {
            let mut changed = lines.clone();
            changed[at] = changed[at].replace("no role", "no rule");
            assert_eq!(broken_line(&path, &changed), Some(at as u64 + 2), "line {at} changed");
            let mut removed = lines.clone();
            removed.remove(at);
            assert_eq!(broken_line(&path, &removed), Some(at as u64 + 1), "line {at} removed");
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            assert_eq!(broken_line(&path, &swapped), Some(at as u64 + 1), "line {at} moved");
            let mut twice = lines.clone();
            twice.insert(at, lines[at].clone());
            assert_eq!(broken_line(&path, &twice), Some(at as u64 + 2), "line {at} twice");
        }
        let mut spaced = lines.clone();
        spaced[2] = spaced[2].replace("\"entry\":", "\"entry\": ");
        assert_eq!(broken_line(&path, &spaced), Some(4), "the bytes count, not what they mean");
        // What is cut off at the end is seen by the digest of the last line only.
        assert_eq!(broken_line(&path, &lines[..4]), None);
        assert_ne!(verify(&path).unwrap().last, Digest::of(lines[4].as_bytes()));
    }

    #[test]
    fn a_log_is_continued_after_a_torn_line_and_refused_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (path, lines) = log(&folder);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        drop(Audit::open(&path, 600).unwrap());
        assert_eq!(verify(&path).unwrap().lines, 5);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().nth(4).unwrap().contains("\"torn\""), "{text}");
        std::fs::write(&path, whole.repeat(2)).unwrap();
        assert!(matches!(Audit::open(&path, 600), Err(AuditError::Broken { line: 6, .. })));
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn lines_above_those_of_a_minute_become_one_that_counts_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let audit = Audit::open(&path, 3).unwrap();
        (0..10).for_each(|_| audit.record(entry("/v1/score")));
        drop(audit);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(verify(&path).unwrap().lines, 4);
        assert!(text.lines().last().unwrap().contains("7 more entries"), "{text}");
    }
}
