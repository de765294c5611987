//! Training objectives: from a backbone's output to one number.

use burn::tensor::activation::{log_softmax, softplus};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use acclimate_data::Batch;

use crate::{Backbone, ModelError, Output};

/// What training minimises. Means are over real rows only (mask 1); where a batch has several groups (tasks), `Logistic` and `SquaredError` are the
/// mean over groups of the mean over a group's rows, so that every task counts the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// `softplus(s) - y s`: log loss of labels 0/1 from logits `s`. With candidate scores `softplus(-s_pos) + Σ softplus(s_neg)`: the positive has label 1, each of the
    /// other candidates of the position label 0.
    Logistic,
    /// `(s - y)²`.
    SquaredError,
    /// `softplus(s_neg - s_pos)` (Rendle et al., UAI 2009). With row scores a group is one positive followed by its negatives;
    /// with candidate scores every other candidate of the position is a negative.
    Bpr,
    /// `-log softmax` of the positive among the candidates: all items, or the positive and sampled negatives (the candidates decide which).
    Softmax,
}

impl Objective {
    /// Name in configs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logistic => "logistic",
            Self::SquaredError => "squared_error",
            Self::Bpr => "bpr",
            Self::Softmax => "softmax",
        }
    }

    /// Checks that a network's output is what the objective needs.
    ///
    /// # Errors
    /// [`ModelError::Objective`] with those that fit.
    pub fn check(self, backbone: &dyn Backbone) -> Result<(), ModelError> {
        let fitting = backbone.objectives();
        if fitting.contains(&self) {
            return Ok(());
        }
        let fitting = fitting.iter().map(|o| format!("`{}`", o.name())).collect::<Vec<_>>().join(", ");
        Err(ModelError::Objective { objective: self.name(), backbone: backbone.name(), fitting })
    }

    /// The loss `[1]`.
    ///
    /// # Panics
    /// Panics if the output does not fit the objective: rows need `Logistic`, `SquaredError` or `Bpr`, candidates `Softmax`, `Bpr` or `Logistic`.
    #[must_use]
    pub fn loss(self, output: &Output, batch: &Batch) -> Tensor<1> {
        match (self, output) {
            (Self::Logistic, Output::Rows(s)) => {
                // Weights that are all zero would make the mean 0 / 0; the kernel gives 0.
                crate::kernel::logistic_loss(s.clone(), &batch.label, &weights(batch))
            }
            (Self::SquaredError, Output::Rows(s)) => {
                let y = labels(batch, &s.device());
                masked_mean((s.clone() - y).square(), batch)
            }
            (Self::Bpr, Output::Rows(s)) => {
                let [g, n, _] = s.dims();
                let positive = s.clone().slice([0..g, 0..1, 0..1]); // [G, 1, 1]
                let negative = s.clone().slice([0..g, 1..n, 0..1]); // [G, N-1, 1]
                let mask = mask(batch, &s.device()).slice([0..g, 1..n, 0..1]); // [G, N-1, 1]
                let count = batch.mask.chunks_exact(n).flat_map(|group| &group[1..]).sum::<f32>().max(1.0);
                (softplus(negative - positive, 1.0) * mask).sum() / count
            }
            (Self::Softmax, Output::Candidates { scores, target }) => {
                let p = target.len().max(1) as f32;
                let chosen = log_softmax(scores.clone(), 2).gather(2, index(target, &scores.device())); // [1, P, 1]
                chosen.sum().neg() / p
            }
            (Self::Bpr, Output::Candidates { scores, target }) => {
                let [_, p, k] = scores.dims();
                let positive = scores.clone().gather(2, index(target, &scores.device())); // [1, P, 1]
                // The positive against itself adds ln 2, a constant without gradient.
                let total = softplus(scores.clone() - positive, 1.0).sum() - p as f32 * std::f32::consts::LN_2;
                total / (p * (k - 1).max(1)) as f32
            }
            (Self::Logistic, Output::Candidates { scores, target }) => {
                let p = target.len().max(1) as f32;
                let positive = scores.clone().gather(2, index(target, &scores.device())); // [1, P, 1]
                // softplus(-s) = softplus(s) - s: the positive among all candidates, as a negative, and what it lacks.
                (softplus(scores.clone(), 1.0).sum() - positive.sum()) / p
            }
            (Self::Softmax, Output::Comparison(comparison)) => comparison.softmax_loss(),
            (Self::Bpr | Self::Logistic, Output::Comparison(comparison)) => self.loss(&comparison.candidates(), batch),
            _ => panic!("objective {self:?} does not fit the backbone's output"),
        }
    }

    /// The loss of one row, its part of [`loss`](Self::loss): of a logit and a label 0 or 1, or of a value and a label in units of the label.
    #[must_use]
    pub fn of_row(self, score: f32, label: f32) -> f64 {
        let (s, y) = (f64::from(score), f64::from(label));
        match self {
            Self::SquaredError => (s - y) * (s - y),
            _ => s.max(0.0) + (-s.abs()).exp().ln_1p() - y * s,
        }
    }

    /// The loss of each row, `[G, N, 1]`, of scores and of what they ought to be, which may lie between 0 and 1; `None` for an objective that compares rows or
    /// candidates with each other. With the [`shares`] of a batch as weights their sum is [`loss`](Self::loss).
    #[must_use]
    pub fn of_rows(self, scores: Tensor<3>, targets: Tensor<3>) -> Option<Tensor<3>> {
        match self {
            Self::Logistic => Some(softplus(scores.clone(), 1.0) - targets * scores),
            Self::SquaredError => Some((scores - targets).square()),
            Self::Bpr | Self::Softmax => None,
        }
    }

    /// From a score to what is reported: a probability for the logistic objective, the score itself else.
    #[must_use]
    pub fn predict(self, score: f32) -> f32 {
        match self {
            Self::Logistic => 1.0 / (1.0 + (-score).exp()),
            _ => score,
        }
    }
}

/// A value for each row of a batch, `[G, N, 1]`.
#[must_use]
pub fn column(values: Vec<f32>, batch: &Batch, device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(values, [batch.groups, batch.rows, 1]), device)
}

/// The batch's labels `[G, N, 1]`.
#[must_use]
pub fn labels(batch: &Batch, device: &Device) -> Tensor<3> {
    column(batch.label.clone(), batch, device)
}

/// The batch's mask `[G, N, 1]`.
#[must_use]
pub fn mask(batch: &Batch, device: &Device) -> Tensor<3> {
    column(batch.mask.clone(), batch, device)
}

/// What each row counts in the mean over groups of the mean over a group's real rows: 0 for padding, 1 in all; 0 everywhere without a real row.
#[must_use]
pub fn shares(batch: &Batch) -> Vec<f32> {
    let mut shares = weights(batch);
    let total: f32 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total.max(f32::MIN_POSITIVE));
    shares
}

fn index(target: &[u32], device: &Device) -> Tensor<3, Int> {
    let target: Vec<i32> = target.iter().map(|&t| t as i32).collect();
    let n = target.len();
    Tensor::from_data(TensorData::new(target, [1, n, 1]), device)
}

/// Relative weight of each row: 1 / n for a real row of a group with n of them, 0 for padding.
fn weights(batch: &Batch) -> Vec<f32> {
    let mut weights = batch.mask.clone();
    for group in weights.chunks_exact_mut(batch.rows.max(1)) {
        let rows: f32 = group.iter().sum();
        group.iter_mut().for_each(|w| *w /= rows.max(1.0));
    }
    weights
}

fn masked_mean(loss: Tensor<3>, batch: &Batch) -> Tensor<1> {
    if batch.mask.iter().all(|&m| m == 1.0) {
        return loss.mean();
    }
    let weights = weights(batch);
    let total: f32 = weights.iter().sum();
    let weights = Tensor::<3>::from_data(TensorData::new(weights, loss.dims()), &loss.device()); // [G, N, 1]
    (loss * weights).sum() / total.max(f32::MIN_POSITIVE)
}
