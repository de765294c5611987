//! Never worse than the base: whom a patch is applied for, decided on validation rows.
//!
//! At each support size k the patch, adapted from k rows of a user, is compared with the base on the same validation rows, by a paired bootstrap over
//! users. It is applied from the smallest size on at which it is shown to be better, provided that it is not worse at any larger one. A patch that adapts
//! from no rows has one size, 0.

use acclimate_adapt::{Patch, Serve};
use acclimate_data::Dataset;
use acclimate_eval::{Bootstrap, DifferenceRecord, Entrant, Kind, Metric, Panel, Place, Verdict};
use acclimate_model::{Base, Params};
use acclimate_train::Scorer;
use burn::tensor::Device;

use crate::ExperimentError;
use crate::lab::{evaluation_rows, pretraining};
use crate::open::Tasks;

/// Support sizes that are tried.
const SIZES: [usize; 9] = [0, 1, 2, 3, 5, 10, 20, 50, 100];

/// Users that a support size needs to be judged at all.
const FEWEST_USERS: usize = 2;

/// What was found at one support size.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Rows of each user that the patch adapts from.
    pub size: usize,
    /// Users measured: those with so many rows.
    pub users: usize,
    /// Patch minus base.
    pub difference: DifferenceRecord,
}

/// What a patch is compared on.
pub struct Question<'a> {
    /// The base.
    pub base: &'a Base,
    /// The rows.
    pub dataset: &'a Dataset,
    /// What metrics call the domain.
    pub domain_column: &'a str,
    /// Validation rows: of each user the rows to adapt from, oldest first, and the rows that judge. For a patch that adapts from nothing the former are
    /// not read.
    pub tasks: &'a Tasks,
    /// By what.
    pub metric: &'a Metric,
}

/// Compares a patch with its base at each support size.
///
/// # Errors
/// A patch of another base, or a metric that does not apply to the rows.
pub fn compare(question: &Question<'_>, patch: &Patch) -> Result<Vec<Found>, ExperimentError> {
    compare_at(question, patch, &SIZES)
}

/// The same at some sizes, ascending.
///
/// # Errors
/// As [`compare`].
pub fn compare_at(question: &Question<'_>, patch: &Patch, sizes: &[usize]) -> Result<Vec<Found>, ExperimentError> {
    let Question { base, dataset, domain_column, tasks, metric } = *question;
    let (adaptation, device, schema) = (patch.adaptation(base)?, Device::flex(), dataset.schema());
    // Ids that the base has never seen are its unknown.
    let (patched, grown) = (patch.apply(base)?.grown(&schema), base.grown(&schema));
    let (plain, own) = (pretraining(base)?, Params::default());
    let unadapted = Scorer::new(&grown, plain.as_ref(), &own, &device);
    let adapted = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device);
    let sizes = if adaptation.needs().groups.are_tasks() { sizes } else { &sizes[..1] };
    let mut found = Vec::new();
    for &size in sizes {
        let cut: Tasks = tasks
            .iter()
            .filter(|(support, _)| support.len() >= size)
            .map(|(support, query)| (support[support.len() - size..].to_vec(), query.clone()))
            .collect();
        let rows: Vec<u32> = cut.iter().flat_map(|(_, query)| query).copied().collect();
        if cut.len() < FEWEST_USERS || rows.is_empty() {
            continue;
        }
        let predict = |scores: Vec<f32>| scores.into_iter().map(|s| base.spec.objective.predict(s)).collect();
        let (base_scores, scores) = (unadapted.rows(dataset, &rows)?, adapted.tasks(dataset, &cut)?.concat());
        let place = Place { dataset: dataset.name.clone(), scenario: "adapt".into(), setting: format!("k={size}") };
        let outcome = Panel::new(place, Bootstrap::default())
            .enter(Entrant::deterministic("base", Kind::Control, predict(base_scores)))
            .enter(Entrant::deterministic("patch", Kind::Adaptation, predict(scores)))
            .on_rows(&evaluation_rows(dataset, &rows, domain_column)?, std::slice::from_ref(metric))?;
        let against_base = outcome.differences.into_iter().find(|d| d.method == "patch" && d.reference == "base");
        found.extend(against_base.map(|difference| Found { size, users: cut.len(), difference }));
    }
    Ok(found)
}

/// For whom the patch is to be applied, from what was found at each size, ascending.
#[must_use]
pub fn decide(found: &[Found]) -> Serve {
    let is_worse = |f: &Found| f.difference.metric.goal().badness(0.0) < badness(&f.difference);
    let last_worse = found.iter().rposition(is_worse).map_or(0, |at| at + 1);
    found[last_worse..].iter().find(|f| f.difference.better == Verdict::Yes).map_or(Serve::Never, |f| Serve::From(f.size))
}

/// How much worse the method is than its reference.
fn badness(difference: &DifferenceRecord) -> f64 {
    match difference.metric.goal() {
        // Differences are of the distances already.
        goal if goal.is_a_value() => difference.value,
        goal => goal.badness(difference.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(all: &[(usize, f64, Verdict)]) -> Vec<Found> {
        let one = |&(size, value, better): &(usize, f64, Verdict)| Found {
            size,
            users: 10,
            difference: DifferenceRecord {
                place: Place { dataset: String::new(), scenario: String::new(), setting: String::new() },
                metric: "rmse".parse().unwrap(),
                method: "patch".into(),
                reference: "base".into(),
                reference_is_best_floor: false,
                reference_is_own_base: true,
                value,
                ci_low: None,
                ci_high: None,
                better,
            },
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_patch_is_applied_from_the_first_size_that_is_shown_better_and_never_worse_above() {
        use Verdict::{No, NotShown, Yes};
        let decide = |all: &[(usize, f64, Verdict)]| decide(&found(all));
        assert_eq!(decide(&[(0, 0.1, No), (1, -0.1, NotShown), (3, -0.2, Yes), (5, -0.3, Yes)]), Serve::From(3));
        assert_eq!(decide(&[(0, -0.1, Yes), (1, -0.2, Yes)]), Serve::From(0));
        assert_eq!(decide(&[(0, -0.1, Yes), (1, 0.01, NotShown), (3, -0.2, Yes)]), Serve::From(3), "worse at 1, though not shown");
        assert_eq!(decide(&[(0, -0.1, Yes), (1, 0.2, No)]), Serve::Never);
        assert_eq!(decide(&[(0, -0.1, NotShown)]), Serve::Never);
        assert_eq!(decide(&[]), Serve::Never);
    }
}
