//! Adapting to one user while a request waits: what a support set makes of a network, on plain numbers.
//!
//! - [`InnerLoop`]: gradient steps on some layers, whose deadline may take fewer of them; [`UserRate`] is a rate of the user's own;
//! - [`HeadSolver`]: a head by one solve on the last hidden states;
//! - [`ContextLoop`]: gradient steps on a context vector, which is a shift of the first layer.
//!
//! Each gives a [`Personal`](crate::Personal). Everything is serial, deterministic, and free of tensors.

mod context;
mod error;
mod head;
mod inner;
mod pass;
mod shrink;
mod user_rate;

pub use context::ContextLoop;
pub use error::AdaptError;
pub use head::{HeadParams, HeadSolver};
pub use inner::{Adapted, InnerLoop, LayerRates, Rate, Rates};
pub use pass::{Loss, MOST_ROWS};
pub use shrink::Shrink;
pub use user_rate::UserRate;
