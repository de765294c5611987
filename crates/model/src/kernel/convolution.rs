//! Dilated convolution over the rows of a sequence.

use burn::tensor::Tensor;

use super::fused::{FusedOp, Pass, apply};
use super::gemm::{View, matmul_add, transpose};
use super::linear::{add_rows, sum_if};
use super::parts::{build_parts, map_parts, rows_per_part, sum_parts};

/// Which rows the taps of a convolution look at: tap j at row t sees row `t + (j - centre) * dilation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taps {
    /// Distance between taps, in rows.
    pub dilation: usize,
    /// The tap that sees the current row: the last of a causal convolution, the middle one of a convolution that sees both sides.
    pub centre: usize,
}

impl Taps {
    /// `k` taps of which the last is the current row.
    #[must_use]
    pub fn causal(k: usize, dilation: usize) -> Self {
        Self { dilation, centre: k.saturating_sub(1) }
    }

    /// `k` taps around the current row.
    #[must_use]
    pub fn centred(k: usize, dilation: usize) -> Self {
        Self { dilation, centre: k.saturating_sub(1) / 2 }
    }

    /// The part of a sequence of `length` rows that a tap reads, and the part of the result that it adds to: equally long, empty where it sees nothing.
    fn reach(self, tap: usize, length: usize) -> Reach {
        let shift = (tap.abs_diff(self.centre) * self.dilation).min(length);
        match tap <= self.centre {
            true => Reach { from: 0, to: shift, rows: length - shift },
            false => Reach { from: shift, to: 0, rows: length - shift },
        }
    }
}

/// Rows `from ..` of the input go to rows `to ..` of the result.
#[derive(Clone, Copy, Debug)]
struct Reach {
    from: usize,
    to: usize,
    rows: usize,
}

/// `y[t] = b + sum_j x[t + (j - centre) * dilation] W_j`, where rows before the first and after the last are zero.
///
/// Each tap is a product of shifted rows; nothing is copied or padded.
///
/// # Shapes
/// - `x` `[G, L, c_in]`: G sequences of length L
/// - `weight` `[1, k * c_in, c_out]`: tap `j` owns rows `j * c_in ..`
/// - `bias` `[1, 1, c_out]`
/// - result `[G, L, c_out]`
///
/// # Panics
/// If the shapes do not fit.
pub fn convolution(x: Tensor<3>, weight: Tensor<3>, bias: Tensor<3>, taps: Taps) -> Tensor<3> {
    let [groups, length, c_in] = x.dims();
    let [weights, rows, c_out] = weight.dims();
    assert!(c_in > 0 && rows % c_in == 0 && rows > 0, "convolution: {rows} weight rows are no multiple of {c_in} channels");
    let k = rows / c_in;
    let shared = weights == 1 && bias.dims() == [1, 1, c_out];
    if shared && groups * length * c_out > 0 {
        let op = Convolution { length, k, c_in, c_out, taps };
        if let Some(y) = apply(op, [&x, &weight, &bias], [groups, length, c_out]) {
            return y;
        }
    }
    composed(x, weight, bias, taps)
}

/// The same function from ordinary tensor operations; `weight` `[G|1, k * c_in, c_out]`, `bias` `[G|1, 1, c_out]`.
pub(super) fn composed(x: Tensor<3>, weight: Tensor<3>, bias: Tensor<3>, taps: Taps) -> Tensor<3> {
    let [groups, length, c_in] = x.dims();
    let k = weight.dims()[1] / c_in;
    let columns = (0..k).map(|tap| {
        let Reach { from, to, rows } = taps.reach(tap, length);
        let zeros = Tensor::zeros([groups, length - rows, c_in], &x.device());
        if rows == 0 || rows == length {
            return if rows == 0 { zeros } else { x.clone() };
        }
        let seen = x.clone().slice([0..groups, from..from + rows]);
        Tensor::cat(if to > 0 { vec![zeros, seen] } else { vec![seen, zeros] }, 1) // [G, L, c_in]
    });
    let columns = Tensor::cat(columns.collect(), 2); // [G, L, k * c_in]
    super::linear::composed(columns, weight, Some(bias), crate::Activation::Identity)
}

#[derive(Clone, Copy, Debug)]
struct Convolution {
    length: usize,
    k: usize,
    c_in: usize,
    c_out: usize,
    taps: Taps,
}

impl Convolution {
    /// Taps that see any row, with what they see.
    fn reaches(&self) -> impl Iterator<Item = (usize, Reach)> {
        let Convolution { length, k, taps, .. } = *self;
        (0..k).map(move |tap| (tap, taps.reach(tap, length))).filter(|(_, reach)| reach.rows > 0)
    }

    fn tap<'a>(&self, weight: &'a [f32], tap: usize) -> &'a [f32] {
        let size = self.c_in * self.c_out;
        &weight[tap * size..][..size]
    }

    fn add_sequence(&self, x: &[f32], weight: &[f32], y: &mut [f32]) {
        let Convolution { c_in, c_out, .. } = *self;
        for (tap, Reach { from, to, rows }) in self.reaches() {
            let x = View::rows(&x[from * c_in..][..rows * c_in], c_in);
            matmul_add(x, self.tap(weight, tap), &mut y[to * c_out..][..rows * c_out], c_in, c_out);
        }
    }

    /// `transposed` holds each tap's weight as `[c_out, c_in]`.
    fn add_input_gradient(&self, dy: &[f32], transposed: &[f32], dx: &mut [f32]) {
        let Convolution { c_in, c_out, .. } = *self;
        for (tap, Reach { from, to, rows }) in self.reaches() {
            let dy = View::rows(&dy[to * c_out..][..rows * c_out], c_out);
            let dx = &mut dx[from * c_in..][..rows * c_in];
            matmul_add(dy, self.tap(transposed, tap), dx, c_out, c_in);
        }
    }

    fn add_weight_gradient(&self, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let Convolution { c_in, c_out, .. } = *self;
        for (tap, Reach { from, to, rows }) in self.reaches() {
            let dw = &mut dw[tap * c_in * c_out..][..c_in * c_out];
            let x = View::columns(&x[from * c_in..][..rows * c_in], c_in);
            matmul_add(x, &dy[to * c_out..][..rows * c_out], dw, rows, c_out);
        }
    }
}

impl FusedOp<3> for Convolution {
    type Saved = ();
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _wanted: [bool; 3]) -> (Vec<f32>, ()) {
        let Convolution { length, c_in, c_out, .. } = *self;
        let rows = x.len() / c_in;
        let (y, _) = build_parts(rows, rows_per_part(rows, length), bias, |row, y| {
            let x = x[row * c_in..].chunks_exact(length * c_in);
            for (x, y) in x.zip(y.chunks_exact_mut(length * c_out)) {
                self.add_sequence(x, weight, y);
            }
        });
        (y, ())
    }

    fn backward(&self, pass: Pass<'_, 3, ()>) -> [Option<Vec<f32>>; 3] {
        let Convolution { length, k, c_in, c_out, .. } = *self;
        let [x, weight, _] = pass.inputs;
        let [want_x, want_weight, want_bias] = pass.wanted;
        let rows = x.len() / c_in;
        let size = rows_per_part(rows, length);
        let mut transposed = Vec::new();
        if want_x {
            for tap in 0..k {
                transposed.extend(transpose(self.tap(weight, tap), c_in, c_out));
            }
        }
        let work = |row: usize, end: usize, dx: &mut [f32]| {
            let dy = &pass.grad[row * c_out..end * c_out];
            if want_x {
                let sequences = dy.chunks_exact(length * c_out);
                for (dy, dx) in sequences.zip(dx.chunks_exact_mut(length * c_in)) {
                    self.add_input_gradient(dy, &transposed, dx);
                }
            }
            let dw = sum_if(want_weight, k * c_in * c_out, |dw| {
                let sequences = dy.chunks_exact(length * c_out);
                for (x, dy) in x[row * c_in..].chunks_exact(length * c_in).zip(sequences) {
                    self.add_weight_gradient(x, dy, dw);
                }
            });
            let db = sum_if(want_bias, c_out, |db| add_rows(db, dy));
            (dw, db)
        };
        let (dx, sums) = if want_x {
            let (dx, sums) = build_parts(rows, size, &vec![0.0; c_in], |row, dx| work(row, row + dx.len() / c_in, dx));
            (Some(dx), sums)
        } else {
            (None, map_parts(rows, size, |row, end| work(row, end, &mut [])))
        };
        let (dw, db): (Vec<_>, Vec<_>) = sums.into_iter().unzip();
        [dx, want_weight.then(|| sum_parts(dw, k * c_in * c_out)), want_bias.then(|| sum_parts(db, c_out))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{check_differences, compare, draw, outcome, rng, same_bytes_for_any_threads};
    use super::*;

    fn inputs(seed: u64, [g, l, c_in, c_out, k]: [usize; 5]) -> Vec<(Vec<f32>, [usize; 3])> {
        let mut rng = rng(seed);
        [[g, l, c_in], [1, k * c_in, c_out], [1, 1, c_out]].map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec()
    }

    fn fused(x: &[Tensor<3>], taps: Taps) -> Tensor<3> {
        convolution(x[0].clone(), x[1].clone(), x[2].clone(), taps)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn fused_equals_composed(
            seed: u64, g in 1usize..5, l in 1usize..20, c_in in 1usize..20, c_out in 1usize..20, k in 1usize..5, dilation in 1usize..25,
            both_sides: bool,
        ) {
            let inputs = inputs(seed, [g, l, c_in, c_out, k]);
            let taps = if both_sides { Taps::centred(k, dilation) } else { Taps::causal(k, dilation) };
            let twin = |x: &[Tensor<3>]| composed(x[0].clone(), x[1].clone(), x[2].clone(), taps);
            compare(&inputs, &|x| fused(x, taps), &twin);
        }
    }

    /// One channel, taps 100, 10, 1: the digits say which position each tap saw.
    fn digits(taps: Taps) -> Vec<f32> {
        let inputs = vec![(vec![1.0, 2.0, 3.0, 4.0, 5.0], [1, 5, 1]), (vec![100.0, 10.0, 1.0], [1, 3, 1]), (vec![0.0], [1, 1, 1])];
        outcome(&inputs, &[true; 3], &|x| fused(x, taps)).value
    }

    #[test]
    fn a_position_sees_itself_and_dilated_positions_before_it() {
        assert_eq!(digits(Taps::causal(3, 2)), [1.0, 2.0, 13.0, 24.0, 135.0]);
    }

    #[test]
    fn with_the_current_position_in_the_middle_it_sees_both_sides() {
        assert_eq!(digits(Taps::centred(3, 1)), [12.0, 123.0, 234.0, 345.0, 450.0]);
        assert_eq!(digits(Taps::centred(3, 2)), [13.0, 24.0, 135.0, 240.0, 350.0]);
    }

    #[test]
    fn gradient_agrees_with_differences() {
        for taps in [Taps::causal(3, 2), Taps::centred(3, 2)] {
            check_differences(&inputs(3, [2, 6, 3, 4, 3]), &|x| fused(x, taps));
        }
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        for taps in [Taps::causal(3, 4), Taps::centred(3, 4)] {
            same_bytes_for_any_threads(&inputs(4, [70, 30, 8, 9, 3]), &|x| fused(x, taps));
        }
    }
}
