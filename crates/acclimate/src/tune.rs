//! What validation tasks choose of a method once it is trained: where its [dials](Dial) are turned to, and from how many rows on it is applied.
//!
//! Every setting of the dials is tried once on all tasks, by what early stopping looks at. Support sets are cut to 1, 2, 5, 10, 20 rows or left whole, task by task in turn, so that no setting is chosen for one size.
//! The best is kept if it is better than what training had by more than a standard error of their paired difference over users; else all stays as it was trained.
//!
//! Whoever has one row, or none, is answered by the base unless the method is shown to be better there: [`guard`] decides, as for a patch that is saved.

use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_adapt::{Adaptation, Dial, Patch, Serve};
use acclimate_data::{Dataset, TasksOf};
use acclimate_eval::floor::Chosen;
use acclimate_eval::{Bootstrap, Goal, Metric, Sample, Statistic};
use acclimate_model::{Base, Params};
use acclimate_train::Scorer;
use burn::tensor::Device;
use serde::Serialize;

use crate::ExperimentError;
use crate::guard::{self, Question};
use crate::lab::{Judge, judging_rows_of};
use crate::open::Tasks;

/// What support sets are cut to, in turn.
const SIZES: [usize; 6] = [1, 2, 5, 10, 20, usize::MAX];
/// Support sizes at which a method has to be shown better than its base.
const GUARDED: [usize; 2] = [0, 1];
/// Draws of users for a standard error.
const DRAWS: usize = 200;
/// The share of a normal distribution within one standard error.
const WITHIN_ONE: f64 = 0.6827;

/// Validation tasks to choose by.
pub struct Tuning<'a> {
    /// The rows.
    pub dataset: &'a Dataset,
    /// What metrics call the domain.
    pub domain_column: &'a str,
    /// Of each task the rows to adapt from, and the rows that judge.
    pub tasks: &'a Tasks,
    /// What tasks are of.
    pub of: TasksOf,
    /// By what.
    pub metric: Metric,
}

/// One setting of the dials and what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// What each dial is turned to, by name, in the unit of reports.
    pub dials: Vec<(&'static str, f64)>,
    /// The metric on the tasks; higher is better.
    pub validation: f64,
    /// Whether it is what training had.
    pub trained: bool,
    /// Whether it is kept.
    pub kept: bool,
}

/// Where the dials of a method are turned to.
#[derive(Clone, Debug, PartialEq)]
pub struct Turned {
    /// For reports.
    pub chosen: Vec<Chosen>,
    /// Every setting that was tried.
    pub tried: Vec<Tried>,
    /// The metric on whole support sets with what was chosen, where it is not what training had; higher is better.
    pub quality: Option<f64>,
}

impl Tuning<'_> {
    /// Turns the dials of a trained method: `own` are its values.
    ///
    /// # Errors
    /// A metric that does not apply to the rows, or an interruption.
    pub fn turn(&self, adaptation: &dyn Adaptation, base: &Base, own: &mut Params, stop: &AtomicBool) -> Result<Turned, ExperimentError> {
        let (dials, device, cut) = (adaptation.dials(), Device::flex(), self.mixed());
        let query: Vec<u32> = self.tasks.iter().flat_map(|(_, query)| query).copied().collect();
        let judge =
            Judge::new(judging_rows_of(self.of, self.dataset, &query, self.domain_column)?, self.metric.clone(), base.spec.objective);
        let scores = |own: &Params, tasks: &Tasks| {
            Ok::<_, ExperimentError>(Scorer::new(base, adaptation, own, &device).tasks(self.dataset, tasks)?.concat())
        };
        let trained: Vec<f32> = dials.iter().map(|dial| own.values[dial.param.0][0]).collect();
        let mut found: Vec<(Vec<f32>, f64, Statistic)> = Vec::new();
        for values in settings(dials, &trained) {
            if stop.load(Ordering::Relaxed) {
                return Err(ExperimentError::Interrupted);
            }
            set(own, dials, &values);
            let scores = scores(own, &cut)?;
            found.push((values, judge.value(&scores)?, judge.statistic(&scores)?));
        }
        // The first of equals.
        let best = (1..found.len()).fold(0, |best, at| if found[at].1 > found[best].1 { at } else { best });
        let start = found.iter().position(|(values, ..)| *values == trained).expect("what training has is among the values of each dial");
        let kept = if is_better(&found[best].2, &found[start].2, self.metric.goal())? { best } else { start };
        set(own, dials, &found[kept].0);
        let quality = if kept == start { None } else { Some(judge.value(&scores(own, self.tasks)?)?) };
        let in_units = |values: &[f32]| dials.iter().zip(values).map(|(dial, &value)| (dial.name, f64::from(value) * dial.unit)).collect();
        let tried = found.iter().enumerate().map(|(at, (values, validation, _))| Tried {
            dials: in_units(values),
            validation: *validation,
            trained: at == start,
            kept: at == kept,
        });
        let chosen = dials.iter().zip(&found[kept].0).map(|(dial, &value)| {
            let from: Vec<f64> = dial.values.iter().map(|&value| f64::from(value) * dial.unit).collect();
            let (first, last) = (value == dial.values[0], dial.values.last() == Some(&value));
            Chosen { setting: dial.name.into(), value: f64::from(value) * dial.unit, from, at_end: last || (first && !dial.ends_below) }
        });
        Ok(Turned { chosen: chosen.collect(), quality, tried: tried.collect() })
    }

    /// For whom a patch is applied: from 0 or 1 rows on where it is shown to be better there, else from 2 on.
    ///
    /// # Errors
    /// As [`guard::compare`].
    pub fn serve(&self, base: &Base, patch: &Patch) -> Result<Serve, ExperimentError> {
        if self.knows_more() || self.of == TasksOf::Items {
            return Ok(Serve::Always);
        }
        let question = Question { base, dataset: self.dataset, domain_column: self.domain_column, tasks: self.tasks, metric: &self.metric };
        Ok(match guard::decide(&guard::compare_at(&question, patch, &GUARDED)?) {
            Serve::Never => Serve::From(GUARDED.len()),
            serve => serve,
        })
    }

    /// Whether features of the rows tell more of a user than a support set that is cut.
    fn knows_more(&self) -> bool {
        self.dataset.has_state()
    }

    /// The tasks with support sets of mixed sizes: the latest rows of each.
    fn mixed(&self) -> Tasks {
        let cut = |(at, (support, query)): (usize, &(Vec<u32>, Vec<u32>))| {
            let size = if self.knows_more() { support.len() } else { SIZES[at % SIZES.len()].min(support.len()) };
            (support[support.len() - size..].to_vec(), query.clone())
        };
        self.tasks.iter().enumerate().map(cut).collect()
    }
}

/// Whether `a` is better than `b` by more than a standard error of their difference.
fn is_better(a: &Statistic, b: &Statistic, goal: Goal) -> Result<bool, ExperimentError> {
    let sample = |statistic: &Statistic| Sample { method: String::new(), seeds: vec![statistic.clone()] };
    let comparison = Bootstrap { draws: DRAWS, level: WITHIN_ONE, ..Bootstrap::default() }.compare(&[sample(a), sample(b)])?;
    let Some(difference) = comparison.difference(0, 1, goal) else { return Ok(false) };
    let Some((low, high)) = difference.ci_low.zip(difference.ci_high) else { return Ok(false) };
    let gain = if goal.is_a_value() { -difference.value } else { -goal.badness(difference.value) };
    Ok(gain > (high - low) / 2.0)
}

/// For reports: from how many rows on a method is applied.
pub(crate) fn served(serve: Serve) -> Option<Chosen> {
    let Serve::From(least) = serve else { return None };
    let from = (0..=GUARDED.len()).map(|size| size as f64).collect();
    Some(Chosen { setting: "serve_from".into(), value: least as f64, from, at_end: false })
}

/// Every setting of the dials. One at 0 turns the adaptation off, so that the others have nothing to say.
fn settings(dials: &[Dial], trained: &[f32]) -> Vec<Vec<f32>> {
    let product = dials.iter().fold(vec![Vec::new()], |all: Vec<Vec<f32>>, dial| {
        all.iter().flat_map(|values| dial.values.iter().map(|&value| [&values[..], &[value]].concat())).collect()
    });
    let counts = |values: &Vec<f32>| values.iter().all(|&v| v != 0.0) || values.iter().zip(trained).all(|(&v, t)| v == 0.0 || v == *t);
    product.into_iter().filter(counts).collect()
}

fn set(own: &mut Params, dials: &[Dial], values: &[f32]) {
    dials.iter().zip(values).for_each(|(dial, &value)| own.values[dial.param.0][0] = value);
}

#[cfg(test)]
mod tests {
    use acclimate_model::ParamId;

    use super::*;

    #[test]
    fn every_setting_is_tried_once() {
        let dial = |name, values: &[f32]| Dial { name, param: ParamId(0), values: values.to_vec(), unit: 1.0, ends_below: false };
        let found = settings(&[dial("rate", &[0.5, 1.0]), dial("weight", &[0.0, 1.0])], &[1.0, 1.0]);
        assert_eq!(found, [vec![0.5, 1.0], vec![1.0, 0.0], vec![1.0, 1.0]]);
        assert_eq!(settings(&[], &[]), [Vec::<f32>::new()]);
    }

    #[test]
    fn a_better_setting_has_to_be_better_by_more_than_a_standard_error() {
        let of = |values: &[f64]| Statistic::of_user_values(&values.iter().map(|&v| Some(v)).collect::<Vec<_>>());
        let base = of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert!(is_better(&of(&[0.9, 1.9, 2.9, 3.9, 4.9, 5.9, 6.9, 7.9]), &base, Goal::Lower).unwrap(), "better for everybody");
        assert!(!is_better(&of(&[0.0, 3.0, 2.0, 5.0, 4.0, 7.0, 6.0, 7.9]), &base, Goal::Lower).unwrap(), "better on the mean, by luck");
        assert!(!is_better(&base, &base, Goal::Lower).unwrap());
    }
}
