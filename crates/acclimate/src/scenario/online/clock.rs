//! The stream in the order of time, and what may be known at a moment of it.

use std::ops::Range;
use std::sync::Arc;

use acclimate_data::{Dataset, date};

/// A day of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Day {
    /// YYYYMMDD, in the data set's zone.
    pub(super) name: String,
    /// When it begins.
    pub(super) begin: i64,
    /// Its rows in the order of time.
    pub(super) rows: Vec<u32>,
}

/// The days that have rows, first to last.
pub(super) struct Clock {
    days: Vec<Day>,
}

/// Rows to be served. Their labels, and those of all that come after, are erased.
pub(super) struct Arriving<'a> {
    dataset: Dataset,
    pub(super) rows: &'a [u32],
}

impl Arriving<'_> {
    /// The data as they know it.
    pub(super) fn dataset(&self) -> &Dataset {
        &self.dataset
    }
}

impl Clock {
    pub(super) fn new(dataset: &Dataset, stream: &[u32]) -> Self {
        let time = |row: u32| dataset.log.time[row as usize];
        let mut rows = stream.to_vec();
        rows.sort_by_key(|&row| (time(row), row));
        let mut days: Vec<Day> = Vec::new();
        for row in rows {
            let begin = dataset.zone.midnight(time(row));
            match days.last_mut() {
                Some(day) if day.begin == begin => day.rows.push(row),
                _ => days.push(Day { name: dataset.zone.calendar_day(time(row)), begin, rows: vec![row] }),
            }
        }
        Self { days }
    }

    pub(super) fn days(&self) -> &[Day] {
        &self.days
    }

    /// All rows, in the order in which they are served.
    pub(super) fn rows(&self) -> Vec<u32> {
        self.days.iter().flat_map(|day| &day.rows).copied().collect()
    }

    /// Seven days each, from the first one, with the name of the day that it begins with.
    pub(super) fn weeks(&self) -> Vec<(String, Range<usize>)> {
        const WEEK: i64 = 7 * acclimate_data::MICROS_PER_DAY;
        let Some(first) = self.days.first().map(|day| day.begin) else { return Vec::new() };
        // Half a day aside, so that a day of 23 or 25 hours does not move what follows.
        let week = |day: &Day| (day.begin - first + acclimate_data::MICROS_PER_DAY / 2).div_euclid(WEEK);
        let mut weeks: Vec<(i64, String, Range<usize>)> = Vec::new();
        for (at, day) in self.days.iter().enumerate() {
            match weeks.last_mut() {
                Some((number, _, days)) if *number == week(day) => days.end = at + 1,
                _ => weeks.push((week(day), day.name.clone(), at..at + 1)),
            }
        }
        weeks.into_iter().map(|(_, name, days)| (name, days)).collect()
    }

    /// Whether the stream begins after everything that is learned from before it.
    ///
    /// # Errors
    /// What is wrong, for a message.
    pub(super) fn follows(&self, dataset: &Dataset, earlier: &[u32]) -> Result<(), String> {
        let last = earlier.iter().map(|&row| dataset.log.time[row as usize]).max();
        let first = self.days.first().and_then(|day| day.rows.first()).map(|&row| dataset.log.time[row as usize]);
        match last.zip(first) {
            Some((last, first)) if last > first => Err(format!(
                "lets the stream begin at {} (UTC), before the last row that is learned from, of {}; in scenario `online` the stream follows: cut the log by time",
                date(first),
                date(last)
            )),
            _ => Ok(()),
        }
    }

    /// Of rows before the stream those that are learned from, and those that choose: the last days, as many as the stream lasts.
    pub(super) fn set_apart(&self, dataset: &Dataset, earlier: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
        let begins = |day: Option<&Day>| day.map_or(i64::MAX, |day| day.begin);
        let (first, last) = (begins(self.days.first()), begins(self.days.last()));
        let from = first.saturating_sub(last - first + acclimate_data::MICROS_PER_DAY);
        earlier.into_iter().partition(|&row| dataset.log.time[row as usize] < from)
    }

    /// The rows of a day as whoever serves them sees them: what happens from its beginning less `delay` on has no label.
    pub(super) fn arriving<'a>(&'a self, dataset: &Dataset, day: usize, delay: i64) -> Arriving<'a> {
        Arriving { dataset: without_labels_from(dataset, self.days[day].begin - delay), rows: &self.days[day].rows }
    }
}

/// The same rows, where those of a moment and later have no label.
fn without_labels_from(dataset: &Dataset, moment: i64) -> Dataset {
    let mut blind = dataset.clone();
    let log = Arc::make_mut(&mut blind.log);
    log.label.iter_mut().zip(&log.time).filter(|(_, time)| **time >= moment).for_each(|(label, _)| *label = f32::NAN);
    blind
}

#[cfg(test)]
mod tests {
    use super::*;
    use acclimate_data::{MICROS_PER_DAY, SimulatorConfig};

    fn simulated() -> Dataset {
        SimulatorConfig { rows: 3000, users: 400, cold_users: 20, ..SimulatorConfig::default() }.simulate(1).unwrap().dataset
    }

    #[test]
    fn days_hold_all_rows_in_order() {
        let dataset = simulated();
        let rows: Vec<u32> = (0..dataset.log.len() as u32).rev().collect();
        let clock = Clock::new(&dataset, &rows);
        let served = clock.rows();
        assert_eq!(served.len(), rows.len());
        assert!(served.windows(2).all(|two| dataset.log.time[two[0] as usize] <= dataset.log.time[two[1] as usize]));
        assert_eq!((clock.days().len(), clock.days()[0].name.as_str()), (60, "20240101"));
        assert!(clock.days().iter().all(|day| day.rows.iter().all(|&row| (0..MICROS_PER_DAY).contains(&(dataset.log.time[row as usize] - day.begin)))));
        let weeks = clock.weeks();
        assert_eq!((weeks.len(), weeks[1].0.as_str(), weeks[1].1.clone(), weeks[8].1.clone()), (9, "20240108", 7..14, 56..60));
    }

    #[test]
    fn what_arrives_has_no_label_and_what_came_before_has() {
        let dataset = simulated();
        let rows: Vec<u32> = (0..dataset.log.len() as u32).collect();
        let clock = Clock::new(&dataset, &rows);
        for delay in [0, MICROS_PER_DAY] {
            let arriving = clock.arriving(&dataset, 10, delay);
            assert!(arriving.rows.iter().all(|&row| arriving.dataset().log.label[row as usize].is_nan()));
            for &row in &rows {
                let (label, time) = (arriving.dataset().log.label[row as usize], dataset.log.time[row as usize]);
                assert_eq!(label.is_nan(), time >= clock.days()[10].begin - delay);
            }
        }
    }

    #[test]
    fn the_days_that_choose_are_as_many_as_those_of_the_stream() {
        let dataset = simulated();
        let rows: Vec<u32> = (0..dataset.log.len() as u32).collect();
        let days = Clock::new(&dataset, &rows).days;
        let clock = Clock { days: days[50..53].to_vec() };
        let earlier: Vec<u32> = days[..50].iter().flat_map(|day| day.rows.clone()).collect();
        let (learned, choosing) = clock.set_apart(&dataset, earlier);
        let of = |days: &[Day]| days.iter().flat_map(|day| day.rows.clone()).collect::<Vec<u32>>();
        assert_eq!((learned, choosing), (of(&days[..47]), of(&days[47..50])));
    }

    #[test]
    fn a_stream_that_begins_too_early_is_refused() {
        let dataset = simulated();
        let rows: Vec<u32> = (0..dataset.log.len() as u32).collect();
        let clock = Clock::new(&dataset, &rows[1000..]);
        assert!(clock.follows(&dataset, &rows[..1000]).is_ok());
        assert!(clock.follows(&dataset, &rows[..1500]).unwrap_err().contains("cut the log by time"));
    }
}
