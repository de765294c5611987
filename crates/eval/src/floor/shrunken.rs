//! Shrunken means of what is left of a label once something simpler has explained its part.

use std::collections::HashMap;

use acclimate_data::{ItemIndex, UserIndex};

use super::Labelled;

/// A sum and the number of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    sum: f64,
    n: f64,
}

impl Sum {
    pub(super) fn add(&mut self, term: f64) {
        self.sum += term;
        self.n += 1.0;
    }

    /// `sum / (n + shrink)`; 0 without terms, whatever the shrinkage.
    pub(super) fn shrunken(self, shrink: f64) -> f64 {
        if self.n == 0.0 { 0.0 } else { self.sum / (self.n + shrink) }
    }
}

/// Sums of residuals for each of `groups` groups.
pub(super) fn group_sums(groups: usize, residuals: impl Iterator<Item = (usize, f64)>) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); groups];
    residuals.for_each(|(group, residual)| sums[group].add(residual));
    sums
}

/// Shrunken means for the users of a support set; users without support are absent.
pub(super) fn user_offsets(support: Labelled<'_>, shrink: f64, residual: impl Fn(usize) -> f64) -> HashMap<UserIndex, f64> {
    let mut sums: HashMap<UserIndex, Sum> = HashMap::new();
    for i in 0..support.len() {
        sums.entry(support.rows().user(i)).or_default().add(residual(i));
    }
    sums.into_iter().map(|(user, sum)| (user, sum.shrunken(shrink))).collect()
}

/// Mean label and sums of `r - mu` by item: shrunken item levels for any shrinkage, without another look at the training rows.
#[derive(Clone, Debug)]
pub(super) struct ItemSums {
    mean: f64,
    sums: Vec<Sum>,
}

impl ItemSums {
    /// Learns from training rows with the mean label `mean`.
    pub(super) fn new(train: Labelled<'_>, mean: f64) -> Self {
        let rows = train.rows();
        let residuals = (0..train.len()).map(|i| (rows.item(i).at(), train.label(i) - mean));
        Self { mean, sums: group_sums(rows.counts()[1], residuals) }
    }

    /// `mu + b_i` with `b_i = sum(r - mu) / (n_i + shrink)`; `mu` for an item without training rows.
    pub(super) fn predict(&self, item: ItemIndex, shrink: f64) -> f64 {
        self.mean + self.sums.get(item.at()).copied().unwrap_or_default().shrunken(shrink)
    }

    /// Number of fitted numbers.
    pub(super) fn parameters(&self) -> usize {
        self.sums.len() + 1
    }
}
