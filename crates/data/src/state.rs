//! What the log itself knows: histories and statistics of earlier rows.
//!
//! A feature of a row is made of the rows before it: those whose time lies before the row's own (minus `lag`), and, of these, those that are [`Known`].
//! Rows of equal time do not see each other, and the order in which a log was written does not show.

mod derivation;
mod file;
mod fit;
mod follow;
mod key;
mod line;
mod list;
mod live;
mod met;
mod replay;
mod rows;
mod slab;
mod tally;

pub(crate) use derivation::{Derivation, Derived, History, Input, Made, Planned, Statistic, names, within};
pub use fit::Level;
pub(crate) use fit::levels;
pub use follow::Followed;
pub(crate) use key::{Column, Groups, KeyPart, name_hash};
pub(crate) use list::Within;
pub use live::{Event, FeatureState, StateFeatures};
pub(crate) use met::value_hash;
pub(crate) use replay::Course;
pub use replay::Known;
pub use rows::{Overlay, StateColumns};
