//! `acclimate pretrain`: a base, saved with what it takes to read data for it.

use std::path::PathBuf;

use acclimate::{Experiment, ExperimentError, Leaderboard, Measure, Paint, Setup, interrupt, pretrain};

use super::Global;
use super::shared::{Seeds, typed};

/// Train a base on an experiment's training part, or on a data set with a default network and split
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  acclimate pretrain examples/krl1-multi-domain.toml --out base\n  acclimate pretrain my-dataset.toml --out base")]
pub(crate) struct Args {
    /// An experiment file, or a data-set file: then the last tenth of the rows in time is test, the tenth before it validation.
    file: PathBuf,
    /// Folder for the base.
    #[arg(long, default_value = "base", value_name = "FOLDER")]
    out: PathBuf,
    #[command(flatten)]
    seeds: Seeds,
    /// Write the validation results to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file).map_err(|source| ExperimentError::Read { path: args.file.clone(), source })?;
    let is_dataset = text.parse::<toml::Table>().is_ok_and(|t| t.contains_key("interactions"));
    let experiment = if is_dataset { pretrain::default_experiment(&args.file)? } else { Experiment::load(&args.file)? };
    let stop = interrupt::stop_flag()?;
    let setup = Setup {
        folder: args.out.join("work"),
        seeds: args.seeds.list(1),
        measure: Measure::Validation,
        stop: &stop,
        progress: &global.progress(),
        command: typed(),
    };
    let (saved, report) = pretrain::pretrain(&experiment, setup)?;
    saved.save(&args.out)?;
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    print!("{}", Leaderboard::new(&report, Paint::for_stdout()));
    let out = args.out.display();
    println!("\nBase: {out} ({})\nNext: acclimate adapt adapter --base {out} --domain NAME --out patch.safetensors", &saved.record.base[..12]);
    Ok(())
}
