//! Softmax cross-entropy over all rows of a table, or over a positive and shared sampled negatives.
//!
//! The logits of a part of the positions live in a scratch buffer only: their gradient, the products with it and the loss are
//! computed while they are in cache, so no `[P, V]` tensor ever exists.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};

use super::fused::{FusedOp, Pass, apply};
use super::gemm::{View, matmul_add, transpose};
use super::linear::{add_rows, fill_rows, sum_if};
use super::logistic::normalise;
use super::parts::{map_parts, sum_parts};
use super::simd::{LANES, add_lanes, exp, multiversion};

/// Positions whose logits are in memory at once: with 100 candidates 25 KiB, with 20,000 candidates 5 MiB.
const POSITIONS: usize = 64;

/// Weighted mean of `-log softmax(h C^T + b)[target]` over the positions; every row of `candidates` competes.
///
/// # Shapes
/// - `hidden` `[G, N, d]`: P = G·N positions
/// - `candidates` `[1, V, d]`, `bias` `[1, 1, V]` or none
/// - `targets`: P row numbers of `candidates`; `weights`: P values, 0 for padding
/// - result `[1]`
///
/// # Panics
/// If the sizes differ or a target is no row of `candidates`.
pub fn softmax_loss(hidden: Tensor<3>, candidates: Tensor<3>, bias: Option<Tensor<3>>, targets: &[u32], weights: &[f32]) -> Tensor<1> {
    let [g, n, d] = hidden.dims();
    let [_, v, width] = candidates.dims();
    assert!(
        g * n == targets.len() && g * n == weights.len() && d == width,
        "softmax_loss: {} positions of width {d}, {} targets, {} weights, candidates of width {width}",
        g * n,
        targets.len(),
        weights.len()
    );
    assert!(targets.iter().all(|&t| (t as usize) < v), "softmax_loss: a target is not below {v}");
    let b = bias.clone().unwrap_or_else(|| Tensor::zeros([1, 1, v], &hidden.device()));
    let op = Full { d, v, targets: targets.to_vec(), weights: normalise(weights) };
    apply(op, [&hidden, &candidates, &b], [1]).unwrap_or_else(|| composed(hidden, candidates, bias, targets, weights))
}

/// The same function from ordinary tensor operations.
pub(super) fn composed(hidden: Tensor<3>, candidates: Tensor<3>, bias: Option<Tensor<3>>, targets: &[u32], weights: &[f32]) -> Tensor<1> {
    let [g, n, d] = hidden.dims();
    let logits = hidden.reshape([1, g * n, d]).matmul(candidates.swap_dims(1, 2)); // [1, P, V]
    let logits = match bias {
        Some(bias) => logits + bias,
        None => logits,
    };
    picked(logits, targets, weights)
}

/// The items that sampled softmax compares at each position.
#[derive(Clone, Debug)]
pub struct Candidates<'a> {
    /// Each position's next item `[G, N, d]`.
    pub positives: Tensor<3>,
    /// The sampled items that all positions share `[1, K, d]`.
    pub negatives: Tensor<3>,
    /// Which item each positive is, G·N numbers.
    pub targets: &'a [u32],
    /// Which item each negative is, K numbers.
    pub sampled: &'a [u32],
}

/// Weighted mean of `-log(exp(h p) / (exp(h p) + sum_k exp(h n_k)))`: each position's positive `p` against negatives that all
/// positions share. A negative that is the position's own target is left out of its sum.
///
/// # Shapes
/// - `hidden` `[G, N, d]`: P = G·N positions; see [`Candidates`] for the others
/// - `weights`: P values, 0 for padding
/// - result `[1]`
///
/// # Panics
/// If the sizes differ.
pub fn sampled_softmax_loss(hidden: Tensor<3>, candidates: Candidates<'_>, weights: &[f32]) -> Tensor<1> {
    let [g, n, d] = hidden.dims();
    let Candidates { positives, negatives, targets, sampled } = &candidates;
    assert!(
        positives.dims() == [g, n, d] && negatives.dims() == [1, sampled.len(), d] && targets.len() == g * n && weights.len() == g * n,
        "sampled_softmax_loss: hidden {:?}, positives {:?}, negatives {:?}, {} targets, {} sampled, {} weights",
        hidden.dims(),
        positives.dims(),
        negatives.dims(),
        targets.len(),
        sampled.len(),
        weights.len()
    );
    let op = Sampled { d, targets: targets.to_vec(), sampled: sampled.to_vec(), weights: normalise(weights) };
    apply(op, [&hidden, positives, negatives], [1]).unwrap_or_else(|| composed_sampled(hidden, candidates, weights))
}

/// The same function from ordinary tensor operations.
pub(super) fn composed_sampled(hidden: Tensor<3>, candidates: Candidates<'_>, weights: &[f32]) -> Tensor<1> {
    let Candidates { positives, negatives, targets, sampled } = candidates;
    let [g, n, d] = hidden.dims();
    let (p, k) = (g * n, sampled.len());
    let positive = (hidden.clone() * positives).sum_dim(2).reshape([1, p, 1]);
    let hits = targets.iter().flat_map(|t| sampled.iter().map(move |s| if s == t { f32::MIN } else { 0.0 }));
    let hits = Tensor::<3>::from_data(TensorData::new(hits.collect::<Vec<f32>>(), [1, p, k]), &hidden.device());
    let negative = hidden.reshape([1, p, d]).matmul(negatives.swap_dims(1, 2)) + hits; // [1, P, K]
    picked(Tensor::cat(vec![positive, negative], 2), &vec![0; p], weights)
}

fn picked(logits: Tensor<3>, targets: &[u32], weights: &[f32]) -> Tensor<1> {
    let device = logits.device();
    let p = targets.len();
    let index: Vec<i32> = targets.iter().map(|&t| t as i32).collect();
    let index = Tensor::<3, Int>::from_data(TensorData::new(index, [1, p, 1]), &device);
    let weights = Tensor::<3>::from_data(TensorData::new(normalise(weights), [1, p, 1]), &device);
    (log_softmax(logits, 2).gather(2, index) * weights).sum().neg()
}

#[derive(Clone, Debug)]
struct Full {
    d: usize,
    v: usize,
    targets: Vec<u32>,
    weights: Vec<f32>,
}

/// The loss and the gradients of a range of positions.
struct Share {
    loss: f64,
    hidden: Vec<f32>,
    rest: [Vec<f32>; 2],
}

/// Adds the shares up in order: loss, gradient of the positions one after the other, sums of the shared gradients.
fn gather(shares: Vec<Share>, lengths: [usize; 2]) -> (f32, Vec<f32>, [Vec<f32>; 2]) {
    let mut loss = 0.0;
    let mut hidden = Vec::new();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for share in shares {
        loss += share.loss;
        if hidden.is_empty() {
            hidden = share.hidden;
        } else {
            hidden.extend(share.hidden);
        }
        let [a, b] = share.rest;
        first.push(a);
        second.push(b);
    }
    (loss as f32, hidden, [sum_parts(first, lengths[0]), sum_parts(second, lengths[1])])
}

/// Positions per share. Each share sums its own gradient of the candidates, so there are few of them when that is large.
fn share_size(positions: usize, gradient: usize) -> usize {
    let shares = ((1 << 23) / gradient.max(1)).clamp(2, 16);
    positions.div_ceil(shares).next_multiple_of(POSITIONS)
}

impl FusedOp<3> for Full {
    type Saved = [Vec<f32>; 3];
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [hidden, candidates, bias]: [&[f32]; 3], wanted: [bool; 3]) -> (Vec<f32>, Self::Saved) {
        let Full { d, v, .. } = *self;
        let positions = self.targets.len();
        let columns = transpose(candidates, v, d);
        let tracked = wanted.contains(&true);
        let shares = map_parts(positions, share_size(positions, v * d), |start, end| {
            let mut share = Share {
                loss: 0.0,
                hidden: vec![0.0; if wanted[0] { (end - start) * d } else { 0 }],
                rest: [sum_if(wanted[1], v * d, |_| ()), sum_if(wanted[2], v, |_| ())],
            };
            let mut logits = vec![0.0; POSITIONS.min(end - start) * v];
            for first in (start..end).step_by(POSITIONS) {
                let last = (first + POSITIONS).min(end);
                let logits = &mut logits[..(last - first) * v];
                let h = &hidden[first * d..last * d];
                fill_rows(logits, bias);
                matmul_add(View::rows(h, d), &columns, logits, d, v);
                for (row, p) in logits.chunks_exact_mut(v).zip(first..last) {
                    let (target, weight) = (self.targets[p] as usize, self.weights[p]);
                    let score = row[target];
                    let mut norm = [f32::NEG_INFINITY, 0.0];
                    exponentials(row, &mut norm);
                    share.loss += f64::from(weight) * (f64::from(norm[1]).ln() + f64::from(norm[0]) - f64::from(score));
                    if tracked {
                        scale(row, weight / norm[1]);
                        row[target] -= weight;
                    }
                }
                if wanted[0] {
                    let dh = &mut share.hidden[(first - start) * d..(last - start) * d];
                    matmul_add(View::rows(logits, v), candidates, dh, v, d);
                }
                if wanted[1] {
                    matmul_add(View::columns(logits, v), h, &mut share.rest[0], last - first, d);
                }
                if wanted[2] {
                    add_rows(&mut share.rest[1], logits);
                }
            }
            share
        });
        let (loss, hidden, [candidates, bias]) = gather(shares, [v * d, v]);
        (vec![loss], [hidden, candidates, bias])
    }

    fn backward(&self, pass: Pass<'_, 3, Self::Saved>) -> [Option<Vec<f32>>; 3] {
        finish(pass)
    }
}

#[derive(Clone, Debug)]
struct Sampled {
    d: usize,
    targets: Vec<u32>,
    sampled: Vec<u32>,
    weights: Vec<f32>,
}

impl FusedOp<3> for Sampled {
    type Saved = [Vec<f32>; 3];
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [hidden, positives, negatives]: [&[f32]; 3], wanted: [bool; 3]) -> (Vec<f32>, Self::Saved) {
        let (d, k, positions) = (self.d, self.sampled.len(), self.targets.len());
        let columns = transpose(negatives, k, d);
        let shares = map_parts(positions, share_size(positions, k * d), |start, end| {
            let mut share = Share {
                loss: 0.0,
                hidden: vec![0.0; if wanted[0] { (end - start) * d } else { 0 }],
                rest: [vec![0.0; if wanted[1] { (end - start) * d } else { 0 }], sum_if(wanted[2], k * d, |_| ())],
            };
            let mut logits = vec![0.0; POSITIONS.min(end - start) * k];
            for first in (start..end).step_by(POSITIONS) {
                let last = (first + POSITIONS).min(end);
                let logits = &mut logits[..(last - first) * k];
                let span = first * d..last * d;
                let own = (first - start) * d..(last - start) * d;
                let (h, positive) = (&hidden[span.clone()], &positives[span]);
                logits.fill(0.0);
                matmul_add(View::rows(h, d), &columns, logits, d, k);
                let mut pull = [0.0; POSITIONS];
                dot_rows(h, positive, d, &mut pull);
                for (i, p) in (first..last).enumerate() {
                    let row = &mut logits[i * k..][..k];
                    hide(row, &self.sampled, self.targets[p]);
                    let (score, weight) = (pull[i], self.weights[p]);
                    let mut norm = [score, 0.0];
                    exponentials(row, &mut norm);
                    let own = (score - norm[0]).exp();
                    let total = norm[1] + own;
                    share.loss += f64::from(weight) * (f64::from(total).ln() + f64::from(norm[0]) - f64::from(score));
                    scale(row, weight / total);
                    // 1 - own / total, without cancellation.
                    pull[i] = -weight * norm[1] / total;
                }
                if wanted[0] {
                    let dh = &mut share.hidden[own.clone()];
                    scaled_rows(dh, positive, d, &pull);
                    matmul_add(View::rows(logits, k), negatives, dh, k, d);
                }
                if wanted[1] {
                    scaled_rows(&mut share.rest[0][own], h, d, &pull);
                }
                if wanted[2] {
                    matmul_add(View::columns(logits, k), h, &mut share.rest[1], last - first, d);
                }
            }
            share
        });
        let mut positives = Vec::with_capacity(if wanted[1] { positions * d } else { 0 });
        let shares = shares
            .into_iter()
            .map(|share| {
                let [own, shared] = share.rest;
                positives.extend(own);
                Share { rest: [shared, Vec::new()], ..share }
            })
            .collect();
        let (loss, hidden, [negatives, _]) = gather(shares, [k * d, 0]);
        (vec![loss], [hidden, positives, negatives])
    }

    fn backward(&self, pass: Pass<'_, 3, Self::Saved>) -> [Option<Vec<f32>>; 3] {
        finish(pass)
    }
}

/// The saved gradients times the upstream gradient.
fn finish(pass: Pass<'_, 3, [Vec<f32>; 3]>) -> [Option<Vec<f32>>; 3] {
    let (upstream, wanted) = (pass.grad[0], pass.wanted);
    let mut gradients = pass.saved;
    if upstream != 1.0 {
        gradients.iter_mut().for_each(|g| scale(g, upstream));
    }
    let [a, b, c] = gradients;
    [wanted[0].then_some(a), wanted[1].then_some(b), wanted[2].then_some(c)]
}

/// Takes the position's own target out of its negatives.
fn hide(row: &mut [f32], sampled: &[u32], target: u32) {
    for (logit, &item) in row.iter_mut().zip(sampled) {
        if item == target {
            *logit = f32::NEG_INFINITY;
        }
    }
}

multiversion! {
    /// Replaces logits by `exp(logit - max)`; `norm` comes in as `[another logit or -inf, _]` and leaves as `[max, sum]`.
    fn exponentials(row: &mut [f32], norm: &mut [f32; 2]) {
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        let mut highest = [norm[0]; LANES];
        for chunk in chunks.iter() {
            for i in 0..LANES {
                highest[i] = if chunk[i] > highest[i] { chunk[i] } else { highest[i] };
            }
        }
        for value in rest.iter() {
            highest[0] = if *value > highest[0] { *value } else { highest[0] };
        }
        let max = highest.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let mut sums = [0.0; LANES];
        for chunk in chunks {
            for i in 0..LANES {
                chunk[i] = exp(chunk[i] - max);
                sums[i] += chunk[i];
            }
        }
        for (value, sum) in rest.iter_mut().zip(&mut sums) {
            *value = exp(*value - max);
            *sum += *value;
        }
        *norm = [max, add_lanes(sums)];
    }
}

multiversion! {
    fn scale(values: &mut [f32], factor: f32) {
        for v in values.iter_mut() {
            *v *= factor;
        }
    }
}

multiversion! {
    /// `out[i] = a_i b_i` for rows of width `d`.
    fn dot_rows(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
        for ((a, b), out) in a.chunks_exact(d).zip(b.chunks_exact(d)).zip(out) {
            *out = super::simd::dot(a, b);
        }
    }
}

multiversion! {
    /// `out_i = factor_i row_i` for rows of width `d`.
    fn scaled_rows(out: &mut [f32], rows: &[f32], d: usize, factors: &[f32]) {
        for ((out, row), factor) in out.chunks_exact_mut(d).zip(rows.chunks_exact(d)).zip(factors) {
            for (o, r) in out.iter_mut().zip(row) {
                *o = factor * r;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{check_differences, compare, draw, outcome, rng, same_bytes_for_any_threads};
    use super::*;

    type Inputs = Vec<(Vec<f32>, [usize; 3])>;

    fn drawn(seed: u64, shapes: [[usize; 3]; 3]) -> Inputs {
        let mut rng = rng(seed);
        shapes.map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec()
    }

    fn numbers(p: usize, v: usize) -> Vec<u32> {
        (0..p).map(|i| (i * 7 % v) as u32).collect()
    }

    fn weights(p: usize) -> Vec<f32> {
        (0..p).map(|i| if i % 4 == 3 { 0.0 } else { 1.0 + (i % 2) as f32 }).collect()
    }

    fn sampled(x: &[Tensor<3>], targets: &[u32], sampled: &[u32], weights: &[f32], fused: bool) -> Tensor<1> {
        let candidates = Candidates { positives: x[1].clone(), negatives: x[2].clone(), targets, sampled };
        let f = if fused { sampled_softmax_loss } else { composed_sampled };
        f(x[0].clone(), candidates, weights)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn full_equals_composed(seed: u64, g in 1usize..4, n in 1usize..50, d in 1usize..20, v in 1usize..70) {
            let inputs = drawn(seed, [[g, n, d], [1, v, d], [1, 1, v]]);
            let (t, w) = (numbers(g * n, v), weights(g * n));
            let f = |x: &[Tensor<3>]| softmax_loss(x[0].clone(), x[1].clone(), Some(x[2].clone()), &t, &w);
            compare(&inputs, &f, &|x| composed(x[0].clone(), x[1].clone(), Some(x[2].clone()), &t, &w));
        }

        #[test]
        fn sampled_equals_composed(seed: u64, g in 1usize..4, n in 1usize..50, d in 1usize..20, k in 1usize..70) {
            let inputs = drawn(seed, [[g, n, d], [g, n, d], [1, k, d]]);
            let (t, s, w) = (numbers(g * n, 2 * k), numbers(k, 3 * k), weights(g * n));
            compare(&inputs, &|x| sampled(x, &t, &s, &w, true), &|x| sampled(x, &t, &s, &w, false));
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let (t, w) = (numbers(6, 5), weights(6));
        let full = drawn(1, [[2, 3, 4], [1, 5, 4], [1, 1, 5]]);
        check_differences(&full, &|x| softmax_loss(x[0].clone(), x[1].clone(), Some(x[2].clone()), &t, &w));
        let some = drawn(2, [[2, 3, 4], [2, 3, 4], [1, 5, 4]]);
        check_differences(&some, &|x| sampled(x, &t, &[4, 1, 9, 8, 7], &w, true));
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        let (t, w) = (numbers(900, 40), weights(900));
        let full = drawn(1, [[9, 100, 6], [1, 40, 6], [1, 1, 40]]);
        same_bytes_for_any_threads(&full, &|x| softmax_loss(x[0].clone(), x[1].clone(), Some(x[2].clone()), &t, &w));
        let some = drawn(2, [[9, 100, 6], [9, 100, 6], [1, 30, 6]]);
        same_bytes_for_any_threads(&some, &|x| sampled(x, &t, &numbers(30, 40), &w, true));
    }

    #[test]
    fn large_logits_and_a_negative_equal_to_the_target_are_safe() {
        let inputs = vec![(vec![100.0], [1, 1, 1]), (vec![1.0], [1, 1, 1]), (vec![1.0, -1.0], [1, 2, 1])];
        let y = outcome(&inputs, &[true; 3], &|x| sampled(x, &[5], &[5, 6], &[1.0], true));
        // The first negative is the target itself; the second is 200 below it.
        assert_eq!(y.value, [0.0]);
        assert!(y.gradients.iter().flatten().flatten().all(|g| g.is_finite()));
    }
}
