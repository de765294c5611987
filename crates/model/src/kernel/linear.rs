//! `y = act(x W + b)` with the weight shared by all groups.

use burn::tensor::Tensor;

use super::fused::{FusedOp, Pass, apply};
use super::gemm::{View, matmul_add, transpose};
use super::parts::{build_parts, map_parts, rows_per_part, sum_parts};
use super::simd::multiversion;
use crate::Activation;

/// `act(x W + b)`: one pass for product, bias and activation; the backward pass masks and sums the bias gradient on the way
/// to its two products.
///
/// # Shapes
/// - `x` `[G, N, d_in]`
/// - `weight` `[G|1, d_in, d_out]`; weights per group take the composed path
/// - `bias` `[G|1, 1, d_out]`
/// - result `[G, N, d_out]`
///
/// # Panics
/// If the shapes do not fit.
pub fn linear(x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<3>>, activation: Activation) -> Tensor<3> {
    let [g, n, d_in] = x.dims();
    let [groups, rows, d_out] = weight.dims();
    assert_eq!(d_in, rows, "linear: x is {d_in} wide, the weight takes {rows}");
    let shared = groups == 1 && bias.as_ref().is_none_or(|b| b.dims() == [1, 1, d_out]);
    if shared && g * n * d_in * d_out > 0 {
        let op = Product { d_in, d_out, activation };
        let zero = || Tensor::zeros([1, 1, d_out], &x.device());
        let b = bias.clone().unwrap_or_else(zero);
        if let Some(y) = apply(op, [&x, &weight, &b], [g, n, d_out]) {
            return y;
        }
    }
    composed(x, weight, bias, activation)
}

/// The same function from ordinary tensor operations.
pub(super) fn composed(x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<3>>, activation: Activation) -> Tensor<3> {
    let ([g, n, d_in], [groups, _, d_out]) = (x.dims(), weight.dims());
    let y = if groups == 1 && g > 1 {
        // One product over all rows instead of one per group.
        x.reshape([1, g * n, d_in]).matmul(weight).reshape([g, n, d_out]) // [G, N, d_out]
    } else {
        x.matmul(weight)
    };
    activation.apply(match bias {
        Some(bias) => y + bias,
        None => y,
    })
}

#[derive(Clone, Copy, Debug)]
struct Product {
    d_in: usize,
    d_out: usize,
    activation: Activation,
}

impl FusedOp<3> for Product {
    type Saved = ();
    const KEEP_OUTPUT: bool = true;

    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _wanted: [bool; 3]) -> (Vec<f32>, ()) {
        let Product { d_in, d_out, activation } = *self;
        let rows = x.len() / d_in;
        let (y, _) = build_parts(rows, rows_per_part(rows, 1), bias, |row, y| {
            let x = &x[row * d_in..][..y.len() / d_out * d_in];
            matmul_add(View::rows(x, d_in), weight, y, d_in, d_out);
            if activation == Activation::Relu {
                relu(y);
            }
        });
        (y, ())
    }

    fn backward(&self, pass: Pass<'_, 3, ()>) -> [Option<Vec<f32>>; 3] {
        let Product { d_in, d_out, activation } = *self;
        let [x, weight, _] = pass.inputs;
        let [want_x, want_weight, want_bias] = pass.wanted;
        let rows = x.len() / d_in;
        let size = rows_per_part(rows, 1);
        let transposed = if want_x { transpose(weight, d_in, d_out) } else { Vec::new() };
        let work = |row: usize, end: usize, dx: &mut [f32]| {
            let span = row * d_out..end * d_out;
            let mut scratch = Vec::new();
            let dy = match activation {
                Activation::Identity => &pass.grad[span],
                Activation::Relu => {
                    scratch.resize(span.len(), 0.0);
                    mask(&mut scratch, &pass.grad[span.clone()], &pass.output[span]);
                    &scratch
                }
            };
            if want_x {
                matmul_add(View::rows(dy, d_out), &transposed, dx, d_out, d_in);
            }
            let dw = sum_if(want_weight, d_in * d_out, |dw| {
                let x = &x[row * d_in..end * d_in];
                matmul_add(View::columns(x, d_in), dy, dw, end - row, d_out);
            });
            let db = sum_if(want_bias, d_out, |db| add_rows(db, dy));
            (dw, db)
        };
        let (dx, sums) = if want_x {
            let (dx, sums) = build_parts(rows, size, &vec![0.0; d_in], |row, dx| work(row, row + dx.len() / d_in, dx));
            (Some(dx), sums)
        } else {
            (None, map_parts(rows, size, |row, end| work(row, end, &mut [])))
        };
        let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        [dx, want_weight.then(|| sum_parts(dw, d_in * d_out)), want_bias.then(|| sum_parts(db, d_out))]
    }
}

/// A zeroed buffer of `len` passed through `add`, or an empty one if it is not wanted.
pub(super) fn sum_if(wanted: bool, len: usize, add: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut sum = Vec::new();
    if wanted {
        sum.resize(len, 0.0);
        add(&mut sum);
    }
    sum
}

/// Every row of `out` becomes `row`.
pub(super) fn fill_rows(out: &mut [f32], row: &[f32]) {
    for chunk in out.chunks_exact_mut(row.len()) {
        chunk.copy_from_slice(row);
    }
}

multiversion! {
    /// Adds every row of `rows` to `sum`.
    pub(super) fn add_rows(sum: &mut [f32], rows: &[f32]) {
        let width = sum.len();
        for row in rows.chunks_exact(width) {
            for (s, r) in sum.iter_mut().zip(row) {
                *s += r;
            }
        }
    }
}

multiversion! {
    fn relu(values: &mut [f32]) {
        for v in values.iter_mut() {
            // Written so that what is no number stays none.
            *v = if *v <= 0.0 { 0.0 } else { *v };
        }
    }
}

multiversion! {
    /// `out = grad` where the output of the ReLU is positive, 0 elsewhere.
    fn mask(out: &mut [f32], grad: &[f32], output: &[f32]) {
        for ((o, g), y) in out.iter_mut().zip(grad).zip(output) {
            *o = if *y > 0.0 { *g } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{check_differences, close, compare, draw, outcome, rng, same_bytes_for_any_threads};
    use super::*;

    type Inputs = Vec<(Vec<f32>, [usize; 3])>;

    fn inputs(seed: u64, [g, n, d_in, d_out]: [usize; 4]) -> Inputs {
        let mut rng = rng(seed);
        [[g, n, d_in], [1, d_in, d_out], [1, 1, d_out]].map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec()
    }

    fn fused(x: &[Tensor<3>], activation: Activation) -> Tensor<3> {
        linear(x[0].clone(), x[1].clone(), x.get(2).cloned(), activation)
    }

    fn twin(x: &[Tensor<3>], activation: Activation) -> Tensor<3> {
        composed(x[0].clone(), x[1].clone(), x.get(2).cloned(), activation)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn fused_equals_composed(seed: u64, g in 1usize..4, n in 1usize..40, d_in in 1usize..70, d_out in 1usize..70, bias: bool) {
            let mut inputs = inputs(seed, [g, n, d_in, d_out]);
            inputs.truncate(if bias { 3 } else { 2 });
            for a in [Activation::Identity, Activation::Relu] {
                compare(&inputs, &|x| fused(x, a), &|x| twin(x, a));
            }
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        check_differences(&inputs(3, [2, 5, 7, 4]), &|x| fused(x, Activation::Identity));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let y = outcome(&[(vec![f32::NAN, 1.0], [1, 1, 2]), (vec![1.0; 2], [1, 2, 1])], &[true; 2], &|x| fused(x, Activation::Relu));
        assert!(y.value[0].is_nan());
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        same_bytes_for_any_threads(&inputs(4, [1, 1700, 33, 20]), &|x| fused(x, Activation::Relu));
    }

    #[test]
    fn weights_per_group_act_on_their_group() {
        let mut rng = rng(5);
        let shapes = [[3, 4, 5], [3, 5, 2], [3, 1, 2]];
        let inputs = shapes.map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec();
        let all = outcome(&inputs, &[true; 3], &|x| fused(x, Activation::Relu)).value;
        for g in 0..3 {
            let of = |(values, [_, rows, d]): &(Vec<f32>, [usize; 3])| (values[g * rows * d..][..rows * d].to_vec(), [1, *rows, *d]);
            let one: Inputs = inputs.iter().map(of).collect();
            let y = outcome(&one, &[true; 3], &|x| fused(x, Activation::Relu)).value;
            close(&all[g * 8..][..8], &y, "group");
        }
    }
}
