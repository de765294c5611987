//! `acclimate adapt`: a patch for a saved base.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use acclimate::eval::floor::Chosen;
use acclimate::experiment::overlay;
use acclimate::guard::Found;
use acclimate::open::{ALL, Adapted, Adapting, HISTORY, OpenBase, forget_checkpoints};
use acclimate::sequences::OpenSequences;
use acclimate::{Base, ExperimentError, Patch, Serve, TrainConfig, TrainedOn, interrupt};

use super::Global;
use super::shared::{UsageError, at_least_one, print, quoted};

/// Adapt a saved base to rows of a domain or of other data, and save the patch
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  acclimate adapt --base base --domain 2 --out tab2.safetensors\n  acclimate adapt adapter --base base --domain 2 --out tab2.safetensors\n  acclimate adapt fine_tune_last --base base --data new.toml --train epochs=3 --train optimizer.rate=1e-3\n  acclimate adapt adapter --base base --set bottleneck=8 --set 'unfreeze=[\"norms\",\"rows\"]'\n  acclimate adapt melu --base base --out users.safetensors"
)]
pub(crate) struct Args {
    /// The method; docs/methods.md has them all. The default is one recipe for any number of rows, of which it keeps what cross-fitting shows to help.
    #[arg(default_value = "acclimate")]
    method: String,
    /// Folder of the base.
    #[arg(long, value_name = "FOLDER")]
    base: PathBuf,
    /// Data-set file to adapt to; default the base's own.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Data-set file with rows between the base's own and those of --data, for features of earlier rows; may be given several times.
    #[arg(long, value_name = "FILE", requires = "data")]
    context: Vec<PathBuf>,
    /// Only rows of this domain.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Part of the base's split to learn from; default train.
    #[arg(long, value_name = "PART", conflicts_with = "data")]
    part: Option<String>,
    /// A key of the method's config, such as `bottleneck=8` or `unfreeze=["norms","head"]`; docs/experiments.md has them all.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    keys: Vec<String>,
    /// A key of the training config, such as `epochs=3` or `optimizer.rate=1e-3`. Without `batch`, a batch is a twentieth of the rows (32 to 1024), or 32 users.
    #[arg(long = "train", value_name = "KEY=VALUE")]
    training: Vec<String>,
    /// Part whose rows (of the same domain) choose the best epoch; `none` trains for the steps or epochs given, as does data of another file.
    #[arg(long, default_value = "validation", value_name = "PART", conflicts_with = "data")]
    validation: String,
    /// Rows of a user that a method adapts from, the latest.
    #[arg(long, default_value_t = HISTORY, value_name = "N", value_parser = at_least_one)]
    history: usize,
    /// Where the patch is applied: `shown`, where validation rows show it to be better than the base, which is served elsewhere; or `always`.
    #[arg(long, default_value = "shown", value_name = "WHERE")]
    serve: Where,
    /// Store embedding rows in a byte a value: about a quarter of the size, each value off by at most a 254th of the largest change in its row.
    #[arg(long)]
    compact: bool,
    /// Bytes that the patch may take: of the embedding rows those stay that training has changed most. What is shown of the patch is shown of what is stored.
    #[arg(long, value_name = "BYTES", value_parser = at_least_one)]
    budget: Option<usize>,
    /// Seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Replace a patch of another method, domain, data set or base.
    #[arg(long)]
    force: bool,
    /// File for the patch. Log and checkpoint go to the folder of the same name that ends in `-run`.
    #[arg(long, default_value = "patch.safetensors", value_name = "FILE")]
    out: PathBuf,
}

/// Where a patch is applied.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Where {
    /// Where validation rows show it to be better than its base.
    Shown,
    /// Everywhere.
    Always,
}

pub(crate) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let keys = table(&args.keys)?;
    let training = table(&args.training)?;
    let batch_given = training.contains_key("batch");
    let mut train: TrainConfig = training.try_into().map_err(|e: toml::de::Error| UsageError(format!("--train: {}", e.message())))?;
    if train.steps == Some(0) {
        return Err(UsageError("--train: steps must be at least 1; leave it out to train for whole epochs".into()).into());
    }
    train.validate().map_err(ExperimentError::from)?;
    check_out(&args.out)?;
    if let Some(open) = OpenSequences::open(&args.base, args.data.as_deref())? {
        return adapt_sequences(global, args, open, keys, (train, batch_given));
    }
    let open = OpenBase::open_to_adapt(&args.base, args.data.as_deref(), &args.context, args.domain.as_deref())?;
    if !args.force {
        check_replaced(&args, &open.source.dataset.name, &open.saved.base)?;
    }
    if !args.training.is_empty() && open.brings_training(&args.method, &keys)? {
        let problem = format!("--train says nothing to `{}`, which brings its own training; leave it out, or choose another method", args.method);
        return Err(UsageError(problem).into());
    }
    let part = if open.has_parts() { args.part.as_deref().unwrap_or("train") } else { ALL };
    let rows = open.rows(part, args.domain.as_deref())?;
    if !batch_given {
        train.batch = open.batch_for(&args.method, &keys, rows.len())?;
    }
    let stop = interrupt::stop_flag()?;
    let mut validation = held_out(&open, &args)?;
    // Rows that are learned from can not say when to stop.
    let learned: HashSet<u32> = rows.iter().copied().collect();
    validation.retain(|row| !learned.contains(row));
    let folder = run_folder(&args.out);
    let trained_on = Some(TrainedOn { dataset: open.source.dataset.name.clone(), part: part.to_owned(), domain: args.domain.clone() });
    let (history, always) = (args.history, args.serve == Where::Always);
    let how = Adapting { method: args.method.clone(), keys, train, trained_on, seed: args.seed, validation, history, always, compact: args.compact, budget: args.budget, folder };
    let progress = global.progress();
    open.source.notes.iter().for_each(|note| progress.say(note));
    if how.validation.is_empty() {
        progress.say("no validation rows: training runs for the steps or epochs given");
    }
    let Adapted { patch, found, chosen } = open.adapt(&how, &rows, progress.bar(&how.method), &stop)?;
    patch.save(&open.saved.base, &args.out).map_err(ExperimentError::from)?;
    forget_checkpoints(&how.folder);
    Ok(print(done(&args, &how, (&patch, patch.bytes(&open.saved.base)), (&found, &chosen), &format!("{} rows", rows.len())))?)
}

/// As [`run`], for a base of sequences.
fn adapt_sequences(
    global: &Global,
    args: Args,
    mut open: OpenSequences,
    keys: toml::Table,
    (mut train, batch_given): (TrainConfig, bool),
) -> anyhow::Result<()> {
    open.check_domain(args.domain.as_deref())?;
    if args.part.as_deref().is_some_and(|part| part != "train") || !args.context.is_empty() {
        let problem = "a base of sequences learns from whole histories, those of the training part or of --data: leave --part and --context out";
        return Err(UsageError(problem.into()).into());
    }
    if !args.force {
        check_replaced(&args, &open.source.dataset.name, &open.saved.base)?;
    }
    if !batch_given {
        train.batch = (open.examples() / 20).clamp(32, 128);
    }
    let stop = interrupt::stop_flag()?;
    let has = |name: &str| open.source.split.names().any(|n| n == name);
    let validation = match args.validation.as_str() {
        "none" => Vec::new(),
        "validation" if !has("validation") => Vec::new(),
        part => open.source.part(part)?,
    };
    let part = if open.has_parts() { "train" } else { ALL };
    let trained_on = Some(TrainedOn { dataset: open.source.dataset.name.clone(), part: part.to_owned(), domain: args.domain.clone() });
    let (history, always, folder) = (args.history, args.serve == Where::Always, run_folder(&args.out));
    let how = Adapting { method: args.method.clone(), keys, train, trained_on, seed: args.seed, validation, history, always, compact: args.compact, budget: args.budget, folder };
    let progress = global.progress();
    open.source.notes.iter().for_each(|note| progress.say(note));
    let Adapted { patch, found, chosen } = open.adapt(&how, progress.bar(&how.method), &stop)?;
    patch.save(&open.saved.base, &args.out).map_err(ExperimentError::from)?;
    forget_checkpoints(&how.folder);
    Ok(print(done(&args, &how, (&patch, patch.bytes(&open.saved.base)), (&found, &chosen), &format!("{} examples", open.examples())))?)
}

/// The folder for log and checkpoint.
fn run_folder(out: &Path) -> PathBuf {
    let folder = out.with_extension("");
    folder.with_file_name(format!("{}-run", folder.file_name().unwrap_or_default().to_string_lossy()))
}

/// What is said of a finished patch.
fn done(args: &Args, how: &Adapting, (patch, bytes): (&Patch, usize), (found, chosen): (&[Found], &[Chosen]), learned: &str) -> String {
    let stored = patch.manifest.counts.stored();
    let mut said = format!("{}: {} on {learned}, {stored} values, {bytes} bytes\n", args.out.display(), how.method);
    // An intercept beside one a domain has nothing to add where there is one domain.
    for stage in patch.manifest.stages.iter().filter(|stage| stage.kept || stage.change.is_none_or(|change| change.abs() > 1e-5)) {
        let kept = if stage.kept { "kept" } else { "left out" };
        let kept = stage.epochs.map_or_else(|| kept.to_owned(), |epochs| format!("{kept}, {epochs} epochs"));
        let change = stage.change.zip(stage.error);
        let change = change.map_or_else(String::new, |(change, error)| format!(": loss on rows it has not seen {change:+.5}, standard error {error:.5}"));
        said += &format!("{} {kept}{change}\n", stage.name);
    }
    for Chosen { setting, value, from, .. } in chosen {
        let from = from.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
        said += &format!("{setting}: {value}, chosen on validation rows from {from}\n");
    }
    patch.manifest.metrics.iter().for_each(|(name, value)| said += &format!("{name}: {value:.4}\n"));
    said += &verdict(found, patch.manifest.serve, how.always);
    said += &format!("Next: acclimate evaluate --base {} --patch {}", quoted(args.base.display()), quoted(args.out.display()));
    if let Some(domain) = &args.domain {
        said += &format!(" --domain {}", quoted(domain));
    }
    if let Some(data) = &args.data {
        said += &format!(" --data {}   (better: a file with rows that the patch has not seen)", quoted(data.display()));
    }
    said + "\n"
}

/// Refuses a place for the patch that is no file, or a file that is something else, before anything is trained.
fn check_out(out: &Path) -> Result<(), UsageError> {
    if out.is_dir() || out.file_name().is_none() {
        return Err(UsageError(format!("--out {} is a folder; name a file for the patch", out.display())));
    }
    if out.exists() && Patch::manifest_of(out).is_none() {
        return Err(UsageError(format!("--out {} exists and is no patch; it is left as it is: name another file", out.display())));
    }
    let folder = out.parent().unwrap_or(Path::new(""));
    std::fs::create_dir_all(folder).map_err(|e| UsageError(format!("--out {}: can not make its folder: {e}", out.display())))
}

/// Refuses to replace a patch that is about something else.
fn check_replaced(args: &Args, dataset: &String, base: &Base) -> Result<(), UsageError> {
    let Some(old) = Patch::manifest_of(&args.out) else { return Ok(()) };
    let on = old.trained_on.as_ref();
    let differences = [
        ("method", Some(&old.method), Some(&args.method)),
        ("data set", on.map(|on| &on.dataset), Some(dataset)),
        ("domain", on.and_then(|on| on.domain.as_ref()), args.domain.as_ref()),
        ("base", Some(&old.base), Some(&base.hash())),
    ];
    let Some((what, was, is)) = differences.into_iter().find(|(_, was, is)| was != is) else { return Ok(()) };
    let name = |value: Option<&String>| value.map_or_else(|| "none".to_owned(), |v| format!("`{v}`"));
    Err(UsageError(format!(
        "--out {} holds a patch of another {what} ({}, not {}); it is left as it is: name another file, or give --force",
        args.out.display(),
        name(was),
        name(is)
    )))
}

/// What validation rows have shown of the patch, and where it is applied.
fn verdict(found: &[Found], serve: Serve, always: bool) -> String {
    let mut said = String::new();
    for Found { size, users, difference } in found {
        let of = if found.len() > 1 { format!(", {size} rows of each of {users} users") } else { String::new() };
        let interval = difference.ci_low.zip(difference.ci_high).map_or_else(String::new, |(a, b)| format!(" [{a:+.4}, {b:+.4}]"));
        said += &format!("validation {}{of}: {:+.4}{interval} against the base\n", difference.metric, difference.value);
    }
    said += &match serve {
        Serve::Always if always => "Applied everywhere, as asked.\n".to_owned(),
        Serve::Always => "Applied everywhere: there were no validation rows to judge it by.\n".to_owned(),
        Serve::From(0) => "Shown to be better than the base: it is applied.\n".to_owned(),
        Serve::From(least) => format!("Shown to be better than the base from {least} rows of a user on: it is applied there, the base is served below.\n"),
        Serve::Never => "Not shown to be better than the base, so the base is served in its place; `--serve always` applies it all the same.\n".to_owned(),
    };
    said
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
