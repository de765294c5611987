//! One user's episode: steps on the support set, and what the query set says of where they began.
//!
//! `L(θ) = mean over pairs (i, n) of -ln σ(s_i - s_n)`, `s_i = e·v_i + b_i`, `e = Σ_m w_m q_m`
//! `θ_{k+1} = θ_k - η ⊙ g_k`, `g_k = ∇L_S(θ_k)`, k = 0..K
//! `u_K = ∇L_Q(θ_K)`, `u_k = u_{k+1} - ∇²L_S(θ_k) (η ⊙ u_{k+1})`: then `∂L_Q/∂θ = u_0` and `∂L_Q/∂η = -Σ_k g_k ⊙ u_{k+1}`. First order takes every ∇² as 0.

use std::ops::Range;

use super::number::{Dual, Number};

/// A user vector with the pairs that it is asked to order. Numbers are places in the episode's own list of values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lesson {
    /// Where a member's `q` begins, with its weight.
    pub(super) members: Vec<(usize, f64)>,
    /// Where `[v, b]` of the liked item and of the other one begin.
    pub(super) pairs: Vec<[usize; 2]>,
}

/// What one user is to be learned from.
#[derive(Clone, Debug, Default)]
pub(super) struct Episode {
    /// The rows of the model that it reads; their numbers one after the other are its values.
    pub(super) spans: Vec<Range<usize>>,
    /// The first so many rows, with so many numbers, are those that the support set touches.
    pub(super) adapted: (usize, usize),
    pub(super) support: Vec<Lesson>,
    pub(super) query: Vec<Lesson>,
}

/// What an episode asks of the model.
pub(super) struct Asked {
    /// `∂L_Q/∂θ`.
    pub(super) values: Vec<f64>,
    /// `∂L_Q/∂η`, of adapted values.
    pub(super) rates: Vec<f64>,
}

/// `θ_k` and `g_k` of every step.
type Path = Vec<(Vec<f64>, Vec<f64>)>;

impl Episode {
    /// Its values, out of those of the model.
    pub(super) fn gather(&self, model: &[f64]) -> Vec<f64> {
        self.spans.iter().flat_map(|span| model[span.clone()].iter().copied()).collect()
    }

    /// Values after all steps: `θ_K`, of adapted values.
    pub(super) fn adapt(&self, d: usize, values: &[f64], rates: &[f64], steps: usize) -> Vec<f64> {
        self.walk(d, values, rates, steps).0
    }

    /// `θ_K`, and `θ_k` with `g_k` of every step.
    fn walk(&self, d: usize, values: &[f64], rates: &[f64], steps: usize) -> (Vec<f64>, Path) {
        let mut at = values[..self.adapted.1].to_vec();
        let mut path = Vec::with_capacity(steps);
        for _ in 0..steps {
            let g = gradient(&self.support, d, &at);
            let next = at.iter().zip(&g).zip(rates).map(|((x, g), rate)| x - rate * g).collect();
            path.push((std::mem::replace(&mut at, next), g));
        }
        (at, path)
    }

    /// The query loss after the steps, by where they begin and by their rates.
    pub(super) fn outer(&self, d: usize, values: &[f64], rates: &[f64], steps: usize, exact: bool) -> Asked {
        let adapted = self.adapted.1;
        let (end, path) = self.walk(d, values, rates, steps);
        let end = [&end, &values[adapted..]].concat();
        let mut u = gradient(&self.query, d, &end);
        let mut of_rates = vec![0.0; adapted];
        for (at, g) in path.iter().rev() {
            of_rates.iter_mut().zip(g).zip(&u).for_each(|((sum, g), u)| *sum -= g * u);
            if exact {
                let along: Vec<Dual> = at.iter().zip(rates).zip(&u).map(|((&x, rate), u)| Dual { x, d: rate * u }).collect();
                let curved = gradient(&self.support, d, &along);
                u.iter_mut().zip(&curved).for_each(|(u, h)| *u -= h.d);
            }
        }
        Asked { values: u, rates: of_rates }
    }
}

/// `e` of a lesson.
pub(super) fn user<T: Number>(members: &[(usize, f64)], d: usize, values: &[T]) -> Vec<T> {
    let mut e = vec![T::of(0.0); d];
    for &(at, weight) in members {
        let weight = T::of(weight);
        e.iter_mut().zip(&values[at..at + d]).for_each(|(e, &q)| *e += weight * q);
    }
    e
}

/// `s_i - s_n` of a pair.
fn margin<T: Number>(e: &[T], [liked, other]: [usize; 2], values: &[T]) -> T {
    let d = e.len();
    let mut margin = values[liked + d] - values[other + d];
    for (k, &e) in e.iter().enumerate() {
        margin += e * (values[liked + k] - values[other + k]);
    }
    margin
}

fn pairs(lessons: &[Lesson]) -> f64 {
    lessons.iter().map(|lesson| lesson.pairs.len()).sum::<usize>().max(1) as f64
}

/// `∇L`; with directions on the values, their product with `∇²L` on the gradient.
fn gradient<T: Number>(lessons: &[Lesson], d: usize, values: &[T]) -> Vec<T> {
    let mut g = vec![T::of(0.0); values.len()];
    let share = T::of(-1.0 / pairs(lessons));
    for lesson in lessons {
        let e = user(&lesson.members, d, values);
        let mut of_e = vec![T::of(0.0); d];
        for &[liked, other] in &lesson.pairs {
            let margin = margin(&e, [liked, other], values);
            // -σ(-x), by the number of pairs.
            let pull = share * (T::of(0.0) - margin).sigmoid();
            for (k, &e) in e.iter().enumerate() {
                of_e[k] += pull * (values[liked + k] - values[other + k]);
                g[liked + k] += pull * e;
                g[other + k] -= pull * e;
            }
            g[liked + d] += pull;
            g[other + d] -= pull;
        }
        for &(at, weight) in &lesson.members {
            let weight = T::of(weight);
            g[at..at + d].iter_mut().zip(&of_e).for_each(|(g, &of_e)| *g += weight * of_e);
        }
    }
    g
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{normal, uniform};

    const D: usize = 3;

    /// Four members, five items of which two are asked for in the query alone, at values that leave every σ far from its ends.
    fn episode() -> (Episode, Vec<f64>, Vec<f64>) {
        let item = |i: usize| 4 * D + i * (D + 1);
        let lesson = |members: &[(usize, f64)], pairs: &[[usize; 2]]| Lesson {
            members: members.iter().map(|&(m, w)| (m * D, w)).collect(),
            pairs: pairs.iter().map(|&[a, b]| [item(a), item(b)]).collect(),
        };
        let episode = Episode {
            spans: Vec::new(),
            adapted: (7, item(3)),
            support: vec![
                lesson(&[(1, 1.0), (2, 0.4)], &[[0, 2], [0, 1]]),
                lesson(&[(0, 1.0), (3, 0.3)], &[[1, 2]]),
                lesson(&[], &[[1, 0]]),
            ],
            query: vec![lesson(&[(0, 0.7), (1, 0.7), (2, 0.2), (3, 0.1)], &[[3, 4], [3, 2], [4, 0]])],
        };
        let values: Vec<f64> = (0..item(5)).map(|at| 0.8 * normal(5, at as u64, 0)).collect();
        let rates = (0..item(3)).map(|at| uniform(6, at as u64, 0)).collect();
        (episode, values, rates)
    }

    /// `L`.
    fn loss(lessons: &[Lesson], d: usize, values: &[f64]) -> f64 {
        let of = |lesson: &Lesson| {
            let e = user(&lesson.members, d, values);
            // ln(1 + e^-x), without an overflow where x is far below 0.
            let of_pair = |x: f64| (-x.abs()).exp().ln_1p() + (-x).max(0.0);
            lesson.pairs.iter().map(|&pair| of_pair(margin(&e, pair, values))).sum::<f64>()
        };
        lessons.iter().map(of).sum::<f64>() / pairs(lessons)
    }

    /// `L_Q(θ_K)`.
    fn outer_loss(episode: &Episode, values: &[f64], rates: &[f64], steps: usize) -> f64 {
        let end = [episode.adapt(D, values, rates, steps), values[episode.adapted.1..].to_vec()].concat();
        loss(&episode.query, D, &end)
    }

    #[test]
    fn the_exact_gradient_is_that_of_the_whole_outer_loss() {
        let (episode, values, rates) = episode();
        for steps in [0, 1, 4] {
            let asked = episode.outer(D, &values, &rates, steps, true);
            let loss = |values: &[f64], rates: &[f64]| outer_loss(&episode, values, rates, steps);
            let moved = |of: &[f64], at: usize, by: f64| {
                let mut moved = of.to_vec();
                moved[at] += by;
                moved
            };
            let close = |found: f64, up: f64, down: f64, what: String| {
                let expected = (up - down) / 2e-5;
                assert!((found - expected).abs() < 1e-8, "{steps} steps, {what}: {found} against {expected}");
            };
            for at in 0..values.len() {
                let (up, down) = (loss(&moved(&values, at, 1e-5), &rates), loss(&moved(&values, at, -1e-5), &rates));
                close(asked.values[at], up, down, format!("value {at}"));
            }
            for at in 0..rates.len() {
                let (up, down) = (loss(&values, &moved(&rates, at, 1e-5)), loss(&values, &moved(&rates, at, -1e-5)));
                close(asked.rates[at], up, down, format!("rate {at}"));
            }
            assert_eq!(asked.rates.iter().any(|g| g.abs() > 1e-4), steps > 0, "rates matter where there are steps");
        }
    }

    #[test]
    fn first_order_is_the_query_gradient_where_the_steps_end() {
        let (episode, values, rates) = episode();
        let end = [episode.adapt(D, &values, &rates, 3), values[episode.adapted.1..].to_vec()].concat();
        let (first, exact) = (episode.outer(D, &values, &rates, 3, false), episode.outer(D, &values, &rates, 3, true));
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart(&first.values, &gradient(&episode.query, D, &end)) < 1e-15);
        assert!(apart(&first.values, &exact.values) > 1e-3);
        // Without curvature the last step's share of the rates' gradient is the same, and a single step has no other.
        let one = |exact| episode.outer(D, &values, &rates, 1, exact).rates;
        assert!(apart(&one(false), &one(true)) < 1e-15);
    }

    #[test]
    fn the_loss_is_a_number_far_from_zero() {
        let lesson = [Lesson { members: vec![(0, 1.0)], pairs: vec![[1, 3]] }];
        for (liked, expected) in [(-1e4, 1e4), (1e4, 0.0)] {
            let found = loss(&lesson, 1, &[1.0, liked, 0.0, 0.0, 0.0]);
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }
}
