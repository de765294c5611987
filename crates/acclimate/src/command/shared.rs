//! Arguments that every command understands, and what several commands print.

use std::path::{Path, PathBuf};

use acclimate::eval::Report;
use acclimate::progress::{Level, Progress};
use acclimate::{ExperimentError, Leaderboard, Paint};
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

/// Writes the report's files and prints its table. Files: `report.html` and `results.json` in the folder, and the JSON once more where asked.
pub(crate) fn publish(report: &Report, folder: &Path, json: Option<&PathBuf>, most_metrics: usize) -> Result<(), ExperimentError> {
    report.write_html(&folder.join("report.html"))?;
    report.write_json(&folder.join("results.json"))?;
    if let Some(path) = json {
        report.write_json(path)?;
    }
    let mut printed = report.clone();
    // Curves are for the eye: the report draws them.
    printed.results.retain(|result| !result.place.setting.contains(",k="));
    print!("{}", Leaderboard::new(&printed, Paint::for_stdout()).with_most_metrics(most_metrics));
    println!("\nReport: {}", folder.join("report.html").display());
    Ok(())
}

/// The command line as it was typed.
pub(crate) fn typed() -> String {
    let quoted = |a: String| if a.contains(' ') { format!("'{a}'") } else { a };
    std::iter::once("acclimate".to_owned()).chain(std::env::args().skip(1).map(quoted)).collect::<Vec<_>>().join(" ")
}
