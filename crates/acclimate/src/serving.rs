//! From published files to what a server scores with: compiled plans where the plan knows what a patch does, the plain device else.

mod compile;
mod device;
mod golden;
mod loader;
mod planned;
mod probe;
mod users;

pub use golden::{GOLDEN, golden};
pub use loader::{OnDevice, PublishedLoader};
pub use users::{Heads, heads};
