//! Patches in memory: found without a lock that anybody holds for long, replaced whole, let go by the oldest when memory is short.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use acclimate_registry::{Digest, Name, PointerTarget, Version};

use super::model::Model;
use super::rows::Encoding;
use super::users::Users;

/// A version of a patch in memory. It never changes; who holds it scores with exactly it.
pub(super) struct Loaded {
    pub(super) version: Version,
    pub(super) digest: Digest,
    /// Identity of the base that it was loaded onto.
    pub(super) base: Digest,
    pub(super) methods: Vec<String>,
    pub(super) model: Arc<dyn Model>,
    /// How its rows are encoded, where it knows ids that the base has never seen.
    pub(super) encoding: Option<Arc<Encoding>>,
    /// Heads of users that were solved for beforehand.
    pub(super) users: Option<Users>,
    /// The digest of heads that serve and belong to another version.
    pub(super) unused_users: Option<Digest>,
    /// The clock when it was last asked for by its number.
    pub(super) asked: AtomicU64,
}

/// A patch as it is served at one moment: its versions in memory, and where its aliases point.
#[derive(Clone, Default)]
pub(super) struct Patch {
    pub(super) versions: BTreeMap<Version, Arc<Loaded>>,
    pub(super) aliases: BTreeMap<Name, PointerTarget>,
    /// Of aliases, why what they name now could not be loaded; the version before still answers.
    pub(super) problems: BTreeMap<Name, String>,
}

impl Patch {
    /// All problems in one line.
    pub(super) fn problem(&self) -> Option<String> {
        let said: Vec<String> = self.problems.iter().map(|(alias, problem)| format!("`{alias}` {problem}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    fn bytes(&self) -> usize {
        self.versions.values().map(|loaded| loaded.model.bytes()).sum()
    }
}

struct Entry {
    patch: Arc<Patch>,
    bytes: usize,
    /// The clock when it was last asked for.
    used: AtomicU64,
}

const SHARDS: usize = 64;
/// Entries that are looked at to find an old one.
const SAMPLE: usize = 16;

/// All patches in memory.
pub(super) struct Resident {
    shards: Vec<RwLock<HashMap<Name, Entry>>>,
    hasher: RandomState,
    clock: AtomicU64,
    bytes: AtomicUsize,
    count: AtomicUsize,
    limit: usize,
    /// What is never let go: a domain's own patch.
    pinned: RwLock<HashSet<Name>>,
    /// Where the next search for an old one begins.
    hand: AtomicUsize,
    pub(super) evicted: AtomicU64,
}

impl Resident {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            clock: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            limit,
            pinned: RwLock::default(),
            hand: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    fn shard(&self, name: &Name) -> &RwLock<HashMap<Name, Entry>> {
        &self.shards[(self.hasher.hash_one(name) % SHARDS as u64) as usize]
    }

    /// Says which patches stay, however short memory is.
    pub(super) fn pin(&self, names: HashSet<Name>) {
        *self.pinned.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The next number of the clock.
    pub(super) fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// The patch, as it is now.
    pub(super) fn get(&self, name: &Name) -> Option<Arc<Patch>> {
        let shard = self.shard(name).read().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get(name)?;
        entry.used.store(self.tick(), Ordering::Relaxed);
        Some(entry.patch.clone())
    }

    /// The same without counting as use.
    pub(super) fn peek(&self, name: &Name) -> Option<Arc<Patch>> {
        self.shard(name).read().unwrap_or_else(PoisonError::into_inner).get(name).map(|entry| entry.patch.clone())
    }

    /// Replaces the patch, and lets old ones go where memory is short. One that is used by a request stays with it until it is answered.
    pub(super) fn put(&self, name: &Name, patch: Patch) -> Arc<Patch> {
        let (bytes, patch) = (patch.bytes() + size_of::<Entry>(), Arc::new(patch));
        let used = AtomicU64::new(self.tick());
        let entry = Entry { patch: patch.clone(), bytes, used };
        let before = self.shard(name).write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), entry);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match before {
            Some(before) => _ = self.bytes.fetch_sub(before.bytes, Ordering::Relaxed),
            None => _ = self.count.fetch_add(1, Ordering::Relaxed),
        }
        self.shrink(name);
        patch
    }

    /// Lets a patch go; whether it was there.
    pub(super) fn remove(&self, name: &Name) -> bool {
        let before = self.shard(name).write().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(before) = &before {
            self.bytes.fetch_sub(before.bytes, Ordering::Relaxed);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        before.is_some()
    }

    /// Lets the oldest of a few go, again and again, until the rest fits; never `kept`.
    fn shrink(&self, kept: &Name) {
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        while self.bytes() > self.limit && self.count() > 1 {
            let begin = self.hand.fetch_add(1, Ordering::Relaxed);
            let mut oldest: Option<(u64, Name)> = None;
            let mut seen = 0;
            for i in 0..SHARDS {
                let shard = self.shards[(begin + i) % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
                // From another place in the shard each time, so that everything is looked at now and then.
                let from = (begin.wrapping_mul(0x9E37_79B9) >> 8) % (shard.len().saturating_sub(SAMPLE) + 1);
                for (name, entry) in shard.iter().skip(from).filter(|(name, _)| *name != kept && !pinned.contains(*name)).take(SAMPLE) {
                    let used = entry.used.load(Ordering::Relaxed);
                    seen += 1;
                    if oldest.as_ref().is_none_or(|(before, _)| used < *before) {
                        oldest = Some((used, name.clone()));
                    }
                }
                if seen >= SAMPLE {
                    break;
                }
            }
            let Some((_, name)) = oldest else { return };
            if self.remove(&name) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Names of all, in order.
    pub(super) fn names(&self) -> Vec<Name> {
        let of =
            |shard: &RwLock<HashMap<Name, Entry>>| shard.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<Vec<_>>();
        let mut names: Vec<Name> = self.shards.iter().flat_map(of).collect();
        names.sort_unstable();
        names
    }
}
