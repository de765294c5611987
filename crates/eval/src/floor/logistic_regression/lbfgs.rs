//! Limited-memory BFGS for penalised logistic regression.

use std::collections::VecDeque;

use super::design::Design;

/// Pairs of step and gradient change that are remembered.
const MEMORY: usize = 10;
/// The line search is good enough when the slope has fallen to this fraction.
const SLOPE_FRACTION: f64 = 0.1;
/// Trial steps of one line search at most.
const LINE_STEPS: usize = 20;

/// `minimise over w: sum log(1 + exp(z)) - y z, z = X w, plus l2 / 2 |w|^2` without the intercept.
pub(super) struct Problem<'a> {
    pub(super) design: &'a Design<'a>,
    /// 0 or 1 per row.
    pub(super) labels: &'a [f64],
    pub(super) l2: f64,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Steps at most.
    pub(super) max_iterations: usize,
    /// Fraction of the gradient norm at weights 0.
    pub(super) tolerance: f64,
}

/// A step and what it did to the gradient.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / (step . change)`
    scale: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

impl Problem<'_> {
    /// The minimum, from a starting point.
    pub(super) fn minimise(&self, mut weights: Vec<f64>, stop: Stop) -> Vec<f64> {
        let mut z = self.design.times(&weights);
        let inverse = self.inverse_diagonal(&z);
        let norm = |gradient: &[f64]| gradient.iter().zip(&inverse).map(|(g, i)| g * g * i).sum::<f64>().sqrt();
        let enough = stop.tolerance * norm(&self.gradient(&vec![0.0; weights.len()], &vec![0.0; z.len()]));
        let mut gradient = self.gradient(&weights, &z);
        let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
        for _ in 0..stop.max_iterations {
            if norm(&gradient) <= enough {
                break;
            }
            let mut step = direction(&gradient, &inverse, &memory);
            let along = self.design.times(&step);
            let length = self.line_search(&weights, &z, &step, &along);
            step.iter_mut().for_each(|s| *s *= length);
            add(&mut weights, 1.0, &step);
            add(&mut z, length, &along);
            let before = std::mem::replace(&mut gradient, self.gradient(&weights, &z));
            let change: Vec<f64> = gradient.iter().zip(&before).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &change);
            // Rounding can spoil the curvature of a tiny last step.
            if curvature <= f64::EPSILON * dot(&change, &change).sqrt() * dot(&step, &step).sqrt() {
                break;
            }
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Pair { step, change, scale: 1.0 / curvature });
        }
        weights
    }

    fn penalised<'w>(&self, weights: &'w [f64]) -> (&'w [f64], &'w [f64]) {
        let intercept = self.design.intercept();
        (&weights[..intercept], &weights[intercept + 1..])
    }

    /// `X^T (p - y) + l2 w`
    fn gradient(&self, weights: &[f64], z: &[f64]) -> Vec<f64> {
        let residuals: Vec<f64> = z.iter().zip(self.labels).map(|(&z, y)| sigmoid(z) - y).collect();
        let mut gradient = self.design.transposed_times(&residuals, |x| x);
        let free = gradient[self.design.intercept()];
        add(&mut gradient, self.l2, weights);
        gradient[self.design.intercept()] = free;
        gradient
    }

    /// `1 / (sum p (1 - p) x^2 + l2)` per weight: one-hot columns differ in frequency by orders of magnitude, this makes them alike.
    fn inverse_diagonal(&self, z: &[f64]) -> Vec<f64> {
        let curvature: Vec<f64> = z.iter().map(|&z| sigmoid(z) * (1.0 - sigmoid(z))).collect();
        let diagonal = self.design.transposed_times(&curvature, |x| x * x);
        let mut inverse: Vec<f64> = diagonal.iter().map(|d| 1.0 / (d + self.l2)).collect();
        inverse[self.design.intercept()] = 1.0 / diagonal[self.design.intercept()].max(f64::MIN_POSITIVE);
        inverse
    }

    /// Length t with a slope near 0 at `w + t step`: Newton's method kept between a falling and a rising point. No product with X is needed.
    fn line_search(&self, weights: &[f64], z: &[f64], step: &[f64], along: &[f64]) -> f64 {
        let penalty = |a: &[f64], b: &[f64]| {
            let ((a0, a1), (b0, b1)) = (self.penalised(a), self.penalised(b));
            self.l2 * (dot(a0, b0) + dot(a1, b1))
        };
        let (at_start, per_length) = (penalty(weights, step), penalty(step, step));
        let slope_and_curvature = |t: f64| {
            let (mut slope, mut curvature) = (at_start + t * per_length, per_length);
            for ((&z, &d), y) in z.iter().zip(along).zip(self.labels) {
                let p = sigmoid(z + t * d);
                slope += (p - y) * d;
                curvature += p * (1.0 - p) * d * d;
            }
            (slope, curvature)
        };
        let first = slope_and_curvature(0.0).0.abs();
        let (mut low, mut high, mut t) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..LINE_STEPS {
            let (slope, curvature) = slope_and_curvature(t);
            if slope.abs() <= SLOPE_FRACTION * first {
                break;
            }
            if slope < 0.0 {
                low = t;
            } else {
                high = t;
            }
            let newton = t - slope / curvature;
            let middle = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * t };
            t = if newton > low && newton < high && newton <= 4.0 * t { newton } else { middle };
        }
        t
    }
}

/// `-H g` by the two-loop recursion; H starts as the inverse diagonal, scaled by the latest pair.
fn direction(gradient: &[f64], inverse: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut step: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut factors = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let factor = pair.scale * dot(&pair.step, &step);
        add(&mut step, -factor, &pair.change);
        factors.push(factor);
    }
    let scale = memory.back().map_or(1.0, |pair| {
        let weighted: f64 = pair.change.iter().zip(inverse).map(|(c, i)| c * c * i).sum();
        1.0 / (pair.scale * weighted)
    });
    step.iter_mut().zip(inverse).for_each(|(s, i)| *s *= scale * i);
    for (pair, factor) in memory.iter().zip(factors.into_iter().rev()) {
        let back = pair.scale * dot(&pair.change, &step);
        add(&mut step, factor - back, &pair.step);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::super::tests::mixed;
    use super::super::{Labelled, design::Layout};
    use super::*;

    #[test]
    fn the_gradient_vanishes_at_the_minimum() {
        let data = mixed();
        let rows: Vec<u32> = (0..60).collect();
        let rows = Labelled::new(&data, &rows).unwrap();
        let labels: Vec<f64> = rows.labels().collect();
        let layout = Layout::new(rows.rows(), true, &[]);
        let design = Design::new(&layout, rows.rows());
        for l2 in [0.01, 1.0, 50.0] {
            let problem = Problem { design: &design, labels: &labels, l2 };
            let weights = problem.minimise(vec![0.0; layout.len()], Stop { max_iterations: 300, tolerance: 1e-9 });
            let gradient = problem.gradient(&weights, &design.times(&weights));
            assert!(gradient.iter().all(|g| g.abs() < 1e-6), "l2 {l2}: {gradient:?}");
        }
    }

    #[test]
    fn separable_labels_stay_finite() {
        let mut data = mixed();
        let log = std::sync::Arc::make_mut(&mut data.log);
        for (label, user) in log.label.iter_mut().zip(&log.user) {
            *label = f32::from(u8::from(user.0 < 3));
        }
        let rows: Vec<u32> = (0..60).collect();
        let rows = Labelled::new(&data, &rows).unwrap();
        let labels: Vec<f64> = rows.labels().collect();
        let layout = Layout::new(rows.rows(), true, &[]);
        let design = Design::new(&layout, rows.rows());
        let problem = Problem { design: &design, labels: &labels, l2: 1e-6 };
        let weights = problem.minimise(vec![0.0; layout.len()], Stop { max_iterations: 100, tolerance: 1e-6 });
        assert!(weights.iter().all(|w| w.is_finite()));
    }
}
