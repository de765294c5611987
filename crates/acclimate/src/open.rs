//! A saved base with data to adapt to or to score.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use acclimate_adapt::{AdaptError, Groups, Patch, SourceRows, Start, Target, TrainedOn, build_method};
use acclimate_data::{
    Dataset, DatasetConfig, DomainIndex, Known, LabelKind, LogView, RawDataset, ReadReport, Schema, Split, Task, TaskConfig, TasksOf,
    UserIndex,
};
use acclimate_eval::Metric;
use acclimate_eval::floor::Chosen;
use acclimate_model::{Base, Params};
use acclimate_train::feed::SupportSize;
use acclimate_train::{Draw, Observer, PatchNotes, Preparation, Run, Scorer, TrainConfig, TrainError, train};
use burn::tensor::Device;

use crate::artifact::SavedBase;
use crate::drift;
use crate::guard::{self, Found, Question};
use crate::lab::{Judge, judging_rows, target, validated};
use crate::log::RunLog;
use crate::progress::Bar;
use crate::scenario::prepared;
use crate::state;
use crate::tune::Tuning;
use crate::{ExperimentError, Source, source};

/// Seconds between two checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(20);

/// The name of the only part of data that has none.
pub const ALL: &str = "all";

/// Rows of a user that a method adapts from, the latest, unless the caller says otherwise. More cost time and change little.
pub const HISTORY: usize = 50;

/// Query rows of a task: the first of these that at least half of the users have enough rows for.
const QUERIES: [usize; 4] = [10, 5, 2, 1];

/// A base and rows encoded as it reads them.
pub struct OpenBase {
    /// The base.
    pub saved: SavedBase,
    /// The rows, in the parts of the base's split where they are the base's own data.
    pub source: Source,
    /// Whether the data set is that of the base, though named apart, so that its training rows are among all others.
    pub own_data: bool,
    /// Ids in the rows that the base has never seen, by vocabulary, where they were asked for. Their codes follow those of the base.
    pub ids: NewIds,
    /// What it was opened with.
    request: Opening,
}

/// Ids that a base has never seen, by vocabulary.
pub type NewIds = BTreeMap<String, Vec<String>>;

/// What a base is opened with.
#[derive(Clone, Debug)]
struct Opening {
    folder: PathBuf,
    data: Option<PathBuf>,
    context: Vec<PathBuf>,
    labels: Labels,
}

/// What becomes of ids that a base has never seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids<'a> {
    /// They are the unknown.
    Unknown,
    /// Each that the rows, of this domain if one is named, hold often enough for its feature gets a code.
    Added(Option<&'a str>),
    /// These have codes.
    These(&'a NewIds),
}

/// Whether the labels of data are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// They are, and must be there.
    Read,
    /// They are not, and need not be there: every label is 1, and says nothing.
    Ignored,
}

/// How a method is trained on an open base.
#[derive(Clone, Debug)]
pub struct Adapting {
    /// Method or named config of it.
    pub method: String,
    /// Its config keys.
    pub keys: toml::Table,
    /// How it is trained.
    pub train: TrainConfig,
    /// Where its rows come from, for the manifest.
    pub trained_on: Option<TrainedOn>,
    /// Seed.
    pub seed: u64,
    /// Rows that choose the best epoch and stop training early; without any, training runs for the steps or epochs given.
    pub validation: Vec<u32>,
    /// Rows of a user that a method adapts from, the latest; see [`HISTORY`]. A task to train on has at most twice as many, some of which judge.
    pub history: usize,
    /// Whether the patch is applied whatever validation rows show; else they decide, see [`crate::guard`].
    pub always: bool,
    /// Whether embedding rows are stored in a byte a value.
    pub compact: bool,
    /// Bytes that the patch may take; of the embedding rows those stay that training has changed most.
    pub budget: Option<usize>,
    /// Folder for the log and, while it goes on, the checkpoint.
    pub folder: PathBuf,
}

/// A patch as it is to be stored: its rows in bytes, and no more than a budget.
///
/// # Errors
/// A budget that it can not keep.
pub(crate) fn stored(patch: Patch, base: &Base, compact: bool, budget: Option<usize>) -> Result<Patch, ExperimentError> {
    let patch = if compact { patch.in_bytes(base) } else { patch };
    Ok(match budget {
        Some(bytes) => patch.within(base, bytes)?,
        None => patch,
    })
}

/// A patch, and what validation rows have shown of it.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The patch.
    pub patch: Patch,
    /// Against its base, by support size; empty where there were no rows to judge by, or nobody asked.
    pub found: Vec<Found>,
    /// What validation tasks have chosen of what the config leaves open.
    pub chosen: Vec<Chosen>,
}

/// Of each user the rows to adapt from, oldest first, and the rows to judge by.
pub type Tasks = Vec<(Vec<u32>, Vec<u32>)>;

/// The rows of a data-set file, in the parts of a base's split where they are its own data.
pub(crate) struct Rows {
    pub(crate) file: PathBuf,
    pub(crate) config: DatasetConfig,
    pub(crate) raw: RawDataset,
    pub(crate) report: ReadReport,
    pub(crate) split: Split,
}

impl Rows {
    /// Reads `data`, or the data that a base was trained on.
    pub(crate) fn read(folder: &Path, saved: &SavedBase, data: Option<&Path>, labels: Labels) -> Result<Self, ExperimentError> {
        let unknown = || problem(folder, "does not say which data set it is for; name one with --data");
        let file = data.map(Path::to_owned).or_else(|| saved.record.dataset.clone()).ok_or_else(unknown)?;
        let rule = saved.record.split.as_ref().filter(|_| data.is_none());
        let mut config = DatasetConfig::load(&file)?;
        if let Some(rule) = rule {
            rule.add_columns(&mut config);
        }
        if labels == Labels::Ignored {
            config.interactions.label.column = None;
        }
        let (raw, report) = RawDataset::read(&config)?;
        let split = match rule {
            Some(rule) => rule.split(raw.view())?,
            None => {
                let rows = raw.dataset().log.len();
                Split::new(rows, vec![(ALL.to_owned(), (0..rows as u32).collect())])?
            }
        };
        Ok(Self { file, config, raw, report, split })
    }
}

impl OpenBase {
    /// Opens a base folder with the data it was trained on, or with another data-set file of the same features.
    ///
    /// # Errors
    /// No base there, or data that does not fit it.
    pub fn open(folder: &Path, data: Option<&Path>) -> Result<Self, ExperimentError> {
        Self::open_with(folder, data, &[], Labels::Read)
    }

    /// As [`open`](Self::open), with or without the labels, and with rows of other data-set files that features of earlier rows know as well.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(folder: &Path, data: Option<&Path>, context: &[PathBuf], labels: Labels) -> Result<Self, ExperimentError> {
        let request = Opening { folder: folder.into(), data: data.map(Path::to_owned), context: context.to_vec(), labels };
        Self::open_knowing(request, Ids::Unknown)
    }

    /// Opens a base with other data to adapt it to: ids of the data, of one domain if one is named, that the base has never seen get codes of their own. A base that makes features of earlier rows
    /// knows its own ids only.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_adapt(folder: &Path, data: Option<&Path>, context: &[PathBuf], domain: Option<&str>) -> Result<Self, ExperimentError> {
        let request = Opening { folder: folder.into(), data: data.map(Path::to_owned), context: context.to_vec(), labels: Labels::Read };
        let ids = if data.is_some() { Ids::Added(domain) } else { Ids::Unknown };
        Self::open_knowing(request, ids)
    }

    /// The same opening with codes for the ids that a patch knows; `None` where it knows none beyond the base's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn knowing(&self, patch: &Patch) -> Result<Option<Self>, ExperimentError> {
        let ids = &patch.manifest.ids;
        (!ids.is_empty()).then(|| Self::open_knowing(self.request.clone(), Ids::These(ids))).transpose()
    }

    fn open_knowing(request: Opening, ids: Ids<'_>) -> Result<Self, ExperimentError> {
        let Opening { folder, data, context, labels } = &request;
        let (data, labels) = (data.as_deref(), *labels);
        let saved = SavedBase::load(folder)?;
        let Rows { file, config, raw, report, split } = Rows::read(folder, &saved, data, labels)?;
        let encoder = match ids {
            Ids::Unknown => saved.encoder.clone(),
            Ids::Added(_) if saved.encoder.has_state() => saved.encoder.clone(),
            Ids::Added(domain) => {
                let (mut grown, dataset) = (saved.encoder.clone(), raw.dataset());
                let of_it = |row: &u32| domain.is_none_or(|name| dataset.domains[dataset.log.domain[*row as usize].at()] == name);
                grown.grow(&raw, &(0..dataset.log.len() as u32).filter(of_it).collect::<Vec<_>>())?;
                grown
            }
            Ids::These(ids) => saved.encoder.with_values(ids),
        };
        let ids = encoder.beyond(&saved.encoder);
        // Of its own data, the base knows the training rows.
        let later: Vec<u32> = split.parts().filter(|(name, _)| *name != "train").flat_map(|(_, rows)| rows).copied().collect();
        let unknown_values = drift::notes(&saved.unknown_shares(&config, &raw, &later)?, &drift::ids(&config));
        let is_own = data.is_none() && saved.record.split.is_some();
        let mut source = match (saved.encoder.has_state(), is_own) {
            (true, false) => {
                let (followed, notes) = state::follow(folder, &saved, &raw, context, labels == Labels::Read)?;
                let mut source = Source::following(&config, raw, &encoder, split, followed)?;
                source.notes.extend(notes);
                source
            }
            (has_state, _) => {
                let known = if has_state { state::known(&saved.record, &raw, &split)? } else { Known::all() };
                Source::encoded(&config, raw, &encoder, split, &known)?
            }
        };
        source.state = saved.record.state;
        source.notes.extend(unknown_values);
        match labels {
            Labels::Read => source.add_notes(&report),
            // Labels that were not read are no finding.
            Labels::Ignored => source.add_skipped(&report),
        }
        for name in &saved.record.unseen {
            if let Some(domain) = source.dataset.domains.iter().position(|d| d == name) {
                source::hide_domain(&mut source.dataset, domain, &source.domain_features);
            }
        }
        if !reads(&saved.base.spec.schema, &source.dataset.schema()) {
            return Err(self::problem(folder, "reads other features than this data has; make the base again"));
        }
        let own_data = data.is_some() && saved.is_made_of(&file);
        Ok(Self { saved, source, own_data, ids, request })
    }

    /// The rows of a part (all rows where the data has no parts), of one domain if one is named.
    ///
    /// # Errors
    /// No such part or domain, or no row in it.
    pub fn rows(&self, part: &str, domain: Option<&str>) -> Result<Vec<u32>, ExperimentError> {
        let dataset = &self.source.dataset;
        let name = Path::new(&dataset.name);
        let part = if self.has_parts() { part } else { ALL };
        let mut rows = self.source.part(part)?;
        if let Some(wanted) = domain {
            let at = dataset.domains.iter().position(|d| d == wanted);
            let unknown = || problem(name, format!("has no domain `{wanted}`; there are {}", dataset.domains.join(", ")));
            let domain = DomainIndex(at.ok_or_else(unknown)? as u32);
            rows.retain(|&r| dataset.log.domain[r as usize] == domain);
        }
        if rows.is_empty() {
            let place = domain.map_or_else(String::new, |d| format!(" of domain `{d}`"));
            return Err(problem(name, format!("part `{part}`{place} has no rows; choose another part or domain")));
        }
        Ok(rows)
    }

    /// Whether this is the base's own data, in the parts of its split.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        !self.source.split.names().eq([ALL])
    }

    /// Whether the labels of some rows differ, so that models can be told apart by them.
    #[must_use]
    pub fn tells_apart(&self, rows: &[u32]) -> bool {
        let label = |row: &u32| self.source.dataset.log.label[*row as usize];
        rows.iter().any(|row| label(row) != label(&rows[0]))
    }

    /// A batch that gives an epoch over `rows` rows some twenty steps, so that an epoch is not over before early stopping can judge it.
    ///
    /// # Errors
    /// A method or config that does not fit the base.
    pub fn batch_for(&self, method: &str, keys: &toml::Table, rows: usize) -> Result<usize, ExperimentError> {
        let adaptation = build_method(method, keys, target(&self.saved.base))?;
        Ok(if adaptation.needs().groups.are_tasks() { 32 } else { (rows / 20).clamp(32, 1024) })
    }

    /// Whether a method brings its own training, so that training keys would say nothing to it.
    ///
    /// # Errors
    /// A method or config that does not fit the base.
    pub fn brings_training(&self, method: &str, keys: &toml::Table) -> Result<bool, ExperimentError> {
        let adaptation = build_method(method, keys, target(&self.saved.base))?;
        Ok(adaptation.stages().is_some_and(acclimate_adapt::Stages::bring_training))
    }

    /// Trains a method on rows of this data. Users become tasks for methods that adapt to a support set. A run that is stopped leaves a checkpoint
    /// in its folder; the same call goes on from it.
    ///
    /// # Errors
    /// A method or config that does not fit the base, or anything training reports.
    pub fn adapt(&self, how: &Adapting, rows: &[u32], bar: Bar, stop: &AtomicBool) -> Result<Adapted, ExperimentError> {
        let (dataset, device) = (&self.source.dataset, Device::flex());
        let (of_base, base) = (&self.saved.base, &self.saved.base.grown(&dataset.schema()));
        let Adapting { method, keys, train: config, seed, validation, folder, .. } = how;
        let schema = Schema { vocabularies: dataset.schema().vocabularies, ..base.spec.schema.clone() };
        let adaptation = build_method(method, keys, Target { schema: &schema, ..target(base) })?;
        let adaptation = adaptation.as_ref();
        if adaptation.needs().source != SourceRows::None {
            let what = format!(
                "brings no rows of the domains that it was trained on, and `{method}` trains on those as well; compare it in an experiment with scenario `new_domain`, or choose another method"
            );
            return Err(problem(Path::new(&self.saved.record.name), what));
        }
        if adaptation.needs().groups == Groups::Item {
            let what = format!(
                "is adapted to users here, and `{method}` adapts to items; compare it in an experiment with scenario `cold_start` and `tasks.of = \"items\"`, or choose another method"
            );
            return Err(problem(Path::new(&self.saved.record.name), what));
        }
        let support = adaptation.needs().groups.are_tasks();
        // That some user has rows enough is checked here, where it can be said.
        if support {
            tasks(dataset, rows, how.history)?;
        }
        let history = how.history;
        // What is solved for takes every row of every user, and shows them all.
        let solved = adaptation.is_solved();
        let rule = move |_: Groups, dataset: &Dataset, rows: &[u32]| match solved {
            true => everybody(TasksOf::Users, dataset, rows).unwrap_or_default(),
            false => tasks_or_none(dataset, rows, history).unwrap_or_default(),
        };
        let size = if solved { SupportSize::Full } else { SupportSize::Random };
        let prepared = prepared(dataset, base.spec.objective).with_tasks(Box::new(rule), size);
        let feed = prepared.feed(rows, Draw::new(config, *seed, adaptation.needs()))?;
        // Users who are trained on are judged after the rows that they were trained on.
        let known = !dataset.rows_of_users(rows, validation).is_empty();
        let held_out = match (support, known) {
            (true, true) => self.after(rows, validation, how.history),
            (true, false) => pairs(&tasks_or_none(dataset, validation, how.history)?),
            (false, _) => self.after(&[], validation, 0),
        };
        let judged = if support { held_out.iter().flat_map(|(_, query)| query).copied().collect() } else { validation.clone() };
        let metric = default_metric(dataset.label);
        let judge = match judged.is_empty() {
            true => None,
            false => Some(Judge::new(judging_rows(dataset, &judged, &self.source.domain_column)?, metric.clone(), base.spec.objective)),
        };
        let mut validate = |base: &Base, own: &Params| -> Result<f64, TrainError> {
            let scorer = Scorer::new(base, adaptation, own, &device);
            let scores = if support { scorer.tasks(dataset, &held_out)?.concat() } else { prepared.answers(&scorer, &judged)? };
            judge.as_ref().expect("called only with validation rows").value(&scores)
        };
        let decisive = [
            of_base.hash(),
            format!("{method}|{keys}|{seed}|{}", serde_json::to_string(config).expect("configs are plain data")),
            source::digest(dataset, rows),
            source::digest(dataset, validation),
        ];
        let checkpoint = folder.join(format!("checkpoint-{}.safetensors", &source::digest_text(&decisive.join("|"))[..12]));
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(bar), Box::new(RunLog::open(folder, method)?)];
        let trained = train(Run {
            base,
            adaptation,
            feed: feed.as_ref(),
            config: &config.with_intercept_for(base.spec.objective, adaptation.start() == Start::Fresh && !support),
            seed: *seed,
            device: &device,
            intercept: Some((dataset, rows)),
            validate: (!judged.is_empty()).then_some(&mut validate as _),
            observer: &mut observers,
            checkpoint: Some((checkpoint, CHECKPOINT)),
            stop,
        });
        let mut trained = trained.map_err(|error| ExperimentError::of_run(method, error).advising_removal().naming_extremes(dataset))?;
        let domain_column = &self.source.domain_column;
        let (mut best, mut chosen) = (trained.summary.best, Vec::new());
        if support && !judged.is_empty() && !adaptation.dials().is_empty() {
            let tuning = Tuning { dataset, domain_column, tasks: &held_out, of: TasksOf::Users, metric: metric.clone() };
            let turned = tuning.turn(adaptation, &trained.base, &mut trained.own, stop)?;
            RunLog::open(folder, method)?.tried(&turned.tried);
            (best, chosen) = (turned.quality.or(best), turned.chosen);
        }
        let metrics = best.map(|quality| validated(&metric, quality)).into_iter().collect();
        let (window, rows, config, seed) = (feed.window(), feed.rows(), keys.clone(), *seed);
        let notes = PatchNotes {
            method: method.clone(),
            config,
            window,
            rows,
            trained_on: how.trained_on.clone(),
            seed,
            metrics,
            ids: self.ids.clone(),
        };
        let patch = trained.patch(of_base, adaptation, notes);
        // What is judged is what is stored.
        let mut patch = stored(patch, of_base, how.compact, how.budget)?;
        if how.always || judged.is_empty() {
            return Ok(Adapted { patch, found: Vec::new(), chosen });
        }
        let found = guard::compare(&Question { base: of_base, dataset, domain_column, tasks: &held_out, metric: &metric }, &patch)?;
        patch.manifest.serve = guard::decide(&found);
        Ok(Adapted { patch, found, chosen })
    }

    /// Support and query rows of the users among `rows` that have enough of them, from the latest `2 * most` of each.
    ///
    /// # Errors
    /// No user has.
    pub fn tasks(&self, rows: &[u32], most: usize) -> Result<Tasks, ExperimentError> {
        Ok(pairs(&tasks(&self.source.dataset, rows, most)?))
    }

    /// For each user among `rows`, the latest `most` rows of that user in `history` to adapt from, none for a user without, and the rows to judge by.
    /// `history` must hold none of `rows`.
    #[must_use]
    pub fn after(&self, history: &[u32], rows: &[u32], most: usize) -> Tasks {
        let dataset = &self.source.dataset;
        let user = |row: u32| dataset.log.user[row as usize];
        let history = dataset.latest_rows(&dataset.rows_of_users(history, rows), most);
        let mut query = rows.to_vec();
        query.sort_unstable_by_key(|&row| (user(row), row));
        let support = |of: UserIndex| {
            let begin = history.partition_point(|&row| user(row) < of);
            let end = history.partition_point(|&row| user(row) <= of);
            history[begin..end].to_vec()
        };
        query.chunk_by(|&a, &b| user(a) == user(b)).map(|query| (support(user(query[0])), query.to_vec())).collect()
    }

    /// Reads a patch and refuses one of another base.
    ///
    /// # Errors
    /// A patch of another base, with both hashes, or a damaged file; the file is named.
    pub fn patch(&self, path: &Path) -> Result<Patch, ExperimentError> {
        Self::patch_of(&self.saved.base, path)
    }

    /// Reads a patch of a base.
    pub(crate) fn patch_of(base: &Base, path: &Path) -> Result<Patch, ExperimentError> {
        if !path.exists() {
            return Err(problem(path, "does not exist; name the file of a patch, which `acclimate adapt` writes"));
        }
        Patch::load(base, path).map_err(|error| match error {
            AdaptError::File(error) => ExperimentError::File(error),
            other => problem(path, other.to_string()),
        })
    }
}

/// Removes the checkpoints of a folder once the patch that they led to is saved.
pub fn forget_checkpoints(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with("checkpoint-")) {
        let _ = std::fs::remove_file(entry.path());
    }
}

/// Whether rows encoded for a base have the shape that it reads. Domains and ids may be new.
fn reads(base: &Schema, data: &Schema) -> bool {
    let domains = data.domains.starts_with(&base.domains);
    let names = |schema: &Schema| schema.vocabularies.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    let sizes = base.vocabularies.iter().zip(&data.vocabularies).all(|(base, data)| base.rows <= data.rows);
    let rest = |schema: &Schema| Schema { domains: Vec::new(), vocabularies: Vec::new(), ..schema.sideless() };
    domains && sizes && names(base) == names(data) && rest(base) == rest(data)
}

/// What early stopping looks at.
fn default_metric(label: LabelKind) -> Metric {
    let name = if matches!(label, LabelKind::Rating { .. }) { "rmse" } else { "auc" };
    name.parse().expect("a metric's own name")
}

/// Tasks of the size that most users have enough rows for; a user's latest rows where there are very many.
fn tasks_or_none(dataset: &Dataset, rows: &[u32], most: usize) -> Result<Vec<Task>, ExperimentError> {
    let latest = dataset.latest_rows(rows, most.saturating_mul(2));
    let of = |query: usize| {
        let config = TaskConfig { query, min_rows: query + query.div_ceil(3).min(3), max_rows: usize::MAX, ..TaskConfig::default() };
        Ok::<_, ExperimentError>(config.tasks(LogView::from(dataset), &latest)?.tasks)
    };
    let all = of(1)?;
    for query in QUERIES {
        let tasks = of(query)?;
        if 2 * tasks.len() >= all.len() {
            return Ok(tasks);
        }
    }
    Ok(all)
}

/// Every user, or item, with a row as a task, all of whose rows are its own.
///
/// # Errors
/// None that these settings lead to.
pub(crate) fn everybody(of: TasksOf, dataset: &Dataset, rows: &[u32]) -> Result<Vec<Task>, ExperimentError> {
    let everybody = TaskConfig { of, query: 1, min_rows: 1, max_rows: usize::MAX, ..TaskConfig::default() };
    Ok(everybody.tasks(LogView::from(dataset), rows)?.tasks)
}

fn tasks(dataset: &Dataset, rows: &[u32], most: usize) -> Result<Vec<Task>, ExperimentError> {
    let tasks = tasks_or_none(dataset, rows, most)?;
    if tasks.is_empty() {
        let problem = "no user has two of these rows; a method that adapts to a user needs one to judge by and some to adapt from: name a larger --part";
        return Err(self::problem(Path::new(&dataset.name), problem));
    }
    Ok(tasks)
}

fn pairs(tasks: &[Task]) -> Tasks {
    tasks.iter().map(|t| (t.support.clone(), t.query.clone())).collect()
}

fn problem(path: &Path, problem: impl Into<String>) -> ExperimentError {
    ExperimentError::Artifact { path: path.into(), problem: problem.into() }
}
