//! A connection of the client: kept alive, opened again when the server has closed it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A request: `POST` of JSON, or `GET` where there is no body.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    pub(crate) body: Option<String>,
}

impl Ask {
    pub(crate) fn post(path: &str, body: String) -> Self {
        Self { path: path.to_owned(), body: Some(body) }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self { path: path.to_owned(), body: None }
    }
}

/// Largest answer that is read: a server that sends more is broken.
const LARGEST: usize = 16 << 20;

/// A client's end of one connection.
pub(crate) struct Connection {
    address: SocketAddr,
    open: Option<SendRequest<String>>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Opens it, where it is not.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(crate) async fn open(&mut self) -> anyhow::Result<&mut SendRequest<String>> {
        if let Some(open) = &mut self.open
            && open.ready().await.is_err()
        {
            self.open = None;
        }
        if self.open.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            let (open, connection) = handshake(TokioIo::new(stream)).await?;
            // Its end shows in the next request.
            tokio::spawn(async { drop(connection.await) });
            self.open = Some(open);
        }
        self.open.as_mut().ok_or_else(|| anyhow::anyhow!("it was just opened"))
    }

    /// Asks, and reads the answer to its end.
    ///
    /// # Errors
    /// The connection ends before the answer does, or the answer has more than 16 MiB. The next request opens another.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let answered = self.asked(ask).await;
        if answered.is_err() {
            self.open = None;
        }
        answered
    }

    async fn asked(&mut self, ask: &Ask) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let method = if ask.body.is_some() { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(&ask.path).header(HOST, self.address.to_string());
        let request = request.header(CONTENT_TYPE, "application/json").body(ask.body.clone().unwrap_or_default())?;
        let answer = self.open().await?.send_request(request).await?;
        let status = answer.status();
        Ok((status, read(answer.into_body()).await?))
    }
}

async fn read(mut body: Incoming) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            anyhow::ensure!(bytes.len() + data.len() <= LARGEST, "the answer has more than {LARGEST} bytes");
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
