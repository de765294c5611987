//! The first linear map: a sum over slots.

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::stage::Packed;
use super::table::{Changes, Kept, Place};
use crate::check::Placed;
use crate::kernel::{Buffer, Kernels, add_rows, add_scaled, add_three, copy_rows, padded, prefetch};
use crate::{BagColumn, Columns, Plan, Source};

/// Rows that are asked for ahead of their use.
const AHEAD: usize = 4;

/// The first linear map, split into what rows share and what is their own.
#[derive(Debug)]
pub(crate) struct First {
    /// Shared, own.
    pub(super) parts: [Part; 2],
    /// The bias.
    pub(super) start: Buffer,
}

/// One part of it.
#[derive(Debug)]
pub(super) struct Part {
    /// Slots that are folded, by number.
    pub(super) folds: Vec<Fold>,
    /// Columns of the others, one after the other.
    pub(super) slots: Vec<Placed>,
    /// Their weights.
    pub(super) packed: Packed,
}

/// `E W` of a slot.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    /// Which.
    pub(super) slot: usize,
    pub(super) source: Source,
    /// What it was made of.
    pub(super) table: Weak<Vec<f32>>,
    pub(super) weight: Weak<Vec<f32>>,
    pub(super) gain: Option<Weak<Vec<f32>>>,
    /// `[rows, d]`, rows `padded(d)` apart.
    pub(super) values: Arc<Buffer>,
    /// The same of changed rows.
    pub(super) changed: Option<Folded>,
}

/// Changed rows, multiplied.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    pub(super) changes: Arc<Changes>,
    pub(super) values: Arc<Buffer>,
}

impl Fold {
    #[inline]
    fn row(&self, code: u32, d: usize) -> &[f32] {
        let (values, row) = match &self.changed {
            None => (&self.values, code as usize),
            Some(changed) => match changed.changes.place(code) {
                Place::Kept(row) => (&self.values, row),
                Place::Changed(row) => (&changed.values, row),
            },
        };
        &values[row * padded(d)..][..d]
    }
}

impl Part {
    /// Where the sum of some rows begins: `z = base + Σ folded`.
    ///
    /// # Shapes
    /// - `base`: a row `[d]`
    /// - `z` `[rows, d]`, rows `padded(d)` apart
    /// - `line`: room for a row
    pub(super) fn begin(&self, kernels: Kernels, columns: &Columns, rows: Range<usize>, base: &[f32], z: &mut [f32], line: &mut [f32]) {
        let d = base.len();
        let end = rows.end;
        let field = |fold: &Fold| match fold.source {
            Source::Field { column, .. } => Some(column),
            Source::Bag { .. } | Source::Number { .. } => None,
        };
        for (row, z) in rows.zip(z.chunks_exact_mut(padded(d))) {
            let z = &mut z[..d];
            let rest = match &self.folds[..] {
                [a, b, rest @ ..] if let (Some(i), Some(j)) = (field(a), field(b)) => {
                    add_three(kernels, z, base, a.row(code(columns, row, i), d), b.row(code(columns, row, j), d));
                    rest
                }
                [a, rest @ ..] if let Some(i) = field(a) => {
                    add_rows(kernels, z, base, a.row(code(columns, row, i), d));
                    rest
                }
                rest => {
                    z.copy_from_slice(base);
                    rest
                }
            };
            for fold in rest {
                match fold.source {
                    Source::Field { column, .. } => add_scaled(kernels, z, fold.row(code(columns, row, column), d), 1.0),
                    Source::Bag { column, .. } => {
                        let codes = list(&columns.bags[column], row);
                        if codes.is_empty() {
                            continue;
                        }
                        let line = &mut line[..d];
                        line.fill(0.0);
                        for &code in codes {
                            add_scaled(kernels, line, fold.row(code, d), 1.0);
                        }
                        add_scaled(kernels, z, line, 1.0 / codes.len() as f32);
                    }
                    Source::Number { .. } => {}
                }
            }
            if row + AHEAD < end {
                self.expect_folds(columns, row + AHEAD, d, true);
            }
        }
    }

    /// Asks for the folded values of a row that comes next.
    fn expect_folds(&self, columns: &Columns, row: usize, d: usize, soon: bool) {
        for fold in &self.folds {
            if let Source::Field { column, .. } = fold.source {
                prefetch(fold.row(code(columns, row, column), d), soon);
            }
        }
    }
}

impl Plan {
    /// Gathers the columns of a slot of some rows.
    ///
    /// # Shapes
    /// - `out` `[rows, ...]`, rows `stride` apart; the slot's columns begin at `at`
    pub(super) fn gather(&self, slot: &Placed, columns: &Columns, rows: Range<usize>, out: &mut [f32], stride: usize, at: usize) {
        let d = slot.width;
        match slot.source {
            Source::Field { column, table } => {
                let codes = rows.map(|row| code(columns, row, column));
                match &self.tables[table] {
                    Kept { values, changes: None, .. } => copy_rows(self.kernels, values, d, codes, &mut out[at..], stride),
                    table => codes.zip(out[at..].chunks_mut(stride)).for_each(|(code, out)| copied(table.row(code), out)),
                }
            }
            Source::Number { column } => {
                for (row, out) in rows.zip(out.chunks_mut(stride)) {
                    out[at] = columns.numeric[row * columns.numbers + column];
                }
            }
            Source::Bag { column, table } => {
                let table = &self.tables[table];
                for (row, out) in rows.zip(out.chunks_mut(stride)) {
                    let to = &mut out[at..at + d];
                    to.fill(0.0);
                    let codes = list(&columns.bags[column], row);
                    for &code in codes {
                        to.iter_mut().zip(table.row(code)).for_each(|(sum, value)| *sum += value);
                    }
                    if !codes.is_empty() {
                        let factor = 1.0 / codes.len() as f32;
                        to.iter_mut().for_each(|sum| *sum *= factor);
                    }
                }
            }
        }
    }

    /// Asks for the embeddings and folded values of rows that come next.
    pub(super) fn expect(&self, columns: &Columns, rows: Range<usize>) {
        let part = &self.first.parts[1];
        for slot in &part.slots {
            if let Source::Field { column, table } = slot.source {
                let table = &self.tables[table];
                for row in rows.clone() {
                    prefetch(table.row(code(columns, row, column)), true);
                }
            }
        }
        rows.for_each(|row| part.expect_folds(columns, row, self.stages[0].d_out, false));
    }
}

/// A row where it belongs.
#[inline]
fn copied(row: &[f32], out: &mut [f32]) {
    // The usual width is one known beforehand: a copy without a call.
    match row.as_array::<16>() {
        Some(row) => out[..16].copy_from_slice(row),
        None => out[..row.len()].copy_from_slice(row),
    }
}

fn code(columns: &Columns, row: usize, column: usize) -> u32 {
    columns.codes[row * columns.fields + column]
}

fn list(bag: &BagColumn, row: usize) -> &[u32] {
    &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
}
