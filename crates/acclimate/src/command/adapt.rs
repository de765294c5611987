//! `acclimate adapt`: a patch for a saved base.

use std::path::PathBuf;

use acclimate::{ExperimentError, TrainConfig, experiment::overlay, interrupt, open::{Adapting, OpenBase, forget_checkpoints}};

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
    /// A key of the training config. Without `batch`, a batch is a twentieth of the rows (32 to 1024), or 32 users.
    #[arg(long = "train", value_name = "KEY=VALUE")]
    training: Vec<String>,
    /// Part whose rows (of the same domain) choose the best epoch; `none` trains for the steps or epochs given.
    #[arg(long, default_value = "validation", value_name = "PART")]
    validation: String,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File for the patch. Log and checkpoint go to the folder of the same name that ends in `-run`.
    #[arg(long, default_value = "patch.safetensors", value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let keys = table(&args.keys)?;
    let training = table(&args.training)?;
    let batch_given = training.contains_key("batch");
    let mut train: TrainConfig = training.try_into().map_err(|e: toml::de::Error| UsageError(format!("--train: {}", e.message())))?;
    train.validate().map_err(ExperimentError::from)?;
    let open = OpenBase::open(&args.base, args.data.as_deref())?;
    let rows = open.rows(&args.part, args.domain.as_deref())?;
    if !batch_given {
        train.batch = open.batch_for(&args.method, &keys, rows.len())?;
    }
    let stop = interrupt::stop_flag()?;
    let validation = held_out(&open, &args)?;
    let folder = args.out.with_extension("");
    let folder = folder.with_file_name(format!("{}-run", folder.file_name().unwrap_or_default().to_string_lossy()));
    let how = Adapting { method: args.method, keys, train, seed: args.seed, validation, folder };
    let progress = global.progress();
    if how.validation.is_empty() {
        progress.say("no validation rows: training runs for the steps or epochs given");
    }
    let patch = open.adapt(&how, &rows, progress.bar(&how.method), &stop)?;
    patch.save(&open.saved.base, &args.out).map_err(ExperimentError::from)?;
    forget_checkpoints(&how.folder);
    let (stored, bytes) = (patch.manifest.counts.stored(), patch.bytes());
    println!("{}: {} on {} rows, {stored} values, {bytes} bytes", args.out.display(), how.method, rows.len());
    patch.manifest.metrics.iter().for_each(|(name, value)| println!("{name}: {value:.4}"));
    let domain = args.domain.as_ref().map_or_else(String::new, |d| format!(" --domain {d}"));
    println!("Next: acclimate evaluate --base {} --patch {}{domain}", args.base.display(), args.out.display());
    Ok(())
}

/// Rows for early stopping. Data without parts has none; a part that the user names must be there.
fn held_out(open: &OpenBase, args: &Args) -> Result<Vec<u32>, ExperimentError> {
    let has = |name: &str| open.source.split.names().any(|n| n == name);
    if args.validation == "none" || (args.validation == "validation" && !has("validation")) {
        return Ok(Vec::new());
    }
    if !has(&args.validation) {
        let names: Vec<_> = open.source.split.names().collect();
        let problem = format!("has no part `{}` for --validation; there are {}", args.validation, names.join(", "));
        return Err(ExperimentError::Artifact { path: open.source.dataset.name.clone().into(), problem });
    }
    match open.rows(&args.validation, args.domain.as_deref()) {
        Ok(rows) if open.tells_apart(&rows) => Ok(rows),
        // The part exists, but has no row of this domain, or rows of one label only.
        Ok(_) | Err(ExperimentError::Artifact { .. }) => Ok(Vec::new()),
        Err(other) => Err(other),
    }
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
