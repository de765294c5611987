//! `acclimate merge`: several patches of one base as one.

use std::path::{Path, PathBuf};

use acclimate::artifact::SavedBase;
use acclimate::{ExperimentError, Patch, Serve};

use super::Global;
use super::shared::{UsageError, print, quoted};

/// Average patches of near domains: a start for a domain that has no rows of its own yet
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate merge --base base --patch tab1.safetensors --patch tab4.safetensors --out near.safetensors\n  acclimate merge --base base --patch tab1.safetensors --patch tab4.safetensors --weight 3 --weight 1\n\n\
        Whether the mean is any better than the base can only be measured: see `merge` of a method in docs/experiments.md."
)]
pub(crate) struct Args {
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// A patch; given at least twice, all of one method and seed.
    #[arg(long = "patch", value_name = "FILE", required = true)]
    patches: Vec<PathBuf>,
    /// The weight of each patch, in their order; default all alike.
    #[arg(long = "weight", value_name = "X")]
    weights: Vec<f64>,
    /// Replace the file if it is there and holds a patch.
    #[arg(long)]
    force: bool,
    /// File for the patch.
    #[arg(long, default_value = "merged.safetensors", value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    let count = args.patches.len();
    if count < 2 {
        return Err(UsageError("--patch is given once; there is nothing to merge with less than two patches".into()).into());
    }
    if !args.weights.is_empty() && args.weights.len() != count {
        return Err(UsageError(format!("--weight is given {} times for {count} patches; give one for each, or none", args.weights.len())).into());
    }
    check_out(&args.out, args.force)?;
    let base = SavedBase::load(&args.base)?.base;
    let weights = if args.weights.is_empty() { vec![1.0; count] } else { args.weights };
    let load = |(path, weight): (&PathBuf, f64)| Ok((Patch::load(&base, path)?, weight));
    let parts = args.patches.iter().zip(weights).map(load).collect::<Result<Vec<_>, ExperimentError>>()?;
    let merged = Patch::merged(&base, &parts).map_err(ExperimentError::from)?;
    merged.save(&base, &args.out).map_err(ExperimentError::from)?;
    let (stored, bytes) = (merged.manifest.counts.stored(), merged.bytes(&base));
    let withheld = args.patches.iter().zip(&parts).filter(|(_, (patch, _))| patch.manifest.serve == Serve::Never);
    let withheld: String = withheld.map(|(path, _)| format!("Note: {} was not shown to be better than its base and is never served; it counts here all the same.\n", path.display())).collect();
    let unsaid = match merged.manifest.trained_on {
        Some(_) => "",
        None => "Note: the patches do not come from one part of one data set, so `evaluate` can not tell whether it measures on rows that they were trained on.\n",
    };
    Ok(print(format!(
        "{}: the mean of {count} patches of `{}`, {stored} values, {bytes} bytes\n{withheld}{unsaid}Nobody has measured it yet. Next: acclimate evaluate --base {} --patch {} --domain NAME\n",
        args.out.display(),
        merged.manifest.method,
        quoted(args.base.display()),
        quoted(args.out.display())
    ))?)
}

/// Refuses to replace what is no patch, or a patch without leave.
fn check_out(out: &Path, force: bool) -> Result<(), UsageError> {
    if out.is_dir() || out.file_name().is_none() {
        return Err(UsageError(format!("--out {} is a folder; name a file for the patch", out.display())));
    }
    if out.exists() && Patch::manifest_of(out).is_none() {
        return Err(UsageError(format!("--out {} exists and is no patch; it is left as it is: name another file", out.display())));
    }
    if out.exists() && !force {
        return Err(UsageError(format!("--out {} exists; it is left as it is: name another file, or give --force", out.display())));
    }
    Ok(())
}
