//! Counts that fade: how often each candidate occurred lately.

use std::sync::Arc;

use acclimate_data::{ItemIndex, Zone};

use super::FloorError;
use super::error::at_least;
use super::ranking::check_catalogue;

/// How often each candidate occurred before a day, faded by age.
///
/// `count(i, t) = sum(0.5^((t - t_e) / half_life))` over the events e of item i on days t_e *strictly before* day t. A day begins at midnight in the zone.
/// Events older than about 150 half-lives count 0 in single precision.
///
/// Deterministic; the order of the events changes nothing but rounding. A question for one moment costs a pass over the events before it, questions for many
/// moments ([`sweep`](Self::sweep)) one pass together, plus the candidates for each distinct day.
///
/// ```
/// use acclimate_data::{ItemIndex, MICROS_PER_DAY as DAY, Zone};
/// use acclimate_eval::floor::FreshCounts;
/// let catalogue = [ItemIndex(3), ItemIndex(5)];
/// let events = [(ItemIndex(3), 0), (ItemIndex(3), 2 * DAY), (ItemIndex(4), DAY), (ItemIndex(5), 4 * DAY)];
/// let fresh = FreshCounts::new(&catalogue, events, 2.0, Zone::UTC)?;
/// let mut counts = [0.0; 2];
/// fresh.at(4 * DAY, &mut counts);
/// assert_eq!(counts, [0.25 + 0.5, 0.0]);
/// # Ok::<(), acclimate_eval::floor::FloorError>(())
/// ```
#[derive(Clone, Debug)]
pub struct FreshCounts {
    /// Day and catalogue position of each event, by day.
    events: Arc<[(i64, u32)]>,
    candidates: usize,
    half_life: f64,
    zone: Zone,
}

impl FreshCounts {
    /// Counts of the items of `catalogue`, ascending, from events given as item and microseconds since 1970 (UTC), in any order. Events of other items are
    /// left out. An event counts half after `half_life_days`.
    ///
    /// # Errors
    /// A catalogue that is empty or not strictly ascending, or a half-life that is not above 0.
    pub fn new(
        catalogue: &[ItemIndex],
        events: impl IntoIterator<Item = (ItemIndex, i64)>,
        half_life_days: f64,
        zone: Zone,
    ) -> Result<Self, FloorError> {
        check_catalogue(catalogue)?;
        let position = |item| catalogue.binary_search(&item).ok().map(|position| position as u32);
        let mut dated: Vec<(i64, u32)> = events.into_iter().filter_map(|(item, time)| Some((zone.day(time), position(item)?))).collect();
        dated.sort_unstable();
        Self { events: dated.into(), candidates: catalogue.len(), half_life: 1.0, zone }.with_half_life(half_life_days)
    }

    /// The same events with another half-life; they are shared and not copied.
    ///
    /// # Errors
    /// A half-life that is not above 0.
    pub fn with_half_life(&self, days: f64) -> Result<Self, FloorError> {
        at_least("fresh_counts", "half_life_days", days, f64::MIN_POSITIVE, "a number of days above 0")?;
        Ok(Self { half_life: days, ..self.clone() })
    }

    /// Days after which an event counts half.
    #[must_use]
    pub fn half_life_days(&self) -> f64 {
        self.half_life
    }

    /// Number of candidates C.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.candidates
    }

    /// Writes the counts before the day of a moment, in microseconds since 1970 (UTC).
    ///
    /// # Shapes
    /// `counts` is `[C]`, in catalogue order.
    ///
    /// # Panics
    /// When `counts` has another length.
    pub fn at(&self, time: i64, counts: &mut [f32]) {
        self.sweep(&[time], &mut |_, found| counts.copy_from_slice(found));
    }

    /// Hands the position of each moment and the counts before its day, `[C]`, to `visit`, by ascending day; moments of one day in the order given.
    pub fn sweep(&self, times: &[i64], visit: &mut dyn FnMut(usize, &[f32])) {
        let days: Vec<i64> = times.iter().map(|&time| self.zone.day(time)).collect();
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|&at| days[at]);
        let mut exact = vec![0.0f64; self.candidates];
        let mut counts = vec![0.0f32; self.candidates];
        let (mut today, mut next) = (i64::MIN, 0);
        for at in order {
            let day = days[at];
            if day != today {
                let fade = if next == 0 { 0.0 } else { self.decay(day - today) };
                exact.iter_mut().for_each(|count| *count *= fade);
                while let Some(&(then, position)) = self.events.get(next).filter(|&&(then, _)| then < day) {
                    exact[position as usize] += self.decay(day - then);
                    next += 1;
                }
                today = day;
                counts.iter_mut().zip(&exact).for_each(|(count, &exact)| *count = exact as f32);
            }
            visit(at, &counts);
        }
    }

    fn decay(&self, days: i64) -> f64 {
        (-(days as f64) / self.half_life).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::catalogue;
    use acclimate_data::MICROS_PER_DAY as DAY;
    use proptest::prelude::*;

    #[test]
    fn unfit_input_is_refused() {
        let new = |items: &[u32], half_life| FreshCounts::new(&catalogue(items), [], half_life, Zone::UTC).err();
        assert_eq!(new(&[], 1.0), Some(FloorError::EmptyCatalogue));
        assert_eq!(new(&[2, 1], 1.0), Some(FloorError::CatalogueOrder { item: 1 }));
        for half_life in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(new(&[1], half_life), Some(FloorError::Setting { setting: "half_life_days", .. })), "{half_life}");
        }
    }

    #[test]
    fn moments_of_one_day_see_the_same_and_nothing_of_it() {
        let fresh = FreshCounts::new(&catalogue(&[7]), [(ItemIndex(7), DAY - 1), (ItemIndex(7), DAY)], 1.0, Zone::UTC).unwrap();
        let mut seen = Vec::new();
        fresh.sweep(&[2 * DAY, DAY, 2 * DAY - 1, 0], &mut |at, counts| seen.push((at, counts[0])));
        assert_eq!(seen, [(3, 0.0), (1, 0.5), (2, 0.5), (0, 0.75)]);
    }

    proptest! {
        #[test]
        fn one_sweep_equals_the_definition(
            rows in proptest::collection::vec((0u32..4, 0i64..60), 1..40),
            days in proptest::collection::vec(0i64..70, 1..20),
            half_life in 0.5f64..20.0,
        ) {
            let items = catalogue(&[0, 1, 3]);
            let events = rows.iter().map(|&(item, day)| (ItemIndex(item), day * DAY + 7));
            let fresh = FreshCounts::new(&items, events, 3.5, Zone::UTC).unwrap().with_half_life(half_life).unwrap();
            let times: Vec<i64> = days.iter().map(|day| day * DAY).collect();
            let mut seen = 0;
            fresh.sweep(&times, &mut |at, counts| {
                seen += 1;
                for (item, count) in items.iter().zip(counts) {
                    let ages = rows.iter().filter(|row| row.0 == item.0).map(|row| days[at] - row.1).filter(|&age| age > 0);
                    let expected: f64 = ages.map(|age| 0.5f64.powf(age as f64 / half_life)).sum();
                    assert!((f64::from(*count) - expected).abs() < 1e-5, "{count} against {expected}");
                }
            });
            prop_assert_eq!(seen, days.len());
        }
    }
}
