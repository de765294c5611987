//! Arguments that every command understands, and what several commands print.

use std::io::Write;
use std::path::{Path, PathBuf};

use acclimate::eval::Report;
use acclimate::progress::{Level, Progress};
use acclimate::{ExperimentError, Leaderboard, Measure, Paint};
use clap::Args;

/// Arguments of every command.
#[derive(Args)]
pub(crate) struct Global {
    /// Threads for training and scoring; default: all cores.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Device to compute on; this build has `cpu`.
    #[arg(long, global = true, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// Print results and errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print a line for every epoch.
    #[arg(short, long, global = true)]
    verbose: bool,
}

/// A request that parses but can not be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Standard output that can not be written: closed by the reader, or a full disk.
#[derive(Debug, thiserror::Error)]
#[error("can not write to standard output: {0}")]
pub(crate) struct OutputError(std::io::Error);

impl OutputError {
    /// Whether the reader has seen enough, as `head` does.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == std::io::ErrorKind::BrokenPipe
    }
}

/// Prints to standard output.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<(), OutputError> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(OutputError)
}

/// Refuses a file for results whose folder is missing, before any work is done for it.
pub(crate) fn check_json(path: Option<&PathBuf>) -> Result<(), UsageError> {
    let Some(path) = path else { return Ok(()) };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.is_dir() || !folder.is_dir() {
        let problem =
            if path.is_dir() { "is a folder".to_owned() } else { format!("can not be written: there is no folder {}", folder.display()) };
        return Err(UsageError(format!("--json {} {problem}; name a file in a folder that exists", path.display())));
    }
    Ok(())
}

impl Global {
    /// Sets up threads and checks the device.
    pub(crate) fn apply(&self) -> anyhow::Result<()> {
        if self.device != "cpu" {
            let problem = format!("device `{}` is not in this build; it has only `cpu`: leave --device out", self.device);
            return Err(UsageError(problem).into());
        }
        // The calling thread is one of the pool: work that is handed to another thread and waited for moves its data from core to core. 0 = all cores.
        let threads = self.threads.unwrap_or(0).into();
        Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()?)
    }

    /// How much is said.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(match (self.quiet, self.verbose) {
            (true, _) => Level::Quiet,
            (_, true) => Level::Verbose,
            _ => Level::Normal,
        })
    }
}

/// Seeds of a comparison.
#[derive(Args)]
pub(crate) struct Seeds {
    /// First training seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of training seeds; default: what the experiment says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
}

impl Seeds {
    /// The seeds, `default` of them unless told otherwise.
    pub(crate) fn list(&self, default: u64) -> Vec<u64> {
        (0..self.seeds.unwrap_or(default)).map(|i| self.seed.wrapping_add(i)).collect()
    }
}

/// Writes the report's files and prints its table. Files: `report.html` and `results.json` in the folder (on validation rows `validation.html` and
/// `validation.json`), and the JSON once more where asked.
pub(crate) fn publish(report: &Report, folder: &Path, measure: Measure, json: Option<&PathBuf>, most_metrics: usize) -> anyhow::Result<()> {
    let [page, data] = match measure {
        Measure::Test => ["report.html", "results.json"],
        Measure::Validation => ["validation.html", "validation.json"],
    };
    report.write_html(&folder.join(page)).map_err(ExperimentError::from)?;
    report.write_json(&folder.join(data)).map_err(ExperimentError::from)?;
    if let Some(path) = json {
        report.write_json(path).map_err(ExperimentError::from)?;
    }
    let table = Leaderboard::new(report, Paint::for_stdout()).with_most_metrics(most_metrics);
    Ok(print(format_args!("{table}\nReport: {}\n", folder.join(page).display()))?)
}

/// The command line as it was typed.
pub(crate) fn typed() -> String {
    std::iter::once("acclimate".to_owned()).chain(std::env::args().skip(1).map(quoted)).collect::<Vec<_>>().join(" ")
}

/// An argument as a shell reads it.
pub(crate) fn quoted(argument: impl std::fmt::Display) -> String {
    let argument = argument.to_string();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:@%+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) { argument } else { format!("'{}'", argument.replace('\'', "'\\''")) }
}

/// A number of rows.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse::<usize>().ok().filter(|&n| n > 0).ok_or_else(|| "must be a whole number, 1 or more".to_owned())
}
