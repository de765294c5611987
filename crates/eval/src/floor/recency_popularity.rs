//! How often each item occurred lately.

use std::sync::Arc;

use acclimate_data::Zone;
use serde::{Deserialize, Serialize};

use super::validation::best_ranking;
use super::{Chosen, FittedRanking, FloorError, Grid, RankingFloor, RankingHistory, RankingQuery};

const NAME: &str = "recency_popularity";

/// Settings of [`RecencyPopularity`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecencyPopularityConfig {
    /// Days after which an event counts half. Smaller follows bursts, larger is closer to plain popularity. Default: chosen by validation MRR from 1 to 365.
    pub half_life_days: Grid,
}

impl Default for RecencyPopularityConfig {
    fn default() -> Self {
        Self { half_life_days: [1.0, 2.0, 4.0, 7.0, 15.0, 30.0, 90.0, 365.0].into() }
    }
}

/// Scores an item on day t by `sum(0.5^((t - t_e) / half_life))` over its events e on days *strictly before* t.
///
/// A day begins at midnight in the data set's zone. Events older than about 150 half-lives count 0 in single precision, so such items tie.
/// The counts are those of all users in the fitted sequences and go on after the training period if the sequences do: the floor is then an online one.
#[derive(Clone, Debug, Default)]
pub struct RecencyPopularity {
    /// Settings.
    pub config: RecencyPopularityConfig,
}

/// Day and catalogue position of each event, by day.
type DatedEvents = Arc<[(i64, u32)]>;

struct Fitted {
    half_life: f64,
    grid: Grid,
    candidates: usize,
    zone: Zone,
    events: DatedEvents,
}

impl Fitted {
    fn decay(&self, days: i64) -> f64 {
        (-(days as f64) / self.half_life).exp2()
    }
}

impl RankingFloor for RecencyPopularity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        self.config.half_life_days.check(NAME, "half_life_days", f64::MIN_POSITIVE, "a number of days above 0")
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        self.check()?;
        history.check()?;
        let grid = &self.config.half_life_days;
        let positions = history.positions();
        let all = history.sequences.iter().flat_map(|(_, events)| events);
        let mut events: Vec<(i64, u32)> = all.filter_map(|e| positions[e.item.at()].map(|p| (history.zone.day(e.time), p))).collect();
        events.sort_unstable();
        let events: DatedEvents = events.into();
        let (candidates, zone) = (history.catalogue.len(), history.zone);
        let fitted =
            grid.values().iter().map(|&half_life| Fitted { half_life, grid: grid.clone(), candidates, zone, events: events.clone() });
        Ok(Box::new(best_ranking(NAME, "half_life_days", fitted, history)?))
    }
}

impl FittedRanking for Fitted {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        self.score_all(std::slice::from_ref(query), &mut |_, all| scores.copy_from_slice(all));
    }

    /// One sweep through the events for queries of any order: each distinct day decays the counts once.
    fn score_all(&self, queries: &[RankingQuery<'_>], visit: &mut dyn FnMut(usize, &[f32])) {
        let mut order: Vec<usize> = (0..queries.len()).collect();
        order.sort_by_key(|&q| self.zone.day(queries[q].time));
        let mut counts = vec![0.0f64; self.candidates];
        let mut scores = vec![0.0f32; self.candidates];
        let (mut today, mut next) = (i64::MIN, 0);
        for q in order {
            let day = self.zone.day(queries[q].time);
            if day != today {
                let fade = if next == 0 { 0.0 } else { self.decay(day - today) };
                counts.iter_mut().for_each(|count| *count *= fade);
                while let Some(&(then, position)) = self.events.get(next).filter(|&&(then, _)| then < day) {
                    counts[position as usize] += self.decay(day - then);
                    next += 1;
                }
                today = day;
                scores.iter_mut().zip(&counts).for_each(|(score, &count)| *score = count as f32);
            }
            visit(q, &scores);
        }
    }

    fn candidates(&self) -> usize {
        self.candidates
    }

    fn parameters(&self) -> usize {
        self.candidates
    }

    fn chosen(&self) -> Vec<Chosen> {
        vec![self.grid.chosen("half_life_days", self.half_life, |_| false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, catalogue, query, scores};
    use acclimate_data::{ItemIndex, MICROS_PER_DAY, NextItem, UserIndex};
    use proptest::prelude::*;

    const DAY: i64 = MICROS_PER_DAY;

    fn half_life(days: impl Into<Grid>) -> RecencyPopularity {
        RecencyPopularity { config: RecencyPopularityConfig { half_life_days: days.into() } }
    }

    #[test]
    fn halves_per_half_life_and_hides_the_day_itself() {
        let events = Events::new(&[(0, 0, 0), (1, 0, 2 * DAY), (2, 1, 3 * DAY + 5), (3, 1, 4 * DAY), (3, 0, 9 * DAY)]);
        // day 4: item 0 has ages 4 and 2, item 1 age 1; the event of day 4 itself does not count
        let expected = [0.25 + 0.5, 0.5f64.sqrt()].map(|s| s as f32);
        assert_eq!(scores(&half_life(2.0), &events, &[0, 1], &[], 4 * DAY + DAY - 1), expected);
        assert_eq!(scores(&half_life(2.0), &events, &[0, 1], &[], 0), [0.0, 0.0]);
        assert_eq!(scores(&half_life(2.0), &events, &[0, 1], &[], -DAY), [0.0, 0.0]);
    }

    #[test]
    fn validation_chooses_the_half_life() {
        // Item 0 was in fashion once, item 1 is now: only a short half-life puts 1 first.
        let mut rows: Vec<(u32, u32, i64)> = (0..8).map(|user| (user, 0, 0)).collect();
        rows.push((8, 1, 10 * DAY));
        let events = Events::new(&rows);
        let catalogue = catalogue(&[0, 1]);
        let positive = NextItem { user: UserIndex(9), input: Vec::new(), positive: ItemIndex(1), row: 0, time: 11 * DAY };
        let history =
            RankingHistory { sequences: events.sequences(), items: 2, catalogue: &catalogue, validation: &[positive], zone: Zone::UTC };
        let floor = half_life([1000.0, 1.0]);
        assert_eq!(floor.fit(&history).unwrap().chosen()[0].value, 1.0);
        let error = floor.fit(&RankingHistory { validation: &[], ..history }).err();
        assert_eq!(error, Some(FloorError::NoValidation { floor: NAME, setting: "half_life_days", candidates: 2 }));
    }

    proptest! {
        #[test]
        fn one_sweep_equals_the_definition(
            rows in proptest::collection::vec((0u32..5, 0u32..4, 0i64..60), 1..40),
            days in proptest::collection::vec(0i64..70, 1..20),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(user, item, day)| (user, item, day * DAY + 7)).collect();
            let events = Events::new(&rows);
            let catalogue = catalogue(&[0, 1, 3]);
            let history = RankingHistory { sequences: events.sequences(), items: 4, catalogue: &catalogue, validation: &[], zone: acclimate_data::Zone::UTC };
            let fitted = half_life(3.5).fit(&history).unwrap();
            let queries: Vec<_> = days.iter().map(|day| query(&[], day * DAY)).collect();
            let mut seen = 0;
            fitted.score_all(&queries, &mut |q, scores| {
                seen += 1;
                for (item, score) in catalogue.iter().zip(scores) {
                    let ages = rows.iter().filter(|r| r.1 == item.0).map(|r| days[q] - r.2 / DAY).filter(|&age| age > 0);
                    let expected: f64 = ages.map(|age| 0.5f64.powf(age as f64 / 3.5)).sum();
                    assert!((f64::from(*score) - expected).abs() < 1e-5, "{score} against {expected}");
                }
            });
            prop_assert_eq!(seen, days.len());
        }
    }
}
