//! Experts and the gates that mix them.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::tower::{Hidden, Layers};
use crate::{Activation, Architecture, Init, Linear, Pass, Role};

/// Networks beside each other on the same input.
#[derive(Clone, Debug)]
pub(super) struct Experts(Vec<Vec<Hidden>>);

impl Experts {
    /// Declares `PATH.0`, `PATH.1`, .. and gives them with the width of their states.
    pub(super) fn new(architecture: &mut Architecture, path: &str, count: usize, d_in: usize, widths: &[usize]) -> (Self, usize) {
        let experts = (0..count).map(|e| Layers::default().hidden(architecture, &format!("{path}.{e}"), d_in, widths).0);
        (Self(experts.collect()), widths.last().copied().unwrap_or(d_in))
    }

    /// # Shapes
    /// `x [G, N, d_in]` to one `[G, N, d]` an expert.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: &Tensor<3>) -> Vec<Tensor<3>> {
        self.0.iter().map(|expert| Hidden::forward(expert, pass, x.clone())).collect()
    }
}

/// `softmax(x W + b)`, the weights of a mixture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate(Linear);

impl Gate {
    /// Declares a gate of so many experts.
    pub(super) fn new(architecture: &mut Architecture, path: &str, d_in: usize, experts: usize) -> Self {
        Self(architecture.linear(path, [d_in, experts], Init::XavierUniform, Init::Constant(0.0), Role::Side))
    }

    /// # Shapes
    /// `x [G, N, d_in]` and E times `[G, N, d]` to `[G, N, d]`.
    pub(super) fn mix(&self, pass: &Pass<'_>, x: &Tensor<3>, experts: &[Tensor<3>]) -> Tensor<3> {
        let [g, n, d] = experts[0].dims();
        let weights = softmax(self.0.forward(pass, x.clone(), Activation::Identity), 2).reshape([g * n, experts.len(), 1]);
        let states = experts.iter().map(|state| state.clone().reshape([g * n, 1, d])).collect();
        (Tensor::cat(states, 1) * weights).sum_dim(1).reshape([g, n, d])
    }
}
