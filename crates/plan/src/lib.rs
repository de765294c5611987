//! The serving plan: a base with what a patch does to it, compiled into packed weights and run without a tensor library.
//!
//! Start with [`Network`], which says what is computed, and [`Rows`], what it is computed of.

mod adapt;
mod cache;
mod network;
mod personal;
mod rows;

pub use adapt::{
    AdaptError, Adapted, ContextLoop, Film, HeadParams, HeadSolver, InnerLoop, LayerRates, Loss, MOST_ROWS, Rate, Rates, Shrink, UserRate,
};
pub use cache::{ByteCache, CacheCounts};
pub use network::{Activation, After, Branch, Layer, Linear, Network, Norm, Read, Scale, Slot, Source, Table};
pub use personal::Personal;
pub use rows::{BagColumn, Columns, Rows};
