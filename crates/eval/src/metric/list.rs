//! Order of one user's labelled list: nDCG with named gain and precision at k.

use serde::{Deserialize, Serialize};

use super::{Real, assert_same_length};

/// Predictions closer than this are one tie: they are rounded to multiples of it before sorting.
pub const TIE_WIDTH: f64 = 1e-7;

/// What a label is worth in nDCG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// `g = r`.
    Linear,
    /// `g = 2^r − 1`.
    Exponential,
}

impl Gain {
    /// The gain of a label.
    #[must_use]
    pub fn of(self, label: f32) -> f64 {
        match self {
            Self::Linear => f64::from(label),
            Self::Exponential => f64::from(label).exp2() - 1.0,
        }
    }
}

/// Normalised discounted cumulative gain of the first `k` positions of one list. Higher is better.
///
/// `DCG = Σ_{rank ≤ k} g / log2(rank + 1)`, divided by the DCG of the order by label.
///
/// Decisions: predictions are rounded to 1e-7, and every position of a tied group gets the group's mean gain, so that a constant
/// prediction scores the expected value of a random order; a list shorter than `k` uses its length on both sides;
/// `None` when the ideal DCG is not positive (empty list, `k = 0`, all gains 0); a NaN prediction makes the result NaN.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::{Gain, ndcg_at};
/// // The two best are tied: position 1 gets the mean gain (5 + 1) / 2 of an ideal 5.
/// assert_eq!(ndcg_at(1, Gain::Linear, &[5.0, 1.0, 3.0], &[4.0_f32, 4.0, 2.0]), Some(0.6));
/// ```
#[must_use]
pub fn ndcg_at<P: Real>(k: usize, gain: Gain, labels: &[f32], predictions: &[P]) -> Option<f64> {
    let mut ideal: Vec<f64> = labels.iter().map(|&label| gain.of(label)).collect();
    ideal.sort_unstable_by(|a, b| b.total_cmp(a));
    let best: f64 = ideal.iter().take(k).enumerate().map(|(at, g)| g * discount(at + 1)).sum();
    let dcg = sum_over_ties(k, labels, predictions, |label| gain.of(label), discount);
    (best > 0.0).then(|| dcg / best)
}

/// Share of the first `k` positions of one list that hold a relevant row. Higher is better.
///
/// Decisions: a row is relevant when its label is at least `relevant`; the divisor is `k` even when the list is shorter;
/// positions of a tied group (predictions rounded to 1e-7) share its relevant rows evenly; `None` for an empty list or `k = 0`.
/// Tested against NumPy.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::precision_at;
/// assert_eq!(precision_at(2, 4.0, &[5.0, 1.0, 3.0], &[4.0_f32, 3.0, 2.0]), Some(0.5));
/// ```
#[must_use]
pub fn precision_at<P: Real>(k: usize, relevant: f32, labels: &[f32], predictions: &[P]) -> Option<f64> {
    let hits = sum_over_ties(k, labels, predictions, |label| f64::from(u8::from(label >= relevant)), |_| 1.0);
    (k > 0 && !labels.is_empty()).then(|| hits / k as f64)
}

/// Share of the first `k` positions of one list whose labels are among the `k` largest labels, each of these taken once. Higher is better.
///
/// `Σ_v min(a_v, b_v) / k`, with `a_v` and `b_v` how often the value v occurs in the first `k` positions by prediction and by label: the precision of
/// TaNP, in which a label counts by its value, whichever row it belongs to.
///
/// Decisions: predictions are rounded to 1e-7, and where the cut goes through a tied group the value is the exact mean over all orders of the group (a
/// hypergeometric sum), so that a constant prediction scores the expected value of a random order; the divisor is `k` even when the list is shorter;
/// `None` for an empty list or `k = 0`; a NaN prediction makes the result NaN. Where fewer than `k` rows are good the others count as well, so the value
/// of a random order is far from 0. Tested against NumPy.
///
/// # References
/// Lin et al., Task-adaptive Neural Process for User Cold-Start Recommendation, WWW 2021.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::multiset_precision_at;
/// // The two largest labels are 5 and 3; the first two positions hold 5 and 1.
/// assert_eq!(multiset_precision_at(2, &[5.0, 1.0, 3.0], &[4.0_f32, 3.0, 2.0]), Some(0.5));
/// // Position 2 is the row with 1 or that with 3, either in half of the orders.
/// assert_eq!(multiset_precision_at(2, &[5.0, 1.0, 3.0], &[4.0_f32, 2.0, 2.0]), Some(0.75));
/// ```
#[must_use]
pub fn multiset_precision_at<P: Real>(k: usize, labels: &[f32], predictions: &[P]) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    if k == 0 || labels.is_empty() {
        return None;
    }
    // Adding 0 turns −0 into 0, so that it is one value.
    let mut rows: Vec<(f64, f32)> = labels.iter().zip(predictions).map(|(&y, &p)| (rounded(p.into()), y + 0.0)).collect();
    if rows.iter().any(|row| row.0.is_nan()) {
        return Some(f64::NAN);
    }
    let cut = k.min(rows.len());
    let mut ideal: Vec<f32> = rows.iter().map(|row| row.1).collect();
    ideal.sort_unstable_by(|a, b| b.total_cmp(a));
    ideal.truncate(cut);
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let border = rows[cut - 1].0;
    let above = rows.iter().take_while(|row| row.0 > border).count();
    let tied = above + rows[above..].iter().take_while(|row| row.0 == border).count();
    let count = |rows: &[(f64, f32)], value: f32| rows.iter().filter(|row| row.1 == value).count();
    let hits = ideal.chunk_by(|a, b| a == b).map(|wanted| {
        let (sure, may) = (count(&rows[..above], wanted[0]), count(&rows[above..tied], wanted[0]));
        expected_hits(wanted.len(), sure, may, tied - above, cut - above)
    });
    Some(hits.sum::<f64>() / k as f64)
}

/// `E min(wanted, sure + X)`, X the number of marked ones among `drawn` of `of`, of which `marked` are marked: hypergeometric.
fn expected_hits(wanted: usize, sure: usize, marked: usize, of: usize, drawn: usize) -> f64 {
    let (least, most) = ((drawn + marked).saturating_sub(of), marked.min(drawn));
    // Chances up to a factor, from one to the next by their ratio.
    let (mut chance, mut all, mut sum) = (1.0, 0.0, 0.0);
    for x in least..=most {
        all += chance;
        sum += chance * wanted.min(sure + x) as f64;
        chance *= ((marked - x) * (drawn - x)) as f64 / ((x + 1) * (of + x + 1 - marked - drawn)) as f64;
        if all > 1e200 {
            (chance, all, sum) = (chance / all, 1.0, sum / all);
        }
    }
    sum / all
}

/// `1 / log2(rank + 1)`.
pub(crate) fn discount(rank: usize) -> f64 {
    1.0 / ((rank + 1) as f64).log2()
}

/// `Σ_{rank ≤ k} weight(rank) · mean worth of the tied group at that rank`.
fn sum_over_ties<P: Real>(k: usize, labels: &[f32], predictions: &[P], worth: impl Fn(f32) -> f64, weight: impl Fn(usize) -> f64) -> f64 {
    assert_same_length(labels.len(), predictions.len());
    let mut rows: Vec<(f64, f64)> = labels.iter().zip(predictions).map(|(&y, &p)| (rounded(p.into()), worth(y))).collect();
    if rows.iter().any(|row| row.0.is_nan()) {
        return f64::NAN;
    }
    rows.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)));
    let (mut sum, mut rank) = (0.0, 1);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        if rank > k {
            break;
        }
        let mean = tied.iter().map(|row| row.1).sum::<f64>() / tied.len() as f64;
        sum += mean * (rank..=k.min(rank + tied.len() - 1)).map(&weight).sum::<f64>();
        rank += tied.len();
    }
    sum
}

/// In units of [`TIE_WIDTH`]; adding 0 turns −0 into 0, so that the sort sees one value.
fn rounded(prediction: f64) -> f64 {
    (prediction / TIE_WIDTH).round() + 0.0
}
