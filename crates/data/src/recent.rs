//! Dated events of the items of a catalogue: how often each was met lately.

use crate::{MICROS_PER_DAY, Zone};

/// Half-lives after which an event is not counted any more: its share is below 1e-9.
const FORGOTTEN: f64 = 30.0;

/// Events of a catalogue's items by day, to be counted at any time.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentEvents {
    zone: Zone,
    items: usize,
    /// Ascending.
    days: Vec<i32>,
    /// Position of the item in the catalogue, one a day above.
    places: Vec<u32>,
}

impl RecentEvents {
    /// Events as (time in microseconds since 1970 (UTC), place in a catalogue of `items` items); a day begins at midnight in `zone`.
    #[must_use]
    pub fn new(zone: Zone, items: usize, events: impl IntoIterator<Item = (i64, u32)>) -> Self {
        let mut dated: Vec<(i32, u32)> = events.into_iter().map(|(time, place)| (zone.day(time) as i32, place)).collect();
        dated.sort_unstable();
        let (days, places) = dated.into_iter().unzip();
        Self { zone, items, days, places }
    }

    /// Number of items in the catalogue.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// `c_i = sum(0.5^((t - t_e) / half_life))` over the events e of item i on days *strictly before* that of `time`, for every item; days count as whole.
    /// Events older than 30 half-lives count nothing.
    ///
    /// # Shapes
    /// `counts` is `[items]`.
    ///
    /// # Panics
    /// If `counts` has another length.
    pub fn counts(&self, time: i64, half_life_days: f64, counts: &mut [f32]) {
        assert_eq!(counts.len(), self.items, "one count an item");
        counts.fill(0.0);
        let day = self.zone.day(time) as i32;
        let reach = (FORGOTTEN * half_life_days).min(f64::from(i32::MAX / 4)) as i32;
        let begin = self.days.partition_point(|&d| d < day - reach);
        let end = self.days.partition_point(|&d| d < day);
        for run in (begin..end).collect::<Vec<_>>().chunk_by(|&a, &b| self.days[a] == self.days[b]) {
            let weight = (-f64::from(day - self.days[run[0]]) / half_life_days).exp2() as f32;
            run.iter().for_each(|&e| counts[self.places[e] as usize] += weight);
        }
    }

    /// The day of a time: equal days give equal counts.
    #[must_use]
    pub fn day(&self, time: i64) -> i64 {
        self.zone.day(time)
    }

    /// A time on the day after the last event.
    #[must_use]
    pub fn after_last(&self) -> i64 {
        (i64::from(self.days.last().copied().unwrap_or(0)) + 2) * MICROS_PER_DAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_halve_per_half_life_and_the_day_itself_is_hidden() {
        let at = |day: i64| day * MICROS_PER_DAY + 7;
        let recent = RecentEvents::new(Zone::UTC, 3, [(at(2), 0), (at(0), 0), (at(3), 1), (at(4), 1), (at(9), 0)]);
        let mut counts = [9.0; 3];
        recent.counts(at(4), 2.0, &mut counts);
        assert_eq!(counts, [0.25 + 0.5, 0.5f32.sqrt(), 0.0]);
        recent.counts(at(0), 2.0, &mut counts);
        assert_eq!(counts, [0.0; 3]);
        recent.counts(at(200), 2.0, &mut counts);
        assert_eq!(counts, [0.0; 3], "events of more than thirty half-lives ago");
        recent.counts(recent.after_last(), 1.0, &mut counts);
        assert!(counts[0] > 0.2, "{counts:?}");
    }
}
