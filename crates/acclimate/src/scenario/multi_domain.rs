//! `multi_domain`: one base for several domains, adapted on the same rows; measured in each domain.

use std::borrow::Cow;

use acclimate_eval::{Metric, Outcome, Scope};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::panel;
use super::rows::{Stage, check_methods, filled};
use crate::floors::{FloorQuery, FloorRows};
use crate::lab::{Measure, evaluation_rows};
use crate::source::hide_domain;
use crate::{Experiment, ExperimentError, Lab, Source};

/// The setting in result records.
const SETTING: &str = "all";

/// Configuration. Bases and methods learn from the part `train`, stop early on `validation`, and are measured on `test`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiDomain {
    /// Only rows of these domains are used, in all parts; default all domains. Vocabularies still come from all training rows.
    pub domains: Option<Vec<String>>,
    /// Domains that the base must not know: their rows are left out of all parts and their domain features are read as the unknown, here and
    /// whenever the base is used; default none. `pretrain` sets it for the targets of a `new_domain` experiment.
    pub unseen: Vec<String>,
}

impl Scenario for MultiDomain {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        match self.domains.iter().flatten().find(|name| self.unseen.contains(name)) {
            Some(name) => Err(experiment.problem("[scenario] unseen", format!("and `domains` both name `{name}`; remove one"))),
            None => Ok(()),
        }
    }

    fn train_settings(&self) -> Vec<String> {
        vec![SETTING.to_owned()]
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, false)?;
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
        let dataset = dataset.as_ref();
        let part = |name: &str| {
            let rows = source.part(name)?;
            Ok::<_, ExperimentError>(rows.into_iter().filter(|&r| chosen[dataset.log.domain[r as usize].at()]).collect::<Vec<_>>())
        };
        let (train, validation) = (part("train")?, part("validation")?);
        let query = if lab.measure == Measure::Test { part("test")? } else { validation.clone() };
        for (part, rows) in [("train", &train), ("validation", &validation), ("test", &query)] {
            filled(lab, part, if chosen.contains(&false) { " of the domains that are used" } else { "" }, rows)?;
        }
        let floor_query = FloorQuery { setting: SETTING.into(), support: dataset.rows_of_users(&train, &query), query: query.clone() };
        let known = dataset.rows_of_users(&train, &validation);
        let rows = FloorRows { dataset, train: &train, validation: &validation, validation_support: &known };
        let floors = lab.floors("floors", &rows, &[floor_query])?;
        let stage = Stage {
            name: String::new(),
            setting: SETTING.into(),
            dataset,
            domain_column: &source.domain_column,
            train: vec![train; lab.seeds.len()],
            validation: Some(&validation),
            query: &query,
            unseen: self.unseen.clone(),
        };
        let bases = stage.bases(lab)?;
        let entrants = floors.iter().map(|f| f.entrant(0)).chain(stage.base_entrants(lab, &bases)?).chain(stage.method_entrants(lab, &bases)?);
        let panel = entrants.fold(panel(lab, source, "multi_domain", SETTING, &query), acclimate_eval::Panel::enter);
        let mut outcome = panel.on_rows(&evaluation_rows(dataset, &query, &source.domain_column)?, &lab.experiment.metrics)?;
        let mut measured = vec![false; chosen.len()];
        query.iter().for_each(|&row| measured[dataset.log.domain[row as usize].at()] = true);
        let empty = (0..chosen.len()).filter(|&domain| chosen[domain] && !measured[domain]).map(|domain| dataset.domains[domain].as_str());
        let empty: Vec<&str> = empty.collect();
        if !empty.is_empty() {
            outcome.notes.push(format!("No row is measured in {} {}.", source.domain_column, empty.join(", ")));
        }
        Ok(vec![outcome])
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
