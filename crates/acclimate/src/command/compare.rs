//! `acclimate compare`: one table of all methods of an experiment.

use std::path::PathBuf;

use acclimate::{Experiment, Measure, Setup, interrupt};

use super::Global;
use super::shared::{Seeds, check_json, publish, typed};

/// Compare methods on one base, split and budget, with floors beside them
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate compare examples/krl1-multi-domain.toml --seeds 3 --json out.json\n  acclimate compare mine.toml --validation   (to choose settings)\n\n\
        Interrupted? The same command goes on where it stopped."
)]
pub(crate) struct Args {
    /// The experiment file.
    experiment: PathBuf,
    #[command(flatten)]
    seeds: Seeds,
    /// Folder for the report, bases, patches, logs and finished runs; default runs/<name>.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write every result to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure on validation rows instead of test rows, to choose settings; writes validation.html instead of report.html.
    #[arg(long)]
    validation: bool,
    /// Metrics in the printed table; the report has all.
    #[arg(long, default_value_t = 4, value_name = "N")]
    columns: usize,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let experiment = Experiment::load(&args.experiment)?;
    let folder = args.out.unwrap_or_else(|| PathBuf::from("runs").join(&experiment.name));
    let stop = interrupt::stop_flag()?;
    let measure = if args.validation { Measure::Validation } else { Measure::Test };
    let setup = Setup {
        folder: folder.clone(),
        seeds: args.seeds.list(experiment.seeds),
        measure,
        stop: &stop,
        progress: &global.progress(),
        command: typed(),
    };
    let report = acclimate::compare(&experiment, setup)?;
    publish(&report, &folder, measure, args.json.as_ref(), args.columns)
}
