//! Optimisers on host buffers: one update rule for dense parameters and for single embedding rows.

use acclimate_model::kernel::{AdamStep, AdamTable, adam, adam_rows};
use acclimate_model::{RowGradients, Table};
use serde::{Deserialize, Serialize};

/// The update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019); without decay plain Adam (Kingma and Ba, ICLR 2015).
    Adam,
    /// Adagrad (Duchi et al., JMLR 2011).
    Adagrad,
    /// Plain gradient descent.
    Sgd,
}

/// Configuration of the optimiser.
///
/// Embedding rows are updated only where the batch touches them: a row without gradient keeps its value and its moments, and does not decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Update rule; default Adam.
    pub rule: Rule,
    /// Learning rate of dense parameters; default 1e-3.
    pub rate: f64,
    /// Learning rate of input embedding rows; default: as `rate`. A row moves only when a batch touches it, so rare rows that start from nothing
    /// want about ten times the rate of layers. A head made of rows learns at `rate`.
    pub row_rate: Option<f64>,
    /// Update rule of input embedding rows; default: as `rule`. Adam moves a row that it meets once by the whole rate, whatever the gradient; Adagrad moves rows less the
    /// more often it has met them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_rule: Option<Rule>,
    /// Decay of the first moment; default 0.9.
    pub beta1: f64,
    /// Decay of the second moment; default 0.999.
    pub beta2: f64,
    /// Keeps the denominator off zero; default 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay of weight matrices (biases and norms are spared); default 0.
    pub weight_decay: f64,
    /// Decoupled weight decay of touched embedding rows; default 0.
    pub row_decay: f64,
    /// Largest allowed norm of all gradients together; default none.
    pub clip_norm: Option<f64>,
    /// Largest allowed magnitude of a single gradient value; default none.
    pub clip_value: Option<f32>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: Rule::Adam,
            rate: 1e-3,
            row_rate: None,
            row_rule: None,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            row_decay: 0.0,
            clip_norm: None,
            clip_value: None,
        }
    }
}

/// Numbers of one update step, computed once.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    rule: Rule,
    step: AdamStep,
}

impl OptimizerConfig {
    /// The update of step `t` (from 1) with the learning rate scaled by `schedule`.
    #[must_use]
    pub fn dense(&self, t: u64, schedule: f64) -> Update {
        self.update(self.rule, t, self.rate * schedule, self.weight_decay)
    }

    /// The same for embedding rows. `t` counts optimiser steps, not touches of the row, as PyTorch's `SparseAdam` does.
    #[must_use]
    pub fn rows(&self, t: u64, schedule: f64) -> Update {
        self.update(self.row_rule.unwrap_or(self.rule), t, self.row_rate.unwrap_or(self.rate) * schedule, self.row_decay)
    }

    fn update(&self, rule: Rule, t: u64, rate: f64, decay: f64) -> Update {
        Update { rule, step: AdamStep::new(rate, [self.beta1, self.beta2], self.epsilon, decay, t) }
    }
}

/// First and second moments of a buffer; Adagrad uses the second only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of gradients.
    pub first: Vec<f32>,
    /// Running mean (Adagrad: sum) of squared gradients.
    pub second: Vec<f32>,
}

impl Moments {
    /// Zero moments for `len` values.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

impl Update {
    /// Updates a dense buffer; `decay` says whether weight decay applies to it.
    pub fn dense(&self, values: &mut [f32], gradient: &[f32], moments: &mut Moments, decay: bool) {
        let step = if decay { self.step } else { AdamStep { shrink: 0.0, ..self.step } };
        let (first, second) = (&mut moments.first, &mut moments.second);
        match self.rule {
            Rule::Adam => adam(&step, values, gradient, first, second),
            rule => simple(rule, &step, values, gradient, second),
        }
    }

    /// Updates the touched rows of a table; weight decay spares the last `spared` values of each.
    pub fn rows(&self, table: &mut Table, spared: usize, gradients: &RowGradients, moments: &mut Moments) {
        let (d, values) = (table.d, &mut table.values[..]);
        let (first, second) = (&mut moments.first[..], &mut moments.second[..]);
        if self.rule == Rule::Adam {
            return adam_rows(&self.step, AdamTable { d, spared, values, first, second }, gradients.rows(), gradients.sums());
        }
        let spare = AdamStep { shrink: 0.0, ..self.step };
        for (row, gradient) in gradients.iter() {
            let (start, middle, end) = (row as usize * d, row as usize * d + d - spared, row as usize * d + d);
            simple(self.rule, &self.step, &mut values[start..middle], gradient, &mut second[start..middle]);
            simple(self.rule, &spare, &mut values[middle..end], &gradient[d - spared..], &mut second[middle..end]);
        }
    }
}

/// The rules without a first moment: Adagrad, and plain descent for all others.
fn simple(rule: Rule, step: &AdamStep, values: &mut [f32], gradient: &[f32], second: &mut [f32]) {
    let AdamStep { rate, epsilon, shrink, .. } = *step;
    let state = values.iter_mut().zip(gradient);
    if rule == Rule::Adagrad {
        return state.zip(second).for_each(|((x, &g), v)| {
            *v += g * g;
            *x -= shrink * *x + rate * g / (v.sqrt() + epsilon);
        });
    }
    state.for_each(|(x, &g)| *x -= shrink * *x + rate * g);
}
