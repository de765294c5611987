//! `acclimate evaluate`: a saved base and its patches, with floors beside.

use std::path::PathBuf;

use acclimate::evaluate::{Request, evaluate};
use acclimate::open::{HISTORY, Labels, OpenBase};
use acclimate::sequences::OpenSequences;
use acclimate::{Leaderboard, Metric, Paint};

use super::Global;
use super::shared::{UsageError, at_least_one, check_json, print, typed};

/// Measure a saved base and its patches, with floors beside them
#[derive(clap::Args)]
#[command(after_help = "Example:\n  acclimate evaluate --base base --patch tab2.safetensors --domain 2 --metric auc --metric log_loss")]
pub(crate) struct Args {
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// A patch; may be given several times.
    #[arg(long = "patch", value_name = "FILE")]
    patches: Vec<PathBuf>,
    /// Data-set file to measure on, all rows of it; default the base's own, in the parts of its split.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Data-set file with rows between the base's own and those of --data, for features of earlier rows; may be given several times.
    #[arg(long, value_name = "FILE", requires = "data")]
    context: Vec<PathBuf>,
    /// Only rows of this domain.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Part of the base's split to measure on; default test.
    #[arg(long, value_name = "PART", conflicts_with = "data")]
    part: Option<String>,
    /// A metric; default auc and log_loss for clicks, mae and rmse for ratings, mrr[full], hr@10[full] and ndcg@10[full] for next items.
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<Metric>,
    /// Rows of a user that patches and floors adapt from, the latest.
    #[arg(long, default_value_t = HISTORY, value_name = "N", value_parser = at_least_one)]
    history: usize,
    /// Measure patches everywhere, also where validation rows have not shown them to be better than the base and the base is served in their place.
    #[arg(long)]
    as_trained: bool,
    /// Write every result to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let sequences = OpenSequences::open(&args.base, args.data.as_deref())?;
    if sequences.is_some() && !args.context.is_empty() {
        return Err(UsageError("a base of sequences reads whole histories: put earlier rows into the files of --data, and leave --context out".into()).into());
    }
    let Args { base, patches, data, context, domain, part, metrics, history, as_trained, .. } = args;
    let request = Request { patches, domain, part, metrics, history, as_trained, command: typed() };
    let report = match sequences {
        Some(mut open) => open.evaluate(&request)?,
        None => evaluate(&OpenBase::open_with(&base, data.as_deref(), &context, Labels::Read)?, &request)?,
    };
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    Ok(print(Leaderboard::new(&report, Paint::for_stdout()))?)
}
