//! A head for each user by one solve: what the method `bayes_head` serves.
//!
//! `s = x · w_u`, `x = (1, s_base, h)` in the units of the fit, with h what goes into the base's head and s_base what it says; `w_u` is the posterior mean of a [`Regression`] whose prior is the patch's.
//! After k rows `s_base + g_k (x · w_u - s_base)` is served, as weights of a head: `W + g (W_u - W)`. Without rows that is the prior's head.
//!
//! Exact and deterministic: the same regression that the method solves, in double precision. One system of `min(k, 2 + d)` equations, and of `2 + d` six times for clicks.

use std::sync::Arc;

use acclimate_fit::{ItemView, Link, Regression, SIZES, share};

use super::error::{bounded, sized};
use super::pass::labels_fit;
use crate::{AdaptError, Linear, Loss, MOST_ROWS, Personal};

/// Above this a number is none that a network says: squares of it times a precision still are numbers.
const LARGEST: f32 = 1e9;

/// What a patch of `bayes_head` keeps, by the names of its parameters.
#[derive(Clone, Copy, Debug)]
pub struct HeadParams<'a> {
    /// μ, scale, σ², and 1 where anything was solved for: `[4]`.
    pub numbers: &'a [f32],
    /// g at each of [`SIZES`].
    pub shares: &'a [f32],
    /// m, `[2 + d]`.
    pub prior: &'a [f32],
    /// L of `Σ = L Lᵀ`, `[2 + d, 2 + d]`, row-major.
    pub factor: &'a [f32],
}

/// Solves for heads.
#[derive(Clone, Debug)]
pub struct HeadSolver {
    /// None where nothing was solved for: the base's head stays.
    fit: Option<Regression>,
    shares: Vec<f64>,
    loss: Loss,
    d: usize,
    weight: Vec<f64>,
    bias: f64,
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

impl HeadSolver {
    /// From the head of the base and what the patch keeps; done once for a patch, at the cost of one inverse of `2 + d` rows.
    ///
    /// # Errors
    /// Sizes that do not fit, and values that are no numbers.
    pub fn new(loss: Loss, head: &Linear, params: HeadParams<'_>) -> Result<Self, AdaptError> {
        let (d, m) = (head.d_in, head.d_in.saturating_add(2));
        sized("outputs of the head", head.d_out, 1)?;
        sized("weights of the head", head.weight.len(), d)?;
        sized("biases of the head", head.bias.len(), 1)?;
        sized("numbers of the patch", params.numbers.len(), 4)?;
        sized("shares of the patch", params.shares.len(), SIZES.len())?;
        sized("prior of the patch", params.prior.len(), m)?;
        sized("factor of the patch", params.factor.len(), m.saturating_mul(m))?;
        let all = [
            ("weights of the head", &head.weight[..]),
            ("biases of the head", &head.bias[..]),
            ("numbers of the patch", params.numbers),
            ("shares of the patch", params.shares),
            ("prior of the patch", params.prior),
            ("factor of the patch", params.factor),
        ];
        all.into_iter().try_for_each(|(what, values)| bounded(what, values, LARGEST))?;
        let link = match loss {
            Loss::Logistic => Link::Logistic,
            Loss::SquaredError => Link::Identity,
        };
        let numbers = wide(params.numbers);
        let [scale, noise] = [numbers[1], numbers[2]].map(|x| x.abs().max(1e-6));
        let restored = || Regression::restored((link, numbers[0], scale, noise), (wide(params.prior), 1), &wide(params.factor), (m, m), 0);
        Ok(Self {
            fit: (numbers[3] != 0.0).then(restored),
            shares: wide(params.shares),
            loss,
            d,
            weight: wide(&head.weight),
            bias: f64::from(head.bias[0]),
        })
    }

    /// Bytes that it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // Σ and its inverse, in double precision.
        let fit =
            self.fit.as_ref().map_or(0, |fit| fit.features.len() + fit.more_noise.len() + fit.people.len() + 2 * fit.covariance.len());
        size_of::<Self>() + 8 * (fit + self.shares.len() + self.weight.len())
    }

    /// The head of a user after some rows.
    ///
    /// # Shapes
    /// `states [n, d]`, what goes into the base's head in a pass of the base as it is; `labels [n]`, in units of the label.
    ///
    /// # Errors
    /// Sizes that do not fit, too many rows, and values that are no numbers.
    pub fn solve(&self, states: &[f32], labels: &[f32]) -> Result<Personal, AdaptError> {
        if labels.len() > MOST_ROWS {
            return Err(AdaptError::TooMany { found: labels.len(), most: MOST_ROWS });
        }
        sized("hidden states of support rows", states.len(), labels.len() * self.d)?;
        bounded("hidden states of support rows", states, LARGEST)?;
        bounded("labels", labels, LARGEST)?;
        labels_fit(self.loss, labels)?;
        let Some(fit) = &self.fit else { return Ok(Personal::default()) };
        let (m, mean, scale) = (self.d + 2, fit.mean, fit.scale);
        let mut features = Vec::with_capacity(labels.len() * m);
        for row in 0..labels.len() {
            let h = &states[row * self.d..][..self.d];
            let said = self.bias + h.iter().zip(&self.weight).map(|(h, w)| f64::from(*h) * w).sum::<f64>();
            features.extend([1.0, (said - mean) / scale].into_iter().chain(h.iter().map(|h| f64::from(*h))));
        }
        let known: Vec<(ItemView<'_>, f64)> = features
            .chunks_exact(m)
            .zip(labels)
            .map(|(x, label)| (ItemView { features: x, more_noise: 0.0, set: &[] }, f64::from(*label)))
            .collect();
        let (w, g) = (fit.weights(&fit.prior((&[0], &[1.0]), &[]), &known).mean, share(&self.shares, labels.len()));
        // μ + scale (w_0 + w_1 (s - μ) / scale + w_h · h), s = W h + b, mixed with s.
        let of_weight = |(weight, w_h): (&f64, &f64)| (weight + g * (w[1] * weight + scale * w_h - weight)) as f32;
        let weight: Vec<f32> = self.weight.iter().zip(&w[2..]).map(of_weight).collect();
        let bias = (self.bias + g * (mean + scale * w[0] + w[1] * (self.bias - mean) - self.bias)) as f32;
        if !(bias.is_finite() && weight.iter().all(|x| x.is_finite())) {
            return Err(AdaptError::Diverged { steps: 1 });
        }
        let head = Linear { d_in: self.d, d_out: 1, weight: Arc::new(weight), bias: Arc::new(vec![bias]) };
        Ok(Personal { head: Some(head), ..Personal::default() })
    }
}
