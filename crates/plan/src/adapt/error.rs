//! What can be wrong with a support set, or with what it is to change.

/// Why nothing was adapted. The network is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AdaptError {
    /// A network that steps on plain numbers do not go through.
    #[error("layer {layer} of {layers}, the head being the last, has {what}, which plain numbers do not go through; adapt with tensors")]
    NotPlain {
        /// Which layer.
        layer: usize,
        /// How many there are, the head among them.
        layers: usize,
        /// What it has.
        what: &'static str,
    },
    /// Layers that are not there, or stand before what the support rows enter.
    #[error("layers {start}..{end} can not be adapted: rows enter at layer {enters}, and there are {layers}, the head being the last")]
    Layers {
        /// The first adapted layer.
        start: usize,
        /// The one after the last.
        end: usize,
        /// The layer that reads the rows.
        enters: usize,
        /// How many there are, the head among them.
        layers: usize,
    },
    /// Numbers that are too many or too few.
    #[error("{what}: {found} numbers, where {expected} are needed")]
    Size {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// More support rows than are taken.
    #[error("{found} support rows, and at most {most} are taken; send the latest of them")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many may be.
        most: usize,
    },
    /// A number that nothing can be computed with.
    #[error("{what}: number {at} is {found}, which is no number that a sum could hold")]
    Number {
        /// Of what.
        what: &'static str,
        /// Its place.
        at: usize,
        /// What it is.
        found: f32,
    },
    /// A label that is no answer.
    #[error("the label of support row {row} is {found}; a logistic objective has labels from 0 to 1")]
    Label {
        /// The row.
        row: usize,
        /// Its label.
        found: f32,
    },
    /// Weights that are no numbers any more.
    #[error("after {steps} steps a weight is no number; the rate is too large for these rows, or the patch is damaged")]
    Diverged {
        /// Steps that were taken.
        steps: usize,
    },
}

/// Numbers of a given count.
pub(super) fn sized(what: &'static str, found: usize, expected: usize) -> Result<(), AdaptError> {
    if found == expected { Ok(()) } else { Err(AdaptError::Size { what, found, expected }) }
}

/// Numbers of at most a given size.
pub(super) fn bounded(what: &'static str, values: &[f32], most: f32) -> Result<(), AdaptError> {
    match values.iter().position(|x| x.is_nan() || x.abs() > most) {
        None => Ok(()),
        Some(at) => Err(AdaptError::Number { what, at, found: values[at] }),
    }
}
