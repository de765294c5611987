//! Linear layer.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::kernel::{linear, scaled_linear};
use crate::{ParamId, Pass, SiteId, Weights};

/// What follows a layer's affine map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Applies it.
    #[must_use]
    pub fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Identity => x,
            Self::Relu => relu(x),
        }
    }
}

/// `y = act(x W + b)`, where a modulation may change `x`, `W`, `b` and the result before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// Its site.
    pub site: SiteId,
    /// `[1, d_in, d_out]`.
    pub weight: ParamId,
    /// `[1, 1, d_out]`.
    pub bias: ParamId,
}

impl Linear {
    /// The layer's weights after modulation.
    #[must_use]
    pub fn weights(&self, pass: &Pass<'_>) -> Weights {
        let base = Weights { weight: pass.params.get(self.weight), bias: Some(pass.params.get(self.bias)), low_rank: None };
        pass.modulation.weights(self.site, base)
    }

    /// # Shapes
    /// `x [G, N, d_in]` to `[G, N, d_out]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        let (weights, x) = (self.weights(pass), pass.modulation.input(self.site, x));
        if !pass.modulation.changes_output(self.site) {
            return apply(x, weights, activation);
        }
        if let (Some(scale), Weights { weight, bias: Some(bias), low_rank: None }) = (pass.modulation.scale(self.site), &weights)
            && let Some(y) = scaled_linear(&x, [weight, bias], [scale.gain.as_ref(), scale.shift.as_ref()], activation)
        {
            return y;
        }
        let y = apply(x.clone(), weights, Activation::Identity);
        activation.apply(pass.modulation.output(self.site, &x, y))
    }
}

/// `act(x (W + a b) + bias)`.
///
/// # Shapes
/// `x [G, N, d_in]` to `[G, N, d_out]`; weights as in [`Weights`].
#[must_use]
pub(super) fn apply(x: Tensor<3>, weights: Weights, activation: Activation) -> Tensor<3> {
    let Weights { weight, bias, low_rank } = weights;
    let Some([a, b]) = low_rank else {
        return linear(x, weight, bias, activation);
    };
    let delta = product(product(x.clone(), a), b);
    activation.apply(linear(x, weight, bias, Activation::Identity) + delta)
}

/// `x W`; shared weights take one product over all rows instead of one per group.
///
/// # Shapes
/// `x [G, N, d_in]`, `weight [G|1, d_in, d_out]` to `[G, N, d_out]`.
#[must_use]
pub fn product(x: Tensor<3>, weight: Tensor<3>) -> Tensor<3> {
    linear(x, weight, None, Activation::Identity)
}
