//! Matrix factorisation by alternating least squares, of clicks and of ratings.
//!
//! *Clicks*: `Σ_ui c_ui (p_ui - x_uᵀ y_i)² + λ Σ_u (n_u + a I) |x_u|² + λ Σ_i (n_i + a U) |y_i|²`, `p = c = 1` where u has i and `p = 0, c = a` elsewhere.
//! *Ratings*: `Σ_observed (r_ui - o_i - x_uᵀ y_i)² + λ Σ_u n_u |x_u|² + λ Σ_i n_i |y_i|²`; the offset `o_i` is the mean rating, or the item's bias, and then the
//! first entry of every `y_i` is 1, so that the first of `x_u` is the user's bias.
//!
//! # References
//! Y. Hu, Y. Koren, C. Volinsky, *Collaborative Filtering for Implicit Feedback Datasets*, ICDM 2008; S. Rendle et al., *Revisiting the Performance of iALS on Item
//! Recommendation Benchmarks*, RecSys 2022, for the penalties by frequency.

use faer::{Mat, Side};
use rayon::prelude::*;

use super::{Biases, Bridge, Known};
use crate::cholesky::{Cholesky, dot};
use crate::{Sparse, random};

/// What the values of rows are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// 1 for each item that somebody has. Those that nobody is known to have count as 0, with the weight `a`.
    Clicks {
        /// Weight of what was not observed.
        unobserved: f64,
    },
    /// Ratings, of which nothing is said where there is none.
    Ratings {
        /// Whether items and users have biases; otherwise everything but the mean is in the factors, as in the papers on bridges.
        biases: bool,
    },
}

/// How rows are factorised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorsConfig {
    /// Numbers in a vector, the user's bias included.
    pub factors: usize,
    /// λ.
    pub ridge: f64,
    /// Passes over users and items.
    pub sweeps: usize,
    /// What is factorised.
    pub observed: Observed,
    /// Where items start: the same vectors for the same seed, everywhere.
    pub seed: u64,
}

/// Vectors of items, and how a user's is solved from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    config: FactorsConfig,
    /// `[items, d]`.
    items: Vec<f64>,
    /// What a rating is counted from, `[items]`; 0 for clicks.
    offsets: Vec<f64>,
    /// `a YᵀY`, `[d, d]`; 0 for ratings.
    gram: Vec<f64>,
}

/// Standard deviation of the first item vectors.
const START: f64 = 0.1;

impl Factors {
    /// Factorises rows, `[users, items]`; what is known of users are their vectors, `[users, d]`, those of users without rows 0.
    #[must_use]
    pub fn fit(rows: &Sparse, config: FactorsConfig) -> (Self, Vec<f64>) {
        let (d, width) = (config.factors, rows.width);
        let bias = usize::from(config.has_bias());
        let start = |item: usize, k: usize| if k < bias { 1.0 } else { START * random::normal(config.seed, item as u64, k as u64) };
        let items = (0..width).flat_map(|item| (0..d).map(move |k| start(item, k))).collect();
        let offsets = match config.observed {
            Observed::Clicks { .. } => vec![0.0; width],
            Observed::Ratings { biases: true } => Biases::fit(rows, config.ridge_of_biases(), config.ridge_of_biases()).levels(),
            Observed::Ratings { biases: false } => vec![mean(rows); width],
        };
        let mut factors = Self { config, items, offsets, gram: Vec::new() };
        let mut columns = rows.transposed();
        for item in 0..width {
            let at = columns.offsets[item]..columns.offsets[item + 1];
            columns.values[at].iter_mut().for_each(|r| *r -= factors.offsets[item]);
        }
        let centred = columns.transposed();
        let mut users = vec![0.0; rows.len() * d];
        for _ in 0..config.sweeps {
            factors.gram = config.gram(&factors.items);
            users = config.half(&centred, &factors.items, &factors.gram, 0);
            let gram = config.gram(&users);
            let solved = config.half(&columns, &users, &gram, bias);
            factors.items = (0..width * d).map(|at| if at % d < bias { 1.0 } else { solved[at] }).collect();
        }
        factors.gram = config.gram(&factors.items);
        (factors, users)
    }

    /// The factorisation of the first `sources` items and that of the others: users' vectors mean the same in both, and what is folded in reads the items of one.
    #[must_use]
    pub fn split(&self, sources: usize) -> [Self; 2] {
        let d = self.config.factors;
        let part = |items: &[f64], offsets: &[f64]| Self {
            config: self.config,
            items: items.to_vec(),
            offsets: offsets.to_vec(),
            gram: self.config.gram(items),
        };
        let ((a, b), (x, y)) = (self.items.split_at(sources * d), self.offsets.split_at(sources));
        [part(a, x), part(b, y)]
    }

    /// Numbers in a vector.
    #[must_use]
    pub fn factors(&self) -> usize {
        self.config.factors
    }

    /// Vector of an item, `[d]`.
    #[must_use]
    pub fn item(&self, item: usize) -> &[f64] {
        let d = self.config.factors;
        &self.items[item * d..(item + 1) * d]
    }

    /// What a rating of an item is counted from.
    #[must_use]
    pub fn offset(&self, item: usize) -> f64 {
        self.offsets[item]
    }

    /// `a YᵀY x`, the pull of what was not observed; 0 for ratings.
    pub(super) fn pull(&self, x: &[f64]) -> Vec<f64> {
        let d = self.config.factors;
        if self.config.unobserved() == 0.0 { vec![0.0; d] } else { self.gram.chunks_exact(d).map(|row| dot(row, x)).collect() }
    }

    /// The weight `a` of what was not observed; 0 for ratings.
    pub(super) fn unobserved(&self) -> f64 {
        self.config.unobserved()
    }

    /// The vector of a user with these items and values.
    #[must_use]
    pub fn fold(&self, (columns, values): (&[u32], &[f64])) -> Vec<f64> {
        let values: Vec<f64> = columns.iter().zip(values).map(|(&i, r)| r - self.offsets[i as usize]).collect();
        self.config.solve((columns, &values), &self.items, &self.gram, self.offsets.len(), 0)
    }

    /// Writes `o_i + xᵀ y_i` of each item.
    pub fn score(&self, x: &[f64], scores: &mut [f64]) {
        let rows = self.items.chunks_exact(self.config.factors);
        scores.iter_mut().zip(rows).zip(&self.offsets).for_each(|((score, y), offset)| *score = offset + dot(x, y));
    }

    /// Number of fitted numbers.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.items.len() + self.offsets.len()
    }
}

impl FactorsConfig {
    fn has_bias(&self) -> bool {
        self.observed == Observed::Ratings { biases: true }
    }

    fn unobserved(&self) -> f64 {
        if let Observed::Clicks { unobserved } = self.observed { unobserved } else { 0.0 }
    }

    /// Ratings that a level of biases is shrunken by. The factors' penalty is by rating; a level wants a few of them.
    fn ridge_of_biases(&self) -> f64 {
        4.0
    }

    fn gram(&self, rows: &[f64]) -> Vec<f64> {
        let (d, a) = (self.factors, self.unobserved());
        if a == 0.0 {
            return vec![0.0; d * d];
        }
        let m = faer::MatRef::from_row_major_slice(rows, rows.len() / d, d);
        let gram = m.transpose() * m;
        (0..d * d).map(|at| a * gram[(at / d, at % d)]).collect()
    }

    /// Solves every row against the vectors of the other side, `fixed` of whose first entries are not to be solved for.
    fn half(&self, rows: &Sparse, others: &[f64], gram: &[f64], fixed: usize) -> Vec<f64> {
        let d = self.factors;
        let basis = Basis::new(self, others, gram, rows.width, fixed);
        let mut solved = vec![0.0; rows.len() * d];
        solved.par_chunks_mut(d).enumerate().for_each(|(at, into)| {
            let row = rows.row(at);
            if !row.0.is_empty() {
                let x = match &basis {
                    Some(basis) if row.0.len() < d => basis.solve(row),
                    _ => self.solve(row, others, gram, rows.width, fixed),
                };
                into.copy_from_slice(&x);
            }
        });
        solved
    }

    /// `(a GᵀG + Σ (1 - a) y yᵀ + λ (n + a N) I)⁻¹ Σ r y`; the first `fixed` entries of the answer are 0 and count as taken off already.
    fn solve(&self, (columns, values): (&[u32], &[f64]), others: &[f64], gram: &[f64], all: usize, fixed: usize) -> Vec<f64> {
        let (d, a) = (self.factors, self.unobserved());
        let n = columns.len();
        if n == 0 {
            return vec![0.0; d];
        }
        let mut matrix = gram.to_vec();
        let mut x = vec![0.0; d];
        for (&column, value) in columns.iter().zip(values) {
            let y = &others[column as usize * d..][..d];
            // Where users' biases are fixed, they are taken off what items are solved for.
            let value = value - if fixed == 1 { y[0] } else { 0.0 };
            for (k, y_k) in y.iter().enumerate() {
                x[k] += value * y_k;
                matrix[k * d..=k * d + k].iter_mut().zip(y).for_each(|(sum, y_l)| *sum += (1.0 - a) * y_k * y_l);
            }
        }
        let ridge = self.ridge * (n as f64 + a * all as f64);
        (0..d).for_each(|k| matrix[k * d + k] += ridge);
        if fixed == 1 {
            // A row of its own: nothing else moves it, and it moves nothing.
            (1..d).for_each(|k| matrix[k * d] = 0.0);
            x[0] = 0.0;
            matrix[0] = 1.0;
        }
        Cholesky::sturdy(matrix, d).solve(&mut x);
        x
    }
}

/// The Gram matrix in its own axes, in which a row of `n < d` items needs a solve of n by n only:
/// `(Λ + λ' I + (1 - a) Zᵀ Z)⁻¹ Zᵀ r = D⁻¹ Zᵀ (I + (1 - a) Z D⁻¹ Zᵀ)⁻¹ r` with `Z = Y Q`, `D = Λ + λ' I`.
struct Basis<'a> {
    config: &'a FactorsConfig,
    /// `Y Q`, `[others, d]`.
    turned: Vec<f64>,
    values: Vec<f64>,
    /// `Q`, `[d, d]`.
    axes: Vec<f64>,
    all: usize,
}

impl<'a> Basis<'a> {
    /// None where an entry is fixed, for axes would mix it with the others.
    fn new(config: &'a FactorsConfig, others: &[f64], gram: &[f64], all: usize, fixed: usize) -> Option<Self> {
        let d = config.factors;
        if fixed > 0 {
            return None;
        }
        let matrix = Mat::from_fn(d, d, |i, j| gram[i * d + j]);
        let found = matrix.self_adjoint_eigen(Side::Lower).expect("a finite symmetric matrix has eigenvalues");
        let axes: Vec<f64> = (0..d * d).map(|at| found.U()[(at / d, at % d)]).collect();
        // Rounding may leave an eigenvalue of 0 below it.
        let values = (0..d).map(|k| found.S()[k].max(0.0)).collect();
        let (m, q) = (faer::MatRef::from_row_major_slice(others, others.len() / d, d), found.U());
        let product = m * q;
        let turned = (0..others.len()).map(|at| product[(at / d, at % d)]).collect();
        Some(Self { config, turned, values, axes, all })
    }

    fn solve(&self, (columns, values): (&[u32], &[f64])) -> Vec<f64> {
        let (d, n, a) = (self.config.factors, columns.len(), self.config.unobserved());
        let ridge = self.config.ridge * (n as f64 + a * self.all as f64);
        let inverse: Vec<f64> = self.values.iter().map(|value| 1.0 / (value + ridge)).collect();
        let row = |at: usize| &self.turned[columns[at] as usize * d..][..d];
        let scaled: Vec<f64> = (0..n).flat_map(|at| row(at).iter().zip(&inverse).map(|(z, d)| z * d)).collect();
        let mut matrix = vec![0.0; n * n];
        for i in 0..n {
            (0..=i).for_each(|j| matrix[i * n + j] = (1.0 - a) * dot(&scaled[i * d..(i + 1) * d], row(j)));
            matrix[i * n + i] += 1.0;
        }
        let mut weights = values.to_vec();
        Cholesky::sturdy(matrix, n).solve(&mut weights);
        let mut turned = vec![0.0; d];
        for (z, weight) in scaled.chunks_exact(d).zip(&weights) {
            turned.iter_mut().zip(z).for_each(|(sum, z)| *sum += weight * z);
        }
        self.axes.chunks_exact(d).map(|axis| dot(axis, &turned)).collect()
    }
}

fn mean(rows: &Sparse) -> f64 {
    rows.values.iter().sum::<f64>() / rows.values.len().max(1) as f64
}

/// A factorisation of both domains side by side, source items first: a newcomer is folded in from source items and scored on target items.
impl Bridge for Factors {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let sources = self.offsets.len() - scores.len();
        let beside = person.revealed.0.iter().map(|&item| item + sources as u32);
        let columns: Vec<u32> = person.source.0.iter().copied().chain(beside).collect();
        let x = self.fold((&columns, &[person.source.1, person.revealed.1].concat()));
        let d = self.config.factors;
        let rows = self.items[sources * d..].chunks_exact(d).zip(&self.offsets[sources..]);
        scores.iter_mut().zip(rows).for_each(|(score, (y, offset))| *score = offset + dot(&x, y));
    }

    fn parameters(&self) -> usize {
        self.items.len() + self.offsets.len()
    }
}
