//! What a choice between settings is made by.

use acclimate_data::{ItemIndex, LabelKind, NextItem, UserIndex};

use super::{FittedRanking, FloorError, Labelled, RankingHistory, RankingQuery};
use crate::metric::{log_loss, rank_of};

/// Mean loss of predictions: log loss for clicks, squared error otherwise. 0 without rows.
pub(super) fn loss(validation: Labelled<'_>, predictions: &[f32]) -> f64 {
    let labels: Vec<f32> = validation.labels().map(|label| label as f32).collect();
    if validation.rows().label_kind() == LabelKind::Click {
        return log_loss(&labels, predictions).unwrap_or(0.0);
    }
    let squares = labels.iter().zip(predictions).map(|(y, p)| f64::from(y - p).powi(2));
    squares.sum::<f64>() / labels.len().max(1) as f64
}

/// Mean reciprocal rank in the whole catalogue without the input items: mean over the positives of a user, then over users.
/// Positives outside the catalogue are left out.
pub(super) fn mean_reciprocal_rank(floor: &dyn FittedRanking, catalogue: &[ItemIndex], validation: &[NextItem]) -> f64 {
    let covered: Vec<&NextItem> = validation.iter().filter(|q| catalogue.binary_search(&q.positive).is_ok()).collect();
    let queries: Vec<RankingQuery<'_>> = covered.iter().map(|&q| q.into()).collect();
    let mut reciprocal: Vec<(UserIndex, f64)> = vec![(UserIndex(0), 0.0); covered.len()];
    floor.score_all(&queries, &mut |i, scores| {
        let query = covered[i];
        let mut input = query.input.clone();
        input.sort_unstable();
        let score = |item: &ItemIndex| catalogue.binary_search(item).map(|c| scores[c]);
        let others = catalogue.iter().zip(scores).filter(|&(item, _)| *item != query.positive && input.binary_search(item).is_err());
        let rank = rank_of(score(&query.positive).unwrap_or(f32::MIN), others.map(|(_, &score)| score));
        reciprocal[i] = (query.user, 1.0 / rank);
    });
    reciprocal.sort_by_key(|&(user, _)| user);
    let users = reciprocal.chunk_by(|a, b| a.0 == b.0);
    let (sum, n) = users.fold((0.0, 0usize), |(sum, n), user| (sum + user.iter().map(|u| u.1).sum::<f64>() / user.len() as f64, n + 1));
    sum / n.max(1) as f64
}

/// The candidate with the highest validation MRR, the first of equals.
pub(super) fn best_ranking<F: FittedRanking>(
    floor: &'static str,
    setting: &'static str,
    candidates: impl ExactSizeIterator<Item = F>,
    history: &RankingHistory<'_>,
) -> Result<F, FloorError> {
    let open = candidates.len();
    if open > 1 && history.validation.is_empty() {
        return Err(FloorError::NoValidation { floor, setting, candidates: open });
    }
    let mut best: Option<(f64, F)> = None;
    for candidate in candidates {
        let value = if open > 1 { mean_reciprocal_rank(&candidate, history.catalogue, history.validation) } else { 0.0 };
        if best.as_ref().is_none_or(|(highest, _)| value > *highest) {
            best = Some((value, candidate));
        }
    }
    best.map(|(_, fitted)| fitted).ok_or(FloorError::Setting { floor, setting, value: "[]".to_owned(), expected: "at least one value" })
}
