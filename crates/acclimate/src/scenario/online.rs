//! `online`: one base, served day by day to traffic that it was not trained on.
//!
//! Bases learn from the part `train` and end by `validation`; the rows of `test` are the stream (where `validation` is measured it is the stream, and the last days of `train` choose in its place), cut at the midnights of the data set's zone and served in the order of time. A [mode](Mode) says what
//! happens between two days, and what may be known when a row is served: it is handed rows whose labels are erased, and beside them the rows whose labels have come in.
//!
//! Each day is a setting `day=YYYYMMDD`, each seven days from the first one `week=YYYYMMDD`, and the whole stream is `all`. What a mode has said of a day, and what it has learned for
//! it, is kept: the same command after an interruption goes on with the day that was cut off.

mod clock;
mod floors;
mod gate;
mod learn;
mod mode;
mod window;

use acclimate_adapt::selection::batch_norms;
use acclimate_data::{Dataset, LabelKind, TasksOf};
use acclimate_eval::suspicion::Parts;
use acclimate_eval::{Cost, Entrant, Kind, Outcome};
use acclimate_model::Base;
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::{TrainedBase, from_elsewhere, mean, panel};
use super::groups::at;
use super::multi_domain::named;
use super::rows::{Offers, Stage, check_methods, defined, filled, learnable};
use crate::floors::{FloorQuery, FloorRows};
use crate::lab::{Measure, evaluation_rows};
use crate::source::hide_domain;
use crate::state::StateMode;
use crate::{Experiment, ExperimentError, Lab, Source};
use clock::Clock;
use learn::World;
pub(crate) use floors::BIAS_PER_EVENT;
pub use mode::{Correction, Mode, ModeKind, Served};

/// The setting of the whole stream.
const ALL: &str = "all";
/// Days from which weeks are measured as well.
const A_WEEK: usize = 8;

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Online {
    /// What is compared, in report order.
    #[serde(rename = "mode")]
    pub modes: Vec<Mode>,
    /// Only rows of these domains are used, in all parts; default all domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// Whether days are settings; default true. A long stream may be enough by weeks.
    #[serde(default = "yes")]
    pub days: bool,
}

fn yes() -> bool {
    true
}

impl Scenario for Online {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        if self.modes.is_empty() {
            return Err(experiment.problem("[[scenario.mode]]", "is missing; begin with `kind = \"frozen\"`"));
        }
        let names: Vec<String> = self.modes.iter().map(Mode::label).collect();
        if let Some(name) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return Err(experiment.problem(format!("[[scenario.mode]] `{name}`"), "stands there twice; give one of them a `label`"));
        }
        if let Some(entrant) = experiment.entrants.iter().find(|entrant| names.contains(&entrant.name)) {
            return Err(experiment.problem(format!("[[scenario.mode]] `{}`", entrant.name), "has the name of an [[entrant]]; give it a `label`"));
        }
        if !self.modes.iter().any(|mode| mode.kind == ModeKind::Frozen) {
            return Err(experiment.problem("[[scenario.mode]]", "has no `kind = \"frozen\"`, which all others are compared with; add it"));
        }
        self.modes.iter().try_for_each(|mode| mode.check(experiment))
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, Offers::Rows)?;
        if source.dataset.log.time.is_empty() {
            return Err(lab.experiment.problem("[scenario]", "`online` needs a time of each row, which this log has not"));
        }
        if source.dataset.has_state() && lab.experiment.state != StateMode::Moving {
            let problem = "must be \"moving\" in scenario `online`, where what the log knows goes on with the stream; a mode that must not know it says `state = \"frozen\"`";
            return Err(lab.experiment.problem("state", problem));
        }
        if let (Some(mode), LabelKind::Rating { .. }) = (self.modes.iter().find(|mode| mode.corrects_clicks()), source.dataset.label) {
            let problem = "corrects the share of positives, and the labels here are ratings; remove the mode";
            return Err(lab.experiment.problem(format!("[[scenario.mode]] `{}`", mode.label()), problem));
        }
        if let (Some(mode), false) = (self.modes.iter().find(|mode| mode.kind == ModeKind::PerEvent), matches!(source.dataset.label, LabelKind::Rating { .. })) {
            let problem = "learns levels of ratings, and the labels here are clicks; remove the mode";
            return Err(lab.experiment.problem(format!("[[scenario.mode]] `{}`", mode.label()), problem));
        }
        let chosen = match &self.domains {
            None => vec![true; source.dataset.domains.len()],
            Some(names) => named(lab, source, "[scenario] domains", names)?,
        };
        let mut dataset = source.dataset.clone();
        for (domain, _) in chosen.iter().enumerate().filter(|(_, used)| !**used) {
            hide_domain(&mut dataset, domain, &source.domain_features);
        }
        let part = |name: &str| {
            let rows = source.part(name)?;
            Ok::<_, ExperimentError>(rows.into_iter().filter(|&r| chosen[dataset.log.domain[r as usize].at()]).collect::<Vec<_>>())
        };
        let measured = lab.measure == Measure::Test;
        let (train, validation) = (part("train")?, part("validation")?);
        let stream = if measured { part("test")? } else { validation.clone() };
        let streamed = if measured { "test" } else { "validation" };
        for (name, rows) in [("train", &train), ("validation", &validation), (streamed, &stream)] {
            filled(lab, name, "", rows)?;
        }
        let clock = Clock::new(&dataset, &stream);
        let earlier = if measured { &validation } else { &train };
        clock.follows(&dataset, earlier).map_err(|problem| lab.experiment.problem("[split]", problem))?;
        // What is measured chooses nothing: as many days of training as the stream has choose in its place.
        let ((train, validation), choosing) = match measured {
            true => ((train, validation), "validation"),
            false => (clock.set_apart(&dataset, train), "train, whose last days choose where validation is measured"),
        };
        for (name, rows) in [("train", &train), (choosing, &validation)] {
            filled(lab, name, "", rows)?;
        }
        learnable(lab, source, ("train", ""), &train)?;
        defined(lab, source, (choosing, ""), &validation, ("select", [&lab.select(&dataset)]))?;
        defined(lab, source, (streamed, ""), &stream, ("metrics", &lab.experiment.metrics))?;
        let query = clock.rows();

        let floors = self.floors(lab, &dataset, (&train, &validation, &query))?;
        let stage = Stage {
            name: String::new(),
            setting: ALL.into(),
            datasets: vec![std::borrow::Cow::Borrowed(&dataset); lab.seeds.len()],
            domain_column: &source.domain_column,
            train: vec![train.clone(); lab.seeds.len()],
            validation: Some(&validation),
            source: None,
            query: &query,
            unseen: Vec::new(),
        };
        let bases = stage.bases(lab)?;
        let unadapted = stage.base_entrants(lab, &bases)?;
        let parts = Parts { train: &train, validation: &validation, support: &[], measured: &query };
        let preflight = stage.preflight(lab, "online", &bases, &unadapted[0], parts)?;
        let world = World::new(lab, source, &dataset, &clock, (&train, &validation))?;
        let mut notes = world.notes();
        notes.push(applicable(&dataset, &bases));
        let mut entrants: Vec<Entrant<f32>> = floors;
        entrants.extend(from_elsewhere(lab, source, &query)?);
        for mode in &self.modes {
            let (entrant, said) = self.entrant(&world, mode, &bases)?;
            entrants.push(entrant);
            notes.extend(said);
        }
        let mut outcomes = self.tables(lab, source, &dataset, &clock, &entrants)?;
        if let Some(first) = outcomes.first_mut() {
            first.preflight = Some(preflight);
            first.notes.extend(notes);
        }
        Ok(outcomes)
    }
}

/// Which ways to adapt without labels, or by the event, this data and these bases have.
fn applicable(dataset: &Dataset, bases: &[TrainedBase]) -> String {
    let has_norms = |base: &TrainedBase| base.seeds.iter().any(|(network, _)| !batch_norms(&["*".into()], network.backbone.as_ref()).is_empty());
    let clicks = dataset.label == LabelKind::Click;
    let ways = [
        ("`state = \"moving\"`", dataset.has_state(), "no feature is made of earlier rows"),
        ("`per_window` with `prior_shift`", clicks, "labels are no clicks"),
        ("`per_window` with `moments`", bases.iter().any(has_norms), "no base has batch norms"),
        ("`per_request` with methods of sets", !dataset.log.request.is_empty(), "nothing says which rows are one request"),
        ("`per_event`", !clicks, "labels are clicks"),
    ];
    let said = ways.map(|(way, applies, why)| if applies { format!("{way} yes") } else { format!("{way} no: {why}") });
    format!("What applies to this data: {}.", said.join("; "))
}

impl Online {
    fn floors(
        &self,
        lab: &Lab<'_>,
        dataset: &Dataset,
        (train, validation, query): (&[u32], &[u32], &[u32]),
    ) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let support = dataset.rows_of_users(train, query);
        let queries = [FloorQuery { setting: ALL.into(), dataset: None, support, query: query.to_vec() }];
        let known = dataset.rows_of_users(train, validation);
        let rows = FloorRows { dataset, train, validation, validation_support: &known, of: TasksOf::Users };
        let fitted = lab.floors("floors", &rows, &queries)?;
        let streaming = floors::streaming(lab, dataset, (train, validation, query))?;
        Ok(fitted.iter().map(|floor| floor.entrant(0)).chain(streaming).collect())
    }

    /// A mode with what it said of the whole stream, one output a seed, and what a reader must know of how it came about.
    fn entrant(&self, world: &World<'_>, mode: &Mode, bases: &[TrainedBase]) -> Result<(Entrant<f32>, Vec<String>), ExperimentError> {
        let base = mode.base.as_ref().and_then(|name| bases.iter().find(|base| base.name == *name)).unwrap_or(&bases[0]);
        let lab = world.lab;
        let runs = lab.seeds.iter().zip(&base.seeds).map(|(&seed, (network, _))| self.run(world, mode, network, &base.name, seed));
        let runs = runs.collect::<Result<Vec<_>, ExperimentError>>()?;
        let kind = if mode.adapts() { Kind::Adaptation } else { Kind::Control };
        let cost = mean(&runs.iter().map(|run| run.cost).collect::<Vec<_>>());
        let notes = runs.first().map(|run| run.notes.clone()).unwrap_or_default();
        let outputs = lab.seeds.iter().zip(runs).map(|(&seed, run)| (seed, run.values)).collect();
        let own = self.frozen(&base.name, &bases[0].name).map_or_else(|| base.name.clone(), Mode::label);
        Ok((Entrant::trained(mode.label(), kind, outputs, cost).on(own).reading(base.reads.iter().cloned()), notes))
    }

    /// The mode that serves a base as it is; a mode that names no base has the `default` one.
    fn frozen(&self, base: &str, default: &str) -> Option<&Mode> {
        self.modes.iter().find(|mode| mode.kind == ModeKind::Frozen && mode.base.as_deref().unwrap_or(default) == base)
    }

    fn run(&self, world: &World<'_>, mode: &Mode, base: &Base, name: &str, seed: u64) -> Result<Stream, ExperimentError> {
        match mode.kind {
            ModeKind::PerWindow => window::run(world, mode, base, seed),
            ModeKind::PerEvent => floors::per_event(world, mode),
            _ => learn::run(world, mode, (base, name), seed),
        }
    }

    /// The table of the whole stream, those of its weeks, and those of its days.
    fn tables(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        dataset: &Dataset,
        clock: &Clock,
        entrants: &[Entrant<f32>],
    ) -> Result<Vec<Outcome>, ExperimentError> {
        let all = clock.rows();
        let mut settings = vec![(ALL.to_owned(), (0..all.len()).collect::<Vec<usize>>())];
        let mut place = 0;
        let days: Vec<(String, Vec<usize>)> = clock
            .days()
            .iter()
            .map(|day| {
                let places = (place..place + day.rows.len()).collect();
                place += day.rows.len();
                (day.name.clone(), places)
            })
            .collect();
        if clock.days().len() >= A_WEEK {
            for (name, days_of_it) in clock.weeks() {
                settings.push((format!("week={name}"), days[days_of_it].iter().flat_map(|(_, places)| places.clone()).collect()));
            }
        }
        if self.days {
            settings.extend(days.into_iter().map(|(name, places)| (format!("day={name}"), places)));
        }
        let mut references: Vec<String> = self.modes.iter().filter(|mode| mode.kind == ModeKind::Frozen).map(Mode::label).collect();
        references.extend(lab.experiment.references.iter().cloned());
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        settings
            .iter()
            .map(|(setting, places)| {
                let rows: Vec<u32> = places.iter().map(|&place| all[place]).collect();
                let panel = panel(lab, source, "online", setting, &rows).with_references(&references);
                let panel = entrants.iter().map(|entrant| at(entrant, places)).fold(panel, acclimate_eval::Panel::enter);
                Ok(panel.on_rows(&evaluation_rows(dataset, &rows, &source.domain_column)?, &lab.experiment.metrics)?)
            })
            .collect()
    }
}

/// What a mode has said of the whole stream.
pub(super) struct Stream {
    values: Vec<f32>,
    cost: Cost,
    notes: Vec<String>,
}
