//! `acclimate inspect`: what is in a data set.

use std::path::PathBuf;

use acclimate::data::ReadReport;
use acclimate::source;

use super::Global;

/// Read a data set and say what is in it: counts, missing values, rates by domain, problems
#[derive(clap::Args)]
#[command(after_help = "Example:\n  acclimate inspect examples/kuairand.toml")]
pub(crate) struct Args {
    /// The data-set file.
    dataset: PathBuf,
    /// Write the same as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(_: &Global, args: Args) -> anyhow::Result<()> {
    let (_, _, report) = source::read(&args.dataset)?;
    print(&report);
    if let Some(path) = args.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n").map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
    }
    Ok(())
}

fn print(report: &ReadReport) {
    println!("{}", report.dataset);
    println!("  {} rows, {} users, {} items, mean label {:.4}", report.rows, report.users, report.items, report.label_mean);
    if let Some([first, last]) = report.time {
        println!("  from {} to {}", day(first), day(last));
    }
    println!("\nFiles");
    for file in &report.files {
        println!("  {}: {} rows read, {} skipped", file.file.display(), file.rows_read, file.rows_skipped);
        file.faults.iter().for_each(|fault| println!("    {fault}"));
    }
    if report.domains.len() > 1 {
        println!("\n  {:<20} {:>12} {:>10}", "Domain", "rows", "mean label");
        for domain in &report.domains {
            println!("  {:<20} {:>12} {:>10.4}", domain.name, domain.rows, domain.label_mean);
        }
    }
    println!("\n  {:<24} {:<6} {:>10} {:>10} {:>10}  range", "Feature", "of", "values", "missing", "distinct");
    for column in &report.columns {
        let distinct = column.distinct.map_or_else(|| "-".to_owned(), |d| d.to_string());
        let range = column.range.map_or_else(String::new, |[a, b]| format!("{a:.4} to {b:.4}"));
        let side = format!("{:?}", column.side).to_lowercase();
        let line = format!("  {:<24} {side:<6} {:>10} {:>10} {distinct:>10}  {range}", column.feature, column.values, column.missing);
        println!("{}", line.trim_end());
    }
    println!("\n{}", if report.problems.is_empty() { "No problems found." } else { "Problems" });
    report.problems.iter().for_each(|problem| println!("  {problem}"));
}

fn day(seconds: i64) -> String {
    source::date(seconds)
}
