//! The weights of one user: the solve that adapts.

use super::{ItemView, Link, NEWTON, Regression};
use crate::Cholesky;
use crate::cholesky::dot;
use crate::fold_in::add_outer;

/// The weights of one user after some ratings.
#[derive(Clone, Debug)]
pub struct Weights {
    /// ŵ, `[m]`.
    pub mean: Vec<f64>,
    /// What tells their covariance.
    spread: Spread,
}

#[derive(Clone, Debug)]
enum Spread {
    /// The factor of the precision A.
    Precision(Cholesky),
    /// `Σ - Σ Xᵀ C⁻¹ X Σ`: the factor of C and `Σ Xᵀ`, `[ratings, m]`.
    Rows(Cholesky, Vec<f64>),
}

impl Regression {
    /// The mode of the weights for clicks, with the factor of the curvature there.
    pub(super) fn mode(&self, prior: &[f64], rated: &[(ItemView<'_>, f64)]) -> (Vec<f64>, Cholesky) {
        let mut mean = prior.to_vec();
        let mut found = None;
        for _ in 0..NEWTON {
            let m = self.width;
            let mut a = self.prior_precision();
            let mut b = self.through(&self.precision, prior);
            for (ItemView { features: x, .. }, r) in rated {
                let logit: f64 = x.iter().zip(&mean).map(|(x, w)| x * w).sum();
                let p = 1.0 / (1.0 + (-logit).exp());
                let weight = (p * (1.0 - p)).max(1e-6);
                // The response that a weighted least-squares step has: weight times (logit + (r - p) / weight).
                b.iter_mut().zip(*x).for_each(|(sum, x)| *sum += (weight * logit + r - p) * x);
                add_outer(&mut a, x, weight);
            }
            let factor = Cholesky::sturdy(a, m);
            factor.solve(&mut b);
            mean = b;
            found = Some(factor);
        }
        (mean, found.expect("at least one step"))
    }

    /// Σ⁻¹ of all features, `[m, m]`.
    fn prior_precision(&self) -> Vec<f64> {
        let m = self.width;
        let mut a = vec![0.0; m * m];
        (0..m).for_each(|i| a[i * m + i] = 1.0);
        for (i, row) in self.precision.chunks_exact(self.core).enumerate() {
            a[i * m..i * m + self.core].copy_from_slice(row);
        }
        a
    }

    pub(super) fn primal<'a>(&self, prior: &[f64], rated: impl Iterator<Item = (ItemView<'a>, f64)>) -> (Vec<f64>, Cholesky) {
        let m = self.width;
        let mut a = self.prior_precision();
        let mut mean = self.through(&self.precision, prior);
        for (ItemView { features: x, more_noise, .. }, r) in rated {
            let weight = 1.0 / (self.noise + more_noise);
            let y = (r - self.mean) / self.scale;
            mean.iter_mut().zip(x).for_each(|(sum, x)| *sum += weight * y * x);
            add_outer(&mut a, x, weight);
        }
        let factor = Cholesky::sturdy(a, m);
        factor.solve(&mut mean);
        (mean, factor)
    }

    /// A matrix of the core times a vector, which is 1 on the features of the kernel.
    pub(super) fn through(&self, core: &[f64], x: &[f64]) -> Vec<f64> {
        let of_core = core.chunks_exact(self.core).map(|row| dot(row, &x[..self.core]));
        of_core.chain(x[self.core..].iter().copied()).collect()
    }

    /// Mean of a user's weights before any rating: B d, of what is known of the user and of the items that were rated.
    #[must_use]
    pub fn prior(&self, people: (&[u32], &[f64]), rated: &[(ItemView<'_>, f64)]) -> Vec<f64> {
        let mut prior = vec![0.0; self.width];
        let mut add = |row: usize, x: f64| prior.iter_mut().zip(&self.people[row * self.width..]).for_each(|(sum, b)| *sum += x * b);
        people.0.iter().zip(people.1).for_each(|(&c, &x)| add(c as usize, x));
        let of_set = self.set_features(rated.iter().map(|(item, _)| item.set));
        of_set.into_iter().enumerate().for_each(|(k, x)| add(self.people_width + k, x));
        prior
    }

    /// The weights of a user with a prior mean, after ratings of some items. Few ratings are solved for by rows, many by features: the same either way.
    #[must_use]
    pub fn weights(&self, prior: &[f64], rated: &[(ItemView<'_>, f64)]) -> Weights {
        let (m, k) = (self.width, rated.len());
        if self.link == Link::Logistic {
            let (mean, factor) = self.mode(prior, rated);
            return Weights { mean, spread: Spread::Precision(factor) };
        }
        if k >= m {
            let (mean, factor) = self.primal(prior, rated.iter().copied());
            return Weights { mean, spread: Spread::Precision(factor) };
        }
        // Σ xᵀ of each rating, then C = X Σ Xᵀ + noise.
        let mut spread = Vec::with_capacity(k * m);
        for (item, _) in rated {
            spread.extend(self.through(&self.covariance, item.features));
        }
        let (mut c, mut alpha) = (vec![0.0; k * k], vec![0.0; k]);
        for (a, (ItemView { features: x, more_noise, .. }, rating)) in rated.iter().enumerate() {
            for b in 0..=a {
                c[a * k + b] = dot(x, &spread[b * m..(b + 1) * m]);
            }
            c[a * k + a] += self.noise + more_noise;
            alpha[a] = (rating - self.mean) / self.scale - dot(x, prior);
        }
        let factor = Cholesky::sturdy(c, k);
        factor.solve(&mut alpha);
        let mut mean = prior.to_vec();
        for (alpha, row) in alpha.iter().zip(spread.chunks_exact(m)) {
            mean.iter_mut().zip(row).for_each(|(sum, s)| *sum += alpha * s);
        }
        Weights { mean, spread: Spread::Rows(factor, spread) }
    }

    /// The expected rating of an item with features `x`.
    #[must_use]
    pub fn rating(&self, x: &[f64], weights: &[f64]) -> f64 {
        self.mean + self.scale * dot(x, weights)
    }

    /// The variance of that rating, in squared units of ratings; `more` is what is added to the noise of the item.
    #[must_use]
    pub fn variance(&self, x: &[f64], more: f64, weights: &Weights) -> f64 {
        let of_weights = match &weights.spread {
            Spread::Precision(factor) => factor.norm(x),
            Spread::Rows(factor, spread) => {
                let cross: Vec<f64> = spread.chunks_exact(self.width).map(|row| row.iter().zip(x).map(|(s, x)| s * x).sum()).collect();
                self.through(&self.covariance, x).iter().zip(x).map(|(s, x)| s * x).sum::<f64>() - factor.norm(&cross)
            }
        };
        self.scale.powi(2) * (self.noise + more + of_weights.max(0.0))
    }
}
