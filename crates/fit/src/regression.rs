//! Empirical-Bayes linear regression: every user has weights of their own on the features of items, drawn around what is known of them.
//!
//! In units of the ratings' standard deviation around their mean μ:
//!
//! `r_ui = x_i · w_u + ε`, `ε ~ N(0, σ²)`, `w_u ~ N(B d_u, Σ)`.
//!
//! B, Σ and σ² by EM over the users who rate: `A_u = X_uᵀ X_u / σ² + Σ⁻¹`, `ŵ_u = A_u⁻¹ (X_uᵀ r / σ² + Σ⁻¹ B d_u)`; B is the ridge regression of ŵ on d,
//! `Σ = mean((ŵ - B d)(ŵ - B d)ᵀ + A_u⁻¹)`, `σ² = mean((r - x · ŵ)² + xᵀ A_u⁻¹ x)`. This is the linear ideal of a meta-learned start: the prior is learned, a user costs one solve.
//!
//! For clicks ([`Link::Logistic`]) `P(r = 1) = 1 / (1 + exp(-x · w_u))`, with no units and no σ²: ŵ is the mode, found by Newton's method, and `A_u` the curvature there (Laplace).
//!
//! Two additions, each optional:
//!
//! - **set features** beside `d_u`: `Σ_{j in S} t_j / sqrt(10 |S|)` and `ln(1 + |S|) - 3` of the rated items S, t_j a vector of the item such as its loadings; in each sweep every user shows a
//!   part of what they rated, of another size each time. Which items somebody rates says something before the ratings do.
//! - a **kernel** of what is left over: `K_ij = Σ_u e_ui e_uj / sqrt((n_i + n_0) (n_j + n_0))` without its diagonal, e the leave-one-out residuals of the users fitted to; its largest eigenvalues
//!   with their vectors are further features, of weight ρ and with a prior around 0. Sequels and directors, which few factors miss.
//!
//! EM fits the users it sees ever closer while factors that were fitted to the same users are its features, so that it gets worse for others after a few sweeps: who can judge, chooses the sweep.
//!
//! # References
//! Y. Koren, R. Bell, *Advances in Collaborative Filtering*, 2011 (implicit sets and neighbours beside factors); C. E. Rasmussen, C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, chapter 2.

mod kernel;
mod weights;

use rayon::prelude::*;

pub use self::weights::Weights;
use crate::fold_in::{LEAST_NOISE, add_outer, units};
use crate::random::normal;
use crate::{Cholesky, Ratings, Ridge, Sparse};

/// What a linear function of the features is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// The rating's mean.
    #[default]
    Identity,
    /// The logit of a click, of labels 0 and 1.
    Logistic,
}

/// Steps of Newton's method for a user's weights; each is guarded by none, since a prior keeps them near.
const NEWTON: usize = 6;

/// Settings of [`Regression`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegressionConfig {
    /// What is predicted.
    pub link: Link,
    /// Mean and unit of the ratings, where these are known; else those of the ratings that are fitted to, and 0 and 1 for clicks.
    pub units: Option<(f64, f64)>,
    /// Sweeps of EM where nobody judges which are enough.
    pub sweeps: usize,
    /// Penalty of the regression of weights on what is known of a user.
    pub people_penalty: f64,
    /// Whether there are set features.
    pub sets: bool,
    /// Eigenvectors of the kernel; 0, or for clicks: none.
    pub kernel_rank: usize,
    /// n_0: ratings that are added to those of each item, which draws what few say to 0.
    pub kernel_shrink: f64,
    /// ρ.
    pub kernel_weight: f64,
}

impl Default for RegressionConfig {
    fn default() -> Self {
        Self {
            link: Link::Identity,
            units: None,
            sweeps: 6,
            people_penalty: 100.0,
            sets: false,
            kernel_rank: 0,
            kernel_shrink: 100.0,
            kernel_weight: 0.5,
        }
    }
}

impl RegressionConfig {
    /// With both additions.
    #[must_use]
    pub fn plus() -> Self {
        Self { sets: true, kernel_rank: 128, ..Self::default() }
    }
}

/// Features of items.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[items, m]`, in units of the ratings' standard deviation.
    pub values: Vec<f64>,
    /// The one that begins with weight 1: the item's level.
    pub level: usize,
    /// What is added to the noise of an item's ratings, `[items]`.
    pub more_noise: Vec<f64>,
    /// Where σ² begins.
    pub noise: f64,
    /// t, `[items, p]`, for set features; 0 for an item that nobody has rated.
    pub sets: Vec<f64>,
}

/// An item, as one that adapts sees it.
#[derive(Clone, Copy, Debug)]
pub struct ItemView<'a> {
    /// x.
    pub features: &'a [f64],
    /// What is added to the noise of its ratings.
    pub more_noise: f64,
    /// t; empty for an item that nobody has rated.
    pub set: &'a [f64],
}

/// What tells how good a fit is: its loss for users that it has not seen.
pub type Loss<'a> = &'a (dyn Fn(&Regression) -> f64 + Sync);

/// How many of a user's ratings a training sweep shows for set features; [`usize::MAX`]: all.
const SHOWN: [usize; 9] = [0, 1, 3, 5, 10, 20, 30, 50, usize::MAX];
/// Sweeps of EM at most, where somebody judges.
pub const MOST_SWEEPS: usize = 12;
/// Users whose sums are added up together.
const CHUNK: usize = 64;

/// A fitted regression.
#[derive(Clone, Debug)]
pub struct Regression {
    /// What is predicted.
    pub link: Link,
    /// μ.
    pub mean: f64,
    /// Standard deviation of the ratings: the unit of everything below.
    pub scale: f64,
    /// Number m of features, with those of the kernel.
    pub width: usize,
    /// The first so many of them, without those of the kernel.
    pub core: usize,
    /// `[items, m]`.
    pub features: Vec<f64>,
    /// What is added to the noise of an item's ratings, `[items]`.
    pub more_noise: Vec<f64>,
    /// B, `[people columns + set features, m]`.
    pub people: Vec<f64>,
    /// Σ of the core, `[core, core]`; the features of the kernel are independent of it and of each other, with variance 1.
    pub covariance: Vec<f64>,
    /// Σ⁻¹.
    precision: Vec<f64>,
    /// σ².
    pub noise: f64,
    /// t, `[items, factors]`; empty without set features. 0 for an item that nobody rated.
    pub sets: Vec<f64>,
    /// Number of set factors.
    pub set_factors: usize,
    /// Columns of what is known of a user, before the set features.
    pub people_width: usize,
    /// Sweeps of EM that led here.
    pub sweeps: usize,
}

impl Regression {
    /// Fits to ratings, of which there is at least one.
    #[must_use]
    pub fn fit(ratings: &Ratings, features: Features, config: &RegressionConfig, loss: Option<Loss<'_>>) -> Self {
        let Ratings { rated, people, .. } = ratings;
        let (mean, scale) = config.units.unwrap_or_else(|| match config.link {
            Link::Identity => units(rated),
            Link::Logistic => (0.0, 1.0),
        });
        let (users, items) = (rated.len(), rated.width);
        let Features { values, level, more_noise, noise, sets } = features;
        let m = values.len() / items.max(1);
        let (sets, set_factors) = if config.sets { (sets.clone(), sets.len() / items.max(1)) } else { (Vec::new(), 0) };
        let width = people.width + if set_factors > 0 { set_factors + 1 } else { 0 };
        let unit = |value: f64| (0..m * m).map(|at| if at / m == at % m { value } else { 0.0 }).collect::<Vec<f64>>();
        let mut fitted = Self {
            link: config.link,
            mean,
            scale,
            width: m,
            core: m,
            features: values,
            more_noise,
            people: (0..width * m).map(|at| if at == level { 1.0 } else { 0.0 }).collect(),
            covariance: unit(0.1),
            precision: unit(10.0),
            noise,
            sets,
            set_factors,
            people_width: people.width,
            sweeps: 0,
        };
        let mut best: Option<(f64, Self)> = None;
        let most = if loss.is_some() { MOST_SWEEPS } else { config.sweeps };
        for sweep in 0..most {
            fitted.sweep(rated, &fitted.known(rated, people, sweep), users, config);
            if let Some(loss) = loss {
                let value = loss(&fitted);
                if best.as_ref().is_none_or(|(lowest, _)| value < *lowest) {
                    best = Some((value, fitted.clone()));
                } else {
                    break;
                }
            }
        }
        let mut fitted = best.map_or(fitted, |(_, best)| best);
        // What clicks leave over is no residual of this kind.
        if config.kernel_rank > 0 && config.link == Link::Identity {
            fitted.add_kernel(rated, people, config);
        }
        fitted
    }

    /// One sweep of EM.
    fn sweep(&mut self, rated: &Sparse, known: &Sparse, users: usize, config: &RegressionConfig) {
        let (m, width) = (self.width, known.width);
        let sums: Vec<(Vec<f64>, Vec<f64>, f64)> = (0..users.div_ceil(CHUNK))
            .into_par_iter()
            .map(|chunk| self.expect(rated, known, chunk * CHUNK..((chunk + 1) * CHUNK).min(users)))
            .collect();
        let weights: Vec<f64> = sums.iter().flat_map(|(weights, ..)| weights).copied().collect();
        let penalties = (0..width).map(|c| if c == 0 { 1e-6 } else { config.people_penalty }).collect();
        self.people = Ridge::new(known, vec![1.0; users], penalties).solve(&weights, m, &self.people);
        let mut covariance = vec![0.0; m * m];
        sums.iter().for_each(|(_, v, _)| covariance.iter_mut().zip(v).for_each(|(sum, v)| *sum += v));
        for u in 0..users {
            let prior = self.prior_with(known, u);
            let rest: Vec<f64> = weights[u * m..][..m].iter().zip(prior).map(|(w, p)| w - p).collect();
            add_outer(&mut covariance, &rest, 1.0);
        }
        self.set_covariance(covariance.iter().map(|x| x / users as f64).collect());
        if self.link == Link::Identity {
            self.noise = (sums.iter().map(|(.., rest)| rest).sum::<f64>() / rated.values.len() as f64).max(LEAST_NOISE);
        }
        self.sweeps += 1;
    }

    /// One without items, from what was kept of it: the link with `(μ, scale, σ²)`, B with the width of people, the [factor](Self::factor) of Σ, `(core, m)` and the number of set factors.
    #[must_use]
    pub fn restored(
        (link, mean, scale, noise): (Link, f64, f64, f64),
        (people, people_width): (Vec<f64>, usize),
        factor: &[f64],
        (core, width): (usize, usize),
        set_factors: usize,
    ) -> Self {
        let mut restored = Self {
            link,
            mean,
            scale,
            width,
            core,
            features: Vec::new(),
            more_noise: Vec::new(),
            people,
            covariance: Vec::new(),
            precision: Vec::new(),
            noise,
            sets: Vec::new(),
            set_factors,
            people_width,
            sweeps: 0,
        };
        let row = |i: usize| &factor[i * core..=i * core + i];
        let dot = |(i, j): (usize, usize)| row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>();
        restored.set_covariance((0..core * core).map(|at| dot((at / core, at % core))).collect());
        restored
    }

    /// L of `Σ = L Lᵀ`, `[core, core]`: what is kept of Σ, since whatever becomes of it in storage it is that of a covariance.
    #[must_use]
    pub fn factor(&self) -> Vec<f64> {
        let m = self.core;
        let mut covariance = self.covariance.clone();
        (0..m).for_each(|i| covariance[i * m + i] += self.least());
        Cholesky::sturdy(covariance, m).lower()
    }

    /// What is added to the diagonal of Σ so that features in which no user differs, or which say the same, have an inverse.
    fn least(&self) -> f64 {
        let m = self.core;
        1e-9 * (0..m).map(|i| self.covariance[i * m + i]).fold(1e-9, f64::max)
    }

    /// Σ from its lower half, with its inverse.
    fn set_covariance(&mut self, mut covariance: Vec<f64>) {
        let m = self.core;
        for i in 0..m {
            for j in 0..i {
                covariance[j * m + i] = covariance[i * m + j];
            }
        }
        self.covariance = covariance;
        let mut factored = self.covariance.clone();
        (0..m).for_each(|i| factored[i * m + i] += self.least());
        self.precision = Cholesky::sturdy(factored, m).inverse();
    }

    /// What is known of each user: `people`, and features of a part of the items they rated.
    fn known(&self, rated: &Sparse, people: &Sparse, sweep: usize) -> Sparse {
        let mut known = Sparse::new(self.people.len() / self.width);
        for u in 0..rated.len() {
            let items = rated.row(u).0;
            let mut order: Vec<usize> = (0..items.len()).collect();
            let shown = SHOWN[(u + sweep) % SHOWN.len()];
            if self.set_factors > 0 && shown < items.len() {
                order.sort_by_cached_key(|&at| (normal(1, u as u64, at as u64) * 1e9) as i64);
                order.truncate(shown);
            }
            let (columns, values) = people.row(u);
            let of_set = self.set_features(order.iter().map(|&at| self.set(items[at] as usize)));
            let of_set = of_set.into_iter().enumerate().map(|(k, x)| ((self.people_width + k) as u32, x));
            known.push(columns.iter().copied().zip(values.iter().copied()).chain(of_set));
        }
        known
    }

    /// Features of a set of rated items, of which `sets` are t; none where there are no set factors. An item that nobody has rated does not count.
    fn set_features<'a>(&self, sets: impl IntoIterator<Item = &'a [f64]>) -> Vec<f64> {
        let p = self.set_factors;
        if p == 0 {
            return Vec::new();
        }
        let (mut features, mut count) = (vec![0.0; p + 1], 0);
        for t in sets.into_iter().filter(|t| t.iter().any(|x| *x != 0.0)) {
            count += 1;
            features.iter_mut().zip(t).for_each(|(sum, x)| *sum += x);
        }
        let unit = (10.0 * f64::from(count.max(1))).sqrt();
        features[..p].iter_mut().for_each(|x| *x /= unit);
        features[p] = f64::from(count).ln_1p() - 3.0;
        features
    }

    /// `B d` of a row of `known`.
    fn prior_with(&self, known: &Sparse, u: usize) -> Vec<f64> {
        let mut prior = vec![0.0; self.width];
        known.times(u, &self.people, &mut prior);
        prior
    }

    /// The E-step of some users: their weights, the sum of their covariances (lower half), and the sum of `(r - x · ŵ)² + xᵀ V x`.
    fn expect(&self, rated: &Sparse, known_rows: &Sparse, users: std::ops::Range<usize>) -> (Vec<f64>, Vec<f64>, f64) {
        let m = self.width;
        let (mut weights, mut covariance, mut rest) = (Vec::new(), vec![0.0; m * m], 0.0);
        for u in users {
            let (columns, values) = rated.row(u);
            if self.link == Link::Logistic {
                let known: Vec<_> = columns.iter().zip(values).map(|(&i, &r)| (self.item(i as usize), r)).collect();
                let (mean, factor) = self.mode(&self.prior_with(known_rows, u), &known);
                covariance.iter_mut().zip(factor.inverse()).for_each(|(sum, v)| *sum += v);
                weights.extend(mean);
                continue;
            }
            // S = Σ x xᵀ and h = Σ x r.
            let (mut s, mut h, mut squares) = (vec![0.0; m * m], vec![0.0; m], 0.0);
            for (&i, r) in columns.iter().zip(values) {
                let (x, y) = (self.item(i as usize).features, (r - self.mean) / self.scale);
                h.iter_mut().zip(x).for_each(|(sum, x)| *sum += y * x);
                add_outer(&mut s, x, 1.0);
                squares += y * y;
            }
            let mut mean = self.through(&self.precision, &self.prior_with(known_rows, u));
            mean.iter_mut().zip(&h).for_each(|(sum, h)| *sum += h / self.noise);
            let precision = s.iter().zip(&self.precision).map(|(s, p)| s / self.noise + p).collect();
            let factor = Cholesky::sturdy(precision, m);
            factor.solve(&mut mean);
            let inverse = factor.inverse();
            covariance.iter_mut().zip(&inverse).for_each(|(sum, v)| *sum += v);
            // Σ r² - 2 h · w + wᵀ S w + tr(S V), of the lower half of S.
            rest += squares;
            for i in 0..m {
                let row = i * m..i * m + i;
                let twice: f64 = s[row.clone()].iter().zip(&mean).zip(&inverse[row]).map(|((s, w), v)| s * (mean[i] * w + v)).sum();
                rest += 2.0 * twice + s[i * m + i] * (mean[i] * mean[i] + inverse[i * m + i]) - 2.0 * h[i] * mean[i];
            }
            weights.extend(mean);
        }
        (weights, covariance, rest)
    }

    /// An item that was fitted to.
    #[must_use]
    pub fn item(&self, i: usize) -> ItemView<'_> {
        ItemView { features: &self.features[i * self.width..][..self.width], more_noise: self.more_noise[i], set: self.set(i) }
    }

    fn set(&self, i: usize) -> &[f64] {
        &self.sets[i * self.set_factors..][..self.set_factors]
    }
}
