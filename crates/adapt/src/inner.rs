//! Inner loops of gradient-based methods, in closed form.

mod tower;

pub use tower::{FastLayer, InnerLoop, Order};
