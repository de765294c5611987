//! Batch normalisation.

use std::cell::RefCell;

use burn::tensor::Tensor;

use crate::{Activation, Affine, Moments, ParamId, Params, Pass, SiteId};

/// Share of a batch's moments that goes into the running ones.
const MOMENTUM: f32 = 0.1;

/// `y = act(gain * (x - mean) / sqrt(variance + epsilon) + shift)` with one mean and variance a channel (Ioffe and Szegedy, ICML 2015).
///
/// Everywhere but in training the moments are the running ones, so a row's output depends on that row alone. Training that trains the moments too
/// (that of a base, of `scratch`, or with scope `all`) takes those of the batch's real rows and moves the running ones by a tenth of the way;
/// training of a patch leaves them as they are. A batch of one row has no variance: it takes the running moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Its site.
    pub site: SiteId,
    /// `[1, 1, d]`, 1 at start.
    pub gain: ParamId,
    /// `[1, 1, d]`, 0 at start.
    pub shift: ParamId,
    /// Running mean `[1, 1, d]`, 0 at start.
    pub mean: ParamId,
    /// Running variance `[1, 1, d]`, 1 at start.
    pub variance: ParamId,
    /// Added to the variance.
    pub epsilon: f64,
}

impl BatchNorm {
    /// # Shapes
    /// `x [G, N, d]` to `[G, N, d]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let get = |id| pass.params.get(id);
        let running = Moments { mean: get(self.mean), variance: get(self.variance) };
        let base = Affine { gain: get(self.gain), shift: get(self.shift), moments: Some(running) };
        let Affine { gain, shift, moments } = pass.modulation.norm(self.site, base);
        let seen = pass.estimate.and_then(|estimate| estimate.of(self, &x));
        let Moments { mean, variance } = seen.or(moments).expect("a modulation keeps the moments or replaces them");
        let scale = gain / (variance + self.epsilon).sqrt();
        activation.apply((x - mean) * scale + shift)
    }
}

/// What batch norms see in one training pass.
#[derive(Debug)]
pub struct Estimate {
    /// 1 for real rows `[G, N, 1]`; `None` if all are.
    mask: Option<Tensor<3>>,
    rows: usize,
    /// Running means that training moves, and with them their variances.
    moved: Vec<ParamId>,
    seen: RefCell<Vec<(BatchNorm, Moments)>>,
}

impl Estimate {
    /// For a batch with `rows` real rows.
    #[must_use]
    pub fn new(mask: Option<Tensor<3>>, rows: usize, moved: Vec<ParamId>) -> Self {
        Self { mask, rows, moved, seen: RefCell::default() }
    }

    /// Mean and biased variance of the real rows of `x [G, N, d]`; `None` where the running ones are to be used.
    fn of(&self, norm: &BatchNorm, x: &Tensor<3>) -> Option<Moments> {
        if self.rows < 2 || !self.moved.contains(&norm.mean) {
            return None;
        }
        let n = self.rows as f64;
        let sum = |x: Tensor<3>| match &self.mask {
            Some(mask) => (x * mask.clone()).sum_dim(1).sum_dim(0), // [1, 1, d]
            None => x.sum_dim(1).sum_dim(0),
        };
        let mean = sum(x.clone()) / n;
        let variance = sum((x.clone() - mean.clone()).square()) / n;
        let moments = Moments { mean, variance };
        self.seen.borrow_mut().push((*norm, moments.clone()));
        Some(moments)
    }

    /// Moves the running moments: `r = 0.9 r + 0.1 s`, with the unbiased variance `s = n / (n - 1) v`.
    pub fn update(self, params: &mut Params) {
        let unbiased = self.rows as f32 / (self.rows as f32 - 1.0);
        for (norm, Moments { mean, variance }) in self.seen.into_inner() {
            for (id, seen, factor) in [(norm.mean, mean, 1.0), (norm.variance, variance, unbiased)] {
                let seen = crate::kernel::to_vec(seen.inner());
                params.values[id.0].iter_mut().zip(seen).for_each(|(r, s)| *r = (1.0 - MOMENTUM) * *r + MOMENTUM * factor * s);
            }
        }
    }
}
