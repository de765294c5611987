//! Minus the logarithm of the predictive density of some ratings given others, and its gradient: reverse mode through the solve.
//!
//! Rows `f = (z, g)` with fixed z and learned g, S shown, q asked for, e what ratings differ by from what is expected before any is seen, s their noise:
//!
//! - `C = F_S F_Sᵀ + diag s_S`, `α = C⁻¹ e_S`; `c = F_S f_q`, `β = C⁻¹ c`
//! - `ρ = e_q - c · α`, `v = |f_q|² + s_q - c · β`, `L = mean over q of ½ ln 2πv + ρ² / 2v`
//! - `δ = -ρ / v` and `η = 1 / 2v - ρ² / 2v²` are ∂L/∂(mean) and ∂L/∂v of q; so `∂L/∂c = δ α - 2 η β`, `∂L/∂|f_q|² = η`, `∂L/∂C = Σ_q η β βᵀ - ½ δ (β αᵀ + α βᵀ)`
//! - `∂L/∂g_q = G_Sᵀ ∂L/∂c + 2 η g_q`, `∂L/∂G_S = Σ_q (∂L/∂c) g_qᵀ + 2 (∂L/∂C) G_S`

use crate::Cholesky;
use crate::cholesky::dot;

/// The loss and its gradient with respect to the learned part of every row, `[rows, learned]`.
///
/// `rows` is `[rows, width]`, of which the last `learned` columns are g; the first `shown` rows are S.
#[must_use]
pub fn density(rows: &[f64], [width, learned]: [usize; 2], noise: &[f64], left: &[f64], shown: usize) -> (f64, Vec<f64>) {
    let (n, k) = (noise.len(), shown);
    let row = |i: usize| &rows[i * width..][..width];
    let own = |i: usize| &row(i)[width - learned..];
    let mut c = vec![0.0; k * k];
    for a in 0..k {
        (0..=a).for_each(|b| c[a * k + b] = dot(row(a), row(b)));
        c[a * k + a] += noise[a];
    }
    let factor = Cholesky::sturdy(c, k);
    let mut alpha = left[..k].to_vec();
    factor.solve(&mut alpha);
    let part = 1.0 / (n - k).max(1) as f64;
    let (mut loss, mut gradient) = (0.0, vec![0.0; n * learned]);
    let add = |gradient: &mut [f64], i: usize, by: f64, g: &[f64]| {
        gradient[i * learned..][..learned].iter_mut().zip(g).for_each(|(sum, g)| *sum += by * g);
    };
    // Σ_s w_s g_s
    let through = |weights: &[f64]| {
        let mut sum = vec![0.0; learned];
        weights.iter().enumerate().for_each(|(s, w)| sum.iter_mut().zip(own(s)).for_each(|(sum, g)| *sum += w * g));
        sum
    };
    // Σ_q δ β
    let mut crossed = vec![0.0; k];
    for q in k..n {
        let with: Vec<f64> = (0..k).map(|s| dot(row(s), row(q))).collect();
        let mut beta = with.clone();
        factor.solve(&mut beta);
        let rest = left[q] - dot(&with, &alpha);
        let variance = (dot(row(q), row(q)) + noise[q] - dot(&with, &beta)).max(1e-9);
        loss += part * (0.5 * (std::f64::consts::TAU * variance).ln() + rest * rest / (2.0 * variance));
        let delta = -part * rest / variance;
        let eta = part * (0.5 / variance - rest * rest / (2.0 * variance * variance));
        let of_c: Vec<f64> = alpha.iter().zip(&beta).map(|(a, b)| delta * a - 2.0 * eta * b).collect();
        add(&mut gradient, q, 1.0, &through(&of_c));
        add(&mut gradient, q, 2.0 * eta, own(q));
        let spread = through(&beta);
        for s in 0..k {
            add(&mut gradient, s, of_c[s], own(q));
            add(&mut gradient, s, 2.0 * eta * beta[s], &spread);
        }
        crossed.iter_mut().zip(&beta).for_each(|(sum, b)| *sum += delta * b);
    }
    let (of_alpha, of_crossed) = (through(&alpha), through(&crossed));
    for s in 0..k {
        add(&mut gradient, s, -crossed[s], &of_alpha);
        add(&mut gradient, s, -alpha[s], &of_crossed);
    }
    (loss, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let (width, learned, step) = (5, 2, 1e-5);
        for (n, shown) in [(7, 4), (3, 0), (9, 8), (6, 1)] {
            let rows: Vec<f64> = (0..n * width).map(|at| normal(5, at as u64, n as u64)).collect();
            let noise: Vec<f64> = (0..n).map(|i| 0.3 + 0.1 * i as f64).collect();
            let left: Vec<f64> = (0..n).map(|i| normal(6, i as u64, n as u64)).collect();
            let (_, gradient) = density(&rows, [width, learned], &noise, &left, shown);
            for (at, found) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut rows = rows.clone();
                    rows[at / learned * width + width - learned + at % learned] += by;
                    density(&rows, [width, learned], &noise, &left, shown).0
                };
                let expected = (moved(step) - moved(-step)) / (2.0 * step);
                assert!((found - expected).abs() < 1e-8, "{n} rows, {shown} shown, at {at}: {found}, differences say {expected}");
            }
        }
    }
}
