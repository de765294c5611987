//! Operands that rows share: one for all, one a group, or one a row.

/// Values of `[G|1, N|1, d]`, read for rows of `[G, N, d]` in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread<'a> {
    values: &'a [f32],
    d: usize,
    /// Rows of a group.
    n: usize,
    /// How far apart the values of two groups are, and of two rows of one.
    strides: [usize; 2],
}

impl<'a> Spread<'a> {
    /// Values of `own` shape for rows of `shape`.
    pub(super) fn new(values: &'a [f32], own: [usize; 3], shape: [usize; 3]) -> Self {
        let ([groups, rows, d], [_, n, _]) = (own, shape);
        let of_row = if rows == 1 { 0 } else { d };
        let of_group = if groups == 1 { 0 } else { rows * d };
        Self { values, d, n: n.max(1), strides: [of_group, of_row] }
    }

    /// Whether values of `own` shape are an operand for rows of `shape`.
    pub(super) fn fits(own: [usize; 3], shape: [usize; 3]) -> bool {
        own[2] == shape[2] && (own[0] == 1 || own[0] == shape[0]) && (own[1] == 1 || own[1] == shape[1])
    }

    /// d.
    #[inline(always)]
    pub(super) fn width(&self) -> usize {
        self.d
    }

    /// The operands of the rows from `first` on, without an end.
    #[inline(always)]
    pub(super) fn rows(self, first: usize) -> impl Iterator<Item = &'a [f32]> {
        let Self { values, d, n, strides } = self;
        let (mut group, mut row) = (first / n, first % n);
        std::iter::from_fn(move || {
            let at = group * strides[0] + row * strides[1];
            row += 1;
            if row == n {
                (group, row) = (group + 1, 0);
            }
            Some(&values[at..][..d])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_find_what_is_theirs() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let read = |own: [usize; 3], first: usize| -> Vec<f32> {
            Spread::new(&values[..own.iter().product()], own, [2, 3, 4]).rows(first).take(6 - first).map(|row| row[0]).collect()
        };
        assert_eq!(read([1, 1, 4], 0), [0.0; 6]);
        assert_eq!(read([2, 1, 4], 0), [0.0, 0.0, 0.0, 4.0, 4.0, 4.0]);
        assert_eq!(read([1, 3, 4], 0), [0.0, 4.0, 8.0, 0.0, 4.0, 8.0]);
        assert_eq!(read([2, 3, 4], 2), [8.0, 12.0, 16.0, 20.0]);
    }
}
