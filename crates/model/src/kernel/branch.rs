//! A bottleneck beside a layer.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::fused::in_place;
use super::gemm::{View, matmul_add};
use super::linear::fill_rows;
use super::parts::{over_parts, rows_per_part};
use super::pointwise::{gelu, gelu_tanh, gelus, gelus_tanh};
use crate::BranchActivation;
use crate::layer::product;

/// `y + φ(z W1 + b1) W2 + b2`.
///
/// # Shapes
/// `y` and the result `[G, N, d_out]`, `z` `[G, N, d]`, `w1` `[G|1, d, m]`, `b1` `[G|1, 1, m]`, `w2` `[G|1, m, d_out]`, `b2` `[G|1, 1, d_out]`.
pub(crate) fn branch(y: Tensor<3>, z: Tensor<3>, maps: [&Tensor<3>; 4], activation: BranchActivation) -> Tensor<3> {
    let y = match fused(y, &z, maps, activation) {
        Ok(found) => return found,
        Err(y) => y,
    };
    let [w1, b1, w2, b2] = maps;
    let h = product(z, w1.clone()) + b1.clone(); // [G, N, m]
    let h = match activation {
        BranchActivation::Gelu => gelu(h),
        BranchActivation::GeluTanh => gelu_tanh(h),
        BranchActivation::Relu => relu(h),
    };
    y + product(h, w2.clone()) + b2.clone()
}

/// The same in one pass over rows and in place, where no gradient is asked for; else y itself.
#[expect(clippy::result_large_err, reason = "a handle of a tensor, given back")]
fn fused(y: Tensor<3>, z: &Tensor<3>, maps: [&Tensor<3>; 4], activation: BranchActivation) -> Result<Tensor<3>, Tensor<3>> {
    let [g, n, d_out] = y.dims();
    let [w1, b1, w2, b2] = maps;
    let ([_, d, m], own) = (w1.dims(), maps.map(|map| map.dims()[0]));
    let fits = z.dims() == [g, n, d] && b1.dims()[1..] == [1, m] && w2.dims()[1..] == [m, d_out] && b2.dims()[1..] == [1, d_out];
    if !fits || g * n * d * m * d_out == 0 || own.iter().any(|&own| own != 1 && own != g) {
        return Err(y);
    }
    in_place(y, [z, w1, b1, w2, b2], |y, [z, w1, b1, w2, b2]| {
        for (group, y) in y.chunks_exact_mut(n * d_out).enumerate() {
            let at = |i: usize, len: usize| if own[i] == 1 { 0..len } else { group * len..(group + 1) * len };
            let (w1, b1, w2, b2) = (&w1[at(0, d * m)], &b1[at(1, m)], &w2[at(2, m * d_out)], &b2[at(3, d_out)]);
            let z = &z[group * n * d..][..n * d];
            over_parts(y, d_out, rows_per_part(n, 1), |row, y| {
                let rows = y.len() / d_out;
                let mut h = vec![0.0; rows * m];
                fill_rows(&mut h, b1);
                matmul_add(View::rows(&z[row * d..][..rows * d], d), w1, &mut h, d, m);
                match activation {
                    BranchActivation::Gelu => gelus(&mut h),
                    BranchActivation::GeluTanh => gelus_tanh(&mut h),
                    BranchActivation::Relu => h.iter_mut().for_each(|h| *h = if *h <= 0.0 { 0.0 } else { *h }),
                }
                matmul_add(View::rows(&h, m), w2, y, m, d_out);
                y.chunks_exact_mut(d_out).for_each(|y| y.iter_mut().zip(b2).for_each(|(y, b)| *y += b));
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{close, draw, rng};
    use super::super::{leaf, to_vec};
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn one_pass_equals_the_steps() {
        let mut rng = rng(8);
        for groups in [1, 3] {
            let shapes = [[3, 5, 6], [3, 5, 7], [groups, 7, 2], [1, 1, 2], [groups, 2, 6], [groups, 1, 6]];
            let drawn = shapes.map(|s| (draw(&mut rng, s.iter().product()), s));
            let on = |device: &Device| drawn.clone().map(|(values, s)| leaf(values, s, device, false));
            for activation in [BranchActivation::Gelu, BranchActivation::GeluTanh, BranchActivation::Relu] {
                let of = |[y, z, w1, b1, w2, b2]: [Tensor<3>; 6]| to_vec(branch(y, z, [&w1, &b1, &w2, &b2], activation));
                close(&of(on(&Device::flex())), &of(on(&Device::flex().autodiff())), "branch");
            }
        }
    }
}
