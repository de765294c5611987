//! A seeded stream of random numbers that is a pure function of its key.

use crate::hash::mix;

/// SplitMix64 keyed by (seed, epoch, step).
///
/// No state outlives a step: the numbers of step 7 of epoch 3 are the same whether or not steps 0 to 6 were ever drawn. Exact resume rests on this.
#[derive(Clone, Debug)]
pub struct RandomStream {
    state: u64,
}

impl RandomStream {
    /// The stream of one step.
    #[must_use]
    pub fn new(seed: u64, epoch: u64, step: u64) -> Self {
        Self { state: mix(mix(mix(seed) ^ epoch) ^ step) }
    }

    /// A seed for one purpose, so that parts of a run that share the user's seed do not share random numbers.
    #[must_use]
    pub fn seed_for(seed: u64, purpose: &str) -> u64 {
        purpose.bytes().fold(mix(seed), |key, byte| mix(key ^ u64::from(byte)))
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        let out = mix(self.state);
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        out
    }

    /// Uniform in `0..n`, without modulo bias.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number lies below 0");
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if (wide as u64) >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Uniform position in a slice of length `len`.
    ///
    /// # Panics
    /// If `len` is 0.
    pub fn position(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal (Box-Muller, one of the pair).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts a slice into a uniformly random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.position(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_does_not_depend_on_earlier_steps() {
        let mut stream = RandomStream::new(5, 3, 7);
        let direct = [stream.bits(), stream.bits(), stream.bits(), stream.bits()];
        let mut earlier = RandomStream::new(5, 3, 6);
        earlier.bits();
        let mut again = RandomStream::new(5, 3, 7);
        assert_eq!(direct, [again.bits(), again.bits(), again.bits(), again.bits()]);
        assert_ne!(direct[0], RandomStream::new(5, 7, 3).bits());
        assert_ne!(RandomStream::seed_for(5, "a"), RandomStream::seed_for(5, "b"));
    }

    #[test]
    fn below_is_uniform() {
        let (mut stream, mut seen) = (RandomStream::new(1, 0, 0), [0u32; 7]);
        for _ in 0..70_000 {
            seen[stream.position(7)] += 1;
        }
        let chi2: f64 = seen.iter().map(|&n| (f64::from(n) - 10_000.0).powi(2) / 10_000.0).sum();
        assert!(chi2 < 22.5, "chi squared {chi2} with 6 degrees of freedom is beyond the 0.1 % point: {seen:?}");
    }

    #[test]
    fn normal_has_mean_0_and_variance_1() {
        let mut stream = RandomStream::new(2, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");
    }

    #[test]
    fn shuffle_reaches_every_order_equally_often() {
        let mut seen = std::collections::HashMap::new();
        for step in 0..24_000 {
            let mut order = [0, 1, 2, 3];
            RandomStream::new(9, 0, step).shuffle(&mut order);
            *seen.entry(order).or_insert(0i32) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|&n| (n - 1000).abs() < 160), "{seen:?}");
    }
}
