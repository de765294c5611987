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

/// `x Φ(x)`.
pub(crate) fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    (0.5 * x * complementary_error(-x * std::f64::consts::FRAC_1_SQRT_2)) as f32
}

/// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
pub(crate) fn gelu_tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    (0.5 * x * (1.0 + inner.tanh())) as f32
}

/// `erfc(x)` to 1.2e-7 of its value: Press, Teukolsky, Vetterling, Flannery, Numerical Recipes, 2nd edition, section 6.2.
fn complementary_error(x: f64) -> f64 {
    const TERMS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let polynomial = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = t * (polynomial - z * z).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
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
        for (x, exact, tanh) in cases {
            assert!((gelu(x) - exact).abs() <= 1e-6 * exact.abs().max(1e-3), "{x}: {}", gelu(x));
            assert!((gelu_tanh(x) - tanh).abs() <= 1e-6 * tanh.abs().max(1e-3), "{x}: {}", gelu_tanh(x));
        }
        assert!(gelu(f32::NAN).is_nan());
    }
}
