//! What unlabelled traffic says of the share of positives, and when it says nothing.
//!
//! - [`PriorShift`]: the offset of the logit that a change of the prior asks for, found without labels, behind guards that abstain and say which of them did;
//! - [`Track`]: how far such offsets were off on windows whose labels have come in; [`Replay`]: the same judged on the last window whose labels have come in;
//! - [`entropy_offset`]: the offset that makes predictions surest. A control: where positives are few it drives every score to 0.
//!
//! A correction of the prior is a monotone map: no ranking inside a domain changes, and no AUC there. What it can mend is calibration.

mod calibration;
mod entropy;
mod prior;
mod replay;
mod track;

pub use calibration::Calibration;
pub use entropy::{EntropySettings, entropy_offset};
pub use prior::{Abstention, PriorShift, ShiftError, ShiftSettings, Verdict};
pub use replay::Replay;
pub use track::{Track, labelled_offset};

/// `1 / (1 + exp(-z))`.
pub(crate) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 { 1.0 / (1.0 + (-z).exp()) } else { z.exp() / (1.0 + z.exp()) }
}

/// `ln(p / (1 - p))`.
pub(crate) fn logit(p: f64) -> f64 {
    (p / (1.0 - p)).ln()
}

/// `ln(1 + exp(z)) - y z`: the logistic loss.
pub(crate) fn loss(z: f64, y: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p() - y * z
}
