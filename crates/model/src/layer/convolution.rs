//! Dilated convolution.

use burn::tensor::Tensor;

use crate::kernel::{self, Taps};
use crate::{Linear, Pass};

/// `y[t] = b + Σ_j x[t + (j - centre) dilation] W_j`: a linear map of the k positions it looks at, which is what its site says.
///
/// With the last tap as centre it is causal: a position sees itself and positions before it. A modulation may change `W`, `b` and the result, whose input at the
/// site is `x` itself (not the k positions side by side).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Weight `[1, k * c_in, c_out]`, tap 0 (the earliest position) first, and bias `[1, 1, c_out]`.
    pub linear: Linear,
    /// The positions it looks at.
    pub taps: Taps,
}

impl Conv {
    /// Positions before the first and after the last are zero.
    ///
    /// # Shapes
    /// `x [G, L, c_in]` to `[G, L, c_out]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        let (weights, x) = (self.linear.weights(pass), pass.modulation.input(self.linear.site, x));
        let bias = weights.bias.clone();
        let weight = weights.full(); // [G|1, k * c_in, c_out]
        let bias = bias.unwrap_or_else(|| Tensor::zeros([1, 1, weight.dims()[2]], &weight.device()));
        if !pass.modulation.changes_output(self.linear.site) {
            return kernel::convolution(x, weight, bias, self.taps);
        }
        let y = kernel::convolution(x.clone(), weight, bias, self.taps);
        pass.modulation.output(self.linear.site, &x, y)
    }
}
