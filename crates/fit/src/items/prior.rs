//! What an item's vector is drawn around, and how strongly.
//!
//! `(b, q)_i ~ N(C c_i, Σ)`, `r_ui = b_i + q_i · z_u + ε`, `ε ~ N(0, σ²)`, with `z_u ~ N(z̄_u, V_u)` given. C, Σ and σ² by EM over the items with ratings: `S_i = Σ_u E[(1, z)(1, z)ᵀ]`,
//! `(b, q)_i = (S_i + R)⁻¹ (Σ_u (1, z̄) r + R C c_i)`, `R = σ² Σ⁻¹`; C is the ridge regression of these on content, an item of n ratings weighing `n / (n + n_0)`;
//! `Σ = mean((b, q - C c)(b, q - C c)ᵀ + σ² (S + R)⁻¹)`, `σ² = mean E[(r - b - q · z)²]`. R counts in ratings: that much is a prior worth.
//!
//! Beside content there can be who rated it: `Σ_u (z̄_u - m) / s / (k + 10)` of the k raters that are shown, m and s mean and root mean square over users; in each sweep every item shows a part of its raters, of another size
//! each time. Who rates an item says something before the ratings do.

use rayon::prelude::*;

use super::{Taste, Tastes};
use crate::fold_in::{LEAST_NOISE, add_outer, with_one};
use crate::random::normal;
use crate::{Cholesky, FoldIn, Ridge, Row, Sparse};

/// How many raters an item shows in a sweep.
const SHOWN: [usize; 9] = [0, 1, 3, 5, 10, 20, 30, 50, usize::MAX];
/// What is added to the number of raters.
const RATERS: f64 = 10.0;
/// Where the diagonal of Σ begins.
const START: f64 = 0.1;

/// Settings of [`ItemPrior`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ItemPriorConfig {
    /// n_0: ratings at which an item counts half in the regression on content.
    pub content_rows: f64,
    /// Penalty of content.
    pub content_penalty: f64,
    /// Penalty of the raters' part; none: they are not read.
    pub rater_penalty: Option<f64>,
    /// Sweeps of EM.
    pub sweeps: usize,
}

/// A fitted prior.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemPrior {
    /// C, `[1 + content columns, 1 + d]`, then d rows of the raters where they are read.
    pub weights: Vec<f64>,
    /// R, `[1 + d, 1 + d]`.
    pub rows: Vec<f64>,
}

/// Sums over the ratings of one item.
struct Sums {
    /// S, its lower half.
    moments: Vec<f64>,
    /// `Σ (1, z̄) r`.
    products: Vec<f64>,
    squares: f64,
}

impl Sums {
    fn new<'a>(d: usize, rated: impl Iterator<Item = (&'a Taste, f64)>) -> Self {
        let m = d + 1;
        let mut sums = Self { moments: vec![0.0; m * m], products: vec![0.0; m], squares: 0.0 };
        let mut z = vec![1.0; m];
        for ((mean, covariance), r) in rated {
            z[1..].copy_from_slice(mean);
            sums.squares += r * r;
            sums.products.iter_mut().zip(&z).for_each(|(sum, z)| *sum += r * z);
            add_outer(&mut sums.moments, &z, 1.0);
            for k in 0..d {
                sums.moments[(k + 1) * m + 1..(k + 1) * m + k + 2].iter_mut().zip(&covariance[k * d..]).for_each(|(a, v)| *a += v);
            }
        }
        sums
    }

    /// `(b, q)` from a prior, and the factor of `S + R`.
    fn solve(&self, prior: &[f64], rows: &[f64]) -> (Vec<f64>, Cholesky) {
        let m = prior.len();
        let mut item: Vec<f64> =
            rows.chunks_exact(m).zip(&self.products).map(|(row, b)| b + row.iter().zip(prior).map(|(r, p)| r * p).sum::<f64>()).collect();
        let factor = Cholesky::sturdy(self.moments.iter().zip(rows).map(|(s, r)| s + r).collect(), m);
        factor.solve(&mut item);
        (item, factor)
    }

    /// `Σ E[(r - (1, z) · item)²]`, the item with its covariance.
    fn rest(&self, item: &[f64], covariance: &[f64]) -> f64 {
        let m = item.len();
        let at = |i: usize, j: usize| item[i] * item[j] + covariance[i * m + j];
        let second: f64 = (0..m)
            .map(|i| self.moments[i * m + i] * at(i, i) + 2.0 * (0..i).map(|j| self.moments[i * m + j] * at(i, j)).sum::<f64>())
            .sum();
        self.squares - 2.0 * self.products.iter().zip(item).map(|(b, x)| b * x).sum::<f64>() + second
    }
}

impl ItemPrior {
    /// Fits to the ratings of items, `[items, users]`, in units of their standard deviation around their mean, and their content. C and σ² begin at the factorisation's.
    #[must_use]
    pub fn fit((by_item, content): (&Sparse, &Sparse), tastes: &Tastes, fit: &FoldIn, config: &ItemPriorConfig) -> Self {
        let (d, m) = (tastes.width(), tastes.width() + 1);
        let known: Vec<usize> = (0..by_item.len()).filter(|&i| !by_item.row(i).0.is_empty()).collect();
        let rated = |i: usize| by_item.row(i).0.iter().map(|&u| &tastes.users[u as usize]).zip(by_item.row(i).1.iter().copied());
        let sums: Vec<Sums> = known.par_iter().map(|&i| Sums::new(d, rated(i))).collect();
        let total: usize = known.iter().map(|&i| by_item.row(i).0.len()).sum();
        let content = with_one(content);
        let width = content.width + if config.rater_penalty.is_some() { d } else { 0 };
        let penalty = |c: usize| {
            if c == 0 {
                0.0
            } else if c < content.width {
                config.content_penalty
            } else {
                config.rater_penalty.unwrap_or(0.0)
            }
        };
        let penalties: Vec<f64> = (0..width).map(penalty).collect();
        let trust: Vec<f64> = known.iter().map(|&i| by_item.row(i).0.len() as f64).map(|n| n / (n + config.content_rows)).collect();
        let mut noise = fit.noise;
        let mut weights = fit.content.clone();
        weights.resize(width * m, 0.0);
        let mut fitted = Self { weights, rows: (0..m * m).map(|at| if at.is_multiple_of(m + 1) { noise / START } else { 0.0 }).collect() };
        for sweep in 0..config.sweeps {
            let mut design = Sparse::new(width);
            for &i in &known {
                let (columns, values) = content.row(i);
                let raters = if config.rater_penalty.is_some() { tastes.of_raters(&shown(by_item.row(i).0, i, sweep)) } else { Vec::new() };
                let raters = raters.into_iter().enumerate().map(|(k, x)| ((content.width + k) as u32, x));
                design.push(columns.iter().copied().zip(values.iter().copied()).chain(raters));
            }
            let prior = |n: usize, weights: &[f64]| {
                let mut prior = vec![0.0; m];
                design.times(n, weights, &mut prior);
                prior
            };
            let moved: Vec<(Vec<f64>, Vec<f64>, f64)> = (0..known.len())
                .into_par_iter()
                .map(|n| {
                    let (item, factor) = sums[n].solve(&prior(n, &fitted.weights), &fitted.rows);
                    let covariance: Vec<f64> = factor.inverse().iter().map(|x| noise * x).collect();
                    let rest = sums[n].rest(&item, &covariance);
                    (item, covariance, rest)
                })
                .collect();
            let items: Vec<f64> = moved.iter().flat_map(|(item, ..)| item).copied().collect();
            fitted.weights = Ridge::new(&design, trust.clone(), penalties.clone()).solve(&items, m, &fitted.weights);
            let mut covariance = vec![0.0; m * m];
            for (n, (item, own, _)) in moved.iter().enumerate() {
                let rest: Vec<f64> = item.iter().zip(prior(n, &fitted.weights)).map(|(x, p)| x - p).collect();
                add_outer(&mut covariance, &rest, 1.0);
                covariance.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
            }
            // The sum of the items' own is whole, that of the rests is its lower half: only that is read.
            covariance.iter_mut().for_each(|x| *x /= known.len().max(1) as f64);
            let least = 1e-9 * (0..m).map(|i| covariance[i * m + i]).fold(1e-9, f64::max);
            (0..m).for_each(|i| covariance[i * m + i] += least);
            noise = (moved.iter().map(|(.., rest)| rest).sum::<f64>() / total.max(1) as f64).max(LEAST_NOISE);
            fitted.rows = Cholesky::sturdy(covariance, m).inverse().iter().map(|x| noise * x).collect();
        }
        fitted
    }

    /// `(b, q)` of an item with this content and these raters, in the units of the fit.
    pub(super) fn vector(&self, tastes: &Tastes, content: Row<'_>, rated: &[(&Taste, f64)]) -> Vec<f64> {
        let (d, m) = (tastes.width(), tastes.width() + 1);
        let mut prior = self.weights[..m].to_vec();
        let mut add = |row: usize, x: f64| prior.iter_mut().zip(&self.weights[row * m..]).for_each(|(sum, w)| *sum += x * w);
        content.0.iter().zip(content.1).for_each(|(&c, &x)| add(1 + c as usize, x));
        let raters: Vec<&[f64]> = rated.iter().map(|((mean, _), _)| &mean[..]).collect();
        if let Some(first) = tastes.first_of_raters(self) {
            tastes.features(&raters).into_iter().enumerate().for_each(|(k, x)| add(first + k, x));
        }
        if rated.is_empty() { prior } else { Sums::new(d, rated.iter().copied()).solve(&prior, &self.rows).0 }
    }
}

/// The raters that an item shows in a sweep.
fn shown(raters: &[u32], item: usize, sweep: usize) -> Vec<u32> {
    let most = SHOWN[(item + sweep) % SHOWN.len()];
    let mut order: Vec<usize> = (0..raters.len()).collect();
    if most < raters.len() {
        order.sort_by_cached_key(|&at| (normal(1, item as u64, at as u64) * 1e9) as i64);
        order.truncate(most);
    }
    order.into_iter().map(|at| raters[at]).collect()
}

impl Tastes {
    fn of_raters(&self, raters: &[u32]) -> Vec<f64> {
        self.features(&raters.iter().map(|&u| &self.users[u as usize].0[..]).collect::<Vec<_>>())
    }

    /// `Σ (z̄ - m) / s / (k + 10)`.
    fn features(&self, raters: &[&[f64]]) -> Vec<f64> {
        let sum = |k: usize| raters.iter().map(|z| z[k] - self.centre[k]).sum::<f64>();
        (0..self.width()).map(|k| sum(k) / self.units[k] / (raters.len() as f64 + RATERS)).collect()
    }

    /// Row of C where the raters begin, where they are read.
    fn first_of_raters(&self, prior: &ItemPrior) -> Option<usize> {
        let rows = prior.weights.len() / (self.width() + 1);
        (rows > self.content).then_some(self.content)
    }
}
