//! Numbered values that never move: they grow piece by piece, without copying what is there and without room for as many again.

/// Values of a piece: few enough pieces that the list of them stays in the cache.
const PIECE: usize = 16_384;

/// Values by number, from 0.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    /// All full but the last.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.pieces.get(number as usize / PIECE)?.get(number as usize % PIECE)
    }

    pub(super) fn push(&mut self, value: T) {
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            // The first piece may stay small; who fills it will fill more.
            self.pieces.push(Vec::with_capacity(if self.pieces.is_empty() { 0 } else { PIECE }));
        }
        self.pieces.last_mut().expect("there is one by now").push(value);
    }

    /// The value of a number; it and those before it are made where they are not there yet.
    pub(super) fn reach(&mut self, number: u32, new: impl Fn() -> T) -> &mut T {
        (self.len()..=number as usize).for_each(|_| self.push(new()));
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_numbers_and_places() {
        let mut slab = Slab::default();
        (0..PIECE as u32).for_each(|i| slab.push(i));
        *slab.reach(0, || 7) += 5;
        let place: *const u32 = slab.get(9).unwrap();
        let [full, later] = [PIECE as u32, 3 * PIECE as u32];
        *slab.reach(later, || 7) = 1;
        assert_eq!(slab.len(), 3 * PIECE + 1);
        let found = [0, 1, full - 1, full, later - 1, later, later + 1].map(|i| slab.get(i).copied());
        assert_eq!(found, [Some(5), Some(1), Some(full - 1), Some(7), Some(7), Some(1), None]);
        assert!(std::ptr::eq(place, slab.get(9).unwrap()));
    }
}
