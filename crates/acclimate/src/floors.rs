//! The floors of a comparison: fitted on the rows that bases learn from, scored on the rows that methods are measured on.
//!
//! A floor that reads features is fitted once for each set of features that bases read, so that no method is judged against a floor that reads more.

use std::collections::BTreeSet;

use acclimate_data::{Dataset, TasksOf};
use acclimate_eval::floor::{Choice, FloorsConfig, Labelled, PointwiseFloor, Unlabelled};
use acclimate_eval::{Cost, Entrant, Kind};
use rayon::prelude::*;

use crate::experiment::BaseConfig;
use crate::lab::{Finished, Prediction};
use crate::scenario::ScenarioConfig;
use crate::source::{digest, digest_text};
use crate::{ExperimentError, Lab};

/// Rows that one setting is measured on. Floors predict a setting at a time; a user is adapted by the support rows of that user only.
pub struct FloorQuery {
    /// Name of the setting.
    pub setting: String,
    /// The data as these rows know it, where features of earlier rows differ from those of the training rows' data.
    pub dataset: Option<Dataset>,
    /// Support rows of each query user; empty where nothing is known of them.
    pub support: Vec<u32>,
    /// Rows to predict.
    pub query: Vec<u32>,
}

/// What support rows there are for floors to adapt by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SupportOf {
    /// None.
    Nobody,
    /// Those of users.
    Users,
    /// Those of new items, and with them what training says of the users.
    Items,
}

/// What the floors learn from.
pub struct FloorRows<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// Labelled rows.
    pub train: &'a [u32],
    /// Rows that choose between a floor's settings.
    pub validation: &'a [u32],
    /// What is known of their users, as the support rows of the queries.
    pub validation_support: &'a [u32],
    /// What tasks are of.
    pub of: TasksOf,
}

/// A floor's predictions, one entry for each query.
pub struct FloorResult {
    /// Name of the floor, with that of a base in brackets where it reads what that base reads and the first base does not.
    pub name: String,
    /// The features that it reads, by name; `None`: none, or those of `without_features`, against which all are judged.
    pub reads: Option<BTreeSet<String>>,
    /// Its predictions by setting.
    pub finished: Finished,
}

impl FloorResult {
    /// The floor in one setting.
    #[must_use]
    pub fn entrant(&self, setting: usize) -> Entrant<f32> {
        let Prediction { values, spread, .. } = self.finished.predictions[setting].clone();
        let entrant = Entrant::deterministic(&self.name, Kind::Floor, values).with_settings(vec![self.finished.settings.clone()]);
        self.reading(entrant.with_spreads([spread]))
    }

    /// One floor fitted on the rows of several seeds, in its only setting.
    ///
    /// # Panics
    /// Without a result.
    #[must_use]
    pub fn of_seeds(seeds: &[u64], results: &[Self]) -> Entrant<f32> {
        let [single] = results else {
            let runs = seeds.iter().zip(results).map(|(&seed, result)| (seed, result.finished.predictions[0].values.clone())).collect();
            let settings = results.iter().map(|result| result.finished.settings.clone()).collect();
            return results[0].reading(Entrant::trained(&results[0].name, Kind::Floor, runs, Cost::default()).with_settings(settings));
        };
        single.entrant(0)
    }

    fn reading(&self, entrant: Entrant<f32>) -> Entrant<f32> {
        match &self.reads {
            Some(features) => entrant.reading(features.iter().cloned()),
            None => entrant,
        }
    }
}

/// Refuses names of floors that the scenario does not have, and settings of those that it never reads.
pub(crate) fn check(lab: &Lab<'_>, of_rankings: bool) -> Result<(), ExperimentError> {
    let config = &lab.experiment.floors;
    let of_items = matches!(&lab.experiment.scenario, ScenarioConfig::ColdStart(scenario) if scenario.tasks.of == TasksOf::Items);
    let applies = |floor: &dyn PointwiseFloor| of_items || !floor.folds_items();
    let known: Vec<&str> = if of_rankings {
        config.ranking().iter().map(|f| f.name()).collect()
    } else {
        config.pointwise().iter().filter(|f| applies(f.as_ref())).map(|f| f.name()).collect()
    };
    let streams = matches!(lab.experiment.scenario, ScenarioConfig::Online(_)).then_some(crate::scenario::online::BIAS_PER_EVENT);
    let known: Vec<&str> = known.into_iter().chain(streams).collect();
    if let Some(name) = config.unknown(&known) {
        let problem = format!("names no floor `{name}` of this scenario; there are {}", known.join(", "));
        return Err(lab.experiment.problem("[floors] only", problem));
    }
    if let Some(name) = config.not_read(of_rankings).first() {
        let problem =
            format!("is no floor of this scenario, so its settings would not be read: remove them; there are {}", known.join(", "));
        return Err(lab.experiment.problem(format!("[floors] {name}"), problem));
    }
    Ok(())
}

/// The features of a data set that a base reads, by name.
pub(crate) fn reads(config: &BaseConfig, dataset: &Dataset) -> BTreeSet<String> {
    let schema = dataset.schema();
    let fields = schema.categorical.iter().chain(&schema.bags).map(|field| &field.name);
    fields.chain(&schema.numeric).filter(|name| !config.backbone.without().contains(name)).cloned().collect()
}

/// Features that floors are to read: those of some bases.
pub(crate) struct Inputs {
    /// The base that a floor is named after, where it is not the first.
    base: Option<String>,
    reads: Option<BTreeSet<String>>,
    without: Vec<String>,
}

impl Inputs {
    /// All but some features, for everybody.
    pub(crate) fn all_but(without: &[String]) -> Self {
        Self { base: None, reads: None, without: without.to_vec() }
    }

    /// The distinct sets of features that bases read, in the order of the bases; one set where the experiment names it.
    fn of(lab: &Lab<'_>, dataset: &Dataset) -> Result<Vec<Self>, ExperimentError> {
        if let Some(without) = &lab.experiment.floors.without_features {
            return Ok(vec![Self::all_but(without)]);
        }
        let mut sets: Vec<Self> = Vec::new();
        for config in &lab.experiment.bases()? {
            let reads = Some(reads(config, dataset));
            if sets.iter().all(|set| set.reads != reads) {
                let base = (!sets.is_empty()).then(|| config.name.clone());
                sets.push(Self { base, reads, without: config.backbone.without().to_vec() });
            }
        }
        Ok(sets)
    }
}

/// A floor to be fitted.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) floor: Box<dyn PointwiseFloor>,
    reads: Option<BTreeSet<String>>,
}

/// The floors of a config that apply to a data set, with such support rows, for some sets of features.
pub(crate) fn planned(config: &FloorsConfig, dataset: &Dataset, support: SupportOf, inputs: &[Inputs]) -> Vec<Planned> {
    // Without support rows the support mean is the global mean.
    let wanted = |floor: &dyn PointwiseFloor| {
        let applies =
            if floor.folds_items() { support == SupportOf::Items } else { support != SupportOf::Nobody || !floor.needs_support() };
        applies && config.wants(floor.name())
    };
    let floors = config.pointwise().into_iter().filter(|f| f.applies_to(dataset) && wanted(f.as_ref()));
    let for_inputs = |floor: Box<dyn PointwiseFloor>| {
        let name = floor.name();
        let of = |inputs: &Inputs| {
            let name = inputs.base.as_ref().map_or_else(|| name.to_owned(), |base| format!("{name}[{base}]"));
            Some(Planned { name, floor: floor.leaving_out(&inputs.without)?, reads: inputs.reads.clone() })
        };
        let reading: Vec<Planned> = inputs.iter().filter_map(of).collect();
        if reading.is_empty() { vec![Planned { name: name.to_owned(), floor, reads: None }] } else { reading }
    };
    floors.flat_map(for_inputs).collect()
}

impl Lab<'_> {
    /// Fits every floor that applies and lets it predict; what was computed before is read.
    ///
    /// # Errors
    /// Rows without labels a floor can learn from, or a store that can not be written.
    pub fn floors(&self, name: &str, rows: &FloorRows<'_>, queries: &[FloorQuery]) -> Result<Vec<FloorResult>, ExperimentError> {
        let support = match queries.iter().any(|q| !q.support.is_empty()) {
            false => SupportOf::Nobody,
            true if rows.of == TasksOf::Items => SupportOf::Items,
            true => SupportOf::Users,
        };
        let floors = planned(&self.experiment.floors, rows.dataset, support, &Inputs::of(self, rows.dataset)?);
        let mut inputs: Vec<String> =
            [rows.train, rows.validation, rows.validation_support].iter().map(|part| digest(rows.dataset, part)).collect();
        let of_query = |q: &FloorQuery| [&q.support, &q.query].map(|part| digest(q.dataset.as_ref().unwrap_or(rows.dataset), part));
        inputs.extend(queries.iter().flat_map(of_query));
        let inputs = inputs.join("|");
        self.progress.say(&format!("{name}: {} floors", floors.len()));
        let results = floors.into_par_iter().map(|Planned { name: floor_name, floor, reads }| {
            let key = digest_text(&format!("{}|{floor:?}|spread|{inputs}", env!("CARGO_PKG_VERSION")));
            let finished = self.kept(&format!("{name}/{floor_name}"), &key, || fit(floor.as_ref(), rows, queries))?;
            Ok(FloorResult { name: floor_name, reads, finished })
        });
        results.collect()
    }
}

fn fit(floor: &dyn PointwiseFloor, rows: &FloorRows<'_>, queries: &[FloorQuery]) -> Result<Finished, ExperimentError> {
    let FloorRows { dataset, train, validation, validation_support, of } = *rows;
    // Of users training alone speaks where tasks are items: what is revealed of one says nothing of another.
    let of_training = of == TasksOf::Items && !floor.folds_items();
    let known = if of_training { train } else { validation_support };
    let choice = Choice { support: Labelled::new(dataset, known)?, rows: Labelled::new(dataset, validation)? };
    let fitted = floor.fit(Labelled::new(dataset, train)?, choice)?;
    let predict = |q: &FloorQuery| {
        let dataset = q.dataset.as_ref().unwrap_or(dataset);
        let known = if of_training { train } else { &q.support };
        let (known, query) = (Labelled::new(dataset, known)?, Unlabelled::new(dataset, &q.query)?);
        Ok(Prediction { setting: q.setting.clone(), values: fitted.score(known, query), spread: fitted.spread(known, query) })
    };
    let predictions = queries.iter().map(predict).collect::<Result<_, ExperimentError>>()?;
    Ok(Finished { predictions, cost: Cost::default(), settings: fitted.chosen() })
}
