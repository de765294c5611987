//! What one key of a statistic keeps of its rows.

use serde::{Deserialize, Serialize};

use crate::MICROS_PER_DAY;
use crate::config::{Since, Span, StatisticValue};

/// Steps of a window: its oldest rows leave it one step at a time.
const STEPS: i64 = 24;

/// Smallest hashes that are kept of distinct values.
const DISTINCT: usize = 256;

/// What is kept, and how it ages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum TallyKind {
    /// Number and sum of all rows.
    Sums,
    /// Number and sum of the rows in a window, by step; the length of a step in microseconds.
    Window { step: i64 },
    /// Number and sum, halved after so many microseconds.
    Decay { half_life: f64 },
    /// Distinct values.
    Distinct,
    /// The first and the last time.
    Times,
}

impl TallyKind {
    pub(crate) fn of(value: StatisticValue, window: Option<Span>, half_life: Option<Span>) -> Self {
        match (value, window, half_life) {
            (StatisticValue::Distinct, ..) => Self::Distinct,
            (StatisticValue::Age, ..) => Self::Times,
            (_, Some(window), _) => Self::Window { step: (window.micros() / STEPS).max(1) },
            (_, None, Some(half_life)) => Self::Decay { half_life: half_life.micros() as f64 },
            (_, None, None) => Self::Sums,
        }
    }
}

/// A row as a statistic keeps it. Rows of equal time are added in the order of their content, so that the order of the files does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Microseconds since 1970.
    pub(crate) time: i64,
    /// The bits of its number, or the hash of its value.
    pub(crate) bits: u64,
}

/// The rows of one key, summed up. Adding costs O(1), or O(256) for distinct values, and so does reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Tally {
    Sums {
        n: f64,
        sum: f64,
    },
    Window(Ring),
    Decay {
        n: f64,
        sum: f64,
        at: i64,
    },
    /// The smallest hashes, ascending: all of them where there are fewer than [`DISTINCT`] (k minimum values).
    Distinct(Vec<u64>),
    Times(Option<[i64; 2]>),
}

/// Number and sum of each step of a window that has rows, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Dense", into = "Dense")]
pub(crate) struct Ring {
    newest: i64,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    step: i64,
    n: u32,
    sum: f64,
}

/// A window in a file: all of its steps, of which step `i` of the time line lies at `i mod STEPS`.
#[derive(Serialize, Deserialize)]
struct Dense {
    newest: i64,
    n: [u32; STEPS as usize],
    sum: [f64; STEPS as usize],
}

impl From<Ring> for Dense {
    fn from(Ring { newest, steps }: Ring) -> Self {
        let mut dense = Self { newest, n: [0; STEPS as usize], sum: [0.0; STEPS as usize] };
        for Step { step, n, sum } in steps {
            let at = step.rem_euclid(STEPS) as usize;
            (dense.n[at], dense.sum[at]) = (n, sum);
        }
        dense
    }
}

impl From<Dense> for Ring {
    fn from(Dense { newest, n, sum }: Dense) -> Self {
        let filled = (newest.saturating_sub(STEPS - 1)..=newest).filter_map(|step| {
            let at = step.rem_euclid(STEPS) as usize;
            (n[at] > 0).then_some(Step { step, n: n[at], sum: sum[at] })
        });
        Self { newest, steps: filled.collect() }
    }
}

impl Ring {
    /// Moves on to a later step: what falls out of the window is forgotten.
    fn reach(&mut self, step: i64) {
        if step > self.newest {
            self.newest = step;
            let forgotten = self.steps.partition_point(|other| other.step <= step - STEPS);
            self.steps.drain(..forgotten);
        }
    }

    /// Adds rows of a step that lies in the window.
    fn add(&mut self, step: i64, n: u32, sum: f64) {
        match self.steps.binary_search_by_key(&step, |other| other.step) {
            Ok(at) => {
                self.steps[at].n += n;
                self.steps[at].sum += sum;
            }
            Err(at) => {
                if self.steps.capacity() == 0 {
                    // Most keys have few rows.
                    self.steps.reserve_exact(1);
                }
                self.steps.insert(at, Step { step, n, sum: 0.0 + sum });
            }
        }
    }

    /// Number and sum of the steps that a window which ends in `last` covers, oldest first.
    fn sums(&self, last: i64) -> (f64, f64) {
        let covered = self.steps.iter().filter(|other| last - STEPS < other.step && other.step <= last);
        covered.fold((0.0, 0.0), |(n, sum), other| (n + f64::from(other.n), sum + other.sum))
    }
}

impl Tally {
    pub(crate) fn new(kind: TallyKind) -> Self {
        match kind {
            TallyKind::Sums => Self::Sums { n: 0.0, sum: 0.0 },
            TallyKind::Window { .. } => Self::Window(Ring { newest: i64::MIN / 2, steps: Vec::new() }),
            TallyKind::Decay { .. } => Self::Decay { n: 0.0, sum: 0.0, at: i64::MIN },
            TallyKind::Distinct => Self::Distinct(Vec::new()),
            TallyKind::Times => Self::Times(None),
        }
    }

    /// Whether it was made for this kind.
    pub(crate) fn is_of(&self, kind: TallyKind) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(&Self::new(kind))
    }

    /// Adds a row. Rows come in the order of [`Mark`]; one that comes later than its order counts all the same, but to the last bit only in order.
    pub(crate) fn add(&mut self, kind: TallyKind, mark: Mark) {
        let number = || f64::from_bits(mark.bits);
        match (self, kind) {
            (Self::Sums { n, sum }, _) => {
                *n += 1.0;
                *sum += number();
            }
            (Self::Window(ring), TallyKind::Window { step }) => {
                let step = mark.time.div_euclid(step);
                ring.reach(step);
                if step > ring.newest - STEPS {
                    ring.add(step, 1, number());
                }
            }
            (Self::Decay { n, sum, at }, TallyKind::Decay { half_life }) => {
                if mark.time >= *at {
                    let kept = decay(*at, mark.time, half_life);
                    (*n, *sum, *at) = (*n * kept + 1.0, *sum * kept + number(), mark.time);
                } else {
                    let weight = decay(mark.time, *at, half_life);
                    (*n, *sum) = (*n + weight, *sum + weight * number());
                }
            }
            (Self::Distinct(hashes), _) => insert(hashes, mark.bits),
            (Self::Times(times), _) => {
                *times = Some(times.map_or([mark.time; 2], |[first, last]| [first.min(mark.time), last.max(mark.time)]));
            }
            _ => unreachable!("a tally has the kind that it was made for"),
        }
    }

    /// Adds the rows of another tally, up to `cutoff`.
    pub(crate) fn merge(&mut self, kind: TallyKind, other: &Self, cutoff: i64) {
        match (self, other) {
            (Self::Sums { n, sum }, Self::Sums { n: more, sum: further }) => {
                *n += more;
                *sum += further;
            }
            (Self::Window(ring), Self::Window(other)) => {
                ring.reach(other.newest);
                let oldest = ring.newest - STEPS + 1;
                other.steps.iter().filter(|other| other.step >= oldest).for_each(|other| ring.add(other.step, other.n, other.sum));
            }
            (Self::Decay { n, sum, at }, Self::Decay { .. }) => {
                let TallyKind::Decay { half_life } = kind else { unreachable!("a tally has the kind that it was made for") };
                let ((more, further), kept) = (other.sums(kind, cutoff), decay(*at, cutoff, half_life));
                (*n, *sum, *at) = (*n * kept + more, *sum * kept + further, cutoff);
            }
            (Self::Distinct(hashes), Self::Distinct(others)) => others.iter().for_each(|&hash| insert(hashes, hash)),
            (Self::Times(times), Self::Times(others)) => {
                *times = match (*times, *others) {
                    (Some([a, b]), Some([c, d])) => Some([a.min(c), b.max(d)]),
                    (one, other) => one.or(other),
                };
            }
            _ => unreachable!("tallies of one statistic are of one kind"),
        }
    }

    /// Number and sum of the rows as they count at `cutoff`, before which all of them lie.
    pub(crate) fn sums(&self, kind: TallyKind, cutoff: i64) -> (f64, f64) {
        match (self, kind) {
            (Self::Sums { n, sum }, _) => (*n, *sum),
            (Self::Window(ring), TallyKind::Window { step }) => ring.sums((cutoff - 1).div_euclid(step)),
            (Self::Decay { n, sum, at }, TallyKind::Decay { half_life }) => {
                let kept = decay(*at, cutoff, half_life);
                (n * kept, sum * kept)
            }
            _ => (0.0, 0.0),
        }
    }

    /// Distinct values, estimated beyond 255 as `(k - 1) / h_k` with the k-th smallest hash `h_k` in (0, 1).
    ///
    /// # References
    /// Z. Bar-Yossef et al., *Counting Distinct Elements in a Data Stream*, RANDOM 2002.
    pub(crate) fn distinct(&self) -> f64 {
        match self {
            Self::Distinct(hashes) if hashes.len() < DISTINCT => hashes.len() as f64,
            Self::Distinct(hashes) => (DISTINCT - 1) as f64 * 2.0_f64.powi(64) / hashes[DISTINCT - 1] as f64,
            _ => 0.0,
        }
    }

    /// Days from the first or last row to `now`; NaN without a row.
    pub(crate) fn age(&self, since: Since, now: i64) -> f64 {
        match (self, since) {
            (Self::Times(Some([first, _])), Since::First) => (now - first) as f64 / MICROS_PER_DAY as f64,
            (Self::Times(Some([_, last])), Since::Last) => (now - last) as f64 / MICROS_PER_DAY as f64,
            _ => f64::NAN,
        }
    }
}

/// `2^(-(to - from) / half_life)`; 1 where nothing lies before.
fn decay(from: i64, to: i64, half_life: f64) -> f64 {
    if from == i64::MIN { 1.0 } else { (-((to - from) as f64) / half_life).exp2() }
}

fn insert(hashes: &mut Vec<u64>, hash: u64) {
    if hashes.len() == DISTINCT && hashes[DISTINCT - 1] <= hash {
        return;
    }
    if let Err(at) = hashes.binary_search(&hash) {
        if hashes.capacity() == 0 {
            // Most keys have few rows.
            hashes.reserve_exact(1);
        }
        hashes.insert(at, hash);
        hashes.truncate(DISTINCT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;

    const HOUR: i64 = 3_600_000_000;

    fn filled(kind: TallyKind, rows: &[(i64, f64)]) -> Tally {
        let mut tally = Tally::new(kind);
        rows.iter().for_each(|&(time, x)| tally.add(kind, Mark { time, bits: x.to_bits() }));
        tally
    }

    #[test]
    fn a_window_forgets_what_is_older_by_steps() {
        let kind = TallyKind::of(StatisticValue::Count, Some("24h".parse().unwrap()), None);
        let tally = filled(kind, &[(0, 1.0), (HOUR, 2.0), (HOUR + 1, 4.0), (30 * HOUR, 8.0)]);
        // Hours 7 to 30 at 30:30, so the first three are gone; at 31:00 the row at 30:00 is known.
        assert_eq!(tally.sums(kind, 31 * HOUR), (1.0, 8.0));
        assert_eq!(tally.sums(kind, 53 * HOUR + 1), (1.0, 8.0));
        assert_eq!(tally.sums(kind, 54 * HOUR + 1), (0.0, 0.0));
        let early = filled(kind, &[(0, 1.0), (HOUR, 2.0), (HOUR + 1, 4.0)]);
        assert_eq!(early.sums(kind, 24 * HOUR), (3.0, 7.0), "hours 0 to 23");
        assert_eq!(early.sums(kind, 24 * HOUR + 1), (2.0, 6.0), "hours 1 to 24");
        assert_eq!(early.sums(kind, 1000 * HOUR), (0.0, 0.0));
    }

    #[test]
    fn rows_count_half_after_a_half_life() {
        let kind = TallyKind::of(StatisticValue::Rate, None, Some("2h".parse().unwrap()));
        let tally = filled(kind, &[(0, 1.0), (2 * HOUR, 0.0), (4 * HOUR, 1.0)]);
        assert_eq!(tally.sums(kind, 4 * HOUR), (1.75, 1.25));
        assert_eq!(tally.sums(kind, 6 * HOUR), (0.875, 0.625));
    }

    #[test]
    fn merged_tallies_say_what_one_of_all_rows_says() {
        let rows: Vec<(i64, f64)> = (0..40).map(|i| (i * HOUR, f64::from(u32::try_from(mix(i as u64) % 8).unwrap()))).collect();
        let (some, others): (Vec<_>, Vec<_>) = rows.iter().partition(|(_, x)| *x > 3.0);
        let span = Some("30h".parse().unwrap());
        for (value, window, half_life) in [
            (StatisticValue::Mean, None, None),
            (StatisticValue::Mean, span, None),
            (StatisticValue::Mean, None, span),
            (StatisticValue::Distinct, None, None),
            (StatisticValue::Age, None, None),
        ] {
            let kind = TallyKind::of(value, window, half_life);
            let cutoff = 40 * HOUR;
            let (whole, mut merged) = (filled(kind, &rows), filled(kind, &some));
            merged.merge(kind, &filled(kind, &others), cutoff);
            let near = |a: f64, b: f64| (a - b).abs() < 1e-12 * a.abs().max(1.0);
            let ((n, sum), (m, total)) = (whole.sums(kind, cutoff), merged.sums(kind, cutoff));
            assert!(near(n, m) && near(sum, total), "{kind:?}: {n} {m} {sum} {total}");
            assert_eq!(whole.distinct(), merged.distinct());
            assert_eq!(whole.age(Since::First, cutoff).to_bits(), merged.age(Since::First, cutoff).to_bits());
            assert_eq!(whole.age(Since::Last, cutoff).to_bits(), merged.age(Since::Last, cutoff).to_bits());
        }
    }

    #[test]
    fn distinct_values_are_counted_exactly_and_then_estimated() {
        let kind = TallyKind::Distinct;
        let mut tally = Tally::new(kind);
        for i in 0..100_000_u64 {
            let before = tally.distinct();
            tally.add(kind, Mark { time: 0, bits: mix(i) });
            tally.add(kind, Mark { time: 0, bits: mix(i / 2) });
            assert!(i >= 255 || tally.distinct() == before + 1.0);
        }
        assert!((tally.distinct() / 1e5 - 1.0).abs() < 0.2, "{}", tally.distinct());
    }
}
