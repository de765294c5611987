//! How often each item occurred lately.

use serde::{Deserialize, Serialize};

use super::validation::best_ranking;
use super::{Chosen, FittedRanking, FloorError, FreshCounts, Grid, RankingFloor, RankingHistory, RankingQuery};

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
/// The counts are [`FreshCounts`] of all users in [`RankingHistory::counted`] and go on after the training period if those events do: the floor is then an
/// online one.
#[derive(Clone, Debug, Default)]
pub struct RecencyPopularity {
    /// Settings.
    pub config: RecencyPopularityConfig,
}

struct Fitted {
    fresh: FreshCounts,
    grid: Grid,
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
        let fresh = history.fresh(1.0)?;
        let of = |&half_life: &f64| Ok(Fitted { fresh: fresh.with_half_life(half_life)?, grid: grid.clone() });
        let fitted = grid.values().iter().map(of).collect::<Result<Vec<_>, FloorError>>()?;
        Ok(Box::new(best_ranking(NAME, "half_life_days", fitted.into_iter(), history)?))
    }
}

impl FittedRanking for Fitted {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        self.fresh.at(query.time, scores);
    }

    /// One sweep through the events for queries of any order.
    fn score_all(&self, queries: &[RankingQuery<'_>], visit: &mut dyn FnMut(usize, &[f32])) {
        let times: Vec<i64> = queries.iter().map(|query| query.time).collect();
        self.fresh.sweep(&times, visit);
    }

    fn candidates(&self) -> usize {
        self.fresh.candidates()
    }

    fn parameters(&self) -> usize {
        self.fresh.candidates()
    }

    fn chosen(&self) -> Vec<Chosen> {
        vec![self.grid.chosen("half_life_days", self.fresh.half_life_days(), |_| false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, catalogue, scores};
    use acclimate_data::{ItemIndex, MICROS_PER_DAY, NextItem, UserIndex, Zone};

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
        let history = RankingHistory {
            sequences: events.sequences(),
            counted: events.sequences(),
            items: 2,
            catalogue: &catalogue,
            validation: &[positive],
            zone: Zone::UTC,
        };
        let floor = half_life([1000.0, 1.0]);
        assert_eq!(floor.fit(&history).unwrap().chosen()[0].value, 1.0);
        let error = floor.fit(&RankingHistory { validation: &[], ..history }).err();
        assert_eq!(error, Some(FloorError::NoValidation { floor: NAME, setting: "half_life_days", candidates: 2 }));
    }
}
