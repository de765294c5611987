//! Sockets, and the order in which a server stops.

use std::fmt;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use tokio_rustls::TlsAcceptor;

use super::access::{Access, is_local, new_token};
use super::body::Budget;
use super::connection::{Accept, accept};
use super::counts::Counts;
use super::endpoint::{Common, Context, router};
use super::route::Listener;
use super::{ServeError, ServerConfig, TlsFiles};
use crate::api::Service;
use crate::audit::Audit;

/// A server that has its sockets.
pub struct Server {
    config: ServerConfig,
    common: Arc<Common>,
    tls: Option<TlsAcceptor>,
    listeners: Vec<Bound>,
}

/// A socket and what is answered on it.
struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    admin: bool,
}

/// How a server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that had not finished in time and were cut off.
    pub cut_off: usize,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.config).field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the sockets; connections wait in them until [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// A setting that makes no sense, a file that can not be read, an address that is taken, or one that can be reached from elsewhere by anybody.
    pub fn bind(config: ServerConfig, service: Arc<impl Service>) -> Result<Self, ServeError> {
        config.validate()?;
        let public = match &config.keys {
            Some(path) => Access::read(path)?,
            None => match config.listen.iter().copied().find(|address| !is_local(address.ip())) {
                Some(address) => return Err(ServeError::Open { address }),
                None => Access::Open,
            },
        };
        let tls = config.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let audit = config.audit.as_ref().map(|path| Audit::open(path, config.audit_lines_per_minute)).transpose()?;
        let limits = config.limits.clone();
        let common = Arc::new(Common {
            counts: Counts::new(),
            bodies: Budget::new(limits.bodies_bytes),
            work: Semaphore::new(limits.in_flight),
            tenants: public.tenants().map(|tenant| (tenant.to_owned(), Semaphore::new(limits.tenant_in_flight))).collect(),
            stopping: AtomicBool::new(false),
            audit,
            limits,
        });
        let mut listeners = Vec::new();
        let sockets = config.listen.iter().map(|address| listen(*address)).collect::<Result<Vec<_>, _>>()?;
        let operator = config.admin.listen.map(listen).transpose()?;
        if let Some((listener, address)) = operator {
            // Made last: a server that does not start leaves the token of the one that runs.
            let token = config.admin.token_sha256.map_or_else(|| new_token(&config.admin.token_file), Ok)?;
            let access = Arc::new(Access::token(&token).with_admins_of(&public));
            let router = router(Listener::Admin, &Context { common: Arc::clone(&common), service: Arc::clone(&service), access });
            listeners.push(Bound { listener, address, router, admin: true });
        }
        let public = router(Listener::Public, &Context { common: Arc::clone(&common), service, access: Arc::new(public) });
        listeners.extend(sockets.into_iter().map(|(listener, address)| Bound { listener, address, router: public.clone(), admin: false }));
        Ok(Self { config, common, tls, listeners })
    }

    /// Where it listens: the addresses of the config, with the ports that were free.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter(|bound| !bound.admin).map(|bound| bound.address).collect()
    }

    /// Where the operator is listened to.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.listeners.iter().find(|bound| bound.admin).map(|bound| bound.address)
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
        for Bound { listener, address, router, .. } in self.listeners {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(|source| ServeError::Listen { address, source })?;
            let listener = Accept {
                listener,
                router,
                tls: self.tls.clone(),
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
