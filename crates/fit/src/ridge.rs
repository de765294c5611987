//! Weighted ridge regression on sparse rows, for many targets at once, by conjugate gradients.
//!
//! `W = argmin Σ_i w_i |y_i - x_i W|² + Σ_c λ_c |W_c|²`, so that nothing of the size columns² is ever held.

use rayon::prelude::*;

use crate::Sparse;

/// What is solved, but for targets.
#[derive(Clone, Debug)]
pub struct Ridge<'a> {
    rows: &'a Sparse,
    columns: Sparse,
    weights: Vec<f64>,
    penalties: Vec<f64>,
    /// The diagonal of the normal matrix: the preconditioner.
    diagonal: Vec<f64>,
}

const STEPS: usize = 300;
const TOLERANCE: f64 = 1e-9;

impl<'a> Ridge<'a> {
    /// For rows with a weight each and columns with a penalty each. A column that has neither a penalty nor rows keeps weight 0.
    #[must_use]
    pub fn new(rows: &'a Sparse, weights: Vec<f64>, penalties: Vec<f64>) -> Self {
        let columns = rows.transposed();
        let of_column = |c: usize| {
            let (of, values) = columns.row(c);
            penalties[c] + of.iter().zip(values).map(|(&i, x)| weights[i as usize] * x * x).sum::<f64>()
        };
        let diagonal = (0..rows.width).map(of_column).collect();
        Self { rows, columns, weights, penalties, diagonal }
    }

    /// `targets` are `[rows, k]`, the weights `[columns, k]`. `start`, of the same shape, is where the iteration begins.
    #[must_use]
    pub fn solve(&self, targets: &[f64], k: usize, start: &[f64]) -> Vec<f64> {
        let width = self.rows.width;
        let solved: Vec<Vec<f64>> = (0..k)
            .into_par_iter()
            .map(|j| {
                let target: Vec<f64> = (0..self.rows.len()).map(|i| targets[i * k + j]).collect();
                self.solve_one(&target, (0..width).map(|c| start[c * k + j]).collect())
            })
            .collect();
        (0..width).flat_map(|c| solved.iter().map(move |of| of[c])).collect()
    }

    /// `Xᵀ diag(w) v`.
    fn back(&self, v: &[f64]) -> Vec<f64> {
        let of_column = |c| {
            let (of, values) = self.columns.row(c);
            of.iter().zip(values).map(|(&i, x)| x * self.weights[i as usize] * v[i as usize]).sum()
        };
        (0..self.rows.width).map(of_column).collect()
    }

    fn solve_one(&self, target: &[f64], mut x: Vec<f64>) -> Vec<f64> {
        let forth = |x: &[f64]| -> Vec<f64> {
            let of_row = |i| {
                let (columns, values) = self.rows.row(i);
                columns.iter().zip(values).map(|(&c, value)| value * x[c as usize]).sum()
            };
            (0..self.rows.len()).map(of_row).collect()
        };
        let normal = |x: &[f64]| -> Vec<f64> {
            self.back(&forth(x)).iter().zip(x).zip(&self.penalties).map(|((a, x), penalty)| a + penalty * x).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let conditioned =
            |r: &[f64]| -> Vec<f64> { r.iter().zip(&self.diagonal).map(|(r, d)| if *d > 0.0 { r / d } else { 0.0 }).collect() };
        let wanted = self.back(target);
        let mut residual: Vec<f64> = wanted.iter().zip(normal(&x)).map(|(b, a)| b - a).collect();
        let mut z = conditioned(&residual);
        let mut direction = z.clone();
        let mut size = dot(&residual, &z);
        let enough = TOLERANCE * TOLERANCE * dot(&wanted, &conditioned(&wanted));
        for _ in 0..STEPS {
            if size <= enough {
                break;
            }
            let image = normal(&direction);
            let step = size / dot(&direction, &image);
            x.iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
            residual.iter_mut().zip(&image).for_each(|(r, a)| *r -= step * a);
            z = conditioned(&residual);
            let next = dot(&residual, &z);
            direction.iter_mut().zip(&z).for_each(|(d, z)| *d = z + next / size * *d);
            size = next;
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cholesky;
    use crate::random::normal;

    #[test]
    fn the_same_as_the_normal_equations() {
        let (n, width, k) = (40, 6, 3);
        let mut rows = Sparse::new(width);
        (0..n).for_each(|i| {
            rows.push((0..width as u32).filter(|c| !(i + u64::from(*c)).is_multiple_of(3)).map(|c| (c, normal(1, i, u64::from(c)))))
        });
        let weights: Vec<f64> = (0..n).map(|i| 0.2 + (i % 5) as f64).collect();
        let penalties = vec![0.0, 1.0, 2.0, 0.5, 3.0, 0.1];
        let targets: Vec<f64> = (0..n * k as u64).map(|at| normal(2, at, 0)).collect();
        let found = Ridge::new(&rows, weights.clone(), penalties.clone()).solve(&targets, k, &vec![0.3; width * k]);
        let mut normal_matrix = vec![0.0; width * width];
        let mut wanted = vec![0.0; width * k];
        for i in 0..n as usize {
            let (columns, values) = rows.row(i);
            for (&a, x) in columns.iter().zip(values) {
                for (&b, y) in columns.iter().zip(values) {
                    normal_matrix[a as usize * width + b as usize] += weights[i] * x * y;
                }
                (0..k).for_each(|j| wanted[j * width + a as usize] += weights[i] * x * targets[i * k + j]);
            }
        }
        (0..width).for_each(|c| normal_matrix[c * width + c] += penalties[c]);
        let factor = Cholesky::new(normal_matrix, width).unwrap();
        for (j, wanted) in wanted.chunks_exact_mut(width).enumerate() {
            factor.solve(wanted);
            assert!((0..width).all(|c| (wanted[c] - found[c * k + j]).abs() < 1e-7), "{wanted:?} {found:?}");
        }
    }
}
