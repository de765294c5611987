use faer::linalg::solvers::{Llt, Solve};
use faer::{Mat, MatRef, Side};
use rayon::prelude::*;

use super::{Bridge, Known, Pair, counts};
use crate::{Sparse, random};

/// At most so many shared people are solved for, drawn by a hash: the matrix is people², half a gigabyte of them here, and as much again for its factor while it is made.
const MOST_PEOPLE: usize = 8000;

/// Ridge regression of target rows on source rows, over shared people. With A the source rows whose columns weigh `n_i^-α`, T the target rows and t their mean,
/// `score = (A x)ᵀ (A Aᵀ + λ tr(A Aᵀ)/n I)⁻¹ (T - t) + t`: one solve of n people, and no matrix of items by items.
#[derive(Clone, Debug)]
pub struct RidgeBridge {
    factor: Llt<f64>,
    /// `Aᵀ`: people of each source item, with values.
    owners: Sparse,
    weights: Vec<f64>,
    target: Sparse,
    mean: Vec<f64>,
}

impl RidgeBridge {
    /// Solves; `damping` is α, `ridge` λ. Of a person the values count: 1 for clicks.
    #[must_use]
    pub fn new(pair: &Pair, damping: f64, ridge: f64) -> Self {
        let weights: Vec<f64> = counts(&pair.source).iter().map(|n| n.max(1.0).powf(-damping)).collect();
        let mut people = pair.shared();
        people.sort_by(|&a, &b| random::uniform(0, a as u64, 0).total_cmp(&random::uniform(0, b as u64, 0)));
        people.truncate(MOST_PEOPLE);
        people.sort_unstable();
        let (mut source, mut target) = (Sparse::new(pair.source.width), Sparse::new(pair.target.width));
        for &person in &people {
            let (items, values) = pair.source.row(person);
            source.push(items.iter().zip(values).map(|(&i, x)| (i, x * weights[i as usize])));
            let (items, values) = pair.target.row(person);
            target.push(items.iter().copied().zip(values.iter().copied()));
        }
        let (n, owners) = (people.len(), source.transposed());
        let mut kernel = vec![0.0; n * n];
        kernel.par_chunks_mut(n.max(1)).enumerate().for_each(|(v, row)| products(&owners, source.row(v), row));
        let trace: f64 = (0..n).map(|v| kernel[v * n + v]).sum();
        // People without a source item would leave a matrix of zeros.
        let more = ridge * (trace / n.max(1) as f64).max(f64::MIN_POSITIVE);
        (0..n).for_each(|v| kernel[v * n + v] += more);
        let mut mean = counts(&target);
        target.columns.iter().zip(&target.values).for_each(|(&j, y)| mean[j as usize] += y - 1.0);
        mean.iter_mut().for_each(|sum| *sum /= n.max(1) as f64);
        // It is symmetric: its rows are its columns.
        let kernel = MatRef::from_column_major_slice(&kernel, n, n);
        let factor =
            kernel.llt(Side::Lower).expect("a matrix of products with a part of its mean added to the diagonal is positive definite");
        Self { factor, owners, weights, target, mean }
    }
}

/// `into[v] = Σ_i x_i A_vi`.
fn products(owners: &Sparse, (items, values): (&[u32], &[f64]), into: &mut [f64]) {
    for (&item, x) in items.iter().zip(values) {
        let (people, with) = owners.row(item as usize);
        people.iter().zip(with).for_each(|(&v, a)| into[v as usize] += x * a);
    }
}

impl Bridge for RidgeBridge {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let (items, values) = person.source;
        let values: Vec<f64> = items.iter().zip(values).map(|(&i, x)| x * self.weights[i as usize]).collect();
        let mut weights = vec![0.0; self.target.len()];
        products(&self.owners, (items, &values), &mut weights);
        let solved = self.factor.solve(Mat::from_fn(weights.len(), 1, |v, _| weights[v]));
        weights.iter_mut().enumerate().for_each(|(v, weight)| *weight = solved[(v, 0)]);
        let rest = 1.0 - weights.iter().sum::<f64>();
        scores.iter_mut().zip(&self.mean).for_each(|(score, mean)| *score = rest * mean);
        for (v, weight) in weights.iter().enumerate() {
            let (items, values) = self.target.row(v);
            items.iter().zip(values).for_each(|(&j, y)| scores[j as usize] += weight * y);
        }
    }

    fn parameters(&self) -> usize {
        let n = self.target.len();
        n * (n + 1) / 2 + self.owners.columns.len() + self.target.columns.len()
    }
}
