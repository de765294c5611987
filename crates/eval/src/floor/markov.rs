//! What usually follows the last few items.

use std::sync::Arc;

use acclimate_data::ItemIndex;
use serde::{Deserialize, Serialize};

use super::ranking::Votes;
use super::validation::best_ranking;
use super::{Chosen, FittedRanking, FloorError, Grid, RankingFloor, RankingHistory, RankingQuery};

const NAME: &str = "markov";

/// Settings of [`Markov`]; where a list holds more than one value, validation MRR chooses the combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MarkovConfig {
    /// Target events after an event that count as its successors, with weights 1, 1/2, 1/3, ... Raising it smooths. Default: chosen from 1, 3 and 10.
    pub ahead: Grid,
    /// Input events that vote, the latest with weight 1, the one before with 1/2, ... Raising it looks further back. Default: chosen from 1, 3, 10 and 30.
    pub back: Grid,
    /// Votes that popularity has: so many times a candidate's share of all events is added to its score, where the latest input event has one vote. 0 lets it
    /// decide ties only. Default: chosen from 0 to 30.
    pub popularity: Grid,
}

impl Default for MarkovConfig {
    fn default() -> Self {
        Self {
            ahead: [1.0, 3.0, 10.0].into(),
            back: [1.0, 3.0, 10.0, 30.0].into(),
            popularity: [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0].into(),
        }
    }
}

/// First-order transitions from any item to catalogue items, blended with popularity.
///
/// `t(i, j)` sums `1/s` over the occurrences of j as the s-th catalogue event after i (s up to `ahead`) in a user's sequence; rows are divided by their sum.
/// `score(j) = popularity * n_j / n + sum over the latest input events, m-th from the end up to back, of t(i_m, j) / m` with n_j the events of j among the n
/// of all candidates. Candidates that nobody votes for are ordered by popularity (1e-9 per event, which is lost beside a vote).
///
/// # References
/// The first-order chain of Rendle et al., *Factorizing personalized Markov chains*, WWW 2010, section 3, with skips.
#[derive(Clone, Debug, Default)]
pub struct Markov {
    /// Settings.
    pub config: MarkovConfig,
}

/// `entries[offsets[i]..offsets[i + 1]]`: catalogue position and weight of what follows item i.
struct Successors {
    offsets: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

/// A fitted [`Markov`].
pub(super) struct Transitions {
    /// Score of each candidate before any vote.
    start: Arc<[f32]>,
    successors: Arc<Successors>,
    ahead: f64,
    back: f64,
    popularity: f64,
    config: MarkovConfig,
}

impl RankingFloor for Markov {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        let MarkovConfig { ahead, back, popularity } = &self.config;
        ahead.check_whole(NAME, "ahead")?;
        back.check_whole(NAME, "back")?;
        popularity.check(NAME, "popularity", 0.0, "a number of votes, 0 or more")
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        Ok(Box::new(self.transitions(history)?))
    }
}

impl Markov {
    /// Counts `history` and chooses what is open.
    pub(super) fn transitions(&self, history: &RankingHistory<'_>) -> Result<Transitions, FloorError> {
        self.check()?;
        history.check()?;
        let MarkovConfig { ahead, back, popularity } = &self.config;
        let counts = history.popularity();
        let events = counts.iter().copied().map(f64::from).sum::<f64>().max(1.0);
        let start =
            |votes: f64| history.tie_break().iter().zip(&counts).map(|(tie, &n)| tie + (votes * f64::from(n) / events) as f32).collect();
        let starts: Vec<(f64, Arc<[f32]>)> = popularity.values().iter().map(|&votes| (votes, start(votes))).collect();
        let mut settings = Vec::new();
        for &ahead in ahead.values() {
            for &back in back.values() {
                settings.extend(starts.iter().map(|(popularity, start)| (ahead, back, *popularity, start)));
            }
        }
        // Transitions are counted once for each `ahead`, and those of two at most are kept: the best one's and the current one's.
        let mut counted: Option<(f64, Arc<Successors>)> = None;
        let fitted = settings.into_iter().map(|(ahead, back, popularity, start)| {
            let successors = match &counted {
                Some((of, successors)) if *of == ahead => successors.clone(),
                _ => Arc::new(Successors::new(history.items, transitions(history, ahead as usize))),
            };
            counted = Some((ahead, successors.clone()));
            Transitions { start: start.clone(), successors, ahead, back, popularity, config: self.config.clone() }
        });
        best_ranking(NAME, "ahead, back, popularity", fitted, history)
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

impl Successors {
    /// Sums equal pairs and divides each item's row by its sum.
    fn new(items: usize, mut found: Vec<(u32, u32, f64)>) -> Self {
        found.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
        let mut offsets = vec![0; items + 1];
        let mut entries: Vec<(u32, f32)> = Vec::new();
        for row in found.chunk_by(|a, b| a.0 == b.0) {
            let total = row.iter().map(|t| t.2).sum::<f64>();
            let pairs = row.chunk_by(|a, b| a.1 == b.1);
            entries.extend(pairs.map(|pair| (pair[0].1, (pair.iter().map(|t| t.2).sum::<f64>() / total) as f32)));
            offsets[row[0].0 as usize + 1] = entries.len();
        }
        // Items without successors start where the item before them ended.
        for i in 1..offsets.len() {
            offsets[i] = offsets[i].max(offsets[i - 1]);
        }
        Self { offsets, entries }
    }

    fn of(&self, item: ItemIndex) -> &[(u32, f32)] {
        self.offsets.get(item.at()..item.at() + 2).map_or(&[], |range| &self.entries[range[0]..range[1]])
    }
}

impl Votes for Transitions {
    fn add_votes(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        for (m, &item) in query.input.iter().rev().take(self.back as usize).enumerate() {
            let weight = 1.0 / (m + 1) as f32;
            for &(position, share) in self.successors.of(item) {
                scores[position as usize] += weight * share;
            }
        }
    }
}

impl FittedRanking for Transitions {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(&self.start);
        self.add_votes(query, scores);
    }

    fn candidates(&self) -> usize {
        self.start.len()
    }

    fn parameters(&self) -> usize {
        self.successors.entries.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let MarkovConfig { ahead, back, popularity } = &self.config;
        vec![
            ahead.chosen("ahead", self.ahead, |events| events == 1.0),
            back.chosen("back", self.back, |events| events == 1.0),
            popularity.chosen("popularity", self.popularity, |votes| votes == 0.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, catalogue, scores};
    use acclimate_data::{NextItem, UserIndex};

    /// Fixed settings.
    fn markov(ahead: f64, back: f64, popularity: f64) -> Markov {
        Markov { config: MarkovConfig { ahead: ahead.into(), back: back.into(), popularity: popularity.into() } }
    }

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
        let found = scores(&markov(3.0, 3.0, 0.0), &events(), &[0, 1, 2, 3], &[4], 0);
        assert!(close(&found, &row), "{found:?} against {row:?}");
    }

    #[test]
    fn the_last_three_input_events_vote_with_falling_weight() {
        // successors: 0 -> 1, 5 -> 1, 1 -> 2, 2 -> 3; the oldest input event, 4, is the fourth from the end
        let found = scores(&markov(1.0, 3.0, 0.0), &events(), &[0, 1, 2, 3], &[4, 2, 5, 1], 0);
        assert!(close(&found, &[0.0, 0.5, 1.0, 1.0 / 3.0]), "{found:?}");
    }

    #[test]
    fn a_single_successor_takes_it_all() {
        let found = scores(&markov(3.0, 3.0, 0.0), &events(), &[0, 1, 2, 3], &[2], 0);
        assert!(close(&found, &[0.0, 0.0, 0.0, 1.0]), "{found:?}");
    }

    #[test]
    fn without_votes_popularity_decides() {
        // Item 3 ends its sequence. Item 1 has two events, the others one.
        let found = scores(&markov(3.0, 3.0, 0.0), &events(), &[0, 1, 2, 3], &[3], 0);
        assert_eq!(found, [1e-9, 2e-9, 1e-9, 1e-9]);
    }

    #[test]
    fn popularity_has_as_many_votes_as_it_is_given() {
        // 5 events of candidates: two of item 1, one of each other. Item 2 is followed by 3 only.
        let found = scores(&markov(3.0, 3.0, 0.5), &events(), &[0, 1, 2, 3], &[2], 0);
        assert!(close(&found, &[0.1, 0.2, 0.1, 1.1]), "{found:?}");
    }

    #[test]
    fn validation_chooses_between_what_follows_and_what_is_popular() {
        // 0 is always followed by 1; 2 is what most users end with.
        let mut rows: Vec<(u32, u32, i64)> = (0..4).flat_map(|user| [(user, 0, 1), (user, 1, 2)]).collect();
        rows.extend((4..16).map(|user| (user, 2, 1)));
        let events = Events::new(&rows);
        let catalogue = catalogue(&[0, 1, 2]);
        let chosen = |positive: u32| {
            let query = NextItem { user: UserIndex(20), input: vec![ItemIndex(0)], positive: ItemIndex(positive), row: 0, time: 0 };
            let validation = [query];
            let history = RankingHistory {
                sequences: events.sequences(),
                counted: events.sequences(),
                items: 3,
                catalogue: &catalogue,
                validation: &validation,
                zone: acclimate_data::Zone::UTC,
            };
            let chosen = Markov::default().fit(&history).unwrap().chosen();
            (chosen[2].value, chosen[2].at_end)
        };
        assert_eq!(chosen(1), (0.0, false), "no popularity at all is the end of the scale");
        assert_eq!(chosen(2), (3.0, false), "12 of 20 events outweigh one vote from 2 votes on, 4 of 20 take a part of that back");
    }
}
