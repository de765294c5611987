//! Result records and the report file.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::floor::Chosen;
use crate::{DomainSize, EvalError, Metric, Verdicts};

/// Where a number belongs: methods are compared only inside one place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Data set, for example `movielens-1m`.
    pub dataset: String,
    /// Scenario, for example `user_cold_start`.
    pub scenario: String,
    /// Setting, for example `new_user`, `n=1000` or `k=5`; several parts are joined by commas.
    pub setting: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} / {} / {}", self.dataset, self.scenario, self.setting)
    }
}

/// The role of a method in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A non-adaptive baseline that every method has to beat.
    Floor,
    /// What everybody compares with: the unadapted base, fine-tuning, training from scratch.
    Control,
    /// A method of adaptation.
    Adaptation,
    /// The best achievable value, known for simulated data only.
    Ceiling,
}

impl Kind {
    /// The word used in records and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Control => "control",
            Self::Adaptation => "adaptation",
            Self::Ceiling => "ceiling",
        }
    }
}

/// Whether a method is better than its reference, judged by the paired interval of the difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The whole interval lies on the good side of 0.
    #[serde(rename = "yes")]
    Yes,
    /// The whole interval lies on the bad side of 0.
    #[serde(rename = "no")]
    No,
    /// The interval holds 0, or there is none.
    #[serde(rename = "not shown")]
    NotShown,
}

impl Verdict {
    /// The word used in records and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotShown => "not shown",
        }
    }
}

/// What a method cost; `None` where it does not apply (a floor has no patch) or was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Number of trained scalars.
    pub trainable_parameters: Option<u64>,
    /// Size of the saved patch, in bytes.
    pub patch_bytes: Option<u64>,
    /// Wall time of training, in seconds, mean over seeds.
    pub train_seconds: Option<f64>,
    /// Training throughput, in rows a second, mean over seeds.
    pub rows_per_second: Option<f64>,
    /// Wall time to adapt to one user's support rows and score the query rows, in seconds, on the machine of the run; of methods that adapt to support rows.
    pub adapt_one_seconds: Option<f64>,
    /// The same for a thousand users together.
    pub adapt_thousand_seconds: Option<f64>,
    /// Wall time that what happens between two days of a stream takes, in seconds, mean over days and seeds; of scenario `online`.
    pub day_seconds: Option<f64>,
    /// Wall time to serve one row of a stream, in seconds, mean over rows and seeds.
    pub request_seconds: Option<f64>,
    /// Hours from the newest event that what is said of a row could rest on to that row, mean over the rows of a stream.
    pub newest_event_hours: Option<f64>,
}

/// One method on one metric: an entry of the list `results`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRecord {
    /// Data set, scenario and setting.
    #[serde(flatten)]
    pub place: Place,
    /// Method.
    pub method: String,
    /// Its role.
    pub kind: Kind,
    /// Metric, by its canonical name.
    pub metric: Metric,
    /// Mean over seeds; null when the metric is undefined, and where the method has not what it needs, such as a spread.
    pub value: Option<f64>,
    /// Lower end of the user-bootstrap interval.
    pub ci_low: Option<f64>,
    /// Upper end of the user-bootstrap interval.
    pub ci_high: Option<f64>,
    /// Number of training seeds that `value` is the mean of; 1 for deterministic methods.
    pub seeds: usize,
    /// The value of each seed.
    pub per_seed: Vec<Option<f64>>,
    /// Parameters, bytes and time.
    #[serde(flatten)]
    pub cost: Cost,
    /// Whether methods of the place start from it.
    #[serde(default)]
    pub is_base: bool,
    /// The base that it starts from; for a further base, the first. Null for floors, the ceiling, the first base.
    #[serde(default)]
    pub base: Option<String>,
    /// The floor that it is judged against: the best one of the same place and metric that reads nothing that it does not read itself.
    #[serde(default)]
    pub floor: Option<String>,
    /// Whether it is better than that floor.
    pub beats_floor: Verdict,
}

/// A paired difference between two methods on one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferenceRecord {
    /// Data set, scenario and setting.
    #[serde(flatten)]
    pub place: Place,
    /// Metric, by its canonical name.
    pub metric: Metric,
    /// Method.
    pub method: String,
    /// What it is compared with.
    pub reference: String,
    /// Whether the reference is the best floor of this place and metric.
    pub reference_is_best_floor: bool,
    /// Whether the reference is the base that the method starts from (for a further base: the first).
    #[serde(default)]
    pub reference_is_own_base: bool,
    /// Method minus reference (for PCOC, difference of the distances to 1).
    pub value: f64,
    /// Lower end of the paired interval.
    pub ci_low: Option<f64>,
    /// Upper end of the paired interval.
    pub ci_high: Option<f64>,
    /// Whether the method is better than the reference.
    pub better: Verdict,
}

/// The settings of one floor in one place: an entry of the list `floor_settings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloorRecord {
    /// Data set, scenario and setting.
    #[serde(flatten)]
    pub place: Place,
    /// The floor.
    pub method: String,
    /// The training seed whose rows it was fitted on, where seeds have rows of their own.
    pub seed: Option<u64>,
    /// The value of each setting, and what it was chosen from.
    pub settings: Vec<Chosen>,
}

/// The measured rows of one domain: an entry of the list `domains`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DomainRecord {
    /// Data set, scenario and setting.
    #[serde(flatten)]
    pub place: Place,
    /// Name, rows, users, positives.
    #[serde(flatten)]
    pub size: DomainSize,
}

/// A domain that a macro mean left out, because the metric was undefined there: an entry of the list `absences`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Absence {
    /// Data set, scenario and setting.
    #[serde(flatten)]
    pub place: Place,
    /// The macro mean.
    pub metric: Metric,
    /// The domain as metrics name it, such as `tab=1`.
    pub domain: String,
    /// Whether it is undefined on the rows as they are, so that the value itself is without the domain.
    pub on_sample: bool,
    /// Bootstrap draws that are without it.
    pub draws: usize,
    /// Number of bootstrap draws.
    pub of: usize,
}

impl ResultRecord {
    /// What stands in the place of a value that is not there: a dash where the method has not what the metric needs.
    pub(crate) fn without_value(&self) -> &'static str {
        if self.metric.is_of_some() { "\u{2013}" } else { "undefined" }
    }
}

impl Absence {
    /// Share of the draws that are without the domain.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.draws as f64 / self.of.max(1) as f64
    }
}

/// What a run was made with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Training seeds.
    pub seeds: Vec<u64>,
    /// Number of threads.
    pub threads: usize,
    /// Device, for example `cpu`.
    pub device: String,
    /// The host's processor: its model and the number of its cores.
    pub processor: String,
    /// Most memory that the process has held at once, in MiB; null where the system does not tell.
    pub peak_memory_mib: Option<f64>,
    /// Start, as RFC 3339 in UTC.
    pub started: String,
    /// Wall time of the whole run, in seconds.
    pub seconds: f64,
    /// How intervals were made.
    pub bootstrap: crate::Bootstrap,
}

/// A file that decided a run, by its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the file, without its folder.
    pub file: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// Everything a run has to say; written as JSON and as HTML.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Name of the experiment.
    pub title: String,
    /// The command line that made it.
    pub command: String,
    /// The exact configuration, as TOML text.
    pub config: String,
    /// The experiment file and the data-set file, as they were read.
    pub inputs: Vec<Input>,
    /// Version, seeds, threads, times.
    pub environment: Environment,
    /// What a reader must know: skipped rows, truncated tables.
    pub notes: Vec<String>,
    /// One entry for each place, method and metric.
    pub results: Vec<ResultRecord>,
    /// Paired differences: every method against the best floor, and against named references.
    pub differences: Vec<DifferenceRecord>,
    /// What support rows are worth to each method: its metric with k of them less that without.
    pub gains: Vec<crate::GainRecord>,
    /// What was checked before anything was measured.
    pub preflight: Vec<crate::Preflight>,
    /// Settings of floors, and of methods of which validation tasks have chosen some: those with settings, in each place.
    pub floor_settings: Vec<FloorRecord>,
    /// What the measured rows of each domain are, in each place.
    pub domains: Vec<DomainRecord>,
    /// Domains that macro means left out, on all rows or in some draws.
    pub absences: Vec<Absence>,
}

impl Report {
    /// Adds what a [`Panel`](crate::Panel) found.
    pub fn extend(&mut self, outcome: crate::Outcome) {
        self.results.extend(outcome.results);
        self.differences.extend(outcome.differences);
        self.gains.extend(outcome.gains);
        // A place that is measured in two panels, as for full and sampled ranks, has its floors once.
        let new = outcome.floor_settings.into_iter().filter(|record| !self.floor_settings.contains(record)).collect::<Vec<_>>();
        self.floor_settings.extend(new);
        self.domains.extend(outcome.domains);
        self.absences.extend(outcome.absences);
        self.notes.extend(outcome.notes);
        if let Some(preflight) = outcome.preflight {
            self.notes.extend(preflight.notes());
            self.preflight.push(preflight);
        }
    }

    /// Adds another report: its results, notes and configuration; title, command and environment stay, but for the time it took.
    pub fn join(&mut self, other: Self) {
        self.config = format!("{}\n{}", self.config, other.config);
        self.environment.seconds += other.environment.seconds;
        // Of the process: the later report's includes the earlier's.
        self.environment.peak_memory_mib = other.environment.peak_memory_mib;
        self.inputs.extend(other.inputs);
        self.preflight.extend(other.preflight);
        let new: Vec<String> = other.notes.into_iter().filter(|note| !self.notes.contains(note)).collect();
        self.notes.extend(new);
        self.results.extend(other.results);
        self.differences.extend(other.differences);
        self.gains.extend(other.gains);
        self.floor_settings.extend(other.floor_settings);
        self.domains.extend(other.domains);
        self.absences.extend(other.absences);
    }

    /// What the results come to.
    #[must_use]
    pub fn verdicts(&self) -> Verdicts {
        Verdicts::of(self)
    }

    /// Writes indented JSON: the verdicts under `verdicts`, then the report. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`EvalError::File`] when the folder can not be written, [`EvalError::Json`] when the report can not be encoded.
    pub fn write_json(&self, path: &Path) -> Result<(), EvalError> {
        #[derive(Serialize)]
        struct Written<'a> {
            verdicts: Verdicts,
            #[serde(flatten)]
            report: &'a Report,
        }
        let written = Written { verdicts: self.verdicts(), report: self };
        let mut text =
            serde_json::to_string_pretty(&written).map_err(|source| EvalError::Json { path: path.display().to_string(), source })?;
        text.push('\n');
        write_whole(path, &text)
    }

    /// Reads what [`write_json`](Self::write_json) wrote.
    ///
    /// # Errors
    /// [`EvalError::File`] when the file can not be read, [`EvalError::Json`] when it is no report.
    pub fn read_json(path: &Path) -> Result<Self, EvalError> {
        let text = fs::read_to_string(path).map_err(|source| file_error("read", path, source))?;
        serde_json::from_str(&text).map_err(|source| EvalError::Json { path: path.display().to_string(), source })
    }

    /// Writes a self-contained HTML page. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`EvalError::File`] when the folder can not be written.
    pub fn write_html(&self, path: &Path) -> Result<(), EvalError> {
        write_whole(path, &crate::to_html(self))
    }
}

/// Writes beside the target and renames, so that a reader never sees half a file.
fn write_whole(path: &Path, text: &str) -> Result<(), EvalError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // The rest of a failed write is of no use; that it can not be removed changes nothing for the caller.
        let _ = fs::remove_file(&beside);
        file_error("write", path, source)
    })
}

fn file_error(action: &'static str, path: &Path, source: std::io::Error) -> EvalError {
    EvalError::File { action, path: path.display().to_string(), source }
}
