//! What happened since a base was trained, durably, and what is known because of it.
//!
//! An event goes into a [log](segment) first, and into the state when the log has it on disk; only then is it acknowledged. A state is its last snapshot and the
//! events behind it, in the order of the log, so after a crash it has the bits of one that was never disturbed. One thread writes; who scores reads the state
//! while it moves, and never waits for a disk.

mod config;
mod error;
mod event;
mod ids;
mod log;
pub mod segment;
mod snapshot;
mod store;
mod writer;

pub use config::EventConfig;
pub use error::EventError;
pub use store::{Opened, StateStore};
