//! The one that writes: what waits is written and synced together, then known, then acknowledged.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError, RwLock};

use acclimate_registry::folder::Folder;
use tokio::sync::oneshot;

use super::event::Prepared;
use super::ids::Ids;
use super::log::{Log, remove_if_there, write_file};
use super::segment::push_event;
use super::store::{Live, Pending, now, snapshot_name, snapshots};
use super::{EventConfig, EventError, snapshot};
use crate::api::{Recorded, Refusal};

/// What the writer is told.
pub(super) enum Message {
    /// Events to record.
    Record { events: Vec<Prepared>, reply: oneshot::Sender<Result<Recorded, Refusal>> },
    /// To write a snapshot now.
    Snapshot { reply: oneshot::Sender<Result<u64, Refusal>> },
}

/// A request of a group.
struct Asked {
    events: Vec<Prepared>,
    reply: oneshot::Sender<Result<Recorded, Refusal>>,
}

/// Events that are learned of under one lock: who scores waits for no more than these.
const AT_ONCE: usize = 32;

/// Snapshots that are kept: should the newest be damaged, the one before it and the log give the same.
const KEPT: usize = 2;

pub(super) struct Writer {
    folder: Arc<dyn Folder>,
    spec: String,
    config: EventConfig,
    live: Arc<RwLock<Live>>,
    ids: Ids,
    floor: i64,
    log: Log,
    /// The position of the last snapshot.
    saved: u64,
    /// The position from which on a snapshot is due.
    due: u64,
}

impl Writer {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        folder: Arc<dyn Folder>,
        spec: String,
        config: EventConfig,
        live: Arc<RwLock<Live>>,
        ids: Ids,
        floor: i64,
        log: Log,
        saved: Option<u64>,
    ) -> Self {
        let saved = saved.unwrap_or(0);
        let due = saved.saturating_add(config.snapshot_events);
        Self { folder, spec, config, live, ids, floor, log, saved, due }
    }

    /// Writes until nobody can tell it anything any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let mut group = Vec::new();
            let mut other = self.take(first, &mut group);
            let bytes = |group: &[Asked]| group.last().map_or(0, Asked::bytes);
            let mut waiting = bytes(&group);
            while other.is_none() && waiting < self.config.group_bytes {
                let Ok(message) = messages.try_recv() else { break };
                other = self.take(message, &mut group);
                waiting += bytes(&group);
            }
            self.write(group);
            if let Some(reply) = other {
                let _ = reply.send(self.snapshot().map_err(|error| Refusal::Failed { problem: error.to_string() }));
            } else if self.log.next() >= self.due
                && let Err(error) = self.snapshot()
            {
                tracing::warn!(%error, "no snapshot could be written; the log is kept, and another is tried later");
                self.due = self.log.next().saturating_add(self.config.snapshot_events);
            }
        }
    }

    /// Adds a request to a group; what is no request comes back.
    fn take(&self, message: Message, group: &mut Vec<Asked>) -> Option<oneshot::Sender<Result<u64, Refusal>>> {
        match message {
            Message::Record { events, reply } => {
                group.push(Asked { events, reply });
                None
            }
            Message::Snapshot { reply } => Some(reply),
        }
    }

    /// Makes the events of some requests durable and known, and answers.
    fn write(&mut self, group: Vec<Asked>) {
        let (at, mut pending, mut bytes, mut count) = (now(), Pending::new(), Vec::new(), 0_u32);
        // Of each request: which of its events are new, and whether it stands on what is being written.
        let mut plan: Vec<(Vec<bool>, bool)> = Vec::with_capacity(group.len());
        for asked in &group {
            let mut stands = false;
            let is_new = asked.events.iter().map(|event| {
                if self.ids.has(&event.key) {
                    return false;
                }
                stands = true;
                let is_new = pending.insert(event.key);
                if is_new {
                    push_event(&mut bytes, &event.json);
                    count += 1;
                }
                is_new
            });
            plan.push((is_new.collect(), stands));
        }
        let written = if count == 0 { Ok(()) } else { self.log.append(at, count, &bytes, self.config.segment_bytes) };
        let problem = written.err().map(|error| {
            tracing::warn!(%error, "events could not be stored");
            error.to_string()
        });
        let mut recorded = Vec::with_capacity(group.len());
        for (Asked { events, .. }, (is_new, stands)) in group.iter().zip(&plan) {
            recorded.push(match &problem {
                Some(problem) if *stands => {
                    Err(Refusal::Unavailable { reason: format!("the events were not stored, send them again later: {problem}") })
                }
                _ => Ok(self.learn(at, events, is_new)),
            });
        }
        let state = self.live.read().unwrap_or_else(PoisonError::into_inner).position();
        for (Asked { reply, .. }, recorded) in group.into_iter().zip(recorded) {
            // Who asked may have gone.
            let _ = reply.send(recorded.map(|recorded| Recorded { state: state.clone(), ..recorded }));
        }
    }

    /// Learns of the new ones of some durable events, and counts them.
    fn learn(&mut self, at: i64, events: &[Prepared], is_new: &[bool]) -> Recorded {
        let new: Vec<&Prepared> = events.iter().zip(is_new).filter(|(_, is_new)| **is_new).map(|(event, _)| event).collect();
        let mut late = 0;
        for events in new.chunks(AT_ONCE) {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            let before = live.state.late();
            for event in events {
                live.state.update(&event.event);
                live.position += 1;
            }
            late += live.state.late() - before;
            live.event = events.last().map(|event| event.id.clone());
        }
        new.iter().for_each(|event| self.ids.add(event.key, at));
        let state = crate::api::StatePosition { position: 0, event: None };
        Recorded { recorded: new.len() as u64 - late, repeated: (events.len() - new.len()) as u64, late, state }
    }

    /// Writes a snapshot, and removes what lies behind the older of the two that are kept.
    fn snapshot(&mut self) -> Result<u64, EventError> {
        let (about, bytes) = {
            // Nobody else changes the state, so nobody waits for this lock but with it.
            let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
            let about = snapshot::about(&self.spec, live.position, live.event.as_deref(), self.floor, &self.ids);
            let bytes = snapshot::bytes(&about, &self.ids, &live.state)?;
            (about, bytes)
        };
        let name = snapshot_name(about.position);
        let positions = snapshots(&*self.folder, &self.spec)?;
        if !positions.contains(&about.position) {
            write_file(&*self.folder, &self.spec, &name, &bytes)?;
        }
        (self.saved, self.due) = (about.position, about.position.saturating_add(self.config.snapshot_events));
        let positions = snapshots(&*self.folder, &self.spec)?;
        for &old in positions.iter().skip(KEPT) {
            remove_if_there(&*self.folder, &format!("{}/{}", self.spec, snapshot_name(old)))?;
        }
        if let Some(&oldest) = positions.get(KEPT - 1) {
            self.log.forget(oldest)?;
        }
        Ok(about.position)
    }
}

impl Asked {
    fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.json.len() + 4).sum()
    }
}
