use super::{Bridge, Known, Pair, counts};

/// The number of people who have an item, for everybody the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Popularity {
    counts: Vec<f64>,
}

impl Popularity {
    /// Counts everybody's target rows.
    #[must_use]
    pub fn of_all(pair: &Pair) -> Self {
        Self { counts: counts(&pair.target) }
    }

    /// Counts the rows of shared people, who are more like those who will be asked for. Items that none of them has are ordered by everybody's rows.
    #[must_use]
    pub fn of_shared(pair: &Pair) -> Self {
        let mut counts: Vec<f64> = counts(&pair.target).iter().map(|n| n * 1e-9).collect();
        for person in pair.shared() {
            pair.target.row(person).0.iter().for_each(|&item| counts[item as usize] += 1.0);
        }
        Self { counts }
    }
}

impl Bridge for Popularity {
    fn score(&self, _: &Known<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.counts);
    }

    fn parameters(&self) -> usize {
        self.counts.len()
    }
}
