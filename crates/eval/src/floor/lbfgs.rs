//! Limited-memory BFGS with an exact line search, for functions of linear predictors.

use std::collections::VecDeque;

/// Pairs of step and gradient change that are remembered.
const MEMORY: usize = 10;
/// The line search is good enough when the slope has fallen to this fraction.
const SLOPE_FRACTION: f64 = 0.1;
/// Trial steps of one line search at most.
const LINE_STEPS: usize = 20;

/// A smooth convex function of weights w that reads them through linear predictors `z = X w`, and so costs no product with X along a line.
pub(super) trait Objective {
    /// `X w`
    fn times(&self, weights: &[f64]) -> Vec<f64>;

    /// The gradient at w; z is `X w`.
    fn gradient(&self, weights: &[f64], z: &[f64]) -> Vec<f64>;

    /// What each weight's gradient is multiplied by, about the inverse of the diagonal of the second derivative at z: one-hot columns differ in frequency by
    /// orders of magnitude, this makes them alike.
    fn inverse_diagonal(&self, z: &[f64]) -> Vec<f64>;

    /// Slope and curvature at `w + t step` as a function of t; `along` is `X step`.
    fn line(&self, weights: &[f64], z: &[f64], step: &[f64], along: &[f64]) -> impl Fn(f64) -> (f64, f64);
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Steps at most.
    pub(super) max_iterations: usize,
    /// Fraction of the gradient norm at weights 0 that is small enough.
    pub(super) tolerance: f64,
}

/// A step and what it did to the gradient.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / (step . change)`
    scale: f64,
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

/// The minimum of an objective, from a starting point.
pub(super) fn minimise(objective: &impl Objective, mut weights: Vec<f64>, stop: Stop) -> Vec<f64> {
    let mut z = objective.times(&weights);
    let inverse = objective.inverse_diagonal(&z);
    let norm = |gradient: &[f64]| gradient.iter().zip(&inverse).map(|(g, i)| g * g * i).sum::<f64>().sqrt();
    let enough = stop.tolerance * norm(&objective.gradient(&vec![0.0; weights.len()], &vec![0.0; z.len()]));
    let mut gradient = objective.gradient(&weights, &z);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..stop.max_iterations {
        if norm(&gradient) <= enough {
            break;
        }
        let mut step = direction(&gradient, &inverse, &memory);
        let along = objective.times(&step);
        let length = line_search(objective.line(&weights, &z, &step, &along));
        step.iter_mut().for_each(|s| *s *= length);
        add(&mut weights, 1.0, &step);
        add(&mut z, length, &along);
        let before = std::mem::replace(&mut gradient, objective.gradient(&weights, &z));
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

/// Length t with a slope near 0: Newton's method kept between a falling and a rising point.
fn line_search(slope_and_curvature: impl Fn(f64) -> (f64, f64)) -> f64 {
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
