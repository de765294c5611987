//! Measures a saved base and its patches on rows, with floors beside them.

use std::path::{Path, PathBuf};

use acclimate_data::LabelKind;
use acclimate_eval::floor::{Labelled, Unlabelled, pointwise_floors};
use acclimate_eval::{Bootstrap, Cost, Entrant, Environment, Kind, Metric, Panel, Place, Report};
use acclimate_model::Params;
use acclimate_train::Scorer;
use burn::tensor::Device;

use crate::ExperimentError;
use crate::lab::{evaluation_rows, pretraining};
use crate::open::OpenBase;

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Patch files.
    pub patches: Vec<PathBuf>,
    /// Only rows of this domain.
    pub domain: Option<String>,
    /// Part of the base's split.
    pub part: String,
    /// Metrics; empty: auc and log_loss for clicks, mae and rmse for ratings.
    pub metrics: Vec<Metric>,
    /// The command line, for the report.
    pub command: String,
}

/// Measures the base, its patches, and every floor that can be fitted on the base's training rows.
///
/// # Errors
/// A patch of another base, a part without rows or without users that a patch could adapt to, or a metric that does not apply.
pub fn evaluate(open: &OpenBase, request: &Request) -> Result<Report, ExperimentError> {
    let (base, dataset) = (&open.saved.base, &open.source.dataset);
    let rows = open.rows(&request.part, request.domain.as_deref())?;
    let patches = request.patches.iter().map(|path| Ok((path, open.patch(path)?))).collect::<Result<Vec<_>, ExperimentError>>()?;
    let patches = patches.into_iter().map(|(path, patch)| Ok((path, patch.adaptation(base)?, patch)));
    let patches = patches.collect::<Result<Vec<_>, ExperimentError>>()?;
    // Where one adapts to a user's rows, all are measured on the other rows of the same users.
    let tasks = match patches.iter().any(|(_, adaptation, _)| adaptation.needs().support) {
        true => Some(open.tasks(&rows)?),
        false => None,
    };
    let rows = tasks.as_ref().map_or(rows, |tasks| tasks.iter().flat_map(|(_, query)| query).copied().collect());
    let support: Vec<u32> = tasks.iter().flatten().flat_map(|(support, _)| support).copied().collect();
    let setting = request.domain.as_ref().map_or_else(|| request.part.clone(), |d| format!("{}, {d}", request.part));
    let place = Place { dataset: dataset.name.clone(), scenario: "evaluate".into(), setting };
    let mut panel = Panel::new(place, Bootstrap::default());
    let mut notes = Vec::new();
    if let Some(tasks) = &tasks {
        let (users, n) = (tasks.len(), support.len());
        notes
            .push(format!("Measured on rows of {users} users; patches and floors that adapt to a user see {n} other rows of these users."));
    }
    match floors(open, &support, &rows)? {
        Some(floors) => panel = floors.into_iter().fold(panel, Panel::enter),
        None => notes.push("This data has no training part, so no floor could be fitted.".to_owned()),
    }
    let predict = |scores: Vec<f32>| scores.into_iter().map(|s| base.spec.objective.predict(s)).collect();
    let device = Device::flex();
    let plain = pretraining(base)?;
    let scores = Scorer::new(base, plain.as_ref(), &Params::default(), &device).rows(dataset, &rows)?;
    panel = panel.enter(Entrant::deterministic("base", Kind::Control, predict(scores)));
    for (path, adaptation, patch) in patches {
        let patched = patch.apply(base)?;
        let scorer = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device);
        let scores = match &tasks {
            Some(tasks) if adaptation.needs().support => scorer.tasks(dataset, tasks)?.concat(),
            _ => scorer.rows(dataset, &rows)?,
        };
        let mut entrant = Entrant::deterministic(name(path, &request.patches), Kind::Adaptation, predict(scores));
        let (stored, bytes) = (patch.manifest.counts.stored() as u64, patch.bytes() as u64);
        entrant.cost = Cost { trainable_parameters: Some(stored), patch_bytes: Some(bytes), ..Cost::default() };
        panel = panel.enter(entrant);
    }
    let metrics = if request.metrics.is_empty() { defaults(dataset.label)? } else { request.metrics.clone() };
    let mut report =
        Report { title: format!("{}: evaluation", dataset.name), command: request.command.clone(), notes, ..Report::default() };
    report.environment = Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        threads: rayon::current_num_threads(),
        device: "cpu".into(),
        ..Environment::default()
    };
    report.extend(panel.on_rows(&evaluation_rows(dataset, &rows, &open.source.domain_column)?, &metrics)?);
    Ok(report)
}

/// Floors fitted on the training part, chosen on the validation part; `None` for data without parts.
fn floors(open: &OpenBase, support: &[u32], rows: &[u32]) -> Result<Option<Vec<Entrant<f32>>>, ExperimentError> {
    let dataset = &open.source.dataset;
    let (Ok(train), Ok(validation)) = (open.source.part("train"), open.source.part("validation")) else { return Ok(None) };
    let (train, validation) = (Labelled::new(dataset, &train)?, Labelled::new(dataset, &validation)?);
    let applies = pointwise_floors().into_iter().filter(|f| f.applies_to(dataset) && (!support.is_empty() || f.name() != "support_mean"));
    let entrants = applies.map(|floor| {
        let fitted = floor.fit(train, validation)?;
        let values = fitted.score(Labelled::new(dataset, support)?, Unlabelled::new(dataset, rows)?);
        Ok(Entrant::deterministic(floor.name(), Kind::Floor, values))
    });
    entrants.collect::<Result<_, ExperimentError>>().map(Some)
}

/// The file's stem; the whole path where two files share it.
fn name(path: &Path, all: &[PathBuf]) -> String {
    let unique = all.iter().filter(|p| p.file_stem() == path.file_stem()).count() == 1;
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).filter(|s| unique && s != "base");
    stem.unwrap_or_else(|| path.display().to_string())
}

fn defaults(label: LabelKind) -> Result<Vec<Metric>, ExperimentError> {
    let names = if matches!(label, LabelKind::Rating { .. }) { ["mae", "rmse"] } else { ["auc", "log_loss"] };
    Ok(names.map(str::parse).into_iter().collect::<Result<_, _>>()?)
}
