//! A state with its log: opened, asked, and told of events.

use std::collections::HashSet;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use acclimate_data::{AskedRow, AskedRows, DataError, Encoder, FeatureState, RowEncoder, StateColumns};
use acclimate_registry::RegistryError;
use acclimate_registry::folder::Folder;
use tokio::sync::oneshot;

use super::event::{Logged, id_key, prepare};
use super::ids::Ids;
use super::log::{Log, Place, read_file, remove_if_there};
use super::snapshot::{self, Snapshot};
use super::writer::{Message, Writer};
use super::{EventConfig, EventError};
use crate::api::{EventIn, Recorded, Refusal, StatePosition};

/// What is known, and of how many events.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) state: FeatureState,
    pub(super) position: u64,
    pub(super) event: Option<String>,
}

impl Live {
    pub(super) fn position(&self) -> StatePosition {
        StatePosition { position: self.position, event: self.event.clone() }
    }
}

/// The state of one set of features, moved by events.
///
/// Any number of threads may ask and tell; one thread of its own writes. Dropping it waits for that thread, which first writes what was taken.
#[derive(Debug)]
pub struct StateStore {
    rows: RowEncoder,
    config: EventConfig,
    live: Arc<RwLock<Live>>,
    sender: Option<SyncSender<Message>>,
    writer: Option<JoinHandle<()>>,
}

/// What opening a state has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The position of the snapshot that it began with; none where it began with the state of the base.
    pub snapshot: Option<u64>,
    /// Events behind it.
    pub replayed: u64,
    /// Bytes of a write that was never finished, and so never acknowledged.
    pub cut: u64,
    /// Snapshots that could not be read, where an older one could.
    pub problems: Vec<String>,
}

/// Moments are counted in microseconds since 1970.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i64::try_from(time.as_micros()).unwrap_or(i64::MAX))
}

const SNAPSHOT: &str = "snapshot-";

pub(super) fn snapshot_name(position: u64) -> String {
    format!("{SNAPSHOT}{position:020}")
}

/// The positions of the snapshots in a folder, the newest first.
pub(super) fn snapshots(folder: &dyn Folder, root: &str) -> Result<Vec<u64>, RegistryError> {
    let position = |name: &str| name.strip_prefix(SNAPSHOT).filter(|digits| digits.len() == 20)?.parse::<u64>().ok();
    let mut positions: Vec<u64> = folder.list(root)?.iter().filter_map(|entry| position(&entry.name)).collect();
    positions.sort_unstable_by(|a, b| b.cmp(a));
    Ok(positions)
}

impl StateStore {
    /// Opens the state of an encoder in a folder of its own below `folder`: its last snapshot with the events behind it, or, where there is none, the state of
    /// the base with all events. Waits until no other process writes in `folder`.
    ///
    /// # Errors
    /// [`EventError`]: a file is damaged or missing, or the system refuses.
    pub fn open(
        folder: Arc<dyn Folder>,
        encoder: Arc<Encoder>,
        base: impl FnOnce() -> Result<FeatureState, DataError>,
        config: EventConfig,
    ) -> Result<(Self, Opened), EventError> {
        config.validate().map_err(|(key, may_be)| EventError::Config { key, may_be })?;
        let (rows, spec) = (RowEncoder::with(encoder.clone(), |_| false), FeatureState::spec(&encoder));
        let (sender, receiver) = sync_channel(config.queue);
        let (held, holds) = sync_channel(1);
        // The thread that writes holds the lock, from before anything is read.
        let (go, begins) = sync_channel::<Writer>(1);
        let its_folder = folder.clone();
        let run = move || {
            let lock = its_folder.lock();
            let is_held = lock.as_ref().map(|_| ()).map_err(|_| ());
            let _ = held.send(lock.as_ref().err().map(ToString::to_string));
            if let (Ok(()), Ok(writer)) = (is_held, begins.recv()) {
                writer.run(&receiver);
            }
        };
        let writer = std::thread::Builder::new().name("events".to_owned()).spawn(run).map_err(EventError::Thread)?;
        if let Ok(Some(problem)) | Err(problem) = holds.recv().map_err(|error| error.to_string()) {
            return Err(EventError::Thread(std::io::Error::other(problem)));
        }
        let (live, ids, floor, log, opened) = recover(&folder, &rows, &spec, base, &config)?;
        let live = Arc::new(RwLock::new(live));
        let state = Writer::new(folder, spec, config.clone(), live.clone(), ids, floor, log, opened.snapshot);
        go.send(state).map_err(|_| EventError::Thread(std::io::Error::other("it ended")))?;
        Ok((Self { rows, config, live, sender: Some(sender), writer: Some(writer) }, opened))
    }

    /// Records events; waits until they are durable and known, or refused.
    ///
    /// # Errors
    /// [`Refusal`]: an event is wrong (then none of them is recorded), the queue is full, or the disk is.
    pub async fn record(&self, events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        self.send(events)?.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The same for a thread that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn record_blocking(&self, events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        self.send(events)?.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// Hands events to the writer; the answer comes when they are durable.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn send(&self, events: Vec<EventIn>) -> Result<oneshot::Receiver<Result<Recorded, Refusal>>, Refusal> {
        let events = prepare(&self.rows, &self.config, now(), events)?;
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Record { events, reply })?;
        Ok(answer)
    }

    /// Writes a snapshot now, and gives its position.
    ///
    /// # Errors
    /// The disk is full, or the queue is.
    pub fn snapshot(&self) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Snapshot { reply })?;
        answer.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn tell(&self, message: Message) -> Result<(), Refusal> {
        let sender = self.sender.as_ref().ok_or_else(stopped)?;
        sender.try_send(message).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy { retry_ms: RETRY },
            TrySendError::Disconnected(_) => stopped(),
        })
    }

    /// The features of earlier rows of some rows, and the state that they are made of.
    #[must_use]
    pub fn features(&self, asked: &AskedRows) -> (StateColumns, StatePosition) {
        let rows = asked.rows();
        let live = self.live();
        (live.state.features_of_rows(&rows, &[] as &[AskedRow<'_>]), live.position())
    }

    /// Reads the state as it is at one position, which does not move meanwhile.
    pub fn read<T>(&self, of: impl FnOnce(&FeatureState, &StatePosition) -> T) -> T {
        let live = self.live();
        of(&live.state, &live.position())
    }

    /// How many events are known, and the last of them.
    #[must_use]
    pub fn position(&self) -> StatePosition {
        self.live().position()
    }

    fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When to come again, in milliseconds.
const RETRY: u64 = 50;

fn stopped() -> Refusal {
    Refusal::Unavailable { reason: "events are not taken any more; the server is stopping".to_owned() }
}

impl Drop for StateStore {
    fn drop(&mut self) {
        // Its end of the queue tells the writer to end.
        self.sender.take();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// What a folder holds: the state, the ids, the moment before which events are late, the log, and what was found.
type Recovered = (Live, Ids, i64, Log, Opened);

fn recover(
    folder: &Arc<dyn Folder>,
    rows: &RowEncoder,
    spec: &str,
    base: impl FnOnce() -> Result<FeatureState, DataError>,
    config: &EventConfig,
) -> Result<Recovered, EventError> {
    let listed = folder.list("")?;
    if !listed.iter().any(|entry| entry.name == spec) {
        folder.create_folder(spec)?;
    }
    // What a crash has just left may not be listed durably yet, the folder and the files in it.
    folder.sync_folder("")?;
    folder.sync_folder(spec)?;
    for entry in folder.list(spec)?.iter().filter(|entry| entry.name.starts_with('.')) {
        remove_if_there(&**folder, &format!("{spec}/{}", entry.name))?;
    }
    let mut opened = Opened::default();
    let mut ids = Ids::new(config.ids, config.id_age.micros());
    let (mut live, floor) = match newest(folder, rows.encoder(), spec, config, &mut opened)? {
        Some(Snapshot { about, ids: known, state }) => {
            opened.snapshot = Some(about.position);
            known.into_iter().for_each(|(id, at)| ids.add(id, at));
            (Live { state, position: about.position, event: about.event }, about.floor)
        }
        None => {
            let mut state = base()?;
            let floor = state.newest().unwrap_or(i64::MIN);
            state.expect(config.lateness, floor);
            (Live { state, position: 0, event: None }, floor)
        }
    };
    // One that can not be read is put aside: it must not count as one of those that are kept, or the log behind the last good one would be cut.
    if let Some(good) = opened.snapshot {
        let damaged: Vec<u64> = snapshots(&**folder, spec)?.into_iter().filter(|&position| position > good).collect();
        for &position in &damaged {
            let name = snapshot_name(position);
            folder.rename(&format!("{spec}/{name}"), &format!("{spec}/damaged-{name}"))?;
        }
        if !damaged.is_empty() {
            folder.sync_folder(spec)?;
        }
    }
    let after = live.position;
    let replay = |place: Place<'_>| {
        for (i, json) in place.frame.events().enumerate() {
            if place.frame.first + (i as u64) < live.position {
                continue;
            }
            let damaged = |problem: String| {
                let (file, offset) = (place.file.to_owned(), place.frame.offset);
                EventError::Damaged { file, offset, problem: format!("event {i} of the frame: {problem}") }
            };
            let logged: Logged = serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))?;
            let event = logged.read(rows).map_err(|error| damaged(error.to_string()))?;
            live.state.update(&event);
            ids.add(id_key(&logged.id), place.frame.at);
            live.position += 1;
            live.event = Some(logged.id);
        }
        Ok(())
    };
    let (log, found) = Log::open(folder.clone(), spec, spec, after, replay)?;
    (opened.replayed, opened.cut) = (live.position - after, found.cut);
    Ok((live, ids, floor, log, opened))
}

/// The newest snapshot that can be read.
fn newest(
    folder: &Arc<dyn Folder>,
    encoder: &Encoder,
    spec: &str,
    config: &EventConfig,
    opened: &mut Opened,
) -> Result<Option<Snapshot>, EventError> {
    let mut first = None;
    for position in snapshots(&**folder, spec)? {
        let file = format!("{spec}/{}", snapshot_name(position));
        let bytes = read_file(&**folder, &file)?;
        match snapshot::read(&bytes, encoder, spec, config.lateness) {
            Ok(found) if found.about.position == position => return Ok(Some(found)),
            Ok(_) => opened.problems.push(format!("{file} is another snapshot under this name")),
            Err(problem) => {
                opened.problems.push(format!("{file} {problem}"));
                first.get_or_insert((file, problem));
            }
        }
    }
    first.map_or(Ok(None), |(file, problem)| Err(EventError::Snapshot { file, problem }))
}

/// Ids of the events that are being written.
pub(super) type Pending = HashSet<super::event::IdKey>;
