//! The arithmetic of Adam on plain slices, for dense parameters and for single rows of a table.

use super::simd::{multiversion, prefetch};

/// The numbers of one Adam step; the same for all parameters that share a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: f32,
    /// Keeps the denominator off zero.
    pub epsilon: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// `1 / (1 - beta1^t)`.
    pub correct1: f32,
    /// `1 / (1 - beta2^t)`.
    pub correct2: f32,
    /// What a weight loses before the step (decoupled weight decay): learning rate times decay; 0 for none.
    pub shrink: f32,
}

impl AdamStep {
    /// The numbers of step `t` (the first is 1).
    #[must_use]
    pub fn new(rate: f64, [beta1, beta2]: [f64; 2], epsilon: f64, decay: f64, t: u64) -> Self {
        let t = i32::try_from(t.max(1)).unwrap_or(i32::MAX);
        AdamStep {
            rate: rate as f32,
            epsilon: epsilon as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            correct1: (1.0 / (1.0 - beta1.powi(t))) as f32,
            correct2: (1.0 / (1.0 - beta2.powi(t))) as f32,
            shrink: (rate * decay) as f32,
        }
    }
}

/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, `x -= shrink x + rate m c1 / (sqrt(v c2) + epsilon)`.
#[inline(always)]
fn update(step: &AdamStep, values: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
    let n = values.len();
    let (gradient, m, v) = (&gradient[..n], &mut m[..n], &mut v[..n]);
    let AdamStep { rate, epsilon, beta1, beta2, correct1, correct2, shrink } = *step;
    for i in 0..n {
        let g = gradient[i];
        m[i] = beta1 * m[i] + (1.0 - beta1) * g;
        v[i] = beta2 * v[i] + (1.0 - beta2) * g * g;
        values[i] -= shrink * values[i] + rate * m[i] * correct1 / ((v[i] * correct2).sqrt() + epsilon);
    }
}

multiversion! {
    /// One step of Adam (Kingma and Ba, 2015), with decoupled decay (Loshchilov and Hutter, 2019) if `shrink` is not 0:
    /// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, `x -= shrink x + rate m c1 / (sqrt(v c2) + epsilon)`.
    ///
    /// All four slices have the length of `values`.
    pub fn adam(step: &AdamStep, values: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        update(step, values, gradient, m, v);
    }
}

/// A table and its moments, all `[rows, d]`.
#[derive(Debug)]
pub struct AdamTable<'a> {
    /// Width.
    pub d: usize,
    /// Last values of a row that weight decay spares.
    pub spared: usize,
    /// Values.
    pub values: &'a mut [f32],
    /// First moments.
    pub first: &'a mut [f32],
    /// Second moments.
    pub second: &'a mut [f32],
}

/// Rows whose memory is asked for ahead of their turn.
const AHEAD: usize = 8;

multiversion! {
    /// The same step for single rows of a table: `gradients` holds the gradient of each of `rows`, which differ from each other.
    pub fn adam_rows(step: &AdamStep, table: AdamTable<'_>, rows: &[u32], gradients: &[f32]) {
        let AdamTable { d, spared, values, first, second } = table;
        let (kept, step_of_kept) = (if step.shrink == 0.0 { 0 } else { spared }, AdamStep { shrink: 0.0, ..*step });
        for (i, (&row, gradient)) in rows.iter().zip(gradients.chunks_exact(d.max(1))).enumerate() {
            if let Some(&next) = rows.get(i + AHEAD) {
                let next = next as usize * d;
                for part in [&*values, &*first, &*second] {
                    prefetch(part, next);
                    prefetch(part, next + d - 1);
                }
            }
            let (start, end) = (row as usize * d, row as usize * d + d);
            let at = start..end - kept;
            update(step, &mut values[at.clone()], gradient, &mut first[at.clone()], &mut second[at.clone()]);
            if kept > 0 {
                let (gradient, at) = (&gradient[d - kept..], at.end..end);
                update(&step_of_kept, &mut values[at.clone()], gradient, &mut first[at.clone()], &mut second[at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_parameter_of_its_own() {
        let step = AdamStep::new(0.01, [0.9, 0.999], 1e-8, 0.1, 3);
        let (rows, gradients) = ([4, 0, 2], (0..9).map(|i| i as f32 - 4.0).collect::<Vec<_>>());
        let start: [Vec<f32>; 3] = [0.5, 0.1, 0.2].map(|x| (0..15).map(|i| x + 0.01 * i as f32).collect());
        let (mut expected, mut found) = (start.clone(), start);
        for (&row, gradient) in rows.iter().zip(gradients.chunks_exact(3)) {
            let [x, m, v] = expected.each_mut().map(|part| &mut part[row as usize * 3..][..3]);
            adam(&step, x, gradient, m, v);
        }
        let [values, first, second] = found.each_mut().map(Vec::as_mut_slice);
        adam_rows(&step, AdamTable { d: 3, spared: 0, values, first, second }, &rows, &gradients);
        assert_eq!(found, expected);
        // Only the last value of a row is spared by the decay.
        let shrunk = |spared: usize| {
            let [mut x, mut m, mut v] = [vec![1.0; 3], vec![0.0; 3], vec![0.0; 3]];
            adam_rows(&step, AdamTable { d: 3, spared, values: &mut x, first: &mut m, second: &mut v }, &[0], &[0.0; 3]);
            x
        };
        assert_eq!((shrunk(0), shrunk(1)), (vec![0.999; 3], vec![0.999, 0.999, 1.0]));
    }

    #[test]
    fn agrees_with_the_formula_of_the_paper() {
        let gradients = [0.5f64, -2.0, 0.1];
        let (mut x, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        let (mut values, mut first, mut second) = (vec![1.0f32; 19], vec![0.0; 19], vec![0.0; 19]);
        for (t, g) in (1..).zip(gradients) {
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (m_hat, v_hat) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
            x -= 0.01 * 0.1 * x + 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            let step = AdamStep::new(0.01, [0.9, 0.999], 1e-8, 0.1, t as u64);
            adam(&step, &mut values, &[g as f32; 19], &mut first, &mut second);
            assert!(values.iter().all(|&y| (f64::from(y) - x).abs() < 1e-6), "{values:?} against {x}");
        }
    }
}
