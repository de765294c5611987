//! The arithmetic of Adam on plain slices, for dense parameters and for single rows of a table.

use super::simd::multiversion;

/// The numbers of one Adam step; the same for all parameters that share a rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate times both bias corrections: `rate * sqrt(1 - beta2^t) / (1 - beta1^t)`.
    pub rate: f32,
    /// `epsilon * sqrt(1 - beta2^t)`, so that the corrected form of the paper results.
    pub epsilon: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// What a weight loses before the step (decoupled weight decay): learning rate times decay; 0 for none.
    pub shrink: f32,
}

impl AdamStep {
    /// The numbers of step `t` (the first is 1).
    #[must_use]
    pub fn new(rate: f32, [beta1, beta2]: [f32; 2], epsilon: f32, decay: f32, t: u64) -> Self {
        let t = t.max(1) as f64;
        let first = 1.0 - f64::from(beta1).powf(t);
        let second = (1.0 - f64::from(beta2).powf(t)).sqrt();
        AdamStep {
            rate: (f64::from(rate) * second / first) as f32,
            epsilon: (f64::from(epsilon) * second) as f32,
            beta1,
            beta2,
            shrink: rate * decay,
        }
    }
}

multiversion! {
    /// One step of Adam (Kingma and Ba, 2015), with decoupled decay (Loshchilov and Hutter, 2019) if `shrink` is not 0:
    /// `m += (1 - beta1)(g - m)`, `v += (1 - beta2)(g^2 - v)`, `x -= shrink x + rate m / (sqrt(v) + epsilon)`.
    ///
    /// All four slices have the length of `values`; a row of a table is a parameter of its own.
    pub fn adam(step: &AdamStep, values: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32]) {
        let n = values.len();
        let (gradient, m, v) = (&gradient[..n], &mut m[..n], &mut v[..n]);
        let AdamStep { rate, epsilon, beta1, beta2, shrink } = *step;
        for i in 0..n {
            let g = gradient[i];
            m[i] += (1.0 - beta1) * (g - m[i]);
            v[i] += (1.0 - beta2) * (g * g - v[i]);
            values[i] -= shrink * values[i] + rate * m[i] / (v[i].sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
