//! Scale and shift of a layer's output, a batch norm, and what is normalised over a row, where no gradient is asked for: one pass over rows that are still in cache.

use burn::tensor::Tensor;

use super::fused::{in_place, untracked};
use super::gemm::{View, matmul_add};
use super::layer_norm::sum;
use super::parts::{build_parts, over_parts, rows_per_part};
use super::simd::multiversion;
use super::spread::Spread;
use crate::Activation;

/// `act((x W + b) ⊙ gain + shift)`; `None` where a gradient may be asked for, on other devices, and for weights per group.
///
/// # Shapes
/// - `x` `[G, N, d_in]`, `weight` `[1, d_in, d_out]`, `bias` `[1, 1, d_out]`
/// - `gain`, `shift` `[G|1, N|1, d_out]`
/// - result `[G, N, d_out]`
pub(crate) fn scaled_linear(
    x: &Tensor<3>,
    [weight, bias]: [&Tensor<3>; 2],
    [gain, shift]: [Option<&Tensor<3>>; 2],
    activation: Activation,
) -> Option<Tensor<3>> {
    let ([g, n, d_in], [groups, _, d_out]) = (x.dims(), weight.dims());
    let shape = [g, n, d_out];
    let rest = |of: Option<&Tensor<3>>, value: f32| of.cloned().unwrap_or_else(|| Tensor::full([1, 1, d_out], value, &x.device()));
    let (gain, shift) = (rest(gain, 1.0), rest(shift, 0.0));
    let fits = groups == 1 && bias.dims() == [1, 1, d_out] && [&gain, &shift].iter().all(|of| Spread::fits(of.dims(), shape));
    if !fits || g * n * d_in * d_out == 0 {
        return None;
    }
    let (of_gain, of_shift) = (gain.dims(), shift.dims());
    untracked([x, weight, bias, &gain, &shift], shape, |[x, weight, bias, gain, shift]| {
        let rows = x.len() / d_in;
        let (gain, shift) = (Spread::new(gain, of_gain, shape), Spread::new(shift, of_shift, shape));
        let (y, _) = build_parts(rows, rows_per_part(rows, 1), bias, |row, y| {
            let x = &x[row * d_in..][..y.len() / d_out * d_in];
            matmul_add(View::rows(x, d_in), weight, y, d_in, d_out);
            scale_rows(y, row, gain, shift, activation == Activation::Relu);
        });
        y
    })
}

/// `act((x - mean) ⊙ scale + shift)`, in place where no gradient is asked for.
///
/// # Shapes
/// `x` and the result `[G, N, d]`; `mean`, `scale` and `shift` `[G|1, N|1, d]`.
pub(crate) fn centred_scaled(x: Tensor<3>, operands: [Tensor<3>; 3], activation: Activation) -> Tensor<3> {
    let shape = x.dims();
    let own = operands.each_ref().map(|of| of.dims());
    let found = match own.iter().all(|own| Spread::fits(*own, shape)) {
        true => in_place(x, operands.each_ref(), |x, operands| {
            let [mean, scale, shift] = [0, 1, 2].map(|i| Spread::new(operands[i], own[i], shape));
            over_parts(x, shape[2], rows_per_part(shape[0] * shape[1], 1), |row, x| {
                centre_rows(x, row, mean, scale, shift, activation == Activation::Relu);
            });
        }),
        false => Err(x),
    };
    found.unwrap_or_else(|x| {
        let [mean, scale, shift] = operands;
        activation.apply((x - mean) * scale + shift)
    })
}

/// Mean and variance of the rows of each group, a row's weight its share: `Σ_j s_j x_j` and `Σ_j s_j (x_j - mean)²`.
///
/// # Shapes
/// `x` `[G, N, d]`, `share` `[G, 1, N]`; both results `[G, 1, d]`.
#[must_use]
pub fn group_moments(x: &Tensor<3>, share: &Tensor<3>) -> [Tensor<3>; 2] {
    let [g, n, d] = x.dims();
    let both = untracked([x, share], [2 * g, 1, d], |[x, share]| {
        let mut out = vec![0.0; 2 * g * d];
        let (means, variances) = out.split_at_mut(g * d);
        for i in 0..g {
            let (x, share) = (&x[i * n * d..][..n * d], &share[i * n..][..n]);
            add_moments(x, share, &mut means[i * d..][..d], &mut variances[i * d..][..d]);
        }
        out
    });
    match both {
        Some(both) => [both.clone().slice([0..g, 0..1, 0..d]), both.slice([g..2 * g, 0..1, 0..d])],
        None => {
            let mean = share.clone().matmul(x.clone());
            let variance = share.clone().matmul((x.clone() - mean.clone()).square());
            [mean, variance]
        }
    }
}

multiversion! {
    fn add_moments(x: &[f32], share: &[f32], mean: &mut [f32], variance: &mut [f32]) {
        let d = mean.len();
        if d == 0 {
            return;
        }
        for (x, share) in x.chunks_exact(d).zip(share) {
            mean.iter_mut().zip(x).for_each(|(mean, x)| *mean += share * x);
        }
        for (x, share) in x.chunks_exact(d).zip(share) {
            for ((variance, x), mean) in variance.iter_mut().zip(x).zip(mean.iter()) {
                *variance += share * ((x - mean) * (x - mean));
            }
        }
    }
}

/// `y + (z ⊙ gain + bias - y) ⊙ gate`, z the row y normalised over its d units with its variance shrunk to 1 by `prior` units; in place.
///
/// # Shapes
/// `y` and the result `[G, N, d]`; `gain`, `bias` and `gate` `[G|1, N|1, d]`.
///
/// # Errors
/// y itself, where a gradient may be asked for and on other devices.
#[expect(clippy::result_large_err, reason = "a handle of a tensor, given back")]
pub fn blended_rows(y: Tensor<3>, operands: [&Tensor<3>; 3], prior: f32) -> Result<Tensor<3>, Tensor<3>> {
    let shape = y.dims();
    let own = operands.map(|of| of.dims());
    if !own.iter().all(|own| Spread::fits(*own, shape)) {
        return Err(y);
    }
    in_place(y, operands, |y, operands| {
        let [gain, bias, gate] = [0, 1, 2].map(|i| Spread::new(operands[i], own[i], shape));
        over_parts(y, shape[2], rows_per_part(shape[0] * shape[1], 1), |row, y| blend_rows(y, row, gain, bias, gate, prior));
    })
}

multiversion! {
    fn blend_rows(y: &mut [f32], first: usize, gain: Spread<'_>, bias: Spread<'_>, gate: Spread<'_>, prior: f32) {
        let d = gain.width().max(1);
        let n = d as f32;
        for (((y, gain), bias), gate) in y.chunks_exact_mut(d).zip(gain.rows(first)).zip(bias.rows(first)).zip(gate.rows(first)) {
            let mean = sum(y, |v| v) / n;
            let variance = sum(y, |v| (v - mean) * (v - mean)) / n;
            let scale = 1.0 / ((variance * n + prior) / (n + prior)).sqrt();
            for (((y, gain), bias), gate) in y.iter_mut().zip(gain).zip(bias).zip(gate) {
                let found = (*y - mean) * scale * gain + bias;
                *y += (found - *y) * gate;
            }
        }
    }
}

multiversion! {
    fn scale_rows(y: &mut [f32], first: usize, gain: Spread<'_>, shift: Spread<'_>, relu: bool) {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        let d = gain.width();
        for ((y, gain), shift) in y.chunks_exact_mut(d).zip(gain.rows(first)).zip(shift.rows(first)) {
            for ((y, gain), shift) in y.iter_mut().zip(gain).zip(shift) {
                let value = *y * gain + shift;
                *y = if value <= floor { floor } else { value };
            }
        }
    }
}

multiversion! {
    fn centre_rows(x: &mut [f32], first: usize, mean: Spread<'_>, scale: Spread<'_>, shift: Spread<'_>, relu: bool) {
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        let d = mean.width().max(1);
        for (((x, mean), scale), shift) in x.chunks_exact_mut(d).zip(mean.rows(first)).zip(scale.rows(first)).zip(shift.rows(first)) {
            for (((x, mean), scale), shift) in x.iter_mut().zip(mean).zip(scale).zip(shift) {
                let value = (*x - mean) * scale + shift;
                *x = if value <= floor { floor } else { value };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, draw, rng};
    use super::super::{leaf, linear, to_vec};
    use super::*;
    use burn::tensor::Device;

    fn operands(shapes: &[[usize; 3]]) -> Vec<Tensor<3>> {
        let mut rng = rng(7);
        shapes.iter().map(|&shape| leaf(draw(&mut rng, shape.iter().product()), shape, &Device::flex(), false)).collect()
    }

    #[test]
    fn one_pass_equals_the_steps() {
        let rows = [[1, 1, 9], [3, 1, 9], [1, 5, 9], [3, 5, 9]];
        for (gain, shift) in rows.into_iter().zip(rows.into_iter().rev()) {
            let t = operands(&[[3, 5, 7], [1, 7, 9], [1, 1, 9], gain, shift]);
            for activation in [Activation::Identity, Activation::Relu] {
                let found = scaled_linear(&t[0], [&t[1], &t[2]], [Some(&t[3]), Some(&t[4])], activation).expect("plain tensors of the CPU");
                let y = linear(t[0].clone(), t[1].clone(), Some(t[2].clone()), Activation::Identity);
                close(&to_vec(found), &to_vec(activation.apply(y * t[3].clone() + t[4].clone())), "linear");
                let x = linear(t[0].clone(), t[1].clone(), None, Activation::Identity);
                let found = centred_scaled(x.clone(), [t[3].clone(), t[4].clone(), t[2].clone()], activation);
                close(&to_vec(found), &to_vec(activation.apply((x - t[3].clone()) * t[4].clone() + t[2].clone())), "norm");
            }
        }
    }

    #[test]
    fn moments_and_blends_equal_the_steps() {
        let t = operands(&[[3, 5, 9], [3, 1, 5], [1, 5, 9], [3, 1, 9], [1, 1, 9]]);
        let [mean, variance] = group_moments(&t[0], &t[1]);
        let steps = t[1].clone().matmul(t[0].clone());
        close(&to_vec(variance), &to_vec(t[1].clone().matmul((t[0].clone() - steps.clone()).square())), "variance");
        close(&to_vec(mean), &to_vec(steps), "mean");
        let found = blended_rows(t[0].clone(), [&t[2], &t[3], &t[4]], 4.0).expect("plain tensors of the CPU");
        let centred = t[0].clone() - t[0].clone().mean_dim(2);
        let z = centred.clone() / ((centred.square().mean_dim(2) * 9.0 + 4.0) / 13.0).sqrt();
        let changed = z * t[2].clone() + t[3].clone();
        close(&to_vec(found), &to_vec(t[0].clone() + (changed - t[0].clone()) * t[4].clone()), "blend");
    }

    #[test]
    fn what_is_missing_changes_nothing() {
        let t = operands(&[[1, 5, 7], [1, 7, 9], [1, 1, 9]]);
        let found = scaled_linear(&t[0], [&t[1], &t[2]], [None, None], Activation::Relu).expect("plain tensors of the CPU");
        assert_eq!(to_vec(found), to_vec(linear(t[0].clone(), t[1].clone(), Some(t[2].clone()), Activation::Relu)));
    }
}
