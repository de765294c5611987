//! The server: one base in memory, thousands of patches, each answer from exactly the patch that was asked for.
//!
//! [`api`] says what is asked and answered, whatever the protocol; [`Service`](api::Service) answers it.

pub mod api;
pub mod audit;
pub mod http;
