//! Layer normalisation with its affine map and activation.

use burn::tensor::Tensor;

use super::fused::{FusedOp, Pass, apply, untracked};
use super::parts::{build_parts, map_parts, rows_per_part, sum_parts};
use super::simd::{LANES, add_lanes, dot, multiversion};
use super::spread::Spread;
use crate::Activation;

/// `act(gain * (x - mean) / sqrt(variance + epsilon) + shift)` over the last axis, variance without Bessel's correction.
///
/// # Shapes
/// - `x` `[G, N, d]`
/// - `gain`, `shift` `[G|1, N|1, d]`; other than `[1, 1, d]` takes the composed path where a gradient may be asked for
/// - result `[G, N, d]`
///
/// # References
/// Ba, Kiros, Hinton: Layer Normalization, 2016.
pub fn layer_norm(x: Tensor<3>, gain: Tensor<3>, shift: Tensor<3>, epsilon: f64, activation: Activation) -> Tensor<3> {
    let shape @ [g, n, d] = x.dims();
    let own = [gain.dims(), shift.dims()];
    if g * n * d > 0 {
        let op = Normalise { d, epsilon: epsilon as f32, relu: activation == Activation::Relu };
        let found = if own == [[1, 1, d]; 2] {
            apply(op, [&x, &gain, &shift], shape)
        } else if own.iter().all(|own| Spread::fits(*own, shape)) {
            untracked([&x, &gain, &shift], shape, |[x, gain, shift]| {
                op.rows(x, Spread::new(gain, own[0], shape), Spread::new(shift, own[1], shape)).0
            })
        } else {
            None
        };
        if let Some(y) = found {
            return y;
        }
    }
    composed(x, gain, shift, epsilon, activation)
}

/// The same function from ordinary tensor operations.
pub(super) fn composed(x: Tensor<3>, gain: Tensor<3>, shift: Tensor<3>, epsilon: f64, activation: Activation) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2); // [G, N, 1]
    activation.apply(centred / (variance + epsilon).sqrt() * gain + shift)
}

#[derive(Clone, Copy, Debug)]
struct Normalise {
    d: usize,
    epsilon: f32,
    relu: bool,
}

impl Normalise {
    /// The result, and what each part has seen of its rows.
    fn rows(self, x: &[f32], gain: Spread<'_>, shift: Spread<'_>) -> (Vec<f32>, Vec<Vec<Moments>>) {
        let d = self.d;
        let rows = x.len() / d;
        build_parts(rows, rows_per_part(rows, 1), &vec![0.0; d], |row, y| {
            let mut moments = Vec::with_capacity(y.len() / d);
            forward_rows(self, &x[row * d..][..y.len()], row, gain, shift, y, &mut moments);
            moments
        })
    }
}

/// Per row: mean and reciprocal standard deviation.
type Moments = [f32; 2];

impl FusedOp<3> for Normalise {
    type Saved = Vec<Moments>;
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [x, gain, shift]: [&[f32]; 3], wanted: [bool; 3]) -> (Vec<f32>, Vec<Moments>) {
        let one = [1, 1, self.d];
        let (y, moments) = self.rows(x, Spread::new(gain, one, one), Spread::new(shift, one, one));
        (y, if wanted.contains(&true) { moments.concat() } else { Vec::new() })
    }

    fn backward(&self, pass: Pass<'_, 3, Vec<Moments>>) -> [Option<Vec<f32>>; 3] {
        let d = self.d;
        let [x, gain, shift] = pass.inputs;
        let [want_x, want_gain, want_shift] = pass.wanted;
        let total = x.len() / d;
        let work = |row: usize, end: usize, dx: &mut [f32]| {
            let span = row * d..end * d;
            let (x, dy, moments) = (&x[span.clone()], &pass.grad[span], &pass.saved[row..end]);
            let mut sums = vec![0.0; 2 * d];
            backward_rows(*self, Rows { x, dy, moments, gain, shift }, &mut sums, dx);
            sums
        };
        let size = rows_per_part(total, 1);
        let (dx, sums) = if want_x {
            let (dx, sums) = build_parts(total, size, &vec![0.0; d], |row, dx| work(row, row + dx.len() / d, dx));
            (Some(dx), sums)
        } else {
            (None, map_parts(total, size, |row, end| work(row, end, &mut [])))
        };
        let mut gain_sum = sum_parts(sums, 2 * d);
        let shift_sum = gain_sum.split_off(d);
        [dx, want_gain.then_some(gain_sum), want_shift.then_some(shift_sum)]
    }
}

/// What the backward pass reads of some rows.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    moments: &'a [Moments],
    gain: &'a [f32],
    shift: &'a [f32],
}

multiversion! {
    fn forward_rows(op: Normalise, x: &[f32], first: usize, gain: Spread<'_>, shift: Spread<'_>, y: &mut [f32], moments: &mut Vec<Moments>) {
        let d = op.d;
        let rows = x.chunks_exact(d).zip(y.chunks_exact_mut(d));
        for (((x, y), gain), shift) in rows.zip(gain.rows(first)).zip(shift.rows(first)) {
            let (gain, shift) = (&gain[..d], &shift[..d]);
            let mean = sum(x, |v| v) / d as f32;
            let variance = sum(x, |v| (v - mean) * (v - mean)) / d as f32;
            let scale = 1.0 / (variance + op.epsilon).sqrt();
            moments.push([mean, scale]);
            let floor = if op.relu { 0.0 } else { f32::NEG_INFINITY };
            for i in 0..d {
                let value = (x[i] - mean) * scale * gain[i] + shift[i];
                y[i] = if value < floor { floor } else { value };
            }
        }
    }
}

multiversion! {
    /// `sums` holds the gain's, then the shift's gradient; an empty `dx` is not wanted.
    fn backward_rows(op: Normalise, rows: Rows<'_>, sums: &mut [f32], dx: &mut [f32]) {
        let d = op.d;
        let (gain, shift) = (&rows.gain[..d], &rows.shift[..d]);
        let (gain_sum, shift_sum) = sums.split_at_mut(d);
        let (gain_sum, shift_sum) = (&mut gain_sum[..d], &mut shift_sum[..d]);
        let mut normalised = vec![0.0; d];
        let mut scaled = vec![0.0; d];
        let (normalised, scaled) = (&mut normalised[..d], &mut scaled[..d]);
        let floor = if op.relu { 0.0 } else { f32::NEG_INFINITY };
        let mut dx = dx.chunks_exact_mut(d);
        let inputs = rows.x.chunks_exact(d).zip(rows.dy.chunks_exact(d));
        for ((x, dy), [mean, scale]) in inputs.zip(rows.moments) {
            for i in 0..d {
                let z = (x[i] - mean) * scale;
                let g = if z * gain[i] + shift[i] > floor { dy[i] } else { 0.0 };
                normalised[i] = z;
                gain_sum[i] += g * z;
                shift_sum[i] += g;
                scaled[i] = g * gain[i];
            }
            let Some(dx) = dx.next() else { continue };
            let mean_g = sum(scaled, |g| g) / d as f32;
            let mean_gz = dot(scaled, normalised) / d as f32;
            for i in 0..d {
                dx[i] = scale * (scaled[i] - mean_g - normalised[i] * mean_gz);
            }
        }
    }
}

/// The sum of `f` over a row, in lanes of fixed number.
#[inline(always)]
pub(super) fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f(chunk[i]);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += f(*v);
    }
    add_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{check_differences, close, compare, draw, outcome, rng, same_bytes_for_any_threads};
    use super::super::{leaf, to_vec};
    use super::*;
    use burn::tensor::Device;

    fn inputs(seed: u64, [g, n, d]: [usize; 3]) -> Vec<(Vec<f32>, [usize; 3])> {
        let mut rng = rng(seed);
        [[g, n, d], [1, 1, d], [1, 1, d]].map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec()
    }

    fn fused(x: &[Tensor<3>], activation: Activation) -> Tensor<3> {
        layer_norm(x[0].clone(), x[1].clone(), x[2].clone(), 1e-5, activation)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn fused_equals_composed(seed: u64, g in 1usize..4, n in 1usize..30, d in 4usize..70) {
            let inputs = inputs(seed, [g, n, d]);
            for a in [Activation::Identity, Activation::Relu] {
                compare(&inputs, &|x| fused(x, a), &|x| composed(x[0].clone(), x[1].clone(), x[2].clone(), 1e-5, a));
            }
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        check_differences(&inputs(3, [2, 5, 9]), &|x| fused(x, Activation::Identity));
    }

    #[test]
    fn rows_with_a_gain_and_a_shift_of_their_own() {
        let mut rng = rng(6);
        for (of_gain, of_shift) in [([1, 5, 9], [3, 1, 9]), ([3, 5, 9], [1, 1, 9])] {
            let t = [[3, 5, 9], of_gain, of_shift].map(|s| leaf(draw(&mut rng, s.iter().product()), s, &Device::flex(), false));
            let [x, gain, shift] = t;
            let found = layer_norm(x.clone(), gain.clone(), shift.clone(), 1e-5, Activation::Relu);
            close(&to_vec(found), &to_vec(composed(x, gain, shift, 1e-5, Activation::Relu)), "rows");
        }
    }

    #[test]
    fn a_constant_row_becomes_the_shift() {
        let inputs = vec![(vec![7.0; 5], [1, 1, 5]), (vec![2.0; 5], [1, 1, 5]), (vec![0.5; 5], [1, 1, 5])];
        let y = outcome(&inputs, &[true; 3], &|x| fused(x, Activation::Identity));
        assert_eq!(y.value, [0.5; 5]);
        assert!(y.gradients.iter().flatten().flatten().all(|g| g.is_finite()));
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        same_bytes_for_any_threads(&inputs(4, [3, 700, 21]), &|x| fused(x, Activation::Relu));
    }
}
