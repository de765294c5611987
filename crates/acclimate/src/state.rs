//! What rows know of the rows before them, in an experiment and in a saved base.

use acclimate_data::{Known, Log, RandomStream};
use serde::{Deserialize, Serialize};

use crate::{ExperimentError, Source};

/// Which rows are known to the features that are made of earlier rows (histories and statistics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// Training rows only: what is known ends with the training part, as in published protocols.
    #[default]
    Frozen,
    /// As frozen, and a training row knows only what was as old for it as it will be for a measured row: each takes its age from one of those, by hash.
    Aged,
    /// Every row of an earlier time, whatever its part: what is known moves on, as on a server.
    Moving,
}

/// Rows of a log by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Roles<'a> {
    /// Rows to learn from.
    pub train: &'a [u32],
    /// Rows to measure on.
    pub measured: &'a [u32],
}

impl StateMode {
    /// The rows that are known. Rows that `is_hidden` says are not: of a domain, say, that nobody has seen.
    #[must_use]
    pub fn known(self, log: &Log, roles: Roles<'_>, is_hidden: impl Fn(u32) -> bool) -> Known {
        let open = |rows: &mut dyn Iterator<Item = u32>| rows.filter(|&row| !is_hidden(row)).collect::<Vec<_>>();
        let total = log.len();
        let rows = match self {
            Self::Moving => open(&mut (0..total as u32)),
            Self::Frozen | Self::Aged => open(&mut roles.train.iter().copied()),
        };
        if self == Self::Moving && rows.len() == total {
            return Known::all();
        }
        let known = Known::only(&rows, total);
        if self != Self::Aged || log.time.is_empty() {
            return known;
        }
        let time = |row: &u32| log.time[*row as usize];
        let end = roles.train.iter().map(time).max().unwrap_or(0);
        let ages: Vec<i64> = roles.measured.iter().map(|row| (time(row) - end).max(0)).collect();
        if ages.is_empty() {
            return known;
        }
        let age = |&row: &u32| (row, ages[RandomStream::new(RandomStream::seed_for(0, "ages"), 0, u64::from(row)).position(ages.len())]);
        known.stale(total, roles.train.iter().map(age))
    }
}

impl Source {
    /// The same rows, where those of a domain are known only if they are among `few`: all that is known of a new domain.
    ///
    /// # Errors
    /// A history that is too large.
    pub fn knowing_few(&self, dataset: acclimate_data::Dataset, domains: &[bool], few: &[u32]) -> Result<acclimate_data::Dataset, ExperimentError> {
        if !dataset.has_state() {
            return Ok(dataset);
        }
        let (train, measured) = (self.part("train")?, self.measured());
        let mut is_few = vec![false; dataset.log.len()];
        few.iter().for_each(|&row| is_few[row as usize] = true);
        let log = dataset.log.clone();
        let is_hidden = |row: u32| domains[log.domain[row as usize].at()] && !is_few[row as usize];
        Ok(dataset.knowing(&self.state.known(&log, Roles { train: &train, measured: &measured }, is_hidden))?)
    }
}
