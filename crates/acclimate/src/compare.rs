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
    warn_of_poor_bases(&mut report);
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

/// Says where a base is no better than a constant in some metric: its settings or its data are wrong, and patches of it mean little. The ratio of predicted to
/// observed clicks is left out: a constant is level by construction.
fn warn_of_poor_bases(report: &mut Report) {
    /// A base and the metrics in which it is poor, with the settings of a scenario where it is: they mostly share one base.
    struct Poor<'a> {
        place: &'a Place,
        base: &'a str,
        metrics: Vec<String>,
        values: Vec<String>,
        settings: Vec<&'a str>,
    }
    let badness = |r: &ResultRecord| r.value.map(|v| r.metric.goal().badness(v));
    let constants: Vec<&ResultRecord> = report.results.iter().filter(|r| r.method == "global_mean").collect();
    let mut all: Vec<Poor<'_>> = Vec::new();
    for (at, base) in report.results.iter().enumerate().filter(|(_, r)| r.is_base && !r.place.setting.contains(",k=")) {
        let of_base = |r: &&ResultRecord| r.place == base.place && r.method == base.method;
        if report.results[..at].iter().any(|r| of_base(&r)) {
            continue;
        }
        let mut poor = Poor { place: &base.place, base: &base.method, metrics: Vec::new(), values: Vec::new(), settings: Vec::new() };
        for found in report.results.iter().filter(of_base).filter(|r| !r.metric.goal().is_a_value()) {
            let constant = constants.iter().find(|r| r.place == base.place && r.metric == found.metric);
            if let Some((value, limit)) = found.value.zip(constant.and_then(|c| c.value))
                && badness(found) >= constant.and_then(|c| badness(c))
            {
                poor.metrics.push(found.metric.to_string());
                poor.values.push(format!("{} ({value:.4} against {limit:.4})", found.metric));
            }
        }
        if poor.metrics.is_empty() {
            continue;
        }
        let same = |other: &&mut Poor<'_>| {
            let (a, b) = (other.place, poor.place);
            (&a.dataset, &a.scenario, other.base, &other.metrics) == (&b.dataset, &b.scenario, poor.base, &poor.metrics)
        };
        match all.iter_mut().find(same) {
            Some(known) => known.settings.push(&base.place.setting),
            None => all.push(Poor { settings: vec![&base.place.setting], ..poor }),
        }
    }
    let note = |Poor { place, base, values, settings, .. }: &Poor<'_>| {
        format!(
            "{} / {}, {}: `{base}` is no better than the global mean by {}. Either it is poorly trained (its log says), or these rows have little in common \
             with what it learned from.",
            place.dataset,
            place.scenario,
            settings.join(", "),
            values.join(", ")
        )
    };
    let notes: Vec<String> = all.iter().map(note).collect();
    report.notes.extend(notes);
}

/// The time as RFC 3339 in UTC.
pub(crate) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let time = chrono::DateTime::from_timestamp(seconds as i64, 0);
    time.map_or_else(String::new, |t| t.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
