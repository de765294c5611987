//! Further features: the kernel of what the regression leaves over.

use rayon::prelude::*;

use super::{ItemView, Regression, RegressionConfig};
use crate::Sparse;
use crate::eigen::leading_of_gram;

impl Regression {
    /// Further features: the kernel of the leave-one-out residuals.
    pub(super) fn add_kernel(&mut self, rated: &Sparse, people: &Sparse, config: &RegressionConfig) {
        let residuals: Vec<Vec<f64>> = (0..rated.len())
            .into_par_iter()
            .map(|u| {
                let (columns, values) = rated.row(u);
                let known: Vec<_> = columns.iter().zip(values).map(|(&i, &r)| (self.item(i as usize), r)).collect();
                let (mean, factor) = self.primal(&self.prior(people.row(u), &known), known.iter().copied());
                let left = |(ItemView { features: x, .. }, r): &(ItemView<'_>, f64)| {
                    let leverage = factor.norm(x) / self.noise;
                    let rest = (r - self.mean) / self.scale - x.iter().zip(&mean).map(|(x, w)| x * w).sum::<f64>();
                    rest / (1.0 - leverage).max(1e-3)
                };
                known.iter().map(left).collect()
            })
            .collect();
        self.append(&kernel(rated, &residuals, config), config.kernel_rank);
    }

    /// Further features `[items, rank]` whose weights are independent of all others, with mean 0 and variance 1.
    pub(crate) fn append(&mut self, added: &[f64], rank: usize) {
        let width = self.width + rank;
        let mut features = Vec::with_capacity(added.len() / rank.max(1) * width);
        for (old, new) in self.features.chunks_exact(self.width).zip(added.chunks_exact(rank)) {
            features.extend_from_slice(old);
            features.extend_from_slice(new);
        }
        self.people =
            self.people.chunks_exact(self.width).flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, rank))).collect();
        (self.features, self.width) = (features, width);
    }
}

/// `sqrt(ρ λ_k) v_k` of the kernel's largest eigenvalues, `[items, rank]`.
fn kernel(rated: &Sparse, residuals: &[Vec<f64>], config: &RegressionConfig) -> Vec<f64> {
    let by_item = rated.transposed();
    let unit: Vec<f64> = (0..rated.width).map(|i| 1.0 / (by_item.row(i).0.len() as f64 + config.kernel_shrink).sqrt()).collect();
    // E, of each user the residuals in those units, so that K is EᵀE without its diagonal, and no matrix of items by items is held.
    let mut users = Sparse::new(rated.width);
    for (u, left) in residuals.iter().enumerate() {
        users.push(rated.row(u).0.iter().zip(left).map(|(&i, r)| (i, r * unit[i as usize])));
    }
    let items = users.transposed();
    let diagonal: Vec<f64> = (0..rated.width).map(|i| items.row(i).1.iter().map(|x| x * x).sum()).collect();
    let found = leading_of_gram(&users, config.kernel_rank, &diagonal);
    let (rank, known) = (config.kernel_rank, found.values.len());
    let mut features = vec![0.0; rated.width * rank];
    for i in (0..rated.width).filter(|&i| diagonal[i] > 0.0) {
        for (j, value) in found.values.iter().enumerate() {
            features[i * rank + j] = (config.kernel_weight * value.max(0.0)).sqrt() * found.vectors[i * known + j];
        }
    }
    features
}
