//! What a choice between settings is made by.

use acclimate_data::{ItemIndex, LabelKind, NextItem, UserIndex, hash64};

use super::{FittedRanking, FloorError, Labelled, RankingHistory, RankingQuery};
use crate::metric::{log_loss, rank_of};

/// Rows that choose between the settings which a config leaves open; they teach nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// What is known of the users of `rows`, as support rows will be when the fitted floor scores: none of `rows`. May hold other users.
    pub support: Labelled<'a>,
    /// Rows with known labels, which judge.
    pub rows: Labelled<'a>,
}

impl<'a> Choice<'a> {
    /// Nothing to choose by: for floors whose settings are all given.
    #[must_use]
    pub fn none(dataset: &'a acclimate_data::Dataset) -> Self {
        Self { support: Labelled::none(dataset), rows: Labelled::none(dataset) }
    }

    /// Refuses an open choice between `candidates` settings without rows to judge by.
    pub(super) fn check(&self, floor: &'static str, setting: &'static str, candidates: usize) -> Result<(), FloorError> {
        if candidates > 1 && self.rows.is_empty() {
            return Err(FloorError::NoValidation { floor, setting, candidates });
        }
        Ok(())
    }

    /// Whether a user of the rows has support.
    pub(super) fn knows_a_user(&self) -> bool {
        let (support, rows) = (self.support.rows(), self.rows.rows());
        let mut known = vec![false; rows.counts()[0]];
        (0..support.len()).for_each(|i| known[support.user(i).at()] = true);
        (0..rows.len()).any(|i| known[rows.user(i).at()])
    }

    /// The rows of each user in two halves, in the order of a hash of the row: support, and the rows that judge (one more of an odd number).
    pub(super) fn halves(&self) -> [Vec<u32>; 2] {
        let mut rows: Vec<(UserIndex, u64, u32)> =
            (0..self.rows.len()).map(|i| (self.rows.rows().user(i), hash64(0, u64::from(self.rows.row(i)), 0), self.rows.row(i))).collect();
        rows.sort_unstable();
        let mut halves = [Vec::new(), Vec::new()];
        for of_user in rows.chunk_by(|a, b| a.0 == b.0) {
            let (support, judged) = of_user.split_at(of_user.len() / 2);
            halves[0].extend(support.iter().map(|row| row.2));
            halves[1].extend(judged.iter().map(|row| row.2));
        }
        halves
    }
}

/// The labels of some rows, and the loss of predictions for them.
pub(super) struct Judge {
    labels: Vec<f32>,
    kind: LabelKind,
}

impl Judge {
    pub(super) fn new(rows: Labelled<'_>) -> Self {
        Self { labels: rows.labels().map(|label| label as f32).collect(), kind: rows.rows().label_kind() }
    }

    /// Mean loss: log loss for clicks, squared error otherwise. 0 without rows.
    pub(super) fn loss(&self, predictions: &[f32]) -> f64 {
        if self.kind == LabelKind::Click {
            return log_loss(&self.labels, predictions).unwrap_or(0.0);
        }
        let squares = self.labels.iter().zip(predictions).map(|(y, p)| f64::from(y - p).powi(2));
        squares.sum::<f64>() / self.labels.len().max(1) as f64
    }

    /// The candidate with the smallest loss, the first of equals; a single one needs no rows. `predict` writes one prediction for each row.
    pub(super) fn best<C: Copy>(&self, candidates: &[C], mut predict: impl FnMut(C, &mut [f32])) -> Option<C> {
        if let [candidate] = candidates {
            return Some(*candidate);
        }
        let mut predictions = vec![0.0; self.labels.len()];
        let mut best: Option<(f64, C)> = None;
        for &candidate in candidates {
            predict(candidate, &mut predictions);
            let loss = self.loss(&predictions);
            if best.is_none_or(|(lowest, _)| loss < lowest) {
                best = Some((loss, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

/// Validation queries whose positive is in the catalogue; the others are left out.
pub(super) struct Asked<'a> {
    queries: Vec<&'a NextItem>,
    /// Catalogue positions of each query's positive, and of all that it is not ranked among: the input items and itself, each once.
    positions: Vec<(usize, Vec<usize>)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(catalogue: &[ItemIndex], validation: &'a [NextItem]) -> Self {
        let (mut queries, mut positions) = (Vec::new(), Vec::new());
        for query in validation {
            let Ok(positive) = catalogue.binary_search(&query.positive) else { continue };
            let mut left_out: Vec<usize> = query.input.iter().filter_map(|item| catalogue.binary_search(item).ok()).collect();
            left_out.push(positive);
            left_out.sort_unstable();
            left_out.dedup();
            queries.push(query);
            positions.push((positive, left_out));
        }
        Self { queries, positions }
    }

    /// The queries without their answers.
    pub(super) fn queries(&self) -> Vec<RankingQuery<'a>> {
        self.queries.iter().map(|&query| query.into()).collect()
    }

    /// Reciprocal rank of a query's positive in the whole catalogue without the input items, by scores `[C]`.
    pub(super) fn reciprocal_rank(&self, query: usize, scores: &[f32]) -> f64 {
        let (positive, left_out) = &self.positions[query];
        let positive = scores[*positive];
        // The rank among all, without those that may not stand above or beside: cheaper than to look for each candidate in the input.
        let rank = rank_of(positive, scores.iter().copied()) + 1.0 - rank_of(positive, left_out.iter().map(|&at| scores[at]));
        1.0 / rank
    }

    /// Mean over the queries of a user, then over users.
    pub(super) fn user_mean(&self, values: &[f64]) -> f64 {
        let mut of_user: Vec<(UserIndex, f64)> = self.queries.iter().map(|query| query.user).zip(values.iter().copied()).collect();
        of_user.sort_by_key(|&(user, _)| user);
        let users = of_user.chunk_by(|a, b| a.0 == b.0);
        let (sum, n) = users.fold((0.0, 0usize), |(sum, n), user| (sum + user.iter().map(|u| u.1).sum::<f64>() / user.len() as f64, n + 1));
        sum / n.max(1) as f64
    }
}

/// Mean reciprocal rank of the queries' positives: mean over the positives of a user, then over users.
pub(super) fn mean_reciprocal_rank(floor: &dyn FittedRanking, asked: &Asked<'_>) -> f64 {
    let queries = asked.queries();
    let mut reciprocal = vec![0.0; queries.len()];
    floor.score_all(&queries, &mut |q, scores| reciprocal[q] = asked.reciprocal_rank(q, scores));
    asked.user_mean(&reciprocal)
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
    let asked = Asked::new(history.catalogue, history.validation);
    let mut best: Option<(f64, F)> = None;
    for candidate in candidates {
        let value = if open > 1 { mean_reciprocal_rank(&candidate, &asked) } else { 0.0 };
        if best.as_ref().is_none_or(|(highest, _)| value > *highest) {
            best = Some((value, candidate));
        }
    }
    best.map(|(_, fitted)| fitted).ok_or(FloorError::Setting { floor, setting, value: "[]".to_owned(), expected: "at least one value" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::{catalogue, ratings};

    #[test]
    fn halves_hold_every_row_once_and_judge_every_user() {
        let rows: Vec<_> = (0..23u32).map(|i| (i % 4, i, 0, 1.0)).collect();
        let data = ratings(&rows);
        let all: Vec<u32> = (0..23).collect();
        let choice = Choice { support: Labelled::none(&data), rows: Labelled::new(&data, &all).unwrap() };
        let [support, judged] = choice.halves();
        let of = |half: &[u32], user: u32| half.iter().filter(|&&row| row % 4 == user).count();
        assert_eq!([0, 1, 2, 3].map(|user| (of(&support, user), of(&judged, user))), [(3, 3), (3, 3), (3, 3), (2, 3)]);
        let mut both = [support.clone(), judged].concat();
        both.sort_unstable();
        assert_eq!(both, all);
        assert!(!support.is_sorted_by_key(|row| (row % 4, *row)), "the order is that of a hash");
        // What is drawn does not depend on the order in which rows are given.
        let turned: Vec<u32> = (0..23).rev().collect();
        let turned = Choice { rows: Labelled::new(&data, &turned).unwrap(), ..choice };
        assert_eq!(turned.halves()[0], support);
    }

    #[test]
    fn ranks_leave_the_input_out() {
        struct Fixed;
        impl FittedRanking for Fixed {
            fn score(&self, _query: &RankingQuery<'_>, scores: &mut [f32]) {
                scores.copy_from_slice(&[5.0, 4.0, 3.0, 3.0, 1.0]);
            }
            fn candidates(&self) -> usize {
                5
            }
            fn parameters(&self) -> usize {
                0
            }
        }
        let items = catalogue(&[0, 1, 2, 3, 4]);
        let ask = |input: &[u32], positive: u32| {
            let query = NextItem { user: UserIndex(0), input: catalogue(input), positive: ItemIndex(positive), row: 0, time: 0 };
            mean_reciprocal_rank(&Fixed, &Asked::new(&items, &[query]))
        };
        // Item 2 is third, tied with item 3; without 0 (twice in the input) and 9 (no candidate) it is second; its own place in the input changes nothing.
        assert_eq!(ask(&[], 2), 1.0 / 3.5);
        assert_eq!(ask(&[0, 9, 0], 2), 1.0 / 2.5);
        assert_eq!(ask(&[3, 2, 4], 2), 1.0 / 3.0);
        assert_eq!(ask(&[0, 1, 2, 3], 4), 1.0);
    }
}
