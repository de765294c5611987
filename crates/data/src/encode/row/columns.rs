//! The values of some rows, by column.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::RowError;
use super::error::beginning;
use crate::RawValue;
use crate::nearest::nearest;

/// Values of rows by column, each name looked up once. A value of a row goes before one that all rows share.
#[derive(Clone, Debug)]
pub struct RowColumns<'v> {
    rows: usize,
    /// For each slot, the value that all rows share.
    shared: Vec<Option<&'v RawValue>>,
    /// For each slot, the value of each row; empty where no row has one.
    each: Vec<Vec<Option<&'v RawValue>>>,
}

/// Longer names are no columns, and are not compared with any.
const LONGEST: usize = 100;

impl<'v> RowColumns<'v> {
    pub(super) fn new(
        names: Arc<[String]>,
        shared: &'v BTreeMap<String, RawValue>,
        rows: impl ExactSizeIterator<Item = &'v BTreeMap<String, RawValue>>,
    ) -> Result<Self, RowError> {
        let mut columns = Self { rows: rows.len(), shared: vec![None; names.len()], each: vec![Vec::new(); names.len()] };
        merge(&names, shared, None, |slot, value| columns.shared[slot] = Some(value))?;
        let count = columns.rows;
        for (row, given) in rows.enumerate() {
            merge(&names, given, Some(row), |slot, value| {
                let values = &mut columns.each[slot];
                if values.is_empty() {
                    values.resize(count, None);
                }
                values[row] = Some(value);
            })?;
        }
        Ok(columns)
    }

    /// Columns of a value for each row.
    #[cfg(test)]
    pub(super) fn of_each(rows: usize, each: Vec<Vec<Option<&'v RawValue>>>) -> Self {
        Self { rows, shared: vec![None; each.len()], each }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn value(&self, slot: usize, row: usize) -> Option<&'v RawValue> {
        self.each[slot].get(row).copied().flatten().or(self.shared[slot])
    }

    pub(super) fn shared(&self, slot: usize) -> Option<&'v RawValue> {
        self.shared[slot]
    }

    /// Whether rows have values of their own.
    pub(super) fn is_each(&self, slot: usize) -> bool {
        !self.each[slot].is_empty()
    }
}

/// Goes through names and what is given at once: both are sorted.
fn merge<'v>(
    names: &[String],
    given: &'v BTreeMap<String, RawValue>,
    row: Option<usize>,
    mut found: impl FnMut(usize, &'v RawValue),
) -> Result<(), RowError> {
    let mut slot = 0;
    for (name, value) in given {
        while names.get(slot).is_some_and(|other| other < name) {
            slot += 1;
        }
        if names.get(slot) != Some(name) {
            let nearest = (name.len() <= LONGEST).then(|| nearest(name, names.iter().map(String::as_str))).flatten();
            return Err(RowError::UnknownColumn { column: beginning(name), row, nearest: nearest.map(str::to_owned) });
        }
        found(slot, value);
    }
    Ok(())
}
