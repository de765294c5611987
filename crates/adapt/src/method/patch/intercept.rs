//! `intercept`: one number added to the logit, solved for.
//!
//! `s = z + a`, `a = argmin sum_i loss(z_i + a, y_i) + a^2 / (2 S^2)` over the labelled rows, by Newton's method; the wide prior, `S = 3`, only keeps a finite where all labels agree.
//! At the minimum the mean prediction is the rate of the rows. With `per_domain` each domain d has `a + u_d`: a of all rows, then `u_d` the mode of its own likelihood
//! under N(0, τ²), τ² by expectation and maximisation with the curvature at the mode; a domain without rows, or one that the base does not know, has `u_d = 0`.
//!
//! It is deterministic, has no learning rate, and takes microseconds: the first rung of every logistic adaptation. It folds into the bias of the head.
//!
//! # References
//! D. Agarwal et al., *LASER: A Scalable Response Prediction Platform for Online Advertising*, WSDM 2014 (calibration by an offset); the shrunken form is the usual
//! random intercept of a generalised linear mixed model.

use acclimate_model::{Bound, Effect, Grouping, Modulation, Objective, ParamId, ParamSpec, Role, SiteId};
use serde::{Deserialize, Serialize};

use crate::adaptation::Answered;
use crate::method::group_domains;
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Needs, Scope, Target};

/// The list entry.
pub const METHOD: Method =
    Method::new::<InterceptConfig>("intercept", Kind::Adaptation, "one number added to the logit, solved for").tested_with(&["per_domain = true"]);

/// Standard deviation of the prior that keeps an intercept finite.
const WIDE: f64 = 3.0;
/// Steps of Newton's method, and of the estimate of τ².
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
    per_domain: bool,
    scope: Scope,
    params: Vec<ParamSpec>,
    head: SiteId,
    unknown: u32,
}

impl MethodConfig for InterceptConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let unsupported = |problem: &str| AdaptError::Unsupported { method: METHOD.name, problem: problem.into() };
        if target.objective != Objective::Logistic {
            return Err(unsupported("its objective is not logistic"));
        }
        if self.per_domain && target.schema.domains.is_empty() {
            return Err(unsupported("`per_domain`, but the data names no domain"));
        }
        let sites = target.backbone.architecture().linear_sites();
        let head = sites.filter(|(_, site, d)| site.role == Role::Head && d[1] == 1).map(|(id, ..)| id).next();
        let head = head.ok_or_else(|| unsupported("its head is no linear layer; use `dnn`"))?;
        let unknown = target.schema.domains.len() as u32;
        let spec = match self.per_domain {
            true => ParamSpec::vector("intercept", unknown as usize + 1, 1, 0.0).grouped(Grouping::Domain),
            false => ParamSpec::vector("intercept", 1, 1, 0.0),
        };
        Ok(Box::new(Intercept { per_domain: self.per_domain, scope: Scope::default(), params: vec![spec], head, unknown }))
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
        Needs { domain_groups: self.per_domain, support: false }
    }

    fn solves(&self) -> bool {
        true
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &Answered<'_>) {
        let block = |row: usize| if self.per_domain { rows.domains[row].0.min(self.unknown) as usize } else { 0 };
        // Scores without the intercepts that are in them.
        let of_row = |row: usize| (f64::from(rows.scores[row]) - f64::from(own[0][block(row)]), f64::from(rows.labels[row]));
        let all: Vec<(f64, f64)> = (0..rows.scores.len()).map(of_row).collect();
        if all.is_empty() {
            return;
        }
        let (common, _) = offset(&all, WIDE * WIDE);
        let mut found = vec![common; own[0].len()];
        if self.per_domain {
            let mut of_domain = vec![Vec::new(); found.len()];
            all.iter().enumerate().for_each(|(row, (z, y))| of_domain[block(row)].push((z + common, *y)));
            let deviations = shrunken(&of_domain);
            found.iter_mut().zip(deviations).for_each(|(a, u)| *a += u);
        }
        own[0].iter_mut().zip(found).for_each(|(to, a)| *to = a as f32);
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let shift = match self.per_domain {
            true => own.blocks(ParamId(0), &group_domains(METHOD.name, context, self.unknown)?), // [G, 1, 1]
            false => own.get(ParamId(0)),
        };
        Ok(Modulation::none().with(self.head, Effect::offset(shift)))
    }
}

/// The mode of `sum(loss(z + a, y)) + a^2 / (2 variance)`, and the curvature there.
fn offset(rows: &[(f64, f64)], variance: f64) -> (f64, f64) {
    let mut a = 0.0_f64;
    let mut curvature = 1.0 / variance;
    for _ in 0..STEPS {
        let mut slope = a / variance;
        curvature = 1.0 / variance;
        for (z, y) in rows {
            let p = 1.0 / (1.0 + (-(z + a)).exp());
            slope += p - y;
            curvature += p * (1.0 - p);
        }
        // Far from the minimum the curvature is small and a whole step too long.
        let step = (slope / curvature).clamp(-2.0, 2.0);
        a -= step;
        if step.abs() < 1e-12 {
            break;
        }
    }
    (a, curvature)
}

/// `u_d` of each domain under N(0, τ²); domains without rows have 0, and no say in τ².
fn shrunken(of_domain: &[Vec<(f64, f64)>]) -> Vec<f64> {
    let filled: Vec<usize> = (0..of_domain.len()).filter(|&d| !of_domain[d].is_empty()).collect();
    let mut deviations = vec![0.0; of_domain.len()];
    if filled.len() < 2 {
        return deviations;
    }
    let mut variance = 1.0_f64;
    for _ in 0..STEPS {
        let mut sum = 0.0;
        for &d in &filled {
            let (u, curvature) = offset(&of_domain[d], variance);
            deviations[d] = u;
            sum += u * u + 1.0 / curvature;
        }
        let next = (sum / filled.len() as f64).max(1e-8);
        let change = (next / variance - 1.0).abs();
        variance = next;
        if change < 1e-9 {
            break;
        }
    }
    for &d in &filled {
        deviations[d] = offset(&of_domain[d], variance).0;
    }
    deviations
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
