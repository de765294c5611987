//! `out += lhs * rhs` for tall, narrow matrices.
//!
//! With AVX-512 a block of 6 x 64 results stays in registers while it walks along the inner dimension. A block of a wide
//! right side that many rows read is copied first, since rows that are a power of two apart fall on the same few sets of
//! the first-level cache; elsewhere it is read in place.
//! Elsewhere the `gemm` crate does the work. Both give the same bytes on every run and for any number of threads, as each
//! call is serial.

/// A matrix read through two strides, so that a transpose costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `width` values one after the other.
    pub(super) fn rows(data: &'a [f32], width: usize) -> Self {
        View { data, row_stride: width, col_stride: 1 }
    }

    /// The transpose of [`View::rows`].
    pub(super) fn columns(data: &'a [f32], width: usize) -> Self {
        View { data, row_stride: 1, col_stride: width }
    }
}

/// `out += lhs * rhs`.
///
/// # Shapes
/// - `lhs` `[m, k]`
/// - `rhs` `[k, n]`, row-major
/// - `out` `[m, n]`, row-major; `m` follows from its length
pub(super) fn matmul_add(lhs: View<'_>, rhs: &[f32], out: &mut [f32], k: usize, n: usize) {
    if n == 0 || k == 0 || out.is_empty() {
        return;
    }
    let m = out.len() / n;
    assert_eq!(out.len(), m * n, "whole rows");
    assert!((m - 1) * lhs.row_stride + (k - 1) * lhs.col_stride < lhs.data.len());
    assert!(k * n <= rhs.len());
    #[cfg(target_arch = "x86_64")]
    if super::simd::has_avx512() {
        // SAFETY: the features were just detected; the assertions above bound every index.
        #[allow(unsafe_code)]
        unsafe {
            avx512::matmul_add(lhs, rhs, out, [m, n, k]);
        }
        return;
    }
    portable(lhs, rhs, out, [m, n, k]);
}

/// The transpose of `[rows, cols]`, row-major.
pub(super) fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * cols];
    for (r, row) in values.chunks_exact(cols.max(1)).take(rows).enumerate() {
        for (c, &value) in row.iter().enumerate() {
            out[c * rows + r] = value;
        }
    }
    out
}

/// The same product through the `gemm` crate, which knows AVX2, NEON and plain code.
fn portable(lhs: View<'_>, rhs: &[f32], out: &mut [f32], [m, n, k]: [usize; 3]) {
    // SAFETY: the caller has checked that `m`, `n`, `k` and the strides stay inside the three slices, and `out` is
    // borrowed mutably, so it overlaps neither of the others.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            true,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.as_ptr(),
            1,
            n as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512 {
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_store_ps, _mm512_storeu_ps,
    };
    use std::mem::MaybeUninit;

    use super::View;

    /// Rows of a register block; with four vectors of columns it fills 24 of the 32 registers.
    const ROWS: usize = 6;
    /// Rows of one with a single vector of columns: as many sums as hide the latency of adding to each.
    const NARROW: usize = 12;
    const LANES: usize = 16;
    const VECTORS: usize = 4;
    /// Inner length of a block: 128 rows of 64 columns are 32 KiB, which stay in the first-level cache.
    const DEPTH: usize = 128;
    /// Rows of the left side from which on a copy of the right side's block pays.
    const MANY: usize = 32;

    /// A block of the right side, `[k, vectors * LANES]`, the columns beyond the last as zeros.
    #[repr(align(64))]
    struct Panel(MaybeUninit<[f32; DEPTH * VECTORS * LANES]>);

    /// Pointers and strides of one register block.
    #[derive(Clone, Copy)]
    struct Block {
        lhs: *const f32,
        row_stride: usize,
        col_stride: usize,
        rhs: *const f32,
        rhs_stride: usize,
        out: *mut f32,
        n: usize,
        k: usize,
        last: __mmask16,
    }

    /// # Safety
    /// AVX-512F must be there, and `[m, n, k]` with the strides of `lhs` must stay inside the slices.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn matmul_add(lhs: View<'_>, rhs: &[f32], out: &mut [f32], [m, n, k]: [usize; 3]) {
        let depth = k.div_ceil(k.div_ceil(DEPTH));
        let mut panel = Panel(MaybeUninit::uninit());
        for column in (0..n).step_by(VECTORS * LANES) {
            let columns = (n - column).min(VECTORS * LANES);
            let vectors = columns.div_ceil(LANES);
            let last = (u32::MAX >> (32 - (columns - (vectors - 1) * LANES))) as __mmask16;
            for start in (0..k).step_by(depth) {
                // SAFETY: `start < k`, `column < n`; see the caller's promise.
                let mut block = unsafe {
                    Block {
                        lhs: lhs.data.as_ptr().add(start * lhs.col_stride),
                        row_stride: lhs.row_stride,
                        col_stride: lhs.col_stride,
                        rhs: rhs.as_ptr().add(start * n + column),
                        rhs_stride: n,
                        out: out.as_mut_ptr().add(column),
                        n,
                        k: depth.min(k - start),
                        last,
                    }
                };
                if m >= MANY && n > VECTORS * LANES {
                    // SAFETY: the block is at most `DEPTH` rows of `VECTORS` vectors, as many as the panel has.
                    unsafe {
                        match vectors {
                            4 => pack::<4>(block, &mut panel),
                            3 => pack::<3>(block, &mut panel),
                            2 => pack::<2>(block, &mut panel),
                            _ => pack::<1>(block, &mut panel),
                        }
                    }
                    (block.rhs, block.rhs_stride) = (panel.0.as_ptr().cast(), vectors * LANES);
                }
                let mut row = 0;
                while row < m {
                    let rows = if vectors == 1 && m - row >= NARROW { NARROW } else { (m - row).min(ROWS) };
                    // SAFETY: the block covers rows `row..row + rows`, which exist.
                    unsafe {
                        dispatch(block, rows, vectors);
                        block.lhs = block.lhs.wrapping_add(rows * lhs.row_stride);
                        block.out = block.out.wrapping_add(rows * n);
                    }
                    row += rows;
                }
            }
        }
    }

    /// Copies the right side of a block.
    #[target_feature(enable = "avx512f")]
    unsafe fn pack<const V: usize>(block: Block, panel: &mut Panel) {
        let to: *mut f32 = panel.0.as_mut_ptr().cast();
        for p in 0..block.k {
            // SAFETY: row `p` exists, the mask cuts the last vector at column `n`, and the panel has room for `k` rows.
            unsafe {
                let columns: [__m512; V] = load(block.rhs.add(p * block.rhs_stride), block.last);
                for (v, vector) in columns.into_iter().enumerate() {
                    _mm512_store_ps(to.add((p * V + v) * LANES), vector);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn dispatch(block: Block, rows: usize, vectors: usize) {
        macro_rules! rows {
            ($v:literal) => {
                // SAFETY: passed on from the caller.
                unsafe {
                    match rows {
                        6 => run::<6, $v>(block),
                        5 => run::<5, $v>(block),
                        4 => run::<4, $v>(block),
                        3 => run::<3, $v>(block),
                        2 => run::<2, $v>(block),
                        _ => run::<1, $v>(block),
                    }
                }
            };
        }
        match vectors {
            4 => rows!(4),
            3 => rows!(3),
            2 => rows!(2),
            // SAFETY: passed on from the caller.
            _ if rows == NARROW => unsafe { run::<NARROW, 1>(block) },
            _ => rows!(1),
        }
    }

    /// One register block of `R` rows and `V` vectors of columns, the last one masked.
    #[target_feature(enable = "avx512f")]
    unsafe fn run<const R: usize, const V: usize>(block: Block) {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        for p in 0..block.k {
            // SAFETY: row `p` of the right side exists and the mask cuts the last vector at column `n`.
            let columns: [__m512; V] = unsafe { load(block.rhs.add(p * block.rhs_stride), block.last) };
            for (r, sum) in sums.iter_mut().enumerate() {
                // SAFETY: row `r` and column `p` of the left side exist.
                let factor = _mm512_set1_ps(unsafe { *block.lhs.add(r * block.row_stride + p * block.col_stride) });
                for v in 0..V {
                    sum[v] = _mm512_fmadd_ps(factor, columns[v], sum[v]);
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: row `r` of the output exists; the mask cuts the last vector at column `n`.
            unsafe {
                let out = block.out.add(r * block.n);
                let old: [__m512; V] = load(out, block.last);
                for v in 0..V - 1 {
                    _mm512_storeu_ps(out.add(v * LANES), _mm512_add_ps(old[v], sum[v]));
                }
                let tail = out.add((V - 1) * LANES);
                _mm512_mask_storeu_ps(tail, block.last, _mm512_add_ps(old[V - 1], sum[V - 1]));
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load<const V: usize>(from: *const f32, last: __mmask16) -> [__m512; V] {
        let mut vectors = [_mm512_setzero_ps(); V];
        // SAFETY: the caller promises `V - 1` whole vectors and the masked part of one more.
        unsafe {
            for (v, vector) in vectors.iter_mut().enumerate().take(V - 1) {
                *vector = _mm512_loadu_ps(from.add(v * LANES));
            }
            vectors[V - 1] = _mm512_maskz_loadu_ps(last, from.add((V - 1) * LANES));
        }
        vectors
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn scalar(lhs: View<'_>, rhs: &[f32], out: &mut [f32], k: usize, n: usize) {
        for (r, row) in out.chunks_mut(n).enumerate() {
            for (c, value) in row.iter_mut().enumerate() {
                let sum: f64 = (0..k)
                    .map(|p| {
                        let a = lhs.data[r * lhs.row_stride + p * lhs.col_stride];
                        f64::from(a) * f64::from(rhs[p * n + c])
                    })
                    .sum();
                *value += sum as f32;
            }
        }
    }

    #[test]
    fn vector_portable_and_scalar_agree() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect() };
        for m in [1, 2, 5, 6, 7, 13, 64] {
            for n in [1, 3, 16, 17, 33, 48, 63, 64, 65, 101, 130] {
                for k in [1, 2, 64, 129, 300] {
                    let (a, b, c) = (draw(m * k), draw(k * n), draw(m * n));
                    for lhs in [View::rows(&a, k), View::columns(&a, m)] {
                        let (mut expected, mut fast, mut other) = (c.clone(), c.clone(), c.clone());
                        scalar(lhs, &b, &mut expected, k, n);
                        matmul_add(lhs, &b, &mut fast, k, n);
                        portable(lhs, &b, &mut other, [m, n, k]);
                        for i in 0..m * n {
                            assert!((expected[i] - fast[i]).abs() < 1e-4, "m={m} n={n} k={k}");
                            assert!((expected[i] - other[i]).abs() < 1e-4, "m={m} n={n} k={k}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn transpose_swaps_rows_and_columns() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
