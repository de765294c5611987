//! The largest eigenvalues of a symmetric matrix, and their vectors, by subspace iteration.
//!
//! `Q <- orth(A Q)` for a block of vectors, then the eigenvalues of `Qᵀ A Q`. Only products with A are asked for, so it may be sparse or a product itself.
//!
//! # References
//! N. Halko, P. G. Martinsson, J. A. Tropp, *Finding Structure with Randomness*, SIAM Review 2011.

use faer::{Mat, MatRef, Side};
use rayon::prelude::*;

use crate::Sparse;
use crate::random::normal;

/// Eigenvalues, largest first, with their vectors.
#[derive(Clone, Debug)]
pub struct Eigen {
    /// `[k]`, descending.
    pub values: Vec<f64>,
    /// `[n, k]`, row by row: row i holds entry i of each vector.
    pub vectors: Vec<f64>,
}

/// Vectors beyond those asked for, which make the last of these exact.
const MORE: usize = 12;
/// Products with the matrix. Eigenvalues that lie close to the last one asked for are mixed with it after so few: what is found is a good subspace, not the best, and the same each time.
const PRODUCTS: usize = 12;

/// The `k` largest eigenvalues (not in magnitude) of a symmetric matrix of `n` rows that has none below `-shift`; fewer where n is smaller. `product` takes and gives `[n, m]` matrices.
#[must_use]
pub fn leading(n: usize, k: usize, shift: f64, product: impl Fn(MatRef<'_, f64>) -> Mat<f64>) -> Eigen {
    let (k, block) = (k.min(n), (k + MORE).min(n));
    if k == 0 {
        return Eigen { values: Vec::new(), vectors: Vec::new() };
    }
    let orthonormal = |m: Mat<f64>| m.qr().compute_thin_Q();
    let mut q = orthonormal(Mat::from_fn(n, block, |i, j| normal(0, i as u64, j as u64)));
    for _ in 0..PRODUCTS {
        let mut next = product(q.as_ref());
        next += faer::Scale(shift) * &q;
        q = orthonormal(next);
    }
    let small = q.transpose() * product(q.as_ref());
    let small = Mat::from_fn(block, block, |i, j| 0.5 * (small[(i, j)] + small[(j, i)]));
    let found = small.self_adjoint_eigen(Side::Lower).expect("a finite symmetric matrix has eigenvalues");
    // They come in ascending order.
    let values = (0..k).map(|i| found.S()[block - 1 - i]).collect();
    let vectors = &q * found.U();
    // A vector and its opposite are the same: the entry of largest magnitude is positive.
    let signs: Vec<f64> = (0..k)
        .map(|j| {
            let column = block - 1 - j;
            let largest = (0..n).map(|i| vectors[(i, column)]).fold(0.0_f64, |a, b| if b.abs() > a.abs() { b } else { a });
            if largest < 0.0 { -1.0 } else { 1.0 }
        })
        .collect();
    let vectors = (0..n).flat_map(|i| (0..k).map(|j| signs[j] * vectors[(i, block - 1 - j)]).collect::<Vec<_>>()).collect();
    Eigen { values, vectors }
}

/// The `k` largest eigenvalues of `EᵀE - diag(minus)`, of the rows of E, without ever holding that matrix; `minus` is at least 0.
pub(crate) fn leading_of_gram(rows: &Sparse, k: usize, minus: &[f64]) -> Eigen {
    let columns = rows.transposed();
    let product = |q: MatRef<'_, f64>| {
        let k = q.ncols();
        let dense: Vec<f64> = (0..q.nrows()).flat_map(|i| (0..k).map(move |j| q[(i, j)])).collect();
        let times = |rows: &Sparse, x: &[f64]| -> Vec<f64> {
            let of_row = |i: usize| {
                let mut sum = vec![0.0; k];
                rows.times(i, x, &mut sum);
                sum
            };
            (0..rows.len()).into_par_iter().flat_map_iter(of_row).collect()
        };
        let image = times(&columns, &times(rows, &dense));
        Mat::from_fn(q.nrows(), k, |i, j| image[i * k + j] - minus[i] * dense[i * k + j])
    };
    leading(rows.width, k, minus.iter().copied().fold(0.0, f64::max), product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_a_matrix_with_known_ones() {
        // A = V diag(d) Vᵀ of 60 rows, V orthonormal, d = 9, 7, 5, then 1/2, 0 and negative ones.
        let n = 60;
        let v = Mat::from_fn(n, n, |i, j| normal(7, i as u64, j as u64)).qr().compute_thin_Q();
        let d: Vec<f64> = (0..n)
            .map(|i| match i {
                0 => 9.0,
                1 => 7.0,
                2 => 5.0,
                3..30 => 0.5,
                _ => -1.0,
            })
            .collect();
        let a = Mat::from_fn(n, n, |i, j| (0..n).map(|k| v[(i, k)] * d[k] * v[(j, k)]).sum::<f64>());
        let Eigen { values, vectors } = leading(n, 3, 1.0, |q| &a * q);
        assert!(values.iter().zip([9.0, 7.0, 5.0]).all(|(x, y)| (x - y).abs() < 1e-6), "{values:?}");
        for (j, value) in values.iter().enumerate() {
            let x: Vec<f64> = (0..n).map(|i| vectors[i * 3 + j]).collect();
            assert!((x.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((0..n).all(|i| ((0..n).map(|l| a[(i, l)] * x[l]).sum::<f64>() - value * x[i]).abs() < 1e-4));
        }
        assert_eq!(leading(2, 5, 0.0, |q| q.to_owned()).values.len(), 2);
    }
}
