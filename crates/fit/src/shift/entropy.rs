//! The offset that makes predictions surest.
//!
//! `b = argmin mean_i H(σ(z_i + b))`, `H(p) = -p ln p - (1 - p) ln(1 - p)`, by some gradient steps from 0, as a network is tuned at test time: the one-logit form.
//! `dH/ds = -s p (1 - p)` for a logit s, so each step moves every score away from 0; where most are negative, all go down, and nothing but the number of steps ends it.
//!
//! # References
//! D. Wang et al., *Tent: Fully Test-Time Adaptation by Entropy Minimization*, ICLR 2021.

use super::sigmoid;

/// How far it is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropySettings {
    /// Step length; default 1.
    pub rate: f64,
    /// Steps a window; default 10.
    pub steps: usize,
}

impl Default for EntropySettings {
    fn default() -> Self {
        Self { rate: 1.0, steps: 10 }
    }
}

/// b for the logits of a window; 0 for none.
#[must_use]
pub fn entropy_offset(logits: &[f32], settings: EntropySettings) -> f64 {
    let n = logits.len().max(1) as f64;
    (0..settings.steps).fold(0.0, |b, _| {
        let slope = |&z: &f32| {
            let s = f64::from(z) + b;
            let p = sigmoid(s);
            -s * p * (1.0 - p)
        };
        b - settings.rate * logits.iter().map(slope).sum::<f64>() / n
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_positives_are_driven_out() {
        let logits: Vec<f32> = (0..1000).map(|i| -3.0 + (i % 21) as f32 / 10.0).collect();
        let more = |steps| entropy_offset(&logits, EntropySettings { steps, ..EntropySettings::default() });
        assert!(more(10) < -0.5 && more(100) < more(10), "{} {}", more(10), more(100));
        assert!(entropy_offset(&[], EntropySettings::default()).abs() < 1e-12);
    }
}
