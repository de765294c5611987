//! `acclimate pretrain`: a base, saved with what it takes to read data for it.

use std::path::PathBuf;

use acclimate::{Experiment, ExperimentError, Leaderboard, Measure, Paint, Setup, interrupt, pretrain, state};

use super::Global;
use super::shared::{check_json, print, quoted, typed};

/// Train a base on an experiment's training part, or on a data set with a default network and split
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  acclimate pretrain examples/krl1-multi-domain.toml --out base\n  acclimate pretrain my-dataset.toml --out base")]
pub(crate) struct Args {
    /// An experiment file, or a data-set file: then its log proposes the split, as `acclimate inspect` prints it.
    file: PathBuf,
    /// Folder for the base.
    #[arg(long, default_value = "base", value_name = "FOLDER")]
    out: PathBuf,
    /// Seed of the training.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the validation results to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let text = std::fs::read_to_string(&args.file).map_err(|source| ExperimentError::Read { path: args.file.clone(), source })?;
    let is_dataset = text.parse::<toml::Table>().is_ok_and(|t| t.contains_key("interactions"));
    let experiment = if is_dataset { pretrain::default_experiment(&args.file)? } else { Experiment::load(&args.file)? };
    let stop = interrupt::stop_flag()?;
    let setup = Setup {
        folder: args.out.join("work"),
        seeds: vec![args.seed],
        measure: Measure::Validation,
        stop: &stop,
        progress: &global.progress(),
        command: typed(),
    };
    let (saved, report) = pretrain::pretrain(&experiment, setup)?;
    saved.save(&args.out)?;
    if saved.encoder.has_state() {
        state::save(&args.out, &saved)?;
    }
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    let out = quoted(args.out.display());
    // The first domain that is new to the base; else the first there is.
    let mut domains = saved.record.unseen.iter().chain(saved.base.spec.schema.domains.iter());
    let one = domains.next().filter(|_| saved.base.spec.schema.domains.len() > 1);
    let next = match (one, saved.reads_sequences()) {
        (_, true) => format!("acclimate adapt adapter --base {out} --out patch.safetensors"),
        (Some(domain), _) => format!("acclimate adapt --base {out} --domain {} --out patch.safetensors", quoted(domain)),
        (None, _) => format!("acclimate adapt melu --base {out} --out patch.safetensors"),
    };
    let table = Leaderboard::new(&report, Paint::for_stdout());
    Ok(print(format_args!("{table}\nBase: {out} ({})\nNext: {next}\n", &saved.record.base[..12]))?)
}
