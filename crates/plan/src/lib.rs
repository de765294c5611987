//! The serving plan: a base with what a patch does to it, compiled into packed weights and run without a tensor library.
//!
//! Start with [`Network`], which says what is computed, [`Rows`], what it is computed of, and [`Plan`], which computes it.

mod adapt;
mod cache;
mod check;
mod error;
mod golden;
mod kernel;
mod network;
mod personal;
mod plan;
mod query;
mod rows;

pub use adapt::{
    AdaptError, Adapted, ContextLoop, HeadParams, HeadSolver, InnerLoop, LayerRates, Loss, MOST_ROWS as MOST_SUPPORT_ROWS, Rate, Rates,
    Shrink, UserRate,
};
pub use cache::{ByteCache, CacheCounts};
pub use error::{PlanError, RowsError};
pub use golden::GoldenMismatch;
pub use kernel::Isa;
pub use network::{Activation, After, Branch, Changed, Layer, Linear, Network, Norm, Read, Scale, Slot, Source, Table};
pub use personal::Personal;
pub use plan::{Options, Plan, Precision, Scratch};
pub use query::{MOST_ROWS, Query};
pub use rows::{BagColumn, Columns, Rows};
