//! An open-loop load: request k is due at `k / rate`, whether or not those before it are answered.
//!
//! Time counts from when a request was due, so a server that stalls pays for all that should have been sent meanwhile (no coordinated omission). A thread of its own watches the
//! clock, since an asynchronous timer is a millisecond coarse; the connections share one more thread.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::connection::{Ask, Connection};
use super::measured::{Measured, Sample};

/// Connections, each kept alive: as many requests can be under way at once.
const CONNECTIONS: usize = 64;
/// Seconds that answers may take after the last request was due.
const GRACE: f64 = 2.0;
/// Most requests of one load.
const MOST: usize = 10_000_000;

/// A constant rate for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLoop {
    /// Requests a second.
    pub(crate) rate: f64,
    /// Seconds at this rate that do not count.
    pub(crate) warm_up: f64,
    /// Seconds that do.
    pub(crate) seconds: f64,
}

/// What clock and connections share.
struct Shared {
    asks: Arc<[Ask]>,
    /// Nanoseconds between requests.
    gap: f64,
    start: OnceLock<Instant>,
    /// A permit for each request that is due and not taken yet.
    due: Semaphore,
    next: AtomicUsize,
    /// Requests from this one on are not sent.
    end: AtomicUsize,
    samples: Mutex<Vec<(usize, Sample)>>,
}

impl Shared {
    fn due_at(&self, request: usize) -> Instant {
        let start = *self.start.get_or_init(Instant::now);
        start + Duration::from_nanos((self.gap * request as f64) as u64)
    }

    /// Takes requests as they become due.
    async fn work(&self, mut connection: Connection) {
        while let Ok(permit) = self.due.acquire().await {
            permit.forget();
            let request = self.next.fetch_add(1, Ordering::Relaxed);
            if request >= self.end.load(Ordering::Relaxed) {
                return;
            }
            let answer = connection.ask(&self.asks[request % self.asks.len()]).await;
            let time = self.due_at(request).elapsed();
            let failure = match answer {
                Ok((status, _)) if status.is_success() => None,
                Ok((status, _)) => Some(format!("status {}", status.as_u16())),
                Err(_) => Some("connection".to_owned()),
            };
            self.samples.lock().unwrap_or_else(PoisonError::into_inner).push((request, Sample { time, failure }));
        }
    }

    /// Lets requests go when they are due; gives how late it was each time.
    fn watch(&self, total: usize) -> Vec<Duration> {
        let mut late = Vec::with_capacity(total);
        for request in 0..total {
            let due = self.due_at(request);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            late.push(due.elapsed());
            self.due.add_permits(1);
        }
        late
    }
}

/// Opens the connections and lets them work.
async fn connected(address: SocketAddr, shared: &Arc<Shared>) -> anyhow::Result<JoinSet<()>> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut connection = Connection::new(address);
        connection.open().await.with_context(|| format!("connecting to {address}"))?;
        connections.push(connection);
    }
    let mut working = JoinSet::new();
    for connection in connections {
        let shared = shared.clone();
        working.spawn(async move { shared.work(connection).await });
    }
    Ok(working)
}

fn shared(asks: &Arc<[Ask]>, gap: f64, end: usize) -> anyhow::Result<Arc<Shared>> {
    anyhow::ensure!(!asks.is_empty(), "there is nothing to ask");
    let (start, due, next) = (OnceLock::new(), Semaphore::new(0), AtomicUsize::new(0));
    Ok(Arc::new(Shared { asks: asks.clone(), gap, start, due, next, end: AtomicUsize::new(end), samples: Mutex::default() }))
}

/// A runtime of this thread.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the system gives no event queue")
}

/// Sends requests, in turn those of `asks`, at a constant rate.
///
/// # Errors
/// Nobody listens, or the load makes no sense. What a server answers, or does not, is no error but counted.
pub(crate) fn run(address: SocketAddr, asks: &Arc<[Ask]>, load: OpenLoop) -> anyhow::Result<Measured> {
    let total = ((load.warm_up + load.seconds) * load.rate).ceil();
    anyhow::ensure!(load.rate > 0.0 && total >= 1.0 && total <= MOST as f64, "{load:?} is 1 to {MOST} requests");
    let (total, warm) = (total as usize, (load.warm_up * load.rate) as usize);
    let shared = shared(asks, 1e9 / load.rate, total)?;
    runtime()?.block_on(async {
        let mut working = connected(address, &shared).await?;
        let watching = {
            let shared = shared.clone();
            tokio::task::spawn_blocking(move || shared.watch(total))
        };
        let clock = watching.await.context("the clock")?;
        // One more for each connection: it ends.
        shared.due.add_permits(CONNECTIONS);
        let grace = Duration::from_secs_f64(GRACE);
        let _ = tokio::time::timeout(grace, async { while working.join_next().await.is_some() {} }).await;
        working.shutdown().await;
        let mut samples = std::mem::take(&mut *shared.samples.lock().unwrap_or_else(PoisonError::into_inner));
        samples.retain(|&(request, _)| request >= warm);
        let lost = total.saturating_sub(warm + samples.len());
        let unanswered = Sample { time: grace, failure: Some("no answer in time".to_owned()) };
        let samples: Vec<Sample> = samples.into_iter().map(|(_, sample)| sample).chain(std::iter::repeat_n(unanswered, lost)).collect();
        Ok(Measured::of(load.rate, &samples, clock))
    })
}

/// Requests a second that are answered when each connection asks again as soon as it has its answer; `connections` of them.
///
/// # Errors
/// Nobody listens, or anything is not answered.
pub(crate) fn peak(address: SocketAddr, asks: &Arc<[Ask]>, connections: usize, seconds: f64) -> anyhow::Result<f64> {
    let shared = shared(asks, 0.0, usize::MAX)?;
    runtime()?.block_on(async {
        shared.due.add_permits(MOST);
        let start = Instant::now();
        let mut working = JoinSet::new();
        for _ in 0..connections.max(1) {
            let shared = shared.clone();
            working.spawn(async move { shared.work(Connection::new(address)).await });
        }
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let answered = shared.samples.lock().unwrap_or_else(PoisonError::into_inner).len();
        let took = start.elapsed().as_secs_f64();
        working.shutdown().await;
        let samples = shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = samples.iter().find_map(|(_, sample)| sample.failure.as_ref()) {
            anyhow::bail!("a request failed: {failure}");
        }
        Ok(answered as f64 / took)
    })
}

#[cfg(test)]
mod tests;
