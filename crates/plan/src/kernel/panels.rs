//! Weights in the order in which they are read.

use std::ops::Range;

use super::gemm::{pair, tile_columns};
use super::{Buffer, Kernels};
use crate::Precision;

/// A matrix `[depth, columns]` cut into panels of as many columns as a register block has, each row-major, the last one as narrow as whole
/// vectors allow, with zeros beyond the last column; of half the bits, two rows lie where one does.
#[derive(Debug)]
pub(crate) struct Panels {
    pub(super) values: Buffer,
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) kernels: Kernels,
}

impl Panels {
    /// The rows `picks` of a row-major matrix with that many `columns`, one range after the other, each column times its gain.
    pub(crate) fn pack(kernels: Kernels, weight: &[f32], columns: usize, picks: &[Range<usize>], gain: Option<&[f32]>) -> Self {
        let (tile, lanes) = tile_columns(kernels.isa());
        let rows: Vec<usize> = picks.iter().cloned().flatten().collect();
        let depth = rows.len();
        let value = |row: usize, column: usize| weight[row * columns + column] * gain.map_or(1.0, |gain| gain[column]);
        // A row of the panel, or two of half the bits.
        let step = if kernels.precision() == Precision::Bf16 { 2 } else { 1 };
        let deep = depth.div_ceil(step);
        let mut values = Buffer::zeros(deep * columns.next_multiple_of(lanes));
        let mut panel = 0;
        for first in (0..columns).step_by(tile) {
            let taken = tile.min(columns - first);
            let width = taken.next_multiple_of(lanes);
            for (p, rows) in rows.chunks(step).enumerate() {
                for (column, to) in (first..).zip(&mut values[panel + p * width..][..taken]) {
                    *to = match *rows {
                        [upper, lower] => pair(value(upper, column), value(lower, column)),
                        [upper] if step == 2 => pair(value(upper, column), 0.0),
                        [row] => value(row, column),
                        _ => continue,
                    };
                }
            }
            panel += deep * width;
        }
        Self { values, depth, columns, kernels }
    }

    /// Whether two rows lie where one does.
    pub(super) fn pairs(&self) -> bool {
        self.kernels.precision() == Precision::Bf16
    }

    /// Number of rows.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// Number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> usize {
        self.values.bytes()
    }
}
