//! Hidden layers with a linear head: the MLP tower of the networks that score rows.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::layer::{BatchNorm, LayerNorm, Linear};
use crate::{Activation, Architecture, Init, Pass, Role};

/// Norm between a hidden layer's linear map and its activation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// None.
    #[default]
    None,
    /// Layer norm, epsilon 1e-5.
    Layer,
    /// Batch norm, epsilon 1e-5, running moments with momentum 0.1.
    Batch,
}

/// How weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Kaiming-uniform hidden weights, Xavier-uniform head, zero biases.
    #[default]
    Kaiming,
    /// Weights and biases U(±1/sqrt(fan_in)), the default of PyTorch and so of the published MeLU code; rows of multi-valued features, which are
    /// the weights of a linear map there, start the same way with the vocabulary's size as fan-in.
    FanIn,
}

/// How the layers of a network are made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layers {
    /// Norm after each hidden linear map.
    pub(super) norm: Norm,
    /// How they start.
    pub(super) start: Start,
}

impl Layers {
    fn start(self, fan_in: usize, kaiming: Init) -> [Init; 2] {
        match self.start {
            Start::Kaiming => [kaiming, Init::Constant(0.0)],
            Start::FanIn => [Init::Uniform(1.0 / (fan_in as f32).sqrt()); 2],
        }
    }

    /// Declares hidden layers `PATH.0`, `PATH.1`, .. of these widths on an input of width `d_in`; gives them and the width that comes out.
    pub(super) fn hidden(self, architecture: &mut Architecture, path: &str, d_in: usize, widths: &[usize]) -> (Vec<Hidden>, usize) {
        let mut d = d_in;
        let mut hidden = Vec::new();
        for (i, &d_out) in widths.iter().enumerate() {
            let [weight, bias] = self.start(d, Init::KaimingUniform);
            let linear = architecture.linear(&format!("{path}.{i}.linear"), [d, d_out], weight, bias, Role::Body);
            let norm = match self.norm {
                Norm::None => None,
                Norm::Layer => Some(TowerNorm::Layer(architecture.layer_norm(&format!("{path}.{i}.norm"), d_out, 1e-5))),
                Norm::Batch => Some(TowerNorm::Batch(architecture.batch_norm(&format!("{path}.{i}.norm"), d_out, 1e-5))),
            };
            hidden.push(Hidden { linear, norm });
            d = d_out;
        }
        (hidden, d)
    }

    /// Declares a head at `path` for a hidden state of width `d`.
    pub(super) fn head(self, architecture: &mut Architecture, path: &str, d: usize) -> Linear {
        let [weight, bias] = self.start(d, Init::XavierUniform);
        architecture.linear(path, [d, 1], weight, bias, Role::Head)
    }
}

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

impl Hidden {
    /// Layers in their order.
    ///
    /// # Shapes
    /// `x [G, N, d_in]` to `[G, N, d_out]` of the last layer.
    pub(super) fn forward(layers: &[Self], pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        layers.iter().fold(x, |x, Self { linear, norm }| match norm {
            None => linear.forward(pass, x, Activation::Relu),
            Some(norm) => norm.forward(pass, linear.forward(pass, x, Activation::Identity), Activation::Relu),
        })
    }
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
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>) -> Tensor<3> {
        self.head.forward(pass, Hidden::forward(&self.hidden, pass, x), Activation::Identity)
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
