//! A table as it is looked up: rows that a patch changes stand beside those that it shares.
//!
//! Numbers of changed rows ascend, so those of a range of codes stand together: `starts` says where each range of `2^shift` codes begins among them. With at most two ranges for
//! a changed row, most of which hold none or one, a code takes two neighbouring reads and at most one comparison or two; however the rows lie, it takes no more than a binary search.

use std::sync::Arc;

use crate::{Changed, Table};

/// A table of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) d: usize,
    /// Rows of its own, shared with the base.
    pub(crate) values: Arc<Vec<f32>>,
    /// Number of rows, new ones among them.
    pub(crate) rows: usize,
    pub(crate) changes: Option<Arc<Changes>>,
}

/// Changed rows with the way to find them.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) changed: Arc<Changed>,
    /// Rows of the table's own.
    kept: u32,
    shift: u32,
    /// Of each range, the first of its rows, and the number of all.
    starts: Vec<u32>,
}

/// Where the row of a code stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among those of the table.
    Kept(usize),
    /// Among the changed ones.
    Changed(usize),
}

impl Kept {
    /// A table that was checked. `like` is what another plan has made of it.
    pub(super) fn new(table: &Table, like: Option<&Self>) -> Self {
        let like = like.and_then(|like| like.changes.as_ref());
        let changes = table.changed.as_ref().filter(|changed| !changed.rows.is_empty() || changed.total > table.kept()).map(|changed| {
            // Of the same rows over a table of the same size.
            let same = |like: &&Arc<Changes>| Arc::ptr_eq(&like.changed, changed) && like.kept as usize == table.kept();
            like.filter(same).map_or_else(|| Arc::new(Changes::new(changed, table.kept())), Arc::clone)
        });
        Self { d: table.d, values: Arc::clone(&table.values), rows: table.rows(), changes }
    }

    /// The row of a code that the table has.
    #[inline]
    pub(super) fn row(&self, code: u32) -> &[f32] {
        let d = self.d;
        match &self.changes {
            None => &self.values[code as usize * d..][..d],
            Some(changes) => match changes.place(code) {
                Place::Kept(row) => &self.values[row * d..][..d],
                Place::Changed(row) => &changes.changed.values[row * d..][..d],
            },
        }
    }
}

impl Changes {
    fn new(changed: &Arc<Changed>, kept: usize) -> Self {
        let rows = &changed.rows;
        let codes = rows.last().map_or(0, |&last| u64::from(last) + 1);
        let mut shift = 0;
        while codes >> shift > 2 * rows.len() as u64 {
            shift += 1;
        }
        let mut starts = Vec::with_capacity((codes >> shift) as usize + 2);
        for (place, &row) in rows.iter().enumerate() {
            while starts.len() <= (row >> shift) as usize {
                starts.push(place as u32);
            }
        }
        starts.push(rows.len() as u32);
        starts.shrink_to_fit();
        Self { changed: Arc::clone(changed), kept: u32::try_from(kept).unwrap_or(u32::MAX), shift, starts }
    }

    /// Where the row of a code stands; a code of no row stands for the unknown.
    #[inline]
    pub(super) fn place(&self, code: u32) -> Place {
        let range = (code >> self.shift) as usize;
        if let Some(&[from, to]) = self.starts.get(range..).and_then(|starts| starts.first_chunk::<2>())
            && from < to
        {
            let rows = &self.changed.rows[from as usize..to as usize];
            let at = rows.partition_point(|&row| row < code);
            if rows.get(at) == Some(&code) {
                return Place::Changed(from as usize + at);
            }
        }
        Place::Kept(if code < self.kept { code as usize } else { 0 })
    }

    /// What it takes beside the changed rows.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + 4 * self.starts.len()
    }

    /// What the changed rows take.
    pub(super) fn bytes_of(changed: &Changed) -> usize {
        size_of::<Changed>() + 4 * (changed.rows.len() + changed.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rows: &[u32], kept: usize) -> Changes {
        let total = kept.max(rows.last().map_or(0, |&row| row as usize + 1));
        Changes::new(&Arc::new(Changed { rows: rows.to_vec(), values: Vec::new(), total }), kept)
    }

    #[test]
    fn every_changed_row_is_found_and_no_other() {
        let lines: [&[u32]; 7] = [&[], &[0], &[5], &[0, 1, 2, 3], &[0, 7, 8, 9, 63, 64, 1000], &[1_000_000], &[3, 1 << 20, u32::MAX]];
        for rows in lines {
            let changes = changes(rows, 100);
            assert!(changes.starts.len() <= 2 * rows.len() + 2, "{} for {} rows", changes.starts.len(), rows.len());
            let near = rows.iter().flat_map(|&row| [row.saturating_sub(1), row, row.saturating_add(1)]);
            for code in near.chain(0..2000).chain([u32::MAX]) {
                let expected = match rows.iter().position(|&row| row == code) {
                    Some(place) => Place::Changed(place),
                    None => Place::Kept(if code < 100 { code as usize } else { 0 }),
                };
                assert_eq!(changes.place(code), expected, "{code} of {rows:?}");
            }
        }
    }
}
