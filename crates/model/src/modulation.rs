//! What is applied at the sites during one forward pass.

use burn::tensor::Tensor;

use crate::SiteId;

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

/// What a norm subtracts and divides by (its root), both `[G|1, N|1, d]`.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor<3>,
    /// Variance.
    pub variance: Tensor<3>,
}

/// `gain * x + shift` after normalisation, both `[G|1, N|1, d]`.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Factor, 1 at rest.
    pub gain: Tensor<3>,
    /// Offset, 0 at rest.
    pub shift: Tensor<3>,
    /// Running moments of a norm that has some (batch norm); a method that keeps moments of its own, one a domain say, replaces them.
    pub moments: Option<Moments>,
}

/// Which embedding rows were gathered at a rows site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids<'a> {
    /// Codes of a batch, `[G * N, fields]`, in the schema's order of categorical features. The backbone says which of them it reads, and where in a
    /// gathered row each stands.
    Codes {
        /// The codes.
        codes: &'a [u32],
        /// Fields of each row.
        fields: usize,
    },
    /// These rows of the head's table.
    Head(&'a [u32]),
    /// Every row of the head's table.
    WholeHead,
}

/// What an adaptation does to one forward pass. Every method has the identity as default; `()` is the plain backbone and `(A, B)` applies A, then B.
pub trait Modulation: Send + Sync {
    /// Replaces or changes the weights of a linear site.
    fn linear(&self, _site: SiteId, base: Weights) -> Weights {
        base
    }

    /// Replaces or changes gain and shift of a norm site.
    fn norm(&self, _site: SiteId, base: Affine) -> Affine {
        base
    }

    /// Changes the hidden state at a site: `x [G, N, d_in]` went in, `y [G, N, d_out]` came out (before norm and activation).
    fn hidden(&self, _site: SiteId, _x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        y
    }

    /// Whether [`hidden`](Self::hidden) may change anything at `site`. Answering `false` lets the layer fuse its activation.
    fn changes_hidden(&self, _site: SiteId) -> bool {
        true
    }

    /// Changes gathered embedding rows `[G, N, d]` before they are used; `ids` says which rows of which table they are.
    fn rows(&self, _site: SiteId, _ids: Ids<'_>, base: Tensor<3>) -> Tensor<3> {
        base
    }

    /// A term `[1]` added to the training loss.
    fn penalty(&self) -> Option<Tensor<1>> {
        None
    }

    /// Whether the whole effect can be written into the weights: the same for every row, and nothing but an affine change of each site's output.
    fn is_foldable(&self) -> bool {
        false
    }

    /// Weights that do what [`hidden`](Self::hidden) does after `weights`. Asked only of a foldable modulation.
    fn fold_hidden(&self, _site: SiteId, weights: Weights) -> Weights {
        weights
    }
}

impl Modulation for () {
    fn is_foldable(&self) -> bool {
        true
    }

    fn changes_hidden(&self, _site: SiteId) -> bool {
        false
    }
}

impl<A: Modulation, B: Modulation> Modulation for (A, B) {
    fn linear(&self, site: SiteId, base: Weights) -> Weights {
        self.1.linear(site, self.0.linear(site, base))
    }

    fn norm(&self, site: SiteId, base: Affine) -> Affine {
        self.1.norm(site, self.0.norm(site, base))
    }

    fn hidden(&self, site: SiteId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        self.1.hidden(site, x, self.0.hidden(site, x, y))
    }

    fn changes_hidden(&self, site: SiteId) -> bool {
        self.0.changes_hidden(site) || self.1.changes_hidden(site)
    }

    fn rows(&self, site: SiteId, ids: Ids<'_>, base: Tensor<3>) -> Tensor<3> {
        self.1.rows(site, ids, self.0.rows(site, ids, base))
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        match (self.0.penalty(), self.1.penalty()) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        }
    }

    fn is_foldable(&self) -> bool {
        self.0.is_foldable() && self.1.is_foldable()
    }

    fn fold_hidden(&self, site: SiteId, weights: Weights) -> Weights {
        self.1.fold_hidden(site, self.0.fold_hidden(site, weights))
    }
}

impl<M: Modulation + ?Sized> Modulation for Box<M> {
    fn linear(&self, site: SiteId, base: Weights) -> Weights {
        (**self).linear(site, base)
    }

    fn norm(&self, site: SiteId, base: Affine) -> Affine {
        (**self).norm(site, base)
    }

    fn hidden(&self, site: SiteId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        (**self).hidden(site, x, y)
    }

    fn changes_hidden(&self, site: SiteId) -> bool {
        (**self).changes_hidden(site)
    }

    fn rows(&self, site: SiteId, ids: Ids<'_>, base: Tensor<3>) -> Tensor<3> {
        (**self).rows(site, ids, base)
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        (**self).penalty()
    }

    fn is_foldable(&self) -> bool {
        (**self).is_foldable()
    }

    fn fold_hidden(&self, site: SiteId, weights: Weights) -> Weights {
        (**self).fold_hidden(site, weights)
    }
}
