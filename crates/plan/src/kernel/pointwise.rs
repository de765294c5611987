//! What stands between products: plain code, compiled for each instruction set. No multiplication is fused with an addition here.

use super::isa::by_isa;
use super::lanes::Lanes;

by_isa! {
    /// `z = a + b`.
    pub(crate) fn add_rows(z: &mut [f32], a: &[f32], b: &[f32]) = add_rows_with
}

#[inline(always)]
fn add_rows_with<S: Lanes>(z: &mut [f32], a: &[f32], b: &[f32]) {
    for ((z, a), b) in z.iter_mut().zip(a).zip(b) {
        *z = a + b;
    }
}

by_isa! {
    /// `z = (a + b) + c`.
    pub(crate) fn add_three(z: &mut [f32], a: &[f32], b: &[f32], c: &[f32]) = add_three_with
}

#[inline(always)]
fn add_three_with<S: Lanes>(z: &mut [f32], a: &[f32], b: &[f32], c: &[f32]) {
    for (((z, a), b), c) in z.iter_mut().zip(a).zip(b).zip(c) {
        *z = a + b + c;
    }
}

by_isa! {
    /// `z += factor * x`.
    pub(crate) fn add_scaled(z: &mut [f32], x: &[f32], factor: f32) = add_scaled_with
}

#[inline(always)]
fn add_scaled_with<S: Lanes>(z: &mut [f32], x: &[f32], factor: f32) {
    for (z, x) in z.iter_mut().zip(x) {
        *z += factor * x;
    }
}

by_isa! {
    /// `z = z ⊙ gain + shift`; what is `None` changes nothing.
    pub(crate) fn affine(z: &mut [f32], gain: Option<&[f32]>, shift: Option<&[f32]>) = affine_with
}

#[inline(always)]
fn affine_with<S: Lanes>(z: &mut [f32], gain: Option<&[f32]>, shift: Option<&[f32]>) {
    if let Some(gain) = gain {
        z.iter_mut().zip(gain).for_each(|(z, gain)| *z *= gain);
    }
    if let Some(shift) = shift {
        z.iter_mut().zip(shift).for_each(|(z, shift)| *z += shift);
    }
}

by_isa! {
    /// Copies a row of a table for each code.
    ///
    /// # Shapes
    /// - `table` `[rows, d]`
    /// - `out`: rows `stride` apart, of which the first `d` values are written
    pub(crate) fn copy_rows(table: &[f32], d: usize, codes: impl Iterator<Item = u32>, out: &mut [f32], stride: usize) = copy_rows_with
}

#[inline(always)]
fn copy_rows_with<S: Lanes>(table: &[f32], d: usize, codes: impl Iterator<Item = u32>, out: &mut [f32], stride: usize) {
    // The usual width is one known beforehand: a copy without a call.
    if d == 16 {
        let (table, _) = table.as_chunks::<16>();
        for (code, out) in codes.zip(out.chunks_mut(stride)) {
            out[..16].copy_from_slice(&table[code as usize]);
        }
    } else {
        for (code, out) in codes.zip(out.chunks_mut(stride)) {
            out[..d].copy_from_slice(&table[code as usize * d..][..d]);
        }
    }
}

by_isa! {
    /// `z = max(z, 0)`.
    pub(crate) fn relu(z: &mut [f32]) = relu_with
}

#[inline(always)]
fn relu_with<S: Lanes>(z: &mut [f32]) {
    for z in z {
        // Not a number stays one, as in the products.
        *z = if 0.0 > *z { 0.0 } else { *z };
    }
}

by_isa! {
    /// `x · w`.
    pub(crate) fn dot(x: &[f32], w: &[f32]) -> f32 = dot_with
}

#[inline(always)]
fn dot_with<S: Lanes>(x: &[f32], w: &[f32]) -> f32 {
    let len = x.len().min(w.len());
    let ((x, x_rest), (w, w_rest)) = (x[..len].as_chunks::<16>(), w[..len].as_chunks::<16>());
    let mut lanes = [0.0; 16];
    for (x, w) in x.iter().zip(w) {
        for lane in 0..16 {
            lanes[lane] += x[lane] * w[lane];
        }
    }
    for ((lane, x), w) in lanes.iter_mut().zip(x_rest).zip(w_rest) {
        *lane += x * w;
    }
    total(lanes)
}

by_isa! {
    /// `z = (z - mean(z)) / sqrt(var(z) + ε) ⊙ gain + shift` of one row.
    pub(crate) fn layer_norm(z: &mut [f32], gain: &[f32], shift: &[f32], epsilon: f32) = layer_norm_with
}

#[inline(always)]
fn layer_norm_with<S: Lanes>(z: &mut [f32], gain: &[f32], shift: &[f32], epsilon: f32) {
    let d = z.len() as f32;
    let mean = sum_of(z, |z| z) / d;
    let variance = sum_of(z, |z| (z - mean) * (z - mean)) / d;
    let factor = 1.0 / (variance + epsilon).sqrt();
    for ((z, gain), shift) in z.iter_mut().zip(gain).zip(shift) {
        *z = (*z - mean) * factor * gain + shift;
    }
}

/// `Σ f(z)` in 16 lanes, then of these.
#[inline(always)]
fn sum_of(z: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = z.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for lane in 0..16 {
            lanes[lane] += f(chunk[lane]);
        }
    }
    for (lane, &z) in lanes.iter_mut().zip(rest) {
        *lane += f(z);
    }
    total(lanes)
}

#[inline(always)]
fn total(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

by_isa! {
    /// `z <- z Φ(z)`.
    pub(crate) fn gelu(z: &mut [f32]) = gelu_with
}

#[inline(always)]
fn gelu_with<S: Lanes>(z: &mut [f32]) {
    z.iter_mut().for_each(|z| *z = 0.5 * *z * complementary_error(-*z * std::f32::consts::FRAC_1_SQRT_2));
}

by_isa! {
    /// `z <- z / 2 (1 + tanh(√(2/π) (z + 0.044715 z³)))`.
    pub(crate) fn gelu_tanh(z: &mut [f32]) = gelu_tanh_with
}

/// `(1 + tanh(y)) / 2 = 1 / (1 + e^(-2y))`, of the smaller of both sides, which does not overflow.
#[inline(always)]
fn gelu_tanh_with<S: Lanes>(z: &mut [f32]) {
    for z in z {
        let x = *z;
        let y = 0.797_884_6 * (x + 0.044_715 * x * x * x);
        let small = exp(-2.0 * y.abs());
        let share = 1.0 / (1.0 + small);
        *z = x * if y >= 0.0 { share } else { small * share };
    }
}

/// `erfc(x)` to 1.2e-7 of its value, and what rounding adds: Press, Teukolsky, Vetterling, Flannery, Numerical Recipes, 2nd edition, section 6.2.
#[inline(always)]
fn complementary_error(x: f32) -> f32 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let mut p = 0.170_872_77;
    for c in [-0.822_152_23, 1.488_515_9, -1.135_204, 0.278_868_07, -0.186_288_06, 0.096_784_18, 0.374_091_96, 1.000_023_7, -1.265_512_2] {
        p = p * t + c;
    }
    let tail = t * exp(p - z * z);
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// `e^x` to within 2 units in the last place for x up to 1, written so that a loop over it is vectorised; 0 below -87, NaN for NaN.
///
/// `x = n ln 2 + r` with |r| <= ln 2 / 2, and a polynomial for `e^r` (Cephes).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest whole number in the low bits
    let clamped = if x <= -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let value = p * r * r + r + 1.0;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23); // 2^n
    if x <= -87.0 { 0.0 } else { value * power }
}

/// Asks for the memory of some values ahead of their use, at most 2 KiB, into the first-level cache if it is `soon`, else into the second; nothing
/// happens on machines without such an instruction.
#[inline(always)]
pub(crate) fn prefetch(values: &[f32], soon: bool) {
    #[cfg(target_arch = "x86_64")]
    for line in values.chunks(16).take(32) {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        // SAFETY: the address is that of live values, and a prefetch changes nothing.
        #[allow(unsafe_code)]
        unsafe {
            if soon { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) } else { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, soon);
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Scalar;
    use super::*;

    /// Values of `math.erf` and `math.tanh` of Python 3.11.
    #[test]
    fn gelu_is_that_of_python() {
        let cases = [
            (-10.0, -7.619_853e-23, 0.0),
            (-3.0, -0.004_049_694, -0.003_637_392),
            (-0.5, -0.154_268_77, -0.154_286),
            (0.0, 0.0, 0.0),
            (1e-3, 0.000_500_398_9, 0.000_500_398_9),
            (0.7, 0.530_625_3, 0.530_570_1),
            (2.0, 1.954_499_7, 1.954_597_7),
            (30.0, 30.0, 30.0),
        ];
        let of = |phi: fn(&mut [f32]), x: f32| {
            let mut z = [x];
            phi(&mut z);
            z[0]
        };
        let [gelu, gelu_tanh] = [gelu_with::<Scalar> as fn(&mut [f32]), gelu_tanh_with::<Scalar>].map(|phi| move |x: f32| of(phi, x));
        for (x, exact, tanh) in cases {
            assert!((gelu(x) - exact).abs() <= 2e-6 * exact.abs().max(1e-3), "{x}: {}", gelu(x));
            assert!((gelu_tanh(x) - tanh).abs() <= 2e-6 * tanh.abs().max(1e-3), "{x}: {}", gelu_tanh(x));
        }
        assert!(gelu(f32::NAN).is_nan() && gelu_tanh(f32::NAN).is_nan());
        assert_eq!((gelu(1e30), gelu_tanh(1e10), gelu(-50.0)), (1e30, 1e10, 0.0));
    }
}
