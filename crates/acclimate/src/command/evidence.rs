//! `acclimate evidence`: which items to ask a new user about.

use std::fmt::Write;
use std::path::PathBuf;

use acclimate::eval::Report;
use acclimate::evidence::{By, Candidate, Evaluation, Request, UnitError, candidates, evaluate};
use acclimate::open::{Labels, OpenBase};
use acclimate::{Leaderboard, Metric, Paint};
use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;

use super::Global;
use super::shared::{UsageError, at_least_one, check_json, print, typed};

/// Choose the items that a new user is asked about
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate evidence --base base -k 20\n  acclimate evidence --base base -k 20 --by d-optimal --json ask.json\n  acclimate evidence --base base -k 20 --evaluate --patch users.safetensors --part new_user\n\n\
        With --evaluate held-out users are asked about the items of every rule, and the patch is judged on their other rows.\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad data, base or patch."
)]
pub(crate) struct Args {
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// Number of items.
    #[arg(short, default_value_t = 20, value_name = "N", value_parser = at_least_one)]
    k: usize,
    /// How items are chosen.
    #[arg(long, value_enum, default_value = "unit-error")]
    by: ByName,
    /// What stands for the error of an answer in unit-error: the length of the score's gradient; MeLU's own, which favours items that are predicted almost
    /// exactly; or that with an error of a tenth of the label's range at least.
    #[arg(long, value_enum, default_value = "jacobian")]
    unit_error: UnitName,
    /// Seed of random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Judge the items of every rule by what a patch makes of the answers of held-out users.
    #[arg(long, requires = "patch")]
    evaluate: bool,
    /// A patch that adapts to the rows of a user.
    #[arg(long, value_name = "FILE", requires = "evaluate")]
    patch: Option<PathBuf>,
    /// Part of the base's split whose users are asked.
    #[arg(long, default_value = "test", value_name = "PART")]
    part: String,
    /// A metric; default mae and rmse for ratings, auc and log_loss for clicks.
    #[arg(long = "metric", value_name = "NAME", requires = "evaluate")]
    metrics: Vec<Metric>,
    /// Write the items, and the results of --evaluate, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// [`By`] as it is typed.
#[derive(Clone, Copy, ValueEnum)]
enum ByName {
    /// How far an answer moves the base, times how many can answer.
    UnitError,
    /// How many rows an item has.
    Popularity,
    /// That, times the entropy of its labels.
    PopularityEntropy,
    /// Items that together tell most, a greedy design on the base's last features.
    DOptimal,
    /// By chance.
    Random,
}

/// [`UnitError`] as it is typed.
#[derive(Clone, Copy, ValueEnum)]
enum UnitName {
    Jacobian,
    Paper,
    Clamped,
}

#[derive(Serialize)]
struct Written<'a> {
    by: By,
    unit_error: UnitError,
    candidates: &'a [Candidate],
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation: Option<&'a Report>,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let by = match args.by {
        ByName::UnitError => By::UnitError,
        ByName::Popularity => By::Popularity,
        ByName::PopularityEntropy => By::PopularityEntropy,
        ByName::DOptimal => By::DOptimal,
        ByName::Random => By::Random,
    };
    let unit_error = match args.unit_error {
        UnitName::Jacobian => UnitError::Jacobian,
        UnitName::Paper => UnitError::Paper,
        UnitName::Clamped => UnitError::Clamped,
    };
    if by != By::UnitError && unit_error != UnitError::default() && !args.evaluate {
        return Err(UsageError(format!("--unit-error says nothing of items chosen by {}; leave it out", by.name())).into());
    }
    let request = Request { k: args.k, by, unit_error, seed: args.seed };
    let open = OpenBase::open_with(&args.base, None, &[], Labels::Read)?;
    let chosen = candidates(&open, &request)?;
    let evaluation = match args.patch {
        Some(patch) => Some(evaluate(&open, &request, &Evaluation { patch, part: args.part, metrics: args.metrics, command: typed() })?),
        None => None,
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&Written { by, unit_error, candidates: &chosen, evaluation: evaluation.as_ref() })?;
        std::fs::write(path, text + "\n").with_context(|| format!("can not write {}", path.display()))?;
    }
    let width = chosen.iter().map(|candidate| candidate.item.len()).max().unwrap_or(0).max(4);
    let wide = by.name().len().max(9);
    let mut table = format!("{:>4}  {:<width$}  {:>wide$}  {:>8}  {:>10}\n", "rank", "item", by.name(), "rows", "mean label");
    for (rank, Candidate { item, score, rows, mean_label, .. }) in chosen.iter().enumerate() {
        let _ = writeln!(table, "{:>4}  {item:<width$}  {score:>wide$.4}  {rows:>8}  {mean_label:>10.2}", rank + 1);
    }
    print(&table)?;
    if let Some(report) = &evaluation {
        print(format_args!("\n{}", Leaderboard::new(report, Paint::for_stdout())))?;
    }
    Ok(())
}
