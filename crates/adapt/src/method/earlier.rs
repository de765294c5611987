//! Means over the positions of a sequence that each of them sees.

use acclimate_model::Sight;
use burn::tensor::{Device, Tensor, TensorData};

use crate::Unlabelled;

/// Which positions of a batch of sequences each position has in its mean: itself and those before it, or all where both sides are seen; padding never.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    /// 1 where a position (row) sees another (column), `[1, L, L]`.
    sees: Tensor<3>,
    /// 1 for a real position, `[G, L, 1]`.
    real: Tensor<3>,
    /// 1 for the first real position of a group, `[G, 1, L]`.
    first: Tensor<3>,
    /// How many real ones each position sees, `[G, L, 1]`.
    count: Tensor<3>,
}

impl Earlier {
    /// With a `window` w a position sees itself and the w - 1 before it.
    pub(crate) fn new(query: Unlabelled<'_>, sight: Sight, window: Option<usize>, device: &Device) -> Self {
        let [g, l] = query.shape();
        let ends = |at: usize| if sight == Sight::All { [0, l] } else { [(at + 1).saturating_sub(window.unwrap_or(l)), at + 1] };
        let mut sees = vec![0.0; l * l];
        (0..l).for_each(|at| {
            let [from, to] = ends(at);
            sees[at * l..][from..to].fill(1.0);
        });
        let (mut first, mut count) = (vec![0.0; g * l], Vec::with_capacity(g * l));
        for (mask, first) in query.mask().chunks_exact(l.max(1)).zip(first.chunks_exact_mut(l.max(1))) {
            let mut before = vec![0.0_f32; l + 1];
            mask.iter().enumerate().for_each(|(at, m)| before[at + 1] = before[at] + m);
            count.extend((0..l).map(ends).map(|[from, to]| before[to] - before[from]));
            mask.iter().position(|&m| m != 0.0).into_iter().for_each(|at| first[at] = 1.0);
        }
        let tensor = |values: Vec<f32>, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
        Self {
            sees: tensor(sees, [1, l, l]),
            real: tensor(query.mask().to_vec(), [g, l, 1]),
            first: tensor(first, [g, 1, l]),
            count: tensor(count, [g, l, 1]),
        }
    }

    /// The mean of what each position sees; 0 where it sees nothing.
    ///
    /// # Shapes
    /// `x` and the result `[G, L, d]`.
    pub(crate) fn mean(&self, x: Tensor<3>) -> Tensor<3> {
        self.sees.clone().matmul(x * self.real.clone()) / self.count.clone().clamp_min(1.0)
    }

    /// `(x - μ) / sqrt(v')`, μ and v the moments of what each position sees, `v' = (n v + n0) / (n + n0)`, n how many these are; 0 at padding.
    ///
    /// # Shapes
    /// `x` and the result `[G, L, d]`.
    pub(crate) fn normalised(&self, x: Tensor<3>, n0: f64) -> Tensor<3> {
        // Moments around the first position, which all of its group see: where states lie far from 0, differences of squares would round.
        let origin = self.first.clone().matmul(x.clone().detach()); // [G, 1, d]
        let z = (x - origin) * self.real.clone();
        let mean = self.mean(z.clone());
        let variance = (self.mean(z.clone().square()) - mean.clone().square()).clamp_min(0.0);
        let shrunk = (variance * self.count.clone() + n0) / (self.count.clone() + n0);
        (z - mean) / shrunk.sqrt() * self.real.clone()
    }
}
