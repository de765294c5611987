//! What is read of rows: the codes of features, as columns of sparse rows.

use acclimate_data::{FieldSchema, Schema, Side};

use crate::Unlabelled;
use crate::adaptation::Answered;

/// Rows of its vocabulary up to which a feature is narrow.
const NARROW: usize = 24;
/// Items that a code of a wider feature needs.
pub(crate) const LEAST: usize = 3;

/// Where a feature's codes begin among the columns, and how many there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// Place among the categorical features, or the multi-valued ones.
    feature: usize,
    is_bag: bool,
    first: u32,
    codes: u32,
    value: f64,
}

/// The columns of features, each with its place, whether it is multi-valued, the rows of its vocabulary, and whether it is wide; they begin at `first`.
pub(crate) fn columns(list: &[(usize, bool, usize, bool)], first: u32) -> Vec<Column> {
    let mut next = first;
    let column = |&(feature, is_bag, rows, is_wide): &(usize, bool, usize, bool)| {
        let codes = rows as u32;
        next += codes;
        Column { feature, is_bag, first: next - codes, codes, value: if is_wide { 0.5 } else { 1.0 } }
    };
    list.iter().map(column).collect()
}

/// Where columns end that begin at `first`.
pub(crate) fn width(columns: &[Column], first: u32) -> usize {
    columns.last().map_or(first, |c| c.first + c.codes) as usize
}

/// The place of the id of a side among the categorical features: the one called so, else that with the most values.
pub(crate) fn id_of(schema: &Schema, side: Side, named: Option<&String>) -> Option<usize> {
    let of_side = schema.categorical.iter().enumerate().filter(|(_, f)| schema.side(&f.name) == side);
    match named {
        Some(name) => schema.categorical.iter().position(|f| f.name == *name),
        None => of_side
            .max_by_key(|(place, f)| (schema.vocabularies[f.vocabulary.at()].rows, std::cmp::Reverse(*place)))
            .map(|(place, _)| place),
    }
}

/// Features of a side but its id, narrow ones or wide ones, as [`columns`] wants them.
pub(crate) fn of_side(schema: &Schema, side: Side, id: Option<usize>, is_wide: bool) -> Vec<(usize, bool, usize, bool)> {
    let rows = |f: &FieldSchema| schema.vocabularies[f.vocabulary.at()].rows;
    let codes = schema.categorical.iter().enumerate().map(|(i, f)| (i, false, f));
    let bags = schema.bags.iter().enumerate().map(|(i, f)| (i, true, f));
    let wanted = |&(place, is_bag, f): &(usize, bool, &FieldSchema)| {
        schema.side(&f.name) == side && (is_bag || Some(place) != id) && (rows(f) > NARROW) == is_wide
    };
    codes.chain(bags).filter(wanted).map(|(place, is_bag, f)| (place, is_bag, rows(f), is_wide)).collect()
}

/// Rows that are read: codes of single-valued features and of multi-valued ones.
pub(crate) trait Readable {
    fn code(&self, row: usize, feature: usize) -> u32;
    fn bag(&self, row: usize, feature: usize) -> &[u32];
}

impl Readable for Unlabelled<'_> {
    fn code(&self, row: usize, feature: usize) -> u32 {
        Unlabelled::code(self, row, feature)
    }

    fn bag(&self, row: usize, feature: usize) -> &[u32] {
        Unlabelled::bag(self, row, feature)
    }
}

impl Readable for Answered<'_> {
    fn code(&self, row: usize, feature: usize) -> u32 {
        self.codes[row * self.fields + feature]
    }

    fn bag(&self, row: usize, feature: usize) -> &[u32] {
        let bag = &self.bags[feature];
        &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
    }
}

/// The columns of a row, the unknown left out.
pub(crate) fn read(rows: &impl Readable, row: usize, columns: &[Column]) -> Vec<(u32, f64)> {
    let mut found = Vec::new();
    for column in columns {
        let mut add = |code: u32| {
            if code > 0 && code < column.codes {
                found.push((column.first + code, column.value));
            }
        };
        match column.is_bag {
            true => rows.bag(row, column.feature).iter().copied().for_each(&mut add),
            false => add(rows.code(row, column.feature)),
        }
    }
    found
}

/// Columns and values apart.
pub(crate) fn split(row: &[(u32, f64)]) -> (Vec<u32>, Vec<f64>) {
    row.iter().copied().unzip()
}
