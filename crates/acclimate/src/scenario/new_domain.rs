//! `new_domain`: a domain that the base has never seen, with few labelled rows to adapt from.
//!
//! For each target the base learns from all other domains; it sees the target's domain features as unknown, so let it meet the unknown in training
//! (`[base.train] hide`). With n target rows every method adapts for a fixed number of steps: no target row is spent on early stopping.
//! Methods that train on rows of the other domains as well get those that the base was trained on; what is trained on both together, as the base is, ends by the
//! base's validation rows.

use std::borrow::Cow;

use acclimate_data::{Dataset, LabelKind, TasksOf, subset_by_hash};
use acclimate_eval::suspicion::Parts;
use acclimate_eval::{Entrant, Metric, Outcome, Scope};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::from_elsewhere;
use super::groups::{Grouping, row_tables};
use super::multi_domain::{check_settings, named};
use super::rows::{Offers, SourceParts, Stage, all_alike, check_methods, defined, filled, learnable};
use crate::floors::{FloorQuery, FloorResult, FloorRows};
use crate::lab::Measure;
use crate::{Experiment, ExperimentError, Lab, Source};

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    /// The domains to adapt to, each on its own; a list among them is adapted to as one pool.
    pub targets: Vec<Goal>,
    /// Labelled target rows to adapt from: numbers, or "all". With 0 only the base and the floors are measured. Seed s takes the first n rows
    /// in the order of SHA-256 of `s:row`.
    pub sizes: Vec<Size>,
    /// The parts whose target rows are measured; default `test`. Others than this default are named in the settings, as `n=100,test_new`.
    #[serde(default = "test")]
    pub settings: Vec<String>,
    /// Attribute of users, rows or items by which each setting is also measured in groups, such as `n=100,gender=F`; default none.
    pub by: Option<String>,
}

fn test() -> Vec<String> {
    vec!["test".into()]
}

/// What is adapted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a domain, or a list of domains that make one pool")]
pub enum Goal {
    /// One domain.
    One(String),
    /// Several taken together.
    Pool(Vec<String>),
}

impl Goal {
    /// The domains.
    #[must_use]
    pub fn domains(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Pool(names) => names,
        }
    }

    /// Name in settings: `2`, `3+5+7`.
    #[must_use]
    pub fn name(&self) -> String {
        self.domains().join("+")
    }
}

/// A number of target rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of rows or \"all\"")]
pub enum Size {
    /// So many.
    Rows(usize),
    /// All there are.
    Named(All),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// The word.
    All,
}

impl Size {
    /// Name of the setting: `n=100`, `n=all`.
    #[must_use]
    pub fn setting(self) -> String {
        match self {
            Self::Rows(n) => format!("n={n}"),
            Self::Named(All::All) => "n=all".into(),
        }
    }

    pub(crate) fn of(self, rows: &[u32], seed: u64) -> Vec<u32> {
        match self {
            Self::Rows(n) => subset_by_hash(rows, seed, n),
            Self::Named(All::All) => rows.to_vec(),
        }
    }
}

impl Scenario for NewDomain {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        if self.targets.is_empty() || self.sizes.is_empty() {
            return Err(experiment.problem("[scenario]", "needs at least one entry in `targets` and in `sizes`"));
        }
        if let Some(target) = repeated(&self.targets) {
            return Err(experiment.problem("[scenario] targets", format!("names `{}` twice; remove one", target.name())));
        }
        if self.targets.iter().any(|goal| goal.domains().is_empty()) {
            return Err(experiment.problem("[scenario] targets", "holds an empty pool; name its domains, or remove it"));
        }
        if let Some(size) = repeated(&self.sizes) {
            return Err(experiment.problem("[scenario] sizes", format!("holds {} twice; remove one", size.setting())));
        }
        check_settings(experiment, &self.settings)
    }

    fn train_settings(&self) -> Vec<String> {
        self.sizes.iter().map(|size| size.setting()).collect()
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, Offers::Sources)?;
        let targets = self.targets.iter().map(|goal| {
            let domains = named(lab, source, "[scenario] targets", goal.domains())?;
            self.target(lab, source, goal, domains)
        });
        // What is wrong with the last target is said before the first is trained on.
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let outcomes = targets.iter().map(|target| self.one_target(lab, source, target)).collect::<Result<Vec<_>, _>>()?;
        Ok(outcomes.into_iter().flatten().collect())
    }
}

/// The rows of one target and of all other domains.
struct Target<'a> {
    goal: &'a Goal,
    /// Of each domain of the data whether it is a target.
    domains: Vec<bool>,
    /// For messages and result records, such as `tab=2`.
    place: String,
    train: Vec<u32>,
    validation: Vec<u32>,
    /// Target rows to adapt from.
    own: Vec<u32>,
    /// Measured parts and their target rows.
    measured: Vec<(&'a str, Vec<u32>)>,
}

/// The first entry that stands there twice.
fn repeated<T: PartialEq>(entries: &[T]) -> Option<&T> {
    entries.iter().enumerate().find_map(|(i, entry)| entries[..i].contains(entry).then_some(entry))
}

impl NewDomain {
    fn target<'a>(&'a self, lab: &Lab<'_>, source: &Source, goal: &'a Goal, domains: Vec<bool>) -> Result<Target<'a>, ExperimentError> {
        let of_target = |row: u32| domains[source.dataset.log.domain[row as usize].at()];
        let part = |name: &str| Ok::<(Vec<u32>, Vec<u32>), ExperimentError>(source.part(name)?.into_iter().partition(|&row| of_target(row)));
        let ((own, train), (_, validation)) = (part("train")?, part("validation")?);
        let place = format!("{}={}", source.domain_column, goal.name());
        let (of_it, of_others) = (format!(" of {place}"), format!(" of domains other than {place}"));
        if self.sizes.iter().any(|size| *size != Size::Rows(0)) {
            filled(lab, "train", &of_it, &own)?;
        }
        if let Some(size) = self.sizes.iter().find(|size| matches!(size, Size::Rows(n) if *n > own.len())) {
            let problem = format!("{}: {place} has only {} training rows; choose fewer, or \"all\"", size.setting(), own.len());
            return Err(lab.experiment.problem("[scenario] sizes", problem));
        }
        let parts: Vec<&str> = if lab.measure == Measure::Test { self.settings.iter().map(String::as_str).collect() } else { vec!["validation"] };
        let measured = parts.into_iter().map(|name| Ok((name, part(name)?.0))).collect::<Result<Vec<_>, ExperimentError>>()?;
        // A metric of another domain has no value here, and is not meant to.
        let elsewhere = |m: &&Metric| matches!(m.scope(), Some(Scope::Domain { value, .. }) if !goal.domains().iter().any(|name| name.as_str() == value));
        for (part, rows) in &measured {
            filled(lab, part, &of_it, rows)?;
            defined(lab, source, (part, &of_it), rows, ("metrics", lab.experiment.metrics.iter().filter(|m| !elsewhere(m))))?;
        }
        learnable(lab, source, ("train", &of_others), &train)?;
        filled(lab, "validation", &of_others, &validation)?;
        defined(lab, source, ("validation", &of_others), &validation, ("select", [&lab.select(&source.dataset)]))?;
        Ok(Target { goal, domains, place, train, validation, own, measured })
    }

    fn one_target(&self, lab: &Lab<'_>, source: &Source, target: &Target<'_>) -> Result<Vec<Outcome>, ExperimentError> {
        // What is known of the target is what it is adapted from; without a state, all views are one.
        let knowing = |few: &[u32]| source.knowing_few(source.with_unknown_domains(&target.domains), &target.domains, few);
        let dataset = &knowing(&[])?;
        let Target { place, train, validation, .. } = target;
        let grouping = Grouping::new(lab, dataset, self.by.as_deref())?;
        let query: Vec<u32> = target.measured.iter().flat_map(|(_, rows)| rows).copied().collect();
        let scenario = format!("new_domain[{place}]");
        let stage = |name: String, setting: String, datasets: Vec<_>, train, validation| Stage {
            name,
            setting,
            datasets,
            domain_column: &source.domain_column,
            train,
            validation,
            source: None,
            query: &query,
            unseen: target.goal.domains().to_vec(),
        };
        let everywhere = vec![Cow::Borrowed(dataset); lab.seeds.len()];
        let pretraining = stage(format!("{place}/"), "n=0".into(), everywhere.clone(), vec![train.clone(); lab.seeds.len()], Some(validation));
        let bases = pretraining.bases(lab)?;
        // The rows to adapt from are learned from as well.
        let known = [&train[..], &target.own].concat();
        let parts = Parts { train: &known, validation, support: &[], measured: &query };
        let preflight = pretraining.preflight(lab, &scenario, &bases, &pretraining.base_entrants(lab, &bases)?[0], parts)?;
        let mut outcomes = Vec::new();
        for size in &self.sizes {
            let setting = size.setting();
            let subsets: Vec<_> = lab.seeds.iter().map(|&seed| size.of(&target.own, seed)).collect();
            let datasets = match dataset.has_state() {
                true => subsets.iter().map(|few| Ok(Cow::Owned(knowing(few)?))).collect::<Result<_, ExperimentError>>()?,
                false => everywhere.clone(),
            };
            let stage = stage(format!("{place}/{setting}/"), setting.clone(), datasets, subsets, None);
            let parts = SourceParts { name: &pretraining.name, targets: &target.domains, train, validation };
            let stage = Stage { source: Some(parts), ..stage };
            let mut entrants = self.floors(lab, &stage, train, validation)?;
            entrants.extend(stage.base_entrants(lab, &bases)?);
            entrants.extend(from_elsewhere(lab, source, &query)?);
            entrants.extend(stage.method_entrants(lab, &bases)?);
            let named = |part: &str| if matches!(part, "test" | "validation") { setting.clone() } else { format!("{setting},{part}") };
            let settings: Vec<_> = target.measured.iter().map(|(part, rows)| (named(part), &rows[..])).collect();
            outcomes.extend(row_tables(lab, source, &grouping, &scenario, &settings, &entrants)?);
        }
        if let (LabelKind::Click, Some(label), Some(first)) = (dataset.label, all_alike(dataset, &target.own), outcomes.first_mut()) {
            first.notes.push(format!("{place}: the labels of its {} training rows are all {label}; there is little to adapt to.", target.own.len()));
        }
        if let Some(first) = outcomes.first_mut() {
            first.preflight = Some(preflight);
        }
        Ok(outcomes)
    }

    /// Floors see the rows of the other domains and the target rows of a method: one fit for each distinct subset.
    fn floors(&self, lab: &Lab<'_>, stage: &Stage<'_>, others: &[u32], validation: &[u32]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let subsets = lab.seeds.iter().copied().zip(stage.train.iter().map(Vec::as_slice)).zip(stage.datasets.iter().map(Cow::as_ref));
        let mut subsets: Vec<((u64, &[u32]), &Dataset)> = subsets.collect();
        subsets.dedup_by(|a, b| a.0.1 == b.0.1);
        // By floor, then by subset.
        let mut floors: Vec<(Vec<u64>, Vec<FloorResult>)> = Vec::new();
        for &((seed, subset), dataset) in &subsets {
            let train = [others, subset].concat();
            let support = dataset.rows_of_users(&train, stage.query);
            let query = FloorQuery { setting: stage.setting.clone(), dataset: None, support, query: stage.query.to_vec() };
            let known = dataset.rows_of_users(&train, validation);
            let rows = FloorRows { dataset, train: &train, validation, validation_support: &known, of: TasksOf::Users };
            let fitted = lab.floors(&format!("{}floors-seed{seed}", stage.name), &rows, &[query])?;
            floors.resize_with(fitted.len(), Default::default);
            for ((seeds, results), result) in floors.iter_mut().zip(fitted) {
                seeds.push(seed);
                results.push(result);
            }
        }
        Ok(floors.into_iter().map(|(seeds, results)| FloorResult::of_seeds(&seeds, &results)).collect())
    }
}
