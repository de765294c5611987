//! `intercept`: one number added to the logit, solved for.
//!
//! `s = z + a`, `a = argmin sum_i loss(z_i + a, y_i) + a^2 / (2 S^2)` over the labelled rows, by Newton's method; the wide prior, `S = 3`, only keeps a finite where all labels agree.
//! At the minimum the mean prediction is the rate of the rows. With `per_domain` each domain d has `a + u_d`: a of all rows, then `u_d` the mode of its own likelihood
//! under N(0, τ²). τ² is what makes the domains' own offsets most likely, each taken as normal around its mode under the wide prior with the curvature there:
//! `argmax sum_d log N(m_d; 0, τ² + 1 / c_d)`. A domain without rows has `u_d = 0`; those that the base does not know share one.
//!
//! It is deterministic, has no learning rate, and takes microseconds: the first rung of every logistic adaptation. It folds into the bias of the head.
//!
//! # References
//! D. Agarwal et al., *LASER: A Scalable Response Prediction Platform for Online Advertising*, WSDM 2014 (calibration by an offset); the shrunken form is the usual
//! random intercept of a generalised linear mixed model.

use acclimate_model::{Bound, Effect, Modulation, Objective, ParamId, ParamSpec, SiteId};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage};
use crate::method::Sets;
use crate::selection::heads;
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<InterceptConfig>("intercept", Kind::Adaptation, "one number added to the logit, solved for").tested_with(&["per_domain = true"]);

/// Standard deviation of the prior that keeps an intercept finite.
const WIDE: f64 = 3.0;
/// Steps of Newton's method, and of the search for τ².
const STEPS: usize = 50;

/// Configuration of [`Intercept`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterceptConfig {
    /// One number a domain, shrunken towards that of all, instead of one for all; default false.
    pub per_domain: bool,
}

/// The method `intercept`.
#[derive(Debug)]
pub struct Intercept {
    scope: Scope,
    params: Vec<ParamSpec>,
    heads: Vec<SiteId>,
    sets: Sets,
}

impl MethodConfig for InterceptConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        if target.objective != Objective::Logistic {
            return Err(unsupported("its objective is not logistic"));
        }
        let sets = Sets::new(METHOD.name, self.per_domain, target.schema)?;
        let heads = heads(target.backbone);
        if heads.is_empty() {
            return Err(unsupported("its head is no linear layer; use `dnn`"));
        }
        let of_domains = || sets.declare(ParamSpec::vector("domain", sets.len(), 1, 0.0)).solved();
        let params = std::iter::once(ParamSpec::vector("common", 1, 1, 0.0).solved()).chain(self.per_domain.then(of_domains)).collect();
        Ok(Box::new(Intercept { scope: Scope::default(), params, heads, sets }))
    }
}

impl Adaptation for Intercept {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.sets.needs()
    }

    fn solves(&self) -> bool {
        true
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, _: Stage) {
        let domains = rows.domains;
        let domain = |row: usize| self.sets.of(domains[row].0);
        let offset_of = |own: &[Vec<f32>], row: usize| own[0][0] + own.get(1).map_or(0.0, |of_domains| of_domains[domain(row)]);
        let before: Vec<f32> = (0..rows.scores.len()).map(|row| offset_of(own, row)).collect();
        // Scores without the intercepts that are in them.
        let of_row = |row: usize| (f64::from(rows.scores[row]) - f64::from(before[row]), f64::from(rows.labels[row]));
        let all: Vec<(f64, f64)> = (0..rows.scores.len()).map(of_row).collect();
        if all.is_empty() {
            return;
        }
        let (common, _) = offset(&all, WIDE * WIDE);
        own[0][0] = common as f32;
        if let Some(of_domains) = own.get_mut(1) {
            let mut parts = vec![Vec::new(); of_domains.len()];
            all.iter().enumerate().for_each(|(row, (z, y))| parts[domain(row)].push((z + common, *y)));
            of_domains.iter_mut().zip(shrunken(&parts)).for_each(|(to, u)| *to = u as f32);
        }
        rows.scores.iter_mut().enumerate().for_each(|(row, score)| *score += offset_of(own, row) - before[row]);
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        // Before any tensor is looked at.
        let chosen = self.sets.choose(context)?;
        let common = own.get(ParamId(0));
        let shift = if self.params.len() > 1 { common + chosen.pick(own, ParamId(1)) } else { common }; // [G|1, 1, 1]
        Ok(self.heads.iter().fold(Modulation::none(), |all, &head| all.with(head, Effect::offset(shift.clone()))))
    }
}

/// `argmin_a sum_i loss(z_i + a, y_i) + precision a^2 / 2` with the logistic loss, over pairs (z, y), and the curvature there; by Newton steps. The function is
/// convex, so a handful suffices.
pub fn logit_offset(rows: impl Iterator<Item = (f64, f64)> + Clone, precision: f64) -> (f64, f64) {
    let (mut a, mut curvature) = (0.0_f64, precision);
    for _ in 0..STEPS {
        let mut downhill = -a * precision;
        curvature = precision;
        for (z, y) in rows.clone() {
            let p = 1.0 / (1.0 + (-(z + a)).exp());
            downhill += y - p;
            curvature += p * (1.0 - p);
        }
        // A step of at most 1: far from the minimum the curvature is too small to trust.
        let step = (downhill / curvature).clamp(-1.0, 1.0);
        a += step;
        if step.abs() < 1e-9 {
            break;
        }
    }
    (a, curvature)
}

fn offset(rows: &[(f64, f64)], variance: f64) -> (f64, f64) {
    logit_offset(rows.iter().copied(), 1.0 / variance)
}

/// `u_d` of each domain under N(0, τ²); domains without rows have 0, and no say in τ².
fn shrunken(of_domain: &[Vec<(f64, f64)>]) -> Vec<f64> {
    let own: Vec<(f64, f64)> = of_domain.iter().filter(|rows| !rows.is_empty()).map(|rows| offset(rows, WIDE * WIDE)).collect();
    if own.len() < 2 {
        return vec![0.0; of_domain.len()];
    }
    let variance = spread(&own);
    of_domain.iter().map(|rows| if rows.is_empty() { 0.0 } else { offset(rows, variance).0 }).collect()
}

/// τ² of modes and curvatures: the best of a hundred values from 1e-8 to 100, ten a decade, then by golden section between its neighbours.
fn spread(own: &[(f64, f64)]) -> f64 {
    let likelihood = |log: f64| {
        let of_one = |(m, c): &(f64, f64)| {
            let v = log.exp() + 1.0 / c;
            -0.5 * (v.ln() + m * m / v)
        };
        own.iter().map(of_one).sum::<f64>()
    };
    let at = |i: usize| -8.0 * std::f64::consts::LN_10 + i as f64 * std::f64::consts::LN_10 / 10.0;
    let best = (0..=100).max_by(|&a, &b| likelihood(at(a)).total_cmp(&likelihood(at(b)))).unwrap_or(0);
    let (mut low, mut high) = (at(best.saturating_sub(1)), at((best + 1).min(100)));
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..STEPS {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if likelihood(a) > likelihood(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_minimum_the_mean_prediction_is_the_rate() {
        let rows: Vec<(f64, f64)> = (0..200).map(|i| (f64::from(i % 17) / 4.0 - 2.0, f64::from(u8::from(i % 7 == 0)))).collect();
        let (a, _) = offset(&rows, 1e12);
        let mean = rows.iter().map(|(z, _)| 1.0 / (1.0 + (-(z + a)).exp())).sum::<f64>() / 200.0;
        let rate = rows.iter().map(|(_, y)| y).sum::<f64>() / 200.0;
        assert!((mean - rate).abs() < 1e-10, "{mean} {rate}");
    }

    #[test]
    fn one_class_alone_stays_finite() {
        let (a, _) = offset(&vec![(0.0, 1.0); 1000], WIDE * WIDE);
        assert!(a > 3.0 && a < 20.0, "{a}");
    }

    #[test]
    fn small_domains_are_shrunken_more_and_equal_ones_to_nothing() {
        let rows = |n: usize, rate: f64| (0..n).map(|i| (0.0, f64::from(u8::from((i as f64) < rate * n as f64)))).collect::<Vec<_>>();
        let u = shrunken(&[rows(1000, 0.7), rows(1000, 0.3), rows(10, 0.7), Vec::new()]);
        let full = (0.7f64 / 0.3).ln();
        assert!((u[0] - full).abs() < 0.02 && u[2] > 0.1 && u[2] < 0.8 * full && u[3] == 0.0, "{u:?}");
        let alike = shrunken(&[rows(1000, 0.5), rows(1000, 0.5), rows(10, 0.5)]);
        assert!(alike.iter().all(|u| u.abs() < 0.02), "{alike:?}");
    }
}
