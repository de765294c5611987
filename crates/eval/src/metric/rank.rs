//! Metrics of one positive among candidates, from its mid-rank.

use super::Real;

/// Mid-rank of a positive among candidates that do not hold it: `1 + #{s_c > s_p} + 0.5 · #{s_c = s_p}`.
///
/// Decisions: a constant scorer puts the positive in the middle, not at rank 1; a NaN candidate counts as above, and a NaN positive is last,
/// so that a broken scorer never gains. Scores are compared exactly.
///
/// ```
/// use acclimate_eval::metric::rank_of;
/// // One above, one tied, one below.
/// assert_eq!(rank_of(0.5_f32, [0.9, 0.5, 0.1]), 2.5);
/// ```
pub fn rank_of<S: Real>(positive: S, candidates: impl IntoIterator<Item = S>) -> f64 {
    // Counted without branches, so that the compiler takes several candidates at once.
    let (mut all, mut not_above, mut tied) = (0_u32, 0_u32, 0_u32);
    for candidate in candidates {
        all += 1;
        not_above += u32::from(candidate <= positive);
        tied += u32::from(candidate == positive);
    }
    1.0 + f64::from(all - not_above) + 0.5 * f64::from(tied)
}

/// HR@k of one positive: 1 when its mid-rank is at most `k`, else 0. Higher is better.
///
/// ```
/// use acclimate_eval::metric::hit_rate_at;
/// assert_eq!([1.0, 5.0, 5.5].map(|rank| hit_rate_at(5, rank)), [1.0, 1.0, 0.0]);
/// ```
#[must_use]
pub fn hit_rate_at(k: usize, rank: f64) -> f64 {
    f64::from(u8::from(rank <= k as f64))
}

/// P@k of one positive: its hit divided by `k`. Higher is better.
///
/// ```
/// use acclimate_eval::metric::precision_from_rank;
/// assert_eq!([1.0, 5.0, 5.5].map(|rank| precision_from_rank(5, rank)), [0.2, 0.2, 0.0]);
/// ```
#[must_use]
pub fn precision_from_rank(k: usize, rank: f64) -> f64 {
    hit_rate_at(k, rank) / k as f64
}

/// Reciprocal rank of one positive, uncut: `1 / rank`. Higher is better.
///
/// ```
/// use acclimate_eval::metric::reciprocal_rank;
/// assert_eq!([1.0, 4.0, 2.5].map(reciprocal_rank), [1.0, 0.25, 0.4]);
/// ```
#[must_use]
pub fn reciprocal_rank(rank: f64) -> f64 {
    1.0 / rank
}

/// MRR@k of one positive: `1 / rank` when its mid-rank is at most `k`, else 0. Higher is better.
///
/// ```
/// use acclimate_eval::metric::reciprocal_rank_at;
/// assert_eq!([1.0, 4.0, 5.5].map(|rank| reciprocal_rank_at(5, rank)), [1.0, 0.25, 0.0]);
/// ```
#[must_use]
pub fn reciprocal_rank_at(k: usize, rank: f64) -> f64 {
    hit_rate_at(k, rank) / rank
}

/// nDCG@k of one positive: `1 / log2(rank + 1)` when its mid-rank is at most `k`, else 0. Higher is better.
///
/// ```
/// use acclimate_eval::metric::ndcg_from_rank;
/// assert_eq!([1.0, 3.0, 10.5].map(|rank| ndcg_from_rank(10, rank)), [1.0, 0.5, 0.0]);
/// ```
#[must_use]
pub fn ndcg_from_rank(k: usize, rank: f64) -> f64 {
    hit_rate_at(k, rank) / (rank + 1.0).log2()
}
