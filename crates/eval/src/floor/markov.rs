//! What usually follows the last few items.

use serde::{Deserialize, Serialize};

use super::{FittedRanking, FloorError, RankingFloor, RankingHistory, RankingQuery};

/// Settings of [`Markov`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarkovConfig {
    /// Target events after an event that count as its successors, with weights 1, 1/2, 1/3, ... Raising it smooths. Default 3.
    pub ahead: usize,
    /// Input events that vote, the latest with weight 1, the one before with 1/2, ... Raising it looks further back. Default 3.
    pub back: usize,
}

impl Default for MarkovConfig {
    fn default() -> Self {
        Self { ahead: 3, back: 3 }
    }
}

/// First-order transitions from any item to catalogue items.
///
/// `t(i, j)` sums `1/s` over the occurrences of j as the s-th catalogue event after i (s up to `ahead`) in a user's sequence; rows are divided by their sum. `score(j) = sum over the latest input events, m-th from the end up to back, of t(i_m, j) / m`.
/// Candidates that never followed are ordered by popularity (1e-9 per event).
///
/// # References
/// The first-order chain of Rendle et al., *Factorizing personalized Markov chains*, WWW 2010, section 3, with skips.
#[derive(Clone, Copy, Debug, Default)]
pub struct Markov {
    /// Settings.
    pub config: MarkovConfig,
}

struct Fitted {
    tie_break: Vec<f32>,
    back: usize,
    /// `successors[offsets[i]..offsets[i + 1]]`: catalogue position and weight of what follows item i.
    offsets: Vec<usize>,
    successors: Vec<(u32, f32)>,
}

impl RankingFloor for Markov {
    fn name(&self) -> &'static str {
        "markov"
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        history.check()?;
        let MarkovConfig { ahead, back } = self.config;
        for (setting, value) in [("ahead", ahead), ("back", back)] {
            if value == 0 {
                return Err(FloorError::Setting { floor: self.name(), setting, value: "0".to_owned(), expected: "1 or more events" });
            }
        }
        let (offsets, successors) = normalised(history.items, transitions(history, ahead));
        Ok(Box::new(Fitted { tie_break: history.tie_break(), back, offsets, successors }))
    }
}

/// Item, catalogue position of a later event, and weight, one entry per occurrence.
fn transitions(history: &RankingHistory<'_>, ahead: usize) -> Vec<(u32, u32, f64)> {
    let positions = history.positions();
    let mut found = Vec::new();
    for (_, events) in history.sequences.iter() {
        for (i, event) in events.iter().enumerate() {
            let later = events[i + 1..].iter().filter_map(|e| positions[e.item.at()]);
            found.extend(later.take(ahead).enumerate().map(|(s, position)| (event.item.0, position, 1.0 / (s + 1) as f64)));
        }
    }
    found
}

/// Sums equal pairs and divides each item's row by its sum.
fn normalised(items: usize, mut found: Vec<(u32, u32, f64)>) -> (Vec<usize>, Vec<(u32, f32)>) {
    found.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    let mut offsets = vec![0; items + 1];
    let mut successors: Vec<(u32, f32)> = Vec::new();
    for row in found.chunk_by(|a, b| a.0 == b.0) {
        let total = row.iter().map(|t| t.2).sum::<f64>();
        let pairs = row.chunk_by(|a, b| a.1 == b.1);
        successors.extend(pairs.map(|pair| (pair[0].1, (pair.iter().map(|t| t.2).sum::<f64>() / total) as f32)));
        offsets[row[0].0 as usize + 1] = successors.len();
    }
    // Items without successors start where the item before them ended.
    for i in 1..offsets.len() {
        offsets[i] = offsets[i].max(offsets[i - 1]);
    }
    (offsets, successors)
}

impl FittedRanking for Fitted {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(&self.tie_break);
        for (m, item) in query.input.iter().rev().take(self.back).enumerate() {
            let weight = 1.0 / (m + 1) as f32;
            let Some(range) = self.offsets.get(item.at()..item.at() + 2) else { continue };
            for &(position, share) in &self.successors[range[0]..range[1]] {
                scores[position as usize] += weight * share;
            }
        }
    }

    fn candidates(&self) -> usize {
        self.tie_break.len()
    }

    fn parameters(&self) -> usize {
        self.successors.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, scores};

    fn close(found: &[f32], expected: &[f32]) -> bool {
        found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6)
    }

    /// Items 0 to 3 are candidates, 4 and 5 are not.
    fn events() -> Events {
        Events::new(&[(0, 4, 1), (0, 0, 2), (0, 5, 3), (0, 1, 4), (0, 2, 5), (0, 3, 6), (1, 4, 1), (1, 1, 2)])
    }

    #[test]
    fn successors_count_by_distance_and_rows_sum_to_one() {
        // item 4: user 0 gives 0 (1), 1 (1/2), 2 (1/3), user 1 gives 1 (1); sum 17/6
        let row = [6.0, 9.0, 2.0, 0.0].map(|w: f32| w / 17.0);
        let found = scores(&Markov::default(), &events(), &[0, 1, 2, 3], &[4], 0);
        assert!(close(&found, &row), "{found:?} against {row:?}");
    }

    #[test]
    fn the_last_three_input_events_vote_with_falling_weight() {
        let config = MarkovConfig { ahead: 1, back: 3 };
        // successors: 0 -> 1, 5 -> 1, 1 -> 2, 2 -> 3; the oldest input event, 4, is the fourth from the end
        let found = scores(&Markov { config }, &events(), &[0, 1, 2, 3], &[4, 2, 5, 1], 0);
        assert!(close(&found, &[0.0, 0.5, 1.0, 1.0 / 3.0]), "{found:?}");
    }

    #[test]
    fn a_single_successor_takes_it_all() {
        let found = scores(&Markov::default(), &events(), &[0, 1, 2, 3], &[2], 0);
        assert!(close(&found, &[0.0, 0.0, 0.0, 1.0]), "{found:?}");
    }

    #[test]
    fn without_votes_popularity_decides() {
        // Item 3 ends its sequence. Item 1 has two events, the others one.
        let found = scores(&Markov::default(), &events(), &[0, 1, 2, 3], &[3], 0);
        assert_eq!(found, [1e-9, 2e-9, 1e-9, 1e-9]);
    }
}
