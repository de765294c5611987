//! From finished runs to entrants of a panel.

use std::collections::BTreeSet;

use acclimate_adapt::find_method;
use acclimate_eval::{Cost, Entrant, Kind, Panel, Place};
use acclimate_model::Base;

use crate::experiment::MethodEntry;
use crate::lab::Finished;
use crate::{ExperimentError, Lab, Source};

/// A base with one training for each seed.
pub(crate) struct TrainedBase {
    pub(crate) name: String,
    pub(crate) seeds: Vec<(Base, Cost)>,
    /// The features that it reads, by name; none for one that reads sequences.
    pub(crate) reads: BTreeSet<String>,
}

impl TrainedBase {
    /// The unadapted base as an entrant.
    pub(crate) fn entrant(&self, lab: &Lab<'_>, runs: &[Finished], setting: usize) -> Entrant<f32> {
        entrant(lab, &self.name, Kind::Control, runs, setting).reading(self.reads.iter().cloned())
    }
}

/// An entrant from its runs, one for each seed: the prediction number `setting` of each.
fn entrant(lab: &Lab<'_>, name: &str, kind: Kind, runs: &[Finished], setting: usize) -> Entrant<f32> {
    let costs: Vec<Cost> = runs.iter().map(|r| r.cost).collect();
    let outputs = lab.seeds.iter().zip(runs).map(|(&seed, run)| (seed, run.predictions[setting].values.clone())).collect();
    let spreads = runs.iter().map(|run| run.predictions[setting].spread.clone());
    Entrant::trained(name, kind, outputs, mean(&costs)).with_spreads(spreads)
}

/// The entrant of a method, with the base that it starts from.
pub(crate) fn method_entrant(
    lab: &Lab<'_>,
    entry: &MethodEntry,
    bases: &[TrainedBase],
    runs: &[Finished],
    setting: usize,
) -> Result<Entrant<f32>, ExperimentError> {
    let base = base_of(entry, bases);
    let chosen = runs.iter().map(|run| run.settings.clone()).collect();
    Ok(entrant(lab, entry.label(), kind(entry)?, runs, setting).on(&base.name).reading(base.reads.iter().cloned()).with_settings(chosen))
}

/// The role of a method in reports.
fn kind(entry: &MethodEntry) -> Result<Kind, ExperimentError> {
    Ok(match find_method(&entry.name)?.0.kind {
        acclimate_adapt::Kind::Control => Kind::Control,
        acclimate_adapt::Kind::Adaptation => Kind::Adaptation,
    })
}

/// The base that a method starts from.
pub(crate) fn base_of<'a>(entry: &MethodEntry, bases: &'a [TrainedBase]) -> &'a TrainedBase {
    let named = entry.base.as_ref().and_then(|name| bases.iter().find(|b| b.name == *name));
    named.unwrap_or(&bases[0])
}

/// A panel for a setting, with the ceiling where it is known.
pub(crate) fn panel(lab: &Lab<'_>, source: &Source, scenario: &str, setting: &str, rows: &[u32]) -> Panel<f32> {
    let place = Place { dataset: source.dataset.name.clone(), scenario: scenario.into(), setting: setting.into() };
    let names: Vec<&str> =
        std::iter::once(lab.experiment.base.name.as_str()).chain(lab.experiment.variants.iter().map(|v| v.name.as_str())).collect();
    let names: Vec<&str> = names.into_iter().chain(lab.experiment.references.iter().map(String::as_str)).collect();
    let panel = Panel::new(place, lab.experiment.bootstrap).with_references(&names);
    match &source.truth {
        Some(truth) => panel.enter(Entrant::deterministic("bayes", Kind::Ceiling, rows.iter().map(|&r| truth[r as usize]).collect())),
        None => panel,
    }
}

/// Predictions made elsewhere, on some rows.
pub(crate) fn from_elsewhere(lab: &Lab<'_>, source: &Source, rows: &[u32]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
    source.scores.iter().map(|scores| scores.entrant(lab.experiment, &source.dataset, rows)).collect()
}

pub(crate) fn mean(costs: &[Cost]) -> Cost {
    let n = costs.len().max(1) as f64;
    let whole = |get: fn(&Cost) -> Option<u64>| costs.iter().map(get).sum::<Option<u64>>().map(|sum| (sum as f64 / n).round() as u64);
    let real = |get: fn(&Cost) -> Option<f64>| costs.iter().map(get).sum::<Option<f64>>().map(|sum| sum / n);
    Cost {
        trainable_parameters: whole(|c| c.trainable_parameters),
        patch_bytes: whole(|c| c.patch_bytes),
        train_seconds: real(|c| c.train_seconds),
        rows_per_second: real(|c| c.rows_per_second),
        adapt_one_seconds: real(|c| c.adapt_one_seconds),
        adapt_thousand_seconds: real(|c| c.adapt_thousand_seconds),
        day_seconds: real(|c| c.day_seconds),
        request_seconds: real(|c| c.request_seconds),
        newest_event_hours: real(|c| c.newest_event_hours),
    }
}
