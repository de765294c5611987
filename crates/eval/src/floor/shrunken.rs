//! Shrunken means of what is left of a label once something simpler has explained its part.

use std::collections::HashMap;

use acclimate_data::UserIndex;

use super::Labelled;

/// `sum(residual) / (n + shrink)` for each of `groups` groups; 0 for a group without rows, whatever the shrinkage.
pub(super) fn group_offsets(groups: usize, shrink: f64, residuals: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); groups];
    for (group, residual) in residuals {
        sums[group].0 += residual;
        sums[group].1 += 1.0;
    }
    sums.into_iter().map(|(sum, n)| if n == 0.0 { 0.0 } else { sum / (n + shrink) }).collect()
}

/// The same for the users of a support set; users without support are absent.
pub(super) fn user_offsets(support: Labelled<'_>, shrink: f64, residual: impl Fn(usize) -> f64) -> HashMap<UserIndex, f64> {
    let mut sums: HashMap<UserIndex, (f64, f64)> = HashMap::new();
    for i in 0..support.len() {
        let sum = sums.entry(support.rows().user(i)).or_default();
        sum.0 += residual(i);
        sum.1 += 1.0;
    }
    sums.into_iter().map(|(user, (sum, n))| (user, sum / (n + shrink))).collect()
}

/// Mean label and shrunken item offsets: `mu` and `b_i = sum(r - mu) / (n_i + shrink)`.
#[derive(Clone, Debug)]
pub(super) struct ItemOffsets {
    pub(super) mean: f64,
    offsets: Vec<f64>,
}

impl ItemOffsets {
    /// Learns from training rows with the mean label `mean`.
    pub(super) fn new(train: Labelled<'_>, mean: f64, shrink: f64) -> Self {
        let rows = train.rows();
        let residuals = (0..train.len()).map(|i| (rows.item(i).at(), train.label(i) - mean));
        Self { mean, offsets: group_offsets(rows.counts()[1], shrink, residuals) }
    }

    /// `mu + b_i`; `mu` for an item without training rows.
    pub(super) fn predict(&self, item: acclimate_data::ItemIndex) -> f64 {
        self.mean + self.offsets.get(item.at()).copied().unwrap_or(0.0)
    }

    /// Number of fitted numbers.
    pub(super) fn parameters(&self) -> usize {
        self.offsets.len() + 1
    }
}
