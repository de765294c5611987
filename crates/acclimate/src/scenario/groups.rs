//! Tables of one training: each measured part, and in it the groups of rows that an attribute tells apart.

use std::collections::{BTreeMap, HashSet};

use acclimate_data::{Attribute, Dataset, TasksOf};
use acclimate_eval::{Entrant, Outcome, Panel, Spread};

use super::entrants::panel;
use crate::lab::evaluation_rows_of;
use crate::{ExperimentError, Lab, Source};

/// Groups of fewer users get no table: an interval over so few users says nothing.
const FEWEST_USERS: usize = 10;
/// An attribute with more groups is no grouping but an id.
const MOST_GROUPS: usize = 50;

/// How the rows of a setting are grouped.
pub(crate) struct Grouping<'a> {
    dataset: &'a Dataset,
    by: Option<&'a Attribute>,
    /// What metrics are means over.
    of: TasksOf,
}

/// Rows that one table is measured on.
#[derive(Debug, PartialEq)]
pub(crate) struct Group {
    /// The setting and the value, such as `test,gender=F`.
    pub(crate) setting: String,
    /// Places among the rows of the setting.
    pub(crate) places: Vec<usize>,
}

impl<'a> Grouping<'a> {
    /// Groups by the attribute that `by` of the scenario names; none without it.
    ///
    /// # Errors
    /// No such attribute.
    pub(crate) fn new(lab: &Lab<'_>, dataset: &'a Dataset, by: Option<&str>) -> Result<Self, ExperimentError> {
        let Some(name) = by else { return Ok(Self { dataset, by: None, of: TasksOf::Users }) };
        let known = || dataset.attributes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || {
            let problem = format!(
                "names no attribute `{name}` of the data set (it has: {}); add an [[attribute]] with `kind = \"text\"` or whole numbers to the data-set file",
                known()
            );
            lab.experiment.problem("[scenario] by", problem)
        };
        Ok(Self { dataset, by: Some(dataset.attribute(name).ok_or_else(unknown)?), of: TasksOf::Users })
    }

    /// The same, with metrics that are means over users or over items.
    pub(crate) fn over(self, of: TasksOf) -> Self {
        Self { of, ..self }
    }

    /// The groups of some rows that have users enough, by value, and one sentence on the sizes of all.
    ///
    /// # Errors
    /// More groups than a reader could compare.
    fn of(&self, lab: &Lab<'_>, setting: &str, rows: &[u32]) -> Result<(Vec<Group>, Option<String>), ExperimentError> {
        let Some(attribute) = self.by else { return Ok((Vec::new(), None)) };
        let mut places: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (place, &row) in rows.iter().enumerate() {
            places.entry(attribute.values[self.dataset.entity(attribute.side, row as usize)]).or_default().push(place);
        }
        let name = &attribute.name;
        if places.len() > MOST_GROUPS {
            let problem = format!(
                "`{name}` has {} values in `{setting}`, more than the {MOST_GROUPS} groups that are measured; group by a coarser one",
                places.len()
            );
            return Err(lab.experiment.problem("[scenario] by", problem));
        }
        let (mut groups, mut sizes, mut small) = (Vec::new(), Vec::new(), Vec::new());
        for (value, places) in places {
            let text = attribute.labels.as_ref().map_or_else(|| value.to_string(), |labels| labels[value as usize].clone());
            let users = places.iter().map(|&place| self.of.of_row(&self.dataset.log, rows[place])).collect::<HashSet<_>>().len();
            let who = self.of.name();
            let size = format!("{text} {} rows of {users} {who}", places.len());
            if users < FEWEST_USERS {
                small.push(size);
            } else {
                sizes.push(size);
                groups.push(Group { setting: format!("{setting},{name}={text}"), places });
            }
        }
        let mut note =
            format!("{setting} by {name}: {}", if sizes.is_empty() { "no group is large enough".to_owned() } else { sizes.join(", ") });
        if !small.is_empty() {
            note += &format!("; not measured, with fewer than {FEWEST_USERS} {}: {}", self.of.name(), small.join(", "));
        }
        Ok((groups, Some(note + ".")))
    }

    /// The table of a setting and those of its groups; `measure` makes the table of a setting on some places among `rows`.
    ///
    /// # Errors
    /// Whatever `measure` reports, or too many groups.
    pub(crate) fn tables(
        &self,
        lab: &Lab<'_>,
        setting: &str,
        rows: &[u32],
        mut measure: impl FnMut(&str, &[usize]) -> Result<Outcome, ExperimentError>,
    ) -> Result<Vec<Outcome>, ExperimentError> {
        let (groups, note) = self.of(lab, setting, rows)?;
        let all: Vec<usize> = (0..rows.len()).collect();
        let mut outcomes = vec![measure(setting, &all)?];
        outcomes[0].notes.extend(note);
        for group in groups {
            let mut outcome = measure(&group.setting, &group.places)?;
            outcome.notes.extend(undefined(&group.setting, &outcome));
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

/// The tables of settings of labelled rows and those of their groups. The rows of the settings, one after the other, are those that `entrants` have
/// predicted.
///
/// # Errors
/// A metric that does not apply, or too many groups.
pub(crate) fn row_tables(
    lab: &Lab<'_>,
    source: &Source,
    grouping: &Grouping<'_>,
    scenario: &str,
    settings: &[(String, &[u32])],
    entrants: &[Entrant<f32>],
) -> Result<Vec<Outcome>, ExperimentError> {
    let (mut outcomes, mut first) = (Vec::new(), 0);
    for (setting, rows) in settings {
        outcomes.extend(grouping.tables(lab, setting, rows, |setting, places| {
            let here: Vec<u32> = places.iter().map(|&place| rows[place]).collect();
            let places: Vec<usize> = places.iter().map(|&place| first + place).collect();
            let panel =
                entrants.iter().map(|entrant| at(entrant, &places)).fold(panel(lab, source, scenario, setting, &here), Panel::enter);
            Ok(panel.on_rows(&evaluation_rows_of(grouping.of, grouping.dataset, &here, &source.domain_column)?, &lab.experiment.metrics)?)
        })?);
        first += rows.len();
    }
    Ok(outcomes)
}

/// An entrant with what it said at some places.
pub(crate) fn at(entrant: &Entrant<f32>, places: &[usize]) -> Entrant<f32> {
    let outputs = entrant.outputs.iter().map(|output| places.iter().map(|&place| output[place]).collect()).collect();
    let here = |spread: &Spread| Spread { deviations: places.iter().map(|&place| spread.deviations[place]).collect(), ..spread.clone() };
    Entrant { outputs, spreads: entrant.spreads.iter().map(here).collect(), ..entrant.clone() }
}

/// Says which metrics have no value in a group, as where its labels are all alike.
fn undefined(setting: &str, outcome: &Outcome) -> Option<String> {
    let mut names: Vec<String> =
        outcome.results.iter().filter(|r| r.value.is_none() && !r.metric.is_of_some()).map(|r| format!("`{}`", r.metric)).collect();
    names.dedup();
    (!names.is_empty()).then(|| format!("{setting}: {} can not be told from these rows.", names.join(", ")))
}
