//! Weights of a linear site as effects change them.

use burn::tensor::Tensor;

/// Weights of a linear site: `y = x (weight + a b) + bias`.
///
/// # Shapes
/// `weight [G|1, d_in, d_out]`, `bias [G|1, 1, d_out]`, `low_rank` = `a [G|1, d_in, r]` and `b [G|1, r, d_out]`.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The matrix.
    pub weight: Tensor<3>,
    /// Added to the product.
    pub bias: Option<Tensor<3>>,
    /// Low-rank addition to the matrix, kept factored.
    pub low_rank: Option<[Tensor<3>; 2]>,
}

impl Weights {
    /// The matrix with its low-rank addition.
    #[must_use]
    pub fn full(self) -> Tensor<3> {
        match self.low_rank {
            Some([a, b]) => self.weight + a.matmul(b),
            None => self.weight,
        }
    }

    /// One more low-rank addition, beside one that is there.
    #[must_use]
    pub(super) fn plus(self, a: &Tensor<3>, b: &Tensor<3>) -> Self {
        let low_rank = match self.low_rank {
            None => [a.clone(), b.clone()],
            Some([a0, b0]) => {
                let (a0, a) = same_groups(a0, a.clone());
                let (b0, b) = same_groups(b0, b.clone());
                [Tensor::cat(vec![a0, a], 2), Tensor::cat(vec![b0, b], 1)]
            }
        };
        Self { low_rank: Some(low_rank), ..self }
    }

    /// Something added to the bias.
    #[must_use]
    pub(super) fn shifted(self, by: Option<&Tensor<3>>) -> Self {
        let bias = match (self.bias, by) {
            (Some(bias), Some(by)) => Some(bias + by.clone()),
            (bias, by) => bias.or_else(|| by.cloned()),
        };
        Self { bias, ..self }
    }
}

/// Both with as many groups as the larger one has.
fn same_groups(a: Tensor<3>, b: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let groups = a.dims()[0].max(b.dims()[0]);
    let widened = |x: Tensor<3>| if x.dims()[0] == groups { x } else { x.repeat_dim(0, groups) };
    (widened(a), widened(b))
}
