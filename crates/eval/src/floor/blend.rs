//! How often each item occurred lately, blended with what the user's own events vote for.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ranking::Votes;
use super::validation::Asked;
use super::{
    Chosen, FittedRanking, FloorError, FreshCounts, Grid, ItemKnn, ItemKnnConfig, Markov, MarkovConfig, RankingFloor, RankingHistory,
    RankingQuery,
};

const NAME: &str = "blend";

/// Settings of [`Blend`].
///
/// Validation MRR chooses in two steps: `ahead` and `back` as [`Markov`] without popularity does, `shrink` and `half_life_events` as [`ItemKnn`] does, and
/// then the combination of half-life and weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlendConfig {
    /// Days after which an event counts half. Smaller follows bursts, larger is closer to plain popularity. Default: chosen from 1, 2, 4, 7, 14 and 30.
    pub half_life_days: Grid,
    /// Weight of the Markov votes, where fresh counts have weight 1; 0: there are none. Default: chosen from 0 to 1.
    pub markov: Grid,
    /// Target events after an event that count as its successors: see [`MarkovConfig::ahead`]. Default: chosen from 1, 3 and 10.
    pub ahead: Grid,
    /// Input events that cast Markov votes: see [`MarkovConfig::back`]. Default: chosen from 1, 3, 10 and 30.
    pub back: Grid,
    /// Weight of the neighbours' votes; 0: there are none. Default: chosen from 0 to 3.
    pub item_knn: Grid,
    /// Added to the denominator of the neighbours' cosine: see [`ItemKnnConfig::shrink`]. Default: chosen from 2 to 5,000.
    pub shrink: Grid,
    /// Input events after which a neighbour's vote counts half: see [`ItemKnnConfig::half_life_events`]. Default: chosen from 2, 5, 15 and 0.
    pub half_life_events: Grid,
}

impl Default for BlendConfig {
    fn default() -> Self {
        let MarkovConfig { ahead, back, .. } = MarkovConfig::default();
        let ItemKnnConfig { shrink, half_life_events } = ItemKnnConfig::default();
        Self {
            half_life_days: [1.0, 2.0, 4.0, 7.0, 14.0, 30.0].into(),
            markov: [0.0, 0.01, 0.03, 0.1, 0.3, 1.0].into(),
            ahead,
            back,
            item_knn: [0.0, 0.03, 0.1, 0.3, 1.0, 3.0].into(),
            shrink,
            half_life_events,
        }
    }
}

/// Scores an item i by `fresh(i) / sum(fresh) + markov * m(i) / sum(m) + item_knn * k(i) / sum(k)`.
///
/// fresh are the [`FreshCounts`] of [`RankingHistory::counted`] before the query's day; m the votes of [`Markov`] and k those of [`ItemKnn`], without popularity
/// and tie-breaks, both from [`RankingHistory::sequences`]. Sums run over all candidates; a part whose sum is 0 says nothing. Scores are handed out times
/// `sum(fresh)`, which changes no order.
///
/// The weights say how much of the user is mixed into what everybody does. Without votes the scores are those of
/// [`RecencyPopularity`](super::RecencyPopularity) with the same half-life, bit by bit: as long as the weights 0 are among those to choose from, nothing that
/// is worse on validation queries is chosen.
///
/// Deterministic on any number of threads. The choice costs one fit of each voting floor and, for each half-life, one pass over the validation queries.
#[derive(Clone, Debug, Default)]
pub struct Blend {
    /// Settings.
    pub config: BlendConfig,
}

/// A floor whose votes are blended in, and the weights to choose from.
struct Voter {
    setting: &'static str,
    weights: Grid,
    floor: Box<dyn Votes>,
}

struct Fitted {
    fresh: FreshCounts,
    half_lives: Grid,
    voters: Vec<Voter>,
    /// Weight of each voter.
    weights: Vec<f64>,
}

impl Blend {
    /// The two floors with their settings; popularity is what fresh counts are there for.
    fn personal(&self) -> (Markov, ItemKnn) {
        let BlendConfig { ahead, back, shrink, half_life_events, .. } = &self.config;
        let markov = MarkovConfig { ahead: ahead.clone(), back: back.clone(), popularity: 0.0.into() };
        let item_knn = ItemKnnConfig { shrink: shrink.clone(), half_life_events: half_life_events.clone() };
        (Markov { config: markov }, ItemKnn { config: item_knn })
    }

    /// Both floors with the settings that are best for themselves; one that has no weight is not fitted.
    fn voters(&self, history: &RankingHistory<'_>) -> Result<Vec<Voter>, FloorError> {
        let (markov, item_knn) = self.personal();
        let votes = |weights: &Grid| weights.values().iter().any(|&weight| weight > 0.0);
        let mut voters = Vec::new();
        if votes(&self.config.markov) {
            let floor = Box::new(markov.transitions(history)?);
            voters.push(Voter { setting: "markov", weights: self.config.markov.clone(), floor });
        }
        if votes(&self.config.item_knn) {
            let floor = Box::new(item_knn.neighbours(history)?);
            voters.push(Voter { setting: "item_knn", weights: self.config.item_knn.clone(), floor });
        }
        Ok(voters)
    }
}

impl RankingFloor for Blend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        let BlendConfig { half_life_days, markov, ahead, back, item_knn, shrink, half_life_events } = &self.config;
        half_life_days.check(NAME, "half_life_days", f64::MIN_POSITIVE, "a number of days above 0")?;
        markov.check(NAME, "markov", 0.0, "a weight, 0 or more")?;
        ahead.check_whole(NAME, "ahead")?;
        back.check_whole(NAME, "back")?;
        item_knn.check(NAME, "item_knn", 0.0, "a weight, 0 or more")?;
        shrink.check(NAME, "shrink", 0.0, "a number of users, 0 or more")?;
        half_life_events.check(NAME, "half_life_events", 0.0, "a number of events, 0 or more")
    }

    fn fit(&self, history: &RankingHistory<'_>) -> Result<Box<dyn FittedRanking>, FloorError> {
        self.check()?;
        history.check()?;
        let half_lives = &self.config.half_life_days;
        let open = half_lives.len() * self.config.markov.len() * self.config.item_knn.len();
        if open > 1 && history.validation.is_empty() {
            return Err(FloorError::NoValidation { floor: NAME, setting: "half_life_days, markov, item_knn", candidates: open });
        }
        let voters = self.voters(history)?;
        let combinations = combinations(&voters);
        let fresh = history.fresh(half_lives.values()[0])?;
        let candidates = half_lives.values().iter().map(|&half_life| fresh.with_half_life(half_life)).collect::<Result<Vec<_>, _>>()?;
        let values = if open > 1 {
            let asked = Asked::new(history.catalogue, history.validation);
            candidates.par_iter().map(|fresh| mean_reciprocal_ranks(fresh, &voters, &combinations, &asked)).collect()
        } else {
            vec![vec![0.0]]
        };
        let mut best = (f64::NEG_INFINITY, 0, 0);
        for (half_life, values) in values.iter().enumerate() {
            for (combination, &value) in values.iter().enumerate() {
                if value > best.0 {
                    best = (value, half_life, combination);
                }
            }
        }
        let (_, half_life, combination) = best;
        let weights = combinations[combination].clone();
        Ok(Box::new(Fitted { fresh: candidates[half_life].clone(), half_lives: half_lives.clone(), voters, weights }))
    }
}

/// Every choice of one weight for each voter, the first voter's weight changing slowest.
fn combinations(voters: &[Voter]) -> Vec<Vec<f64>> {
    voters.iter().fold(vec![Vec::new()], |before, voter| {
        let longer = |weights: &Vec<f64>| {
            let weights = weights.clone();
            voter.weights.values().iter().map(move |&weight| [&weights[..], &[weight]].concat())
        };
        before.iter().flat_map(longer).collect()
    })
}

/// Validation MRR of each combination of weights with one half-life: one sweep through the queries for all of them.
fn mean_reciprocal_ranks(fresh: &FreshCounts, voters: &[Voter], combinations: &[Vec<f64>], asked: &Asked<'_>) -> Vec<f64> {
    let queries = asked.queries();
    let mut reciprocal = vec![vec![0.0; queries.len()]; combinations.len()];
    sweep(fresh, voters, &queries, &mut |q, blended| {
        for (weights, reciprocal) in combinations.iter().zip(&mut reciprocal) {
            reciprocal[q] = asked.reciprocal_rank(q, blended.scores(weights));
        }
    });
    reciprocal.iter().map(|reciprocal| asked.user_mean(reciprocal)).collect()
}

/// What is blended for one query, before it is.
struct Parts<'a> {
    counts: &'a [f32],
    /// Votes of each voter, divided by their sum and multiplied by that of the counts.
    votes: &'a [Vec<f32>],
    scores: &'a mut [f32],
}

impl Parts<'_> {
    /// `[C]` scores, times the sum of the counts: a factor changes no order, and counts stay what they are.
    fn scores(&mut self, weights: &[f64]) -> &[f32] {
        self.scores.copy_from_slice(self.counts);
        for (votes, &weight) in self.votes.iter().zip(weights).filter(|&(_, &weight)| weight != 0.0) {
            let weight = weight as f32;
            self.scores.iter_mut().zip(votes).for_each(|(score, vote)| *score += weight * vote);
        }
        self.scores
    }
}

/// Hands each query's position and parts to `visit`, by ascending day.
fn sweep(fresh: &FreshCounts, voters: &[Voter], queries: &[RankingQuery<'_>], visit: &mut dyn FnMut(usize, &mut Parts<'_>)) {
    let times: Vec<i64> = queries.iter().map(|query| query.time).collect();
    let mut votes = vec![vec![0.0f32; fresh.candidates()]; voters.len()];
    let mut scores = vec![0.0f32; fresh.candidates()];
    let sum = |values: &[f32]| values.iter().copied().map(f64::from).sum::<f64>();
    fresh.sweep(&times, &mut |q, counts| {
        let total = sum(counts);
        for (voter, votes) in voters.iter().zip(&mut votes) {
            votes.fill(0.0);
            voter.floor.add_votes(&queries[q], votes);
            let cast = sum(votes);
            // Without counts the votes decide alone, whatever they are multiplied by.
            let factor = if cast > 0.0 { if total > 0.0 { total / cast } else { 1.0 / cast } } else { 0.0 };
            votes.iter_mut().for_each(|vote| *vote *= factor as f32);
        }
        visit(q, &mut Parts { counts, votes: &votes, scores: &mut scores });
    });
}

impl FittedRanking for Fitted {
    fn score(&self, query: &RankingQuery<'_>, scores: &mut [f32]) {
        self.score_all(std::slice::from_ref(query), &mut |_, all| scores.copy_from_slice(all));
    }

    fn score_all(&self, queries: &[RankingQuery<'_>], visit: &mut dyn FnMut(usize, &[f32])) {
        sweep(&self.fresh, &self.voters, queries, &mut |q, parts| visit(q, parts.scores(&self.weights)));
    }

    fn candidates(&self) -> usize {
        self.fresh.candidates()
    }

    fn parameters(&self) -> usize {
        self.fresh.candidates() + self.voters.iter().map(|voter| voter.floor.parameters()).sum::<usize>()
    }

    /// The half-life, then the weight of each voter, followed by its own settings where it is not 0.
    fn chosen(&self) -> Vec<Chosen> {
        let mut all = vec![self.half_lives.chosen("half_life_days", self.fresh.half_life_days(), |_| false)];
        for (voter, &weight) in self.voters.iter().zip(&self.weights) {
            all.push(voter.weights.chosen(voter.setting, weight, |weight| weight == 0.0));
            if weight > 0.0 {
                all.extend(voter.floor.chosen().into_iter().filter(|chosen| chosen.setting != "popularity"));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::RecencyPopularity;
    use crate::floor::fixture::{Events, catalogue, scores};
    use crate::floor::validation::mean_reciprocal_rank;
    use acclimate_data::{ItemIndex, MICROS_PER_DAY as DAY, NextItem, UserIndex, Zone};
    use proptest::prelude::*;

    /// Fixed settings but for half-lives and weights.
    fn blend(half_life_days: impl Into<Grid>, markov: impl Into<Grid>, item_knn: impl Into<Grid>) -> Blend {
        let (half_life_days, markov, item_knn) = (half_life_days.into(), markov.into(), item_knn.into());
        let config = BlendConfig {
            half_life_days,
            markov,
            item_knn,
            ahead: 1.0.into(),
            back: 2.0.into(),
            shrink: 0.0.into(),
            half_life_events: 0.0.into(),
        };
        Blend { config }
    }

    /// Item 4 is followed by 0 and 1, and 5 by 2; users of 4 have 0, 1 and 2 as well. Item 0 has its event on day 0, 1 on day 1, 2 on day 2.
    fn events() -> Events {
        Events::new(&[(0, 4, -1), (0, 0, 0), (1, 4, -1), (1, 1, DAY), (1, 5, DAY + 1), (1, 2, 2 * DAY)])
    }

    #[test]
    fn shares_are_added_by_weight() {
        // Before day 3 with half-life 1: 1/8, 1/4, 1/2 of a count. Markov: 4, the latest, has one vote, for 0 and 1; 5 before it half a vote, for 2.
        let fresh = [1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0, 0.0];
        let markov = [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0];
        // Neighbours: n_4 = 2, so 4 votes for each of 0, 1, 2 with 1/sqrt(2); 5 votes for 1 and 2 with 1.
        let (two, one) = (0.5f64.sqrt(), 1.0);
        let sum = 3.0 * two + 2.0 * one;
        let item_knn = [two / sum, (two + one) / sum, (two + one) / sum, 0.0];
        for [m, k] in [[0.0, 0.0], [0.3, 0.0], [0.0, 0.5], [0.3, 0.5]] {
            let found = scores(&blend(1.0, m, k), &events(), &[0, 1, 2, 3], &[5, 4], 3 * DAY);
            for (i, found) in found.iter().enumerate() {
                let expected = fresh[i] + m * markov[i] + k * item_knn[i];
                assert!((f64::from(*found) - 0.875 * expected).abs() < 1e-6, "{m} {k}, item {i}: {found} against {expected}");
            }
        }
    }

    #[test]
    fn a_part_that_says_nothing_is_left_out() {
        let found = |input: &[u32], time| scores(&blend(1.0, 0.5, 0.0), &events(), &[0, 1, 2, 3], input, time);
        assert_eq!(found(&[9], 3 * DAY), [0.125, 0.25, 0.5, 0.0], "no votes");
        assert_eq!(found(&[5], 0), [0.0, 0.0, 0.5, 0.0], "no counts");
        assert_eq!(found(&[9], 0), [0.0; 4]);
    }

    #[test]
    fn validation_chooses_and_what_is_not_used_is_not_told() {
        // Everybody takes item 0 lately; who had 5 takes 2.
        let events = events();
        let catalogue = catalogue(&[0, 1, 2, 3]);
        let ask = |input: &[u32], positive| NextItem {
            user: UserIndex(9),
            input: input.iter().copied().map(ItemIndex).collect(),
            positive: ItemIndex(positive),
            row: 0,
            time: DAY,
        };
        let chosen = |floor: &Blend, validation: &[NextItem]| {
            let history = RankingHistory {
                sequences: events.sequences(),
                counted: events.sequences(),
                items: 6,
                catalogue: &catalogue,
                validation,
                zone: Zone::UTC,
            };
            let chosen = floor.fit(&history).map(|fitted| fitted.chosen());
            chosen.map(|chosen| chosen.into_iter().map(|c| (c.setting, c.value)).collect::<Vec<_>>())
        };
        let found = |floor: &Blend, positive| chosen(floor, &[ask(&[5], positive)]).unwrap();
        let named = |values: &[(&str, f64)]| values.iter().map(|&(name, value)| (name.to_owned(), value)).collect::<Vec<_>>();
        let open = blend([3.0, 1.0], [0.0, 2.0], 0.0);
        assert_eq!(found(&open, 2), named(&[("half_life_days", 3.0), ("markov", 2.0), ("ahead", 1.0), ("back", 2.0)]));
        assert_eq!(found(&open, 0), named(&[("half_life_days", 3.0), ("markov", 0.0)]));
        let both = blend(1.0, [0.0, 2.0], [0.0, 2.0]);
        assert_eq!(found(&both, 0), named(&[("half_life_days", 1.0), ("markov", 0.0), ("item_knn", 0.0)]));
        let error = chosen(&both, &[]).unwrap_err();
        assert_eq!(error, FloorError::NoValidation { floor: NAME, setting: "half_life_days, markov, item_knn", candidates: 4 });
    }

    proptest! {
        #[test]
        fn the_search_finds_what_fitting_every_combination_finds(
            rows in proptest::collection::vec((0u32..6, 0u32..8, 0i64..20), 5..60),
            asked in proptest::collection::vec((0u32..3, proptest::collection::vec(0u32..8, 1..4), 0u32..8, 0i64..24), 1..12),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(user, item, day)| (user, item, day * DAY)).collect();
            let events = Events::new(&rows);
            let catalogue = catalogue(&[0, 1, 2, 3, 5, 7]);
            let query = |(user, input, positive, day): (u32, Vec<u32>, u32, i64)| {
                let input = input.into_iter().map(ItemIndex).collect();
                NextItem { user: UserIndex(user), input, positive: ItemIndex(positive), row: 0, time: day * DAY }
            };
            let validation: Vec<NextItem> = asked.into_iter().map(query).collect();
            let history = RankingHistory {
                sequences: events.sequences(),
                counted: events.sequences(),
                items: 8,
                catalogue: &catalogue,
                validation: &validation,
                zone: Zone::UTC,
            };
            let questions = Asked::new(&catalogue, &validation);
            let value = |floor: &dyn RankingFloor| mean_reciprocal_rank(floor.fit(&history).unwrap().as_ref(), &questions);
            let (half_lives, weights) = ([1.0, 5.0], [0.0, 0.1, 1.0]);
            let chosen = value(&blend(half_lives, weights, weights));
            let mut best = 0.0f64;
            for half_life in half_lives {
                for markov in weights {
                    best = weights.iter().map(|&item_knn| value(&blend(half_life, markov, item_knn))).fold(best, f64::max);
                }
                let recency = RecencyPopularity { config: toml::from_str(&format!("half_life_days = {half_life}")).unwrap() };
                prop_assert_eq!(value(&recency).to_bits(), value(&blend(half_life, 0.0, 0.0)).to_bits());
            }
            prop_assert_eq!(chosen, best);
        }
    }
}
