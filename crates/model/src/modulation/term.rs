//! Terms of the training loss that are known after the pass: of what the network says, of labels, of what the base said before training.

use acclimate_data::Batch;
use burn::tensor::Tensor;

use crate::{Objective, Output, ParamId};

/// What a term is computed from.
#[derive(Clone, Copy, Debug)]
pub struct AfterPass<'p> {
    /// What the adapted network says of the batch.
    pub output: &'p Output,
    /// The batch, with its labels.
    pub batch: &'p Batch,
    /// What the rest of the loss is.
    pub objective: Objective,
    /// What the base says of the batch as it was before training, without gradient, for a method that needs a teacher.
    pub teacher: Option<&'p Output>,
}

/// What a term adds to the loss, and what it moves.
#[derive(Clone, Debug)]
pub struct Added {
    /// Their sum is added to the loss. One for each row where it is a sum over rows: whoever adds in double precision then loses nothing to rounding.
    pub summands: Tensor<3>,
    /// New values of the method's own running values ([`ParamSpec::moment`](crate::ParamSpec::moment)).
    pub moved: Vec<Moved>,
}

impl Added {
    /// Adds to the loss and moves nothing.
    #[must_use]
    pub fn new(summands: Tensor<3>) -> Self {
        Self { summands, moved: Vec::new() }
    }
}

/// New values of a block of a parameter that training moves otherwise than by gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its place among the method's parameters ([`Bound::place`](crate::Bound::place)).
    pub param: ParamId,
    /// The block along the first axis.
    pub block: u32,
    /// The block's values.
    pub values: Vec<f32>,
}

type OfPass<'a> = dyn Fn(&AfterPass<'_>) -> Option<Added> + Send + Sync + 'a;

/// A term of the training loss; scoring knows nothing of it.
pub(super) struct Term<'a>(Box<OfPass<'a>>);

impl<'a> Term<'a> {
    pub(super) fn new(of: impl Fn(&AfterPass<'_>) -> Option<Added> + Send + Sync + 'a) -> Self {
        Self(Box::new(of))
    }

    pub(super) fn of(&self, after: &AfterPass<'_>) -> Option<Added> {
        (self.0)(after)
    }
}

impl std::fmt::Debug for Term<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Term")
    }
}
