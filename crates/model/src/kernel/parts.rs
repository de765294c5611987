//! Splitting rows over threads so that the result does not depend on how many threads there are.
//!
//! The split follows from the number of rows alone; each part is computed serially, and what has to be summed over parts
//! is summed in their order.

use rayon::prelude::*;

/// Rows per part that keep the activations of a layer of usual width inside the second-level cache.
const ROWS: usize = 512;

/// Rows per part for `rows` rows that come in units (sequences) of `unit` rows: a multiple of `unit`.
pub(super) fn rows_per_part(rows: usize, unit: usize) -> usize {
    let unit = unit.max(1);
    // At most 16 parts, since each may carry its own sum of a weight gradient.
    let target = ROWS.max(rows.div_ceil(16));
    (target / unit).max(1) * unit
}

/// Calls `work(first_row, rows of output)` for each part of `output`, on all threads of the current pool.
///
/// Returns the results in the order of the parts. `width` is the number of values in a row of `output`.
pub(super) fn for_each_part<R: Send>(
    output: &mut [f32],
    width: usize,
    rows: usize,
    work: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> Vec<R> {
    let size = (rows * width).max(1);
    if rayon::current_num_threads() == 1 || output.len() <= size {
        return output.chunks_mut(size).enumerate().map(|(part, chunk)| work(part * rows, chunk)).collect();
    }
    output.par_chunks_mut(size).enumerate().map(|(part, chunk)| work(part * rows, chunk)).collect()
}

/// Like [`for_each_part`] for work that writes no rows: `work(first_row, end_row)`.
pub(super) fn map_parts<R: Send>(total: usize, rows: usize, work: impl Fn(usize, usize) -> R + Sync) -> Vec<R> {
    let parts = total.div_ceil(rows.max(1));
    let run = |part: usize| work(part * rows, ((part + 1) * rows).min(total));
    if rayon::current_num_threads() == 1 || parts <= 1 {
        (0..parts).map(run).collect()
    } else {
        (0..parts).into_par_iter().map(run).collect()
    }
}

/// The sum of equally long buffers, in order; zeros of length `len` when there is none.
pub(super) fn sum_parts(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_else(|| vec![0.0; len]);
    for part in parts {
        for (s, p) in sum.iter_mut().zip(part) {
            *s += p;
        }
    }
    sum
}
