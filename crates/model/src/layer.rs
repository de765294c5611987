//! Site-aware layers: plain data that says which parameters and which site a layer uses.

mod attention;
mod batch_norm;
mod convolution;
mod layer_norm;
mod linear;

pub use attention::Attention;
pub use batch_norm::{BatchNorm, Estimate, Watch};
pub use convolution::Conv;
pub use layer_norm::LayerNorm;
pub use linear::{Activation, Linear, product};

use crate::{Bound, Modulation};

/// What one forward pass works with.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The backbone's parameters as tensors.
    pub params: &'a Bound,
    /// What is applied at the sites.
    pub modulation: &'a Modulation<'a>,
    /// In training: what batch norms see; they normalise by it instead of by their running moments.
    pub estimate: Option<&'a Estimate>,
    /// Who looks at what goes into a batch norm.
    pub watch: Option<&'a Watch>,
}

impl<'a> Pass<'a> {
    /// A pass that scores: what it says of a row depends on nothing else in the batch.
    #[must_use]
    pub fn new(params: &'a Bound, modulation: &'a Modulation<'a>) -> Self {
        Self { params, modulation, estimate: None, watch: None }
    }

    /// A pass of the unchanged backbone.
    #[must_use]
    pub fn plain(params: &'a Bound) -> Self {
        Self::new(params, Modulation::nothing())
    }

    /// The same in training.
    #[must_use]
    pub fn estimating(self, estimate: &'a Estimate) -> Self {
        Self { estimate: Some(estimate), ..self }
    }

    /// The same, looked at.
    #[must_use]
    pub fn watched(self, watch: &'a Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }
}
