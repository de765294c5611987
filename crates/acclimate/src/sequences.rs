//! Logs as sequences: what scenarios of next items, and the bases that come from them, have in common.

mod comparison;
mod floors;
mod gate;
mod memory;
mod open;
mod plan;
mod preflight;
mod prepared;

pub(crate) use comparison::{Table, check, compare, is_sampled, network, start_biases};
pub(crate) use memory::memory_choice;
pub(crate) use open::of_full;
pub use open::{OpenSequences, Recommended};
pub(crate) use plan::examples_over;
pub use plan::{Learned, NegativeHash, Negatives, Plan, Pretraining, Rows};
pub(crate) use prepared::{SEQUENCES, SequenceFile};
