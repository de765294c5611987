//! HTTP/1.1: everything between a socket and the [`Service`](crate::api::Service).
//!
//! [`Server::bind`] takes the sockets, [`Server::run`] answers until it is told to stop. [`ROUTES`] is the list of what is answered and of who may ask: the router,
//! the counts in `/metrics` and the tests of access are made from it. A request passes, in this order: the number of open connections, the time for its head, its
//! key and role, the time and size of its body, the number of requests in work, its parser, the service. Each has its limit in [`Limits`] and its answer in
//! `docs/serving-limits.md`.

mod access;
mod admin;
mod body;
mod config;
mod connection;
mod counts;
mod document;
mod endpoint;
mod error;
pub mod infer;
mod inflate;
pub mod json;
mod problem;
mod route;
mod server;
mod tls;

pub use config::{AdminConfig, Limits, ServerConfig};
pub use error::ServeError;
pub use route::{Call, Listener, Needs, ROUTES, Route};
pub use server::{Server, Stopped};
pub use tls::TlsFiles;
