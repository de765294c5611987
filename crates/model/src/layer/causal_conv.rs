//! Causal dilated convolution.

use burn::tensor::Tensor;

use crate::{Linear, Pass, kernel};

/// `y[t] = (b + Σ_j x[t - (k-1-j) dilation] W_j)`: a linear map of the k positions it looks at, which is what its site says.
///
/// A modulation may change `W`, `b` and the result, whose input at the site is `x` itself (not the k positions side by side).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CausalConv {
    /// Weight `[1, k * c_in, c_out]`, tap k-1 (the current position) last, and bias `[1, 1, c_out]`.
    pub linear: Linear,
    /// Distance between taps, in positions.
    pub dilation: usize,
}

impl CausalConv {
    /// Positions before the first are zero.
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
            return kernel::causal_conv(x, weight, bias, self.dilation);
        }
        let y = kernel::causal_conv(x.clone(), weight, bias, self.dilation);
        pass.modulation.output(self.linear.site, &x, y)
    }
}
