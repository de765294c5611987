//! Sockets, and the order in which a server stops.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::body::Budget;
use super::connection::{Accept, accept};
use super::counts::Counts;
use super::endpoint::{Common, Context, router};
use super::{ServeError, ServerConfig};
use crate::api::Service;

/// A server that has its sockets.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    common: Arc<Common>,
    router: Router,
    listeners: Vec<(TcpListener, SocketAddr)>,
}

/// How a server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had not finished in time and were cut off.
    pub cut_off: usize,
}

impl Server {
    /// Takes the sockets; connections wait in them until [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// A setting that makes no sense, an address that is taken, or one that can be reached from elsewhere by anybody.
    pub fn bind(config: ServerConfig, service: Arc<impl Service>) -> Result<Self, ServeError> {
        config.validate()?;
        if let Some(address) = config.listen.iter().copied().find(|address| !address.ip().is_loopback()) {
            return Err(ServeError::Open { address });
        }
        let limits = config.limits.clone();
        let common = Arc::new(Common {
            counts: Counts::new(),
            bodies: Budget::new(limits.bodies_bytes),
            work: Semaphore::new(limits.in_flight),
            stopping: AtomicBool::new(false),
            limits,
        });
        let router = router(&Context { common: Arc::clone(&common), service });
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(listen(*address)?);
        }
        Ok(Self { config, common, router, listeners })
    }

    /// Where it listens: the addresses of the config, with the ports that were free.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, address)| *address).collect()
    }

    /// Answers until `shutdown` is done. Then `/readyz` says no, new connections are still taken for the time to drain, the sockets are closed, and what is in work is
    /// finished, within its time.
    ///
    /// # Errors
    ///
    /// A socket that the system does not give to the runtime.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Stopped, ServeError> {
        let (stop, stopping) = watch::channel(false);
        let mut accepting = JoinSet::new();
        for (listener, address) in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| ServeError::Listen { address, source })?;
            let listener = Accept {
                listener,
                router: self.router.clone(),
                common: Arc::clone(&self.common),
                permits: Arc::new(Semaphore::new(self.config.limits.connections)),
                stopping: stopping.clone(),
                finish: Duration::from_millis(self.config.finish_ms),
            };
            accepting.spawn(accept(listener));
        }
        shutdown.await;
        self.common.stopping.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_millis(self.config.drain_ms)).await;
        // The receivers live in the tasks that are waited for next.
        let _ = stop.send(true);
        let mut cut_off = 0;
        while let Some(ended) = accepting.join_next().await {
            cut_off += ended.unwrap_or(0);
        }
        Ok(Stopped { cut_off })
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
