use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};

use crate::Sparse;
use crate::bridge::{Bridge, Known};

/// The ridge regression of every item on all others: `B = argmin |X - X B|² + λ |B|²` with 0 on the diagonal, `score = x B`.
/// With `P = (XᵀX + λ I)⁻¹`: `B_ij = -P_ij / P_jj`. An item that nobody has scores 0.
///
/// It holds a matrix of items by items, so that a catalogue is bounded ([`Ease::MOST_ITEMS`]).
///
/// # References
/// H. Steck, *Embarrassingly Shallow Autoencoders for Sparse Data*, WWW 2019.
#[derive(Clone, Debug)]
pub struct Ease {
    /// `P`, of the items that somebody has.
    inverse: Mat<f64>,
    diagonal: Vec<f64>,
    /// Place of an item in `P`.
    places: Vec<Option<usize>>,
}

impl Ease {
    /// Items with rows at most: a matrix of them is 1.8 gigabytes, and three are held while it is inverted.
    pub const MOST_ITEMS: usize = 15_000;

    /// Inverts; `None` where more than [`Ease::MOST_ITEMS`] items have rows.
    ///
    /// # Panics
    /// If `ridge` is not above 0.
    #[must_use]
    pub fn new(rows: &Sparse, ridge: f64) -> Option<Self> {
        assert!(ridge > 0.0, "a ridge above 0");
        let mut places = vec![None; rows.width];
        rows.columns.iter().for_each(|&item| places[item as usize] = Some(0));
        places.iter_mut().flatten().zip(0..).for_each(|(place, at)| *place = at);
        let n = places.iter().flatten().count();
        if n > Self::MOST_ITEMS {
            return None;
        }
        let mut gram = Mat::<f64>::zeros(n, n);
        for person in 0..rows.len() {
            let (items, values) = rows.row(person);
            let own: Vec<(usize, f64)> =
                items.iter().map(|&item| places[item as usize].expect("an item of a row")).zip(values.iter().copied()).collect();
            own.iter().for_each(|&(i, x)| own.iter().for_each(|&(j, y)| gram[(i, j)] += x * y));
        }
        (0..n).for_each(|i| gram[(i, i)] += ridge);
        let factor = gram.llt(Side::Lower).expect("a Gram matrix with something added to its diagonal is positive definite");
        drop(gram);
        let inverse = factor.inverse();
        let diagonal = (0..n).map(|i| inverse[(i, i)]).collect();
        Some(Self { inverse, diagonal, places })
    }
}

impl Bridge for Ease {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        scores.fill(0.0);
        let known = person.revealed.0.iter().zip(person.revealed.1);
        for (i, x) in known.filter_map(|(&item, x)| self.places[item as usize].map(|i| (i, x))) {
            // P is symmetric, and its columns lie side by side.
            let column = self.inverse.col(i);
            for (score, j) in scores.iter_mut().zip(&self.places).filter_map(|(score, j)| j.map(|j| (score, j))).filter(|(_, j)| *j != i) {
                *score -= x * column[j] / self.diagonal[j];
            }
        }
    }

    fn parameters(&self) -> usize {
        self.inverse.nrows() * self.inverse.ncols()
    }
}
