//! Functions of one number, in place and vectorised where no gradient is asked for; as Burn has them elsewhere.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu as exact_gelu, gelu_approximate, sigmoid};

use super::fused::in_place;
use super::simd::{exp, multiversion};

/// `2 / (1 + e^-x)`: a gate between 0 and 2, exactly 1 at 0.
#[must_use]
pub fn gate(x: Tensor<3>) -> Tensor<3> {
    each(x, gates).unwrap_or_else(|x| sigmoid(x) * 2.0)
}

/// `tanh x`.
#[must_use]
pub fn tanh(x: Tensor<3>) -> Tensor<3> {
    each(x, tanhs).unwrap_or_else(Tensor::tanh)
}

/// `x Φ(x)`.
pub(super) fn gelu(x: Tensor<3>) -> Tensor<3> {
    each(x, gelus).unwrap_or_else(exact_gelu)
}

/// Its tanh approximation.
pub(super) fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    each(x, gelus_tanh).unwrap_or_else(gelu_approximate)
}

#[expect(clippy::result_large_err, reason = "a handle of a tensor, given back")]
fn each(x: Tensor<3>, f: fn(&mut [f32])) -> Result<Tensor<3>, Tensor<3>> {
    in_place(x, [], |values, []| f(values))
}

multiversion! {
    fn gates(values: &mut [f32]) {
        for v in values.iter_mut() {
            // Of the smaller of both sides, which does not overflow.
            let small = exp(-v.abs());
            let of_large = 2.0 / (1.0 + small);
            *v = if *v < 0.0 { small * of_large } else { of_large };
        }
    }
}

multiversion! {
    fn tanhs(values: &mut [f32]) {
        for v in values.iter_mut() {
            *v = one_tanh(*v);
        }
    }
}

multiversion! {
    pub(super) fn gelus(values: &mut [f32]) {
        for v in values.iter_mut() {
            *v = 0.5 * *v * (1.0 + erf(*v * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

multiversion! {
    pub(super) fn gelus_tanh(values: &mut [f32]) {
        for v in values.iter_mut() {
            let x = *v;
            *v = 0.5 * x * (1.0 + one_tanh(0.797_884_6 * (x + 0.044_715 * x * x * x)));
        }
    }
}

/// A polynomial near 0 (Cephes), `1 - 2 / (e^2|x| + 1)` else.
#[inline(always)]
fn one_tanh(x: f32) -> f32 {
    let z = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p * z + c;
    }
    let near = p * z * x + x;
    let small = exp(-2.0 * x.abs());
    let far = ((1.0 - small) / (1.0 + small)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// A series near 0, and 7.1.26 of M. Abramowitz and I. Stegun, *Handbook of Mathematical Functions*, 1964, else: off by 1.5e-7 at most.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let mut q = -7.575_758e-4;
    for c in [4.629_629_6e-3, -2.380_952_4e-2, 0.1, -1.0 / 3.0, 1.0] {
        q = q * z + c;
    }
    let near = x * q * std::f32::consts::FRAC_2_SQRT_PI;
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let mut p = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        p = p * t + c;
    }
    let far = (1.0 - p * t * exp(-a * a)).copysign(x);
    if a < 0.5 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: fn(&mut [f32]), exact: impl Fn(f64) -> f64) {
        let places: Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-3 / if i % 2 == 0 { 1.0 } else { 16.0 }).collect();
        let mut found = places.clone();
        f(&mut found);
        for (x, found) in places.into_iter().zip(found) {
            let exact = exact(f64::from(x));
            assert!((f64::from(found) - exact).abs() <= 5e-7 * exact.abs().max(1.0), "{x}: {found} {exact}");
        }
        let mut none = [f32::NAN];
        f(&mut none);
        assert!(none[0].is_nan());
    }

    #[test]
    fn functions_are_those_of_double_precision() {
        check(gates, |x| 2.0 / (1.0 + (-x).exp()));
        check(tanhs, f64::tanh);
        let tanh_of = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
        check(gelus_tanh, tanh_of);
        // Off by less than 1e-3 from the exact one everywhere, and pinned where tables have it.
        check(gelus, |x| {
            let mut value = [x as f32];
            gelus(&mut value);
            assert!((f64::from(value[0]) - tanh_of(x)).abs() < 1e-3);
            f64::from(value[0])
        });
        for (x, known) in [(0.5_f32, 0.520_499_9_f32), (1.0, 0.842_700_8), (2.0, 0.995_322_3), (0.1, 0.112_462_92), (-0.3, -0.328_626_8)] {
            assert!((erf(x) - known).abs() < 3e-7, "erf({x}) = {}", erf(x));
        }
    }

    #[test]
    fn what_starts_at_nothing_changes_nothing() {
        let mut values = [0.0, -0.0];
        gates(&mut values);
        assert_eq!(values, [1.0; 2]);
        let mut values = [0.0];
        gelus(&mut values);
        assert_eq!(values, [0.0]);
    }
}
