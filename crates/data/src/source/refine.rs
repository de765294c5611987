//! What is done to a cell before anything reads it: columns from folder names, missing markers, columns of whole numbers.

use super::cell::{Cell, integer_of};
use super::{DataFile, Row, Wanted};
use crate::config::{Decimal, FileKeys};
use crate::error::{Expected, RowFault};

/// Where the wanted columns of a file come from.
pub(super) struct Plan<'a> {
    /// Columns to read from the file itself.
    pub(super) columns: Vec<&'a str>,
    /// What to do beyond that, if anything.
    pub(super) refinement: Option<Refinement<'a>>,
}

/// What is done to the cells of a file.
pub(super) struct Refinement<'a> {
    slots: Vec<Slot<'a>>,
    null_values: &'a [String],
}

struct Slot<'a> {
    name: &'a str,
    source: Source<'a>,
    is_integer: bool,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// Column of [`Plan::columns`].
    File(usize),
    /// The one value that the names of the file's folders give.
    Folder(&'a str),
}

impl<'a> Plan<'a> {
    /// Plans the reading of a file with this header. The error is a column that neither the file nor its folders have.
    pub(super) fn new(wanted: &[Wanted<'a>], header: &[String], file: &'a DataFile, keys: &FileKeys<'a>) -> Result<Self, &'a str> {
        let has = |column: &str| header.iter().any(|name| name == column);
        let in_folder = |column: &str| file.folders.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str());
        if let Some(column) = keys.integer_columns.iter().find(|column| !has(column) && in_folder(column).is_none()) {
            return Err(column);
        }
        let (mut columns, mut slots) = (Vec::new(), Vec::new());
        for &Wanted { name, may_be_list } in wanted {
            let source = match in_folder(name) {
                Some(value) if !has(name) => Source::Folder(value),
                _ => {
                    columns.push(name);
                    Source::File(columns.len() - 1)
                }
            };
            slots.push(Slot { name, source, is_integer: !may_be_list && keys.integer_columns.iter().any(|column| column == name) });
        }
        let is_needed =
            !keys.null_values.is_empty() || slots.iter().any(|slot| slot.is_integer || matches!(slot.source, Source::Folder(_)));
        Ok(Self { columns, refinement: is_needed.then_some(Refinement { slots, null_values: keys.null_values }) })
    }
}

/// A row of which the cells are refined.
pub(super) struct Refined<'a> {
    pub(super) row: &'a dyn Row,
    pub(super) refinement: &'a Refinement<'a>,
}

impl Row for Refined<'_> {
    fn cell(&self, column: usize) -> Result<Cell<'_>, RowFault> {
        let Refinement { slots, null_values } = self.refinement;
        let slot = &slots[column];
        let cell = match slot.source {
            Source::File(column) => self.row.cell(column)?,
            Source::Folder("") => Cell::Missing,
            Source::Folder(value) => Cell::Text(value, Decimal::Point),
        };
        match cell {
            Cell::Text(text, _) if null_values.iter().any(|null| null == text) => Ok(Cell::Missing),
            cell if slot.is_integer => integer_of(&cell).ok_or_else(|| cell.wrong(slot.name, Expected::Integer)),
            cell => Ok(cell),
        }
    }
}
