//! `acclimate init`: a data-set file and an experiment for files that nobody has described.

use std::path::{Path, PathBuf};

use acclimate::data::{DataError, DatasetConfig, Files, Guess, RawDataset, ReadReport, guess};
use acclimate::init::{FirstExperiment, Ground};
use acclimate::{Experiment, ExperimentError};

use super::Global;
use super::shared::{UsageError, print, quoted};

const DATASET: &str = "dataset.toml";
const EXPERIMENT: &str = "experiment.toml";

/// Write dataset.toml and experiment.toml for files of interactions, from what they hold
#[derive(clap::Args)]
#[command(
    after_help = "Text with any separator, with or without a header, plain or compressed, and Parquet; a folder or a glob of parts. Nothing has to be described: \
        what was guessed, and what is worth a look, is printed and stands in the files.\n\n\
        Examples:\n  acclimate init clicks.csv --items items.csv\n  acclimate init ml-1m/ratings.dat --users ml-1m/users.dat --items ml-1m/movies.dat --out ml\n  \
        acclimate init books.csv music.csv          (one domain each)\n  acclimate init 'logs/part-*.parquet' --name shop"
)]
pub(crate) struct Args {
    /// The log: one row for each interaction. Several files with names of their own are domains, numbered ones are parts.
    #[arg(required = true)]
    log: Vec<String>,
    /// A table with one row for each user; may be given several times.
    #[arg(long, value_name = "FILE")]
    users: Vec<String>,
    /// A table with one row for each item; may be given several times.
    #[arg(long, value_name = "FILE")]
    items: Vec<String>,
    /// Folder for the two files; default: the current one.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// Name of the data set in reports; default: that of the log or of its folder.
    #[arg(long)]
    name: Option<String>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let here = args.out == Path::new(".");
    let [dataset, experiment] = [DATASET, EXPERIMENT].map(|name| if here { PathBuf::from(name) } else { args.out.join(name) });
    if let Some(there) = [&dataset, &experiment].into_iter().find(|path| path.exists() && !args.force) {
        let problem = format!("{} is there already; choose another folder with --out, or replace it with --force", there.display());
        return Err(UsageError(problem).into());
    }
    let folder = std::path::absolute(&args.out)?;
    let entries = |typed: &[String]| typed.iter().map(|path| entry(path, &folder)).collect::<anyhow::Result<Vec<_>>>();
    let files = Files { log: entries(&args.log)?, users: entries(&args.users)?, items: entries(&args.items)? };
    let name = args.name.unwrap_or_else(|| name_of(&files.log, &folder));
    global.progress().say("reading all rows");
    let mut guessed = guess(&files, &dataset, &name).map_err(ExperimentError::from)?;
    std::fs::create_dir_all(&args.out).map_err(|source| ExperimentError::Io { path: args.out.clone(), source })?;
    match read(&mut guessed, &dataset) {
        Ok(found) => {
            let mut said = Said { found: guessed.found.clone(), checks: guessed.checks.clone(), written: vec![dataset.as_path()] };
            let (config, raw, report) = &found;
            said.found.insert(0, format!("{} rows, {} users, {} items", report.rows, report.users, report.items));
            let first = FirstExperiment::of(Ground { file: DATASET, config, dataset: raw.dataset(), given: guessed.split.as_ref() });
            let notes: Vec<String> = first.as_ref().err().map(|reason| format!("There is no experiment for it: {reason}.")).into_iter().collect();
            write(&dataset, &guessed.text(&notes))?;
            match first {
                Ok(FirstExperiment { text, why }) => {
                    write(&experiment, &text)?;
                    Experiment::load(&experiment)?;
                    said.found.push(format!("scenario {why}"));
                    said.written.push(experiment.as_path());
                }
                Err(reason) => {
                    said.checks.insert(0, format!("no experiment was written: {reason}"));
                    if experiment.exists() {
                        said.checks.push(format!("{} is of before and was made for another data set", experiment.display()));
                    }
                }
            }
            said.checks.extend(report.problems.iter().cloned());
            Ok(print(said.text())?)
        }
        Err(error) => {
            let tried = "with bad rows as errors and with bad rows left out";
            write(&dataset, &guessed.text(&[format!("It can not be read yet ({tried} it fails): {error}")]))?;
            let checks = vec![format!("{} can not be read yet, {tried}; correct it, then give `acclimate inspect`", dataset.display())];
            print(Said { found: guessed.found, checks, written: vec![dataset.as_path()] }.text())?;
            Err(error.into())
        }
    }
}

/// What is printed at the end.
struct Said<'a> {
    found: Vec<String>,
    checks: Vec<String>,
    written: Vec<&'a Path>,
}

impl Said<'_> {
    fn text(&self) -> String {
        let mut text = self.found.join("\n") + "\n";
        if !self.checks.is_empty() {
            text += &format!("\nTo check\n{}", self.checks.iter().map(|check| format!("  {check}\n")).collect::<String>());
        }
        let names: Vec<String> = self.written.iter().map(|path| path.display().to_string()).collect();
        text += &format!("\nWrote {}. Next:\n", names.join(" and "));
        for (path, command) in self.written.iter().zip(["inspect", "compare"]) {
            text += &format!("  acclimate {command} {}\n", quoted(path.display()));
        }
        text
    }
}

fn write(path: &Path, text: &str) -> Result<(), ExperimentError> {
    std::fs::write(path, text).map_err(|source| ExperimentError::Io { path: path.to_owned(), source })
}

/// Reads the guessed data set as every command will; where rows are bad, once more without them.
fn read(guessed: &mut Guess, path: &Path) -> Result<(DatasetConfig, RawDataset, ReadReport), ExperimentError> {
    let read = |text: &str| {
        let config = DatasetConfig::parse(text, path)?;
        let (raw, report) = RawDataset::read(&config)?;
        Ok::<_, DataError>((config, raw, report))
    };
    match read(&guessed.text(&[])) {
        Err(error @ DataError::BadRow { .. }) => {
            guessed.skip_bad_rows(error.to_string());
            Ok(read(&guessed.text(&[]))?)
        }
        result => Ok(result?),
    }
}

/// An entry of `files` for a path as typed: seen from the folder of the data-set file where it lies inside it, else from the root.
fn entry(typed: &str, folder: &Path) -> anyhow::Result<String> {
    if typed.starts_with("${") {
        return Ok(typed.to_owned());
    }
    let path = std::path::absolute(typed)?;
    let path = path.strip_prefix(folder).unwrap_or(&path);
    let text = path.to_str().ok_or_else(|| UsageError(format!("{}: the path is not UTF-8; rename it", path.display())))?;
    Ok(text.to_owned())
}

/// The name of a data set: that of its log, or of the folder where the log's name says nothing.
fn name_of(log: &[String], folder: &Path) -> String {
    const USUAL: [&str; 16] = [
        "interactions", "ratings", "clicks", "events", "log", "logs", "data", "train", "u", "behaviors", "views", "purchases", "reviews", "inter", "impressions",
        "part",
    ];
    let stem = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next()).unwrap_or_default().to_owned();
    let first = folder.join(&log[0]);
    let own = stem(&first);
    let of_folder = first.parent().map(stem).unwrap_or_default();
    let says_nothing = log.len() > 1 || own.contains('*') || USUAL.contains(&own.to_lowercase().as_str());
    let name = if says_nothing && !of_folder.is_empty() { of_folder } else { own };
    if name.is_empty() { "data".to_owned() } else { name }
}
