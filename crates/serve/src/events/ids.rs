//! The ids of the last events: what comes twice counts once.

use std::collections::{HashSet, VecDeque};

use super::event::IdKey;

/// Ids by the order in which they were written, at most so many and none older than so long.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    most: usize,
    age: i64,
    known: HashSet<IdKey>,
    order: VecDeque<(IdKey, i64)>,
}

impl Ids {
    /// `age` is in microseconds.
    pub(super) fn new(most: usize, age: i64) -> Self {
        Self { most, age, known: HashSet::new(), order: VecDeque::new() }
    }

    pub(super) fn has(&self, id: &IdKey) -> bool {
        self.known.contains(id)
    }

    /// Remembers an id that was written at a moment, and forgets those that are too many or too old.
    pub(super) fn add(&mut self, id: IdKey, at: i64) {
        if self.known.insert(id) {
            self.order.push_back((id, at));
        }
        while let Some(&(oldest, since)) = self.order.front()
            && (self.order.len() > self.most || at.saturating_sub(since) > self.age)
        {
            self.known.remove(&oldest);
            self.order.pop_front();
        }
    }

    /// The ids and when each was written, the oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (IdKey, i64)> {
        self.order.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(i: u8) -> IdKey {
        [i; 16]
    }

    #[test]
    fn the_last_ids_are_known_and_older_ones_are_not() {
        let mut ids = Ids::new(3, 100);
        (0..5).for_each(|i| ids.add(id(i), i.into()));
        assert_eq!([0, 1, 2, 3, 4].map(|i| ids.has(&id(i))), [false, false, true, true, true]);
        ids.add(id(3), 50);
        assert_eq!(ids.iter().map(|(_, at)| at).collect::<Vec<_>>(), [2, 3, 4], "one that is known keeps its place");
        ids.add(id(9), 104);
        assert_eq!([2, 3, 4, 9].map(|i| ids.has(&id(i))), [false, false, true, true], "3 is older than 100");
    }
}
