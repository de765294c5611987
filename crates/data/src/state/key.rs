//! Keys: what the rows of a statistic have in common.

use std::borrow::Cow;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::replay::Course;
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

/// A column that a statistic reads: where it was read, or shared by all that read it.
#[derive(Clone, Debug)]
pub(crate) enum Column<'a, T> {
    Borrowed(&'a [T]),
    Shared(Arc<Vec<T>>),
}

impl<T> Deref for Column<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Borrowed(values) => values,
            Self::Shared(values) => values,
        }
    }
}

impl<T: PartialEq> PartialEq for Column<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(&raw const **self, &raw const **other) || **self == **other
    }
}

/// Where one part of a key stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeyPart<'a> {
    User,
    Item,
    Domain,
    /// A categorical feature: one code for each entity.
    Category {
        side: Side,
        codes: Column<'a, u32>,
    },
}

impl KeyPart<'_> {
    /// The part of a row's key.
    pub(crate) fn of(&self, log: &Log, row: u32) -> u32 {
        let row = row as usize;
        match self {
            Self::User => log.user[row].0,
            Self::Item => log.item[row].0,
            Self::Domain => log.domain[row].0,
            Self::Category { side, codes } => codes[log.entity(*side, row)],
        }
    }
}

/// Rows by key, in each key by time.
pub(crate) struct Grouped<'a> {
    /// All rows.
    pub(crate) rows: Cow<'a, [u32]>,
    /// `rows[ends[k - 1]..ends[k]]` have the key `k`; the first begin at 0. Keys of one part are its codes, whether they have rows or not.
    ends: Vec<u32>,
    parts: usize,
}

impl<'a> Grouped<'a> {
    /// Groups rows, given by time, by some parts of their keys.
    pub(crate) fn new(log: &Log, by_time: &'a [u32], parts: &[KeyPart<'_>]) -> Self {
        let (mut rows, mut ends) = (Cow::Borrowed(by_time), vec![by_time.len() as u32]);
        // The last part first: each sort keeps the order of the ones before it.
        for part in parts.iter().rev() {
            let (sorted, ends_of_part) = sorted(&rows, |row| part.of(log, row));
            (rows, ends) = (Cow::Owned(sorted), ends_of_part);
        }
        if parts.len() > 1 {
            let differ = |a: u32, b: u32| parts.iter().any(|part| part.of(log, a) != part.of(log, b));
            let inner = rows.windows(2).enumerate().filter(|(_, pair)| differ(pair[0], pair[1]));
            ends = inner.map(|(at, _)| at as u32 + 1).collect();
            ends.extend((!rows.is_empty()).then_some(rows.len() as u32));
            ends.shrink_to_fit();
        }
        Self { rows, ends, parts: parts.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The rows of some keys that follow each other.
    pub(crate) fn of(&self, keys: Range<usize>) -> &[u32] {
        &self.rows[self.start(keys.start)..self.start(keys.end)]
    }

    fn start(&self, key: usize) -> usize {
        if key == 0 { 0 } else { self.ends[key - 1] as usize }
    }

    /// The rows of each key.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u32]> {
        (0..self.len()).map(|key| self.of(key..key + 1))
    }

    /// Keys in pieces that have at least so many rows, but for the last.
    pub(crate) fn pieces(&self, rows: usize) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        let mut begin = 0;
        for key in 0..self.len() {
            if self.start(key + 1) - self.start(begin) >= rows {
                pieces.push(begin..key + 1);
                begin = key + 1;
            }
        }
        pieces.extend((begin < self.len()).then_some(begin..self.len()));
        pieces
    }

    /// A number for each key, which does not depend on how keys are sorted: its code, or with several parts its place in the order of the keys' first rows.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.len() as u32).collect();
        if self.parts > 1 {
            let first: Vec<u32> = self.keys().map(|rows| rows.iter().copied().min().unwrap_or(u32::MAX)).collect();
            let mut order = numbers.clone();
            order.sort_unstable_by_key(|&key| first[key as usize]);
            order.into_iter().zip(0..).for_each(|(key, number)| numbers[key as usize] = number);
        }
        numbers
    }
}

/// Rows by code, those of equal code as they were, and where the rows of each code end.
fn sorted(rows: &[u32], code: impl Fn(u32) -> u32) -> (Vec<u32>, Vec<u32>) {
    let count = rows.iter().map(|&row| code(row)).max().map_or(0, |code| code as usize + 1);
    let mut starts = vec![0_u32; count + 1];
    rows.iter().for_each(|&row| starts[code(row) as usize + 1] += 1);
    (0..count).for_each(|code| starts[code + 1] += starts[code]);
    let mut sorted = vec![0; rows.len()];
    for &row in rows {
        let at = &mut starts[code(row) as usize];
        sorted[*at as usize] = row;
        *at += 1;
    }
    starts.truncate(count);
    (sorted, starts)
}

/// The rows of a log by the keys that were asked for last: features of the same key that follow each other share them.
pub(crate) struct Groups<'c, 'a> {
    log: &'c Log,
    by_time: &'c [u32],
    last: Option<(Vec<KeyPart<'a>>, Grouped<'c>)>,
}

impl<'c, 'a> Groups<'c, 'a> {
    pub(crate) fn new(course: &'c Course<'_>) -> Self {
        Self { log: course.log, by_time: &course.by_time, last: None }
    }

    pub(crate) fn of(&mut self, parts: &[KeyPart<'a>]) -> &Grouped<'c> {
        // What is not asked for any more goes before its successor comes.
        let last = self.last.take().filter(|(of, _)| of == parts);
        let last = last.unwrap_or_else(|| (parts.to_vec(), Grouped::new(self.log, self.by_time, parts)));
        &self.last.insert(last).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, RandomStream, UserIndex};

    #[test]
    fn rows_are_grouped_by_every_part_and_stay_in_the_order_of_time() {
        let mut stream = RandomStream::new(5, 0, 0);
        let mut column = |below: u64| (0..500).map(|_| stream.below(below) as u32).collect::<Vec<u32>>();
        let (user, item, domain, category) = (column(9), column(7), column(3), column(4));
        let log = Log {
            user: user.iter().map(|&i| UserIndex(i)).collect(),
            item: item.iter().map(|&i| ItemIndex(i)).collect(),
            domain: domain.iter().map(|&i| DomainIndex(i)).collect(),
            ..Log::default()
        };
        let by_time: Vec<u32> = (0..500).rev().collect();
        let category = KeyPart::Category { side: Side::Item, codes: Column::Borrowed(&category) };
        for parts in [vec![], vec![KeyPart::Item], vec![KeyPart::User, category.clone()], vec![KeyPart::Domain, category, KeyPart::Item]] {
            let grouped = Grouped::new(&log, &by_time, &parts);
            let key = |row: u32| parts.iter().map(|part| part.of(&log, row)).collect::<Vec<_>>();
            let mut expected: std::collections::BTreeMap<Vec<u32>, Vec<u32>> = Default::default();
            by_time.iter().for_each(|&row| expected.entry(key(row)).or_default().push(row));
            let found: Vec<&[u32]> = grouped.keys().filter(|rows| !rows.is_empty()).collect();
            assert_eq!(found, expected.values().map(Vec::as_slice).collect::<Vec<_>>());
            // Numbers as a table gives them that is filled row by row.
            let mut table: Vec<Vec<u32>> = Vec::new();
            let mut number = |row: u32| match parts.len() {
                0 => 0,
                1 => key(row)[0] as usize,
                _ => table.iter().position(|other| *other == key(row)).unwrap_or_else(|| {
                    table.push(key(row));
                    table.len() - 1
                }),
            };
            let expected: Vec<usize> = (0..500).map(&mut number).collect();
            for (rows, number) in grouped.keys().zip(grouped.numbers()) {
                assert!(rows.iter().all(|&row| expected[row as usize] == number as usize));
            }
            let pieces = grouped.pieces(100);
            assert!(pieces.iter().rev().skip(1).all(|piece| grouped.of(piece.clone()).len() >= 100));
            assert_eq!(pieces.into_iter().flat_map(|piece| grouped.of(piece).to_vec()).collect::<Vec<_>>(), *grouped.rows);
        }
    }
}
