//! Inner loops of gradient-based methods, in closed form.

mod tower;

pub(crate) use tower::{Backward, Rows, detached, forward};
pub use tower::{FastLayer, InnerLoop, Order, Rates};
