//! Bayesian matrix factorisation whose users are folded in by one solve.
//!
//! In units of the ratings' standard deviation around their mean μ:
//!
//! `r_ui = b_i + q_i · z_u + ε`, `ε ~ N(0, σ²)`, `z_u ~ N(D d_u, I)`, `(b_i, q_i) ~ N(C c_i, σ² diag(1 / λ_b, 1 / λ_q, ..))`,
//!
//! with `d_u` what is known of the user and `c_i` the content of the item, both with a 1 in front. EM: given the items, `z_u` has the posterior
//! `N(A_u⁻¹ (Σ q (r - b) / σ² + D d_u), A_u⁻¹)`, `A_u = I + Σ q qᵀ / σ²`; given those, an item's `(b, q)` is a ridge regression on `(1, z)` with the posterior's
//! covariance added. `D` and `C` are ridge regressions of the users' means and of the items' vectors, refitted in every sweep; an item of n ratings weighs `n / (n + n_0)` in C.
//! An item without a rating has the vector that its content says, and so much more noise as that vector errs by on items with ratings.
//!
//! The variational form keeps the covariance `C_i = (Σ E[(1, z)(1, z)ᵀ] / σ² + T)⁻¹` of an item's vector as well: a user's solve counts `q qᵀ + C_qq` and `q (r - b) - C_qb`, σ² counts what the items
//! do not know, and the prior's precisions T, one for levels, one for the first loading, one for all others, are learned as `1 / mean((b, q - C c)² + diag C_i)`.
//!
//! The first loading starts at 0.36 for every item (it plays the part of the user's level), the others at the leading singular vectors of what levels of items and users leave over, an unrated pair
//! counting as 0: so a fit does not depend on a seed.
//!
//! # References
//! R. Salakhutdinov, A. Mnih, *Probabilistic Matrix Factorization*, NIPS 2007; D. Agarwal, B.-C. Chen, *Regression-based Latent Factor Models*, KDD 2009.

use rayon::prelude::*;

use crate::eigen::leading_of_gram;
use crate::{Cholesky, Ratings, Ridge, Sparse};

/// Settings of [`FoldIn`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldInConfig {
    /// Factors beside the one that plays the user's level.
    pub factors: usize,
    /// Sweeps of EM.
    pub sweeps: usize,
    /// λ_b: ratings at what its content says that are added to an item's level.
    pub level_rows: f64,
    /// λ_q: the same for each loading.
    pub loading_rows: f64,
    /// n_0: ratings at which an item counts half in the regression on content.
    pub content_rows: f64,
    /// Penalty of that regression.
    pub content_penalty: f64,
    /// Penalty of the regression on what is known of users.
    pub people_penalty: f64,
    /// Whether items keep their covariance and λ_b, λ_q are learned.
    pub variational: bool,
}

impl Default for FoldInConfig {
    fn default() -> Self {
        Self {
            factors: 16,
            sweeps: 10,
            level_rows: 2.0,
            loading_rows: 20.0,
            content_rows: 1000.0,
            content_penalty: 5.0,
            people_penalty: 100.0,
            variational: false,
        }
    }
}

/// σ² at least, of ratings with unit variance: ratings that are said exactly, such as equal ones, would let it fall until no precision has a factor.
pub(crate) const LEAST_NOISE: f64 = 1e-6;
/// Standard deviation, in parts of the mean, up to which ratings are all the same but for rounding.
const ROUNDING: f64 = 1e-9;

/// A fitted factorisation.
#[derive(Clone, Debug)]
pub struct FoldIn {
    /// μ.
    pub mean: f64,
    /// Standard deviation of the ratings: the unit of everything below.
    pub scale: f64,
    /// Number of factors d, with the level's.
    pub width: usize,
    /// `(b, q)` of each item, `[items, 1 + d]`.
    pub items: Vec<f64>,
    /// Ratings of each item.
    pub counts: Vec<usize>,
    /// σ².
    pub noise: f64,
    /// What is added to it for an item without ratings.
    pub unseen_noise: f64,
    /// C, `[1 + content columns, 1 + d]`: the first row stands for every item.
    pub content: Vec<f64>,
    /// D, `[people columns, d]`.
    pub people: Vec<f64>,
    /// C_i of the variational form, `[items, 1 + d, 1 + d]`; empty in the other.
    pub covariances: Vec<f64>,
}

/// What a user's ratings say of an item, besides the rating.
#[derive(Clone, Copy, Debug)]
pub struct ItemVector<'a> {
    /// `(b, q)`.
    pub values: &'a [f64],
    /// What is added to the noise of its ratings.
    pub more_noise: f64,
    /// C_i, or empty.
    pub covariance: &'a [f64],
}

/// What is known of a user after some ratings.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// Mean of z.
    pub mean: Vec<f64>,
    /// The factor of its precision.
    pub precision: Cholesky,
}

/// Ratings without the levels of items and of users, the latter shrunk by five ratings.
fn left_over(rated: &Sparse, levels: &[f64], (mean, scale): (f64, f64)) -> Sparse {
    let mut left = Sparse::new(rated.width);
    for u in 0..rated.len() {
        let (items, ratings) = rated.row(u);
        let rest: Vec<f64> = items.iter().zip(ratings).map(|(&i, r)| (r - mean) / scale - levels[i as usize]).collect();
        let user = rest.iter().sum::<f64>() / (rest.len() as f64 + 5.0);
        left.push(items.iter().zip(rest).map(|(&i, x)| (i, x - user)));
    }
    left
}

/// What one M-step says of an item.
struct ItemStep {
    item: Vec<f64>,
    covariance: Vec<f64>,
    /// `Σ (r - b - q · z)²`, expected.
    rest: f64,
}

/// A 1 in front of each row.
pub(crate) fn with_one(rows: &Sparse) -> Sparse {
    let mut with = Sparse::new(rows.width + 1);
    for i in 0..rows.len() {
        let (columns, values) = rows.row(i);
        with.push(std::iter::once((0, 1.0)).chain(columns.iter().map(|c| c + 1).zip(values.iter().copied())));
    }
    with
}

/// Mean and standard deviation of all ratings; 1 in place of a deviation of 0.
pub(crate) fn units(rated: &Sparse) -> (f64, f64) {
    let n = rated.values.len().max(1) as f64;
    let mean = rated.values.iter().sum::<f64>() / n;
    let variance = rated.values.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n;
    (mean, if variance > (ROUNDING * mean).powi(2) { variance.sqrt() } else { 1.0 })
}

/// Adds `x xᵀ times weight` to the lower half of a matrix.
pub(crate) fn add_outer(a: &mut [f64], x: &[f64], weight: f64) {
    let n = x.len();
    for (i, &xi) in x.iter().enumerate() {
        let scaled = weight * xi;
        a[i * n..i * n + i + 1].iter_mut().zip(x).for_each(|(a, x)| *a += scaled * x);
    }
}

impl FoldIn {
    /// Fits to ratings, of which there is at least one.
    #[must_use]
    pub fn fit(ratings: &Ratings, config: &FoldInConfig) -> Self {
        let Ratings { rated, content, people, .. } = ratings;
        let (mean, scale) = units(rated);
        let (users, items, d) = (rated.len(), rated.width, config.factors + 1);
        let by_item = rated.transposed();
        let counts: Vec<usize> = (0..items).map(|i| by_item.row(i).0.len()).collect();
        let content = with_one(content);
        let weights = counts.iter().map(|&n| n as f64 / (n as f64 + config.content_rows)).collect();
        let penalised = |width: usize, penalty: f64| (0..width).map(|c| if c == 0 { 0.0 } else { penalty }).collect();
        let on_content = Ridge::new(&content, weights, penalised(content.width, config.content_penalty));
        let on_people = Ridge::new(people, vec![1.0; users], penalised(people.width, config.people_penalty));
        let first = 0.36;
        let level = |i: usize| {
            let (_, values) = by_item.row(i);
            values.iter().map(|r| (r - mean) / scale).sum::<f64>() / (values.len() as f64 + 10.0)
        };
        let levels: Vec<f64> = (0..items).map(level).collect();
        let found = leading_of_gram(&left_over(rated, &levels, (mean, scale)), config.factors, &vec![0.0; items]);
        let (levels, found, k) = (&levels, &found, found.values.len());
        let start = |i: usize| {
            let loading =
                move |j: usize| if j < k { found.vectors[i * k + j] * (found.values[j].max(0.0) / users as f64).sqrt() } else { 0.0 };
            [levels[i], first].into_iter().chain((0..config.factors).map(loading))
        };
        let mut fitted = Self {
            mean,
            scale,
            width: d,
            items: (0..items).flat_map(start).collect(),
            counts,
            noise: 0.64,
            unseen_noise: 0.0,
            content: vec![0.0; content.width * (d + 1)],
            people: vec![0.0; people.width * d],
            covariances: if config.variational { vec![0.0; items * (d + 1) * (d + 1)] } else { Vec::new() },
        };
        // T, in units of 1 / σ² unless it is learned.
        let mut precisions: Vec<f64> = (0..=d).map(|k| if k == 0 { config.level_rows } else { config.loading_rows }).collect();
        let mut priors: Vec<f64> = (0..items).flat_map(|_| [0.0, first].into_iter().chain(std::iter::repeat_n(0.0, d - 1))).collect();
        for _ in 0..config.sweeps {
            let posteriors: Vec<(Vec<f64>, Vec<f64>)> = (0..users)
                .into_par_iter()
                .map(|u| {
                    let (columns, values) = rated.row(u);
                    let known = columns.iter().zip(values).map(|(&i, &r)| (fitted.item(i as usize), r));
                    let Posterior { mean, precision } = fitted.posterior(&fitted.prior_of(people, u), known);
                    (mean, precision.inverse())
                })
                .collect();
            let means: Vec<f64> = posteriors.iter().flat_map(|(mean, _)| mean).copied().collect();
            fitted.people = on_people.solve(&means, d, &fitted.people);
            let moved: Vec<ItemStep> = (0..items)
                .into_par_iter()
                .map(|i| fitted.item_step(by_item.row(i), &posteriors, &priors[i * (d + 1)..][..=d], &precisions))
                .collect();
            fitted.noise = (moved.iter().map(|step| step.rest).sum::<f64>() / rated.values.len() as f64).max(LEAST_NOISE);
            if config.variational {
                let known: Vec<usize> = (0..items).filter(|&i| fitted.counts[i] > 0).collect();
                let square = |i: usize, k: usize| (moved[i].item[k] - priors[i * (d + 1) + k]).powi(2) + moved[i].covariance[k * (d + 2)];
                let mean = |k: usize| known.iter().map(|&i| square(i, k)).sum::<f64>() / known.len() as f64;
                let others = (2..=d).map(mean).sum::<f64>() / (d.max(2) - 1) as f64;
                precisions = (0..=d).map(|k| 1.0 / (if k < 2 { mean(k) } else { others }).max(1e-9)).collect();
                fitted.covariances = moved.iter().flat_map(|step| step.covariance.iter().copied()).collect();
            }
            fitted.items = moved.into_iter().flat_map(|step| step.item).collect();
            fitted.content = on_content.solve(&fitted.items, d + 1, &fitted.content);
            priors = (0..items).flat_map(|i| fitted.said_by(content.row(i))).collect();
            for i in (0..items).filter(|&i| fitted.counts[i] == 0) {
                fitted.items[i * (d + 1)..][..=d].copy_from_slice(&priors[i * (d + 1)..][..=d]);
                fitted.covariances.iter_mut().skip(i * (d + 1) * (d + 1)).take((d + 1) * (d + 1)).for_each(|x| *x = 0.0);
            }
        }
        // By how much content errs in an item's level.
        let known: Vec<f64> =
            (0..items).filter(|&i| fitted.counts[i] > 0).map(|i| (fitted.items[i * (d + 1)] - priors[i * (d + 1)]).powi(2)).collect();
        fitted.unseen_noise = if config.variational { 1.0 / precisions[0] } else { known.iter().sum::<f64>() / known.len() as f64 };
        fitted
    }

    /// `(b, q)` of one item, and what its ratings leave over.
    fn item_step(&self, rated: (&[u32], &[f64]), posteriors: &[(Vec<f64>, Vec<f64>)], prior: &[f64], precisions: &[f64]) -> ItemStep {
        let (d, m) = (self.width, self.width + 1);
        let (mut a, mut b, mut squares) = (vec![0.0; m * m], vec![0.0; m], 0.0);
        let mut z = vec![1.0; m];
        for (&user, rating) in rated.0.iter().zip(rated.1) {
            let (mean, covariance) = &posteriors[user as usize];
            z[1..].copy_from_slice(mean);
            let y = (rating - self.mean) / self.scale;
            squares += y * y;
            b.iter_mut().zip(&z).for_each(|(b, z)| *b += y * z);
            add_outer(&mut a, &z, 1.0);
            for k in 0..d {
                a[(k + 1) * m + 1..(k + 1) * m + k + 2].iter_mut().zip(&covariance[k * d..]).for_each(|(a, v)| *a += v);
            }
        }
        // In units of 1 / σ².
        let variational = !self.covariances.is_empty();
        let rows = |k: usize| if variational { precisions[k] * self.noise } else { precisions[k] };
        let mut penalised = a.clone();
        let mut item: Vec<f64> = (0..m).map(|k| b[k] + rows(k) * prior[k]).collect();
        (0..m).for_each(|k| penalised[k * m + k] += rows(k));
        let factor = Cholesky::sturdy(penalised, m);
        factor.solve(&mut item);
        let covariance: Vec<f64> = if variational { factor.inverse().iter().map(|x| self.noise * x).collect() } else { Vec::new() };
        // Σ (y - (1, z) · item)² with the covariance: squares - 2 b · item + itemᵀ A item.
        let mut rest = squares;
        for k in 0..m {
            let cross: f64 = a[k * m..k * m + k].iter().zip(&item).map(|(a, x)| a * x).sum();
            rest += item[k] * (2.0 * cross + a[k * m + k] * item[k] - 2.0 * b[k]);
        }
        if variational {
            for k in 0..m {
                let cross: f64 = a[k * m..k * m + k].iter().zip(&covariance[k * m..]).map(|(a, c)| a * c).sum();
                rest += 2.0 * cross + a[k * m + k] * covariance[k * m + k];
            }
        }
        ItemStep { item, covariance, rest }
    }

    /// `(b, q)` of a new item after ratings by some users, of whom mean and covariance of z are known: the M-step of one item, from a prior `(b, q)` that counts as so many ratings in the level and
    /// as so many in each loading. Without ratings it is the prior. For a fit that is not variational.
    #[must_use]
    pub fn folded(
        &self,
        rated: (&[u32], &[f64]),
        users: &[(Vec<f64>, Vec<f64>)],
        prior: &[f64],
        [level_rows, loading_rows]: [f64; 2],
    ) -> Vec<f64> {
        let precisions: Vec<f64> = (0..=self.width).map(|k| if k == 0 { level_rows } else { loading_rows }).collect();
        self.item_step(rated, users, prior, &precisions).item
    }

    /// The same with items as if they were known exactly: what is served, as covariances would be most of what has to be stored.
    #[must_use]
    pub fn without_covariances(self) -> Self {
        Self { covariances: Vec::new(), ..self }
    }

    /// An item that was fitted to.
    #[must_use]
    pub fn item(&self, i: usize) -> ItemVector<'_> {
        let (m, square) = (self.width + 1, (self.width + 1) * (self.width + 1));
        let covariance = if self.covariances.is_empty() { &[][..] } else { &self.covariances[i * square..][..square] };
        let more_noise = if self.counts[i] == 0 { self.unseen_noise } else { 0.0 };
        ItemVector { values: &self.items[i * m..][..m], more_noise, covariance }
    }

    /// `(b, q)` as content says, of a row with a 1 in front.
    #[must_use]
    pub fn said_by(&self, (columns, values): (&[u32], &[f64])) -> Vec<f64> {
        let mut item = vec![0.0; self.width + 1];
        for (&column, value) in columns.iter().zip(values) {
            item.iter_mut().zip(&self.content[column as usize * (self.width + 1)..]).for_each(|(sum, x)| *sum += value * x);
        }
        item
    }

    /// Mean of z before any rating: `D d_u`.
    #[must_use]
    pub fn prior_of(&self, people: &Sparse, user: usize) -> Vec<f64> {
        let mut prior = vec![0.0; self.width];
        people.times(user, &self.people, &mut prior);
        prior
    }

    /// What is known of a user with a prior mean after some ratings.
    #[must_use]
    pub fn posterior<'a>(&self, prior: &[f64], rated: impl IntoIterator<Item = (ItemVector<'a>, f64)>) -> Posterior {
        let d = self.width;
        let mut a = vec![0.0; d * d];
        let mut mean = prior.to_vec();
        (0..d).for_each(|k| a[k * d + k] = 1.0);
        for (ItemVector { values, more_noise, covariance }, rating) in rated {
            let weight = 1.0 / (self.noise + more_noise);
            let (b, q) = (values[0], &values[1..]);
            let rest = weight * ((rating - self.mean) / self.scale - b);
            mean.iter_mut().zip(q).for_each(|(sum, q)| *sum += rest * q);
            add_outer(&mut a, q, weight);
            for (k, row) in covariance.chunks_exact(d + 1).skip(1).enumerate() {
                mean[k] -= weight * row[0];
                a[k * d..k * d + k + 1].iter_mut().zip(&row[1..]).for_each(|(a, c)| *a += weight * c);
            }
        }
        let precision = Cholesky::sturdy(a, d);
        precision.solve(&mut mean);
        Posterior { mean, precision }
    }

    /// The expected rating of an item by a user of whom z is known.
    #[must_use]
    pub fn rating(&self, item: ItemVector<'_>, z: &[f64]) -> f64 {
        let (b, q) = (item.values[0], &item.values[1..]);
        self.mean + self.scale * (b + q.iter().zip(z).map(|(q, z)| q * z).sum::<f64>())
    }

    /// The variance of that rating, `σ² + qᵀ A⁻¹ q` and more for an item without ratings, in squared units of ratings.
    #[must_use]
    pub fn variance(&self, item: ItemVector<'_>, user: &Posterior) -> f64 {
        self.scale.powi(2) * (self.noise + item.more_noise + user.precision.norm(&item.values[1..]))
    }
}
