//! Weights in the order in which they are read.

use std::ops::Range;

use super::gemm::tile_columns;
use super::{Buffer, Kernels};

/// A matrix `[depth, columns]` cut into panels of as many columns as a register block has, each row-major, the last one as narrow as whole
/// vectors allow, with zeros beyond the last column.
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
        let depth = picks.iter().map(ExactSizeIterator::len).sum();
        let (tile, lanes) = tile_columns(kernels.isa());
        let mut values = Buffer::zeros(depth * columns.next_multiple_of(lanes));
        let mut panel = 0;
        for first in (0..columns).step_by(tile) {
            let taken = tile.min(columns - first);
            let width = taken.next_multiple_of(lanes);
            for (p, row) in picks.iter().cloned().flatten().enumerate() {
                let to = &mut values[panel + p * width..][..taken];
                to.copy_from_slice(&weight[row * columns + first..][..taken]);
                if let Some(gain) = gain {
                    to.iter_mut().zip(&gain[first..]).for_each(|(value, gain)| *value *= gain);
                }
            }
            panel += depth * width;
        }
        Self { values, depth, columns, kernels }
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
