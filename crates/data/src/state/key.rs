//! Keys: what the rows of a statistic have in common.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::hash::{mix, sha256};
use crate::{Log, Side};

/// 128 bits of a name, the same wherever and whenever it is met.
pub(crate) fn name_hash(name: &str) -> u128 {
    u128::from_be_bytes(sha256(name)[..16].try_into().expect("sixteen bytes"))
}

/// The hash of a key, from those of its parts.
pub(crate) fn key_hash(parts: impl IntoIterator<Item = u128>) -> u128 {
    let join = |key: u128, part: u128| {
        let low = mix(key as u64 ^ part as u64);
        let high = mix((key >> 64) as u64 ^ (part >> 64) as u64 ^ low);
        u128::from(high) << 64 | u128::from(low)
    };
    parts.into_iter().fold(0, join)
}

/// Where one part of a key stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyPart {
    User,
    Item,
    Domain,
    /// A categorical feature: one code for each entity.
    Category {
        side: Side,
        codes: Arc<Vec<u32>>,
    },
}

impl KeyPart {
    /// The part of a row's key.
    pub(crate) fn of(&self, log: &Log, row: usize) -> u32 {
        match self {
            Self::User => log.user[row].0,
            Self::Item => log.item[row].0,
            Self::Domain => log.domain[row].0,
            Self::Category { side, codes } => codes[log.entity(*side, row)],
        }
    }
}

/// Rows by key, in each key by time.
pub(crate) struct Grouped {
    /// All rows.
    pub(crate) rows: Vec<u32>,
    /// `rows[ends[k - 1]..ends[k]]` have the key `k`; the first begin at 0.
    pub(crate) ends: Vec<u32>,
}

impl Grouped {
    /// Groups rows, given by time, by some parts of their keys.
    pub(crate) fn new(log: &Log, by_time: &[u32], parts: &[KeyPart]) -> Self {
        let (keys, count) = dense(log, parts);
        let Some(keys) = keys else { return Self { rows: by_time.to_vec(), ends: vec![by_time.len() as u32] } };
        let mut starts = vec![0_u32; count + 1];
        keys.iter().for_each(|&key| starts[key as usize + 1] += 1);
        (0..count).for_each(|key| starts[key + 1] += starts[key]);
        let mut rows = vec![0; by_time.len()];
        for &row in by_time {
            let at = &mut starts[keys[row as usize] as usize];
            rows[*at as usize] = row;
            *at += 1;
        }
        starts.truncate(count);
        Self { rows, ends: starts }
    }

    /// The rows of each key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.rows[start as usize..end as usize])
    }
}

/// A number for the key of each row, and how many there are; none where all rows have the same.
fn dense(log: &Log, parts: &[KeyPart]) -> (Option<Vec<u32>>, usize) {
    let Some((first, more)) = parts.split_first() else { return (None, 1) };
    let mut keys: Vec<u32> = (0..log.len()).map(|row| first.of(log, row)).collect();
    let mut count = keys.iter().max().map_or(0, |&key| key as usize + 1);
    for part in more {
        let mut known: HashMap<(u32, u32), u32> = HashMap::new();
        for (row, key) in keys.iter_mut().enumerate() {
            let next = known.len() as u32;
            *key = *known.entry((*key, part.of(log, row))).or_insert(next);
        }
        count = known.len();
    }
    (Some(keys), count)
}
