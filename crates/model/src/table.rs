//! Embedding tables: plain host rows, gathered into tensors outside autodiff and updated row by row.

use crate::{Init, kernel, param::stream};

/// Name, size and start of an embedding table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSpec {
    /// Name: the vocabulary it embeds.
    pub name: String,
    /// Number of rows, row 0 for the unknown included.
    pub rows: usize,
    /// Width.
    pub d: usize,
    /// How a row starts.
    pub init: Init,
    /// Whether row 0 is fixed at zero (padding) instead of trained (unknown).
    pub zero_row: bool,
    /// Last values of a row that weight decay spares: the bias of a head's row.
    pub spared: usize,
}

/// Values of an embedding table, row-major `[rows, d]`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// Width.
    pub d: usize,
    /// Values.
    pub values: Vec<f32>,
}

impl Table {
    /// A table with rows drawn from the stream of its name.
    #[must_use]
    pub fn init(spec: &TableSpec, seed: u64) -> Self {
        let mut values = spec.init.draw([1, spec.rows, spec.d], &mut stream(seed, &spec.name));
        if spec.zero_row {
            values[..spec.d].fill(0.0);
        }
        Self { d: spec.d, values }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.d.max(1)
    }

    /// Asks for the memory of a row ahead of its use.
    #[inline]
    pub(crate) fn prefetch(&self, row: u32) {
        let at = row as usize * self.d;
        kernel::prefetch(&self.values, at);
        kernel::prefetch(&self.values, at + self.d - 1);
    }

    /// One row.
    #[must_use]
    pub fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.d..][..self.d]
    }

    /// Adds rows up to `rows`, each a copy of row 0: an id that the table has never seen scores like the unknown until it is trained.
    pub fn grow(&mut self, rows: usize) {
        let unknown = self.row(0).to_vec();
        while self.rows() < rows {
            self.values.extend_from_slice(&unknown);
        }
    }
}

/// Gradients of some rows of one table; repeated rows are summed.
#[derive(Clone, Debug, Default)]
pub struct RowGradients {
    d: usize,
    slot: Vec<u32>,
    rows: Vec<u32>,
    sums: Vec<f32>,
}

const NO_SLOT: u32 = u32::MAX;

impl RowGradients {
    /// An empty collection for a table of `rows` rows of width `d`.
    #[must_use]
    pub fn new(rows: usize, d: usize) -> Self {
        Self { d, slot: vec![NO_SLOT; rows], rows: Vec::new(), sums: Vec::new() }
    }

    /// Adds `scale * gradient` to the sum of a row.
    ///
    /// # Panics
    /// Panics if `row` is beyond the table or `gradient` is shorter than its width.
    #[inline]
    pub fn add(&mut self, row: u32, gradient: &[f32], scale: f32) {
        let slot = &mut self.slot[row as usize];
        if *slot == NO_SLOT {
            *slot = self.rows.len() as u32;
            self.rows.push(row);
            self.sums.resize(self.sums.len() + self.d, 0.0);
        }
        let sum = &mut self.sums[*slot as usize * self.d..][..self.d];
        // Blocks of a fixed size become vector instructions; usual widths are multiples of 16.
        let ((sums, rest), (blocks, tail)) = (sum.as_chunks_mut::<16>(), gradient[..self.d].as_chunks::<16>());
        for (s, g) in sums.iter_mut().zip(blocks) {
            s.iter_mut().zip(g).for_each(|(s, g)| *s += scale * g);
        }
        rest.iter_mut().zip(tail).for_each(|(s, g)| *s += scale * g);
    }

    /// Touched rows with their summed gradients, in order of first touch.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.rows.iter().copied().zip(self.sums.chunks_exact(self.d.max(1)))
    }

    /// Touched rows in order of first touch.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }

    /// Their summed gradients, `[touched, d]`.
    #[must_use]
    pub fn sums(&self) -> &[f32] {
        &self.sums
    }

    /// The same, to scale or clip.
    pub fn sums_mut(&mut self) -> &mut [f32] {
        &mut self.sums
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        for &row in &self.rows {
            self.slot[row as usize] = NO_SLOT;
        }
        self.rows.clear();
        self.sums.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_rows_are_summed_and_clear_forgets() {
        let mut g = RowGradients::new(5, 2);
        g.add(3, &[1.0, 2.0], 1.0);
        g.add(0, &[1.0, 1.0], 0.5);
        g.add(3, &[10.0, 20.0], 1.0);
        assert_eq!(g.iter().collect::<Vec<_>>(), [(3, &[11.0, 22.0][..]), (0, &[0.5, 0.5][..])]);
        g.clear();
        g.add(3, &[1.0, 1.0], 1.0);
        assert_eq!(g.iter().collect::<Vec<_>>(), [(3, &[1.0, 1.0][..])]);
    }

    #[test]
    fn grown_rows_equal_the_unknown_row() {
        let spec = TableSpec { name: "t".into(), rows: 3, d: 2, init: Init::Normal(1.0), zero_row: false, spared: 0 };
        let before = Table::init(&spec, 1);
        let mut table = before.clone();
        table.grow(5);
        assert_eq!(table.values[..6], before.values[..]);
        assert_eq!((table.row(3), table.row(4)), (before.row(0), before.row(0)));
    }
}
