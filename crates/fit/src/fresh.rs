//! Fresh users: people of whom a few positives are known, in one domain, and nothing else.
//!
//! What is fitted says how much such a person will like each item, as any [`Bridge`](crate::bridge::Bridge) does; the source of a [`Known`](crate::bridge::Known)
//! person is empty here, and the revealed items are all that is read.
//!
//! - [`MetaCf`]: items that a user is made of, moved by a few gradient steps on the user's own items;
//! - [`Ease`]: the ridge regression of every item on all others.

mod ease;
mod episode;
mod metacf;
mod number;
mod potential;

pub use ease::Ease;
pub use metacf::{MetaCf, MetaCfConfig, Order};
