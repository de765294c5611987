//! Dated events of the items of a catalogue: how often each was met lately.

use crate::Zone;

/// Half-lives after which an event is not counted any more: it is worth less than a millionth of a new one.
const FORGOTTEN: f64 = 20.0;

/// Events of a catalogue's items by day, to be counted at any time.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentEvents {
    zone: Zone,
    items: usize,
    /// Days with events, ascending.
    days: Vec<i32>,
    /// `places[ends[i - 1]..ends[i]]` are the items of day i, by their positions in the catalogue.
    ends: Vec<u32>,
    places: Vec<u32>,
}

impl RecentEvents {
    /// Events as (time in microseconds since 1970 (UTC), place in a catalogue of `items` items); a day begins at midnight in `zone`.
    #[must_use]
    pub fn new(zone: Zone, items: usize, events: impl IntoIterator<Item = (i64, u32)>) -> Self {
        let mut dated: Vec<(i32, u32)> = events.into_iter().map(|(time, place)| (zone.day(time) as i32, place)).collect();
        dated.sort_unstable();
        let (mut days, mut ends) = (Vec::new(), Vec::new());
        for run in dated.chunk_by(|a, b| a.0 == b.0) {
            days.push(run[0].0);
            ends.push(ends.last().copied().unwrap_or(0) + run.len() as u32);
        }
        Self { zone, items, days, ends, places: dated.into_iter().map(|(_, place)| place).collect() }
    }

    /// Number of items in the catalogue.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// `c_i = sum(0.5^((t - t_e) / half_life))` over the events e of item i on days *strictly before* day t, for every item.
    /// Events older than 20 half-lives count nothing.
    ///
    /// # Shapes
    /// `counts` is `[items]`.
    ///
    /// # Panics
    /// If `counts` has another length.
    pub fn counts(&self, day: i64, half_life_days: f64, counts: &mut [f32]) {
        assert_eq!(counts.len(), self.items, "one count an item");
        counts.fill(0.0);
        let day = day as i32;
        let reach = (FORGOTTEN * half_life_days).min(f64::from(i32::MAX / 4)) as i32;
        let (begin, end) = (self.days.partition_point(|&d| d < day - reach), self.days.partition_point(|&d| d < day));
        for at in begin..end {
            let weight = (-f64::from(day - self.days[at]) / half_life_days).exp2() as f32;
            let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            self.places[from as usize..self.ends[at] as usize].iter().for_each(|&place| counts[place as usize] += weight);
        }
    }

    /// The day of a time, in microseconds since 1970 (UTC).
    #[must_use]
    pub fn day(&self, time: i64) -> i64 {
        self.zone.day(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MICROS_PER_DAY;

    #[test]
    fn events_halve_per_half_life_and_the_day_itself_is_hidden() {
        let at = |day: i64| day * MICROS_PER_DAY + 7;
        let recent = RecentEvents::new(Zone::UTC, 3, [(at(2), 0), (at(0), 0), (at(3), 1), (at(4), 1), (at(9), 0)]);
        let mut counts = [9.0; 3];
        recent.counts(recent.day(at(4)), 2.0, &mut counts);
        assert_eq!(counts, [0.25 + 0.5, 0.5f32.sqrt(), 0.0]);
        recent.counts(0, 2.0, &mut counts);
        assert_eq!(counts, [0.0; 3]);
        recent.counts(200, 2.0, &mut counts);
        assert_eq!(counts, [0.0; 3], "events of more than twenty half-lives ago");
    }
}
