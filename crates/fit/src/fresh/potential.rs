//! Potential interactions: items that stand beside an item in the rows of other people.

use crate::Sparse;

/// The `most` items l with the largest `n_jl / √(n_j n_l)`, with that number; equal ones in the order of items. `n_l` counts people with l, `n_jl` those with both.
/// The person `hidden` counts nowhere, so that nothing of that person's own rows shows through.
pub(super) fn beside(rows: &Sparse, owners: &Sparse, item: u32, most: usize, hidden: Option<usize>) -> Vec<(u32, f64)> {
    if most == 0 {
        return Vec::new();
    }
    let own = hidden.map_or(&[][..], |person| rows.row(person).0);
    let count = |l: u32| (owners.row(l as usize).0.len() - usize::from(own.contains(&l))) as f64;
    let mut both = vec![0u32; rows.width];
    let mut met = Vec::new();
    for &owner in owners.row(item as usize).0.iter().filter(|&&owner| Some(owner as usize) != hidden) {
        for &l in rows.row(owner as usize).0.iter().filter(|&&l| l != item) {
            if both[l as usize] == 0 {
                met.push(l);
            }
            both[l as usize] += 1;
        }
    }
    let of = count(item);
    let mut found: Vec<(u32, f64)> = met.into_iter().map(|l| (l, f64::from(both[l as usize]) / (of * count(l)).sqrt())).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    found.truncate(most);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_person_leaves_no_trace() {
        let rows_of = |own: &[u32]| {
            let mut rows = Sparse::new(6);
            for items in [&[0, 1, 2][..], &[0, 2, 3], &[1, 4], own] {
                rows.push(items.iter().map(|&item| (item, 1.0)));
            }
            rows
        };
        let without = rows_of(&[]);
        let expected = beside(&without, &without.transposed(), 0, 9, None);
        assert_eq!(expected.iter().map(|(l, _)| *l).collect::<Vec<_>>(), [2, 3, 1]);
        assert!((expected[0].1 - 1.0).abs() < 1e-12 && (expected[2].1 - 0.5).abs() < 1e-12);
        for own in [&[0, 5][..], &[0, 1, 2, 3, 4, 5]] {
            let with = rows_of(own);
            assert_eq!(beside(&with, &with.transposed(), 0, 9, Some(3)), expected);
            assert_ne!(beside(&with, &with.transposed(), 0, 9, None), expected);
        }
    }
}
