//! `argmin_{a,u} sum_i loss(z_i + a + sum_f u[c_if], y_i) + |u|² / (2 τ²) + a² / (2 S²)`: Newton's method, each step by conjugate gradients.

use std::collections::HashMap;

/// Standard deviation of the prior of the common offset.
const WIDE: f64 = 3.0;
/// Newton steps at most; the function is convex and its curvature smooth, so a handful suffices.
const STEPS: usize = 30;
/// Steps of conjugate gradients in each.
const INNER: usize = 100;
/// A step that moves no effect further ends the search.
const SETTLED: f64 = 1e-6;
/// The same where variances are compared.
const COMPARED: f64 = 1e-3;

/// How a score is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// `ln(1 + exp(s)) - y s`.
    Logistic,
    /// `(s - y)² / (2 σ²)`.
    Squared,
}

/// Offsets, and the effects in the order of [`Problem::effects`].
#[derive(Clone, Debug, Default)]
pub(super) struct Solution {
    pub(super) common: f64,
    pub(super) effects: Vec<f64>,
}

/// The rows.
pub(super) struct Problem {
    loss: Loss,
    z: Vec<f64>,
    y: Vec<f64>,
    /// Effects of each row, `[rows, features]`.
    places: Vec<u32>,
    features: usize,
    /// Feature and code of each effect.
    effects: Vec<(usize, u32)>,
}

/// Rows that a fit looks at, each with its weight.
#[derive(Clone, Copy)]
enum Part {
    All,
    Half(usize),
}

/// The half of a row: the earlier rows of the log, or the later ones. Neighbours are alike, and halves that share them would trust effects too much.
fn half_of(row: usize, rows: usize) -> usize {
    usize::from(2 * row >= rows)
}

impl Part {
    fn has(self, row: usize, rows: usize) -> bool {
        match self {
            Self::All => true,
            Self::Half(half) => half_of(row, rows) == half,
        }
    }
}

impl Problem {
    /// `codes` are `[rows, features]`.
    pub(super) fn new(loss: Loss, z: Vec<f64>, y: Vec<f64>, codes: &[u32], features: usize) -> Self {
        let (mut known, mut effects) = (HashMap::new(), Vec::new());
        let place = |(i, &code): (usize, &u32)| {
            *known.entry((i % features, code)).or_insert_with(|| {
                effects.push((i % features, code));
                effects.len() as u32 - 1
            })
        };
        let places = codes.iter().enumerate().map(place).collect();
        Self { loss, z, y, places, features, effects }
    }

    /// Feature and code of each effect.
    pub(super) fn effects(&self) -> &[(usize, u32)] {
        &self.effects
    }

    fn of_row(&self, row: usize) -> &[u32] {
        &self.places[row * self.features..][..self.features]
    }

    fn score(&self, row: usize, at: &Solution) -> f64 {
        self.z[row] + at.common + self.of_row(row).iter().map(|&place| at.effects[place as usize]).sum::<f64>()
    }

    /// The solution under the smallest variance (0: without effects) that is not shown to be worse than the best one: the mean loss of each half under what the other half says is not
    /// larger by more than the standard error of the difference.
    pub(super) fn solve_best(&self, variances: &[f64]) -> Solution {
        let rows = self.z.len();
        let held_out = |fits: &[Solution; 2]| -> Vec<f64> {
            (0..rows).map(|row| self.loss_of(self.score(row, &fits[1 - half_of(row, rows)]), self.y[row])).collect()
        };
        let mut fits = [0, 1].map(|half| self.fit(None, Part::Half(half), &Solution::default(), COMPARED));
        let mut tried = vec![(None, held_out(&fits))];
        for &variance in variances {
            fits = [0, 1].map(|half| self.fit(Some(variance), Part::Half(half), &fits[half], COMPARED));
            tried.push((Some(variance), held_out(&fits)));
        }
        let total = |losses: &[f64]| losses.iter().sum::<f64>();
        let best = tried.iter().min_by(|a, b| total(&a.1).total_cmp(&total(&b.1))).map(|(_, losses)| losses.clone()).unwrap_or_default();
        let chosen = tried.iter().find(|(_, losses)| within_an_error(losses, &best)).and_then(|(variance, _)| *variance);
        self.fit(chosen, Part::All, &Solution::default(), SETTLED)
    }

    /// The solution under a variance, from a start.
    pub(super) fn solve(&self, variance: f64, start: &Solution) -> Solution {
        self.fit(Some(variance), Part::All, start, SETTLED)
    }

    fn loss_of(&self, s: f64, y: f64) -> f64 {
        match self.loss {
            Loss::Logistic => s.max(0.0) + (-s.abs()).exp().ln_1p() - y * s,
            Loss::Squared => (s - y) * (s - y),
        }
    }

    /// Without a variance the effects stay 0.
    fn fit(&self, variance: Option<f64>, part: Part, start: &Solution, settled: f64) -> Solution {
        let rows: Vec<usize> = (0..self.z.len()).filter(|&row| part.has(row, self.z.len())).collect();
        let mut at = start.clone();
        at.effects.resize(self.effects.len(), 0.0);
        if rows.is_empty() {
            return at;
        }
        let noise = self.noise(&rows);
        let precision = variance.map(|v| 1.0 / v);
        for _ in 0..STEPS {
            let System { gradient, weights } = self.system(&rows, &at, precision, noise);
            let step = self.direction(&rows, &gradient, &weights, precision);
            // Far from the minimum the curvature is too small to trust.
            let largest = step.effects.iter().fold(step.common.abs(), |most, x| most.max(x.abs()));
            let scale = if largest > 1.0 { 1.0 / largest } else { 1.0 };
            at.common += scale * step.common;
            at.effects.iter_mut().zip(&step.effects).for_each(|(u, x)| *u += scale * x);
            if largest < settled {
                break;
            }
        }
        at
    }

    /// σ² of ratings: the variance of what the scores leave over.
    fn noise(&self, rows: &[usize]) -> f64 {
        if self.loss == Loss::Logistic {
            return 1.0;
        }
        let n = rows.len() as f64;
        let rest = |&row: &usize| self.y[row] - self.z[row];
        let mean = rows.iter().map(rest).sum::<f64>() / n;
        let variance = rows.iter().map(rest).map(|r| (r - mean) * (r - mean)).sum::<f64>() / n;
        variance.max(1e-6)
    }

    /// Downhill direction and curvature of each row.
    fn system(&self, rows: &[usize], at: &Solution, precision: Option<f64>, noise: f64) -> System {
        let mut gradient = Solution { common: -at.common / (WIDE * WIDE), effects: vec![0.0; self.effects.len()] };
        let mut weights = Vec::with_capacity(rows.len());
        for &row in rows {
            let s = self.score(row, at);
            let (rest, weight) = match self.loss {
                Loss::Logistic => {
                    let p = 1.0 / (1.0 + (-s).exp());
                    (self.y[row] - p, p * (1.0 - p))
                }
                Loss::Squared => ((self.y[row] - s) / noise, 1.0 / noise),
            };
            weights.push(weight);
            gradient.common += rest;
            self.of_row(row).iter().for_each(|&place| gradient.effects[place as usize] += rest);
        }
        match precision {
            Some(precision) => gradient.effects.iter_mut().zip(&at.effects).for_each(|(g, u)| *g -= precision * u),
            None => gradient.effects.fill(0.0),
        }
        System { gradient, weights }
    }

    /// Solves `(Xᵀ W X + prior) step = gradient`, preconditioned by the diagonal.
    fn direction(&self, rows: &[usize], gradient: &Solution, weights: &[f64], precision: Option<f64>) -> Solution {
        let of_common = 1.0 / (WIDE * WIDE);
        let total = weights.iter().sum::<f64>() + of_common;
        let Some(precision) = precision else {
            return Solution { common: gradient.common / total, effects: vec![0.0; self.effects.len()] };
        };
        let mut diagonal = vec![precision; self.effects.len()];
        rows.iter().zip(weights).for_each(|(&row, w)| self.of_row(row).iter().for_each(|&place| diagonal[place as usize] += w));
        let smoothed = |r: &Solution| Solution {
            common: r.common / total,
            effects: r.effects.iter().zip(&diagonal).map(|(r, d)| r / d).collect(),
        };
        let times = |v: &Solution| {
            let mut out = Solution { common: of_common * v.common, effects: v.effects.iter().map(|x| precision * x).collect() };
            for (&row, w) in rows.iter().zip(weights) {
                let places = self.of_row(row);
                let t = w * (v.common + places.iter().map(|&place| v.effects[place as usize]).sum::<f64>());
                out.common += t;
                places.iter().for_each(|&place| out.effects[place as usize] += t);
            }
            out
        };
        let mut step = Solution { common: 0.0, effects: vec![0.0; self.effects.len()] };
        let mut rest = gradient.clone();
        let mut toward = smoothed(&rest);
        let mut along = toward.clone();
        let mut size = rest.dot(&toward);
        let enough = 1e-6 * size;
        for _ in 0..INNER {
            if size <= enough || size == 0.0 {
                break;
            }
            let image = times(&along);
            let length = size / along.dot(&image);
            step.add(length, &along);
            rest.add(-length, &image);
            toward = smoothed(&rest);
            let next = rest.dot(&toward);
            let mut turned = toward.clone();
            turned.add(next / size, &along);
            (along, size) = (turned, next);
        }
        step
    }
}

/// Whether the mean of some losses is above that of others by at most the standard error of their difference.
fn within_an_error(losses: &[f64], best: &[f64]) -> bool {
    let n = losses.len() as f64;
    let differences: Vec<f64> = losses.iter().zip(best).map(|(a, b)| a - b).collect();
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / (n - 1.0).max(1.0);
    mean <= (variance / n).sqrt()
}

struct System {
    gradient: Solution,
    weights: Vec<f64>,
}

impl Solution {
    fn dot(&self, other: &Self) -> f64 {
        self.common * other.common + self.effects.iter().zip(&other.effects).map(|(a, b)| a * b).sum::<f64>()
    }

    fn add(&mut self, scale: f64, other: &Self) {
        self.common += scale * other.common;
        self.effects.iter_mut().zip(&other.effects).for_each(|(a, b)| *a += scale * b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two features of 40 and 7 codes, labels that depend on the first.
    fn problem(loss: Loss) -> Problem {
        let n = 400;
        let codes: Vec<u32> = (0..n).flat_map(|i| [(i * i + 3 * i) % 40, i % 7]).map(|c| c as u32).collect();
        let z: Vec<f64> = (0..n).map(|i| f64::from(i as u32 % 13) / 6.0 - 1.0).collect();
        let y = (0..n).map(|i| f64::from(u8::from((i * 31 + codes[2 * i] as usize * 17) % 40 < codes[2 * i] as usize))).collect();
        Problem::new(loss, z, y, &codes, 2)
    }

    #[test]
    fn at_the_minimum_every_derivative_is_zero() {
        for loss in [Loss::Logistic, Loss::Squared] {
            let problem = problem(loss);
            let rows: Vec<usize> = (0..problem.z.len()).collect();
            let solution = problem.solve(0.05, &Solution::default());
            let System { gradient, .. } = problem.system(&rows, &solution, Some(20.0), problem.noise(&rows));
            let largest = gradient.effects.iter().fold(gradient.common.abs(), |most, g| most.max(g.abs()));
            assert!(largest < 1e-3, "{loss:?}: {largest}");
            assert!(solution.effects.iter().any(|u| u.abs() > 0.05), "{loss:?} has no effects");
        }
    }

    #[test]
    fn labels_without_an_effect_leave_none() {
        let n = 600;
        let codes: Vec<u32> = (0..n).map(|i| (i * 7919 % 200) as u32).collect();
        let y = (0..n).map(|i| f64::from(u8::from((i * 2_654_435_761_usize) >> 7 & 1 == 1))).collect();
        let problem = Problem::new(Loss::Logistic, vec![0.0; n], y, &codes, 1);
        let solution = problem.solve_best(&super::super::VARIANCES);
        let largest = solution.effects.iter().fold(0.0_f64, |most, u| most.max(u.abs()));
        assert!(largest < 0.02, "{largest}");
    }

    #[test]
    fn a_strong_effect_is_found() {
        let problem = problem(Loss::Logistic);
        let solution = problem.solve_best(&super::super::VARIANCES);
        let loss = |at: &Solution| (0..problem.z.len()).map(|row| problem.loss_of(problem.score(row, at), problem.y[row])).sum::<f64>();
        let none = problem.fit(None, Part::All, &Solution::default(), SETTLED);
        assert!(loss(&solution) < 0.9 * loss(&none), "{} {}", loss(&solution), loss(&none));
    }
}
