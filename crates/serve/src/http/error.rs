use std::net::SocketAddr;

use thiserror::Error;

/// Why a server does not start, or stops.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting that makes no sense.
    #[error("{what}: {problem}")]
    Setting {
        /// Which.
        what: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// An address that can not be listened on.
    #[error("can not listen on {address}: {source}; choose another port, or stop what holds it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anybody could ask.
    #[error(
        "{address} can be reached from elsewhere and there are no keys: whoever reaches it could ask; name a key file, or listen on 127.0.0.1"
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
}
