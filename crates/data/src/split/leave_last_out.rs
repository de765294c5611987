//! Per user, the last row is test and the one before it validation.

use serde::{Deserialize, Serialize};

use super::rule::{TEST, THREE, TRAIN, VALIDATION};
use super::values::find;
use super::{LogView, Split, SplitError};
use crate::Side;
use crate::hash::sha256;

/// Settings of the split `leave_last_out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveLastOut {
    /// Users with fewer rows stay in training as a whole; the default 3 leaves every tested user a training row.
    pub min_rows: usize,
    /// Domains whose rows are counted and left out; default all. A user's rows of other domains that come after the validation row are in no part.
    pub domains: Vec<String>,
    /// Attribute of rows that orders a user's rows; default time.
    pub position: Option<String>,
}

impl Default for LeaveLastOut {
    fn default() -> Self {
        Self { min_rows: 3, domains: Vec::new(), position: None }
    }
}

impl LeaveLastOut {
    /// In order of position or time, equal ones by row. Without either by SHA-256 of `<user>:<item>`, repeated pairs by row, so that the order of the files does
    /// not choose.
    pub(super) fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        let log = view.log;
        let counted = view.marked(&self.domains)?;
        let is_counted = |row: u32| self.domains.is_empty() || counted[log.domain[row as usize].at()];
        let position = self.position.as_ref().map(|name| find(view, name)).transpose()?;
        if position.is_some_and(|attribute| attribute.side != Side::Row) {
            return Err(SplitError::Setting { setting: "position", problem: "must be an attribute of rows" });
        }
        let (user, has_time) = (|row: u32| log.user[row as usize], log.time.len() == log.len());
        let place = position.map(|attribute| &attribute.values[..]).or(has_time.then_some(&log.time[..]));
        let mut order: Vec<u32> = (0..log.len() as u32).collect();
        match place {
            Some(place) => order.sort_by_key(|&row| (user(row), place[row as usize])),
            None => order.sort_by_cached_key(|&row| (user(row), view.row_hash(row))),
        }
        let mut part = vec![Some(TRAIN); log.len()];
        let (mut cut, mut tied) = (0, 0);
        for rows in order.chunk_by(|&a, &b| user(a) == user(b)) {
            let at: Vec<usize> = (0..rows.len()).filter(|&i| is_counted(rows[i])).collect();
            if at.len() < self.min_rows.max(1) {
                continue;
            }
            cut += 1;
            let (last, before) = (at[at.len() - 1], at.len().checked_sub(2).map(|i| at[i]));
            rows[before.unwrap_or(last)..].iter().for_each(|&row| part[row as usize] = None);
            part[rows[last] as usize] = Some(TEST);
            if let Some(before) = before {
                part[rows[before] as usize] = Some(VALIDATION);
                tied += usize::from(place.is_some_and(|place| place[rows[before] as usize] == place[rows[last] as usize]));
            }
        }
        let mut split = Split::by_row(log.len(), &THREE, |row| part[row]);
        if place.is_none() {
            split.notes.push("The log has no time: which row of a user is left out follows from a hash of user and item.".to_owned());
        }
        if tied > 0 {
            let what = if position.is_some() { "position" } else { "time" };
            split.notes.push(format!(
                "{tied} of {cut} users have several rows at their last {what}; which of these is test follows from the order of the files."
            ));
        }
        if split.left_out() > 0 {
            let out = split.left_out();
            split.notes.push(format!("{out} rows of other domains come after their user's validation row, and are in no part."));
        }
        Ok(split)
    }
}

impl LogView<'_> {
    /// Of each domain, whether it is named; all where no name is given.
    pub(super) fn marked(&self, names: &[String]) -> Result<Vec<bool>, SplitError> {
        let mut marked = vec![names.is_empty(); self.domains.len()];
        for domain in names {
            let at = self.domains.iter().position(|name| name == domain);
            let unknown = || SplitError::UnknownDomain { domain: domain.clone(), known: self.domains.to_vec() };
            marked[at.ok_or_else(unknown)?] = true;
        }
        Ok(marked)
    }

    /// SHA-256 of `<user>:<item>` of a row: an order that does not depend on where the row stands.
    pub(crate) fn row_hash(&self, row: u32) -> [u8; 32] {
        let row = row as usize;
        sha256(&format!("{}:{}", self.users[self.log.user[row].at()], self.items[self.log.item[row].at()]))
    }
}
