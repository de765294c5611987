//! Labelled rows in seeded order.

use acclimate_data::{Batch, Dataset, EpochRows, RowOrder};

use super::{EpochCache, Feed, Feeding, window};
use crate::TrainError;

/// Rows of a log, shuffled anew each epoch and cut into batches of one group.
pub struct RowFeed<'a> {
    dataset: &'a Dataset,
    orders: Vec<RowOrder>,
    /// Order and batch of each step.
    places: Vec<(usize, usize)>,
    rows: usize,
    window: Option<[i64; 2]>,
    epoch: EpochCache<Vec<EpochRows>>,
}

impl<'a> RowFeed<'a> {
    /// Batches of `batch` rows. With `by_domain` a batch holds rows of one domain, in seeded alternation.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without rows, [`TrainError::Config`] for a batch of 0.
    pub fn new(dataset: &'a Dataset, rows: &[u32], batch: usize, seed: u64, by_domain: bool) -> Result<Self, TrainError> {
        if rows.is_empty() {
            return Err(TrainError::Nothing { what: "row" });
        }
        if batch == 0 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 1".into() });
        }
        let mut parts = vec![Vec::new(); if by_domain { dataset.domains.len() } else { 1 }];
        for &row in rows {
            parts[if by_domain { dataset.log.domain[row as usize].at() } else { 0 }].push(row);
        }
        let parts = parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let orders: Vec<_> = parts.map(|(domain, rows)| RowOrder::new(rows, batch, seed.wrapping_add(domain as u64))).collect();
        let places = alternate(&orders);
        Ok(Self { dataset, orders, places, rows: rows.len(), window: window(dataset, rows.iter().copied()), epoch: EpochCache::default() })
    }
}

impl Feed for RowFeed<'_> {
    fn steps(&self, _: u64) -> usize {
        self.places.len()
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        let (order, step) = self.places[step];
        let orders = || self.orders.iter().map(|o| o.epoch(epoch)).collect();
        self.epoch.with(epoch, orders, |orders: &Vec<EpochRows>| {
            let rows = orders[order].batch(step).expect("a step below `steps` has rows");
            Feeding { query: Batch::single(self.dataset, rows), support: None }
        })
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}

/// Spreads the batches of each order evenly over the epoch: batch j of n takes the place `(j + ½) / n`.
fn alternate(orders: &[RowOrder]) -> Vec<(usize, usize)> {
    let mut places: Vec<_> = (0..orders.len()).flat_map(|o| (0..orders[o].steps()).map(move |j| (o, j))).collect();
    let place = |&(o, j): &(usize, usize)| (j as f64 + 0.5) / orders[o].steps() as f64;
    places.sort_by(|a, b| place(a).total_cmp(&place(b)).then(a.cmp(b)));
    places
}
