//! Adapting to one user while a request waits: what a support set makes of a network, on plain numbers.
//!
//! - [`InnerLoop`]: gradient steps on some layers, whose deadline may take fewer of them;
//!
//! Each gives a [`Personal`](crate::Personal). Everything is serial and deterministic, and the same bytes on every processor of the same word size.

mod dense;
mod error;
mod inner;
mod pass;
mod shrink;

pub use error::AdaptError;
pub use inner::{Adapted, InnerLoop, LayerRates, Rate, Rates};
pub use pass::{Loss, MOST_ROWS};
pub use shrink::Shrink;
