//! Memory of a thread that scores.

use super::{BLOCK, Plan};
use crate::kernel::{Buffer, padded};

/// Memory that grows to what the largest plan and batch need and is used again: scoring allocates nothing after that.
#[derive(Debug, Default)]
pub struct Scratch {
    /// What the rows of a query share of the first layer: `[Q, d]`.
    pub(super) shared: Buffer,
    /// Columns that the first layer multiplies: `[BLOCK, K]`.
    pub(super) columns: Buffer,
    /// Whole inputs: `[BLOCK, width]`.
    pub(super) inputs: Buffer,
    /// The input of a layer, `[BLOCK, d_in]`, and its output.
    pub(super) here: Buffer,
    pub(super) there: Buffer,
    /// Inside a branch, and what it adds.
    pub(super) inner: Buffer,
    pub(super) beside: Buffer,
    /// Rows in half the bits.
    pub(super) room: Buffer,
    /// One row.
    pub(super) line: Buffer,
    /// The rows of the block, and of the next one.
    pub(super) block: Vec<Segment>,
    pub(super) following: Vec<Segment>,
}

/// Rows of a block that belong to one query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) query: usize,
    /// First row in the query.
    pub(super) from: usize,
    /// First row in the block.
    pub(super) at: usize,
    pub(super) rows: usize,
}

/// How large the parts of a [`Scratch`] must be for a plan, as widths of rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Widths {
    pub(super) columns: usize,
    pub(super) inputs: usize,
    pub(super) layer: usize,
    pub(super) inner: usize,
    /// Half of the widest row that is multiplied in half the bits.
    pub(super) pairs: usize,
}

impl Scratch {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let buffers =
            [&self.shared, &self.columns, &self.inputs, &self.here, &self.there, &self.inner, &self.beside, &self.room, &self.line];
        let segments = (self.block.capacity() + self.following.capacity()) * size_of::<Segment>();
        buffers.into_iter().map(Buffer::bytes).sum::<usize>() + segments
    }

    /// Makes room for a plan and a number of queries.
    pub(super) fn fit(&mut self, plan: &Plan, queries: usize) {
        let widths = plan.widths();
        self.shared.grow(queries * padded(plan.stages[0].d_out));
        self.columns.grow(BLOCK * padded(widths.columns));
        self.inputs.grow(BLOCK * padded(widths.inputs));
        self.here.grow(BLOCK * padded(widths.layer));
        self.there.grow(BLOCK * padded(widths.layer));
        self.inner.grow(BLOCK * padded(widths.inner));
        self.beside.grow(BLOCK * padded(widths.layer));
        self.room.grow(BLOCK * widths.pairs);
        self.line.grow(padded(widths.layer));
        for segments in [&mut self.block, &mut self.following] {
            segments.clear();
            segments.reserve(BLOCK);
        }
    }
}
