//! Log loss from logits.

use burn::tensor::activation::softplus;
use burn::tensor::{Tensor, TensorData};

use super::fused::{FusedOp, Pass, apply};

/// `sum_i w_i (softplus(s_i) - y_i s_i) / sum_i w_i`: weighted mean log loss of labels 0/1 from logits; the gradient is computed
/// on the way. Rows of weight 0 (padding) contribute nothing, and the loss of no weight at all is 0.
///
/// # Shapes
/// - `logits` `[G, N, 1]`
/// - `labels`, `weights`: G·N values
/// - result `[1]`
///
/// # Panics
/// If the three do not have the same number of values.
pub fn logistic_loss(logits: Tensor<3>, labels: &[f32], weights: &[f32]) -> Tensor<1> {
    let total: usize = logits.dims().iter().product();
    assert!(
        total == labels.len() && total == weights.len(),
        "logistic_loss: {total} logits, {} labels, {} weights",
        labels.len(),
        weights.len()
    );
    let op = Logistic { labels: labels.to_vec(), weights: normalise(weights) };
    apply(op, [&logits], [1]).unwrap_or_else(|| composed(logits, labels, weights))
}

/// The same function from ordinary tensor operations.
pub(super) fn composed(logits: Tensor<3>, labels: &[f32], weights: &[f32]) -> Tensor<1> {
    let constant = |v: Vec<f32>| Tensor::<3>::from_data(TensorData::new(v, logits.dims()), &logits.device());
    let (y, w) = (constant(labels.to_vec()), constant(normalise(weights)));
    ((softplus(logits.clone(), 1.0) - y * logits) * w).sum()
}

/// Weights that sum to 1, or zeros.
pub(super) fn normalise(weights: &[f32]) -> Vec<f32> {
    let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
    let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
    weights.iter().map(|&w| (f64::from(w) * scale) as f32).collect()
}

#[derive(Clone, Debug)]
struct Logistic {
    labels: Vec<f32>,
    weights: Vec<f32>,
}

impl FusedOp<1> for Logistic {
    /// The gradient with respect to the logits for an upstream gradient of 1.
    type Saved = Vec<f32>;
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [logits]: [&[f32]; 1], [tracked]: [bool; 1]) -> (Vec<f32>, Vec<f32>) {
        let mut loss = 0.0f64;
        let mut gradient = Vec::with_capacity(if tracked { logits.len() } else { 0 });
        for ((&s, &y), &w) in logits.iter().zip(&self.labels).zip(&self.weights) {
            // `exp(-|s|)` never overflows; both softplus and the probability follow from it.
            let small = (-s.abs()).exp();
            loss += f64::from(w * (s.max(0.0) + small.ln_1p() - y * s));
            if tracked {
                let probability = if s >= 0.0 { 1.0 } else { small } / (1.0 + small);
                gradient.push(w * (probability - y));
            }
        }
        (vec![loss as f32], gradient)
    }

    fn backward(&self, pass: Pass<'_, 1, Vec<f32>>) -> [Option<Vec<f32>>; 1] {
        let upstream = pass.grad[0];
        let mut gradient = pass.saved;
        if upstream != 1.0 {
            gradient.iter_mut().for_each(|g| *g *= upstream);
        }
        [pass.wanted[0].then_some(gradient)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_differences, close, compare, draw, outcome, rng};
    use super::*;

    #[test]
    fn fused_equals_composed() {
        let logits: Vec<f32> = draw(&mut rng(1), 21).iter().map(|v| 8.0 * v).collect();
        let labels: Vec<f32> = (0..21).map(|i| f32::from(i % 3 == 0)).collect();
        let weights: Vec<f32> = (0..21).map(|i| f32::from(i % 5 != 0)).collect();
        let f = |x: &[Tensor<3>]| logistic_loss(x[0].clone(), &labels, &weights);
        let inputs = vec![(logits, [3, 7, 1])];
        compare(&inputs, &f, &|x| composed(x[0].clone(), &labels, &weights));
        check_differences(&inputs, &f);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let inputs = vec![(vec![200.0, -200.0, 0.0], [1, 3, 1])];
        let y = outcome(&inputs, &[true], &|x| logistic_loss(x[0].clone(), &[0.0, 1.0, 1.0], &[1.0; 3]));
        close(&y.value, &[(400.0 + std::f32::consts::LN_2) / 3.0], "loss");
        let none = outcome(&inputs, &[true], &|x| logistic_loss(x[0].clone(), &[0.0, 1.0, 1.0], &[0.0; 3]));
        assert_eq!(none.value, [0.0]);
    }
}
