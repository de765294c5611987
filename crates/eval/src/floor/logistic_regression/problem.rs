//! The penalised log loss of clicks.

use super::super::lbfgs::{Objective, add, dot};
use super::design::Design;

/// `sum log(1 + exp(z)) - y z, z = X w, plus l2 / 2 |w|^2` without the intercept.
pub(super) struct Problem<'a> {
    pub(super) design: &'a Design<'a>,
    /// 0 or 1 per row.
    pub(super) labels: &'a [f64],
    pub(super) l2: f64,
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

impl Problem<'_> {
    fn penalised<'w>(&self, weights: &'w [f64]) -> (&'w [f64], &'w [f64]) {
        let intercept = self.design.intercept();
        (&weights[..intercept], &weights[intercept + 1..])
    }
}

impl Objective for Problem<'_> {
    fn times(&self, weights: &[f64]) -> Vec<f64> {
        self.design.times(weights)
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

    /// `1 / (sum p (1 - p) x^2 + l2)` per weight.
    fn inverse_diagonal(&self, z: &[f64]) -> Vec<f64> {
        let curvature: Vec<f64> = z.iter().map(|&z| sigmoid(z) * (1.0 - sigmoid(z))).collect();
        let diagonal = self.design.transposed_times(&curvature, |x| x * x);
        let mut inverse: Vec<f64> = diagonal.iter().map(|d| 1.0 / (d + self.l2)).collect();
        inverse[self.design.intercept()] = 1.0 / diagonal[self.design.intercept()].max(f64::MIN_POSITIVE);
        inverse
    }

    fn line(&self, weights: &[f64], z: &[f64], step: &[f64], along: &[f64]) -> impl Fn(f64) -> (f64, f64) {
        let penalty = |a: &[f64], b: &[f64]| {
            let ((a0, a1), (b0, b1)) = (self.penalised(a), self.penalised(b));
            self.l2 * (dot(a0, b0) + dot(a1, b1))
        };
        let (at_start, per_length) = (penalty(weights, step), penalty(step, step));
        move |t| {
            let (mut slope, mut curvature) = (at_start + t * per_length, per_length);
            for ((&z, &d), y) in z.iter().zip(along).zip(self.labels) {
                let p = sigmoid(z + t * d);
                slope += (p - y) * d;
                curvature += p * (1.0 - p) * d * d;
            }
            (slope, curvature)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::lbfgs::{Stop, minimise};
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
            let weights = minimise(&problem, vec![0.0; layout.len()], Stop { max_iterations: 300, tolerance: 1e-9 });
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
        let weights = minimise(&problem, vec![0.0; layout.len()], Stop { max_iterations: 100, tolerance: 1e-6 });
        assert!(weights.iter().all(|w| w.is_finite()));
    }
}
