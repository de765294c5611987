//! Levels of items and people, and what a person's level in one domain says of the level in another.

use super::{Bridge, Known, Pair};
use crate::Sparse;

/// `r_ui = μ + b_u + b_i`, by alternating shrunken means: `b_i = Σ_u (r - μ - b_u) / (n_i + λ_i)`, and so for `b_u`.
#[derive(Clone, Debug, PartialEq)]
pub struct Biases {
    /// μ.
    pub mean: f64,
    /// `b_u`, `[people]`; 0 for those without ratings.
    pub people: Vec<f64>,
    /// `b_i`, `[items]`.
    pub items: Vec<f64>,
    /// λ_u.
    pub shrink: f64,
}

/// Alternations; they have long converged.
const SWEEPS: usize = 15;

impl Biases {
    /// Fits to rows, `[people, items]`.
    #[must_use]
    pub fn fit(rows: &Sparse, of_people: f64, of_items: f64) -> Self {
        let mean = rows.values.iter().sum::<f64>() / rows.values.len().max(1) as f64;
        let columns = rows.transposed();
        let (mut people, mut items) = (vec![0.0; rows.len()], vec![0.0; rows.width]);
        let level = |of: &Sparse, at: usize, others: &[f64], shrink: f64| {
            let (others_at, values) = of.row(at);
            let sum: f64 = others_at.iter().zip(values).map(|(&o, r)| r - mean - others[o as usize]).sum();
            if others_at.is_empty() { 0.0 } else { sum / (others_at.len() as f64 + shrink) }
        };
        for _ in 0..SWEEPS {
            items = (0..rows.width).map(|i| level(&columns, i, &people, of_items)).collect();
            people = (0..rows.len()).map(|u| level(rows, u, &items, of_people)).collect();
        }
        Self { mean, people, items, shrink: of_people }
    }

    /// `μ + b_i` of each item.
    #[must_use]
    pub fn levels(&self) -> Vec<f64> {
        self.items.iter().map(|b| self.mean + b).collect()
    }

    /// `b_u` of a person with these ratings, drawn towards `prior` as if by `weight` ratings.
    #[must_use]
    pub fn person(&self, (items, ratings): (&[u32], &[f64]), prior: f64, weight: f64) -> f64 {
        let sum: f64 = items.iter().zip(ratings).map(|(&i, r)| r - self.mean - self.items[i as usize]).sum();
        let all = items.len() as f64 + weight;
        if all > 0.0 { (sum + weight * prior) / all } else { prior }
    }
}

/// For ratings: `r_ui = μ + b_i + b_u` in the target, where a newcomer's `b_u = α b_u^source + c` by least squares over shared people.
///
/// Revealed ratings move the level as far as they tell more than the prior does: `b_u = (Σ (r - μ - b_i) + s (α b_u^source + c)) / (k + s)`, `s = σ² / τ²`, the
/// variance of a rating about its person's level over that of levels about their priors, both by moments over shared people. So one rating never counts more than
/// it should.
///
/// Without the source `α = 0`, and everybody is drawn towards `c`.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasBridge {
    source: Biases,
    target: Biases,
    slope: f64,
    level: f64,
    weight: f64,
}

impl BiasBridge {
    /// Fits levels in both domains with these shrinkages, and the line between them.
    #[must_use]
    pub fn new(pair: &Pair, of_people: f64, of_items: f64) -> Self {
        let (source, target) = (Biases::fit(&pair.source, of_people, of_items), Biases::fit(&pair.target, of_people, of_items));
        let shared = pair.shared();
        let points: Vec<[f64; 2]> = shared.iter().map(|&u| [source.people[u], target.people[u]]).collect();
        let n = points.len().max(1) as f64;
        let means = [0, 1].map(|k| points.iter().map(|p| p[k]).sum::<f64>() / n);
        let spread: f64 = points.iter().map(|p| (p[0] - means[0]).powi(2)).sum();
        let together: f64 = points.iter().map(|p| (p[0] - means[0]) * (p[1] - means[1])).sum();
        let slope = if spread > 0.0 { together / spread } else { 0.0 };
        let mut bridge = Self { level: means[1] - slope * means[0], slope, weight: f64::INFINITY, source, target };
        bridge.weight = bridge.weight_of(pair, &shared);
        bridge
    }

    /// `σ² / τ²`: within people the pooled variance of residuals, between them what is left of the spread of their means about their priors.
    fn weight_of(&self, pair: &Pair, shared: &[usize]) -> f64 {
        let (mut within, mut freedom) = (0.0, 0.0);
        let mut means = Vec::with_capacity(shared.len());
        for &u in shared {
            let (items, ratings) = pair.target.row(u);
            let prior = self.prior(u);
            let rest: Vec<f64> =
                items.iter().zip(ratings).map(|(&i, r)| r - self.target.mean - self.target.items[i as usize] - prior).collect();
            let mean = rest.iter().sum::<f64>() / rest.len() as f64;
            within += rest.iter().map(|e| (e - mean).powi(2)).sum::<f64>();
            freedom += rest.len() as f64 - 1.0;
            means.push((mean, rest.len() as f64));
        }
        if freedom <= 0.0 {
            return f64::INFINITY;
        }
        let variance = within / freedom;
        let between =
            means.iter().map(|(mean, n)| n * (mean * mean - variance / n)).sum::<f64>() / means.iter().map(|(_, n)| n).sum::<f64>();
        if between > 0.0 { variance / between } else { f64::INFINITY }
    }

    /// The level that a training person's source ratings speak for.
    fn prior(&self, person: usize) -> f64 {
        self.slope * self.source.people[person] + self.level
    }

    /// `α`, `c` and `s`.
    #[must_use]
    pub fn line(&self) -> [f64; 3] {
        [self.slope, self.level, self.weight]
    }

    /// The level of a person in the target.
    #[must_use]
    pub fn person(&self, person: &Known<'_>) -> f64 {
        let prior = self.slope * self.source.person(person.source, 0.0, self.source.shrink) + self.level;
        if self.weight.is_finite() { self.target.person(person.revealed, prior, self.weight) } else { prior }
    }

    /// The levels of the target.
    #[must_use]
    pub fn target(&self) -> &Biases {
        &self.target
    }
}

impl Bridge for BiasBridge {
    fn score(&self, person: &Known<'_>, scores: &mut [f64]) {
        let level = self.target.mean + self.person(person);
        scores.iter_mut().zip(&self.target.items).for_each(|(score, b)| *score = level + b);
    }

    fn parameters(&self) -> usize {
        self.source.items.len() + self.target.items.len() + 3
    }
}
