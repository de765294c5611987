//! Multinomial logistic regression on how often each item is in a row.

use serde::{Deserialize, Serialize};

use super::bags::{Bags, Columns};
use super::{ClassFloor, ClassHistory, FittedClasses, softmax};
use crate::floor::error::at_least;
use crate::floor::lbfgs::{Objective, Stop, add, dot, minimise};
use crate::floor::{Chosen, FloorError, Grid};

const NAME: &str = "logistic_regression";

/// Items of fewer training rows have no weight.
const ROWS_OF_AN_ITEM: usize = 2;

/// Settings of [`LogisticRegression`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogisticRegressionConfig {
    /// Strengths of the squared penalty to try; validation log loss chooses, and weaker ones are not tried once it gets worse. It is 1/C of other libraries.
    /// Default: chosen from 0.1 to 100; 10 without validation.
    pub l2: Grid,
    /// Steps of the optimiser per strength at most. Default 200; the starting point is the solution of the next stronger penalty.
    pub max_iterations: usize,
    /// The optimiser stops when its gradient, in the norm of its preconditioner, is this fraction of that at weights 0. Default 1e-3.
    pub tolerance: f64,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        Self { l2: [10.0, 100.0, 30.0, 3.0, 1.0, 0.3, 0.1].into(), max_iterations: 200, tolerance: 1e-3 }
    }
}

/// Predicts `p = softmax(b + W x)` with b and W minimising `sum of -ln p_true + l2 / 2 |W|^2`; the intercepts b, one for each class, are not penalised.
///
/// `x_i = ln(1 + n_i)` with n_i how often item i is in the row; items of fewer than 2 training rows are left out.
///
/// Trained by L-BFGS with an exact line search and a diagonal preconditioner, deterministic, on one thread.
///
/// # References
/// Liu and Nocedal, *On the limited memory BFGS method for large scale optimization*, Mathematical Programming 1989.
#[derive(Clone, Debug, Default)]
pub struct LogisticRegression {
    /// Settings.
    pub config: LogisticRegressionConfig,
}

/// A sparse matrix `[R x (I + 1)]`; the last column is 1 in every row.
struct Design {
    bags: Bags,
    columns: usize,
    classes: usize,
    /// `ln(1 + n)` of each entry's n, by n.
    logarithms: Vec<f64>,
}

impl Design {
    fn new(columns: &Columns, items: &[Vec<u32>], classes: usize) -> Self {
        let bags = columns.of(items);
        let most = bags.rows().flatten().map(|&(_, n)| n).max().unwrap_or(0);
        Self { bags, columns: columns.len(), classes, logarithms: (0..=most).map(|n| f64::from(n).ln_1p()).collect() }
    }

    /// First of the C intercepts.
    fn intercepts(&self) -> usize {
        self.columns * self.classes
    }

    /// `[R x C]` scores; `weights` is `[(I + 1) x C]`.
    fn times(&self, weights: &[f64]) -> Vec<f64> {
        let mut z = weights[self.intercepts()..].repeat(self.bags.len());
        for (row, z) in self.bags.rows().zip(z.chunks_exact_mut(self.classes)) {
            for &(column, n) in row {
                add(z, self.logarithms[n as usize], &weights[column as usize * self.classes..][..self.classes]);
            }
        }
        z
    }

    /// `[(I + 1) x C]` sums over rows of `of(x)` times what the row has, `[R x C]`.
    fn transposed_times(&self, of_rows: &[f64], of: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.intercepts() + self.classes];
        let (items, intercepts) = sums.split_at_mut(self.columns * self.classes);
        for (row, of_row) in self.bags.rows().zip(of_rows.chunks_exact(self.classes)) {
            for &(column, n) in row {
                add(&mut items[column as usize * self.classes..][..self.classes], of(self.logarithms[n as usize]), of_row);
            }
            add(intercepts, of(1.0), of_row);
        }
        sums
    }

    /// `[R x C]` probabilities from scores.
    fn probabilities(&self, mut z: Vec<f64>) -> Vec<f64> {
        z.chunks_exact_mut(self.classes).for_each(softmax);
        z
    }
}

/// The penalised log loss of the true classes.
struct Problem<'a> {
    design: &'a Design,
    labels: &'a [u32],
    l2: f64,
}

impl Objective for Problem<'_> {
    fn times(&self, weights: &[f64]) -> Vec<f64> {
        self.design.times(weights)
    }

    /// `X^T (p - y) + l2 W`
    fn gradient(&self, weights: &[f64], z: &[f64]) -> Vec<f64> {
        let mut residuals = self.design.probabilities(z.to_vec());
        for (row, &label) in residuals.chunks_exact_mut(self.design.classes).zip(self.labels) {
            row[label as usize] -= 1.0;
        }
        let mut gradient = self.design.transposed_times(&residuals, |x| x);
        let penalised = self.design.intercepts();
        add(&mut gradient[..penalised], self.l2, &weights[..penalised]);
        gradient
    }

    /// `1 / (sum p (1 - p) x^2 + l2)` per weight.
    fn inverse_diagonal(&self, z: &[f64]) -> Vec<f64> {
        let curvature: Vec<f64> = self.design.probabilities(z.to_vec()).into_iter().map(|p| p * (1.0 - p)).collect();
        let mut diagonal = self.design.transposed_times(&curvature, |x| x * x);
        let penalised = self.design.intercepts();
        diagonal[..penalised].iter_mut().for_each(|d| *d += self.l2);
        diagonal.into_iter().map(|d| 1.0 / d.max(f64::MIN_POSITIVE)).collect()
    }

    /// Slope `sum of (p - y) d`, curvature `sum over rows of (sum_c p d^2) - (sum_c p d)^2`, and the penalty's.
    fn line(&self, weights: &[f64], z: &[f64], step: &[f64], along: &[f64]) -> impl Fn(f64) -> (f64, f64) {
        let penalised = self.design.intercepts();
        let penalty = |a: &[f64], b: &[f64]| self.l2 * dot(&a[..penalised], &b[..penalised]);
        let (at_start, per_length) = (penalty(weights, step), penalty(step, step));
        let classes = self.design.classes;
        move |t| {
            let (mut slope, mut curvature) = (at_start + t * per_length, per_length);
            let mut p = vec![0.0; classes];
            for ((z, d), &label) in z.chunks_exact(classes).zip(along.chunks_exact(classes)).zip(self.labels) {
                p.copy_from_slice(z);
                add(&mut p, t, d);
                softmax(&mut p);
                let (mut mean, mut square) = (0.0, 0.0);
                for (p, d) in p.iter().zip(d) {
                    mean += p * d;
                    square += p * d * d;
                }
                slope += mean - d[label as usize];
                curvature += square - mean * mean;
            }
            (slope, curvature)
        }
    }
}

struct Fitted {
    columns: Columns,
    classes: usize,
    weights: Vec<f64>,
    l2: f64,
    grid: Grid,
}

impl ClassFloor for LogisticRegression {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        self.config.l2.check(NAME, "l2", f64::MIN_POSITIVE, "a strength above 0")?;
        at_least(NAME, "tolerance", self.config.tolerance, f64::MIN_POSITIVE, "a fraction above 0")
    }

    fn fit(&self, history: &ClassHistory<'_>) -> Result<Box<dyn FittedClasses>, FloorError> {
        self.check()?;
        history.check(NAME)?;
        let LogisticRegressionConfig { l2: grid, max_iterations, tolerance } = &self.config;
        let columns = Columns::new(history.train.items, ROWS_OF_AN_ITEM);
        let design = Design::new(&columns, history.train.items, history.classes);
        let stop = Stop { max_iterations: *max_iterations, tolerance: *tolerance };
        // The solution of one strength is the start of the next weaker one.
        let mut strengths = grid.values().to_vec();
        if history.validation.classes.is_empty() {
            strengths.truncate(1);
        }
        strengths.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut weights = vec![0.0; design.intercepts()];
        weights.extend(history.shares().iter().map(|share| share.ln()));
        let mut best: Option<(f64, Fitted)> = None;
        for l2 in strengths {
            weights = minimise(&Problem { design: &design, labels: history.train.classes, l2 }, weights, stop);
            let fitted = Fitted { columns: columns.clone(), classes: history.classes, weights: weights.clone(), l2, grid: grid.clone() };
            let loss = history.loss(&fitted.score(history.validation.items));
            if best.as_ref().is_some_and(|(lowest, _)| loss >= *lowest) {
                break;
            }
            best = Some((loss, fitted));
        }
        let (_, fitted) = best.expect("at least one strength, checked above");
        Ok(Box::new(fitted))
    }
}

impl FittedClasses for Fitted {
    fn score(&self, items: &[Vec<u32>]) -> Vec<f32> {
        let design = Design::new(&self.columns, items, self.classes);
        design.probabilities(design.times(&self.weights)).into_iter().map(|p| p as f32).collect()
    }

    fn parameters(&self) -> usize {
        self.weights.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        vec![self.grid.chosen("l2", self.l2, |_| false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::classes::ClassRows;

    fn floor(l2: impl Into<Grid>) -> LogisticRegression {
        LogisticRegression { config: LogisticRegressionConfig { l2: l2.into(), max_iterations: 500, tolerance: 1e-9 } }
    }

    #[test]
    fn one_item_has_a_known_solution() {
        // With next to no penalty the shares of the rows with and without the item come out.
        let items: Vec<Vec<u32>> = (0..12).map(|row| if row < 6 { vec![4] } else { vec![] }).collect();
        let classes = [0, 0, 0, 1, 1, 2, 0, 1, 2, 2, 2, 2];
        let history = ClassHistory { train: ClassRows { items: &items, classes: &classes }, validation: ClassRows::NONE, classes: 3 };
        let found = floor(1e-9).fit(&history).unwrap().score(&[vec![4], vec![]]);
        let expected = [3.0, 2.0, 1.0, 1.0, 1.0, 4.0].map(|rows: f32| rows / 6.0);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?} against {expected:?}");
    }

    #[test]
    fn the_gradient_vanishes_at_the_minimum() {
        let items: Vec<Vec<u32>> = (0..50u32).map(|row| (0..row % 5).map(|at| (row * 3 + at * at) % 8).collect()).collect();
        let labels: Vec<u32> = (0..50u32).map(|row| (row * row / 5) % 3).collect();
        let design = Design::new(&Columns::new(&items, 2), &items, 3);
        for l2 in [0.01, 1.0, 50.0] {
            let problem = Problem { design: &design, labels: &labels, l2 };
            let start = vec![0.0; design.intercepts() + 3];
            let weights = minimise(&problem, start, Stop { max_iterations: 500, tolerance: 1e-9 });
            let gradient = problem.gradient(&weights, &design.times(&weights));
            assert!(gradient.iter().all(|g| g.abs() < 1e-6), "l2 {l2}: {gradient:?}");
        }
    }

    #[test]
    fn validation_chooses_the_strength_and_without_it_the_first_counts() {
        let items: Vec<Vec<u32>> = (0..40).map(|row| vec![row % 4]).collect();
        let followed: Vec<u32> = (0..40).map(|row| row % 2).collect();
        let turned: Vec<u32> = followed.iter().map(|class| 1 - class).collect();
        let chosen = |validation: &[u32]| {
            let validation = ClassRows { items: &items[..validation.len()], classes: validation };
            let history = ClassHistory { train: ClassRows { items: &items, classes: &followed }, validation, classes: 2 };
            floor([1.0, 100.0, 0.01]).fit(&history).unwrap().chosen()[0].value
        };
        assert_eq!([chosen(&[]), chosen(&followed), chosen(&turned)], [1.0, 0.01, 100.0]);
    }
}
