//! Connections: how many, how fast, how long.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::Limits;
use super::endpoint::{Common, Peer};

/// Most headers of a request.
const HEADERS: usize = 64;

/// Connections above the limit that are told so at once; those above it are closed without a word.
const TOLD: usize = 64;

/// A socket and what its connections share.
pub(crate) struct Accept {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) common: Arc<Common>,
    /// One for each open connection.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) stopping: watch::Receiver<bool>,
    /// Time for connections to finish once the socket is closed.
    pub(crate) finish: Duration,
}

/// Takes connections until the order to stop; gives how many were cut off.
pub(crate) async fn accept(socket: Accept) -> usize {
    let Accept { listener, router, tls, common, permits, mut stopping, finish } = socket;
    let told = Arc::new(Semaphore::new(TOLD));
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            // An error is the end of the sender, which is the end of the server.
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as no descriptor left: those who wait get theirs when another connection ends.
                    tracing::warn!(%error, "no connection could be taken");
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => {
                let tls = tls.clone();
                connections.spawn(open(stream, Peer(peer), tls, router.clone(), Arc::clone(&common), stopping.clone(), permit));
            }
            Err(_) => {
                common.counts.turned_away.fetch_add(1, Ordering::Relaxed);
                // Within TLS a word would cost a handshake.
                if let (None, Ok(permit)) = (&tls, Arc::clone(&told).try_acquire_owned()) {
                    connections.spawn(turn_away(stream, permit));
                }
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let cut_off = match tokio::time::timeout(finish, ended).await {
        Ok(()) => 0,
        Err(_) => connections.len(),
    };
    connections.shutdown().await;
    cut_off
}

/// Counts an open connection.
struct Open(Arc<Common>);

impl Open {
    fn new(common: Arc<Common>) -> Self {
        common.counts.connections.fetch_add(1, Ordering::Relaxed);
        Self(common)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counts.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn open(
    stream: TcpStream,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    router: Router,
    common: Arc<Common>,
    stopping: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let open = Open::new(common);
    let limits = &open.0.limits;
    // Without it small answers wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let stream = Impatient::new(stream, limits.write_time());
    let Some(tls) = tls else { return serve(stream, peer, router, limits, stopping).await };
    match tokio::time::timeout(limits.head_time(), tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, router, limits, stopping).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS came of a connection"),
        Err(_) => tracing::debug!("a client did not finish its TLS handshake in time"),
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    limits: &Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_time()).max_headers(HEADERS).max_buf_size(limits.head_bytes);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // The value that is waited for holds a lock, which must not be held further.
    let told = async { drop(stopping.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = told => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Says that there are too many connections, and closes this one when the client has heard it or a second has passed.
async fn turn_away(mut stream: TcpStream, _permit: OwnedSemaphorePermit) {
    const BODY: &str = "{\"error\":{\"code\":\"unavailable\",\"message\":\"too many connections are open; close some, or try later\"}}";
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closed with unread bytes, the answer would be lost with the connection.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

/// A stream whose writes fail once nothing has been taken of them for a time: who asks and does not read is let go.
struct Impatient<T> {
    inner: T,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Kept from an earlier wait.
    spare: Option<Pin<Box<Sleep>>>,
}

impl<T> Impatient<T> {
    fn new(inner: T, patience: Duration) -> Self {
        Self { inner, patience, waiting: None, spare: None }
    }

    /// What a write gave, or an error if it has waited for too long.
    fn or_late<V>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<V>>) -> Poll<io::Result<V>> {
        if written.is_ready() {
            self.spare = self.waiting.take().or(self.spare.take());
            return written;
        }
        let until = Instant::now() + self.patience;
        let waiting = self.waiting.get_or_insert_with(|| {
            let mut sleep = self.spare.take().unwrap_or_else(|| Box::pin(sleep(self.patience)));
            sleep.as_mut().reset(until);
            sleep
        });
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not take the answer")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.or_late(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.or_late(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.inner).poll_flush(context);
        self.or_late(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.inner).poll_shutdown(context);
        self.or_late(context, written)
    }
}
