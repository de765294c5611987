//! A mixture of bridges for clicks, with shares that people learned from none of them.
//!
//! Each expert e gives a person a distribution over target items, `P_e(j) = max(s_e(j), 0)^γ / Σ`, as it is (`γ = 1`) or sharper (2, 3, 4); uniform where nothing is above 0.
//! `P(j) = Σ_e π_e P_e(j)`: a sum keeps the head of a sharp expert, where it knows something, and the order of a smooth one everywhere else. (Their product does not: one expert
//! that gives an item nothing is enough to lose it.)
//!
//! The shares `π` are those that make most likely what shared people have by experts that were fitted without them, in three parts, each held out once:
//! `max Σ_u 1/|S_u| Σ_{j in S_u} log Σ_e π_e P_e(j | u)`, which is concave, by EM. Then all experts are fitted again to everybody. No share is chosen by hand, and none on the
//! people who choose between methods.
//!
//! What is most likely is not always ranked best. So the same people compare the mixture with mixtures in which one expert has half of all, or nearly all, by their mean reciprocal rank: the best
//! is taken where it is better than the mixture by more than two standard errors of the paired difference.
//!
//! There are also shares for people of whom the first k target items are known: judges show k of theirs and are asked for the others.

use rayon::prelude::*;

use super::mapping::{Lesson, Map, MappingConfig};
use super::{Bridge, Factors, FactorsConfig, ItemKnn, Known, Mapped, Pair, Popularity, RidgeBridge, UserKnn, joint, judges};
use crate::random;

/// Numbers of known target items that have shares of their own; a person with another number is served by those of the largest that is not above it.
const SHOWN: [usize; 5] = [0, 1, 3, 5, 10];
/// People that a number of shown items needs to have shares of its own.
const FEWEST: usize = 50;
/// `γ`.
const POWERS: [i32; 4] = [1, 2, 3, 4];
/// Number of experts.
const EXPERTS: usize = 12;
/// EM ends after so many steps, or where no share moves by more than this.
const STEPS: usize = 2000;
const STILL: f64 = 1e-7;

/// Bridges for clicks, mixed as people held out of them were served best.
pub struct Mixture {
    experts: Experts,
    /// Shares by number of shown items.
    shares: Vec<(usize, Vec<f64>)>,
}

/// How much of a mixture is one expert.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// Its name.
    pub expert: &'static str,
    /// `γ`.
    pub power: i32,
    /// `π`.
    pub share: f64,
}

/// What is mixed.
struct Experts {
    bridges: Vec<Expert>,
    items: usize,
}

struct Expert {
    name: &'static str,
    bridge: Box<dyn Bridge>,
    reads: Reads,
}

/// What an expert is told of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Source,
    Shown,
    Both,
}

impl Experts {
    const DISTRIBUTIONS: usize = EXPERTS * POWERS.len() + 1;

    fn fit(pair: &Pair, factors: FactorsConfig, seed: u64) -> Self {
        let both = Factors::fit(&joint(pair), factors).0;
        let [source, target] = both.split(pair.source.width);
        let map = MappingConfig { map: Map::Linear, lesson: Lesson::Vectors, inner_rate: None, epochs: 0, rate: 0.0, seed };
        let mapped = Mapped::fit(pair, &source, &target, map);
        let votes = ItemKnn::new(pair, 10.0);
        let of = |name, reads, bridge: Box<dyn Bridge>| Expert { name, bridge, reads };
        let bridges = vec![
            of("ridge_narrow", Reads::Source, Box::new(RidgeBridge::new(pair, 0.0, 5.0))),
            of("ridge", Reads::Source, Box::new(RidgeBridge::new(pair, 0.25, 10.0))),
            of("ridge_wide", Reads::Source, Box::new(RidgeBridge::new(pair, 0.5, 20.0))),
            of("user_knn", Reads::Source, Box::new(UserKnn::new(pair))),
            of("item_knn_rare", Reads::Both, Box::new(votes.with_shrink(2.0))),
            of("item_knn", Reads::Both, Box::new(votes.clone())),
            of("item_knn_common", Reads::Both, Box::new(votes.with_shrink(50.0))),
            of("shown_items", Reads::Shown, Box::new(votes.clone())),
            of("emcdr", Reads::Source, Box::new(mapped)),
            of("mf", Reads::Both, Box::new(both)),
            of("popularity", Reads::Source, Box::new(Popularity::of_all(pair))),
            of("shared_popularity", Reads::Source, Box::new(Popularity::of_shared(pair))),
        ];
        debug_assert_eq!(bridges.len(), EXPERTS);
        Self { bridges, items: pair.target.width }
    }

    /// Hands `P_e` of each expert and power to `visit`, and the uniform one at last.
    fn visit(&self, person: &Known<'_>, mut visit: impl FnMut(usize, &[f64])) {
        let nothing: (&[u32], &[f64]) = (&[], &[]);
        let (mut scores, mut powers) = (vec![0.0; self.items], vec![0.0; self.items]);
        let uniform = vec![1.0 / self.items as f64; self.items];
        for (e, expert) in self.bridges.iter().enumerate() {
            let told = match expert.reads {
                Reads::Source => Known { source: person.source, revealed: nothing },
                Reads::Shown => Known { source: nothing, revealed: person.revealed },
                Reads::Both => *person,
            };
            expert.bridge.score(&told, &mut scores);
            for (p, power) in POWERS.into_iter().enumerate() {
                powers.iter_mut().zip(&scores).for_each(|(q, s)| *q = s.max(0.0).powi(power));
                let sum: f64 = powers.iter().sum();
                powers.iter_mut().for_each(|q| *q /= sum);
                visit(e * POWERS.len() + p, if sum > 0.0 { &powers } else { &uniform });
            }
        }
        visit(self.bridges.len() * POWERS.len(), &uniform);
    }
}

impl Mixture {
    /// Fits the experts and learns their shares.
    #[must_use]
    pub fn fit(pair: &Pair, factors: FactorsConfig, seed: u64) -> Self {
        let parts = judges(pair, seed).map(|judges| {
            let experts = Experts::fit(&pair.without(&judges), factors, seed);
            (judges, experts)
        });
        let mut shares = Vec::new();
        for shown in SHOWN {
            let asked = |judges: &[usize]| -> Vec<Asked> {
                judges.iter().filter(|&&u| pair.target.row(u).0.len() > shown).map(|&u| Asked::new(pair, u, shown)).collect()
            };
            let panels: Vec<Vec<Asked>> = parts.iter().map(|(judges, _)| asked(judges)).collect();
            if shown > 0 && panels.iter().map(Vec::len).sum::<usize>() < FEWEST {
                break;
            }
            let each = || parts.iter().zip(&panels).map(|((_, experts), panel)| (experts, panel));
            let said: Vec<Vec<Vec<f64>>> = each().flat_map(|(experts, panel)| judged(experts, pair, panel)).collect();
            let likely = learned(&said, Experts::DISTRIBUTIONS);
            let others = leaning(&likely);
            let quality: Vec<Vec<f64>> =
                each().flat_map(|(experts, panel)| ranked(experts, pair, &panel[..panel.len().min(RANKED)], &likely)).collect();
            shares.push((shown, better(&quality).map_or(likely, |at| others[at].clone())));
        }
        // Their matrices go before those of everybody come.
        drop(parts);
        Self { experts: Experts::fit(pair, factors, seed), shares }
    }

    /// The shares that are not 0, by number of shown items, the largest first.
    #[must_use]
    pub fn shares(&self) -> Vec<(usize, Vec<Share>)> {
        let named = |at: usize, share: f64| match self.experts.bridges.get(at / POWERS.len()) {
            Some(expert) => Share { expert: expert.name, power: POWERS[at % POWERS.len()], share },
            None => Share { expert: "uniform", power: 1, share },
        };
        let listed = |shares: &[f64]| {
            let mut list: Vec<Share> = shares.iter().enumerate().filter(|(_, s)| **s > 1e-3).map(|(at, &s)| named(at, s)).collect();
            list.sort_by(|a, b| b.share.total_cmp(&a.share));
            list
        };
        self.shares.iter().map(|(shown, shares)| (*shown, listed(shares))).collect()
    }
}

impl Bridge for Mixture {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let of = self.shares.iter().rev().find(|(shown, _)| *shown <= person.revealed.0.len());
        let shares = &of.expect("shares for no shown item").1;
        scores.fill(0.0);
        self.experts.visit(person, |at, distribution| {
            if shares[at] > 0.0 {
                scores.iter_mut().zip(distribution).for_each(|(sum, p)| *sum += shares[at] * p);
            }
        });
    }

    fn parameters(&self) -> usize {
        self.experts.bridges.iter().map(|expert| expert.bridge.parameters()).sum::<usize>() + self.shares.len() * Experts::DISTRIBUTIONS
    }
}

/// What one held-out person shows and is asked for.
struct Asked {
    person: usize,
    shown: (Vec<u32>, Vec<f64>),
    rest: Vec<u32>,
}

impl Asked {
    fn new(pair: &Pair, person: usize, shown: usize) -> Self {
        let (own, values) = pair.target.row(person);
        // In an order of their own: which items are shown must not follow from their numbers.
        let key = |at: usize| random::uniform(13, person as u64, u64::from(own[at]));
        let mut order: Vec<usize> = (0..own.len()).collect();
        order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
        let (first, rest) = order.split_at(shown);
        Self { person, shown: first.iter().map(|&at| (own[at], values[at])).unzip(), rest: rest.iter().map(|&at| own[at]).collect() }
    }

    fn known<'a>(&'a self, pair: &'a Pair) -> Known<'a> {
        Known { source: pair.source.row(self.person), revealed: (&self.shown.0, &self.shown.1) }
    }
}

/// What each distribution gives the items that people are asked for, `[people][items][distributions]`.
fn judged(experts: &Experts, pair: &Pair, panel: &[Asked]) -> Vec<Vec<Vec<f64>>> {
    let of = |asked: &Asked| {
        let mut said = vec![Vec::with_capacity(Experts::DISTRIBUTIONS); asked.rest.len()];
        experts.visit(&asked.known(pair), |_, distribution| {
            // Items that are shown are not asked for: what is left is a distribution again.
            let left = 1.0 - asked.shown.0.iter().map(|&item| distribution[item as usize]).sum::<f64>();
            let scale = if left > 1e-12 { 1.0 / left } else { 0.0 };
            said.iter_mut().zip(&asked.rest).for_each(|(said, &item)| said.push(scale * distribution[item as usize]));
        });
        said
    };
    panel.par_iter().map(of).collect()
}

/// Of each part of the people so many compare mixtures by ranks, which costs more than shares do.
const RANKED: usize = 200;
/// How much one expert has in the mixtures that are compared.
const LEANS: [f64; 2] = [0.5, 0.95];

/// Mixtures that lean on one expert as it is: those of [`ranked`] but the first.
fn leaning(shares: &[f64]) -> Vec<Vec<f64>> {
    let lean = |expert: usize, share: f64| {
        let mut shares: Vec<f64> = shares.iter().map(|s| (1.0 - share) * s).collect();
        shares[expert * POWERS.len()] += share;
        shares
    };
    (0..EXPERTS).flat_map(|expert| LEANS.map(|share| lean(expert, share))).collect()
}

/// Mean reciprocal rank of what each person is asked for, among all items that the person does not have, by a mixture and by those that lean on an expert, `[people][mixtures]`.
fn ranked(experts: &Experts, pair: &Pair, panel: &[Asked], shares: &[f64]) -> Vec<Vec<f64>> {
    let of = |asked: &Asked| {
        let known = asked.known(pair);
        let mut mixed = vec![0.0; experts.items];
        experts.visit(&known, |at, p| mixed.iter_mut().zip(p).for_each(|(sum, p)| *sum += shares[at] * p));
        let mut is_other = vec![true; experts.items];
        asked.rest.iter().chain(&asked.shown.0).for_each(|&item| is_other[item as usize] = false);
        let quality = |scores: &[f64]| {
            let rank = |&item: &u32| {
                let own = scores[item as usize];
                let (mut above, mut tied) = (0u32, 0u32);
                for (s, other) in scores.iter().zip(&is_other) {
                    above += u32::from(*other && *s > own);
                    tied += u32::from(*other && *s == own);
                }
                1.0 / (1.0 + f64::from(above) + 0.5 * f64::from(tied))
            };
            asked.rest.iter().map(rank).sum::<f64>() / asked.rest.len() as f64
        };
        let mut found = vec![quality(&mixed)];
        let mut scores = vec![0.0; experts.items];
        experts.visit(&known, |at, p| {
            if at.is_multiple_of(POWERS.len()) && at / POWERS.len() < EXPERTS {
                for share in LEANS {
                    scores.iter_mut().zip(&mixed).zip(p).for_each(|((s, m), p)| *s = (1.0 - share) * m + share * p);
                    found.push(quality(&scores));
                }
            }
        });
        found
    };
    panel.par_iter().map(of).collect()
}

/// Which of the mixtures after the first is best, and better than the first by more than two standard errors; counted from 0.
fn better(quality: &[Vec<f64>]) -> Option<usize> {
    let n = quality.len() as f64;
    let gain = |at: usize| {
        let gains: Vec<f64> = quality.iter().map(|q| q[at] - q[0]).collect();
        let mean = gains.iter().sum::<f64>() / n;
        (mean, gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>().sqrt() / n)
    };
    let (best, (mean, error)) = (1..quality.first()?.len()).map(|at| (at, gain(at))).max_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
    (mean > 2.0 * error).then_some(best - 1)
}

/// EM: the responsibility of each distribution for each item, and the shares are their means, inside judges and then over them.
fn learned(said: &[Vec<Vec<f64>>], distributions: usize) -> Vec<f64> {
    let mut shares = vec![1.0 / distributions as f64; distributions];
    for _ in 0..STEPS {
        let mut next = vec![0.0; distributions];
        for judge in said {
            let weight = 1.0 / (said.len() * judge.len()) as f64;
            for item in judge {
                let all: f64 = item.iter().zip(&shares).map(|(p, share)| p * share).sum();
                next.iter_mut().zip(item).zip(&shares).for_each(|((sum, p), share)| *sum += weight * p * share / all);
            }
        }
        let moved = next.iter().zip(&shares).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        shares = next;
        if moved < STILL {
            break;
        }
    }
    shares
}
