//! A cache that is bounded by bytes, with a share for each tenant.
//!
//! What was used least recently goes first. A tenant holds at most its share: one more value of a tenant that is at its share displaces values of the same tenant, so whatever it sends, the others keep
//! what the capacity has beyond that share. Where shares add up to more than the capacity, room is made from all tenants alike, the longest unused first.
//!
//! Every operation takes constant time but for what it displaces. A value counts with the bytes that the caller gives and [`ByteCache::OVERHEAD`], so that values of no size are bounded as well.
//! Nothing in here locks: put it behind a mutex, hold values that are cheap to clone, such as an `Arc`, and drop what [`insert`](ByteCache::insert) displaces after letting the lock go.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// No entry.
const NONE: u32 = u32::MAX;

/// Values by tenant and key.
#[derive(Debug)]
pub struct ByteCache<K, V> {
    capacity: usize,
    share: usize,
    bytes: usize,
    entries: Vec<Option<Entry<K, V>>>,
    free_entries: Vec<u32>,
    /// All entries by their use.
    all: List,
    names: HashMap<Arc<str>, u32>,
    tenants: Vec<Option<Tenant<K>>>,
    free_tenants: Vec<u32>,
    counts: CacheCounts,
}

/// What became of values and questions so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Questions that had an answer.
    pub hits: u64,
    /// Questions that had none.
    pub misses: u64,
    /// Values that were kept, those that replaced others of their key among them.
    pub inserted: u64,
    /// Values that went to make room.
    pub evicted: u64,
    /// Values that are larger than a share.
    pub refused: u64,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    bytes: usize,
    tenant: u32,
    /// Neighbours among all entries, and among those of the tenant.
    links: [Link; 2],
}

#[derive(Debug)]
struct Tenant<K> {
    name: Arc<str>,
    places: HashMap<K, u32>,
    bytes: usize,
    own: List,
}

/// The neighbours of an entry: what was used after it, and before.
#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
}

/// Both ends of a list by use.
#[derive(Clone, Copy, Debug)]
struct List {
    newest: u32,
    oldest: u32,
}

const EMPTY: List = List { newest: NONE, oldest: NONE };
/// Which of an entry's links.
const ALL: usize = 0;
const OWN: usize = 1;

fn entry<K, V>(entries: &mut [Option<Entry<K, V>>], at: u32) -> &mut Entry<K, V> {
    entries[at as usize].as_mut().expect("lists and places name entries that are there")
}

impl List {
    fn push<K, V>(&mut self, entries: &mut [Option<Entry<K, V>>], which: usize, at: u32) {
        entry(entries, at).links[which] = Link { newer: NONE, older: self.newest };
        match self.newest {
            NONE => self.oldest = at,
            newest => entry(entries, newest).links[which].newer = at,
        }
        self.newest = at;
    }

    fn unlink<K, V>(&mut self, entries: &mut [Option<Entry<K, V>>], which: usize, at: u32) {
        let Link { newer, older } = entry(entries, at).links[which];
        match newer {
            NONE => self.newest = older,
            newer => entry(entries, newer).links[which].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => entry(entries, older).links[which].newer = newer,
        }
    }
}

/// Puts a value into the first free place.
fn place<T>(values: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(at) = free.pop() {
        values[at as usize] = Some(value);
        return at;
    }
    values.push(Some(value));
    u32::try_from(values.len() - 1).expect("fewer values than bytes of memory by the overhead of each")
}

impl<K: Clone + Eq + Hash, V> ByteCache<K, V> {
    /// What each value counts for beside its own bytes: its place, and that of a tenant that may have no other.
    pub const OVERHEAD: usize = size_of::<Entry<K, V>>() + size_of::<K>() + size_of::<Tenant<K>>() + 32;

    /// A cache of so many bytes, of which a tenant holds at most `share`.
    #[must_use]
    pub fn new(capacity: usize, share: usize) -> Self {
        Self {
            capacity,
            share: share.min(capacity),
            bytes: 0,
            entries: Vec::new(),
            free_entries: Vec::new(),
            all: EMPTY,
            names: HashMap::new(),
            tenants: Vec::new(),
            free_tenants: Vec::new(),
            counts: CacheCounts::default(),
        }
    }

    /// What a tenant has under a key, which counts as used now.
    pub fn get(&mut self, tenant: &str, key: &K) -> Option<&V> {
        let found = self.find(tenant, key);
        let Some(at) = found else {
            self.counts.misses += 1;
            return None;
        };
        self.counts.hits += 1;
        let Self { entries, all, tenants, .. } = self;
        all.unlink(entries, ALL, at);
        all.push(entries, ALL, at);
        let tenant = entry(entries, at).tenant;
        if let Some(tenant) = &mut tenants[tenant as usize] {
            tenant.own.unlink(entries, OWN, at);
            tenant.own.push(entries, OWN, at);
        }
        Some(&entry(entries, at).value)
    }

    /// Keeps a value under a key, in place of what is there; `bytes` are those that it and its key hold elsewhere in memory. Gives what is not in the cache any more: what was replaced, what had to make room, or the value itself if it is larger
    /// than a share.
    pub fn insert(&mut self, tenant: &str, key: K, value: V, bytes: usize) -> Vec<V> {
        let bytes = bytes.saturating_add(Self::OVERHEAD);
        let mut gone: Vec<V> = self.find(tenant, &key).map(|at| self.take(at)).into_iter().collect();
        if bytes > self.share {
            self.counts.refused += 1;
            gone.push(value);
            return gone;
        }
        while let Some(oldest) = self.oldest_of(tenant).filter(|_| self.bytes_of(tenant) > self.share - bytes) {
            self.counts.evicted += 1;
            gone.push(self.take(oldest));
        }
        while self.bytes > self.capacity - bytes {
            self.counts.evicted += 1;
            let oldest = self.all.oldest;
            gone.push(self.take(oldest));
        }
        let of_tenant = self.tenant(tenant);
        let link = Link { newer: NONE, older: NONE };
        let new = Entry { key: key.clone(), value, bytes, tenant: of_tenant, links: [link; 2] };
        let at = place(&mut self.entries, &mut self.free_entries, new);
        self.all.push(&mut self.entries, ALL, at);
        if let Some(tenant) = &mut self.tenants[of_tenant as usize] {
            tenant.own.push(&mut self.entries, OWN, at);
            tenant.places.insert(key, at);
            tenant.bytes += bytes;
        }
        self.bytes += bytes;
        self.counts.inserted += 1;
        gone
    }

    /// Takes a value out.
    pub fn remove(&mut self, tenant: &str, key: &K) -> Option<V> {
        self.find(tenant, key).map(|at| self.take(at))
    }

    /// Takes out everything of which `keep` says no. Takes as long as there are values.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) -> Vec<V> {
        let wanted =
            |(at, entry): (usize, &Option<Entry<K, V>>)| entry.as_ref().filter(|entry| !keep(&entry.key, &entry.value)).map(|_| at as u32);
        let places: Vec<u32> = self.entries.iter().enumerate().filter_map(wanted).collect();
        places.into_iter().map(|at| self.take(at)).collect()
    }

    /// Bytes of all values, with the overhead of each.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of a tenant's values, with the overhead of each.
    #[must_use]
    pub fn bytes_of(&self, tenant: &str) -> usize {
        self.named(tenant).map_or(0, |tenant| tenant.bytes)
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free_entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has become of values and questions.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.counts
    }

    fn named(&self, tenant: &str) -> Option<&Tenant<K>> {
        self.tenants[*self.names.get(tenant)? as usize].as_ref()
    }

    fn find(&self, tenant: &str, key: &K) -> Option<u32> {
        self.named(tenant)?.places.get(key).copied()
    }

    fn oldest_of(&self, tenant: &str) -> Option<u32> {
        self.named(tenant).map(|tenant| tenant.own.oldest)
    }

    /// The place of a tenant, which is made where there is none.
    fn tenant(&mut self, name: &str) -> u32 {
        if let Some(&at) = self.names.get(name) {
            return at;
        }
        let name: Arc<str> = name.into();
        let new = Tenant { name: Arc::clone(&name), places: HashMap::new(), bytes: 0, own: EMPTY };
        let at = place(&mut self.tenants, &mut self.free_tenants, new);
        self.names.insert(name, at);
        at
    }

    /// Takes an entry out, and its tenant with the last of its entries.
    fn take(&mut self, at: u32) -> V {
        self.all.unlink(&mut self.entries, ALL, at);
        let of_tenant = entry(&mut self.entries, at).tenant;
        let tenant = self.tenants[of_tenant as usize].as_mut().expect("an entry's tenant is there as long as the entry");
        tenant.own.unlink(&mut self.entries, OWN, at);
        let taken = self.entries[at as usize].take().expect("lists and places name entries that are there");
        tenant.places.remove(&taken.key);
        tenant.bytes -= taken.bytes;
        if tenant.places.is_empty() {
            self.names.remove(&tenant.name);
            self.tenants[of_tenant as usize] = None;
            self.free_tenants.push(of_tenant);
        }
        self.free_entries.push(at);
        self.bytes -= taken.bytes;
        taken.value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Cache = ByteCache<u8, u32>;

    /// The same by a list that is searched from end to end, the newest last.
    #[derive(Default)]
    struct Model {
        entries: Vec<(String, u8, u32, usize)>,
        counts: CacheCounts,
    }

    impl Model {
        fn bytes(&self, tenant: Option<&str>) -> usize {
            self.entries.iter().filter(|(name, ..)| tenant.is_none_or(|tenant| tenant == name)).map(|(.., bytes)| bytes).sum()
        }

        fn take(&mut self, tenant: &str, key: u8) -> Option<u32> {
            let at = self.entries.iter().position(|(name, of, ..)| name == tenant && *of == key)?;
            Some(self.entries.remove(at).2)
        }

        fn get(&mut self, tenant: &str, key: u8) -> Option<u32> {
            let Some(at) = self.entries.iter().position(|(name, of, ..)| name == tenant && *of == key) else {
                self.counts.misses += 1;
                return None;
            };
            self.counts.hits += 1;
            let used = self.entries.remove(at);
            self.entries.push(used);
            self.entries.last().map(|(_, _, value, _)| *value)
        }

        fn insert(&mut self, [capacity, share]: [usize; 2], tenant: &str, (key, value): (u8, u32), bytes: usize) -> Vec<u32> {
            let bytes = bytes.saturating_add(Cache::OVERHEAD);
            let mut gone: Vec<u32> = self.take(tenant, key).into_iter().collect();
            if bytes > share.min(capacity) {
                self.counts.refused += 1;
                gone.push(value);
                return gone;
            }
            let mut evict = |model: &mut Self, at: usize| {
                model.counts.evicted += 1;
                gone.push(model.entries.remove(at).2);
            };
            while self.bytes(Some(tenant)) + bytes > share.min(capacity) {
                let oldest = self.entries.iter().position(|(name, ..)| name == tenant).unwrap();
                evict(self, oldest);
            }
            while self.bytes(None) + bytes > capacity {
                evict(self, 0);
            }
            self.entries.push((tenant.into(), key, value, bytes));
            self.counts.inserted += 1;
            gone
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u8, usize),
        Get(u8, u8),
        Remove(u8, u8),
        Retain(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (tenant, key) = (0u8..4, 0u8..12);
        let size = prop_oneof![9 => 0usize..200, 1 => Just(usize::MAX)];
        let step = prop_oneof![
            6 => (tenant.clone(), key.clone(), size).prop_map(|(t, k, b)| Step::Insert(t, k, b)),
            4 => (tenant.clone(), key.clone()).prop_map(|(t, k)| Step::Get(t, k)),
            1 => (tenant, key).prop_map(|(t, k)| Step::Remove(t, k)),
            1 => (2u8..5).prop_map(Step::Retain),
        ];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn it_is_the_naive_list(steps in steps(), capacity in 0usize..3000, share in 0usize..2000) {
            let (mut cache, mut model) = (Cache::new(capacity, share), Model::default());
            let name = |tenant: u8| format!("tenant {tenant}");
            for (value, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(tenant, key, bytes) => {
                        let expected = model.insert([capacity, share], &name(tenant), (key, value), bytes);
                        prop_assert_eq!(cache.insert(&name(tenant), key, value, bytes), expected);
                    }
                    Step::Get(tenant, key) => prop_assert_eq!(cache.get(&name(tenant), &key).copied(), model.get(&name(tenant), key)),
                    Step::Remove(tenant, key) => prop_assert_eq!(cache.remove(&name(tenant), &key), model.take(&name(tenant), key)),
                    Step::Retain(by) => {
                        let (mut found, mut expected) = (cache.retain(|key, _| key % by != 0), Vec::new());
                        model.entries.retain(|(_, key, value, _)| { if key % by == 0 { expected.push(*value); } key % by != 0 });
                        found.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(found, expected);
                    }
                }
                prop_assert_eq!((cache.bytes(), cache.len()), (model.bytes(None), model.entries.len()));
                prop_assert!(cache.bytes() <= capacity);
                for tenant in 0..4 {
                    prop_assert_eq!(cache.bytes_of(&name(tenant)), model.bytes(Some(&name(tenant))));
                    prop_assert!(cache.bytes_of(&name(tenant)) <= share);
                }
                prop_assert_eq!(cache.counts(), model.counts);
            }
        }
    }

    #[test]
    fn a_tenant_can_not_push_others_out() {
        let size = 100 + Cache::OVERHEAD;
        let mut cache = Cache::new(10 * size, 4 * size);
        (0..4).for_each(|key| assert!(cache.insert("quiet", key, 7, 100).is_empty()));
        for round in 0..1000 {
            cache.insert("loud", (round % 200) as u8, round, 100);
        }
        assert_eq!((cache.bytes_of("quiet"), cache.bytes_of("loud")), (4 * size, 4 * size));
        assert_eq!(cache.counts().evicted, 996);
        // Nor see what others have.
        assert_eq!(cache.get("loud", &0), None);
        assert_eq!(cache.get("quiet", &0), Some(&7));
    }

    #[test]
    fn what_was_there_leaves_no_room_taken() {
        let mut cache = Cache::new(1 << 20, 1 << 20);
        for round in 0..10_000u32 {
            cache.insert(&format!("tenant {round}"), 1, round, 10);
            assert_eq!(cache.remove(&format!("tenant {round}"), &1), Some(round));
        }
        assert!(cache.is_empty() && cache.names.is_empty());
        assert_eq!((cache.entries.len(), cache.tenants.len()), (1, 1));
    }
}
