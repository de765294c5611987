//! MetaCF: a user is made of items, and moved by steps that are learned.
//!
//! `e = |S|^-p Σ_{j∈S} (q_j + Σ_l c_jl q_l)`, `s_i = e·v_i + b_i` of a user with items S; l are the items that stand beside j in most people's rows, `c_jl = n_jl / √(n_j n_l)`:
//! potential interactions. There are no numbers of users, so that whoever comes next needs none.
//!
//! *Adapting*: K steps `θ <- θ - η ⊙ ∇L_S(θ)` on the rows that S touches, q of its members, v and b of S and of drawn items; `L_S = mean -ln σ(s_i - s_n)` over i of S, e
//! without what i brings. η is a rate for every number, learned.
//!
//! *Learning*: a training user becomes fresh: k of 1 to `shots` items, drawn, are S, and all other rows of the user are hidden, from potential interactions as well; some of them, none of S, are
//! the query set. `∂L_Q(θ_K)/∂θ` and `∂L_Q(θ_K)/∂η`, exact or of first order, are the mean over a batch of users, each number held in `±clamp`, and go to Adam: only the
//! numbers that somebody in the batch touches move, and so do their moments.
//!
//! # References
//! T. Wei et al., *Fast Adaptation for Cold-Start Collaborative Filtering with Meta-learning* (MetaCF), ICDM 2020; S. Kabbur, X. Ning, G. Karypis, *FISM*, KDD 2013, for the encoder;
//! Z. Li et al., *Meta-SGD*, 2017, for the rates; S. Rendle et al., *BPR*, UAI 2009, for the loss.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::episode::{Asked, Episode, Lesson, user};
use super::potential::beside;
use crate::bridge::{Bridge, Known};
use crate::cholesky::dot;
use crate::{Sparse, random};

/// How the outer gradient is formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Through the steps, curvature included.
    #[default]
    Second,
    /// As if the steps had no curvature.
    First,
}

/// How it is learned and adapted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetaCfConfig {
    /// Numbers in a vector, default 32.
    pub factors: usize,
    /// p, default 0.5: at 1 a user with more items is no longer than one with a single one.
    pub discount: f64,
    /// Support items of a training user at most, default 5: about what will be known of those who are served.
    pub shots: usize,
    /// Query items of a training user at most, default 10.
    pub queries: usize,
    /// Items that each liked one is compared with, default 4.
    pub negatives: usize,
    /// K, default 5; 0 adapts nobody, and what is left is FISM.
    pub inner_steps: usize,
    /// Where every rate starts, default 0.01.
    pub inner_rate: f64,
    /// Default exact.
    pub order: Order,
    /// Potential interactions of each support item, default 10; 0: none.
    pub potential: usize,
    /// Users a step, default 32.
    pub batch: usize,
    /// Passes over users at most, default 30; the best of them counts.
    pub epochs: usize,
    /// Passes without a better one after which learning ends, default 5.
    pub patience: usize,
    /// Rate of Adam, default 0.001.
    pub rate: f64,
    /// What each number of a gradient is held in, default 10.
    pub clamp: f64,
    /// Seed of starting values, orders and draws.
    pub seed: u64,
}

impl Default for MetaCfConfig {
    fn default() -> Self {
        Self {
            factors: 32,
            discount: 0.5,
            shots: 5,
            queries: 10,
            negatives: 4,
            inner_steps: 5,
            inner_rate: 0.01,
            order: Order::Second,
            potential: 10,
            batch: 32,
            epochs: 30,
            patience: 5,
            rate: 0.001,
            clamp: 10.0,
            seed: 1,
        }
    }
}

/// A learned start with its rates.
#[derive(Clone, Debug)]
pub struct MetaCf {
    config: MetaCfConfig,
    rows: Sparse,
    /// People of each item.
    owners: Sparse,
    /// Items with a row, ascending: what is drawn from.
    candidates: Vec<u32>,
    /// `[items, d]` of q, then `[items, d + 1]` of v and b.
    values: Vec<f64>,
    /// η, of the same shape.
    rates: Vec<f64>,
}

/// Standard deviation of the first vectors.
const START: f64 = 0.1;
/// Where the draws of training users, of orders and of those who are served begin.
const TRAINING: u64 = 1 << 32;
const SHUFFLING: u64 = 1 << 48;
const SERVING: u64 = 1 << 40;

/// Uniform numbers one after the other.
struct Draws {
    seed: u64,
    place: u64,
    next: u64,
}

impl Draws {
    fn next(&mut self) -> f64 {
        self.next += 1;
        random::uniform(self.seed, self.place, self.next - 1)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() * n as f64) as usize
    }

    /// One of `from` that is none of `not`, of which there are fewer.
    fn other(&mut self, from: &[u32], not: &[u32]) -> u32 {
        loop {
            let item = from[self.below(from.len())];
            if !not.contains(&item) {
                return item;
            }
        }
    }
}

/// An episode that is being put together: rows get their places in the order in which they are first asked for.
#[derive(Default)]
struct Making {
    episode: Episode,
    places: BTreeMap<usize, usize>,
    length: usize,
}

impl Making {
    fn place(&mut self, span: Range<usize>) -> usize {
        *self.places.entry(span.start).or_insert_with(|| {
            self.length += span.len();
            self.episode.spans.push(span.clone());
            self.length - span.len()
        })
    }
}

impl MetaCf {
    /// Learns from the rows of people, `[people, items]`, values unread; of the starts after each epoch the one that `judge` finds best counts.
    ///
    /// # Errors
    /// What the judge reports.
    pub fn fit<E>(rows: &Sparse, config: MetaCfConfig, mut judge: impl FnMut(&Self) -> Result<f64, E>) -> Result<Self, E> {
        let mut model = Self::start(rows, config);
        let users: Vec<usize> = (0..rows.len()).filter(|&user| (2..model.candidates.len()).contains(&rows.row(user).0.len())).collect();
        let (mut of_values, mut of_rates) = (Adam::new(model.values.len()), Adam::new(model.rates.len()));
        let mut best: Option<(f64, Vec<f64>, Vec<f64>)> = None;
        let mut since = 0;
        for epoch in 0..config.epochs as u64 {
            let mut order = users.clone();
            order.sort_by(|&a, &b| {
                let key = |user: usize| random::uniform(config.seed, SHUFFLING + epoch, user as u64);
                key(a).total_cmp(&key(b))
            });
            for batch in order.chunks(config.batch) {
                let asked: Vec<(Episode, Asked)> = batch.par_iter().map(|&user| model.ask(user, epoch)).collect();
                for (episode, asked) in &asked {
                    let share = 1.0 / batch.len() as f64;
                    of_values.add(&episode.spans, &asked.values, share);
                    of_rates.add(&episode.spans[..episode.adapted.0], &asked.rates, share);
                }
                of_values.step(&mut model.values, &config);
                of_rates.step(&mut model.rates, &config);
            }
            let quality = judge(&model)?;
            if best.as_ref().is_none_or(|(than, ..)| quality > *than) {
                best = Some((quality, model.values.clone(), model.rates.clone()));
                since = 0;
            } else {
                since += 1;
                if since >= config.patience {
                    break;
                }
            }
        }
        if let Some((_, values, rates)) = best {
            (model.values, model.rates) = (values, rates);
        }
        Ok(model)
    }

    fn start(rows: &Sparse, config: MetaCfConfig) -> Self {
        let (n, d) = (rows.width, config.factors);
        let owners = rows.transposed();
        let candidates = (0..n as u32).filter(|&item| !owners.row(item as usize).0.is_empty()).collect();
        let start = |row: usize, k: usize| START * random::normal(config.seed, row as u64, k as u64);
        let q = (0..n * d).map(|at| start(at / d, at % d));
        let v = (0..n * (d + 1)).map(|at| if at % (d + 1) == d { 0.0 } else { start(n + at / (d + 1), at % (d + 1)) });
        let values = q.chain(v).collect();
        Self { config, rows: rows.clone(), owners, candidates, values, rates: vec![config.inner_rate; n * (2 * d + 1)] }
    }

    /// What a training user, made fresh, asks of the model.
    fn ask(&self, user: usize, epoch: u64) -> (Episode, Asked) {
        let config = &self.config;
        let own = self.rows.row(user).0;
        let mut draws = Draws { seed: config.seed, place: TRAINING + epoch * self.rows.len() as u64 + user as u64, next: 0 };
        let k = 1 + draws.below(config.shots.min(own.len() - 1));
        let mut drawn: Vec<(f64, u32)> = own.iter().map(|&item| (draws.next(), item)).collect();
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut support: Vec<u32> = drawn[..k].iter().map(|(_, item)| *item).collect();
        support.sort_unstable();
        let (mut making, members) = self.support(&support, Some(user), &mut draws);
        let query = drawn[k..].iter().take(config.queries);
        let mut pairs = Vec::new();
        for &(_, liked) in query {
            let liked_at = making.place(self.item(liked));
            for _ in 0..config.negatives {
                let other = draws.other(&self.candidates, own);
                pairs.push([liked_at, making.place(self.item(other))]);
            }
        }
        let mut episode = making.episode;
        episode.query = vec![Lesson { members, pairs }];
        let (values, rates) = (episode.gather(&self.values), episode.gather(&self.rates));
        let asked = episode.outer(config.factors, &values, &rates, config.inner_steps, config.order == Order::Second);
        (episode, asked)
    }

    /// The support set of an episode, and the members of the whole of it.
    fn support(&self, support: &[u32], hidden: Option<usize>, draws: &mut Draws) -> (Making, Vec<(usize, f64)>) {
        let config = &self.config;
        let mut making = Making::default();
        let brought: Vec<Vec<(u32, f64)>> = support
            .iter()
            .map(|&item| std::iter::once((item, 1.0)).chain(beside(&self.rows, &self.owners, item, config.potential, hidden)).collect())
            .collect();
        let mut members = |without: Option<usize>| -> Vec<(usize, f64)> {
            let mut weights: BTreeMap<u32, f64> = BTreeMap::new();
            for (_, brought) in brought.iter().enumerate().filter(|(at, _)| Some(*at) != without) {
                brought.iter().for_each(|&(item, weight)| *weights.entry(item).or_insert(0.0) += weight);
            }
            let scale = ((support.len() - usize::from(without.is_some())) as f64).powf(-config.discount);
            weights.into_iter().map(|(item, weight)| (making.place(self.context(item)), scale * weight)).collect()
        };
        let all = members(None);
        let without: Vec<_> = (0..support.len()).map(|at| members(Some(at))).collect();
        // Whoever has everything can not be asked what is liked less.
        let has_others = support.len() < self.candidates.len();
        for (&liked, members) in support.iter().zip(without).filter(|_| has_others && config.inner_steps > 0) {
            let liked = making.place(self.item(liked));
            let pairs = (0..config.negatives).map(|_| [liked, making.place(self.item(draws.other(&self.candidates, support)))]).collect();
            making.episode.support.push(Lesson { members, pairs });
        }
        making.episode.adapted = (making.episode.spans.len(), making.length);
        (making, all)
    }

    fn context(&self, item: u32) -> Range<usize> {
        let d = self.config.factors;
        item as usize * d..(item as usize + 1) * d
    }

    fn item(&self, item: u32) -> Range<usize> {
        let d = self.config.factors;
        let from = self.rows.width * d + item as usize * (d + 1);
        from..from + d + 1
    }

    /// `s_i` of a row `[v, b]`.
    fn said(e: &[f64], row: &[f64]) -> f64 {
        dot(e, &row[..e.len()]) + row[e.len()]
    }
}

impl Bridge for MetaCf {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let d = self.config.factors;
        let mut support = person.revealed.0.to_vec();
        support.sort_unstable();
        let place = support.iter().fold(SERVING, |place, &item| place.wrapping_mul(31).wrapping_add(u64::from(item) + 1));
        let mut draws = Draws { seed: self.config.seed, place, next: 0 };
        let (making, members) = self.support(&support, None, &mut draws);
        let episode = making.episode;
        let (values, rates) = (episode.gather(&self.values), episode.gather(&self.rates));
        let adapted = episode.adapt(d, &values, &rates, self.config.inner_steps);
        let e = user(&members, d, &adapted);
        let first = self.rows.width * d;
        let rows = self.values[first..].chunks_exact(d + 1);
        scores.iter_mut().zip(rows).for_each(|(score, row)| *score = Self::said(&e, row));
        let mut from = 0;
        for span in &episode.spans {
            if span.start >= first {
                scores[(span.start - first) / (d + 1)] = Self::said(&e, &adapted[from..from + d + 1]);
            }
            from += span.len();
        }
    }

    fn parameters(&self) -> usize {
        self.values.len() + self.rates.len()
    }
}

/// Adam over the numbers that a batch touches.
struct Adam {
    sum: Vec<f64>,
    touched: Vec<Range<usize>>,
    first: Vec<f64>,
    second: Vec<f64>,
    steps: i32,
}

impl Adam {
    fn new(n: usize) -> Self {
        Self { sum: vec![0.0; n], touched: Vec::new(), first: vec![0.0; n], second: vec![0.0; n], steps: 0 }
    }

    fn add(&mut self, spans: &[Range<usize>], gradient: &[f64], share: f64) {
        let mut from = 0;
        for span in spans {
            self.sum[span.clone()].iter_mut().zip(&gradient[from..]).for_each(|(sum, g)| *sum += share * g);
            self.touched.push(span.clone());
            from += span.len();
        }
    }

    fn step(&mut self, values: &mut [f64], config: &MetaCfConfig) {
        self.steps += 1;
        let (of_first, of_second) = (1.0 - 0.9f64.powi(self.steps), 1.0 - 0.999f64.powi(self.steps));
        self.touched.sort_unstable_by_key(|span| span.start);
        self.touched.dedup();
        for at in self.touched.drain(..).flatten() {
            let g = std::mem::take(&mut self.sum[at]).clamp(-config.clamp, config.clamp);
            self.first[at] = 0.9 * self.first[at] + 0.1 * g;
            self.second[at] = 0.999 * self.second[at] + 0.001 * g * g;
            values[at] -= config.rate * (self.first[at] / of_first) / ((self.second[at] / of_second).sqrt() + 1e-8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Sparse {
        let mut rows = Sparse::new(30);
        for user in 0..40u64 {
            let has = |item: &u32| random::uniform(9, user, u64::from(*item)) < if u64::from(*item) % 3 == user % 3 { 0.5 } else { 0.1 };
            rows.push((0..28).filter(has).map(|item| (item, 1.0)));
        }
        rows
    }

    fn quick() -> MetaCfConfig {
        MetaCfConfig { factors: 4, epochs: 3, batch: 8, negatives: 2, potential: 3, inner_rate: 0.5, ..MetaCfConfig::default() }
    }

    fn fitted(config: MetaCfConfig) -> MetaCf {
        let fitted: Result<MetaCf, std::convert::Infallible> = MetaCf::fit(&rows(), config, |_| Ok(0.0));
        let Ok(fitted) = fitted;
        fitted
    }

    #[test]
    fn a_training_user_is_fresh() {
        let model = MetaCf::start(&rows(), quick());
        for user in 0..40 {
            let own = model.rows.row(user).0;
            let (n, d) = (model.rows.width, 4);
            // The same user with no rows but those of the support set: the adapted part of the episode is the same.
            let (episode, _) = model.ask(user, 3);
            let item = |span: &Range<usize>| (span.start >= n * d).then(|| ((span.start - n * d) / (d + 1)) as u32);
            let liked = |lessons: &[Lesson]| -> Vec<u32> {
                let mut from = 0;
                let mut starts = BTreeMap::new();
                for span in &episode.spans {
                    starts.insert(from, item(span));
                    from += span.len();
                }
                lessons.iter().flat_map(|lesson| &lesson.pairs).map(|pair| starts[&pair[0]].expect("an item's row")).collect()
            };
            let (support, query) = (liked(&episode.support), liked(&episode.query));
            assert!(!support.is_empty() && !query.is_empty() && query.iter().all(|item| !support.contains(item) && own.contains(item)));
            let mut alone = model.clone();
            let mut reduced = Sparse::new(n);
            (0..40).for_each(|other| {
                let items = if other == user { &support[..] } else { model.rows.row(other).0 };
                let mut items = items.to_vec();
                items.dedup();
                reduced.push(items.into_iter().map(|item| (item, 1.0)));
            });
            (alone.owners, alone.rows) = (reduced.transposed(), reduced);
            let draws = || Draws { seed: 1, place: 0, next: 0 };
            let mut set = support.clone();
            set.dedup();
            let (made, members) = model.support(&set, Some(user), &mut draws());
            let (other, of_other) = alone.support(&set, Some(user), &mut draws());
            assert_eq!((members, made.episode.support, made.episode.spans), (of_other, other.episode.support, other.episode.spans));
        }
    }

    #[test]
    fn the_same_on_any_number_of_threads() {
        let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| fitted(quick()));
        let (one, three) = (on(1), on(3));
        assert!(one.values == three.values && one.rates == three.rates && one.values != MetaCf::start(&rows(), quick()).values);
    }

    #[test]
    fn what_learning_moves() {
        let start = MetaCf::start(&rows(), quick());
        let moved = |config: MetaCfConfig| {
            let model = fitted(config);
            (model.values != start.values, model.rates != start.rates)
        };
        assert_eq!(moved(quick()), (true, true));
        assert_eq!(moved(MetaCfConfig { inner_steps: 0, ..quick() }), (true, false), "no steps, no rates");
        let first = fitted(MetaCfConfig { order: Order::First, ..quick() });
        assert_ne!(first.values, fitted(quick()).values, "curvature counts");
        // Items 28 and 29 have no row: nobody draws them.
        let untouched = start.item(28).start..start.item(29).end;
        assert_eq!(fitted(quick()).values[untouched.clone()], start.values[untouched]);
    }

    #[test]
    fn the_best_epoch_counts_and_patience_ends() {
        let mut seen = Vec::new();
        let config = MetaCfConfig { epochs: 9, patience: 2, ..quick() };
        let fitted = MetaCf::fit(&rows(), config, |model| {
            seen.push(model.values.clone());
            Ok::<f64, std::convert::Infallible>([1.0, 3.0, 2.0, 2.5, 9.0][seen.len() - 1])
        });
        let Ok(fitted) = fitted;
        assert_eq!(seen.len(), 4);
        assert_eq!(fitted.values, seen[1]);
    }

    #[test]
    fn nobody_and_everything_are_answered() {
        let model = fitted(quick());
        let all: Vec<u32> = (0..28).collect();
        for items in [&[][..], &[29], &[3, 1], &all] {
            let mut scores = vec![f64::NAN; 30];
            model.score(&Known { source: (&[], &[]), revealed: (items, &vec![1.0; items.len()]) }, &mut scores);
            assert!(scores.iter().all(|s| s.is_finite()), "{items:?}");
        }
        let scores = |items: &[u32]| {
            let mut scores = vec![0.0; 30];
            model.score(&Known { source: (&[], &[]), revealed: (items, &vec![1.0; items.len()]) }, &mut scores);
            scores
        };
        assert_eq!(scores(&[3, 1, 7]), scores(&[7, 3, 1]), "the order of the items says nothing");
        assert_ne!(scores(&[3, 1, 7]), scores(&[4, 1, 7]));
    }
}
