//! Bags of items as sparse rows over the items of training.

/// The items that are known, each with a column.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    /// Codes, ascending.
    items: Vec<u32>,
}

/// `entries[offsets[r]..offsets[r + 1]]`: column of each known item of row r, ascending, and how often the bag holds it.
#[derive(Debug)]
pub(super) struct Bags {
    offsets: Vec<usize>,
    entries: Vec<(u32, u32)>,
}

impl Columns {
    /// The items of at least `rows` bags.
    pub(super) fn new(bags: &[Vec<u32>], rows: usize) -> Self {
        let mut once: Vec<u32> = Vec::new();
        for bag in bags {
            let mut bag = bag.clone();
            bag.sort_unstable();
            bag.dedup();
            once.extend(bag);
        }
        once.sort_unstable();
        Self { items: once.chunk_by(|a, b| a == b).filter(|same| same.len() >= rows).map(|same| same[0]).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn of(&self, bags: &[Vec<u32>]) -> Bags {
        let (mut offsets, mut entries) = (vec![0], Vec::new());
        for bag in bags {
            let mut columns: Vec<u32> =
                bag.iter().filter_map(|item| self.items.binary_search(item).ok().map(|column| column as u32)).collect();
            columns.sort_unstable();
            entries.extend(columns.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as u32)));
            offsets.push(entries.len());
        }
        Bags { offsets, entries }
    }
}

impl Bags {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The rows in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[(u32, u32)]> {
        self.offsets.windows(2).map(|range| &self.entries[range[0]..range[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_counts_once_a_row_and_rare_and_unknown_ones_are_left_out() {
        let bags = [vec![7, 7, 2], vec![2, 9], vec![], vec![9, 2, 9]];
        let columns = Columns::new(&bags, 2);
        assert_eq!(columns.items, [2, 9]);
        let found = columns.of(&[vec![9, 7, 2, 9], vec![7]]);
        assert_eq!(found.rows().collect::<Vec<_>>(), [&[(0, 1), (1, 2)][..], &[]]);
        assert_eq!((Columns::new(&bags, 1).len(), found.len()), (3, 2));
    }
}
