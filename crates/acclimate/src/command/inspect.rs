//! `acclimate inspect`: what is in a data set.

use std::path::{Path, PathBuf};

use acclimate::artifact::SavedBase;
use acclimate::data::{DatasetConfig, Proposal, RawDataset, ReadReport, UnknownShare, date};
use acclimate::{ExperimentError, drift, source};
use serde::Serialize;

use super::Global;
use super::shared::{check_json, print};

/// Read a data set and say what is in it: counts, missing values, rates by domain, problems
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  acclimate inspect examples/kuairand.toml\n  acclimate inspect today.toml --base base")]
pub(crate) struct Args {
    /// The data-set file.
    dataset: PathBuf,
    /// A saved base: how much of each feature it does not know.
    #[arg(long, value_name = "FOLDER")]
    base: Option<PathBuf>,
    /// Write the same as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    check_json(args.json.as_ref())?;
    let (config, raw, report) = source::read(&args.dataset, None)?;
    let split = Proposed::of(&raw);
    let unknown = args.base.as_ref().map(|base| unknown(base, &config, &raw)).transpose()?;
    let requests = Requests::of(&raw.dataset().log.request);
    let inspection = Inspection { report: &report, requests: requests.as_ref(), split: split.as_ref(), unknown: unknown.as_deref() };
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&inspection)? + "\n").map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    }
    let split = split.map_or_else(|| vec!["\nNo split is proposed: the log is too small, or its labels are all alike.".to_owned()], |s| s.lines());
    let unknown = unknown.map_or_else(Vec::new, |shares| unknown_lines(&shares, &drift::ids(&config)));
    let requests = requests.map_or_else(Vec::new, |requests| vec![requests.line()]);
    Ok(print([lines(&report), requests, split, unknown].concat().join("\n") + "\n")?)
}

/// How much of each feature a saved base does not know.
fn unknown(base: &Path, config: &DatasetConfig, raw: &RawDataset) -> Result<Vec<UnknownShare>, ExperimentError> {
    let rows: Vec<u32> = (0..raw.dataset().log.len() as u32).collect();
    SavedBase::load(base)?.unknown_shares(config, raw, &rows)
}

fn unknown_lines(shares: &[UnknownShare], ids: &[String]) -> Vec<String> {
    let mut lines = vec![format!("\n  {:<24} {:>10} {:>10} {:>12}", "Unknown to the base", "values", "missing", "unknown")];
    let line = |s: &UnknownShare| format!("  {:<24} {:>10} {:>10} {:>12}", s.feature, s.values, s.missing, drift::percent(s.share()));
    lines.extend(shares.iter().map(line));
    lines.extend(drift::notes(shares, ids).into_iter().filter(|note| note.starts_with("WARNING")).map(|note| format!("\n{note}")));
    lines
}

/// Everything that is said of a data set.
#[derive(Serialize)]
struct Inspection<'a> {
    #[serde(flatten)]
    report: &'a ReadReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<&'a Requests>,
    split: Option<&'a Proposed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'a [UnknownShare]>,
}

/// What the requests of a log are like.
#[derive(Debug, PartialEq, Serialize)]
struct Requests {
    requests: usize,
    largest: usize,
    /// Rows that are alone in theirs.
    alone: usize,
    rows: usize,
}

impl Requests {
    /// Of the request of each row; none where nobody knows.
    fn of(request: &[u32]) -> Option<Self> {
        let mut sizes = vec![0_usize; request.iter().max().map_or(0, |last| *last as usize + 1)];
        request.iter().for_each(|&request| sizes[request as usize] += 1);
        let largest = sizes.iter().copied().max()?;
        Some(Self { requests: sizes.len(), largest, alone: sizes.iter().filter(|&&rows| rows == 1).count(), rows: request.len() })
    }

    fn line(&self) -> String {
        let Self { requests, largest, alone, rows } = self;
        let share = 100.0 * *alone as f64 / *rows as f64;
        format!("\n  {requests} requests of up to {largest} rows; {share:.0} % of the rows stand alone in theirs")
    }
}

/// A split that suits the log.
#[derive(Serialize)]
struct Proposed {
    why: String,
    toml: String,
    parts: Vec<(String, usize)>,
    notes: Vec<String>,
}

impl Proposed {
    fn of(raw: &RawDataset) -> Option<Self> {
        let proposal = Proposal::of(raw.view(), raw.dataset().label)?;
        let mut notes = proposal.split.notes().to_vec();
        notes.extend(source::repeats(raw.dataset(), &proposal.split));
        let parts = proposal.split.parts().map(|(name, rows)| (name.to_owned(), rows.len())).collect();
        Some(Self { toml: proposal.to_toml(), why: proposal.why, parts, notes })
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec!["\nA split for an experiment".to_owned(), format!("  {}", self.why)];
        lines.extend(self.toml.lines().map(|line| format!("    {line}").trim_end().to_owned()));
        let parts: Vec<String> = self.parts.iter().map(|(part, rows)| format!("{rows} rows of `{part}`")).collect();
        lines.push(format!("  It makes {}.", parts.join(", ")));
        lines.extend(self.notes.iter().map(|note| format!("  {note}")));
        lines
    }
}

fn lines(report: &ReadReport) -> Vec<String> {
    let mut lines = vec![report.dataset.clone()];
    lines.push(format!("  {} rows, {} users, {} items, mean label {:.4}", report.rows, report.users, report.items, report.label_mean));
    if let Some([first, last]) = report.time {
        lines.push(format!("  from {} to {}", date(first), date(last)));
    }
    lines.push("\nFiles".to_owned());
    for file in &report.files {
        lines.push(format!("  {}: {} rows read, {} skipped", file.file.display(), file.rows_read, file.rows_skipped));
        lines.extend(file.faults.iter().map(|fault| format!("    {fault}")));
    }
    if report.domains.len() > 1 {
        lines.push(format!("\n  {:<20} {:>12} {:>10}", "Domain", "rows", "mean label"));
        lines.extend(report.domains.iter().map(|d| format!("  {:<20} {:>12} {:>10.4}", d.name, d.rows, d.label_mean)));
    }
    lines.push(format!("\n  {:<24} {:<6} {:>10} {:>10} {:>10}  range", "Feature", "of", "values", "missing", "distinct"));
    for column in &report.columns {
        let distinct = column.distinct.map_or_else(|| "-".to_owned(), |d| d.to_string());
        let range = column.range.map_or_else(String::new, |[a, b]| format!("{a:.4} to {b:.4}"));
        let side = format!("{:?}", column.side).to_lowercase();
        let line = format!("  {:<24} {side:<6} {:>10} {:>10} {distinct:>10}  {range}", column.feature, column.values, column.missing);
        lines.push(line.trim_end().to_owned());
    }
    lines.push(format!("\n{}", if report.problems.is_empty() { "No problems found." } else { "Problems" }));
    lines.extend(report.problems.iter().map(|problem| format!("  {problem}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted() {
        assert_eq!(Requests::of(&[]), None);
        let found = Requests::of(&[0, 1, 0, 2]).unwrap();
        assert_eq!(found, Requests { requests: 3, largest: 2, alone: 2, rows: 4 });
        assert!(found.line().contains("3 requests of up to 2 rows; 50 %"), "{}", found.line());
    }
}
