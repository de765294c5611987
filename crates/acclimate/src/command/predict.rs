//! `acclimate predict`: scores of rows, written to a file.

use std::path::PathBuf;

use acclimate::data::check_table_name;
use acclimate::open::{HISTORY, Labels, OpenBase};
use acclimate::predict::{Request, predict};
use acclimate::sequences::OpenSequences;

use super::Global;
use super::shared::{UsageError, at_least_one, print};

/// Score rows with a saved base and patches, and write the scores beside the ids
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate predict --base base --data tomorrow.toml --out scores.csv\n  acclimate predict --base base --patch games.safetensors --domain games --part test --out scores.parquet\n  acclimate predict --base base --patch users.safetensors --data tomorrow.toml --known yesterday.toml\n  acclimate predict --base sequences --top 20 --out recommended.csv"
)]
pub(crate) struct Args {
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// A patch; may be given several times. Each gives a column.
    #[arg(long = "patch", value_name = "FILE")]
    patches: Vec<PathBuf>,
    /// Data-set file whose rows are scored, all of them; its label column is not read and need not be there. Default the base's own data.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Data-set file with labelled rows of the same users, which patches that adapt to users adapt from; default the training rows of the base's own data.
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Data-set file with rows between the base's own and those of --data, for features of earlier rows; may be given several times.
    #[arg(long, value_name = "FILE", requires = "data")]
    context: Vec<PathBuf>,
    /// Only rows of this domain.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Part of the base's split to score; default test.
    #[arg(long, value_name = "PART", conflicts_with = "data")]
    part: Option<String>,
    /// Rows of a user that patches adapt from, the latest.
    #[arg(long, default_value_t = HISTORY, value_name = "N", value_parser = at_least_one)]
    history: usize,
    /// Apply patches everywhere, also where validation rows have not shown them to be better than the base and the base is served in their place.
    #[arg(long)]
    as_trained: bool,
    /// Items that a base of sequences recommends to each user; default 10.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    top: Option<usize>,
    /// File for the scores, .csv or .parquet.
    #[arg(long, default_value = "scores.csv", value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    check_table_name(&args.out).map_err(|e| UsageError(format!("--out: {e}")))?;
    if args.out.exists() && !args.force {
        return Err(UsageError(format!("--out {} exists; it is left as it is: name another file, or give --force", args.out.display())).into());
    }
    if let Some(open) = OpenSequences::open(&args.base, args.data.as_deref())? {
        return recommend(&open, args);
    }
    if args.top.is_some() {
        return Err(UsageError("--top is for a base of sequences, which recommends items; this base scores rows".into()).into());
    }
    let labels = if args.data.is_some() { Labels::Ignored } else { Labels::Read };
    let open = OpenBase::open_with(&args.base, args.data.as_deref(), &args.context, labels)?;
    // Rows of another file bring no labels: what is known of their users stands elsewhere.
    let known = match (&args.known, &args.data) {
        (None, None) => None,
        (None, Some(_)) if args.patches.is_empty() => None,
        (known, _) => Some(OpenBase::open(&args.base, known.as_deref())),
    };
    let (known, without_known) = match known {
        // Only a patch that adapts to users needs the base's own data, which may be gone.
        Some(Err(error)) if args.known.is_none() => {
            (None, Some(format!("the data that the base was trained on can not be read ({error}); name other rows with --known")))
        }
        other => (other.transpose()?, None),
    };
    let Args { patches, domain, part, history, as_trained, .. } = args;
    let request = Request { patches, domain, part, history, as_trained, without_known };
    let predicted = predict(&open, known.as_ref(), &request)?;
    predicted.write(&open, &args.out)?;
    let mut said = String::new();
    for (name, values) in &predicted.scores {
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64;
        said += &format!("{name}: mean {mean:.4}\n");
    }
    predicted.notes.iter().chain(&open.source.notes).for_each(|note| said += &format!("note: {note}\n"));
    Ok(print(format_args!("{said}{}: {} rows\n", args.out.display(), predicted.rows.len()))?)
}

/// Items for each user, from a base of sequences.
fn recommend(open: &OpenSequences, args: Args) -> anyhow::Result<()> {
    if args.known.is_some() || !args.context.is_empty() {
        let problem = "a base of sequences reads whole histories: put all rows of the users into the files of --data, and leave --known and --context out";
        return Err(UsageError(problem.into()).into());
    }
    let top = args.top.unwrap_or(10);
    let Args { patches, domain, part, history, as_trained, .. } = args;
    let recommended = open.recommend(&Request { patches, domain, part, history, as_trained, without_known: None }, top)?;
    open.write(&recommended, &args.out)?;
    let said: String = recommended.notes.iter().chain(&open.source.notes).map(|note| format!("note: {note}\n")).collect();
    let (rows, models) = (recommended.rows.len(), recommended.models.join(", "));
    Ok(print(format_args!("{said}{}: {rows} rows, the first {top} items of each user by {models}\n", args.out.display()))?)
}
