//! How much of a memory is mixed into a network.

use serde::{Deserialize, Serialize};

/// Steps of the fit; it stops earlier where a step gains nothing.
const STEPS: usize = 60;
/// Weight of `a^2 + b^2 + c^2` against the likelihood: keeps the gate finite where one side is always right.
const RIDGE: f64 = 1e-3;

/// `g = sigmoid(a conf_memory - b conf_network + c)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Weight of the memory's confidence.
    pub a: f64,
    /// Weight of the network's confidence.
    pub b: f64,
    /// What it is without either.
    pub c: f64,
}

/// A query with a known answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    network: f64,
    memory: f64,
    /// `[conf_memory, -conf_network, 1]`.
    x: [f64; 3],
}

impl Case {
    /// From the probability of what followed and the confidence, of the network and of the memory.
    pub(super) fn new(network: (f32, f32), memory: (f32, f32)) -> Self {
        let x = [f64::from(memory.1), -f64::from(network.1), 1.0];
        Self { network: f64::from(network.0), memory: f64::from(memory.0), x }
    }
}

impl Gate {
    /// g, for the confidences of the memory and of the network.
    pub(super) fn weight(&self, memory: f32, network: f32) -> f64 {
        sigmoid(self.a * f64::from(memory) - self.b * f64::from(network) + self.c)
    }

    /// The gate of the largest penalised likelihood `sum(ln((1 - g) p_network + g p_memory)) - RIDGE |theta|^2`.
    ///
    /// Newton steps with the outer product of the gradients for the curvature, each halved until it gains.
    pub(super) fn fit(cases: &[Case]) -> Self {
        let mut theta = [0.0; 3];
        let mut reached = likelihood(&theta, cases);
        for _ in 0..STEPS {
            let (gradient, curvature) = slopes(&theta, cases);
            let Some(step) = solve(curvature, gradient) else { break };
            let mut length = 1.0;
            let better = std::iter::from_fn(|| {
                let at: [f64; 3] = std::array::from_fn(|i| theta[i] + length * step[i]);
                length *= 0.5;
                (length > 1e-6).then(|| (at, likelihood(&at, cases)))
            });
            let Some((at, value)) = better.into_iter().find(|(_, value)| *value > reached) else { break };
            let gain = value - reached;
            (theta, reached) = (at, value);
            if gain < 1e-9 * reached.abs() {
                break;
            }
        }
        let [a, b, c] = theta;
        Self { a, b, c }
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn gate(theta: &[f64; 3], case: &Case) -> f64 {
    sigmoid(theta.iter().zip(case.x).map(|(t, x)| t * x).sum())
}

fn mixed(g: f64, case: &Case) -> f64 {
    ((1.0 - g) * case.network + g * case.memory).max(f64::MIN_POSITIVE)
}

fn likelihood(theta: &[f64; 3], cases: &[Case]) -> f64 {
    let of_case = |case: &Case| mixed(gate(theta, case), case).ln();
    cases.iter().map(of_case).sum::<f64>() - RIDGE * theta.iter().map(|t| t * t).sum::<f64>()
}

/// The gradient of the likelihood, and the sum of the outer products of its parts.
fn slopes(theta: &[f64; 3], cases: &[Case]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut gradient = theta.map(|t| -2.0 * RIDGE * t);
    let mut curvature = [[0.0; 3]; 3];
    (0..3).for_each(|i| curvature[i][i] = 2.0 * RIDGE);
    for case in cases {
        let g = gate(theta, case);
        let by_z = g * (1.0 - g) * (case.memory - case.network) / mixed(g, case);
        for i in 0..3 {
            gradient[i] += by_z * case.x[i];
            (0..3).for_each(|j| curvature[i][j] += by_z * by_z * case.x[i] * case.x[j]);
        }
    }
    (gradient, curvature)
}

/// `A^-1 b` of a positive definite matrix, by elimination; `None` where it is singular.
fn solve(mut a: [[f64; 3]; 3], mut b: [f64; 3]) -> Option<[f64; 3]> {
    for i in 0..3 {
        if a[i][i].abs() < 1e-300 {
            return None;
        }
        for j in i + 1..3 {
            let factor = a[j][i] / a[i][i];
            (i..3).for_each(|k| a[j][k] -= factor * a[i][k]);
            b[j] -= factor * b[i];
        }
    }
    let mut x = [0.0; 3];
    for i in (0..3).rev() {
        x[i] = (b[i] - (i + 1..3).map(|k| a[i][k] * x[k]).sum::<f64>()) / a[i][i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory is right where it is confident, the network elsewhere.
    fn cases() -> Vec<Case> {
        let case = |i: u32| {
            let confident = i.is_multiple_of(3);
            let memory = if confident { (0.6, 5.0) } else { (0.01, 0.5) };
            let network = if confident { (0.05, 2.0) } else { (0.2, 2.0 + (i % 5) as f32 * 0.1) };
            Case::new(network, memory)
        };
        (0..60).map(case).collect()
    }

    #[test]
    fn the_gate_learns_whom_to_believe() {
        let gate = Gate::fit(&cases());
        let reached = likelihood(&[gate.a, gate.b, gate.c], &cases());
        assert!(gate.weight(5.0, 2.0) > 0.95, "{gate:?}");
        assert!(gate.weight(0.5, 2.0) < 0.05, "{gate:?}");
        for shut_or_open in [-30.0, 30.0] {
            assert!(reached > likelihood(&[0.0, 0.0, shut_or_open], &cases()));
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_likelihood() {
        let (theta, cases, step) = ([0.3, -0.2, 0.1], cases(), 1e-5);
        let (gradient, _) = slopes(&theta, &cases);
        for (i, g) in gradient.into_iter().enumerate() {
            let at = |by: f64| likelihood(&std::array::from_fn(|k| theta[k] + if k == i { by } else { 0.0 }), &cases);
            let slope = (at(step) - at(-step)) / (2.0 * step);
            assert!((slope - g).abs() < 1e-5 * g.abs().max(1.0), "{i}: {slope} {g}");
        }
    }

    #[test]
    fn it_stands_at_a_maximum() {
        let gate = Gate::fit(&cases());
        let reached = likelihood(&[gate.a, gate.b, gate.c], &cases());
        for i in 0..3 {
            for by in [-0.05, 0.05] {
                let mut theta = [gate.a, gate.b, gate.c];
                theta[i] += by;
                assert!(likelihood(&theta, &cases()) < reached);
            }
        }
    }

    #[test]
    fn without_cases_nothing_is_believed_more() {
        assert_eq!(Gate::fit(&[]), Gate::default());
    }
}
