//! Scaled dot-product attention of several heads.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use super::fused::{FusedOp, Pass, apply};
use super::gemm::{View, matmul_add};
use super::parts::{build_parts, rows_per_part, sum_parts};
use super::simd::{LANES, add_lanes, dot, exp, multiversion};
use crate::Sight;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// All keys of its group, or those up to its own position; there must then be as many keys as queries.
    pub sight: Sight,
    /// `G * M` values, 0 for keys that nobody sees; `None`: every key is real.
    pub mask: Option<&'a [f32]>,
}

/// `concat_h(softmax(q_h k_h^T / sqrt(d / H)) v_h)` over the keys that a query sees; zero for a query that sees none. Head h of H owns the channels from
/// `h d / H` on.
///
/// # Shapes
/// - `query` `[G, N, d]`
/// - `key`, `value` `[G|1, M, d]`; one group of keys is shared by all
/// - result `[G, N, d]`
///
/// # Panics
/// If the shapes do not fit.
///
/// # References
/// A. Vaswani et al., *Attention Is All You Need*, NeurIPS 2017.
pub fn attention(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, heads: usize, seen: Seen<'_>) -> Tensor<3> {
    let shape @ [g, n, d] = query.dims();
    let [groups, m, _] = key.dims();
    assert!(heads > 0 && d % heads == 0, "attention: {heads} heads do not divide {d} channels");
    assert!(key.dims() == value.dims() && key.dims()[2] == d && (groups == g || groups == 1), "attention: {shape:?}, {:?}", key.dims());
    assert!(seen.sight != Sight::Earlier || n == m, "attention: {n} queries among {m} keys, of which each sees those up to its own");
    assert!(seen.mask.is_none_or(|mask| mask.len() == groups * m), "attention: a mask of {groups} x {m} keys");
    if g * n * m * d > 0 {
        let hidden = seen.mask.map(|mask| mask.iter().map(|&x| if x == 0.0 { f32::NEG_INFINITY } else { 0.0 }).collect());
        let op =
            Attend { sizes: Sizes { n, m, d, heads }, is_shared: groups == 1 && g > 1, is_causal: seen.sight == Sight::Earlier, hidden };
        if let Some(y) = apply(op, [&query, &key, &value], shape) {
            return y;
        }
    }
    composed(query, key, value, heads, seen)
}

/// The same function from ordinary tensor operations.
pub(super) fn composed(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, heads: usize, seen: Seen<'_>) -> Tensor<3> {
    let ([g, n, d], [groups, m, _]) = (query.dims(), key.dims());
    let width = d / heads;
    let split = |x: Tensor<3>| {
        let [groups, rows, _] = x.dims();
        let x = x.reshape([groups, rows, heads, width]).swap_dims(1, 2); // [G|1, H, rows, d / H]
        if groups == g { x } else { x.repeat_dim(0, g) }
    };
    let visible = |i: usize| {
        let (group, query, key) = (i / (n * m) % groups, i / m % n, i % m);
        let real = seen.mask.is_none_or(|mask| mask[group * m + key] != 0.0);
        real && (seen.sight != Sight::Earlier || key <= query)
    };
    let visible: Vec<f32> = (0..groups * n * m).map(|i| f32::from(u8::from(visible(i)))).collect();
    let visible = Tensor::<4>::from_data(TensorData::new(visible, [groups, 1, n, m]), &query.device());
    let scores = split(query).matmul(split(key).swap_dims(2, 3)) / (width as f64).sqrt(); // [G, H, N, M]
    // The second factor is for a query that sees no key.
    let weights = softmax(scores + (visible.clone() - 1.0) * 1e30, 3) * visible;
    weights.matmul(split(value)).swap_dims(1, 2).reshape([g, n, d]) // [G, N, d]
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    n: usize,
    m: usize,
    d: usize,
    heads: usize,
}

#[derive(Clone, Debug)]
struct Attend {
    sizes: Sizes,
    /// All groups have the keys of the first.
    is_shared: bool,
    is_causal: bool,
    /// Added to a key's scores: 0, or minus infinity where nobody sees it.
    hidden: Option<Vec<f32>>,
}

/// Channels of one head in rows of `d`.
#[derive(Clone, Copy)]
struct Head {
    at: usize,
    width: usize,
    d: usize,
}

impl Head {
    /// The head's channels of all rows through strides.
    fn view(self, rows: &[f32]) -> View<'_> {
        View::rows(&rows[self.at..], self.d)
    }

    /// The head's channels of all rows, one row after the other.
    fn take(self, rows: &[f32], out: &mut [f32]) {
        for (row, out) in rows.chunks_exact(self.d).zip(out.chunks_exact_mut(self.width)) {
            out.copy_from_slice(&row[self.at..self.at + self.width]);
        }
    }

    /// The same with rows and channels swapped.
    fn take_transposed(self, rows: &[f32], out: &mut [f32]) {
        let count = rows.len() / self.d;
        for (r, row) in rows.chunks_exact(self.d).enumerate() {
            for (c, &value) in row[self.at..self.at + self.width].iter().enumerate() {
                out[c * count + r] = value;
            }
        }
    }

    /// Adds rows of the head's channels to those of all heads.
    fn add(self, rows: &mut [f32], of_head: &[f32]) {
        for (row, own) in rows.chunks_exact_mut(self.d).zip(of_head.chunks_exact(self.width)) {
            row[self.at..self.at + self.width].iter_mut().zip(own).for_each(|(r, o)| *r += o);
        }
    }
}

impl Attend {
    /// Groups `start..end` of the queries go into one part.
    fn groups_per_part(&self, groups: usize) -> usize {
        let n = self.sizes.n.max(1);
        (rows_per_part(groups * n, n) / n).max(1)
    }

    /// The keys' (or values') rows of a group.
    fn keys<'a>(&self, keys: &'a [f32], group: usize) -> &'a [f32] {
        let size = self.sizes.m * self.sizes.d;
        &keys[if self.is_shared { 0 } else { group * size }..][..size]
    }

    fn heads(&self) -> impl Iterator<Item = Head> {
        let Sizes { d, heads, .. } = self.sizes;
        let width = d / heads;
        (0..heads).map(move |h| Head { at: h * width, width, d })
    }

    fn scale(&self) -> f32 {
        1.0 / ((self.sizes.d / self.sizes.heads) as f32).sqrt()
    }

    /// Turns scores `[N, M]` of a group into weights.
    fn weigh(&self, group: usize, scores: &mut [f32]) {
        let m = self.sizes.m;
        let at = if self.is_shared { 0 } else { group * m };
        let hidden = self.hidden.as_ref().map_or(&[][..], |hidden| &hidden[at..at + m]);
        weigh_rows(scores, m, hidden, self.is_causal, self.scale());
    }
}

impl FusedOp<3> for Attend {
    /// Weights `[G, H, N, M]` in parts of some groups.
    type Saved = Vec<Vec<f32>>;
    const KEEP_OUTPUT: bool = false;

    fn forward(&self, [query, key, value]: [&[f32]; 3], wanted: [bool; 3]) -> (Vec<f32>, Vec<Vec<f32>>) {
        let Sizes { n, m, d, heads } = self.sizes;
        let (groups, width, tracked) = (query.len() / (n * d), d / heads, wanted.contains(&true));
        build_parts(groups * n, self.groups_per_part(groups) * n, &vec![0.0; d], |row, y| {
            let mut saved = Vec::with_capacity(if tracked { y.len() / d * heads * m } else { 0 });
            let (mut scores, mut rows) = (vec![0.0; n * m], vec![0.0; m * width]);
            let mut of_head = vec![0.0; n * width];
            for (group, y) in (row / n..).zip(y.chunks_exact_mut(n * d)) {
                let query = &query[group * n * d..][..n * d];
                for head in self.heads() {
                    head.take_transposed(self.keys(key, group), &mut rows);
                    scores.fill(0.0);
                    matmul_add(head.view(query), &rows, &mut scores, width, m);
                    self.weigh(group, &mut scores);
                    head.take(self.keys(value, group), &mut rows);
                    of_head.fill(0.0);
                    matmul_add(View::rows(&scores, m), &rows, &mut of_head, m, width);
                    head.add(y, &of_head);
                    if tracked {
                        saved.extend_from_slice(&scores);
                    }
                }
            }
            saved
        })
    }

    fn backward(&self, pass: Pass<'_, 3, Vec<Vec<f32>>>) -> [Option<Vec<f32>>; 3] {
        let Sizes { n, m, d, .. } = self.sizes;
        let groups = pass.inputs[0].len() / (n * d);
        let per_part = self.groups_per_part(groups);
        // Shared keys get a sum from each part.
        let key_groups = if self.is_shared { pass.saved.len() } else { groups };
        let sizes = [groups * n * d, key_groups * m * d, key_groups * m * d];
        let mut sums = [0, 1, 2].map(|i| vec![0.0; if pass.wanted[i] { sizes[i] } else { 0 }]);
        let per_key_part = if self.is_shared { 1 } else { per_part };
        let [queries, keys, values] = &mut sums;
        let mut chunks = [(queries, per_part * n * d), (keys, per_key_part * m * d), (values, per_key_part * m * d)]
            .map(|(sum, size)| sum.chunks_mut(size).map(Some).chain(std::iter::repeat_with(|| None)));
        let parts: Vec<[&mut [f32]; 3]> =
            (0..pass.saved.len()).map(|_| chunks.each_mut().map(|chunks| chunks.next().flatten().unwrap_or_default())).collect();
        let run = |(part, sums): (usize, [&mut [f32]; 3])| self.add_gradients(&pass, part * per_part, &pass.saved[part], sums);
        if rayon::current_num_threads() == 1 || parts.len() <= 1 {
            parts.into_iter().enumerate().for_each(run);
        } else {
            parts.into_par_iter().enumerate().for_each(run);
        }
        let [queries, keys, values] = sums;
        let of_keys = |sums: Vec<f32>| match self.is_shared {
            true => sum_parts(sums.chunks_exact(m * d).map(<[f32]>::to_vec).collect(), m * d),
            false => sums,
        };
        let [want_query, want_key, want_value] = pass.wanted;
        [want_query.then_some(queries), want_key.then(|| of_keys(keys)), want_value.then(|| of_keys(values))]
    }
}

impl Attend {
    /// Adds the gradients of a part's groups, the first of which is `first`, to those that are wanted of queries, keys and values.
    fn add_gradients(&self, pass: &Pass<'_, 3, Vec<Vec<f32>>>, first: usize, weights: &[f32], sums: [&mut [f32]; 3]) {
        let Sizes { n, m, d, heads } = self.sizes;
        let ([query, key, value], [want_query, want_key, want_value]) = (pass.inputs, pass.wanted);
        let ([of_query, of_key, of_value], width) = (sums, d / heads);
        let [mut rows, mut of_keys, mut of_queries] = [m.max(n) * width, m * width, n * width].map(|len| vec![0.0; len]);
        let mut slopes = vec![0.0; n * m];
        for (place, weights) in weights.chunks_exact(n * m).enumerate() {
            let (place, head) = (place / heads, Head { at: place % heads * width, width, d });
            let group = first + place;
            let (query, grad) = (&query[group * n * d..][..n * d], &pass.grad[group * n * d..][..n * d]);
            let own = place * n * d;
            let shared = if self.is_shared { 0 } else { place * m * d };
            if want_value {
                head.take(grad, &mut rows);
                of_keys.fill(0.0);
                matmul_add(View::columns(weights, m), &rows, &mut of_keys, n, width);
                head.add(&mut of_value[shared..][..m * d], &of_keys);
            }
            if !(want_query || want_key) {
                continue;
            }
            head.take_transposed(self.keys(value, group), &mut rows);
            slopes.fill(0.0);
            matmul_add(head.view(grad), &rows, &mut slopes, width, m);
            slope_rows(&mut slopes, weights, m, self.scale());
            if want_query {
                head.take(self.keys(key, group), &mut rows);
                of_queries.fill(0.0);
                matmul_add(View::rows(&slopes, m), &rows, &mut of_queries, m, width);
                head.add(&mut of_query[own..][..n * d], &of_queries);
            }
            if want_key {
                head.take(query, &mut rows);
                of_keys.fill(0.0);
                matmul_add(View::columns(&slopes, m), &rows, &mut of_keys, n, width);
                head.add(&mut of_key[shared..][..m * d], &of_keys);
            }
        }
    }
}

multiversion! {
    /// Rows of `m` scores become `softmax(scale * scores + hidden)` over the first keys, all or as many as the row's number says, and 0 after them; zeros
    /// where every key is hidden.
    fn weigh_rows(scores: &mut [f32], m: usize, hidden: &[f32], is_causal: bool, scale: f32) {
        for (i, row) in scores.chunks_exact_mut(m).enumerate() {
            let end = if is_causal { i + 1 } else { m };
            let (row, rest) = row.split_at_mut(end);
            rest.fill(0.0);
            for value in row.iter_mut() {
                *value *= scale;
            }
            for (value, hidden) in row.iter_mut().zip(hidden) {
                *value += hidden;
            }
            let (chunks, rest) = row.as_chunks_mut::<LANES>();
            let mut highest = [f32::NEG_INFINITY; LANES];
            for chunk in chunks.iter() {
                for l in 0..LANES {
                    highest[l] = if chunk[l] > highest[l] { chunk[l] } else { highest[l] };
                }
            }
            for value in rest.iter() {
                highest[0] = if *value > highest[0] { *value } else { highest[0] };
            }
            let max = highest.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
            if max == f32::NEG_INFINITY && !hidden.is_empty() {
                row.fill(0.0);
                continue;
            }
            let mut sums = [0.0; LANES];
            for chunk in chunks {
                for l in 0..LANES {
                    chunk[l] = exp(chunk[l] - max);
                    sums[l] += chunk[l];
                }
            }
            for (value, sum) in rest.iter_mut().zip(&mut sums) {
                *value = exp(*value - max);
                *sum += *value;
            }
            let share = 1.0 / add_lanes(sums);
            for value in row.iter_mut() {
                *value *= share;
            }
        }
    }
}

multiversion! {
    /// Gradients of weights become those of scores before scaling: `s = scale w (g - <w, g>)`.
    fn slope_rows(slopes: &mut [f32], weights: &[f32], m: usize, scale: f32) {
        for (g, w) in slopes.chunks_exact_mut(m).zip(weights.chunks_exact(m)) {
            let mean = dot(g, w);
            for (g, w) in g.iter_mut().zip(w) {
                *g = scale * w * (*g - mean);
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

    fn inputs(seed: u64, [g, groups, n, m, d]: [usize; 5]) -> Inputs {
        let mut rng = rng(seed);
        [[g, n, d], [groups, m, d], [groups, m, d]].map(|s| (draw(&mut rng, s.iter().product()), s)).to_vec()
    }

    /// Every third key is hidden, and all of the last group's but its last.
    fn mask(groups: usize, m: usize) -> Vec<f32> {
        let real = |i: usize| i % 3 != 1 && (i / m + 1 < groups || i + 1 == groups * m);
        (0..groups * m).map(|i| f32::from(u8::from(real(i)))).collect()
    }

    fn fused(x: &[Tensor<3>], heads: usize, seen: Seen<'_>) -> Tensor<3> {
        attention(x[0].clone(), x[1].clone(), x[2].clone(), heads, seen)
    }

    fn twin(x: &[Tensor<3>], heads: usize, seen: Seen<'_>) -> Tensor<3> {
        composed(x[0].clone(), x[1].clone(), x[2].clone(), heads, seen)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn fused_equals_composed(
            seed: u64, g in 1usize..4, n in 1usize..40, m in 1usize..40, heads in 1usize..4, width in 1usize..20, shared: bool, masked: bool,
        ) {
            let groups = if shared { 1 } else { g };
            let d = heads * width;
            let mask = mask(groups, m);
            let all = Seen { sight: Sight::All, mask: masked.then_some(&mask) };
            compare(&inputs(seed, [g, groups, n, m, d]), &|x| fused(x, heads, all), &|x| twin(x, heads, all));
            let earlier = Seen { sight: Sight::Earlier, ..all };
            compare(&inputs(seed, [g, groups, m, m, d]), &|x| fused(x, heads, earlier), &|x| twin(x, heads, earlier));
        }
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let mask = mask(2, 5);
        check_differences(&inputs(3, [2, 2, 5, 5, 6]), &|x| fused(x, 2, Seen { sight: Sight::Earlier, mask: Some(&mask) }));
    }

    #[test]
    fn who_sees_nothing_gets_nothing() {
        let y = outcome(&inputs(3, [1, 1, 2, 2, 3]), &[true; 3], &|x| fused(x, 1, Seen { sight: Sight::Earlier, mask: Some(&[0.0, 1.0]) }));
        assert_eq!(y.value[..3], [0.0; 3]);
        assert!(y.value[3..].iter().all(|&v| v != 0.0));
        assert!(y.gradients.iter().flatten().flatten().all(|g| g.is_finite()));
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let mut inputs = inputs(3, [1, 1, 2, 2, 3]);
        inputs[0].0[0] = f32::NAN;
        let y = outcome(&inputs, &[false; 3], &|x| fused(x, 1, Seen { sight: Sight::All, mask: None }));
        assert!(y.value[..3].iter().all(|v| v.is_nan()) && y.value[3..].iter().all(|v| v.is_finite()));
    }

    #[test]
    fn threads_do_not_change_a_byte() {
        for groups in [1, 70] {
            same_bytes_for_any_threads(&inputs(4, [70, groups, 30, 30, 8]), &|x| fused(x, 2, Seen { sight: Sight::Earlier, mask: None }));
        }
    }
}
