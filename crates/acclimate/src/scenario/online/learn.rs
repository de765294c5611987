//! Modes that serve a network: frozen, with a method that was trained before the stream, or learning from day to day.

use std::collections::BTreeSet;
use std::time::Instant;

use acclimate_adapt::{Adaptation, Patch, build_method};
use acclimate_data::{Dataset, Known};
use acclimate_eval::Cost;
use acclimate_model::{Base, BaseSpec, Params};
use acclimate_train::{Draw, Preparation, Scorer, TrainConfig};

use super::clock::Clock;
use super::gate::Gate;
use super::{Mode, ModeKind, Served, Stream};
use crate::experiment::{BaseConfig, MethodEntry, overlay};
use crate::lab::{Finished, Job, Judge, Prediction, judging_rows, pretraining, target};
use crate::scenario::{predict, prepared, values_digest};
use crate::source::{digest, hide_domain, read};
use crate::{ExperimentError, Lab, Source};

/// Microseconds of an hour.
const HOUR: f64 = 3.6e9;

/// The data as modes see it.
pub(super) struct World<'a> {
    pub(super) lab: &'a Lab<'a>,
    pub(super) source: &'a Source,
    pub(super) clock: &'a Clock,
    pub(super) train: &'a [u32],
    pub(super) validation: &'a [u32],
    /// With the ids that training has met.
    plain: View<'a>,
    /// With those of the stream as well, where there are new ones and something learns.
    grown: Option<View<'static>>,
    /// Times of the stream, ascending.
    times: Vec<i64>,
    /// New ids, by vocabulary.
    new_ids: Vec<(String, usize)>,
}

/// One encoding, with features of earlier rows that go on with the stream, and such that end before it.
struct View<'a> {
    moving: std::borrow::Cow<'a, Dataset>,
    still: Option<Dataset>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        lab: &'a Lab<'a>,
        source: &'a Source,
        dataset: &'a Dataset,
        clock: &'a Clock,
        (train, validation): (&'a [u32], &'a [u32]),
    ) -> Result<Self, ExperimentError> {
        let crate::scenario::ScenarioConfig::Online(config) = &lab.experiment.scenario else { unreachable!("this scenario runs") };
        let begin = clock.days().first().map_or(i64::MAX, |day| day.begin);
        let log = &dataset.log;
        let before: Vec<u32> = (0..log.len() as u32).filter(|&row| log.time[row as usize] < begin).collect();
        let still = |learns: bool| config.modes.iter().any(|mode| mode.state == Served::Frozen && mode.learns() == learns) && dataset.has_state();
        if let (Some(mode), false) = (config.modes.iter().find(|mode| mode.state == Served::Frozen), dataset.has_state()) {
            let problem = "says `state = \"frozen\"`, but the data set has no features of earlier rows, so it would be the same as without; remove it, or add histories or statistics";
            return Err(lab.experiment.problem(format!("[[scenario.mode]] `{}`", mode.label()), problem));
        }
        let known = Known::only(&before, log.len());
        let plain = View {
            still: still(false).then(|| dataset.knowing(&known)).transpose()?,
            moving: std::borrow::Cow::Borrowed(dataset),
        };
        let (mut grown, mut new_ids) = (None, Vec::new());
        if let (true, Some(encoder), Some(file)) = (config.modes.iter().any(Mode::grows), &source.encoder, &lab.experiment.dataset) {
            let path = lab.experiment.path.parent().map_or_else(|| file.clone(), |folder| folder.join(file));
            let (_, raw, _) = read(&path, source.rule.as_ref())?;
            // Day by day: an id that comes later never moves one that came before.
            let mut larger = encoder.clone();
            for day in clock.days() {
                larger.grow(&raw, &day.rows)?;
            }
            new_ids = larger.beyond(encoder).into_iter().map(|(name, ids)| (name, ids.len())).collect();
            if !new_ids.is_empty() {
                let mut moving = raw.encode_knowing(&larger, &Known::all())?;
                for domain in 0..moving.domains.len() {
                    if config.domains.as_ref().is_some_and(|used| !used.contains(&moving.domains[domain])) {
                        hide_domain(&mut moving, domain, &source.domain_features);
                    }
                }
                let still = still(true).then(|| moving.knowing(&known)).transpose()?;
                grown = Some(View { moving: std::borrow::Cow::Owned(moving), still });
            }
        }
        let times = clock.rows().iter().map(|&row| log.time[row as usize]).collect();
        Ok(Self { lab, source, clock, train, validation, plain, grown, times, new_ids })
    }

    /// What a reader of the report must know.
    pub(super) fn notes(&self) -> Vec<String> {
        let days = self.clock.days();
        let mut notes = vec![format!(
            "The stream has {} rows on {} days, {} to {}.",
            self.clock.rows().len(),
            days.len(),
            days.first().map_or("", |day| &day.name),
            days.last().map_or("", |day| &day.name)
        )];
        if !self.new_ids.is_empty() {
            let ids: Vec<String> = self.new_ids.iter().map(|(name, n)| format!("{n} of `{name}`")).collect();
            notes.push(format!(
                "Ids that training has not met: {}. Modes that learn give them rows from the day on that follows; for all others they are unknown.",
                ids.join(", ")
            ));
        }
        notes
    }

    /// The data of a mode.
    pub(super) fn dataset(&self, mode: &Mode) -> &Dataset {
        let view: &View<'_> = match &self.grown {
            Some(grown) if mode.grows() => grown,
            _ => &self.plain,
        };
        match mode.state {
            Served::Moving => &view.moving,
            Served::Frozen => view.still.as_ref().unwrap_or(&view.moving),
        }
    }

    /// The newest time of rows that are learned from before the stream.
    fn before(&self, dataset: &Dataset) -> i64 {
        self.train.iter().chain(self.validation).map(|&row| dataset.log.time[row as usize]).max().unwrap_or(i64::MIN)
    }

    /// Hours, summed over the rows of a day, from the newest event that each could rest on to the row: the newest label that was `learned`, or where what is known `moves` the newest event before the row.
    pub(super) fn ages(&self, dataset: &Dataset, day: usize, learned: i64, moves: bool) -> f64 {
        let time = |row: u32| dataset.log.time[row as usize];
        let of_row = |&row: &u32| {
            let now = time(row);
            let earlier = self.times.partition_point(|&t| t < now);
            let newest = if earlier > 0 { self.times[earlier - 1] } else { self.before(dataset) };
            let known = if moves { newest.max(learned) } else { learned };
            (now - known).max(0) as f64 / HOUR
        };
        self.clock.days()[day].rows.iter().map(of_row).sum()
    }

    /// Rows before the stream that choose, and rows of the stream, whose labels have come in from one moment up to another.
    fn labelled(&self, dataset: &Dataset, from: i64, until: i64) -> Vec<u32> {
        let inside = |row: &u32| (from..until).contains(&dataset.log.time[*row as usize]);
        let stream = self.clock.days().iter().take_while(|day| day.begin < until).flat_map(|day| &day.rows);
        self.validation.iter().chain(stream).copied().filter(inside).collect()
    }
}

impl Mode {
    /// Whether it reads the stream's new ids.
    fn grows(&self) -> bool {
        self.learns() || self.kind == ModeKind::PerEvent
    }
}

/// What a mode has gathered over the days.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) values: Vec<f32>,
    train_seconds: f64,
    request_seconds: f64,
    ages: f64,
    days: usize,
    last: Cost,
}

impl Gathered {
    pub(super) fn add(&mut self, finished: Finished, ages: f64) {
        let [prediction] = &finished.predictions[..] else { return };
        self.request_seconds += finished.cost.request_seconds.unwrap_or(0.0) * prediction.values.len() as f64;
        self.values.extend_from_slice(&prediction.values);
        self.train_seconds += finished.cost.day_seconds.or(finished.cost.train_seconds).unwrap_or(0.0);
        self.ages += ages;
        self.days += 1;
        self.last = finished.cost;
    }

    pub(super) fn stream(self, mode: &Mode, notes: Vec<String>) -> Stream {
        let rows = self.values.len().max(1) as f64;
        let learns = mode.learns() || mode.kind == ModeKind::PerWindow;
        let cost = Cost {
            trainable_parameters: self.last.trainable_parameters,
            patch_bytes: self.last.patch_bytes,
            train_seconds: mode.learns().then_some(self.train_seconds),
            day_seconds: learns.then(|| self.train_seconds / self.days.max(1) as f64),
            request_seconds: Some(self.request_seconds / rows),
            newest_event_hours: Some(self.ages / rows),
            ..Cost::default()
        };
        Stream { values: self.values, cost, notes }
    }
}

pub(super) fn run(world: &World<'_>, mode: &Mode, (base, name): (&Base, &str), seed: u64) -> Result<Stream, ExperimentError> {
    let (lab, dataset) = (world.lab, world.dataset(mode));
    let newest = |rows: &[u32]| rows.iter().map(|&row| dataset.log.time[row as usize]).max().unwrap_or(i64::MIN);
    let moves = mode.state == Served::Moving && dataset.has_state();
    let of_training = newest(world.train);
    // New ids start as the unknown one.
    let start = if mode.learns() { with_rows_for(base, dataset)? } else { base.clone() };
    let entry = mode.method.as_ref().and_then(|label| lab.experiment.methods.iter().find(|entry| entry.label() == label));
    let (mut network, mut known_until) = (start.clone(), i64::MIN);
    let mut gathered = Gathered::default();
    let mut gate = None;
    for (day, today) in world.clock.days().iter().enumerate() {
        lab.check_stop()?;
        let until = today.begin - mode.delay();
        let run = format!("{}-seed{seed}", mode.label());
        let served = Day { world, mode, dataset, day, name: format!("day={}/{run}", today.name), seed };
        let (finished, learned) = match (mode.kind, entry) {
            (ModeKind::PerRequest, Some(entry)) => {
                let job = Learned { name: run, rows: world.train, validation: Some(world.validation) };
                let trained = served.patch(&start, entry, &job)?;
                if mode.is_guarded() && gate.is_none() {
                    gate = Some(Gate::ask(world, dataset, &start, &trained.patch)?);
                }
                let is_open = gate.as_ref().is_none_or(Gate::is_open);
                (if is_open { served.patched_with(&start, trained)? } else { served.plain(&start)? }, of_training)
            }
            (ModeKind::RefitDaily, Some(entry)) => {
                let rows = world.labelled(dataset, mode.last.map_or(i64::MIN, |last| until - last.micros()), until);
                match rows.is_empty() {
                    true => (served.plain(&start)?, of_training),
                    false => {
                        let job = Learned { name: served.name.clone(), rows: &rows, validation: None };
                        (served.patched_with(&start, served.patch(&start, entry, &job)?)?, newest(&rows))
                    }
                }
            }
            (ModeKind::Incremental, _) => {
                let since = world.labelled(dataset, known_until, until);
                let mut seconds = 0.0;
                if !since.is_empty() {
                    (network, seconds) = served.goes_on(&network, name, &since)?;
                }
                known_until = until;
                (served.plain_with(&network, seconds)?, newest(&world.labelled(dataset, i64::MIN, until)).max(of_training))
            }
            (ModeKind::RetrainDaily, _) => {
                let rows = [world.train, &world.labelled(dataset, i64::MIN, until)].concat();
                let (fresh, seconds) = served.retrained(&start, name, &rows)?;
                (served.plain_with(&fresh, seconds)?, newest(&rows))
            }
            _ => (served.plain(&start)?, of_training),
        };
        gathered.add(finished, world.ages(dataset, day, learned, moves));
    }
    Ok(gathered.stream(mode, gate.iter().map(|gate| gate.note(&mode.label())).collect()))
}

/// What a method learns from.
struct Learned<'a> {
    name: String,
    rows: &'a [u32],
    validation: Option<&'a [u32]>,
}

/// What became of it.
struct TrainedPatch {
    method: Box<dyn Adaptation>,
    patch: Patch,
    cost: Cost,
}

/// A day as one mode serves it.
struct Day<'a> {
    world: &'a World<'a>,
    mode: &'a Mode,
    dataset: &'a Dataset,
    day: usize,
    /// Name of its runs.
    name: String,
    seed: u64,
}

impl Day<'_> {
    fn measured(&self) -> String {
        format!("{}|{:?}|{}", self.mode.label(), self.mode.state, digest(self.dataset, &self.world.clock.days()[self.day].rows))
    }

    /// What a network says of the rows of the day, whose labels nobody has yet.
    fn said(&self, base: &Base, adaptation: &dyn Adaptation, own: &Params) -> Result<(Vec<Prediction>, f64), ExperimentError> {
        let arriving = self.world.clock.arriving(self.dataset, self.day, self.mode.delay());
        let began = Instant::now();
        let values = predict(self.world.lab, base, adaptation, own, arriving.dataset(), arriving.rows)?;
        let seconds = began.elapsed().as_secs_f64() / values.len().max(1) as f64;
        Ok((vec![Prediction { setting: self.world.clock.days()[self.day].name.clone(), values, spread: None }], seconds))
    }

    fn plain(&self, base: &Base) -> Result<Finished, ExperimentError> {
        self.plain_with(base, 0.0)
    }

    /// A network as it is; `seconds` is what it took to make it.
    fn plain_with(&self, base: &Base, seconds: f64) -> Result<Finished, ExperimentError> {
        let key = crate::source::digest_text(&format!("{}|{}", base.hash(), self.measured()));
        self.world.lab.kept(&self.name, &key, || {
            let (predictions, row) = self.said(base, pretraining(base)?.as_ref(), &Params::default())?;
            let cost = Cost { day_seconds: Some(seconds), request_seconds: Some(row), ..Cost::default() };
            Ok(Finished { predictions, cost, settings: Vec::new() })
        })
    }

    /// A method, trained on some rows.
    fn patch(&self, base: &Base, entry: &MethodEntry, learned: &Learned<'_>) -> Result<TrainedPatch, ExperimentError> {
        let (lab, dataset) = (self.world.lab, self.dataset);
        let config = lab.experiment.train_config(entry, "")?;
        let method = build_method(&entry.name, &entry.config, target(base))?;
        let adaptation = method.as_ref();
        let prepared = prepared(dataset, base.spec.objective);
        let feed = prepared.feed(learned.rows, Draw::new(&config, self.seed, adaptation.needs()))?;
        let judge = learned.validation.map(|rows| {
            let judging = judging_rows(dataset, rows, &self.world.source.domain_column)?;
            Ok::<_, ExperimentError>((Judge::new(judging, lab.select(dataset), base.spec.objective), rows))
        });
        let judge = judge.transpose()?;
        let mut validate = |base: &Base, own: &Params| {
            let (judge, rows) = judge.as_ref().expect("called only with validation rows");
            judge.value(&prepared.answers(&Scorer::new(base, adaptation, own, &lab.device), rows)?)
        };
        let job = Job {
            intercept: Some((dataset, learned.rows)),
            validate: judge.is_some().then_some((lab.select(dataset), &mut validate as _)),
            ..Job::new(
                learned.name.clone(),
                format!("online|{}|{}", digest(dataset, learned.rows), digest(dataset, learned.validation.unwrap_or_default())),
                feed.as_ref(),
                &config,
                self.seed,
            )
        };
        let (patch, cost) = lab.trained_patch(base, entry, adaptation, job)?;
        Ok(TrainedPatch { method, patch, cost })
    }

    /// What it says of the day.
    fn patched_with(&self, base: &Base, TrainedPatch { method, patch, cost }: TrainedPatch) -> Result<Finished, ExperimentError> {
        let lab = self.world.lab;
        let key = crate::source::digest_text(&format!("{}|{}|{}", base.hash(), values_digest(&patch), self.measured()));
        lab.kept(&self.name, &key, || {
            // What is measured is what is stored: the patch applied to the base.
            let (predictions, row) = self.said(&patch.apply(base)?, method.as_ref(), &patch.own)?;
            Ok(Finished { predictions, cost: Cost { request_seconds: Some(row), ..cost }, settings: Vec::new() })
        })
    }

    /// Training goes on with some rows: the network, and the seconds it took.
    fn goes_on(&self, from: &Base, name: &str, rows: &[u32]) -> Result<(Base, f64), ExperimentError> {
        let mut config = self.train_config(name)?;
        if !self.mode.train.contains_key("epochs") {
            config.epochs = 1;
        }
        // The level of the labels stands in the network already.
        config.intercept = Some(false);
        self.trained(from, name, rows, &config, format!("on from {}", from.hash()))
    }

    /// A network that starts from nothing and learns for as long as validation has told the base to.
    fn retrained(&self, shape: &Base, name: &str, rows: &[u32]) -> Result<(Base, f64), ExperimentError> {
        let lab = self.world.lab;
        let mut config = self.train_config(name)?;
        if !self.mode.train.contains_key("epochs") {
            config.epochs = lab.epochs_of_base(&format!("{name}-seed{}", self.seed))?.unwrap_or(config.epochs);
        }
        let untrained = Base::init(shape.spec.clone(), self.seed)?;
        let (trained, seconds) = self.trained(&untrained, name, rows, &config, "anew".into())?;
        Ok((settled(&untrained, trained), seconds))
    }

    fn train_config(&self, name: &str) -> Result<TrainConfig, ExperimentError> {
        let experiment = self.world.lab.experiment;
        let bases = experiment.bases()?;
        let base = bases.iter().find(|base| base.name == name).unwrap_or(&bases[0]);
        let keys = toml::Table::try_from(&base.train).expect("configs are plain data");
        let problem = |e: &dyn std::fmt::Display| experiment.problem(format!("[[scenario.mode]] `{}`, train", self.mode.label()), e.to_string());
        let config: TrainConfig = overlay(&keys, &self.mode.train).try_into().map_err(|e| problem(&e))?;
        config.validate().map_err(|e| problem(&e))?;
        Ok(config)
    }

    fn trained(&self, from: &Base, name: &str, rows: &[u32], config: &TrainConfig, how: String) -> Result<(Base, f64), ExperimentError> {
        let (lab, dataset) = (self.world.lab, self.dataset);
        let prepared = prepared(dataset, from.spec.objective);
        let adaptation = pretraining(from)?;
        let feed = prepared.feed(rows, Draw::new(config, self.seed, adaptation.needs()))?;
        let bases = lab.experiment.bases()?;
        let of_base: &BaseConfig = bases.iter().find(|base| base.name == name).unwrap_or(&bases[0]);
        let job = Job {
            intercept: Some((dataset, rows)),
            ..Job::new(self.name.clone(), format!("online|{how}|{}", digest(dataset, rows)), feed.as_ref(), config, self.seed)
        };
        let (base, cost) = lab.base_from(of_base, from.clone(), job)?;
        Ok((base, cost.train_seconds.unwrap_or(0.0)))
    }
}

/// The base with a row for each id of the stream: copies of the unknown one.
fn with_rows_for(base: &Base, dataset: &Dataset) -> Result<Base, ExperimentError> {
    let schema = dataset.schema();
    if schema == base.spec.schema {
        return Ok(base.clone());
    }
    let tables = base.grown(&schema).tables;
    let shape = Base::init(BaseSpec { schema, ..base.spec.clone() }, 0)?;
    Ok(Base { params: base.params.clone(), tables, ..shape })
}

/// A trained network, in which ids without training rows are as the unknown one.
fn settled(untrained: &Base, mut trained: Base) -> Base {
    for (before, table) in untrained.tables.iter().zip(&mut trained.tables) {
        let width = before.d;
        let never: BTreeSet<usize> = (1..before.values.len() / width)
            .filter(|row| before.values[row * width..(row + 1) * width] == table.values[row * width..(row + 1) * width])
            .collect();
        let unknown = table.values[..width].to_vec();
        let values = &mut std::sync::Arc::make_mut(table).values;
        never.into_iter().for_each(|row| values[row * width..(row + 1) * width].copy_from_slice(&unknown));
    }
    trained
}
