//! Products of small dense matrices, compiled for several instruction sets and chosen at run time.
//!
//! No multiplication is fused with an addition, and every result is one sum in the order of the inner dimension, so that all versions give the same bytes.

/// Rows of results that stay in registers while the inner dimension is walked along.
const ROWS: usize = 4;

/// A matrix read through two strides, so that a transpose costs nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows of `width` values one after the other.
    pub(crate) fn rows(data: &'a [f32], width: usize) -> Self {
        View { data, row_stride: width, col_stride: 1 }
    }

    /// The transpose of [`View::rows`].
    pub(crate) fn columns(data: &'a [f32], width: usize) -> Self {
        View { data, row_stride: 1, col_stride: width }
    }

    #[inline(always)]
    fn at(self, row: usize, col: usize) -> f32 {
        self.data[row * self.row_stride + col * self.col_stride]
    }
}

/// `out = a b`.
///
/// # Shapes
/// - `a` `[m, k]`
/// - `b` `[k, n]`, row-major
/// - `out` `[m, n]`, row-major
pub(crate) fn product(a: View<'_>, b: &[f32], out: &mut [f32], n: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq")]
        fn avx512(a: View<'_>, b: &[f32], out: &mut [f32], n: usize) {
            tiles::<32>(a, b, out, n);
        }
        #[target_feature(enable = "avx2")]
        fn avx2(a: View<'_>, b: &[f32], out: &mut [f32], n: usize) {
            tiles::<16>(a, b, out, n);
        }
        use std::arch::is_x86_feature_detected as has;
        if has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") {
            // SAFETY: the features the function is compiled for were just detected; its body is safe code.
            #[allow(unsafe_code)]
            return unsafe { avx512(a, b, out, n) };
        }
        if has!("avx2") {
            // SAFETY: the feature the function is compiled for was just detected; its body is safe code.
            #[allow(unsafe_code)]
            return unsafe { avx2(a, b, out, n) };
        }
    }
    tiles::<8>(a, b, out, n);
}

/// The product in tiles of so many columns, then of 8, then one by one.
#[inline(always)]
fn tiles<const C: usize>(a: View<'_>, b: &[f32], out: &mut [f32], n: usize) {
    let mut from = 0;
    while from + C <= n {
        strip::<C>(a, b, out, (from, n));
        from += C;
    }
    while from + 8 <= n {
        strip::<8>(a, b, out, (from, n));
        from += 8;
    }
    while from < n {
        strip::<1>(a, b, out, (from, n));
        from += 1;
    }
}

/// `C` columns of the product, a few rows at a time.
#[inline(always)]
fn strip<const C: usize>(a: View<'_>, b: &[f32], out: &mut [f32], (from, n): (usize, usize)) {
    let m = out.len() / n;
    let mut row = 0;
    while row + ROWS <= m {
        tile::<C, ROWS>(a, b, out, (row, from), n);
        row += ROWS;
    }
    while row < m {
        tile::<C, 1>(a, b, out, (row, from), n);
        row += 1;
    }
}

#[inline(always)]
fn tile<const C: usize, const R: usize>(a: View<'_>, b: &[f32], out: &mut [f32], (row, from): (usize, usize), n: usize) {
    let mut sums = [[0.0; C]; R];
    for (k, b) in b.chunks_exact(n).enumerate() {
        let b = &b[from..from + C];
        for (r, sums) in sums.iter_mut().enumerate() {
            let a = a.at(row + r, k);
            sums.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        out[(row + r) * n + from..][..C].copy_from_slice(sums);
    }
}

/// `out = aᵀ` of a matrix `[rows, columns]`, row-major.
pub(crate) fn transpose(a: &[f32], columns: usize, out: &mut [f32]) {
    let rows = a.len() / columns;
    for (r, row) in a.chunks_exact(columns).enumerate() {
        row.iter().enumerate().for_each(|(c, &x)| out[c * rows + r] = x);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One sum after the other.
    fn plain(a: View<'_>, b: &[f32], out: &mut [f32], n: usize) {
        for (at, out) in out.iter_mut().enumerate() {
            *out = b.chunks_exact(n).enumerate().fold(0.0, |sum, (k, b)| sum + a.at(at / n, k) * b[at % n]);
        }
    }

    proptest! {
        #[test]
        fn every_version_gives_the_bytes_of_the_plain_sums(m in 1usize..11, k in 1usize..9, n in 1usize..75, seed in 0u32..1000) {
            let value = |at: usize| ((at as u32).wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 8) as f32 / 8_388_608.0 - 1.0;
            let (a, b): (Vec<f32>, Vec<f32>) = ((0..m * k).map(value).collect(), (m * k..m * k + k * n).map(value).collect());
            for view in [View::rows(&a, k), View::columns(&a, m)] {
                let mut expected = vec![f32::NAN; m * n];
                plain(view, &b, &mut expected, n);
                for version in [product, tiles::<8>, tiles::<16>, tiles::<32>] {
                    let mut found = vec![f32::NAN; m * n];
                    version(view, &b, &mut found, n);
                    prop_assert_eq!(&found, &expected);
                }
            }
        }
    }

    #[test]
    fn a_transpose_turns_rows_into_columns() {
        let mut out = [0.0; 6];
        transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, &mut out);
        assert_eq!(out, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
