//! The bias model with what content says of an item's level.
//!
//! `μ + b_u + b_i`, `b_i = (Σ (r - μ - b_u) + c p_i) / (n + c)`, `p_i = w · (1, content)` a ridge regression of the items' mean residuals on their content, each weighing `n / (n + c)`. Levels of users and of items come
//! from five sweeps over both, those of users drawn to 0 by five ratings, those of items meanwhile by two.

use crate::fold_in::with_one;
use crate::{Ridge, Sparse};

/// Ratings at 0 that are added to the level of a user, and to that of an item while the users' levels are fitted.
const USER_ROWS: f64 = 5.0;
const ITEM_ROWS: f64 = 2.0;
/// Sweeps over the levels of items and users.
const SWEEPS: usize = 5;

/// A sum of residuals and the number of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Residuals {
    sum: f64,
    n: f64,
}

impl Residuals {
    /// Adds one.
    pub fn add(&mut self, residual: f64) {
        self.sum += residual;
        self.n += 1.0;
    }

    /// How many there are.
    #[must_use]
    pub fn n(self) -> f64 {
        self.n
    }

    /// `(sum + rows * value) / (n + rows)`; the value itself without either.
    #[must_use]
    pub fn towards(self, value: f64, rows: f64) -> f64 {
        if self.n + rows == 0.0 { value } else { (self.sum + rows * value) / (self.n + rows) }
    }

    fn shrunken(self, rows: f64) -> f64 {
        if self.n == 0.0 { 0.0 } else { self.sum / (self.n + rows) }
    }
}

/// What does not depend on c and on the penalty.
#[derive(Clone, Debug)]
pub struct ContentLevels {
    /// μ.
    pub mean: f64,
    /// b of each user.
    pub users: Vec<f64>,
    /// Of each item the ratings without the levels of their users.
    pub items: Vec<Residuals>,
    /// With a 1 in front.
    content: Sparse,
}

impl ContentLevels {
    /// Fits to rows of a user, an item and a rating, with the mean `mean`; `content` is `[items, columns]`.
    #[must_use]
    pub fn fit(mean: f64, users: usize, rows: impl Iterator<Item = (usize, usize, f64)> + Clone, content: &Sparse) -> Self {
        let of_items = |levels: &[f64]| {
            let mut sums = vec![Residuals::default(); content.len()];
            rows.clone().for_each(|(u, i, r)| sums[i].add(r - mean - levels[u]));
            sums
        };
        let mut levels = vec![0.0; users];
        for _ in 0..SWEEPS {
            let items: Vec<f64> = of_items(&levels).into_iter().map(|sum| sum.shrunken(ITEM_ROWS)).collect();
            let mut sums = vec![Residuals::default(); users];
            rows.clone().for_each(|(u, i, r)| sums[u].add(r - mean - items[i]));
            levels = sums.into_iter().map(|sum| sum.shrunken(USER_ROWS)).collect();
        }
        Self { mean, items: of_items(&levels), users: levels, content: with_one(content) }
    }

    /// w, `[1 + columns]`, the intercept in front.
    #[must_use]
    pub fn weights(&self, content_rows: f64, penalty: f64) -> Vec<f64> {
        let trust = |sum: &Residuals| if sum.n > 0.0 { sum.n / (sum.n + content_rows) } else { 0.0 };
        // In units of a weight of 1, which is that of an item with many ratings.
        let penalties = (0..self.content.width).map(|c| if c == 0 { 0.0 } else { penalty }).collect();
        let targets: Vec<f64> = self.items.iter().map(|sum| sum.shrunken(0.0)).collect();
        Ridge::new(&self.content, self.items.iter().map(trust).collect(), penalties).solve(&targets, 1, &vec![0.0; self.content.width])
    }

    /// p of an item that was fitted to, or would have been but for its ratings.
    #[must_use]
    pub fn prior(&self, weights: &[f64], item: usize) -> f64 {
        let mut said = [0.0];
        self.content.times(item, weights, &mut said);
        said[0]
    }

    /// Number of columns of content, with the 1 in front.
    #[must_use]
    pub fn width(&self) -> usize {
        self.content.width
    }
}
