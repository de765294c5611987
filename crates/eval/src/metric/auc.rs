//! Area under the ROC curve: pooled, per group (GAUC) and macro over domains.

use super::{Real, assert_same_length};

/// A row counts as positive when its label is above this.
pub(crate) const POSITIVE_ABOVE: f32 = 0.5;

/// Chance that a random positive is scored above a random negative; a tie counts one half (mid-ranks).
///
/// Equals `(Σ ranks of positives − n⁺(n⁺+1)/2) / (n⁺ n⁻)` with average ranks. Higher is better.
///
/// Decisions: a label above 0.5 is positive; with a single class (or no row) the value is undefined, `None`, never 0.5;
/// a NaN prediction makes the result NaN.
/// Tested against a NumPy count over all pairs.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::auc;
/// // One positive above one negative and tied with the other: (1 + 0.5) / 2.
/// assert_eq!(auc(&[1.0, 0.0, 0.0], &[0.4_f32, 0.4, 0.1]), Some(0.75));
/// assert_eq!(auc(&[1.0, 1.0, 1.0], &[0.4_f32, 0.4, 0.1]), None);
/// ```
#[must_use]
pub fn auc<P: Real>(labels: &[f32], predictions: &[P]) -> Option<f64> {
    assert_same_length(labels.len(), predictions.len());
    if has_nan(predictions) {
        return Some(f64::NAN);
    }
    RankedRows::new(labels.iter().zip(predictions).map(|(&label, &p)| (0, label, p))).auc(&[1])
}

/// Mean of the AUC inside each group, weighted by the group's rows, over groups that have both classes.
///
/// `GAUC = Σ_g n_g AUC_g / Σ_g n_g`. With users as groups this is GAUC(user); with (user, domain) pairs it is free of the domains' base rates.
///
/// Decisions: single-class groups are left out of both sums; `None` when no group has both classes; ties and NaN as in [`auc`].
/// Tested against a NumPy loop over groups.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::gauc;
/// // User 7 has both classes in the right order, user 9 has one row only and is left out.
/// assert_eq!(gauc(&[7_u32, 7, 9], &[1.0, 0.0, 1.0], &[0.8_f32, 0.3, 0.1]), Some(1.0));
/// ```
#[must_use]
pub fn gauc<G: Copy + Ord, P: Real>(groups: &[G], labels: &[f32], predictions: &[P]) -> Option<f64> {
    let (mut sum, mut rows) = (0.0, 0.0);
    for group in auc_by_group(groups, labels, predictions) {
        if let Some(auc) = group.auc {
            sum += group.rows as f64 * auc;
            rows += group.rows as f64;
        }
    }
    (rows > 0.0).then(|| sum / rows)
}

/// Unweighted mean of the AUC inside each domain.
///
/// Decisions: a domain with a single class has no AUC and is left out; `None` when that holds for all; ties and NaN as in [`auc`].
/// Tested against a NumPy loop over domains.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::macro_auc;
/// // Domain 0 holds a perfect pair; domain 3 holds a negative only and is left out.
/// assert_eq!(macro_auc(&[0_u32, 0, 3], &[1.0, 0.0, 0.0], &[0.8_f32, 0.3, 0.9]), Some(1.0));
/// ```
#[must_use]
pub fn macro_auc<G: Copy + Ord, P: Real>(domains: &[G], labels: &[f32], predictions: &[P]) -> Option<f64> {
    let (mut sum, mut defined) = (0.0, 0);
    for group in auc_by_group(domains, labels, predictions) {
        if let Some(auc) = group.auc {
            sum += auc;
            defined += 1;
        }
    }
    (defined > 0).then(|| sum / f64::from(defined))
}

/// The AUC of one group of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupAuc<G> {
    /// The group.
    pub group: G,
    /// Its number of rows.
    pub rows: usize,
    /// Its AUC; `None` when it has a single class.
    pub auc: Option<f64>,
}

/// AUC inside each group, in ascending order of the group.
///
/// # Panics
/// When the slices differ in length.
///
/// ```
/// use acclimate_eval::metric::auc_by_group;
/// let groups = auc_by_group(&['b', 'a', 'b'], &[1.0, 1.0, 0.0], &[0.2_f32, 0.9, 0.6]);
/// assert_eq!((groups[0].group, groups[0].auc), ('a', None));
/// assert_eq!((groups[1].group, groups[1].auc), ('b', Some(0.0)));
/// ```
#[must_use]
pub fn auc_by_group<G: Copy + Ord, P: Real>(groups: &[G], labels: &[f32], predictions: &[P]) -> Vec<GroupAuc<G>> {
    assert_same_length(labels.len(), predictions.len());
    assert_same_length(labels.len(), groups.len());
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_unstable_by_key(|&row| groups[row]);
    order
        .chunk_by(|&a, &b| groups[a] == groups[b])
        .map(|rows| {
            let auc = if rows.iter().any(|&row| predictions[row].into().is_nan()) {
                Some(f64::NAN)
            } else {
                RankedRows::new(rows.iter().map(|&row| (0, labels[row], predictions[row]))).auc(&[1])
            };
            GroupAuc { group: groups[rows[0]], rows: rows.len(), auc }
        })
        .collect()
}

fn has_nan<P: Real>(predictions: &[P]) -> bool {
    predictions.iter().any(|&p| p.into().is_nan())
}

/// Rows sorted by prediction once, so that the AUC under new user weights costs one pass.
///
/// Each row is packed in 32 bits: user, class, and whether it ends a group of tied predictions.
#[derive(Clone, Debug)]
pub(crate) struct RankedRows {
    packed: Vec<u32>,
}

const POSITIVE: u32 = 2;
const LAST_OF_TIE: u32 = 1;
/// Largest number of users that fits beside the two flags.
pub(crate) const MAX_USERS: usize = 1 << 30;

impl RankedRows {
    /// Takes (user, label, prediction) rows without NaN; users are below [`MAX_USERS`].
    pub(crate) fn new<P: Real>(rows: impl Iterator<Item = (u32, f32, P)>) -> Self {
        let mut sorted: Vec<(P, u32)> =
            rows.map(|(user, label, p)| (p, user << 2 | if label > POSITIVE_ABOVE { POSITIVE } else { 0 })).collect();
        // The packed row breaks ties of the sort only; tied rows are treated alike.
        sorted.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1)));
        let packed = (0..sorted.len())
            .map(|at| {
                let ends = sorted.get(at + 1).is_none_or(|next| next.0 != sorted[at].0);
                sorted[at].1 | if ends { LAST_OF_TIE } else { 0 }
            })
            .collect();
        Self { packed }
    }

    /// AUC when each row counts as often as its user's weight; exact in integers.
    pub(crate) fn auc(&self, weights: &[u32]) -> Option<f64> {
        let (mut negatives_below, mut positives, mut twice_wins) = (0_u64, 0_u64, 0_u128);
        let (mut tied_positives, mut tied_negatives) = (0_u64, 0_u64);
        for &row in &self.packed {
            let weight = u64::from(weights[(row >> 2) as usize]);
            let is_positive = u64::from(row & POSITIVE != 0);
            tied_positives += weight * is_positive;
            tied_negatives += weight * (1 - is_positive);
            if row & LAST_OF_TIE != 0 {
                twice_wins += u128::from(tied_positives) * u128::from(2 * negatives_below + tied_negatives);
                positives += tied_positives;
                negatives_below += tied_negatives;
                (tied_positives, tied_negatives) = (0, 0);
            }
        }
        let pairs = positives as f64 * negatives_below as f64;
        (pairs > 0.0).then(|| twice_wins as f64 / 2.0 / pairs)
    }
}
