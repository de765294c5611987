//! Site-aware layers: plain data that says which parameters and which site a layer uses.

mod causal_conv;
mod layer_norm;
mod linear;

pub use causal_conv::CausalConv;
pub use layer_norm::LayerNorm;
pub use linear::{Activation, Linear, product};

use crate::{Bound, Modulation};

/// What one forward pass works with.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The backbone's parameters as tensors.
    pub params: &'a Bound,
    /// What is applied at the sites.
    pub modulation: &'a dyn Modulation,
}

impl<'a> Pass<'a> {
    /// A pass of the unchanged backbone.
    #[must_use]
    pub fn plain(params: &'a Bound) -> Self {
        Self { params, modulation: &() }
    }
}
