//! Splitting rows over threads so that the result does not depend on how many threads there are.
//!
//! The split follows from the number of rows alone; each part is computed serially, and what has to be summed over parts
//! is summed in their order.

use std::mem::MaybeUninit;

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

/// A buffer of `total` rows, built part by part on all threads of the current pool: every row starts as a copy of `start`, then
/// `work(first_row, rows of the part)` goes over it while it is in cache.
///
/// Returns the buffer and what `work` returned, in the order of the parts.
pub(super) fn build_parts<R: Send>(
    total: usize,
    rows: usize,
    start: &[f32],
    work: impl Fn(usize, &mut [f32]) -> R + Sync,
) -> (Vec<f32>, Vec<R>) {
    let len = total * start.len();
    let size = (rows * start.len()).max(1);
    let mut values = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    let run = |(part, chunk): (usize, &mut [MaybeUninit<f32>])| work(part * rows, fill(chunk, start));
    let results = if rayon::current_num_threads() == 1 || len <= size {
        spare.chunks_mut(size).enumerate().map(run).collect()
    } else {
        spare.par_chunks_mut(size).enumerate().map(run).collect()
    };
    // SAFETY: the chunks cover the first `len` values, and `fill` has initialised each of them.
    #[allow(unsafe_code)]
    unsafe {
        values.set_len(len);
    }
    (values, results)
}

/// Goes over a buffer of rows of width `d` part by part on all threads of the current pool: `work(first_row, rows of the part)`.
pub(super) fn over_parts(values: &mut [f32], d: usize, rows: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let size = (rows * d).max(1);
    if rayon::current_num_threads() == 1 || values.len() <= size {
        values.chunks_mut(size).enumerate().for_each(|(part, chunk)| work(part * rows, chunk));
    } else {
        values.par_chunks_mut(size).enumerate().for_each(|(part, chunk)| work(part * rows, chunk));
    }
}

/// Initialises a whole number of rows with copies of `row`.
fn fill<'a>(chunk: &'a mut [MaybeUninit<f32>], row: &[f32]) -> &'a mut [f32] {
    assert_eq!(chunk.len() % row.len(), 0, "whole rows");
    for slot in chunk.chunks_exact_mut(row.len()) {
        slot.write_copy_of_slice(row);
    }
    // SAFETY: the rows written above cover the chunk.
    #[allow(unsafe_code)]
    unsafe {
        chunk.assume_init_mut()
    }
}

/// Like [`build_parts`] for work that builds no rows: `work(first_row, end_row)`.
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
