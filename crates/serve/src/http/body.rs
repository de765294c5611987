//! Bodies of requests: at most so many bytes, within a time, and all of them together within a budget.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};

use super::Limits;
use super::problem::Problem;
use crate::api::Refusal;

/// Bytes of all bodies in memory.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// Nothing yet of it.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }

    /// Bytes that are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// What one body takes of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        // Only a sum is kept: no other memory is ordered by it.
        let before = self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.budget.limit { Err(Refusal::Busy { retry_ms: 1_000 }.into()) } else { Ok(()) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A body that is in memory.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) share: Share,
}

/// Reads a body.
pub(crate) async fn read(headers: &HeaderMap, body: Body, most: usize, limits: &Limits, budget: &Arc<Budget>) -> Result<Held, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = |found: u64| Problem::from(Refusal::TooLarge { what: "bytes of the body".to_owned(), found, limit: most as u64 });
    if let Some(length) = length.filter(|length| *length > most as u64) {
        // Who waits for leave to send is refused at once; who sends already would not hear it before all is sent.
        if !headers.contains_key(header::EXPECT) {
            let _ = tokio::time::timeout(limits.body_time(), discard(body, most)).await;
        }
        return Err(too_large(length));
    }
    let mut share = budget.share();
    let reading = async {
        let (mut body, mut first, mut rest) = (body, Bytes::new(), Vec::new());
        let mut size = 0_usize;
        while let Some(data) = next(&mut body).await? {
            size += data.len();
            if size > most {
                discard(body, most).await;
                return Err(too_large(size as u64));
            }
            share.take(data.len())?;
            if first.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.reserve(length.map_or(first.len() + data.len(), |length| (length as usize).min(most)));
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { Bytes::from(rest) })
    };
    match tokio::time::timeout(limits.body_time(), reading).await {
        Ok(bytes) => Ok(Held { bytes: bytes?, share }),
        Err(_) => Err(Problem::SlowBody { ms: limits.body_ms }),
    }
}

/// The next bytes.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Problem::Broken { problem: error.to_string() }),
            // Trailers are of no use here.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads on without keeping anything, up to 32 times the limit, so that a client that sends too much comes to hear that it is too much.
async fn discard(mut body: Body, most: usize) {
    let mut left = most.saturating_mul(32);
    while let Ok(Some(data)) = next(&mut body).await {
        left = left.saturating_sub(data.len());
        if left == 0 {
            return;
        }
    }
}
