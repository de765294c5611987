//! Ratings by user, and what is known of items and users beside: sparse rows.

/// Sparse rows: of each row some columns with values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sparse {
    /// Row i is `columns[offsets[i]..offsets[i + 1]]`.
    pub offsets: Vec<usize>,
    /// Columns.
    pub columns: Vec<u32>,
    /// Their values.
    pub values: Vec<f64>,
    /// Number of columns.
    pub width: usize,
}

impl Sparse {
    /// No rows yet, of so many columns.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { offsets: vec![0], columns: Vec::new(), values: Vec::new(), width }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = (u32, f64)>) {
        for (column, value) in row {
            debug_assert!((column as usize) < self.width);
            self.columns.push(column);
            self.values.push(value);
        }
        self.offsets.push(self.columns.len());
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns and values of row i.
    #[must_use]
    pub fn row(&self, i: usize) -> (&[u32], &[f64]) {
        let at = self.offsets[i]..self.offsets[i + 1];
        (&self.columns[at.clone()], &self.values[at])
    }

    /// `into += row i times m`, m being `[width, k]` row by row.
    pub fn times(&self, i: usize, m: &[f64], into: &mut [f64]) {
        let (columns, values) = self.row(i);
        let k = into.len();
        for (&column, value) in columns.iter().zip(values) {
            into.iter_mut().zip(&m[column as usize * k..][..k]).for_each(|(sum, x)| *sum += value * x);
        }
    }

    /// Columns as rows.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut offsets = vec![0usize; self.width + 1];
        self.columns.iter().for_each(|&column| offsets[column as usize + 1] += 1);
        (0..self.width).for_each(|i| offsets[i + 1] += offsets[i]);
        let mut next = offsets.clone();
        let (mut columns, mut values) = (vec![0u32; self.columns.len()], vec![0.0; self.columns.len()]);
        for i in 0..self.len() {
            let (of_row, with) = self.row(i);
            for (&column, &value) in of_row.iter().zip(with) {
                let at = next[column as usize];
                (columns[at], values[at]) = (i as u32, value);
                next[column as usize] += 1;
            }
        }
        Self { offsets, columns, values, width: self.len() }
    }
}

/// Ratings to fit to.
#[derive(Clone, Debug)]
pub struct Ratings {
    /// The items of each user with their ratings, `[users, items]`. A user may rate an item twice.
    pub rated: Sparse,
    /// What is known of each item, `[items, columns]`.
    pub content: Sparse,
    /// The first so many columns of content are narrow: few, and known of most items, such as genres.
    pub narrow: usize,
    /// What is known of each user, `[users, columns]`; the first column is 1 for all.
    pub people: Sparse,
}

impl Ratings {
    /// Mean and standard deviation of all ratings; 1 in place of a deviation of 0.
    #[must_use]
    pub fn units(&self) -> (f64, f64) {
        crate::fold_in::units(&self.rated)
    }

    /// Those of some users.
    #[must_use]
    pub fn of_users(&self, keep: impl Fn(usize) -> bool) -> Self {
        let some = |rows: &Sparse| {
            let mut kept = Sparse::new(rows.width);
            for u in (0..rows.len()).filter(|&u| keep(u)) {
                let (columns, values) = rows.row(u);
                kept.push(columns.iter().copied().zip(values.iter().copied()));
            }
            kept
        };
        Self { rated: some(&self.rated), people: some(&self.people), content: self.content.clone(), narrow: self.narrow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_holds_the_same_and_twice_is_the_first() {
        let mut m = Sparse::new(3);
        m.push([(2, 1.0), (0, 2.0)]);
        m.push([]);
        m.push([(0, 3.0)]);
        let t = m.transposed();
        assert_eq!((t.len(), t.width), (3, 3));
        assert_eq!(t.row(0), (&[0, 2][..], &[2.0, 3.0][..]));
        assert_eq!(t.transposed().row(0), (&[0, 2][..], &[2.0, 1.0][..]), "columns in ascending order");
        let mut sum = [1.0, 1.0];
        m.times(0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut sum);
        assert_eq!(sum, [8.0, 11.0]);
    }
}
