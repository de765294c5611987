//! Batches with their rows in other places.

use acclimate_data::{BagColumn, Batch, DomainIndex};

use crate::feed::Feeding;

/// Where each row of the new batch comes from; `None` is padding.
pub(crate) type Places = Vec<Vec<Option<usize>>>;

/// The batch whose groups hold these rows of `batch`; shorter groups are padded at the end.
pub(crate) fn rearrange(batch: &Batch, places: &Places) -> Batch {
    let rows = places.iter().map(Vec::len).max().unwrap_or(0);
    let at: Vec<Option<usize>> = places.iter().flat_map(|g| g.iter().copied().chain(std::iter::repeat_n(None, rows - g.len()))).collect();
    fn pick<T: Clone>(at: &[Option<usize>], values: &[T], width: usize, padding: T) -> Vec<T> {
        at.iter()
            .flat_map(|place| match place {
                Some(i) => values[i * width..][..width].to_vec(),
                None => vec![padding.clone(); width],
            })
            .collect()
    }
    let bag = |bag: &BagColumn| {
        let mut out = BagColumn { offsets: vec![0], codes: Vec::new() };
        for place in &at {
            if let Some(i) = place {
                out.codes.extend_from_slice(&bag.codes[bag.offsets[*i] as usize..bag.offsets[i + 1] as usize]);
            }
            out.offsets.push(out.codes.len() as u32);
        }
        out
    };
    Batch {
        groups: places.len(),
        rows,
        mask: pick(&at, &batch.mask, 1, 0.0),
        label: pick(&at, &batch.label, 1, 0.0),
        row: pick(&at, &batch.row, 1, u32::MAX),
        domain: pick(&at, &batch.domain, 1, DomainIndex(0)),
        fields: batch.fields,
        categorical: pick(&at, &batch.categorical, batch.fields, 0),
        numbers: batch.numbers,
        numeric: pick(&at, &batch.numeric, batch.numbers, 0.0),
        unknown: batch.unknown.clone(),
        bags: batch.bags.iter().map(bag).collect(),
        target: if batch.target.is_empty() { Vec::new() } else { pick(&at, &batch.target, 1, 0) },
        negatives: batch.negatives.clone(),
        log_q: batch.log_q.clone(),
        asked_at: if batch.asked_at.is_empty() { Vec::new() } else { pick(&at, &batch.asked_at, 1, 0) },
        recent: batch.recent.clone(),
    }
}

/// The places of the real rows of each group.
pub(crate) fn real(batch: &Batch) -> Places {
    let n = batch.rows;
    (0..batch.groups).map(|g| (g * n..(g + 1) * n).filter(|&i| batch.mask[i] != 0.0).map(Some).collect()).collect()
}

/// Some groups, in this order.
pub(crate) fn select(feeding: &Feeding, groups: &[usize]) -> Feeding {
    let chosen = |batch: &Batch| {
        let places = real(batch);
        rearrange(batch, &groups.iter().map(|&g| places[g].clone()).collect())
    };
    Feeding { query: chosen(&feeding.query), support: feeding.support.as_ref().map(chosen) }
}

/// `extra` rows of padding at the end of each group, of query and support.
pub(crate) fn padded(feeding: &Feeding, extra: usize) -> Feeding {
    let longer = |batch: &Batch| {
        let n = batch.rows;
        let places = (0..batch.groups).map(|g| (g * n..(g + 1) * n).map(Some).chain(std::iter::repeat_n(None, extra)).collect());
        rearrange(batch, &places.collect())
    };
    Feeding { query: longer(&feeding.query), support: feeding.support.as_ref().map(longer) }
}
