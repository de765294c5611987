use rayon::prelude::*;

use super::factors::Observed;
use super::mapping::{Lesson, Map, MappingConfig};
use super::{BiasBridge, Bridge, Factors, FactorsConfig, Known, Mapped, Pair, judges};

/// For ratings: levels across domains, and a mapped taste beside them as far as people held out of both were served better by it.
///
/// `r_uj = μ + b_j + b_u + w ûᵀ y_j` with `μ, b_j, b_u` of a [`BiasBridge`], `û` of a linear map between factors with biases, but for its first entry, which is a level.
/// `w` is the best of five shares for shared people by fits without them, in three parts, and 0 unless their squared errors are smaller by more than two standard errors of the paired difference.
pub struct RatingBridge {
    levels: BiasBridge,
    mapped: Mapped,
    weight: f64,
}

/// Weights that judges choose from.
const SHARES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

impl RatingBridge {
    /// Fits levels with these shrinkages of people and of items, and a map.
    #[must_use]
    pub fn fit(pair: &Pair, shrink: [f64; 2], factors: FactorsConfig, seed: u64) -> Self {
        let factors = FactorsConfig { observed: Observed::Ratings { biases: true }, ..factors };
        let map = MappingConfig { map: Map::Linear, lesson: Lesson::Vectors, inner_rate: None, epochs: 0, rate: 0.0, seed };
        let fit = |pair: &Pair| {
            let (source, target) = rayon::join(|| Factors::fit(&pair.source, factors).0, || Factors::fit(&pair.target, factors).0);
            Self { levels: BiasBridge::new(pair, shrink[0], shrink[1]), mapped: Mapped::fit(pair, &source, &target, map), weight: 0.0 }
        };
        let mut parts: Vec<[f64; SHARES.len()]> = Vec::new();
        for judges in judges(pair, seed) {
            let held = fit(&pair.without(&judges));
            let losses = |&u: &usize| {
                let (items, ratings) = pair.target.row(u);
                let known = pair.newcomer(u);
                let (level, vector) = (held.levels.target().mean + held.levels.person(&known), held.mapped.vector(&known));
                SHARES.map(|share| {
                    let said = |i: usize| level + held.levels.target().items[i] + share * held.mapped.taste(&vector, i);
                    items.iter().zip(ratings).map(|(&i, r)| (r - said(i as usize)).powi(2)).sum::<f64>()
                })
            };
            parts.par_extend(judges.par_iter().map(losses));
        }
        let total = |at: usize| parts.iter().map(|p| p[at]).sum::<f64>();
        let best = (0..SHARES.len()).min_by(|&a, &b| total(a).total_cmp(&total(b))).expect("some share");
        let gains: Vec<f64> = parts.iter().map(|p| p[0] - p[best]).collect();
        let n = gains.len().max(1) as f64;
        let mean = gains.iter().sum::<f64>() / n;
        let error = gains.iter().map(|g| (g - mean).powi(2)).sum::<f64>().sqrt() / n;
        Self { weight: if mean > 2.0 * error { SHARES[best] } else { 0.0 }, ..fit(pair) }
    }

    /// How much of the mapped taste is added.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

impl Bridge for RatingBridge {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        self.levels.score(person, scores);
        if self.weight > 0.0 {
            let vector = self.mapped.vector(person);
            scores.iter_mut().enumerate().for_each(|(item, score)| *score += self.weight * self.mapped.taste(&vector, item));
        }
    }

    fn parameters(&self) -> usize {
        self.levels.parameters() + self.mapped.parameters()
    }
}
