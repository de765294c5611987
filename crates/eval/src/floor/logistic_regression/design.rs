//! The feature matrix, never built: products with it are taken straight from the encoded columns.

use acclimate_data::{Side, VocabularyIndex};

use super::Unlabelled;

/// Where the weights of each feature start: categorical features, multi-valued ones, numbers, domains, intercept.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// First weight and number of codes of each categorical feature.
    categorical: Vec<(usize, u32)>,
    /// The same of each multi-valued feature.
    bags: Vec<(usize, u32)>,
    /// Weight of each numeric feature.
    numeric: Vec<usize>,
    /// First weight and number of domains, 0 if domains are not used.
    domains: (usize, u32),
}

impl Layout {
    /// The weights for the features of a data set.
    pub(super) fn new(rows: Unlabelled<'_>, domain: bool) -> Self {
        let features = rows.features();
        let mut next = 0;
        let mut take = |n: usize| {
            next += n;
            next - n
        };
        let codes = |v: VocabularyIndex| features.vocabularies[v.at()].rows();
        let mut block = |v: VocabularyIndex| (take(codes(v)), codes(v) as u32);
        let categorical = features.categorical.iter().map(|c| block(c.vocabulary)).collect();
        let bags = features.bags.iter().map(|b| block(b.vocabulary)).collect();
        let numeric = features.numeric.iter().map(|_| take(1)).collect();
        let domains = if domain { rows.counts()[2] } else { 0 };
        Self { categorical, bags, numeric, domains: (take(domains), domains as u32) }
    }

    /// Number of weights, the intercept included.
    pub(super) fn len(&self) -> usize {
        self.intercept() + 1
    }

    /// Weight of the constant 1.
    pub(super) fn intercept(&self) -> usize {
        self.domains.0 + self.domains.1 as usize
    }

    /// `w x` of one row.
    pub(super) fn dot(&self, weights: &[f64], rows: Unlabelled<'_>, i: usize) -> f64 {
        let mut sum = weights[self.intercept()];
        for side in [Side::Row, Side::User, Side::Item] {
            let entity = rows.entity(side, i);
            self.each(rows, side, entity, |weight, value| sum += weights[weight] * value);
        }
        sum + self.domain(rows, i).map_or(0.0, |weight| weights[weight])
    }

    fn domain(&self, rows: Unlabelled<'_>, i: usize) -> Option<usize> {
        let domain = rows.domain(i);
        (domain.0 < self.domains.1).then(|| self.domains.0 + domain.at())
    }

    /// Calls `visit` with the weight and value of every feature of one entity that is not 0.
    fn each(&self, rows: Unlabelled<'_>, side: Side, entity: usize, mut visit: impl FnMut(usize, f64)) {
        let features = rows.features();
        // A code that the vocabulary got after training is unknown to the weights.
        let weight = |&(start, n): &(usize, u32), code: u32| start + if code < n { code as usize } else { 0 };
        for (block, column) in self.categorical.iter().zip(&features.categorical).filter(|(_, c)| c.side == side) {
            visit(weight(block, column.codes[entity]), 1.0);
        }
        for (block, bag) in self.bags.iter().zip(&features.bags).filter(|(_, b)| b.side == side) {
            let codes = &bag.codes[bag.offsets[entity] as usize..bag.offsets[entity + 1] as usize];
            for &code in codes {
                visit(weight(block, code), 1.0 / codes.len() as f64);
            }
        }
        for (&start, column) in self.numeric.iter().zip(&features.numeric).filter(|(_, n)| n.side == side) {
            visit(start, f64::from(column.values[entity]));
        }
    }
}

/// The matrix X of some rows, as products only.
///
/// What belongs to a user or an item is multiplied once per user or item, not once per row: on a click log most features do.
pub(super) struct Design<'a> {
    layout: &'a Layout,
    rows: Unlabelled<'a>,
    users: Entities,
    items: Entities,
}

/// The distinct users or items of the rows.
struct Entities {
    side: Side,
    distinct: Vec<u32>,
    /// Position in `distinct` of each row's entity.
    of_row: Vec<u32>,
}

impl Entities {
    fn new(rows: Unlabelled<'_>, side: Side, total: usize) -> Self {
        let mut position = vec![u32::MAX; total];
        (0..rows.len()).for_each(|i| position[rows.entity(side, i)] = 0);
        let distinct: Vec<u32> = (0..total as u32).filter(|&entity| position[entity as usize] == 0).collect();
        distinct.iter().enumerate().for_each(|(p, &entity)| position[entity as usize] = p as u32);
        let of_row = (0..rows.len()).map(|i| position[rows.entity(side, i)]).collect();
        Self { side, distinct, of_row }
    }
}

impl<'a> Design<'a> {
    /// The rows under a layout made for their data set.
    pub(super) fn new(layout: &'a Layout, rows: Unlabelled<'a>) -> Self {
        let [users, items, _] = rows.counts();
        Self { layout, rows, users: Entities::new(rows, Side::User, users), items: Entities::new(rows, Side::Item, items) }
    }

    /// Number of weights.
    pub(super) fn weights(&self) -> usize {
        self.layout.len()
    }

    /// Weight of the constant 1, which no penalty touches.
    pub(super) fn intercept(&self) -> usize {
        self.layout.intercept()
    }

    /// `X w`, one entry per row.
    pub(super) fn times(&self, weights: &[f64]) -> Vec<f64> {
        let mut product: Vec<f64> = (0..self.rows.len())
            .map(|i| weights[self.layout.intercept()] + self.layout.domain(self.rows, i).map_or(0.0, |w| weights[w]))
            .collect();
        for (i, sum) in product.iter_mut().enumerate() {
            self.layout.each(self.rows, Side::Row, self.rows.entity(Side::Row, i), |weight, value| *sum += weights[weight] * value);
        }
        for Entities { side, distinct, of_row } in [&self.users, &self.items] {
            let mut parts = vec![0.0; distinct.len()];
            for (part, &entity) in parts.iter_mut().zip(distinct) {
                self.layout.each(self.rows, *side, entity as usize, |weight, value| *part += weights[weight] * value);
            }
            product.iter_mut().zip(of_row).for_each(|(sum, &entity)| *sum += parts[entity as usize]);
        }
        product
    }

    /// `f(X)^T r`, one entry per weight, with `f` applied to each entry of X.
    pub(super) fn transposed_times(&self, residuals: &[f64], f: fn(f64) -> f64) -> Vec<f64> {
        let mut product = vec![0.0; self.layout.len()];
        for (i, &residual) in residuals.iter().enumerate() {
            product[self.layout.intercept()] += residual;
            if let Some(weight) = self.layout.domain(self.rows, i) {
                product[weight] += residual;
            }
            self.layout.each(self.rows, Side::Row, self.rows.entity(Side::Row, i), |weight, value| product[weight] += residual * f(value));
        }
        for Entities { side, distinct, of_row } in [&self.users, &self.items] {
            let mut parts = vec![0.0; distinct.len()];
            residuals.iter().zip(of_row).for_each(|(residual, &entity)| parts[entity as usize] += residual);
            for (&part, &entity) in parts.iter().zip(distinct) {
                self.layout.each(self.rows, *side, entity as usize, |weight, value| product[weight] += part * f(value));
            }
        }
        product
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::mixed;
    use super::*;

    const ROWS: [u32; 9] = [3, 59, 4, 4, 17, 22, 30, 31, 0];

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 37 + 11) % 23) as f64 / 7.0 - 1.5).collect()
    }

    #[test]
    fn products_by_entity_equal_products_by_row() {
        let data = mixed();
        let rows = Unlabelled::new(&data, &ROWS).unwrap();
        for domain in [false, true] {
            let layout = Layout::new(rows, domain);
            assert_eq!(layout.len(), 3 * 4 + 5 + 2 + if domain { 2 } else { 0 } + 1);
            let weights = numbers(layout.len());
            let product = Design::new(&layout, rows).times(&weights);
            assert!((0..ROWS.len()).all(|i| (product[i] - layout.dot(&weights, rows, i)).abs() < 1e-12));
        }
    }

    #[test]
    fn transposed_product_is_the_adjoint() {
        let data = mixed();
        let rows = Unlabelled::new(&data, &ROWS).unwrap();
        let layout = Layout::new(rows, true);
        let design = Design::new(&layout, rows);
        let (weights, residuals) = (numbers(layout.len()), numbers(ROWS.len()));
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let difference = inner(&design.times(&weights), &residuals) - inner(&weights, &design.transposed_times(&residuals, |x| x));
        assert!(difference.abs() < 1e-12);
    }
}
