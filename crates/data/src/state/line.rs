//! What a state keeps of one key: the last values of a user, or rows summed up and those that are too young for it.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::list::Entry;
use super::slab::Slab;
use super::tally::{Mark, Tally, TallyKind};
use crate::encode::Reading;

/// The last values of a user, by time and code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct List(pub(super) Vec<Entry>);

impl List {
    /// Adds a value, and forgets those that no row from `horizon` on can see.
    pub(super) fn add(&mut self, entry: Entry, reading: &Reading, horizon: i64) {
        let at = self.0.partition_point(|other| *other <= entry);
        if self.0.capacity() == 0 {
            // Most keys have few rows.
            self.0.reserve_exact(1);
        }
        self.0.insert(at, entry);
        let settled = self.0.partition_point(|&(time, _)| time < horizon);
        let most = reading.max_length.unwrap_or(usize::MAX);
        // Cut rarely, since that moves what stays.
        if settled > most.saturating_mul(2) {
            self.0.drain(..settled - most);
        }
    }
}

/// The rows of a key: those that no earlier one can come before any more, summed up, and the others in their order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) settled: Tally,
    recent: Recent,
}

impl Line {
    pub(super) fn new(kind: TallyKind) -> Self {
        Self { settled: Tally::new(kind), recent: Recent::default() }
    }

    pub(super) fn add(&mut self, kind: TallyKind, mark: Mark, horizon: i64) {
        match &mut self.recent {
            // In the order of time a row takes the place of the one before it.
            Recent::One(before) if before.time < horizon && horizon <= mark.time => {
                self.settled.add(kind, *before);
                *before = mark;
            }
            recent => {
                let marks = recent.several();
                let at = marks.partition_point(|other| *other <= mark);
                marks.insert(at, mark);
                while let Some(mark) = marks.front().copied().filter(|mark| mark.time < horizon) {
                    self.settled.add(kind, mark);
                    marks.pop_front();
                }
                if let (Some(&mark), 1) = (marks.front(), marks.len()) {
                    *recent = Recent::One(mark);
                }
            }
        }
    }

    /// The rows before `cutoff`, with some more.
    pub(super) fn at(&self, kind: TallyKind, cutoff: i64, more: &[Mark]) -> Cow<'_, Tally> {
        let recent = self.recent.before(cutoff);
        if more.is_empty() && recent.clone().next().is_none() {
            return Cow::Borrowed(&self.settled);
        }
        let mut tally = self.settled.clone();
        if more.is_empty() {
            recent.for_each(|&mark| tally.add(kind, mark));
        } else {
            let mut all: Vec<Mark> = recent.chain(more).copied().collect();
            all.sort_unstable();
            all.into_iter().for_each(|mark| tally.add(kind, mark));
        }
        Cow::Owned(tally)
    }
}

/// Rows in their order. One, as most keys have, lies in place.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Vec<Mark>")]
enum Recent {
    One(Mark),
    /// The first go first.
    #[expect(clippy::box_collection, reason = "most keys hold one row, and are smaller so")]
    Several(Box<VecDeque<Mark>>),
}

impl Default for Recent {
    fn default() -> Self {
        Self::Several(Box::default())
    }
}

impl From<Vec<Mark>> for Recent {
    fn from(marks: Vec<Mark>) -> Self {
        if let [mark] = marks[..] { Self::One(mark) } else { Self::Several(Box::new(marks.into())) }
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(mark) => serializer.collect_seq([mark]),
            Self::Several(marks) => marks.serialize(serializer),
        }
    }
}

impl Recent {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Several(marks) if marks.is_empty())
    }

    /// Those before a moment.
    fn before(&self, cutoff: i64) -> impl Iterator<Item = &Mark> + Clone {
        let (one, several) = match self {
            Self::One(mark) => (Some(mark).filter(|mark| mark.time < cutoff), None),
            Self::Several(marks) => (None, Some(marks.range(..marks.partition_point(|mark| mark.time < cutoff)))),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    fn several(&mut self) -> &mut VecDeque<Mark> {
        if let Self::One(mark) = *self {
            *self = Self::Several(Box::new(VecDeque::from([mark])));
        }
        match self {
            Self::Several(marks) => marks,
            Self::One(_) => unreachable!("it was just made several"),
        }
    }
}

/// Whether anything was added to what a key keeps.
pub(super) trait Filled {
    fn is_filled(&self) -> bool;
}

impl Filled for List {
    fn is_filled(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Filled for Line {
    /// The row that was added last is always recent.
    fn is_filled(&self) -> bool {
        !self.recent.is_empty()
    }
}

/// What each key keeps, by its number.
#[derive(Clone, Debug)]
pub(super) enum Kept<T> {
    /// Of all domains together.
    Whole(Slab<T>),
    /// Of each domain apart, in the order of their hashes.
    Apart(Slab<Vec<(u128, T)>>),
}

/// What one key keeps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held<'a, T> {
    Whole(Option<&'a T>),
    Apart(&'a [(u128, T)]),
}

impl<T: Filled> Kept<T> {
    pub(super) fn new(is_apart: bool) -> Self {
        if is_apart { Self::Apart(Slab::default()) } else { Self::Whole(Slab::default()) }
    }

    /// What a key keeps of a domain.
    pub(super) fn reach(&mut self, number: u32, place: u128, new: impl Fn() -> T) -> &mut T {
        match self {
            Self::Whole(slab) => slab.reach(number, new),
            Self::Apart(slab) => {
                let places = slab.reach(number, Vec::new);
                let at = places.binary_search_by_key(&place, |(place, _)| *place).unwrap_or_else(|at| {
                    places.insert(at, (place, new()));
                    at
                });
                &mut places[at].1
            }
        }
    }

    /// What a key keeps; nothing where it has no number.
    pub(super) fn of(&self, number: Option<u32>) -> Held<'_, T> {
        match self {
            Self::Whole(slab) => Held::Whole(number.and_then(|number| slab.get(number)).filter(|kept| kept.is_filled())),
            Self::Apart(slab) => Held::Apart(number.and_then(|number| slab.get(number)).map(Vec::as_slice).unwrap_or_default()),
        }
    }
}

impl<T> Held<'_, T> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Whole(kept) => kept.is_none(),
            Self::Apart(places) => places.is_empty(),
        }
    }
}

/// As a map from a domain's hash, or from 0 where domains are not kept apart.
impl<T: Serialize> Serialize for Held<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(kept) => {
                let mut map = serializer.serialize_map(Some(usize::from(kept.is_some())))?;
                kept.map_or(Ok(()), |kept| map.serialize_entry(&0_u128, kept))?;
                map.end()
            }
            Self::Apart(places) => serializer.collect_map(places.iter().map(|(place, kept)| (place, kept))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RandomStream;
    use crate::config::StatisticValue;

    /// The sizes that the documentation of the state and of its features names.
    #[test]
    fn a_key_keeps_what_is_said_of_it() {
        assert_eq!([size_of::<Line>(), size_of::<List>(), size_of::<Entry>(), size_of::<Mark>()], [56, 24, 16, 16]);
    }

    #[test]
    fn rows_out_of_order_are_settled_in_their_order() {
        let kind = TallyKind::of(StatisticValue::Mean, None, None);
        let mut stream = RandomStream::new(4, 0, 0);
        // No sum of these is exact, so that the order of adding shows.
        let mut marks: Vec<Mark> = (0..500).map(|i| Mark { time: i / 2, bits: (stream.below(1000) as f64 / 7.0).to_bits() }).collect();
        let late = 9;
        let mut line = Line::new(kind);
        let mut arrivals: Vec<(i64, Mark)> = marks.iter().map(|&mark| (mark.time + stream.below(late) as i64, mark)).collect();
        arrivals.sort_by_key(|&(arrival, _)| arrival);
        for (arrival, mark) in arrivals {
            line.add(kind, mark, arrival - late as i64);
            assert!(line.is_filled());
        }
        marks.sort_unstable();
        // Asked from where nothing more can come before on.
        for cutoff in [248, 249, 300] {
            let mut expected = Tally::new(kind);
            marks.iter().filter(|mark| mark.time < cutoff).for_each(|&mark| expected.add(kind, mark));
            assert_eq!(*line.at(kind, cutoff, &[]), expected, "before {cutoff}");
        }
    }
}
