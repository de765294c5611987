//! Counters and histograms in the text format of Prometheus. No label holds a user, a patch or a tenant.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the engine counts.
#[derive(Default)]
pub(crate) struct Metrics {
    answers: Mutex<BTreeMap<&'static str, u64>>,
    fallbacks: AtomicU64,
    rows: AtomicU64,
    batches: AtomicU64,
    segments: AtomicU64,
    hits: AtomicU64,
    loads: AtomicU64,
    failed_loads: AtomicU64,
    adapted_hits: AtomicU64,
    adapted_misses: AtomicU64,
    wait: Histogram,
    compute: Histogram,
    adapt: Histogram,
    load: Histogram,
}

/// Bounds of the buckets in microseconds.
const BOUNDS: [u64; 16] = [50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000];

#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn see(&self, time: Duration) {
        let micros = time.as_micros() as u64;
        self.counts[BOUNDS.partition_point(|&bound| bound < micros)].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut sum = 0;
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            sum += count.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {sum}", *bound as f64 / 1e6);
        }
        sum += self.counts[BOUNDS.len()].load(Ordering::Relaxed);
        let seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {sum}\n{name}_sum {seconds}\n{name}_count {sum}");
    }
}

/// One value without labels.
pub(super) fn sample(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Metrics {
    /// A request was answered, `ok` or by the code of a refusal.
    pub(super) fn answered(&self, code: &'static str) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(code).or_default() += 1;
    }

    pub(super) fn hit(&self) {
        add(&self.hits, 1);
    }

    pub(super) fn fell_back(&self) {
        add(&self.fallbacks, 1);
    }

    pub(super) fn loaded(&self, ok: bool, time: Duration) {
        add(if ok { &self.loads } else { &self.failed_loads }, 1);
        self.load.see(time);
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait.see(time);
    }

    pub(super) fn adapted(&self, cached: bool, time: Duration) {
        add(if cached { &self.adapted_hits } else { &self.adapted_misses }, 1);
        self.adapt.see(time);
    }

    /// A batch of so many rows was scored, in so many segments of one patch each.
    pub(super) fn scored(&self, rows: usize, segments: usize, time: Duration) {
        add(&self.batches, 1);
        add(&self.rows, rows as u64);
        add(&self.segments, segments as u64);
        self.compute.see(time);
    }

    pub(super) fn gauges(&self, out: &mut String, gauges: &[(&str, &str, f64)]) {
        gauges.iter().for_each(|(name, help, value)| sample(out, name, "gauge", help, *value));
    }

    pub(super) fn write(&self, out: &mut String) {
        let _ = writeln!(out, "# HELP acclimate_answers_total Answers, by what they were.\n# TYPE acclimate_answers_total counter");
        for (code, count) in &*self.answers.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "acclimate_answers_total{{code=\"{code}\"}} {count}");
        }
        let counters = [
            ("acclimate_fallbacks_total", "Answers from something else than what was asked for.", &self.fallbacks),
            ("acclimate_rows_total", "Rows scored.", &self.rows),
            ("acclimate_batches_total", "Batches scored.", &self.batches),
            ("acclimate_segments_total", "Segments of one patch in them.", &self.segments),
            ("acclimate_patch_hits_total", "Requests whose patch was in memory.", &self.hits),
            ("acclimate_loads_total", "Versions of patches loaded.", &self.loads),
            ("acclimate_failed_loads_total", "Versions of patches that could not be loaded.", &self.failed_loads),
            ("acclimate_adapted_hits_total", "Support sets that had been adapted to before.", &self.adapted_hits),
            ("acclimate_adapted_misses_total", "Support sets that were adapted to.", &self.adapted_misses),
        ];
        counters.iter().for_each(|(name, help, value)| sample(out, name, "counter", help, value.load(Ordering::Relaxed) as f64));
        self.wait.write(out, "acclimate_queue_seconds", "Time in the queue.");
        self.compute.write(out, "acclimate_compute_seconds", "Time to encode and score a batch.");
        self.adapt.write(out, "acclimate_adapt_seconds", "Time to adapt to a support set.");
        self.load.write(out, "acclimate_load_seconds", "Time to load a version of a patch.");
    }
}
