//! Attention of the rows of a group to each other.

use burn::tensor::Tensor;

use super::Linear;
use crate::kernel::{self, Seen};
use crate::{Activation, Pass, SiteId};

/// `y = concat_h(softmax(q_h k_h^T / sqrt(d / H)) v_h) W_o + b_o` with `q, k, v` linear in x (Vaswani et al., NeurIPS 2017).
///
/// A modulation may change all four linear maps and, at the site of the attention itself, what the heads give before the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Its site.
    pub site: SiteId,
    /// Number of heads H.
    pub heads: usize,
    /// To queries.
    pub query: Linear,
    /// To keys.
    pub key: Linear,
    /// To values.
    pub value: Linear,
    /// Of what the heads give.
    pub output: Linear,
}

impl Attention {
    /// # Shapes
    /// `x [G, N, d]` to `[G, N, d]`.
    #[must_use]
    pub fn forward(&self, pass: &Pass<'_>, x: Tensor<3>, seen: Seen<'_>) -> Tensor<3> {
        let [q, k, v] = [self.query, self.key, self.value].map(|linear| linear.forward(pass, x.clone(), Activation::Identity));
        let y = kernel::attention(q.clone(), k, v, self.heads, seen);
        self.output.forward(pass, pass.modulation.attended(self.site, &q, y), Activation::Identity)
    }
}
