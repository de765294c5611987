//! One concrete batch type for every backbone, laid out `[G, N, ..]` with a mask.

use std::sync::Arc;

use crate::{Dataset, DomainIndex, RecentEvents};

/// Codes of one multi-valued feature for `G * N` rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BagColumn {
    /// `codes[offsets[i]..offsets[i + 1]]` belongs to row `i`.
    pub offsets: Vec<u32>,
    /// Vocabulary rows, none of them 0.
    pub codes: Vec<u32>,
}

/// Rows for one forward pass: G groups that share weights, N rows in each.
///
/// Groups are padded to the longest; padding rows have mask 0, code 0 in every field, and are never read back.
/// A next-item batch is the same thing: a group is a sequence, a row is a position, field 0 the item at that position, `target` the item that follows.
///
/// # Shapes
/// With `R = G * N`: `mask`, `label`, `row`, `domain` are `[R]`; `categorical` is `[R, F]`, `numeric` `[R, C]`, each bag `[R]` lists; `target` is `[R]` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// G.
    pub groups: usize,
    /// N.
    pub rows: usize,
    /// 1 for a real row, 0 for padding.
    pub mask: Vec<f32>,
    /// Label of each row, in [units](crate::LabelKind::unit).
    pub label: Vec<f32>,
    /// Row of the log behind each row (`u32::MAX` for padding or rows that are not in the log).
    pub row: Vec<u32>,
    /// Domain of each row.
    pub domain: Vec<DomainIndex>,
    /// Number of categorical fields F.
    pub fields: usize,
    /// Codes, row-major.
    pub categorical: Vec<u32>,
    /// Number of numeric features C.
    pub numbers: usize,
    /// Numbers, row-major.
    pub numeric: Vec<f32>,
    /// `[C]`: the number of a row of which nothing is known.
    pub unknown: Vec<f32>,
    /// One column per multi-valued feature.
    pub bags: Vec<BagColumn>,
    /// Next item (vocabulary row) per position; empty unless the objective needs it. 0 = nothing to predict here.
    pub target: Vec<u32>,
    /// Sampled negatives (vocabulary rows) shared by the whole batch; empty for a full softmax.
    pub negatives: Vec<u32>,
    /// `-ln(K q)` of each of K negatives, q being its chance to be drawn: added to its score where the full softmax is to be estimated. `[K]` or empty.
    pub log_q: Vec<f32>,
    /// When the next item of a position is asked for, in microseconds since 1970 (UTC): `[R]`, or empty where nobody knows.
    pub asked_at: Vec<i64>,
    /// Events of the items of the head, for networks that count them; none where nobody knows.
    pub recent: Option<Arc<RecentEvents>>,
}

impl Batch {
    /// Number of rows with padding, `G * N`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups * self.rows
    }

    /// Whether the batch has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Collects rows of the log into groups; shorter groups are padded at the end.
    #[must_use]
    pub fn gather<R: AsRef<[u32]>>(dataset: &Dataset, groups: &[R]) -> Self {
        let rows = groups.iter().map(|g| g.as_ref().len()).max().unwrap_or(0);
        let mut row = Vec::with_capacity(groups.len() * rows);
        for group in groups {
            row.extend_from_slice(group.as_ref());
            row.resize(row.len() + rows - group.as_ref().len(), u32::MAX);
        }
        Self::from_rows(dataset, groups.len(), rows, row)
    }

    /// One group of rows.
    #[must_use]
    pub fn single(dataset: &Dataset, rows: &[u32]) -> Self {
        Self::from_rows(dataset, 1, rows.len(), rows.to_vec())
    }

    fn from_rows(dataset: &Dataset, groups: usize, rows: usize, row: Vec<u32>) -> Self {
        let (log, features) = (&dataset.log, &dataset.features);
        let real = |r: u32| r != u32::MAX;
        let unit = dataset.label.unit();
        let (fields, numbers) = (features.categorical.len(), features.numeric.len());
        let mut categorical = vec![0; row.len() * fields];
        for (f, column) in features.categorical.iter().enumerate() {
            for (i, &r) in row.iter().enumerate().filter(|&(_, &r)| real(r)) {
                categorical[i * fields + f] = column.codes[dataset.entity(column.side, r as usize)];
            }
        }
        let mut numeric = vec![0.0; row.len() * numbers];
        for (f, column) in features.numeric.iter().enumerate() {
            for (i, &r) in row.iter().enumerate().filter(|&(_, &r)| real(r)) {
                numeric[i * numbers + f] = column.values[dataset.entity(column.side, r as usize)];
            }
        }
        let bags = features
            .bags
            .iter()
            .map(|bag| {
                let mut out = BagColumn { offsets: Vec::with_capacity(row.len() + 1), codes: Vec::new() };
                out.offsets.push(0);
                for &r in &row {
                    if real(r) {
                        let e = dataset.entity(bag.side, r as usize);
                        out.codes.extend_from_slice(bag.lists.of(e));
                    }
                    out.offsets.push(u32::try_from(out.codes.len()).expect("a batch holds fewer than 2^32 codes"));
                }
                out
            })
            .collect();
        Self {
            groups,
            rows,
            mask: row.iter().map(|&r| f32::from(u8::from(real(r)))).collect(),
            label: row.iter().map(|&r| if real(r) { log.label[r as usize] / unit } else { 0.0 }).collect(),
            domain: row.iter().map(|&r| if real(r) { log.domain[r as usize] } else { DomainIndex(0) }).collect(),
            row,
            fields,
            categorical,
            numbers,
            numeric,
            unknown: features.numeric.iter().map(|column| column.unknown).collect(),
            bags,
            ..Self::default()
        }
    }
}
