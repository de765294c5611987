//! Rows of the source beside rows of the target.

use acclimate_data::{Batch, Dataset, EpochRows, RowOrder};

use super::{EpochCache, Feed, Feeding, window};
use crate::TrainError;

/// Batches of two groups, rows of the source and as many of the target. An epoch shows each target row once; source rows follow each other over the epochs, and
/// none comes again before all had their turn.
pub struct BesideFeed<'a> {
    dataset: &'a Dataset,
    source: RowOrder,
    target: RowOrder,
    rows: usize,
    window: Option<[i64; 2]>,
    epoch: EpochCache<(EpochRows, Option<Dataset>)>,
    /// The order of source rows, by how often all were shown before.
    round: EpochCache<EpochRows>,
}

impl<'a> BesideFeed<'a> {
    /// Batches of `batch` rows, half of them of `source` and half of `target`.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without rows of either, [`TrainError::Config`] for a batch below 2.
    pub fn new(dataset: &'a Dataset, source: &[u32], target: &[u32], batch: usize, seed: u64) -> Result<Self, TrainError> {
        if target.is_empty() {
            return Err(TrainError::Nothing { what: "row" });
        }
        if source.is_empty() {
            return Err(TrainError::Nothing { what: "row of the base's domains" });
        }
        if batch < 2 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 2: half of it is of the base's domains".into() });
        }
        let order = |rows: &[u32], seed| RowOrder::new(rows.to_vec(), batch / 2, seed);
        Ok(Self {
            dataset,
            source: order(source, seed.wrapping_add(1)),
            target: order(target, seed),
            rows: source.len() + target.len(),
            window: window(dataset, source.iter().chain(target).copied()),
            epoch: EpochCache::default(),
            round: EpochCache::default(),
        })
    }
}

impl Feed for BesideFeed<'_> {
    fn steps(&self, _: u64) -> usize {
        self.target.steps()
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        // Batches of the source are counted on from epoch to epoch.
        let (at, of_round) = (epoch * self.target.steps() as u64 + step as u64, self.source.steps() as u64);
        let source = self.round.with(
            at / of_round,
            || self.source.epoch(at / of_round),
            |rows| rows.batch((at % of_round) as usize).expect("a step below `steps` has rows").to_vec(),
        );
        // In a log without time, which rows are earlier is drawn anew each epoch; the first is as the data was read.
        let plan = || (self.target.epoch(epoch), (epoch > 0).then(|| self.dataset.redrawn(epoch)).flatten());
        let query = self.epoch.with(epoch, plan, |(target, dataset)| {
            let target = target.batch(step).expect("a step below `steps` has rows");
            Batch::gather(dataset.as_ref().unwrap_or(self.dataset), &[&source[..source.len().min(target.len())], target])
        });
        Feeding { query, support: None }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use acclimate_data::SimulatorConfig;

    use super::*;

    #[test]
    fn each_half_is_of_one_list_and_an_epoch_shows_the_target_once() {
        let config = SimulatorConfig { users: 100, items: 200, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
        let data = config.simulate(1).expect("the settings fit together").dataset;
        let (source, target): (Vec<u32>, Vec<u32>) = ((0..90).collect(), (500..530).collect());
        let feed = BesideFeed::new(&data, &source, &target, 16, 3).expect("rows of both");
        let groups = |epoch, step| {
            let query = feed.batch(epoch, step).query;
            let real = |group: &[u32]| group.iter().copied().filter(|&row| row != u32::MAX).collect::<Vec<u32>>();
            [real(&query.row[..query.rows]), real(&query.row[query.rows..])]
        };
        assert_eq!((feed.steps(0), feed.rows()), (4, 120));
        let mut shown = Vec::new();
        for epoch in 0..4 {
            let steps: Vec<_> = (0..4).map(|step| groups(epoch, step)).collect();
            assert!(steps.iter().all(|[of_source, of_target]| !of_source.is_empty() && of_source.len() <= of_target.len()));
            let mut seen: Vec<u32> = steps.iter().flat_map(|[_, of_target]| of_target.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, target);
            shown.extend(steps.into_iter().flat_map(|[of_source, _]| of_source));
        }
        assert!(shown.iter().all(|row| *row < 90));
        // Twelve batches go once through the source; where the half of the target is short, so is that of the source.
        let round: BTreeSet<u32> = shown.iter().take(86).copied().collect();
        assert_eq!(round.len(), 86, "a row comes again before all had their turn");
        assert_eq!(feed.batch(2, 1), feed.batch(2, 1));
        assert_ne!(groups(0, 0), groups(3, 0));
    }

    #[test]
    fn both_lists_must_have_rows_and_a_batch_two() {
        let data = SimulatorConfig { rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() }
            .simulate(1)
            .expect("it fits")
            .dataset;
        assert!(matches!(BesideFeed::new(&data, &[], &[1], 16, 3), Err(TrainError::Nothing { .. })));
        assert!(matches!(BesideFeed::new(&data, &[1], &[], 16, 3), Err(TrainError::Nothing { .. })));
        assert!(matches!(BesideFeed::new(&data, &[1], &[2], 1, 3), Err(TrainError::Config { key: "batch", .. })));
    }
}
