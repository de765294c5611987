//! The feature matrix, never built: products with it are taken straight from the encoded columns.

use acclimate_data::{Side, VocabularyIndex};

use super::Unlabelled;

/// Where the weights of each feature start: categorical features, multi-valued ones, numbers, domains, intercept.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// First weight and number of codes of each categorical feature; `None` for one that is not read.
    categorical: Vec<Option<(usize, u32)>>,
    /// The same of each multi-valued feature.
    bags: Vec<Option<(usize, u32)>>,
    /// Weight of each numeric feature.
    numeric: Vec<Option<usize>>,
    /// First weight and number of domains, 0 if domains are not used.
    domains: (usize, u32),
}

impl Layout {
    /// The weights for the features of a data set, without some.
    pub(super) fn new(rows: Unlabelled<'_>, domain: bool, without: &[String]) -> Self {
        let features = rows.features();
        let read = |name: &String| !without.contains(name);
        let mut next = 0;
        let mut take = |n: usize| {
            next += n;
            next - n
        };
        let codes = |v: VocabularyIndex| features.vocabularies[v.at()].rows();
        let mut block = |name: &String, v: VocabularyIndex| read(name).then(|| (take(codes(v)), codes(v) as u32));
        let categorical = features.categorical.iter().map(|c| block(&c.name, c.vocabulary)).collect();
        let bags = features.bags.iter().map(|b| block(&b.name, b.vocabulary)).collect();
        let numeric = features.numeric.iter().map(|n| read(&n.name).then(|| take(1))).collect();
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
            self.each(rows, side, &[rows.entity(side, i) as u32], |_, weight, value| sum += weights[weight] * value);
        }
        sum + self.domain(rows, i).map_or(0.0, |weight| weights[weight])
    }

    fn domain(&self, rows: Unlabelled<'_>, i: usize) -> Option<usize> {
        let domain = rows.domain(i);
        (domain.0 < self.domains.1).then(|| self.domains.0 + domain.at())
    }

    /// Calls `visit` with the position in `entities`, the weight and the value of every feature of `side` that is not 0, column by column.
    fn each(&self, rows: Unlabelled<'_>, side: Side, entities: &[u32], mut visit: impl FnMut(usize, usize, f64)) {
        let features = rows.features();
        // A code that the vocabulary got after training is unknown to the weights.
        let weight = |(start, n): (usize, u32), code: u32| start + if code < n { code as usize } else { 0 };
        for (&block, column) in self.categorical.iter().zip(&features.categorical).filter(|(_, c)| c.side == side) {
            let Some(block) = block else { continue };
            for (position, &entity) in entities.iter().enumerate() {
                visit(position, weight(block, column.codes[entity as usize]), 1.0);
            }
        }
        for (&block, bag) in self.bags.iter().zip(&features.bags).filter(|(_, b)| b.side == side) {
            let Some(block) = block else { continue };
            for (position, &entity) in entities.iter().enumerate() {
                let codes = bag.lists.of(entity as usize);
                let share = 1.0 / codes.len() as f64;
                codes.iter().for_each(|&code| visit(position, weight(block, code), share));
            }
        }
        for (&start, column) in self.numeric.iter().zip(&features.numeric).filter(|(_, n)| n.side == side) {
            let Some(start) = start else { continue };
            for (position, &entity) in entities.iter().enumerate() {
                visit(position, start, f64::from(column.values[entity as usize]));
            }
        }
    }
}

/// The matrix X of some rows, as products only.
///
/// What belongs to a user or an item is multiplied once per user or item, not once per row: on a click log most features do.
pub(super) struct Design<'a> {
    layout: &'a Layout,
    rows: Unlabelled<'a>,
    entities: [Entities; 3],
}

/// The distinct entities of one side.
struct Entities {
    side: Side,
    distinct: Vec<u32>,
    /// Position in `distinct` of each row's entity.
    of_row: Vec<u32>,
}

impl Entities {
    fn new(rows: Unlabelled<'_>, side: Side) -> Self {
        let all: Vec<u32> = (0..rows.len()).map(|i| rows.entity(side, i) as u32).collect();
        let mut position = vec![u32::MAX; all.iter().max().map_or(0, |&largest| largest as usize + 1)];
        let mut distinct = Vec::new();
        for &entity in &all {
            if position[entity as usize] == u32::MAX {
                position[entity as usize] = distinct.len() as u32;
                distinct.push(entity);
            }
        }
        Self { side, distinct, of_row: all.into_iter().map(|entity| position[entity as usize]).collect() }
    }
}

impl<'a> Design<'a> {
    /// The rows under a layout made for their data set.
    pub(super) fn new(layout: &'a Layout, rows: Unlabelled<'a>) -> Self {
        Self { layout, rows, entities: [Side::Row, Side::User, Side::Item].map(|side| Entities::new(rows, side)) }
    }

    /// Weight of the constant 1, which no penalty touches.
    pub(super) fn intercept(&self) -> usize {
        self.layout.intercept()
    }

    /// `X w`, one entry per row.
    pub(super) fn times(&self, weights: &[f64]) -> Vec<f64> {
        let constant = weights[self.layout.intercept()];
        let domain = |i| self.layout.domain(self.rows, i).map_or(0.0, |w| weights[w]);
        let mut product: Vec<f64> = (0..self.rows.len()).map(|i| constant + domain(i)).collect();
        for Entities { side, distinct, of_row } in &self.entities {
            let mut parts = vec![0.0; distinct.len()];
            self.layout.each(self.rows, *side, distinct, |position, weight, value| parts[position] += weights[weight] * value);
            product.iter_mut().zip(of_row).for_each(|(sum, &entity)| *sum += parts[entity as usize]);
        }
        product
    }

    /// `f(X)^T r`, one entry per weight, with `f` applied to each entry of X.
    pub(super) fn transposed_times(&self, residuals: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut product = vec![0.0; self.layout.len()];
        product[self.layout.intercept()] = residuals.iter().sum();
        for (i, residual) in residuals.iter().enumerate() {
            if let Some(weight) = self.layout.domain(self.rows, i) {
                product[weight] += residual;
            }
        }
        for Entities { side, distinct, of_row } in &self.entities {
            let mut parts = vec![0.0; distinct.len()];
            residuals.iter().zip(of_row).for_each(|(residual, &entity)| parts[entity as usize] += residual);
            self.layout.each(self.rows, *side, distinct, |position, weight, value| product[weight] += parts[position] * f(value));
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
            let layout = Layout::new(rows, domain, &[]);
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
        let layout = Layout::new(rows, true, &[]);
        let design = Design::new(&layout, rows);
        let (weights, residuals) = (numbers(layout.len()), numbers(ROWS.len()));
        let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let difference = inner(&design.times(&weights), &residuals) - inner(&weights, &design.transposed_times(&residuals, |x| x));
        assert!(difference.abs() < 1e-12);
    }
}
