//! What HTTP itself counts, for `/metrics`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::route::ROUTES;

/// Statuses that are given; another one counts as the last.
const STATUSES: [u16; 15] = [200, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 429, 503, 504, 500];

/// Upper bounds of the buckets of the histogram of times, in microseconds.
const BUCKETS: [u64; 14] = [100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// Counts since the start.
#[derive(Debug)]
pub(crate) struct Counts {
    routes: Vec<RouteCounts>,
    /// Requests to no route.
    lost: AtomicU64,
    /// Connections that are open.
    pub(crate) connections: AtomicU64,
    /// Connections that were turned away.
    pub(crate) turned_away: AtomicU64,
}

#[derive(Debug, Default)]
struct RouteCounts {
    statuses: [AtomicU64; STATUSES.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            routes: ROUTES.iter().map(|_| RouteCounts::default()).collect(),
            lost: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Counts an answer of the route at an index of [`ROUTES`].
    pub(crate) fn answered(&self, route: usize, status: u16, time: Duration) {
        let counts = &self.routes[route];
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let status = STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len() - 1);
        let bucket = BUCKETS.partition_point(|bound| *bound < micros);
        counts.statuses[status].fetch_add(1, Ordering::Relaxed);
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a request to no route.
    pub(crate) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Appends them in the text format of Prometheus.
    pub(crate) fn write(&self, in_flight: usize, bodies: usize, out: &mut String) {
        self.try_write(in_flight, bodies, out).expect("a string takes any text");
    }

    fn try_write(&self, in_flight: usize, bodies: usize, out: &mut String) -> std::fmt::Result {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        writeln!(out, "# HELP acclimate_http_requests_total Answers by route and status.\n# TYPE acclimate_http_requests_total counter")?;
        for (route, counts) in ROUTES.iter().zip(&self.routes) {
            for (status, count) in
                STATUSES.iter().zip(&counts.statuses).map(|(status, count)| (status, now(count))).filter(|(_, count)| *count > 0)
            {
                let (method, path) = (route.method, route.path);
                writeln!(out, "acclimate_http_requests_total{{method=\"{method}\",route=\"{path}\",status=\"{status}\"}} {count}")?;
            }
        }
        writeln!(out, "acclimate_http_requests_total{{method=\"\",route=\"none\",status=\"404\"}} {}", now(&self.lost))?;
        writeln!(
            out,
            "# HELP acclimate_http_seconds Time from the head of a request to its answer.\n# TYPE acclimate_http_seconds histogram"
        )?;
        for (route, counts) in ROUTES.iter().zip(&self.routes) {
            let mut sum = 0;
            let buckets: Vec<u64> = counts.buckets.iter().map(now).collect();
            if buckets.iter().all(|count| *count == 0) {
                continue;
            }
            let labels = format!("method=\"{}\",route=\"{}\"", route.method, route.path);
            for (bound, count) in BUCKETS.iter().zip(&buckets) {
                sum += count;
                writeln!(out, "acclimate_http_seconds_bucket{{{labels},le=\"{}\"}} {sum}", *bound as f64 / 1e6)?;
            }
            sum += buckets[BUCKETS.len()];
            writeln!(out, "acclimate_http_seconds_bucket{{{labels},le=\"+Inf\"}} {sum}")?;
            writeln!(out, "acclimate_http_seconds_sum{{{labels}}} {}", now(&counts.micros) as f64 / 1e6)?;
            writeln!(out, "acclimate_http_seconds_count{{{labels}}} {sum}")?;
        }
        let gauges = [
            ("acclimate_http_connections", "Open connections.", now(&self.connections)),
            ("acclimate_http_in_flight", "Requests in work.", in_flight as u64),
            ("acclimate_http_body_bytes", "Bytes of bodies in memory.", bodies as u64),
        ];
        for (name, help, value) in gauges {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}")?;
        }
        let name = "acclimate_http_connections_refused_total";
        writeln!(out, "# HELP {name} Connections above the limit.\n# TYPE {name} counter\n{name} {}", now(&self.turned_away))
    }
}
