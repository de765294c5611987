//! The MLP tower of `dnn`.

use burn::tensor::Tensor;

use crate::layer::{BatchNorm, LayerNorm, Linear};
use crate::{Activation, Pass};

/// A norm of the tower.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TowerNorm {
    /// Over the channels of a row.
    Layer(LayerNorm),
    /// Over rows.
    Batch(BatchNorm),
}

impl TowerNorm {
    fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, activation: Activation) -> Tensor<3> {
        match self {
            Self::Layer(norm) => norm.forward(pass, x, activation),
            Self::Batch(norm) => norm.forward(pass, x, activation),
        }
    }
}

/// One hidden layer: linear, optional norm, ReLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hidden {
    /// The linear map.
    pub linear: Linear,
    /// Norm between the linear map and the activation.
    pub norm: Option<TowerNorm>,
}

/// Hidden layers and a linear head of width 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    /// Hidden layers, first to last.
    pub hidden: Vec<Hidden>,
    /// `[d, 1]`.
    pub head: Linear,
}

impl Tower {
    /// # Shapes
    /// `x [G, N, d_in]` to scores `[G, N, 1]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, mut x: Tensor<3>) -> Tensor<3> {
        for Hidden { linear, norm } in &self.hidden {
            x = match norm {
                None => linear.forward(pass, x, Activation::Relu),
                Some(norm) => norm.forward(pass, linear.forward(pass, x, Activation::Identity), Activation::Relu),
            };
        }
        self.head.forward(pass, x, Activation::Identity)
    }

    /// Linear layers, first to last, the head included.
    pub fn linears(&self) -> impl DoubleEndedIterator<Item = &Linear> + Clone {
        self.hidden.iter().map(|h| &h.linear).chain([&self.head])
    }

    /// Whether the tower has a norm; the closed-form inner loop needs one without.
    #[must_use]
    pub fn has_norm(&self) -> bool {
        self.hidden.iter().any(|h| h.norm.is_some())
    }
}
