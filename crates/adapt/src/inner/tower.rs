//! Gradient steps on a tower of linear layers, written as ordinary tensor operations.
//!
//! Autodiff is first order: it returns gradients as constants. So the inner gradient is written out, and one reverse pass over it is the exact
//! second-order outer gradient. For `h_0 = x`, `z_l = h_{l-1} W_l + b_l`, `h_l = ReLU(z_l)`, `s = h_L W + b` and a task's mean support loss:
//!
//! - `δ_s = 2 (s - y) / n` (squared error) or `(σ(s) - y) / n` (logistic), 0 for padding;
//! - `∂W_l = h_{l-1}ᵀ δ_l`, `∂b_l = Σ_rows δ_l`, `δ_{l-1} = (δ_l W_lᵀ) ⊙ 1[z_{l-1} > 0]`.
//!
//! - where embedding rows move as well, `∂x = δ_1 W_1ᵀ` and from there to the rows, as `rows.rs` says.
//!
//! ReLU masks are constants, since the second derivative of ReLU is 0 almost everywhere. All tasks are stepped together: weights are `[T, d_in, d_out]`.
//! Every step of a task is multiplied by its own factor, which may be a tensor with a gradient: `n / (n + c)` with a learned c, or a rate that depends on the user.
//!
//! # References
//! C. Finn, P. Abbeel, S. Levine, *Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks*, ICML 2017.

use std::ops::Range;

use acclimate_data::Batch;
use acclimate_model::layer::product;
use acclimate_model::{Bound, Effect, Linear, Modulation, Objective};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::rows::Touched;

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
    /// Of each step, or of all alike where there is one entry.
    Learned(Vec<StepRates>),
}

/// Learned rates of one step.
#[derive(Clone, Debug)]
pub struct StepRates {
    /// Of each adapted layer: of the weight `[1, d_in|1, d_out|1]` and of the bias `[1, 1, d_out|1]`.
    pub layers: Vec<FastLayer>,
    /// Of embedding rows, where they move: `[1, 1, 1]`.
    pub rows: Option<Tensor<3>>,
}

impl Rates {
    /// How far a layer goes, the i-th of those that are adapted: `factor α ⊙ gradient`.
    fn layer(&self, step: usize, i: usize, gradient: FastLayer, factor: Option<&Tensor<3>>) -> FastLayer {
        match self {
            Self::One(rate) => {
                let [weight, bias] = [gradient.weight, gradient.bias].map(|gradient| by(gradient, *rate, factor));
                FastLayer { weight, bias }
            }
            Self::Learned(steps) => {
                let rate = &steps[step.min(steps.len() - 1)].layers[i];
                let [weight, bias] = [gradient.weight * rate.weight.clone(), gradient.bias * rate.bias.clone()].map(|x| scaled(x, factor));
                FastLayer { weight, bias }
            }
        }
    }

    /// The same of embedding rows.
    fn rows(&self, step: usize, gradient: Tensor<3>, factor: Option<&Tensor<3>>) -> Tensor<3> {
        match self {
            Self::One(rate) => by(gradient, *rate, factor),
            Self::Learned(steps) => {
                let rate = steps[step.min(steps.len() - 1)].rows.as_ref().expect("whoever moves rows brings their rate");
                scaled(gradient * rate.clone(), factor)
            }
        }
    }
}

fn by(gradient: Tensor<3>, rate: f64, factor: Option<&Tensor<3>>) -> Tensor<3> {
    match factor {
        Some(factor) => gradient * (factor.clone() * rate), // [T, 1, 1]
        None => gradient * rate,
    }
}

fn scaled(x: Tensor<3>, factor: Option<&Tensor<3>>) -> Tensor<3> {
    match factor {
        Some(factor) => x * factor.clone(),
        None => x,
    }
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
    /// The adapted layers; the others stay as they are.
    pub adapted: Range<usize>,
}

/// What tasks are adapted to.
#[derive(Clone, Copy)]
pub struct Tasks<'a> {
    /// Rows that go in, `[T, S, d]`.
    pub x: &'a Tensor<3>,
    /// Their mask and labels, `[T, S]`.
    pub support: &'a Batch,
    /// What every step of a task is multiplied by, `[T, 1, 1]`; none for 1.
    pub factor: Option<&'a Tensor<3>>,
    /// The embedding rows that move as well.
    pub(crate) touched: Option<&'a Touched>,
}

impl<'a> Tasks<'a> {
    /// Rows with labels, and nothing but layers that move.
    #[must_use]
    pub fn new(x: &'a Tensor<3>, support: &'a Batch) -> Self {
        Self { x, support, factor: None, touched: None }
    }
}

/// What is adapted, after some steps.
#[derive(Clone, Debug)]
pub struct Fast {
    /// All layers, those that are not adapted as they were.
    pub layers: Vec<FastLayer>,
    /// What the embedding rows of each table have moved by, `[T, R, d]`; none where they do not.
    pub rows: Vec<Tensor<3>>,
}

/// Support rows as the inner loop reads them.
pub(crate) struct Rows {
    /// 1/n for a real row of a task with n of them, else 0: `[T, S, 1]`.
    weight: Tensor<3>,
    /// `[T, S, 1]`.
    label: Tensor<3>,
}

impl Rows {
    /// Reads a batch of tasks.
    pub(crate) fn new(support: &Batch, device: &Device) -> Self {
        let counts = counts(support);
        let weights = support.mask.iter().enumerate().map(|(i, m)| m / counts[i / support.rows].max(1.0)).collect::<Vec<_>>();
        let tensor = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, [support.groups, support.rows, 1]), device);
        Self { weight: tensor(weights), label: tensor(support.label.clone()) }
    }

    /// The mean of `x [T, S, d]` over the real rows of each task, `[T, 1, d]`; 0 where there are none.
    pub(crate) fn mean(&self, x: Tensor<3>) -> Tensor<3> {
        (x * self.weight.clone()).sum_dim(1)
    }
}

/// n of each task.
pub(crate) fn counts(support: &Batch) -> Vec<f32> {
    support.mask.chunks_exact(support.rows.max(1)).map(|mask| mask.iter().sum()).collect()
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

/// The layers of a tower with the values that are bound.
pub(crate) fn bound(tower: &[Linear], base: &Bound) -> Vec<FastLayer> {
    tower.iter().map(|l| FastLayer { weight: base.get(l.weight), bias: base.get(l.bias) }).collect()
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
    /// What is adapted after K steps on the support set.
    ///
    /// # Shapes
    /// `x [T, S, d]`; `support` is `[T, S]` with labels; a task without real rows keeps its weights.
    #[must_use]
    pub fn adapt(&self, layers: &[FastLayer], rates: &Rates, tasks: Tasks<'_>) -> Fast {
        self.trajectory(layers, rates, tasks).pop().unwrap_or_else(|| Fast { layers: layers.to_vec(), rows: Vec::new() })
    }

    /// Fast weights of each task, `[T, d_in, d_out]`, in place of those of the adapted layers.
    pub(crate) fn replace<'a>(&self, modulation: Modulation<'a>, tower: &[Linear], fast: Vec<FastLayer>) -> Modulation<'a> {
        let adapted = tower.iter().zip(fast).enumerate().filter(|(l, _)| self.adapted.contains(l));
        adapted.fold(modulation, |all, (_, (l, fast))| all.with(l.site, Effect::Replace { weight: fast.weight, bias: Some(fast.bias) }))
    }

    /// What is adapted after each of the K steps; none without a support row.
    #[must_use]
    pub fn trajectory(&self, layers: &[FastLayer], rates: &Rates, tasks: Tasks<'_>) -> Vec<Fast> {
        let Tasks { x, support, factor, touched } = tasks;
        if support.is_empty() {
            return Vec::new();
        }
        let rows = Rows::new(support, &x.device());
        let mut fast = Fast { layers: layers.to_vec(), rows: touched.map(Touched::start).unwrap_or_default() };
        let mut all = Vec::with_capacity(self.steps);
        for step in 0..self.steps {
            let x = touched.map_or_else(|| x.clone(), |touched| touched.support(x, &fast.rows));
            let (of, x) = match self.order {
                Order::Second => (fast.layers.clone(), x),
                Order::First => (detached(&fast.layers), x.detach()),
            };
            let from = if touched.is_some() { 0 } else { self.adapted.start };
            let backward = Backward::new(self.objective, &of, x, None, &rows, from);
            for (i, l) in self.adapted.clone().enumerate() {
                let FastLayer { weight, bias } = rates.layer(step, i, backward.gradient(l), factor);
                let layer = &mut fast.layers[l];
                layer.weight = layer.weight.clone() - weight;
                layer.bias = layer.bias.clone() - bias;
            }
            if let Some(touched) = touched {
                let of_x = product(backward.delta(0), of[0].weight.clone().transpose()); // [T, S, d]
                for (moved, gradient) in fast.rows.iter_mut().zip(touched.gradient(&of_x)) {
                    *moved = moved.clone() - rates.rows(step, gradient, factor);
                }
            }
            all.push(fast.clone());
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
