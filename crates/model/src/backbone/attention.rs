//! Target attention: a list pooled with weights that depend on the item in question.
//!
//! `u = sum_j a(e_j, e_t) e_j`, `a(e, t) = ReLU([e; t; e - t; e ⊙ t] V1 + c1) v2 + c2`, e_j the rows of the list's entries, e_t that of the target. The weights are
//! not normalised: a list with more that fits gives a longer vector. A list without entries gives zero.
//!
//! # References
//! G. Zhou et al., *Deep Interest Network for Click-Through Rate Prediction*, KDD 2018. Its unit reads the two vectors and their product, and its activation is Dice;
//! the difference among the inputs is that of its published code, the ReLU is ours.

use burn::tensor::Tensor;

use crate::{Activation, Architecture, Init, Linear, Pass, Role};

/// Which list is pooled by which target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attended {
    /// Position of the list among those of the input.
    pub(super) bag: usize,
    /// First column of the list in the row.
    pub(super) list: usize,
    /// First column of the target.
    pub(super) target: usize,
}

/// The pooling of one list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub(super) of: Attended,
    unit: [Linear; 2],
}

impl Attention {
    /// Declares the unit of the list `name` for vectors of width `d`.
    pub(super) fn new(architecture: &mut Architecture, name: &str, of: Attended, [d, hidden]: [usize; 2]) -> Self {
        let mut linear = |i: usize, widths: [usize; 2], init: Init| {
            architecture.linear(&format!("attention.{name}.{i}"), widths, init, Init::Constant(0.0), Role::Side)
        };
        let unit = [linear(0, [4 * d, hidden], Init::KaimingUniform), linear(1, [hidden, 1], Init::XavierUniform)];
        Self { of, unit }
    }

    /// The row with the list's columns replaced by the weighted sum.
    ///
    /// # Shapes
    /// `x [G, N, width]` and `entries [G, N * T, d]`, padded with zeros, to `[G, N, width]`.
    pub(super) fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, entries: Tensor<3>) -> Tensor<3> {
        let (Self { of: Attended { list, target, .. }, unit: [first, second] }, d) = (*self, entries.dims()[2]);
        let ([g, n, width], [_, all, _]) = (x.dims(), entries.dims());
        let longest = all / n.max(1);
        let part = |from: usize, to: usize| x.clone().slice([0..g, 0..n, from..to]);
        let target = part(target, target + d).reshape([g, n, 1, d]).repeat_dim(2, longest).reshape([g, all, d]);
        let read = vec![entries.clone(), target.clone(), entries.clone() - target.clone(), entries.clone() * target];
        let hidden = first.forward(pass, Tensor::cat(read, 2), Activation::Relu); // [G, N T, h]
        let weight = second.forward(pass, hidden, Activation::Identity); // [G, N T, 1]
        let sum = (entries * weight).reshape([g * n, longest, d]).sum_dim(1).reshape([g, n, d]);
        let [before, after] = [(0, list), (list + d, width)].map(|(from, to)| (to > from).then(|| part(from, to)));
        Tensor::cat(before.into_iter().chain([sum]).chain(after).collect(), 2)
    }
}
