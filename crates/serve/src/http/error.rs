use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use crate::audit::AuditError;

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
    /// A file that the server needs to start.
    #[error("{what} {}: {problem}", .path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
}
