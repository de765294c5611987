//! What adapting to one user changes.

use crate::{Linear, Scale};

/// Weights that replace the network's for one user; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Personal {
    /// Of each hidden layer; empty if none changes.
    pub layers: Vec<Option<Linear>>,
    /// Of each hidden layer, applied to the output of its linear map before everything else that stands after it; empty if none is there.
    pub scales: Vec<Option<Scale>>,
    /// Of the head.
    pub head: Option<Linear>,
}

impl Personal {
    /// Its size in bytes, for a cache that is bounded by bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let linear = |linear: &Linear| linear.weight.len() + linear.bias.len();
        let scale = |scale: &Scale| scale.gain.iter().chain(&scale.shift).map(|values| values.len()).sum::<usize>();
        let layers: usize = self.layers.iter().flatten().map(linear).sum();
        let scales: usize = self.scales.iter().flatten().map(scale).sum();
        4 * (layers + scales + self.head.as_ref().map_or(0, linear)) + size_of::<Self>()
    }
}
