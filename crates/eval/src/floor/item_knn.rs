//! Items that the same users have.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ranking::Votes;
use super::validation::best_ranking;
use super::{Chosen, FittedRanking, FloorError, Grid, RankingFloor, RankingHistory, RankingQuery};

const NAME: &str = "item_knn";

/// Settings of [`ItemKnn`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ItemKnnConfig {
    /// Added to the denominator of the cosine. Raising it trusts rare items less. Default: chosen by validation MRR from 2 to 5,000.
    pub shrink: Grid,
    /// Input events, counted from the latest, after which a vote counts half; 0: all votes count the same. Default: chosen from 2, 5, 15 and 0.
    pub half_life_events: Grid,
}

impl Default for ItemKnnConfig {
    fn default() -> Self {
        Self { shrink: [2.0, 10.0, 50.0, 250.0, 1000.0, 5000.0].into(), half_life_events: [2.0, 5.0, 15.0, 0.0].into() }
    }
}

/// Scores a candidate j by `sum over input events, m = 0 for the latest, of 0.5^(m / half_life) * sim(i_m, j)` with the shrunken cosine
/// `sim(i, j) = n_ij / (sqrt(n_i n_j) + shrink)`; n counts users. All neighbours vote, an item is not its own neighbour;
/// candidates without a vote are ordered by popularity (1e-9 per event).
///
/// Co-occurrences are walked through when scoring, so memory is two lists of the distinct (user, item) pairs.
///
/// # References
/// Sarwar et al., *Item-based collaborative filtering recommendation algorithms*, WWW 2001; the shrinkage is that of Bell and Koren, ICDM 2007.
#[derive(Clone, Debug, Default)]
pub struct ItemKnn {
    /// Settings.
    pub config: ItemKnnConfig,
}

/// Lists of equal kind, one per user or item: `values[offsets[i]..offsets[i + 1]]`.
#[derive(Debug)]
struct Lists {
    offsets: Vec<usize>,
    values: Vec<u32>,
}

/// Who has what.
#[derive(Debug)]
struct Owners {
    /// Users of each item.
    users: Lists,
    /// Catalogue positions of each user.
    candidates: Lists,
    /// Item behind each catalogue position.
    items: Vec<u32>,
    tie_break: Vec<f32>,
}

/// A fitted [`ItemKnn`].
pub(super) struct Neighbours {
    owners: Arc<Owners>,
    shrink: f64,
    half_life: f64,
    config: ItemKnnConfig,
}

impl Lists {
    /// Gathers `(list, value)` pairs into `lists` lists.
    fn new(lists: usize, mut pairs: Vec<(u32, u32)>) -> Self {
        pairs.sort_unstable();
        let offsets = (0..=lists).map(|list| pairs.partition_point(|&(l, _)| (l as usize) < list)).collect();
        Self { offsets, values: pairs.into_iter().map(|(_, value)| value).collect() }
    }

    fn of(&self, list: usize) -> &[u32] {
        self.offsets.get(list..list + 2).map_or(&[], |range| &self.values[range[0]..range[1]])
    }
}

impl Owners {
    fn new(history: &RankingHistory<'_>) -> Self {
        let positions = history.positions();
        let (mut by_item, mut by_user) = (Vec::new(), Vec::new());
        let mut users = 0;
        for (user, (_, events)) in history.sequences.iter().enumerate() {
            let mut items: Vec<u32> = events.iter().map(|e| e.item.0).collect();
            items.sort_unstable();
            items.dedup();
            by_item.extend(items.iter().map(|&item| (item, user as u32)));
            by_user.extend(items.iter().filter_map(|&item| positions[item as usize].map(|p| (user as u32, p))));
            users = user + 1;
        }
        let items = history.catalogue.iter().map(|item| item.0).collect();
        Self { users: Lists::new(history.items, by_item), candidates: Lists::new(users, by_user), items, tie_break: history.tie_break() }
    }
}

impl RankingFloor for ItemKnn {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        let ItemKnnConfig { shrink, half_life_events } = &self.config;
        shrink.check(NAME, "shrink", 0.0, "a number of users, 0 or more")?;
        half_life_events.check(NAME, "half_life_events", 0.0, "a number of events, 0 or more")
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        Ok(Box::new(self.neighbours(history)?))
    }
}

impl ItemKnn {
    /// Counts `history` and chooses what is open.
    pub(super) fn neighbours(&self, history: &RankingHistory<'_>) -> Result<Neighbours, FloorError> {
        self.check()?;
        history.check()?;
        let ItemKnnConfig { shrink, half_life_events } = &self.config;
        let owners = Arc::new(Owners::new(history));
        let pairs = shrink.values().iter().flat_map(|&shrink| half_life_events.values().iter().map(move |&half_life| (shrink, half_life)));
        let fitted = |(shrink, half_life)| Neighbours { owners: owners.clone(), shrink, half_life, config: self.config.clone() };
        let candidates: Vec<Neighbours> = pairs.map(fitted).collect();
        best_ranking(NAME, "shrink, half_life_events", candidates.into_iter(), history)
    }
}

impl Neighbours {
    /// Adds `weight * sim(item, .)` to the scores; `together` is all 0 before and after.
    fn vote(&self, item: u32, weight: f64, together: &mut [u32], touched: &mut Vec<u32>, scores: &mut [f32]) {
        let Owners { users, candidates, items, .. } = &*self.owners;
        let owners = users.of(item as usize);
        for &position in owners.iter().flat_map(|&user| candidates.of(user as usize)) {
            if together[position as usize] == 0 {
                touched.push(position);
            }
            together[position as usize] += 1;
        }
        for position in touched.drain(..) {
            let count = std::mem::take(&mut together[position as usize]);
            let candidate = items[position as usize];
            if candidate != item {
                let norm = (owners.len() as f64 * users.of(candidate as usize).len() as f64).sqrt() + self.shrink;
                scores[position as usize] += (weight * f64::from(count) / norm) as f32;
            }
        }
    }
}

impl Votes for Neighbours {
    fn add_votes(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        let (mut together, mut touched) = (vec![0; scores.len()], Vec::new());
        for (m, item) in query.input.iter().rev().enumerate() {
            let weight = if self.half_life == 0.0 { 1.0 } else { (-(m as f64) / self.half_life).exp2() };
            self.vote(item.0, weight, &mut together, &mut touched, scores);
        }
    }
}

impl FittedRanking for Neighbours {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        scores.copy_from_slice(&self.owners.tie_break);
        self.add_votes(query, scores);
    }

    fn candidates(&self) -> usize {
        self.owners.items.len()
    }

    fn parameters(&self) -> usize {
        self.owners.users.values.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let ItemKnnConfig { shrink, half_life_events } = &self.config;
        let events = half_life_events.chosen("half_life_events", self.half_life, |events| events == 0.0);
        // 0 stands for no decay, which is where long half-lives lead to.
        let decaying = || events.from.iter().copied().filter(|&events| events > 0.0);
        let (shortest, endless) = (decaying().next(), events.from.contains(&0.0));
        let at_end = if endless { events.from.len() > 1 && shortest == Some(self.half_life) } else { events.at_end };
        vec![shrink.chosen("shrink", self.shrink, |shrink| shrink == 0.0), Chosen { at_end, ..events }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{Events, scores};

    #[test]
    fn shrunken_cosine_with_falling_votes() {
        // users of item 0: 0, 1, 2; of 1: 0, 1; of 2: 2; of 3: 0 (not a candidate)
        let events = Events::new(&[(0, 0, 1), (0, 1, 2), (0, 3, 3), (1, 0, 1), (1, 1, 2), (2, 0, 1), (2, 2, 2), (2, 0, 3)]);
        let config = ItemKnnConfig { shrink: 2.0.into(), half_life_events: 1.0.into() };
        let found = scores(&ItemKnn { config }, &events, &[0, 1, 2], &[3, 0], 0);
        let expected = [0.5 / (3f64.sqrt() + 2.0), 2.0 / (6f64.sqrt() + 2.0) + 0.5 / (2f64.sqrt() + 2.0), 1.0 / (3f64.sqrt() + 2.0)];
        assert!(found.iter().zip(expected).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-6), "{found:?} against {expected:?}");
    }

    #[test]
    fn half_life_zero_lets_every_event_vote_alike() {
        let events = Events::new(&[(0, 0, 1), (0, 1, 2), (1, 2, 1), (1, 3, 2)]);
        let config = ItemKnnConfig { shrink: 0.0.into(), half_life_events: 0.0.into() };
        let found = scores(&ItemKnn { config }, &events, &[0, 1, 3], &[0, 2, 9], 0);
        assert_eq!(found, [1e-9, 1.0, 1.0]);
    }
}
