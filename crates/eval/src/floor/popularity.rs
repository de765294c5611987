//! How often each item occurs.

use super::{FittedRanking, FloorError, RankingFloor, RankingHistory, RankingQuery};

/// Scores an item by its number of events, the same for everybody at any time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Popularity;

struct Fitted {
    counts: Vec<f32>,
}

impl RankingFloor for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        history.check()?;
        Ok(Box::new(Fitted { counts: history.popularity() }))
    }
}

impl FittedRanking for Fitted {
    fn score(&self, _query: &RankingQuery<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(&self.counts);
    }

    fn candidates(&self) -> usize {
        self.counts.len()
    }

    fn parameters(&self) -> usize {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, scores};

    #[test]
    fn counts_events_on_catalogue_items() {
        let events = Events::new(&[(0, 2, 1), (0, 0, 2), (1, 2, 1), (1, 3, 5), (2, 2, 9)]);
        assert_eq!(scores(&Popularity, &events, &[0, 1, 2], &[0], 3), [1.0, 0.0, 3.0]);
    }
}
