//! Pairs: each positive row followed by negative rows of the same user.

use std::collections::HashMap;

use acclimate_data::{Batch, Dataset, DomainIndex, EpochRows, RandomStream, RowOrder, UserIndex};

use super::{EpochCache, Feed, Feeding, window};
use crate::TrainError;

/// Groups `[positive, negatives..]` for the objective `bpr`, in seeded order.
///
/// A positive is a row with a label above 0. Its negatives are drawn, with replacement and anew each epoch, from the rows of label 0 of the same user in
/// the same domain; a user without any there takes those of the domain.
pub struct PairFeed<'a> {
    dataset: &'a Dataset,
    order: RowOrder,
    /// Negatives of each user in each domain, and of each domain.
    of_user: HashMap<(UserIndex, DomainIndex), Vec<u32>>,
    of_domain: HashMap<DomainIndex, Vec<u32>>,
    negatives: usize,
    seed: u64,
    rows: usize,
    window: Option<[i64; 2]>,
    epoch: EpochCache<(EpochRows, Option<Dataset>)>,
}

impl<'a> PairFeed<'a> {
    /// Batches of `batch` positives with `negatives` each. Positives of a domain without negatives are left out.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without a pair, [`TrainError::Config`] for a batch or a number of negatives of 0.
    pub fn new(dataset: &'a Dataset, rows: &[u32], batch: usize, negatives: usize, seed: u64) -> Result<Self, TrainError> {
        if batch == 0 || negatives == 0 {
            return Err(TrainError::Config { key: "batch", problem: "and the number of negatives must be at least 1".into() });
        }
        let log = &dataset.log;
        let (mut of_user, mut of_domain): (HashMap<_, Vec<u32>>, HashMap<_, Vec<u32>>) = (HashMap::new(), HashMap::new());
        for &row in rows.iter().filter(|&&row| log.label[row as usize] <= 0.0) {
            let (user, domain) = (log.user[row as usize], log.domain[row as usize]);
            of_user.entry((user, domain)).or_default().push(row);
            of_domain.entry(domain).or_default().push(row);
        }
        let paired = |row: u32| log.label[row as usize] > 0.0 && of_domain.contains_key(&log.domain[row as usize]);
        let positives: Vec<u32> = rows.iter().copied().filter(|&row| paired(row)).collect();
        if positives.is_empty() {
            return Err(TrainError::Nothing { what: "pair of a positive and a negative row" });
        }
        let window = window(dataset, rows.iter().copied());
        let (rows, order) = (positives.len(), RowOrder::new(positives, batch, seed));
        let seed = RandomStream::seed_for(seed, "pairs");
        Ok(Self { dataset, order, of_user, of_domain, negatives, seed, rows, window, epoch: EpochCache::default() })
    }

    fn negatives_of(&self, row: u32) -> &[u32] {
        let log = &self.dataset.log;
        let (user, domain) = (log.user[row as usize], log.domain[row as usize]);
        self.of_user.get(&(user, domain)).unwrap_or_else(|| &self.of_domain[&domain])
    }
}

impl Feed for PairFeed<'_> {
    fn steps(&self, _: u64) -> usize {
        self.order.steps()
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        let group = |&row: &u32| {
            let (mut stream, pool) = (RandomStream::new(self.seed, epoch, u64::from(row)), self.negatives_of(row));
            let drawn = (0..self.negatives).map(|_| pool[stream.position(pool.len())]);
            std::iter::once(row).chain(drawn).collect()
        };
        // In a log without time, which rows are earlier is drawn anew each epoch; the first is as the data was read.
        let plan = || (self.order.epoch(epoch), (epoch > 0).then(|| self.dataset.redrawn(epoch)).flatten());
        let query = self.epoch.with(epoch, plan, |(order, dataset)| {
            let groups: Vec<Vec<u32>> = order.batch(step).expect("a step below `steps` has rows").iter().map(group).collect();
            Batch::gather(dataset.as_ref().unwrap_or(self.dataset), &groups)
        });
        Feeding { query, support: None }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }

    fn is_paired(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use acclimate_data::SimulatorConfig;

    use super::*;

    #[test]
    fn a_positive_is_followed_by_negatives_of_its_user() {
        let config = SimulatorConfig { users: 100, items: 200, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
        let data = config.simulate(1).expect("the settings fit together").dataset;
        let rows: Vec<u32> = (0..1000).collect();
        let feed = PairFeed::new(&data, &rows, 32, 3, 7).expect("both labels");
        let (mut seen, mut same_user) = (0, 0);
        for step in 0..feed.steps(0) {
            let query = feed.batch(0, step).query;
            assert_eq!(query.rows, 4);
            for (row, label) in query.row.chunks_exact(4).zip(query.label.chunks_exact(4)) {
                assert_eq!(label, [1.0, 0.0, 0.0, 0.0]);
                let of = |r: u32| (data.log.user[r as usize], data.log.domain[r as usize]);
                assert!(row.iter().all(|&r| of(r).1 == of(row[0]).1));
                same_user += row[1..].iter().filter(|&&r| of(r).0 == of(row[0]).0).count();
                seen += 1;
            }
        }
        assert_eq!(seen, rows.iter().filter(|&&r| data.log.label[r as usize] > 0.0).count());
        assert!(same_user > seen, "most users have negatives of their own");
        assert_eq!(feed.batch(3, 1), feed.batch(3, 1));
        assert_ne!(feed.batch(3, 1), feed.batch(4, 1));
        assert!(matches!(PairFeed::new(&data, &[], 32, 1, 7), Err(TrainError::Nothing { .. })));
    }
}
