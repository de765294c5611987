//! A whole comparison: from an experiment to a report.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use acclimate_eval::{Environment, Input, Place, Report, ResultRecord};
use burn::tensor::Device;

use crate::host;
use crate::lab::create_folder;
use crate::progress::Progress;
use crate::source::digest_text;
use crate::{Experiment, ExperimentError, Lab, Measure, Source};

/// What a comparison is run with, beside the experiment.
pub struct Setup<'a> {
    /// The output folder.
    pub folder: PathBuf,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// On which rows methods are measured.
    pub measure: Measure,
    /// Set from outside to stop.
    pub stop: &'a AtomicBool,
    /// Who shows progress.
    pub progress: &'a Progress,
    /// The command line, for the report.
    pub command: String,
}

/// Runs an experiment and gathers its report. Finished runs are kept in the folder, so that the same call after an interruption goes on.
///
/// # Errors
/// Anything wrong with the experiment, its data or a run; [`ExperimentError::Interrupted`].
pub fn compare(experiment: &Experiment, setup: Setup<'_>) -> Result<Report, ExperimentError> {
    let began = Instant::now();
    let started = now();
    create_folder(&setup.folder)?;
    setup.progress.say(&format!("{}: reading data", experiment.name));
    let source = Source::load(experiment)?;
    let (config, inputs) = configs(experiment);
    let Setup { folder, seeds, measure, stop, progress, command } = setup;
    let (encoder, split) = (source.encoder.as_ref(), source.rule.as_ref());
    let lab = Lab { experiment, folder, seeds, measure, device: Device::flex(), stop, progress, encoder, split };
    let outcomes = experiment.scenario.scenario().compare(&lab, &source)?;
    let mut report = Report {
        title: experiment.name.clone(),
        command,
        config,
        inputs,
        notes: source.notes.clone(),
        environment: Environment { seeds: lab.seeds.clone(), started, bootstrap: experiment.bootstrap, ..host::environment() },
        ..Report::default()
    };
    if measure == Measure::Validation {
        report.notes.push("Measured on validation rows, to choose settings; these numbers are not results.".into());
    }
    outcomes.into_iter().for_each(|outcome| report.extend(outcome));
    warn_of_poor_bases(experiment, &mut report);
    report.environment.seconds = began.elapsed().as_secs_f64();
    report.environment.peak_memory_mib = host::peak_memory_mib();
    Ok(report)
}

/// The experiment file and the data-set file that it names, as they were read: their texts, and a digest of each.
fn configs(experiment: &Experiment) -> (String, Vec<Input>) {
    let input = |path: &Path, text: &str| {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Input { file, sha256: digest_text(text) }
    };
    let mut inputs = vec![input(&experiment.path, &experiment.text)];
    let Some(dataset) = &experiment.dataset else { return (experiment.text.clone(), inputs) };
    let path = experiment.path.parent().map_or_else(|| dataset.clone(), |folder| folder.join(dataset));
    // It was read before; where it is gone by now, its absence is said by the report itself.
    let text = std::fs::read_to_string(&path).inspect(|text| inputs.push(input(&path, text)));
    let text = text.unwrap_or_else(|error| format!("# {error}"));
    (format!("{}\n# The data-set file {}:\n\n{text}", experiment.text, dataset.file_name().unwrap_or_default().to_string_lossy()), inputs)
}

/// Says where a base is no better than a constant: its settings or its data are wrong, and patches of it mean little.
fn warn_of_poor_bases(experiment: &Experiment, report: &mut Report) {
    let names: Vec<&str> =
        std::iter::once(&experiment.base.name).chain(experiment.variants.iter().map(|v| &v.name)).map(String::as_str).collect();
    let first = experiment.metrics.first();
    let constants = report.results.iter().filter(|r| r.method == "global_mean" && Some(&r.metric) == first);
    let badness = |r: &ResultRecord| r.value.map(|v| r.metric.goal().badness(v));
    let mut notes: Vec<String> = Vec::new();
    for constant in constants.filter(|r| !r.place.setting.contains(",k=")) {
        let at_place = |r: &&ResultRecord| r.place == constant.place && r.metric == constant.metric;
        for base in report.results.iter().filter(at_place).filter(|r| names.contains(&r.method.as_str())) {
            if let (Some(found), Some(limit)) = (badness(base), badness(constant))
                && found >= limit
            {
                let Place { dataset, scenario, .. } = &base.place;
                let (value, other) = (base.value.unwrap_or(f64::NAN), constant.value.unwrap_or(f64::NAN));
                let note = format!(
                    "{dataset} / {scenario}: `{}` is no better than the global mean ({} {value:.4} against {other:.4}). Either it is poorly trained (its \
                     log says), or these rows have little in common with what it learned from.",
                    base.method, base.metric
                );
                // The settings of a scenario mostly share one base.
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
    report.notes.extend(notes);
}

/// The time as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let time = chrono::DateTime::from_timestamp(seconds as i64, 0);
    time.map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
