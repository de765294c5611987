//! What a load found: times from when a request was due, and what was not answered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// What became of one request.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// From when it was due to the last byte of its answer.
    pub(crate) time: Duration,
    /// Why it counts as not answered; none if it was.
    pub(crate) failure: Option<String>,
}

/// Requests at one rate.
///
/// The q-quantile is the smallest time that at least the share q of all requests kept to. A request that failed kept to none, so a quantile beyond the share that was answered does not exist.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// Requests a second that were due.
    pub(crate) rate: f64,
    /// Requests that count, those of the warm-up left out.
    pub(crate) requests: usize,
    /// Those that failed, by reason.
    pub(crate) errors: BTreeMap<String, usize>,
    /// Milliseconds.
    pub(crate) p50_ms: Option<f64>,
    /// Milliseconds.
    pub(crate) p99_ms: Option<f64>,
    /// Milliseconds; none of fewer than 1,000 requests.
    pub(crate) p999_ms: Option<f64>,
    /// How late the clock that lets requests go was, 99 of 100 times: this much of the times above may be the generator's own.
    pub(crate) clock_p99_ms: Option<f64>,
}

impl Measured {
    /// What samples say; `clock` is how late each request was let go.
    pub(crate) fn of(rate: f64, samples: &[Sample], clock: Vec<Duration>) -> Self {
        let mut errors = BTreeMap::new();
        for failure in samples.iter().filter_map(|sample| sample.failure.as_ref()) {
            *errors.entry(failure.clone()).or_default() += 1;
        }
        let answered = samples.iter().filter(|sample| sample.failure.is_none());
        let times = sorted(answered.map(|sample| sample.time).collect());
        let quantile = |q| quantile(&times, samples.len(), q);
        let clock = sorted(clock);
        Self {
            rate,
            requests: samples.len(),
            errors,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999).filter(|_| samples.len() >= 1000),
            clock_p99_ms: self::quantile(&clock, clock.len(), 0.99),
        }
    }

    /// Whether everything was answered and the 99th percentile stayed within a bound.
    pub(crate) fn holds(&self, bound_ms: f64) -> bool {
        self.errors.is_empty() && self.p99_ms.is_some_and(|p99| p99 <= bound_ms)
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

/// The q-quantile in milliseconds of `of` times, of which those that exist are given in order.
fn quantile(times: &[Duration], of: usize, q: f64) -> Option<f64> {
    let rank = (q * of as f64).ceil().max(1.0) as usize;
    times.get(rank - 1).map(|time| time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(answered: u64, failed: usize) -> Vec<Sample> {
        let ok = (1..=answered).rev().map(|ms| Sample { time: Duration::from_millis(ms), failure: None });
        let lost = Sample { time: Duration::ZERO, failure: Some("status 503".into()) };
        ok.chain(std::iter::repeat_n(lost, failed)).collect()
    }

    #[test]
    fn quantiles_are_times_that_this_share_kept_to() {
        let measured = Measured::of(10.0, &samples(1000, 0), Vec::new());
        assert_eq!((measured.p50_ms, measured.p99_ms, measured.p999_ms), (Some(500.0), Some(990.0), Some(999.0)));
        let one = Measured::of(10.0, &samples(1, 0), Vec::new());
        assert_eq!(
            (one.p50_ms, one.p99_ms, one.p999_ms),
            (Some(1.0), Some(1.0), None),
            "one request says nothing of the last in a thousand"
        );
    }

    #[test]
    fn a_failure_is_never_a_fast_answer() {
        let measured = Measured::of(10.0, &samples(980, 20), Vec::new());
        assert_eq!((measured.p50_ms, measured.p99_ms), (Some(500.0), None), "two in a hundred were not answered at all");
        assert_eq!(measured.errors, BTreeMap::from([("status 503".to_owned(), 20)]));
        assert!(!measured.holds(f64::INFINITY));
        assert!(
            Measured::of(10.0, &samples(100, 0), Vec::new()).holds(99.0) && !Measured::of(10.0, &samples(100, 0), Vec::new()).holds(98.9)
        );
        assert!(!Measured::of(10.0, &[], Vec::new()).holds(1.0), "nothing asked is nothing shown");
    }
}
