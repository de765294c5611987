//! What scenarios without a base share whose people are new: what is known of them and what they are asked for, how fits are chosen and kept, and their tables.
//!
//! Fits say how much somebody will like each item ([`acclimate_fit::bridge::Bridge`]); a scenario says who is new, and which fits there are.

mod bench;
mod questions;
mod table;

use serde::{Deserialize, Serialize};

pub(crate) use self::bench::{Bench, chosen, points};
pub(crate) use self::questions::{Held, Newcomers, Question, Setting, rows_with};
pub(crate) use self::table::{Said, Wanted};
use crate::experiment::MethodEntry;
use crate::{Experiment, ExperimentError};

/// Rows by an attribute of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsWith {
    /// Name of the attribute of rows.
    pub attribute: String,
    /// Its values, as they are written in the log.
    pub values: Vec<String>,
}

/// Refuses what only networks are trained by.
///
/// # Errors
/// A method with such keys.
pub(crate) fn without_networks(experiment: &Experiment, entry: &MethodEntry) -> Result<(), ExperimentError> {
    if entry.train.is_empty() && entry.train_by_size.is_empty() && entry.base.is_none() {
        return Ok(());
    }
    let said = "is fitted without a network; `train`, `train_by_size` and `base` say nothing here: remove them, or give keys in `config`";
    Err(experiment.problem(format!("method `{}`", entry.label()), said))
}

/// Refuses scores from elsewhere, which nothing here would show.
///
/// # Errors
/// The first `[[entrant]]`.
pub(crate) fn no_entrants(experiment: &Experiment) -> Result<(), ExperimentError> {
    let said = "stands in no table of this scenario, where each method ranks or rates what a new person is asked for by itself; remove it";
    experiment.entrants.first().map_or(Ok(()), |entrant| Err(experiment.problem(format!("[[entrant]] `{}`", entrant.name), said)))
}

/// Refuses `[floors] only` with a name that is none of `known`.
///
/// # Errors
/// Such a name.
pub(crate) fn only_floors(experiment: &Experiment, known: &[&str]) -> Result<(), ExperimentError> {
    let problem =
        |name| experiment.problem("[floors] only", format!("names no floor `{name}` of this scenario; there are {}", known.join(", ")));
    experiment.floors.unknown(known).map_or(Ok(()), |name| Err(problem(name)))
}
