//! What a state looks up for an event: each text is hashed once, each key numbered once.

use hashbrown::HashTable;

use super::Event;
use super::key::{key_hash, name_hash};
use super::slab::Slab;

/// An event with the hashes of its keys.
#[derive(Debug)]
pub(super) struct Met<'a, E> {
    pub(super) event: &'a E,
    pub(super) time: i64,
    pub(super) domain: &'a str,
    /// Hash of the domain where something is kept by domain, or 0.
    pub(super) place: u128,
    /// Hash of each key of the state.
    pub(super) keys: Vec<u128>,
    texts: Texts<'a>,
}

impl<'a, E: Event> Met<'a, E> {
    pub(super) fn new(event: &'a E, is_apart: bool, columns: &[String], keys: &[Keys]) -> Self {
        let domain = event.text("domain").unwrap_or_default();
        let mut texts = Texts::default();
        let parts: Vec<u128> = columns.iter().map(|column| event.text(column).map_or(0, |text| texts.hash(text))).collect();
        let keys = keys.iter().map(|keys| key_hash(keys.parts.iter().map(|&part| parts[part]))).collect();
        let place = if is_apart { texts.hash(domain) } else { 0 };
        Self { event, time: event.time(), domain, place, keys, texts }
    }

    /// The hash by which distinct values of a column are counted; 0 is a missing value.
    pub(super) fn value_hash(&mut self, column: &str) -> u64 {
        match self.event.text(column) {
            None | Some("") => 0,
            Some(text) => of_name(self.texts.hash(text)),
        }
    }
}

/// Texts of one event and their hashes: an item that is a key and a value as well is hashed once.
#[derive(Debug, Default)]
struct Texts<'a>(Vec<(&'a str, u128)>);

impl<'a> Texts<'a> {
    fn hash(&mut self, text: &'a str) -> u128 {
        if let Some((_, hash)) = self.0.iter().find(|(other, _)| *other == text) {
            return *hash;
        }
        let hash = name_hash(text);
        self.0.push((text, hash));
        hash
    }
}

/// The hash by which distinct values are counted; 0 is a missing value.
pub(crate) fn value_hash(text: &str) -> u64 {
    if text.is_empty() { 0 } else { of_name(name_hash(text)) }
}

fn of_name(hash: u128) -> u64 {
    ((hash >> 64) as u64).max(1)
}

/// The keys that some columns make, numbered as they come. Features of the same columns share them.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// Positions of the columns among those of the state.
    pub(super) parts: Vec<usize>,
    hashes: Slab<u128>,
    numbers: HashTable<u32>,
}

impl Keys {
    pub(super) fn new(parts: Vec<usize>) -> Self {
        Self { parts, hashes: Slab::default(), numbers: HashTable::new() }
    }

    fn hash(&self, number: u32) -> u128 {
        *self.hashes.get(number).expect("a number stands for a key")
    }

    /// The number of a key that is known.
    pub(super) fn find(&self, key: u128) -> Option<u32> {
        // The low half of a key is spread evenly as it is.
        self.numbers.find(key as u64, |&number| self.hash(number) == key).copied()
    }

    /// The number of a key, which is added if it is new.
    pub(super) fn number(&mut self, key: u128) -> u32 {
        self.find(key).unwrap_or_else(|| {
            let number = u32::try_from(self.hashes.len()).expect("2^32 keys would not fit in memory before this");
            self.hashes.push(key);
            let hashes = &self.hashes;
            self.numbers.insert_unique(key as u64, number, |&number| *hashes.get(number).expect("a number stands for a key") as u64);
            number
        })
    }

    /// The keys in their order, with their numbers.
    pub(super) fn sorted(&self) -> Vec<(u128, u32)> {
        let mut sorted: Vec<(u128, u32)> = (0..self.hashes.len() as u32).map(|number| (self.hash(number), number)).collect();
        sorted.sort_unstable();
        sorted
    }
}
