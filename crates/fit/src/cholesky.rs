//! `A = L Lᵀ` of small symmetric positive definite matrices, without an allocation where the caller keeps the room.

/// `Σ a b` in eight sums side by side, which one after the other would each wait for the last.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = left.remainder().iter().zip(&b[a.len() - left.remainder().len()..]).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        (0..8).for_each(|k| sums[k] += a[k] * b[k]);
    }
    rest + sums.iter().sum::<f64>()
}

/// The Cholesky factor L of a matrix of `n` rows.
///
/// ```
/// use acclimate_fit::Cholesky;
/// let factor = Cholesky::new(vec![4.0, 2.0, 2.0, 5.0], 2).expect("positive definite");
/// let mut x = [10.0, 13.0];
/// factor.solve(&mut x);
/// assert_eq!(x, [1.5, 2.0]);
/// assert!((factor.log_det() - 16f64.ln()).abs() < 1e-12);
/// ```
#[derive(Clone, Debug)]
pub struct Cholesky {
    /// `[n, n]`, row by row; above the diagonal nothing that counts.
    l: Vec<f64>,
    n: usize,
}

impl Cholesky {
    /// Factors `a`, `[n, n]` row by row, of which the lower half is read, in its own room; `None` if it is not positive definite.
    ///
    /// # Panics
    /// If `a` has another size.
    #[must_use]
    pub fn new(mut a: Vec<f64>, n: usize) -> Option<Self> {
        assert_eq!(a.len(), n * n, "a square matrix");
        for i in 0..n {
            let (above, row) = a.split_at_mut(i * n);
            for j in 0..i {
                row[j] = (row[j] - dot(&row[..j], &above[j * n..j * n + j])) / above[j * n + j];
            }
            let rest = row[i] - dot(&row[..i], &row[..i]);
            if rest.is_nan() || rest <= 0.0 {
                return None;
            }
            row[i] = rest.sqrt();
        }
        Some(Self { l: a, n })
    }

    /// The factor of a matrix that is positive definite but for rounding, as one with entries of very different sizes may be: what rounding has taken is added to the diagonal, from 1e-12 of its
    /// largest entry on until there is a factor.
    ///
    /// # Panics
    /// If `a` has another size, or an entry that is no number.
    #[must_use]
    pub fn sturdy(a: Vec<f64>, n: usize) -> Self {
        if let Some(factor) = Self::new(a.clone(), n) {
            return factor;
        }
        let largest = (0..n).map(|i| a[i * n + i].abs()).fold(f64::MIN_POSITIVE, f64::max);
        let raised = |power: i32| {
            let mut raised = a.clone();
            (0..n).for_each(|i| raised[i * n + i] += largest * 10f64.powi(power));
            Self::new(raised, n)
        };
        (-12..=1).find_map(raised).expect("a matrix of numbers whose diagonal is as large as all of it")
    }

    /// `b <- L⁻¹ b`.
    pub fn half_solve(&self, b: &mut [f64]) {
        for i in 0..self.n {
            let row = &self.l[i * self.n..];
            b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
        }
    }

    /// `b <- A⁻¹ b`.
    pub fn solve(&self, b: &mut [f64]) {
        self.half_solve(b);
        for i in (0..self.n).rev() {
            let x = b[i] / self.l[i * self.n + i];
            b[i] = x;
            let row = &self.l[i * self.n..i * self.n + i];
            b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * x);
        }
    }

    /// `vᵀ A⁻¹ v`.
    #[must_use]
    pub fn norm(&self, v: &[f64]) -> f64 {
        let mut half = v.to_vec();
        self.half_solve(&mut half);
        half.iter().map(|x| x * x).sum()
    }

    /// `A⁻¹`, `[n, n]`, symmetric.
    #[must_use]
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        // M = L⁻¹ row by row, then Mᵀ M.
        let mut m = vec![0.0; n * n];
        for i in 0..n {
            let (above, row) = m.split_at_mut(i * n);
            let l = &self.l[i * n..(i + 1) * n];
            for (k, factor) in l[..i].iter().enumerate() {
                row[..=k].iter_mut().zip(&above[k * n..=k * n + k]).for_each(|(x, y)| *x -= factor * y);
            }
            row[i] = 1.0;
            row[..=i].iter_mut().for_each(|x| *x /= l[i]);
        }
        let mut inverse = vec![0.0; n * n];
        for row in m.chunks_exact(n.max(1)) {
            for (i, x) in row.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                inverse[i * n..i * n + i + 1].iter_mut().zip(row).for_each(|(sum, y)| *sum += x * y);
            }
        }
        for i in 0..n {
            for j in 0..i {
                inverse[j * n + i] = inverse[i * n + j];
            }
        }
        inverse
    }

    /// L, `[n, n]` row by row, 0 above the diagonal.
    #[must_use]
    pub fn lower(&self) -> Vec<f64> {
        (0..self.n * self.n).map(|at| if at % self.n <= at / self.n { self.l[at] } else { 0.0 }).collect()
    }

    /// `ln det A`.
    #[must_use]
    pub fn log_det(&self) -> f64 {
        2.0 * (0..self.n).map(|i| self.l[i * self.n + i].ln()).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn solving_undoes_multiplying(n in 1usize..12, values in prop::collection::vec(-1.0f64..1.0, 12 * 12 + 12)) {
            let (m, x) = values.split_at(144);
            // M Mᵀ + I / 2 is positive definite.
            let a: Vec<f64> = (0..n * n).map(|at| {
                let (i, j) = (at / n, at % n);
                (0..n).map(|k| m[i * 12 + k] * m[j * 12 + k]).sum::<f64>() + if i == j { 0.5 } else { 0.0 }
            }).collect();
            let times = |x: &[f64]| -> Vec<f64> { a.chunks_exact(n).map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect() };
            let factor = Cholesky::new(a.clone(), n).unwrap();
            let mut b = times(&x[..n]);
            factor.solve(&mut b);
            prop_assert!(b.iter().zip(x).all(|(b, x)| (b - x).abs() < 1e-9));
            let inverse = factor.inverse();
            for i in 0..n {
                let unit = times(&inverse[i * n..(i + 1) * n]);
                prop_assert!(unit.iter().enumerate().all(|(j, x)| (x - f64::from(u8::from(i == j))).abs() < 1e-9));
            }
            let long: f64 = x[..n].iter().zip(times_inverse(&inverse, &x[..n], n)).map(|(a, b)| a * b).sum();
            prop_assert!((factor.norm(&x[..n]) - long).abs() < 1e-9);
        }
    }

    fn times_inverse(inverse: &[f64], x: &[f64], n: usize) -> Vec<f64> {
        inverse.chunks_exact(n).map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
    }

    #[test]
    fn what_rounding_has_taken_is_given_back() {
        // 1e-12 beside 1e8 x xᵀ: of rank one in double precision.
        let x = [1e8, 3e7, -2e8];
        let a: Vec<f64> = (0..9).map(|at| x[at / 3] * x[at % 3] + if at % 4 == 0 { 1e-12 } else { 0.0 }).collect();
        assert!(Cholesky::new(a.clone(), 3).is_none());
        let mut solved = x.to_vec();
        Cholesky::sturdy(a, 3).solve(&mut solved);
        // In the direction of x the solution is x / |x|².
        let along: f64 = solved.iter().zip(x).map(|(s, x)| s * x).sum();
        assert!((along - 1.0).abs() < 1e-6, "{along}");
        assert!(Cholesky::new(vec![4.0], 1).unwrap().lower() == Cholesky::sturdy(vec![4.0], 1).lower());
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert!(Cholesky::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::new(vec![f64::NAN], 1).is_none());
        assert!(Cholesky::new(Vec::new(), 0).is_some());
    }
}
