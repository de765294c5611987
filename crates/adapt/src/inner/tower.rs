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

use std::ops::Range;

use acclimate_data::Batch;
use acclimate_model::Objective;
use acclimate_model::layer::product;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
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

/// The inner learning rates.
#[derive(Clone, Debug)]
pub enum Rates {
    /// α, for all.
    One(f64),
    /// Of each step, or of all alike where there is one entry, those of each adapted layer: of the weight `[1, d_in|1, d_out|1]` and of the bias `[1, 1, d_out|1]`.
    Learned(Vec<Vec<FastLayer>>),
}

/// How a tower is adapted to support sets.
#[derive(Clone, Debug, PartialEq)]
pub struct InnerLoop {
    /// What the inner steps minimise: logistic or squared error.
    pub objective: Objective,
    /// First or second order.
    pub order: Order,
    /// K.
    pub steps: usize,
    /// Steps scale with `n / (n + shrink)` for a task of n support rows; 0 turns this off.
    pub shrink: f32,
    /// The adapted layers; the others stay as they are.
    pub adapted: Range<usize>,
}

/// Support rows as the inner loop reads them.
pub(crate) struct Rows {
    /// 1/n for a real row of a task with n of them, else 0: `[T, S, 1]`.
    weight: Tensor<3>,
    /// `[T, S, 1]`.
    label: Tensor<3>,
    /// `n / (n + shrink)`, `[T, 1, 1]`.
    pub(crate) scale: Tensor<3>,
}

impl Rows {
    /// Reads a batch of tasks.
    pub(crate) fn new(support: &Batch, shrink: f32, device: &Device) -> Self {
        let counts: Vec<f32> = support.mask.chunks_exact(support.rows.max(1)).map(|m| m.iter().sum()).collect();
        let weights = support.mask.iter().enumerate().map(|(i, m)| m / counts[i / support.rows].max(1.0)).collect::<Vec<_>>();
        let scale = counts.iter().map(|n| if shrink > 0.0 { n / (n + shrink) } else { 1.0 }).collect::<Vec<_>>();
        let shape = [support.groups, support.rows, 1];
        let tensor = |values: Vec<f32>, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
        Self { weight: tensor(weights, shape), label: tensor(support.label.clone(), shape), scale: tensor(scale, [support.groups, 1, 1]) }
    }
}

/// `h_{l-1}` and `δ_l` of each layer.
pub(crate) struct Backward {
    inputs: Vec<Tensor<3>>,
    deltas: Vec<Tensor<3>>,
    /// The first layer that `deltas` begins with.
    from: usize,
}

impl Backward {
    /// A pass forth and back as far as layer `from`; `shift` is added to what comes out of the first layer.
    pub(crate) fn new(
        objective: Objective,
        layers: &[FastLayer],
        x: Tensor<3>,
        shift: Option<&Tensor<3>>,
        rows: &Rows,
        from: usize,
    ) -> Self {
        let mut inputs = vec![x]; // h_{l-1}
        let mut open = Vec::new(); // 1[z_l > 0]
        let (head, hidden) = layers.split_last().expect("a tower has a head");
        let shifted = |l: usize, z: Tensor<3>| match shift {
            Some(shift) if l == 0 => z + shift.clone(),
            _ => z,
        };
        for (l, layer) in hidden.iter().enumerate() {
            let z = shifted(l, product(inputs[l].clone(), layer.weight.clone()) + layer.bias.clone());
            let gate = z.clone().detach().greater_elem(0.0).float();
            inputs.push(z * gate.clone());
            open.push(gate);
        }
        let score = shifted(hidden.len(), product(inputs[hidden.len()].clone(), head.weight.clone()) + head.bias.clone()); // [T, S, 1]
        let error = match objective {
            Objective::Logistic => sigmoid(score) - rows.label.clone(),
            _ => (score - rows.label.clone()) * 2.0,
        };
        let mut deltas = vec![error * rows.weight.clone()];
        for l in (from..hidden.len()).rev() {
            let above = deltas[deltas.len() - 1].clone();
            deltas.push(product(above, layers[l + 1].weight.clone().transpose()) * open[l].clone());
        }
        deltas.reverse();
        Self { inputs, deltas, from }
    }

    /// `δ_l`, `[T, S, d_out]`.
    pub(crate) fn delta(&self, layer: usize) -> Tensor<3> {
        self.deltas[layer - self.from].clone()
    }

    fn gradient(&self, layer: usize) -> FastLayer {
        let delta = self.delta(layer);
        FastLayer { weight: self.inputs[layer].clone().transpose().matmul(delta.clone()), bias: delta.sum_dim(1) }
    }
}

/// The same layers as constants.
pub(crate) fn detached(layers: &[FastLayer]) -> Vec<FastLayer> {
    layers.iter().map(|l| FastLayer { weight: l.weight.clone().detach(), bias: l.bias.clone().detach() }).collect()
}

/// What a tower of such layers says of rows `[T, N, d]`: `[T, N, 1]`.
pub(crate) fn forward(layers: &[FastLayer], x: &Tensor<3>) -> Tensor<3> {
    let (head, hidden) = layers.split_last().expect("a tower has a head");
    let layer = |x: Tensor<3>, layer: &FastLayer| product(x, layer.weight.clone()) + layer.bias.clone();
    let last = hidden.iter().fold(x.clone(), |x, hidden| burn::tensor::activation::relu(layer(x, hidden)));
    layer(last, head)
}

/// The length of the gradient of each row's score in the weights and biases of its tower: how far one example moves it, whatever its label.
///
/// `‖∂s/∂θ‖² = Σ_l (‖h_{l-1}‖² + 1) ‖δ_l‖²` with `δ_s = 1` and `δ_{l-1} = (δ_l W_lᵀ) ⊙ 1[z_{l-1} > 0]`.
///
/// # Shapes
/// `x [G, N, d]` to `[G, N, 1]`; shared weights, `[1, d_in, d_out]`.
#[must_use]
pub fn gradient_lengths(layers: &[FastLayer], x: Tensor<3>) -> Tensor<3> {
    let (head, hidden) = layers.split_last().expect("a tower has a head");
    let square = |t: &Tensor<3>| (t.clone() * t.clone()).sum_dim(2);
    let (mut inputs, mut open) = (vec![x], Vec::new());
    for (l, layer) in hidden.iter().enumerate() {
        let z = product(inputs[l].clone(), layer.weight.clone()) + layer.bias.clone();
        let gate = z.clone().greater_elem(0.0).float();
        inputs.push(z * gate.clone());
        open.push(gate);
    }
    let mut sum = square(&inputs[hidden.len()]) + 1.0;
    let mut delta = head.weight.clone().transpose(); // [1, 1, d]
    for l in (0..hidden.len()).rev() {
        let here = open[l].clone() * delta; // [G, N, d_l]
        sum = sum + (square(&inputs[l]) + 1.0) * square(&here);
        delta = product(here, layers[l].weight.clone().transpose());
    }
    sum.sqrt()
}

impl InnerLoop {
    /// Layers after K steps on the support set.
    ///
    /// # Shapes
    /// `x [T, S, d]`; `support` is `[T, S]` with labels; a task without real rows keeps its weights.
    #[must_use]
    pub fn adapt(&self, layers: &[FastLayer], rates: &Rates, x: &Tensor<3>, support: &Batch) -> Vec<FastLayer> {
        self.trajectory(layers, rates, x, support).pop().unwrap_or_else(|| layers.to_vec())
    }

    /// Layers after each of the K steps; none without a support row.
    #[must_use]
    pub fn trajectory(&self, layers: &[FastLayer], rates: &Rates, x: &Tensor<3>, support: &Batch) -> Vec<Vec<FastLayer>> {
        if support.is_empty() {
            return Vec::new();
        }
        let rows = Rows::new(support, self.shrink, &x.device());
        let mut layers = layers.to_vec();
        let mut all = Vec::with_capacity(self.steps);
        for step in 0..self.steps {
            let (of, x) = match self.order {
                Order::Second => (layers.clone(), x.clone()),
                Order::First => (detached(&layers), x.clone().detach()),
            };
            let backward = Backward::new(self.objective, &of, x, None, &rows, self.adapted.start);
            for (i, l) in self.adapted.clone().enumerate() {
                let gradient = backward.gradient(l);
                let (weight, bias) = match rates {
                    Rates::One(rate) => {
                        let rate = rows.scale.clone() * *rate; // [T, 1, 1]
                        (gradient.weight * rate.clone(), gradient.bias * rate)
                    }
                    Rates::Learned(of_step) => {
                        let rate = &of_step[step.min(of_step.len() - 1)][i];
                        (gradient.weight * rate.weight.clone() * rows.scale.clone(), gradient.bias * rate.bias.clone() * rows.scale.clone())
                    }
                };
                layers[l].weight = layers[l].weight.clone() - weight;
                layers[l].bias = layers[l].bias.clone() - bias;
            }
            all.push(layers.clone());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use acclimate_model::kernel::to_vec;

    use super::*;

    /// Layers of widths 2, 3, 2, 1 from a list of values.
    fn layers(values: &[f32]) -> Vec<FastLayer> {
        let mut at = 0;
        let mut take = |shape: [usize; 3]| {
            let count = shape.iter().product::<usize>();
            at += count;
            Tensor::<3>::from_data(TensorData::new(values[at - count..at].to_vec(), shape), &Device::flex())
        };
        [[2, 3], [3, 2], [2, 1]].map(|[d_in, d_out]| FastLayer { weight: take([1, d_in, d_out]), bias: take([1, 1, d_out]) }).into()
    }

    #[test]
    fn lengths_are_those_of_central_differences() {
        // Away from the edges of ReLU, and on both sides of them, at both rows.
        let values: Vec<f32> = (0..20).map(|i| ((5 * i % 11) as f32 - 5.0) / 8.0).collect();
        let x = Tensor::<3>::from_data(TensorData::new(vec![0.5, -1.0, 1.5, 0.25], [1, 2, 2]), &Device::flex());
        let scores = |values: &[f32]| to_vec(forward(&layers(values), &x));
        let mut squares = [0.0_f64; 2];
        for at in 0..values.len() {
            let moved = |by: f32| {
                let mut values = values.clone();
                values[at] += by;
                scores(&values)
            };
            let (up, down) = (moved(1.0 / 64.0), moved(-1.0 / 64.0));
            (0..2).for_each(|row| squares[row] += (f64::from(up[row] - down[row]) * 32.0).powi(2));
        }
        let found = to_vec(gradient_lengths(&layers(&values), x));
        for (found, square) in found.iter().zip(squares) {
            assert!(square > 1.0 && (f64::from(*found) - square.sqrt()).abs() < 1e-4, "{found} and {}", square.sqrt());
        }
    }
}
