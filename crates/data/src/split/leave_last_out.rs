//! Per user, the last row is test and the one before it validation.

use super::rule::{TEST, THREE, TRAIN, VALIDATION};
use super::{LogView, Split};
use crate::hash::sha256;

/// In time order, equal times by row. Without time by SHA-256 of `<user>:<item>`, repeated pairs by row, so that the order of the files does not choose.
/// Users with fewer than `min_rows` rows stay in training.
pub(super) fn leave_last_out(view: LogView<'_>, min_rows: usize) -> Split {
    let log = view.log;
    let (user, has_time) = (|row: u32| log.user[row as usize], log.time.len() == log.len());
    let mut order: Vec<u32> = (0..log.len() as u32).collect();
    if has_time {
        order.sort_by_key(|&row| (user(row), log.time[row as usize]));
    } else {
        order.sort_by_cached_key(|&row| (user(row), view.row_hash(row)));
    }
    let mut part = vec![TRAIN; log.len()];
    let (mut cut, mut tied) = (0, 0);
    for rows in order.chunk_by(|&a, &b| user(a) == user(b)).filter(|rows| rows.len() >= min_rows.max(1)) {
        cut += 1;
        let last = rows[rows.len() - 1];
        part[last as usize] = TEST;
        if let Some(before) = rows.len().checked_sub(2) {
            part[rows[before] as usize] = VALIDATION;
            tied += usize::from(has_time && log.time[rows[before] as usize] == log.time[last as usize]);
        }
    }
    let mut split = Split::by_row(log.len(), &THREE, |row| Some(part[row]));
    if !has_time {
        split.notes.push("The log has no time: which row of a user is left out follows from a hash of user and item.".to_owned());
    }
    if tied > 0 {
        split.notes.push(format!(
            "{tied} of {cut} users have several rows at their last time; which of these is test follows from the order of the files."
        ));
    }
    split
}

impl LogView<'_> {
    /// SHA-256 of `<user>:<item>` of a row: an order that does not depend on where the row stands.
    pub(crate) fn row_hash(&self, row: u32) -> [u8; 32] {
        let row = row as usize;
        sha256(&format!("{}:{}", self.users[self.log.user[row].at()], self.items[self.log.item[row].at()]))
    }
}
