//! A saved base of sequences with data to adapt it to, to measure it on, or to recommend for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use acclimate_adapt::{Patch, Start, build_method};
use acclimate_data::{Encoder, FeatureState, Known, OutColumn, UserIndex, write_table};
use acclimate_eval::floor::FloorsConfig;
use acclimate_eval::{Bootstrap, Candidates, Cost, Entrant, Environment, EvaluationQueries, Kind, Metric, Panel, Place, Report, Statistic};
use acclimate_model::{Base, Params};
use acclimate_train::{NextItemQuery, Observer, PatchNotes, Preparation, Run, Scorer, TrainError, train};
use burn::tensor::Device;

use super::comparison::{draw, with_target_rows};
use super::prepared::{Prepared, Questions};
use crate::artifact::SavedBase;
use crate::compare::now;
use crate::evaluate::{self, patch_name, served_by_base};
use crate::guard::{self, Found};
use crate::lab::{pretraining, target, validated};
use crate::log::RunLog;
use crate::open::{ALL, Adapted, Adapting, Labels, OpenBase, Rows, stored};
use crate::progress::Bar;
use crate::{ExperimentError, Serve, Source, host, source};

/// Seconds between two checkpoints.
const CHECKPOINT: Duration = Duration::from_secs(20);

/// Metrics where none are asked for.
const METRICS: [&str; 3] = ["mrr[full]", "hr@10[full]", "ndcg@10[full]"];

/// A base of sequences and a log that is read as it asks.
pub struct OpenSequences {
    /// The base.
    pub saved: SavedBase,
    /// The rows, in the parts of the base's split where they are the base's own data.
    pub source: Source,
    /// Whether the data set is that of the base, though named apart.
    pub own_data: bool,
    pub(super) prepared: Prepared,
}

/// What a base and its patches recommend to users.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommended {
    /// Name of the model, user, item, rank from 1 and score, in this order.
    pub rows: Vec<(usize, UserIndex, u32, u32, f32)>,
    /// Names of the models.
    pub models: Vec<String>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Refuses a metric that does not rank among the whole catalogue.
///
/// # Errors
/// Another metric.
pub(crate) fn of_full(metric: &Metric) -> Result<(), ExperimentError> {
    let is_full = matches!(
        metric,
        Metric::Ndcg { candidates: Candidates::Full, .. }
            | Metric::HitRate { candidates: Candidates::Full, .. }
            | Metric::Mrr { candidates: Candidates::Full, .. }
            | Metric::Precision { candidates: Candidates::Full, .. }
    );
    if is_full {
        return Ok(());
    }
    let problem = "can not be measured of a base of sequences; rank among [full], such as `mrr[full]`".to_owned();
    Err(ExperimentError::Artifact { path: format!("`{metric}`").into(), problem })
}

impl OpenSequences {
    /// Opens a base folder with the data it was trained on, or with a data-set file of the same domains; `None` for a base of rows.
    ///
    /// # Errors
    /// No base there, or data that does not fit it.
    pub fn open(folder: &Path, data: Option<&Path>) -> Result<Option<Self>, ExperimentError> {
        let saved = SavedBase::load(folder)?;
        let Some(file) = saved.sequences.clone() else { return Ok(None) };
        let problem = |problem: String| ExperimentError::Artifact { path: folder.into(), problem };
        let Rows { config, raw, report, split, .. } = Rows::read(folder, &saved, data, Labels::Read)?;
        let mut source = Source::encoded(&config, raw, &saved.encoder, split, &Known::all())?;
        source.state = saved.record.state;
        source.add_notes(&report);
        let complain = |key: &str, said: String| problem(format!("reads sequences whose `{key}` {said}"));
        let prepared = Prepared::new(&file.plan, &source, Some(&file), &complain)?;
        if prepared.histories.schema() != saved.base.spec.schema {
            return Err(problem("was trained on items of other numbers than its sequences.json names; make the base again".into()));
        }
        let own_data = data.is_some_and(|data| saved.is_made_of(data));
        Ok(Some(Self { saved, source, own_data, prepared }))
    }

    /// Whether this is the base's own data, in the parts of its split.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        !self.source.split.names().eq([ALL])
    }

    /// The rows of a part; all rows where the data has no parts.
    ///
    /// # Errors
    /// No such part.
    pub fn rows(&self, part: &str) -> Result<Vec<u32>, ExperimentError> {
        self.source.part(if self.has_parts() { part } else { ALL })
    }

    /// Refuses a domain other than the one that the base recommends in.
    ///
    /// # Errors
    /// Another domain.
    pub fn check_domain(&self, domain: Option<&str>) -> Result<(), ExperimentError> {
        let target = &self.prepared.plan.target;
        match domain {
            Some(other) if other != target => {
                let problem = format!("recommends items of `{target}`, not of `{other}`; leave --domain out, or use a base of that domain");
                Err(ExperimentError::Artifact { path: self.saved.record.name.clone().into(), problem })
            }
            _ => Ok(()),
        }
    }

    /// What is known of everybody at the end of this data, for rows that `requests` encodes; none for a log without time.
    #[must_use]
    pub(crate) fn state(&self, requests: &Encoder) -> Option<FeatureState> {
        let rows: Vec<u32> = (0..self.source.dataset.log.len() as u32).collect();
        FeatureState::after_items(requests, &self.source.dataset, &rows)
    }

    /// Number of training examples.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.prepared.examples.len()
    }

    pub(crate) fn questions(&mut self, of: &str, rows: &[u32]) -> Result<Questions, ExperimentError> {
        let asked = self.prepared.questions(rows);
        if asked.queries.is_empty() {
            let problem = format!(
                "{of} has no event of `{}` that this base can be asked for: of {} there, none is of an item that it knows, after {} events or more",
                self.prepared.plan.target, asked.all, self.prepared.plan.queries.min_input
            );
            return Err(ExperimentError::Artifact { path: self.source.dataset.name.clone().into(), problem });
        }
        Ok(asked)
    }

    /// Trains a method on the examples of the data's training part, or of all of it where it has no parts. `how.validation` are rows whose events choose the
    /// best epoch. A run that is stopped leaves a checkpoint in its folder; the same call goes on from it.
    ///
    /// # Errors
    /// A method or config that does not fit the base, or anything training reports.
    pub fn adapt(&mut self, how: &Adapting, bar: Bar, stop: &AtomicBool) -> Result<Adapted, ExperimentError> {
        let complain = |key: &str, problem: String| ExperimentError::Artifact {
            path: self.source.dataset.name.clone().into(),
            problem: format!("{key}: {problem}"),
        };
        self.prepared.check_examples(&complain)?;
        let validation = if how.validation.is_empty() { None } else { Some(self.questions("part `validation`", &how.validation)?) };
        let (base, prepared, device) = (&self.saved.base, &self.prepared, Device::flex());
        let Adapting { method, train: config, seed, folder, .. } = how;
        let keys = with_target_rows(&prepared.plan, method, &how.keys);
        let adaptation = build_method(method, &keys, target(base))?;
        let adaptation = adaptation.as_ref();
        if adaptation.needs().groups.are_tasks() {
            let problem = format!("`{method}` adapts to labelled rows of a user, which users of sequences have not; choose another method");
            return Err(ExperimentError::Artifact { path: self.saved.record.name.clone().into(), problem });
        }
        let feed = prepared.histories.feed(&prepared.examples, draw(base, config, *seed, adaptation.needs()))?;
        let metric = Metric::Mrr { k: None, candidates: Candidates::Full };
        let users = validation.as_ref().map(|asked| EvaluationQueries::new(&asked.users(&asked.places()))).transpose()?;
        let mut validate = |base: &Base, own: &Params| -> Result<f64, TrainError> {
            let asked = validation.as_ref().expect("called only with validation rows");
            let ranks = prepared.histories.answers(&Scorer::new(base, adaptation, own, &device), &asked.examples)?;
            let ranks: Vec<f64> = ranks.into_iter().map(f64::from).collect();
            let problem = |problem: String| TrainError::Config { key: "select", problem };
            let users = users.as_ref().expect("there with the questions");
            let statistic = Statistic::of_ranks(&metric, users, "validation", &ranks).map_err(|e| problem(e.to_string()))?;
            statistic.value().ok_or_else(|| problem("the validation queries have no rank".into()))
        };
        let decisive = [
            base.hash(),
            format!("{method}|{keys}|{seed}|{}", serde_json::to_string(config).expect("configs are plain data")),
            prepared.inputs.clone(),
            source::digest(&self.source.dataset, &how.validation),
        ];
        let checkpoint = folder.join(format!("checkpoint-{}.safetensors", &source::digest_text(&decisive.join("|"))[..12]));
        let mut observers: Vec<Box<dyn Observer>> = vec![Box::new(bar), Box::new(RunLog::open(folder, method)?)];
        let trained = train(Run {
            base,
            adaptation,
            feed: feed.as_ref(),
            config: &config.with_intercept_for(base.spec.objective, adaptation.start() == Start::Fresh),
            seed: *seed,
            device: &device,
            intercept: None,
            validate: validation.is_some().then_some(&mut validate as _),
            observer: &mut observers,
            checkpoint: Some((checkpoint, CHECKPOINT)),
            stop,
        });
        let trained = trained.map_err(|error| ExperimentError::of_run(method, error).advising_removal())?;
        let metrics = trained.summary.best.map(|quality| validated(&metric, quality)).into_iter().collect();
        let (window, rows, seed) = (feed.window(), feed.rows(), *seed);
        let notes = PatchNotes {
            method: method.clone(),
            config: keys,
            window,
            rows,
            trained_on: how.trained_on.clone(),
            seed,
            metrics,
            ids: BTreeMap::new(),
        };
        let patch = trained.patch(base, adaptation, notes);
        // What is judged is what is stored.
        let mut patch = stored(patch, &self.saved.base, how.compact, how.budget)?;
        let Some(asked) = validation.filter(|_| !how.always) else { return Ok(Adapted { patch, found: Vec::new(), chosen: Vec::new() }) };
        let found = self.against_base(&patch, &asked, &metric)?;
        patch.manifest.serve = guard::decide(&found);
        Ok(Adapted { patch, found, chosen: Vec::new() })
    }

    /// A patch against its base on some questions.
    fn against_base(&self, patch: &Patch, asked: &Questions, metric: &Metric) -> Result<Vec<Found>, ExperimentError> {
        let place = Place { dataset: self.source.dataset.name.clone(), scenario: "adapt".into(), setting: "k=0".into() };
        let users = EvaluationQueries::new(&asked.users(&asked.places()))?;
        let outcome = Panel::new(place, Bootstrap::default())
            .enter(Entrant::deterministic("base", Kind::Control, self.ranks_of_base(asked)?))
            .enter(Entrant::deterministic("patch", Kind::Adaptation, self.ranks_of(patch, asked)?))
            .on_ranks(&users, std::slice::from_ref(metric))?;
        let difference = outcome.differences.into_iter().find(|d| d.method == "patch" && d.reference == "base");
        Ok(difference.map(|difference| Found { size: 0, users: users.users(), difference }).into_iter().collect())
    }

    pub(crate) fn ranks_of_base(&self, asked: &Questions) -> Result<Vec<f32>, ExperimentError> {
        let (base, own) = (&self.saved.base, Params::default());
        let plain = pretraining(base)?;
        Ok(self.prepared.histories.answers(&Scorer::new(base, plain.as_ref(), &own, &Device::flex()), &asked.examples)?)
    }

    pub(crate) fn ranks_of(&self, patch: &Patch, asked: &Questions) -> Result<Vec<f32>, ExperimentError> {
        let (patched, adaptation) = (patch.apply(&self.saved.base)?, patch.adaptation(&self.saved.base)?);
        let scorer = Scorer::new(&patched, adaptation.as_ref(), &patch.own, &Device::flex());
        Ok(self.prepared.histories.answers(&scorer, &asked.examples)?)
    }

    /// Measures the base, its patches, and every floor that can be fitted on the base's training rows, on what followed in a part.
    ///
    /// # Errors
    /// A patch of another base, a part without questions, or a metric that does not apply.
    pub fn evaluate(&mut self, request: &evaluate::Request) -> Result<Report, ExperimentError> {
        let (began, started) = (Instant::now(), now());
        self.check_domain(request.domain.as_deref())?;
        let part = if self.has_parts() { request.part.as_deref().unwrap_or("test") } else { ALL };
        let rows = self.rows(part)?;
        let asked = self.questions(&format!("part `{part}`"), &rows)?;
        let patches = request.patches.iter().map(|path| Ok((path, OpenBase::patch_of(&self.saved.base, path)?)));
        let patches = patches.collect::<Result<Vec<_>, ExperimentError>>()?;
        let mut notes = vec![format!(
            "{} of {} events asked for are of items that the base knows; the others are left out.",
            asked.queries.len(),
            asked.all
        )];
        let place = Place { dataset: self.source.dataset.name.clone(), scenario: "evaluate".into(), setting: part.to_owned() };
        let mut panel = Panel::new(place, Bootstrap::default());
        if self.has_parts() {
            let rows = self.rows("validation")?;
            let validation = self.prepared.questions(&rows);
            for floor in self.prepared.ranking_floors(&FloorsConfig::default()) {
                let finished = self.prepared.floor(floor.as_ref(), &validation, &asked)?;
                let ranks = finished.predictions[0].values.clone();
                panel = panel.enter(Entrant::deterministic(floor.name(), Kind::Floor, ranks).with_settings(vec![finished.settings]));
            }
        } else {
            notes.push("This data has no training part, so no floor could be fitted and nothing says whether a number is good.".into());
        }
        let unadapted = self.ranks_of_base(&asked)?;
        panel = panel.enter(Entrant::deterministic("base", Kind::Control, unadapted.clone()));
        for (path, patch) in &patches {
            let serve = if request.as_trained { Serve::Always } else { patch.manifest.serve };
            let is_served = serve.applies(0);
            let ranks = if is_served { self.ranks_of(patch, &asked)? } else { unadapted.clone() };
            let by_base = if is_served { 0 } else { ranks.len() };
            notes.extend(served_by_base(&path.display().to_string(), serve, [by_base, ranks.len()]));
            let mut entrant = Entrant::deterministic(patch_name(path, &request.patches), Kind::Adaptation, ranks);
            let (stored, bytes) = (patch.manifest.counts.stored() as u64, patch.bytes(&self.saved.base) as u64);
            entrant.cost = Cost { trainable_parameters: Some(stored), patch_bytes: Some(bytes), ..Cost::default() };
            panel = panel.enter(entrant);
        }
        let metrics = match request.metrics.is_empty() {
            true => METRICS.into_iter().map(str::parse).collect::<Result<_, _>>()?,
            false => request.metrics.clone(),
        };
        metrics.iter().try_for_each(of_full)?;
        let mut report = Report {
            title: format!("{}: evaluation", self.source.dataset.name),
            command: request.command.clone(),
            notes,
            ..Report::default()
        };
        report.notes.extend(self.source.notes.iter().cloned());
        report.config = evaluate::configs(&self.saved.record, patches.iter().map(|(path, patch)| (path.as_path(), patch)));
        report.environment = Environment { seeds: vec![self.saved.record.seed], started, ..host::environment() };
        report.extend(panel.on_ranks(&EvaluationQueries::new(&asked.users(&asked.places()))?, &metrics)?);
        report.environment.seconds = began.elapsed().as_secs_f64();
        report.environment.peak_memory_mib = host::peak_memory_mib();
        Ok(report)
    }

    /// The `top` items that the base and its patches recommend to each user of a part, after all that the data knows of them and without the items of the target
    /// that they have.
    ///
    /// # Errors
    /// A patch of another base, or a part that is not there.
    pub fn recommend(&self, request: &crate::predict::Request, top: usize) -> Result<Recommended, ExperimentError> {
        self.check_domain(request.domain.as_deref())?;
        let part = if self.has_parts() { request.part.as_deref().unwrap_or("test") } else { ALL };
        let log = &self.source.dataset.log;
        let mut users: Vec<UserIndex> = self.rows(part)?.into_iter().map(|row| log.user[row as usize]).collect();
        users.sort_unstable();
        users.dedup();
        // Now is the day after the last event of the log.
        let time = log.time.iter().max().map_or(0, |last| last + acclimate_data::MICROS_PER_DAY);
        let mut asked: Vec<(UserIndex, NextItemQuery)> = Vec::new();
        let all = users.len();
        asked.extend(users.into_iter().filter_map(|user| Some((user, self.prepared.open_question(user, time)?))));
        let queries: Vec<NextItemQuery> = asked.iter().map(|(_, query)| query.clone()).collect();
        let mut recommended = Recommended { rows: Vec::new(), models: vec!["base".into()], notes: Vec::new() };
        if queries.len() < all {
            let (without, least) = (all - queries.len(), self.prepared.plan.queries.min_input);
            recommended.notes.push(format!("{without} of {all} users have fewer than {least} events to go by, and get no recommendation."));
        }
        let (catalogue, recent) = (self.prepared.histories.catalogue(), self.prepared.histories.recent());
        let (base, own, device) = (&self.saved.base, Params::default(), Device::flex());
        let of_base = Scorer::new(base, pretraining(base)?.as_ref(), &own, &device).top_items(catalogue, &queries, recent, top)?;
        let mut found = vec![of_base];
        for path in &request.patches {
            let patch = OpenBase::patch_of(base, path)?;
            let serve = if request.as_trained { Serve::Always } else { patch.manifest.serve };
            let by_base = if serve.applies(0) { 0 } else { queries.len() };
            recommended.notes.extend(served_by_base(&path.display().to_string(), serve, [by_base, queries.len()]));
            let (patched, adaptation) = (patch.apply(base)?, patch.adaptation(base)?);
            found.push(match serve.applies(0) {
                true => Scorer::new(&patched, adaptation.as_ref(), &patch.own, &device).top_items(catalogue, &queries, recent, top)?,
                false => found[0].clone(),
            });
            recommended.models.push(patch_name(path, &request.patches));
        }
        for (model, found) in found.into_iter().enumerate() {
            for ((user, _), items) in asked.iter().zip(found) {
                let ranked = items.into_iter().zip(1..).map(|((code, score), rank)| (model, *user, code, rank, score));
                recommended.rows.extend(ranked);
            }
        }
        Ok(recommended)
    }

    /// Writes recommendations as CSV or Parquet: model, user, item, rank and score.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn write(&self, recommended: &Recommended, file: &Path) -> Result<(), ExperimentError> {
        let rows = &recommended.rows;
        let text = |names, of_row: Vec<u32>| OutColumn::Text { names, of_row };
        let columns = [
            ("model", text(&recommended.models, rows.iter().map(|r| r.0 as u32).collect())),
            ("user", text(&self.source.dataset.users, rows.iter().map(|r| r.1.0).collect())),
            ("item", text(&self.prepared.file.target, rows.iter().map(|r| r.2 - 1).collect())),
            ("rank", OutColumn::Number(rows.iter().map(|r| r.3 as f32).collect())),
            ("score", OutColumn::Number(rows.iter().map(|r| r.4).collect())),
        ];
        Ok(write_table(file, &columns)?)
    }
}
