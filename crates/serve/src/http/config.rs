use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use acclimate_registry::Digest;
use serde::{Deserialize, Serialize};

use super::access::is_local;
use super::{ServeError, TlsFiles};

/// Where a server listens and what it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Addresses of the public listener; port 0 takes a free one. Default 127.0.0.1:8787.
    pub listen: Vec<SocketAddr>,
    /// A file of keys: `[[key]]` with `name`, `tenant`, `sha256` (of the key, in hexadecimal digits) and `roles` (some of `score`, `adapt`, `admin`). Without one
    /// anybody may ask, so that every address must be one of this machine only.
    pub keys: Option<PathBuf>,
    /// TLS, on both listeners.
    pub tls: Option<TlsFiles>,
    /// The listener of the operator.
    pub admin: AdminConfig,
    /// Where denials and what the operator does are logged; nowhere by default.
    pub audit: Option<PathBuf>,
    /// Lines of a minute in that log; what is above is counted in one line. Default 600.
    pub audit_lines_per_minute: u32,
    /// What is refused.
    pub limits: Limits,
    /// Milliseconds between the order to stop and the last accepted connection, in which `/readyz` already says no: time for a load balancer to look away. Default 2,000.
    pub drain_ms: u64,
    /// Milliseconds that requests in work have after that to finish. Default 10,000.
    pub finish_ms: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8787))],
            keys: None,
            tls: None,
            admin: AdminConfig::default(),
            audit: None,
            audit_lines_per_minute: 600,
            limits: Limits::default(),
            drain_ms: 2_000,
            finish_ms: 10_000,
        }
    }
}

/// The listener of the operator, who has a token or a key with the role `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Its address; default 127.0.0.1:8788. `None` leaves it away.
    pub listen: Option<SocketAddr>,
    /// Where the token is written that is made at each start, for its owner only. Default `acclimate-admin.token`.
    pub token_file: PathBuf,
    /// SHA-256 of a token in hexadecimal digits, in place of one that is made.
    pub token_sha256: Option<Digest>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8788)));
        Self { listen, token_file: PathBuf::from("acclimate-admin.token"), token_sha256: None }
    }
}

impl ServerConfig {
    /// Whether it makes sense.
    ///
    /// # Errors
    ///
    /// Which setting does not, and why.
    pub fn validate(&self) -> Result<(), ServeError> {
        if self.listen.is_empty() {
            return Err(ServeError::Setting { what: "listen", problem: "no address is given; name at least one".to_owned() });
        }
        if let Some(address) = self.admin.listen.filter(|address| !is_local(address.ip()) && self.tls.is_none()) {
            let problem = format!(
                "{address} can be reached from elsewhere, where the token would be read on its way; give `tls`, or listen on 127.0.0.1"
            );
            return Err(ServeError::Setting { what: "admin.listen", problem });
        }
        self.limits.validate()
    }
}

/// What a server takes at most; beyond it a request is refused, and `docs/serving-limits.md` says how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections of a listener; each costs up to [`head_bytes`](Self::head_bytes). Default 10,000.
    pub connections: usize,
    /// Requests in work at once. Default 256.
    pub in_flight: usize,
    /// Of them, those of one tenant: lower it so that none takes the place of the others. Default 256.
    pub tenant_in_flight: usize,
    /// Bytes of the head of a request. Default 16 KiB.
    pub head_bytes: usize,
    /// Bytes of a body, decompressed. Default 1 MiB.
    pub body_bytes: usize,
    /// Bytes of a body of events. Default 8 MiB.
    pub events_bytes: usize,
    /// Bytes that may come of one byte of a compressed body, where more than 64 KiB come. Default 100.
    pub inflation: usize,
    /// Bytes of all bodies that are being read or in work. Default 256 MiB.
    pub bodies_bytes: usize,
    /// Rows of a request. Default 4,096.
    pub rows: usize,
    /// Rows of a support set. Default 256.
    pub support_rows: usize,
    /// Requests for scores that one request for inference may fall into, by its shared columns. Default 1,024.
    pub groups: usize,
    /// Events of a request. Default 10,000.
    pub events: usize,
    /// Columns of a row. Default 256.
    pub columns: usize,
    /// Entries of a list in a column. Default 1,024.
    pub list: usize,
    /// Milliseconds for the head of a request, from when the one before it was answered: a connection may be idle so long. Default 30,000.
    pub head_ms: u64,
    /// Milliseconds for the body of a request, from its head to its last byte. Default 10,000.
    pub body_ms: u64,
    /// Milliseconds in which a client must take some of an answer that waits. Default 10,000.
    pub write_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            in_flight: 256,
            tenant_in_flight: 256,
            head_bytes: 16 << 10,
            body_bytes: 1 << 20,
            events_bytes: 8 << 20,
            inflation: 100,
            bodies_bytes: 256 << 20,
            rows: 4_096,
            support_rows: 256,
            groups: 1_024,
            events: 10_000,
            columns: 256,
            list: 1_024,
            head_ms: 30_000,
            body_ms: 10_000,
            write_ms: 10_000,
        }
    }
}

impl Limits {
    /// Whether they make sense.
    ///
    /// # Errors
    ///
    /// Which does not, and why.
    pub fn validate(&self) -> Result<(), ServeError> {
        let sizes = [
            ("limits.connections", self.connections),
            ("limits.in_flight", self.in_flight),
            ("limits.tenant_in_flight", self.tenant_in_flight),
            ("limits.body_bytes", self.body_bytes),
            ("limits.events_bytes", self.events_bytes),
            ("limits.inflation", self.inflation),
            ("limits.groups", self.groups),
            ("limits.rows", self.rows),
            ("limits.support_rows", self.support_rows),
            ("limits.events", self.events),
            ("limits.columns", self.columns),
            ("limits.list", self.list),
        ];
        let times = [("limits.head_ms", self.head_ms), ("limits.body_ms", self.body_ms), ("limits.write_ms", self.write_ms)];
        let sizes = sizes.map(|(what, size)| (what, size as u64));
        if let Some((what, _)) = sizes.into_iter().chain(times).find(|(_, value)| *value == 0) {
            return Err(ServeError::Setting { what, problem: "it is 0, so that nothing would be answered; give at least 1".to_owned() });
        }
        // Semaphores count in part of a word.
        if let Some((what, _)) = sizes.into_iter().find(|(_, value)| *value > u64::from(u32::MAX)) {
            return Err(ServeError::Setting { what, problem: format!("it is above {}, which is no limit", u32::MAX) });
        }
        if self.head_bytes < 8 << 10 {
            return Err(ServeError::Setting {
                what: "limits.head_bytes",
                problem: "it is below 8192 bytes, which ordinary heads need".to_owned(),
            });
        }
        let largest = self.body_bytes.max(self.events_bytes);
        if self.bodies_bytes < largest {
            return Err(ServeError::Setting {
                what: "limits.bodies_bytes",
                problem: format!("it is below the {largest} bytes that one body may have"),
            });
        }
        Ok(())
    }

    pub(crate) fn head_time(&self) -> Duration {
        Duration::from_millis(self.head_ms)
    }

    pub(crate) fn body_time(&self) -> Duration {
        Duration::from_millis(self.body_ms)
    }

    pub(crate) fn write_time(&self) -> Duration {
        Duration::from_millis(self.write_ms)
    }
}
