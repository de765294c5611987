//! `multi_domain`: one base for several domains, adapted on the same rows; measured in each domain.

use std::borrow::Cow;

use acclimate_data::TasksOf;
use acclimate_eval::suspicion::Parts;
use acclimate_eval::{Metric, Outcome, Scope};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::from_elsewhere;
use super::groups::{Grouping, row_tables};
use super::rows::{Offers, Stage, check_methods, defined, filled, learnable};
use crate::floors::{FloorQuery, FloorRows};
use crate::lab::Measure;
use crate::source::hide_domain;
use crate::{Experiment, ExperimentError, Lab, Source};

/// The setting in which everything is trained, for `train_by_size`.
const SETTING: &str = "all";

/// Configuration. Bases and methods learn from the part `train`, stop early on `validation`, and are measured on `test` or the parts named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiDomain {
    /// Only rows of these domains are used, in all parts; default all domains. Vocabularies still come from all training rows.
    pub domains: Option<Vec<String>>,
    /// Domains that the base must not know: their rows are left out of all parts and their domain features are read as the unknown, here and
    /// whenever the base is used; default none. `pretrain` sets it for the targets of a `new_domain` experiment.
    pub unseen: Vec<String>,
    /// The parts to measure on, each a setting; default `test`.
    pub settings: Vec<String>,
    /// Attribute of users, rows or items by which each setting is also measured in groups, such as `test,gender=F`; default none.
    pub by: Option<String>,
}

impl Default for MultiDomain {
    fn default() -> Self {
        Self { domains: None, unseen: Vec::new(), settings: vec!["test".into()], by: None }
    }
}

impl Scenario for MultiDomain {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        match self.domains.iter().flatten().find(|name| self.unseen.contains(name)) {
            Some(name) => Err(experiment.problem("[scenario] unseen", format!("and `domains` both name `{name}`; remove one"))),
            None => check_settings(experiment, &self.settings),
        }
    }

    fn train_settings(&self) -> Vec<String> {
        vec![SETTING.to_owned()]
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, Offers::Rows)?;
        let mut chosen = match &self.domains {
            None => vec![true; source.dataset.domains.len()],
            Some(names) => named(lab, source, "[scenario] domains", names)?,
        };
        let mut dataset = Cow::Borrowed(&source.dataset);
        for (domain, _) in named(lab, source, "[scenario] unseen", &self.unseen)?.iter().enumerate().filter(|(_, unseen)| **unseen) {
            chosen[domain] = false;
            let of_it = |m: &&Metric| matches!(m.scope(), Some(Scope::Domain { value, .. }) if *value == source.dataset.domains[domain]);
            if let Some(metric) = lab.experiment.metrics.iter().chain(&lab.experiment.select).find(of_it) {
                return Err(lab.experiment.problem("metrics", format!("`{metric}` is of a domain whose rows are left out; remove it")));
            }
            hide_domain(dataset.to_mut(), domain, &source.domain_features);
        }
        if !self.unseen.is_empty() {
            let unseen: Vec<bool> = source.dataset.domains.iter().map(|domain| self.unseen.contains(domain)).collect();
            dataset = Cow::Owned(source.knowing_few(dataset.into_owned(), &unseen, &[])?);
        }
        let dataset = dataset.as_ref();
        let part = |name: &str| {
            let rows = source.part(name)?;
            Ok::<_, ExperimentError>(rows.into_iter().filter(|&r| chosen[dataset.log.domain[r as usize].at()]).collect::<Vec<_>>())
        };
        let (train, validation) = (part("train")?, part("validation")?);
        let measured = if lab.measure == Measure::Test { &self.settings[..] } else { &["validation".to_owned()] };
        let settings = measured.iter().map(|name| Ok((name, part(name)?))).collect::<Result<Vec<_>, ExperimentError>>()?;
        let of = if chosen.contains(&false) { " of the domains that are used" } else { "" };
        for (part, rows) in [("train", &train), ("validation", &validation)].into_iter().chain(settings.iter().map(|(name, rows)| (name.as_str(), rows))) {
            filled(lab, part, of, rows)?;
        }
        learnable(lab, source, ("train", of), &train)?;
        defined(lab, source, ("validation", of), &validation, ("select", [&lab.select(dataset)]))?;
        for (part, rows) in &settings {
            defined(lab, source, (part, of), rows, ("metrics", &lab.experiment.metrics))?;
        }
        let grouping = Grouping::new(lab, dataset, self.by.as_deref())?;
        let query: Vec<u32> = settings.iter().flat_map(|(_, rows)| rows).copied().collect();
        let floor_query = FloorQuery { setting: SETTING.into(), dataset: None, support: dataset.rows_of_users(&train, &query), query: query.clone() };
        let known = dataset.rows_of_users(&train, &validation);
        let rows = FloorRows { dataset, train: &train, validation: &validation, validation_support: &known, of: TasksOf::Users };
        let floors = lab.floors("floors", &rows, &[floor_query])?;
        let stage = Stage {
            name: String::new(),
            setting: SETTING.into(),
            datasets: vec![Cow::Borrowed(dataset); lab.seeds.len()],
            domain_column: &source.domain_column,
            train: vec![train; lab.seeds.len()],
            validation: Some(&validation),
            source: None,
            query: &query,
            unseen: self.unseen.clone(),
        };
        let bases = stage.bases(lab)?;
        let base_entrants = stage.base_entrants(lab, &bases)?;
        let parts = Parts { train: &stage.train[0], validation: &validation, support: &[], measured: &query };
        let preflight = stage.preflight(lab, "multi_domain", &bases, &base_entrants[0], parts)?;
        let entrants = floors.iter().map(|f| f.entrant(0)).chain(base_entrants);
        let entrants = entrants.chain(from_elsewhere(lab, source, &query)?).chain(stage.method_entrants(lab, &bases)?);
        let entrants: Vec<_> = entrants.collect();
        let settings: Vec<_> = settings.iter().map(|(name, rows)| ((*name).clone(), &rows[..])).collect();
        let mut outcomes = row_tables(lab, source, &grouping, "multi_domain", &settings, &entrants)?;
        if let Some(first) = outcomes.first_mut() {
            first.preflight = Some(preflight);
            let mut measured = vec![false; chosen.len()];
            query.iter().for_each(|&row| measured[dataset.log.domain[row as usize].at()] = true);
            let empty = (0..chosen.len()).filter(|&domain| chosen[domain] && !measured[domain]).map(|domain| dataset.domains[domain].as_str());
            let empty: Vec<&str> = empty.collect();
            if !empty.is_empty() {
                first.notes.push(format!("No row is measured in {} {}.", source.domain_column, empty.join(", ")));
            }
        }
        Ok(outcomes)
    }
}

/// Refuses a list of measured parts that is empty, or names one twice.
pub(super) fn check_settings(experiment: &Experiment, settings: &[String]) -> Result<(), ExperimentError> {
    if settings.is_empty() {
        return Err(experiment.problem("[scenario] settings", "is empty; name at least one part to measure on"));
    }
    match settings.iter().enumerate().find_map(|(i, name)| settings[..i].contains(name).then_some(name)) {
        Some(name) => Err(experiment.problem("[scenario] settings", format!("names `{name}` twice; remove one"))),
        None => Ok(()),
    }
}

/// Which domains are named.
pub(super) fn named(lab: &Lab<'_>, source: &Source, entry: &str, names: &[String]) -> Result<Vec<bool>, ExperimentError> {
    let known = &source.dataset.domains;
    let mut chosen = vec![false; known.len()];
    for name in names {
        let at = known.iter().position(|d| d == name);
        let unknown = || lab.experiment.problem(entry, format!("names no domain `{name}`; the data set has {}", known.join(", ")));
        chosen[at.ok_or_else(unknown)?] = true;
    }
    Ok(chosen)
}
