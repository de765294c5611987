//! Learned keys and values at an attention site.

use burn::tensor::Tensor;

use crate::Sight;
use crate::kernel::{Seen, attention};

/// `y_h + gate_h softmax(q_h K_h^T / sqrt(d / H)) V_h` for each head h of H: keys and values that every position sees, attended to apart from the others.
#[derive(Clone, Debug)]
pub struct Prefix {
    /// `K` `[G|1, P, d]`.
    pub keys: Tensor<3>,
    /// `V` `[G|1, P, d]`.
    pub values: Tensor<3>,
    /// `[G|1, 1, H]`.
    pub gate: Tensor<3>,
}

impl Prefix {
    /// # Shapes
    /// `query`, `y` and the result `[G, N, d]`.
    pub(super) fn apply(&self, query: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        let ([_, _, d], [gates, _, heads]) = (query.dims(), self.gate.dims());
        let seen = Seen { sight: Sight::All, mask: None };
        let attended = attention(query.clone(), self.keys.clone(), self.values.clone(), heads, seen);
        let gate = self.gate.clone().reshape([gates, heads, 1]).repeat_dim(2, d / heads).reshape([gates, 1, d]); // [G|1, 1, d]
        y + attended * gate
    }
}
