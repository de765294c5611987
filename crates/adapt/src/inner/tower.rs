//! Gradient steps on a tower of linear layers, written as ordinary tensor operations.
//!
//! Autodiff is first order: it returns gradients as constants. So the inner gradient is written out, and one reverse pass over it is the exact
//! second-order outer gradient. For `h_0 = x`, `z_l = h_{l-1} W_l + b_l`, `h_l = ReLU(z_l)`, `s = h_L W + b` and a task's mean support loss:
//!
//! - `δ_s = 2 (s - y) / n` (squared error) or `(σ(s) - y) / n` (logistic), 0 for padding;
//! - `∂W_l = h_{l-1}ᵀ δ_l`, `∂b_l = Σ_rows δ_l`, `δ_{l-1} = (δ_l W_lᵀ) ⊙ 1[z_{l-1} > 0]`.
//!
//! ReLU masks are constants, since the second derivative of ReLU is 0 almost everywhere. All tasks are stepped together: weights are `[T, d_in, d_out]`.
//!
//! # References
//! C. Finn, P. Abbeel, S. Levine, *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017.

use acclimate_data::Batch;
use acclimate_model::Objective;
use acclimate_model::layer::product;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// Whether the outer gradient sees the inner steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Inner gradients are constants (FOMAML).
    First,
    /// Exact: the outer gradient runs through every inner step.
    Second,
}

/// Weights of one layer, `weight [T|1, d_in, d_out]`, `bias [T|1, 1, d_out]`.
#[derive(Clone, Debug)]
pub struct FastLayer {
    /// The matrix.
    pub weight: Tensor<3>,
    /// The bias.
    pub bias: Tensor<3>,
}

/// How a tower is adapted to support sets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InnerLoop {
    /// What the inner steps minimise: logistic or squared error.
    pub objective: Objective,
    /// First or second order.
    pub order: Order,
    /// K.
    pub steps: usize,
    /// α.
    pub rate: f64,
    /// Steps scale with `n / (n + shrink)` for a task of n support rows; 0 turns this off.
    pub shrink: f32,
    /// Index of the first adapted layer; those before it stay as they are.
    pub first: usize,
}

impl InnerLoop {
    /// Layers after K steps on the support set.
    ///
    /// # Shapes
    /// `x [T, S, d]`; `support` is `[T, S]` with labels; a task without real rows keeps its weights.
    #[must_use]
    pub fn adapt(&self, layers: &[FastLayer], x: &Tensor<3>, support: &Batch) -> Vec<FastLayer> {
        let mut layers = layers.to_vec();
        if support.is_empty() {
            return layers;
        }
        let device = x.device();
        let counts: Vec<f32> = support.mask.chunks_exact(support.rows.max(1)).map(|m| m.iter().sum()).collect();
        let weights = support.mask.iter().enumerate().map(|(i, m)| m / counts[i / support.rows].max(1.0)).collect::<Vec<_>>();
        let scale = counts.iter().map(|n| if self.shrink > 0.0 { n / (n + self.shrink) } else { 1.0 }).collect::<Vec<_>>();
        let shape = [support.groups, support.rows, 1];
        let weight = Tensor::<3>::from_data(TensorData::new(weights, shape), &device); // [T, S, 1]
        let label = Tensor::<3>::from_data(TensorData::new(support.label.clone(), shape), &device); // [T, S, 1]
        let rate = Tensor::<3>::from_data(TensorData::new(scale, [support.groups, 1, 1]), &device) * self.rate; // [T, 1, 1]
        for _ in 0..self.steps {
            let gradients = match self.order {
                Order::Second => self.gradients(&layers, x.clone(), &label, &weight),
                Order::First => {
                    let fixed: Vec<_> =
                        layers.iter().map(|l| FastLayer { weight: l.weight.clone().detach(), bias: l.bias.clone().detach() }).collect();
                    self.gradients(&fixed, x.clone().detach(), &label, &weight)
                }
            };
            for (layer, gradient) in layers[self.first..].iter_mut().zip(gradients) {
                layer.weight = layer.weight.clone() - gradient.weight * rate.clone();
                layer.bias = layer.bias.clone() - gradient.bias * rate.clone();
            }
        }
        layers
    }

    /// Gradients of each task's loss in the layers from `first` on.
    fn gradients(&self, layers: &[FastLayer], x: Tensor<3>, label: &Tensor<3>, weight: &Tensor<3>) -> Vec<FastLayer> {
        let mut inputs = vec![x]; // h_{l-1}
        let mut open = Vec::new(); // 1[z_l > 0]
        let (head, hidden) = layers.split_last().expect("a tower has a head");
        for layer in hidden {
            let z = product(inputs[inputs.len() - 1].clone(), layer.weight.clone()) + layer.bias.clone();
            let gate = z.clone().detach().greater_elem(0.0).float();
            inputs.push(z * gate.clone());
            open.push(gate);
        }
        let score = product(inputs[inputs.len() - 1].clone(), head.weight.clone()) + head.bias.clone(); // [T, S, 1]
        let error = match self.objective {
            Objective::Logistic => sigmoid(score) - label.clone(),
            _ => (score - label.clone()) * 2.0,
        };
        let mut delta = error * weight.clone();
        let mut gradients = Vec::new();
        for (l, layer) in layers.iter().enumerate().skip(self.first).rev() {
            let gradient = FastLayer { weight: inputs[l].clone().transpose().matmul(delta.clone()), bias: delta.clone().sum_dim(1) };
            gradients.push(gradient);
            if l > self.first {
                delta = product(delta, layer.weight.clone().transpose()) * open[l - 1].clone();
            }
        }
        gradients.reverse();
        gradients
    }
}
