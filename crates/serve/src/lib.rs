//! The server: one base in memory, thousands of patches, each answer from exactly the patch that was asked for.
//!
//! [`api`] says what is asked and answered, whatever the protocol; the [`engine`] answers it, [`events`] keep what it knows of earlier rows, and [`http`] carries both.

pub mod api;
pub mod audit;
pub mod catalogue;
pub mod engine;
pub mod events;
pub mod http;
pub mod layout;
