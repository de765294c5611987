//! Votes of items and of people. Co-occurrences are walked through when scoring: nothing of the size items² or people² is held.

use std::sync::Arc;

use super::{Bridge, Known, Pair, counts};
use crate::Sparse;

/// Candidates that nobody votes for are ordered by how many people have them.
const TIE_BREAK: f64 = 1e-9;

/// Items of either domain vote for target items that the same people have:
/// `score(j) = Σ_i n_ij / (√n_i (√n_j + c))` over source items and revealed target items i. `n_i` counts all people with i, `n_ij` those with both.
///
/// # References
/// B. Sarwar et al., *Item-based collaborative filtering recommendation algorithms*, WWW 2001.
#[derive(Clone, Debug)]
pub struct ItemKnn {
    rows: Arc<Rows>,
    shrink: f64,
}

/// Who has what.
#[derive(Debug)]
struct Rows {
    /// Owners of source items and of target items.
    owners: [Sparse; 2],
    target: Sparse,
}

impl ItemKnn {
    /// Counts; `shrink` is c, and trusts rare items less the larger it is.
    #[must_use]
    pub fn new(pair: &Pair, shrink: f64) -> Self {
        let rows = Rows { owners: [pair.source.transposed(), pair.target.transposed()], target: pair.target.clone() };
        Self { rows: Arc::new(rows), shrink }
    }

    /// The same counts with another c; they are shared.
    #[must_use]
    pub fn with_shrink(&self, shrink: f64) -> Self {
        Self { rows: self.rows.clone(), shrink }
    }
}

impl Bridge for ItemKnn {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let Rows { owners: all, target } = &*self.rows;
        scores.fill(0.0);
        for (owners, items) in all.iter().zip([person.source.0, person.revealed.0]) {
            for &item in items {
                let of = owners.row(item as usize).0;
                let weight = 1.0 / (of.len() as f64).sqrt();
                for &owner in of {
                    target.row(owner as usize).0.iter().for_each(|&j| scores[j as usize] += weight);
                }
            }
        }
        for (j, score) in scores.iter_mut().enumerate() {
            let n = all[1].row(j).0.len() as f64;
            *score = *score / (n.sqrt() + self.shrink) + TIE_BREAK * n;
        }
    }

    fn parameters(&self) -> usize {
        self.rows.owners.iter().map(|owners| owners.columns.len()).sum()
    }
}

/// Shared people vote for what they have in the target, by the cosine of their source rows:
/// `score(j) = Σ_v cos(u, v) [v has j] / √|v|`, source item i weighing `n_i^-¼` in a row.
///
/// # References
/// P. Resnick et al., *GroupLens*, CSCW 1994, with cosines in place of correlations.
#[derive(Clone, Debug)]
pub struct UserKnn {
    /// Shared people with each source item.
    owners: Sparse,
    weights: Vec<f64>,
    lengths: Vec<f64>,
    target: Sparse,
    popularity: Vec<f64>,
}

impl UserKnn {
    /// Counts.
    #[must_use]
    pub fn new(pair: &Pair) -> Self {
        let weights: Vec<f64> = counts(&pair.source).iter().map(|n| n.max(1.0).powf(-0.25)).collect();
        let (mut source, mut target) = (Sparse::new(pair.source.width), Sparse::new(pair.target.width));
        for person in pair.shared() {
            for (rows, of) in [(&mut source, &pair.source), (&mut target, &pair.target)] {
                rows.push(of.row(person).0.iter().map(|&item| (item, 1.0)));
            }
        }
        let lengths = (0..source.len()).map(|v| length(&weights, source.row(v).0)).collect();
        Self { owners: source.transposed(), weights, lengths, target, popularity: counts(&pair.target) }
    }
}

fn length(weights: &[f64], items: &[u32]) -> f64 {
    items.iter().map(|&i| weights[i as usize].powi(2)).sum::<f64>().sqrt()
}

impl Bridge for UserKnn {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        scores.iter_mut().zip(&self.popularity).for_each(|(score, n)| *score = TIE_BREAK * n);
        let own = length(&self.weights, person.source.0);
        let mut alike = vec![0.0; self.lengths.len()];
        for &item in person.source.0 {
            let both = self.weights[item as usize].powi(2);
            self.owners.row(item as usize).0.iter().for_each(|&v| alike[v as usize] += both);
        }
        for (v, alike) in alike.iter().enumerate().filter(|(_, alike)| **alike > 0.0) {
            let items = self.target.row(v).0;
            let vote = alike / (own * self.lengths[v] * (items.len() as f64).sqrt());
            items.iter().for_each(|&j| scores[j as usize] += vote);
        }
    }

    fn parameters(&self) -> usize {
        self.owners.columns.len() + self.target.columns.len()
    }
}
