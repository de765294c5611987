//! What a state looks up for an event: each text is hashed once, and each key is found once.

use hashbrown::HashTable;

use super::Event;
use super::key::key_hash;
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
}

impl<'a, E: Event> Met<'a, E> {
    pub(super) fn new(event: &'a E, is_apart: bool, columns: &[String], keys: &[Keys]) -> Self {
        let parts: Vec<u128> = columns.iter().map(|column| event.text_hash(column).unwrap_or(0)).collect();
        let keys = keys.iter().map(|keys| key_hash(keys.parts.iter().map(|&part| parts[part]))).collect();
        let place = if is_apart { event.text_hash("domain").unwrap_or(EMPTY) } else { 0 };
        Self { event, time: event.time(), domain: event.text("domain").unwrap_or_default(), place, keys }
    }
}

/// The hash of the empty text.
const EMPTY: u128 = 0xe3b0_c442_98fc_1c14_9afb_f4c8_996f_b924;

/// The hash by which distinct values are counted, from that of their text; 0 is a missing value.
pub(crate) fn value_hash(text: Option<u128>) -> u64 {
    text.filter(|&hash| hash != EMPTY).map_or(0, |hash| ((hash >> 64) as u64).max(1))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::key::name_hash;

    #[test]
    fn a_missing_value_and_an_empty_one_do_not_count() {
        assert_eq!([None, Some(name_hash(""))].map(value_hash), [0, 0]);
        assert_eq!(value_hash(Some(name_hash("abc"))), 0xba78_16bf_8f01_cfea);
        assert_eq!(value_hash(Some(5)), 1, "0 is taken");
    }

    #[test]
    fn keys_are_numbered_as_they_come() {
        let mut keys = Keys::new(Vec::new());
        let hash = |i: u32| key_hash([name_hash(&i.to_string())]);
        // Keys that share their low half are keys of their own.
        let twins = [7, 7 | 1 << 100];
        for round in 0..2 {
            let numbers = (0..1000).map(hash).chain(twins).map(|key| keys.number(key));
            assert!(numbers.eq(0..1002), "round {round}");
        }
        assert_eq!([twins[1], 8].map(|key| keys.find(key)), [Some(1001), None]);
        let sorted = keys.sorted();
        assert!(sorted.is_sorted() && sorted.len() == 1002 && sorted.iter().all(|&(key, number)| keys.find(key) == Some(number)));
    }
}
