//! `acclimate adapt`: a patch for a saved base.

use std::path::PathBuf;

use acclimate::{ExperimentError, TrainConfig, experiment::overlay, interrupt, open::{Adapting, OpenBase}};

use super::Global;
use super::shared::UsageError;

/// Adapt a saved base to rows of a domain or of other data, and save the patch
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate adapt adapter --base base --domain 2 --out tab2.safetensors\n  acclimate adapt fine_tune_last --base base --data new.toml --train epochs=3 --train optimizer.rate=1e-3"
)]
pub(crate) struct Args {
    /// The method.
    method: String,
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// Data-set file to adapt to; default the base's own.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Only rows of this domain.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Part of the base's split to learn from.
    #[arg(long, default_value = "train", value_name = "PART")]
    part: String,
    /// A key of the method's config.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// A key of the training config.
    #[arg(long = "train", value_name = "KEY=VALUE")]
    training: Vec<String>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File for the patch.
    #[arg(long, default_value = "patch.safetensors", value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let keys = table(&args.keys)?;
    let train: TrainConfig = table(&args.training)?.try_into().map_err(|e: toml::de::Error| UsageError(format!("--train: {}", e.message())))?;
    train.validate().map_err(ExperimentError::from)?;
    let open = OpenBase::open(&args.base, args.data.as_deref())?;
    let rows = open.rows(&args.part, args.domain.as_deref())?;
    let stop = interrupt::stop_flag()?;
    let how = Adapting { method: args.method, keys, train, seed: args.seed };
    let patch = open.adapt(&how, &rows, &mut global.progress().bar(&how.method), &stop)?;
    patch.save(&open.saved.base, &args.out).map_err(ExperimentError::from)?;
    let (stored, bytes) = (patch.manifest.counts.stored(), patch.bytes());
    println!("{}: {} on {} rows, {stored} values, {bytes} bytes", args.out.display(), how.method, rows.len());
    println!("Next: acclimate evaluate --base {} --patch {}", args.base.display(), args.out.display());
    Ok(())
}

/// `a.b=1` as nested tables; a value that is no TOML is text.
fn table(pairs: &[String]) -> Result<toml::Table, UsageError> {
    let mut all = toml::Table::new();
    for pair in pairs {
        let (key, value) = pair.split_once('=').ok_or_else(|| UsageError(format!("`{pair}` is not KEY=VALUE")))?;
        let line = |value: &str| format!("{key} = {value}").parse::<toml::Table>();
        let parsed = line(value).or_else(|_| line(&format!("{value:?}"))).map_err(|_| UsageError(format!("`{pair}` is not KEY=VALUE")))?;
        all = overlay(&all, &parsed);
    }
    Ok(all)
}
