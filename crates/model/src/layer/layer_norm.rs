//! Layer normalisation.

use burn::tensor::Tensor;

use crate::kernel::layer_norm;
use crate::{Activation, Affine, ParamId, Pass, SiteId};

/// `y = act(gain * (x - mean) / sqrt(var + epsilon) + shift)` over the last axis, biased variance (Ba et al., 2016).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Its site.
    pub site: SiteId,
    /// `[1, 1, d]`, 1 at start.
    pub gain: ParamId,
    /// `[1, 1, d]`, 0 at start.
    pub shift: ParamId,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// # Shapes
    /// `x [G, N, d]` to `[G, N, d]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let base = Affine { gain: pass.params.get(self.gain), shift: pass.params.get(self.shift), moments: None, own: None };
        let Affine { gain, shift, .. } = pass.modulation.norm(self.site, base);
        layer_norm(x, gain, shift, self.epsilon, activation)
    }
}
