//! A rate of each user's own: what the method `paml` multiplies the steps of an [`InnerLoop`](crate::InnerLoop) with.
//!
//! h is the mean over the support rows of what the gathered row says of the user. In units of α:
//!
//! - the rate net: `2 σ(w · tanh(h V) + b)`;
//! - similar users: `Σ_j S_j r_j / Σ_j S_j` over the m + 1 users of the memory nearest to h, `S_j = exp(-|h - h_j|² / r²) - exp(-1)` with r the distance of the furthest of these;
//! - the mean of both with a memory that has somebody in it, else the former; not below `least`.
//!
//! Everybody in the memory is looked at: a thousand users are a few microseconds.
//!
//! # References
//! R. Yu et al., *Personalized Adaptive Meta Learning for Cold-start User Preference Prediction*, AAAI 2021.

use std::ops::Range;
use std::sync::Arc;

use super::error::{bounded, sized};
use crate::kernel::dense::{View, product};
use crate::{AdaptError, MOST_ROWS};

/// Where all users are one.
const TINY: f32 = 1e-12;
/// What the furthest counts for, who may be the only one.
const LEAST: f32 = 1e-6;

/// What tells a user's rate.
#[derive(Clone, Debug, PartialEq)]
pub struct UserRate {
    /// Columns of the gathered row that are the user's, d in all.
    pub columns: Vec<Range<usize>>,
    /// V, `[d, width]`, row-major.
    pub hidden: Arc<Vec<f32>>,
    /// w, `[width]`.
    pub weight: Arc<Vec<f32>>,
    /// b.
    pub bias: f32,
    /// `[h_j, r_j]` of the users that have been written, `[users, d + 1]`; empty without a memory.
    pub memory: Arc<Vec<f32>>,
    /// m.
    pub neighbours: usize,
    /// The least rate, in units of α.
    pub least: f32,
}

impl UserRate {
    /// Bytes that it keeps in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.hidden.len() + self.weight.len() + self.memory.len()) + self.columns.len() * size_of::<Range<usize>>()
    }

    /// The rate after some support rows, in units of α: an inner loop's rate is `α` times this.
    ///
    /// # Shapes
    /// `x [n, width]`, gathered rows.
    ///
    /// # Errors
    /// Sizes that do not fit, too many rows, and values that are no numbers.
    pub fn of(&self, x: &[f32], width: usize) -> Result<f32, AdaptError> {
        let n = x.len() / width.max(1);
        if n > MOST_ROWS {
            return Err(AdaptError::TooMany { found: n, most: MOST_ROWS });
        }
        sized("support rows", x.len(), n * width)?;
        bounded("support rows", x, f32::MAX)?;
        if let Some(columns) = self.columns.iter().find(|columns| columns.start > columns.end || columns.end > width) {
            return Err(AdaptError::Size { what: "columns of the user", found: columns.end, expected: width });
        }
        let mut h: Vec<f32> = vec![0.0; self.columns.iter().map(Range::len).sum()];
        for row in x.chunks_exact(width.max(1)) {
            let said = self.columns.iter().flat_map(|columns| &row[columns.clone()]);
            h.iter_mut().zip(said).for_each(|(sum, x)| *sum += x / n as f32);
        }
        let (d, hidden) = (h.len(), self.weight.len());
        sized("hidden weights of the rate net", self.hidden.len(), d * hidden)?;
        sized("memory of users", self.memory.len(), self.memory.len().next_multiple_of(d + 1))?;
        bounded("memory of users", &self.memory, f32::MAX)?;
        let mut rate = self.net(&h);
        if let Some(similar) = self.similar(&h) {
            rate = (rate + similar) * 0.5;
        }
        bounded("rate of the user", &[rate], f32::MAX)?;
        Ok(rate.max(self.least))
    }

    fn net(&self, h: &[f32]) -> f32 {
        let mut hidden = vec![0.0; self.weight.len()];
        if !self.hidden.is_empty() {
            product(View::rows(h, h.len()), &self.hidden, &mut hidden, self.weight.len());
        }
        let logit = hidden.iter().zip(&self.weight[..]).map(|(z, w)| z.tanh() * w).sum::<f32>() + self.bias;
        2.0 / (1.0 + (-logit).exp())
    }

    /// What the rates of similar users come to; none while nobody is in the memory.
    fn similar(&self, h: &[f32]) -> Option<f32> {
        let users = self.memory.chunks_exact(h.len() + 1);
        let apart = |user: &[f32]| h.iter().zip(user).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
        let mut near: Vec<(f32, f32)> = users.map(|user| (apart(user), user[h.len()])).collect();
        let last = self.neighbours.min(near.len().checked_sub(1)?);
        near.select_nth_unstable_by(last, |a, b| a.0.total_cmp(&b.0));
        let edge = near[last].0 + TINY;
        let (mut sum, mut shares) = (0.0, 0.0);
        for (distance, rate) in &near[..=last] {
            let share = (-distance / edge).exp() - (-1.0f32).exp() + LEAST;
            (sum, shares) = (sum + share * rate, shares + share);
        }
        Some(sum / shares)
    }
}
