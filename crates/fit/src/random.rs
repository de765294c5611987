//! Numbers that stand for random ones: what starts an iteration. They depend on their place alone, so that a fit is the same on every machine and in every order.

/// A uniform number in (0, 1) for a place.
pub(crate) fn uniform(seed: u64, a: u64, b: u64) -> f64 {
    // SplitMix64 of the place.
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ a.wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ b.wrapping_mul(0x94D0_49BB_1331_11EB);
    for _ in 0..2 {
        x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
    }
    ((x >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// A standard normal number for a place, by the Box-Muller transform.
pub(crate) fn normal(seed: u64, a: u64, b: u64) -> f64 {
    let (radius, angle) = (uniform(seed, a, 2 * b), uniform(seed, a, 2 * b + 1));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_moments() {
        let draws: Vec<f64> = (0..20_000).map(|i| normal(3, i % 200, i / 200)).collect();
        let moment = |p: i32| draws.iter().map(|x| x.powi(p)).sum::<f64>() / draws.len() as f64;
        assert!(
            moment(1).abs() < 0.03 && (moment(2) - 1.0).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.3,
            "{} {} {}",
            moment(1),
            moment(2),
            moment(4)
        );
    }
}
