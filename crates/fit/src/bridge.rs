//! Bridges between two domains: what people who are known in a source domain will like in a target domain where they are new.
//!
//! Everything is learned from *shared* people, those with rows in both domains, and from what others did in either. A fitted [`Bridge`] scores every item of the
//! target for one person, from that person's source rows and, where there are some, the first target rows ([`Known`]).
//!
//! - [`Popularity`], [`ItemKnn`], [`UserKnn`], [`RidgeBridge`]: counts and one solve;
//! - [`Factors`]: matrix factorisation by alternating least squares, of clicks or of ratings, with a user folded in by one solve;
//! - [`Mapped`]: a user's vector in the target from the one in the source: EMCDR, TMCDR, PTUPCDR;
//! - [`BiasBridge`]: for ratings, an item's bias and the user's bias in the source;
//! - [`Mixture`] and [`RatingBridge`]: these together, in shares that people held out of all of them were served best by.

mod biases;
mod factors;
mod mapping;
mod mixture;
mod neighbours;
mod popularity;
mod rating;
mod ridge;

pub use biases::{BiasBridge, Biases};
pub use factors::{Factors, FactorsConfig, Observed};
pub use mapping::{Lesson, Map, Mapped, MappingConfig};
pub use mixture::{Mixture, Share};
pub use neighbours::{ItemKnn, UserKnn};
pub use popularity::Popularity;
pub use rating::RatingBridge;
pub use ridge::RidgeBridge;

use crate::{Sparse, random};

/// What training people did in two domains: row i of both is the same person.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// `[people, source items]`.
    pub source: Sparse,
    /// `[people, target items]`; empty rows for those who are new there.
    pub target: Sparse,
}

impl Pair {
    /// People with rows in both domains, ascending.
    #[must_use]
    pub fn shared(&self) -> Vec<usize> {
        (0..self.source.len()).filter(|&i| !self.source.row(i).0.is_empty() && !self.target.row(i).0.is_empty()).collect()
    }

    /// The same with the target rows of some people hidden, who are then as new as those who will be asked for.
    #[must_use]
    pub fn without(&self, people: &[usize]) -> Self {
        let mut hidden = vec![false; self.target.len()];
        people.iter().for_each(|&i| hidden[i] = true);
        let mut target = Sparse::new(self.target.width);
        for (i, hidden) in hidden.into_iter().enumerate() {
            let (columns, values) = self.target.row(i);
            let kept = if hidden { 0 } else { columns.len() };
            target.push(columns[..kept].iter().copied().zip(values[..kept].iter().copied()));
        }
        Self { source: self.source.clone(), target }
    }

    /// What is known of a training person before any target row.
    #[must_use]
    pub fn newcomer(&self, person: usize) -> Known<'_> {
        Known { source: self.source.row(person), revealed: (&[], &[]) }
    }
}

/// What is known of a person who is asked for: items with values, in the source and in the target.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Source items.
    pub source: (&'a [u32], &'a [f64]),
    /// The first target items.
    pub revealed: (&'a [u32], &'a [f64]),
}

/// What says how much a person will like each target item.
pub trait Bridge: Send + Sync {
    /// Writes a score of each target item, `[items]`: higher is better, or the rating itself where ratings were fitted.
    fn score(&self, person: &Known<'_>, scores: &mut [f64]);

    /// Number of fitted numbers.
    fn parameters(&self) -> usize;
}

/// Number of rows that hold each column.
fn counts(rows: &Sparse) -> Vec<f64> {
    let mut counts = vec![0.0; rows.width];
    rows.columns.iter().for_each(|&column| counts[column as usize] += 1.0);
    counts
}

/// Rows of both domains side by side, source items first.
#[must_use]
pub fn joint(pair: &Pair) -> Sparse {
    let mut both = Sparse::new(pair.source.width + pair.target.width);
    for person in 0..pair.source.len() {
        let ((a, x), (b, y)) = (pair.source.row(person), pair.target.row(person));
        let beside = b.iter().map(|&item| item + pair.source.width as u32);
        both.push(a.iter().copied().chain(beside).zip(x.iter().chain(y).copied()));
    }
    both
}

/// Shared people judge in so many parts, each by what was fitted without it, and at most so many in each.
const PARTS: usize = 3;
const MOST_JUDGES: usize = 1000;

/// Shared people in parts, at random but the same for a seed; ascending in each.
fn judges(pair: &Pair, seed: u64) -> [Vec<usize>; PARTS] {
    let mut people = pair.shared();
    people.sort_by(|&a, &b| random::uniform(seed, a as u64, 11).total_cmp(&random::uniform(seed, b as u64, 11)));
    std::array::from_fn(|part| {
        let mut part: Vec<usize> = people.iter().copied().skip(part).step_by(PARTS).take(MOST_JUDGES).collect();
        part.sort_unstable();
        part
    })
}
