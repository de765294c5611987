//! Labelled rows, drawn so that the domains have other shares than they have in the log.

use acclimate_adapt::{Needs, SourceRows};
use acclimate_data::{Dataset, RandomStream};
use acclimate_model::Objective;
use serde::{Deserialize, Serialize};

use super::rows::{RowFeed, half_of_rows};
use super::{EpochCache, Feed, Feeding, Half, window};
use crate::{TrainConfig, TrainError};

/// Which share of an epoch's rows each domain has: `p_i ∝ N_i^α` of a domain with `N_i` rows. An epoch has as many rows as the log whatever the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainSampling {
    /// As in the log, every row once: α = 1.
    #[default]
    Proportional,
    /// α = 1/2.
    SquareRoot,
    /// From the log's shares to nearly equal ones, α = 1 - 0.8 e / (E - 1) in epoch e of E (A. C. Stickland and I. Murray, *BERT and PALs*, ICML 2019).
    Annealed,
    /// Every domain alike: α = 0.
    Equal,
}

impl DomainSampling {
    /// The power of a domain's rows.
    fn power(self, epoch: u64, epochs: u64) -> f64 {
        match self {
            Self::Proportional => 1.0,
            Self::SquareRoot => 0.5,
            Self::Annealed => 1.0 - 0.8 * (epoch as f64 / (epochs.max(2) - 1) as f64).min(1.0),
            Self::Equal => 0.0,
        }
    }

    /// How many of `rows` rows come from each domain of so many rows, by largest remainders; a domain that has rows gets at least one.
    fn shares(self, sizes: &[usize], rows: usize, (epoch, epochs): (u64, u64)) -> Vec<usize> {
        let power = self.power(epoch, epochs);
        let weights: Vec<f64> = sizes.iter().map(|&n| if n == 0 { 0.0 } else { (n as f64).powf(power) }).collect();
        let total: f64 = weights.iter().sum();
        let exact: Vec<f64> = weights.iter().map(|w| w / total * rows as f64).collect();
        let least = |(&n, x): (&usize, &f64)| if n == 0 { 0 } else { (x.floor() as usize).max(1) };
        let mut counts: Vec<usize> = sizes.iter().zip(&exact).map(least).collect();
        let mut order: Vec<usize> = (0..sizes.len()).filter(|&i| sizes[i] > 0).collect();
        order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
        let missing = rows.saturating_sub(counts.iter().sum());
        order.into_iter().take(missing).for_each(|i| counts[i] += 1);
        counts
    }
}

/// The rule of a run and how long the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The rule.
    pub rule: DomainSampling,
    /// Epochs of the run.
    pub epochs: u64,
    /// Where it ends after so many steps at the latest.
    pub steps: Option<u64>,
}

impl Sampling {
    /// That of a training.
    #[must_use]
    pub fn of(config: &TrainConfig) -> Self {
        Self { rule: config.domain_sampling, epochs: config.epochs, steps: config.steps }
    }

    /// Refuses a rule where no single rows are drawn.
    ///
    /// # Errors
    /// [`TrainError::Config`] for a rule other than the log's shares, with an objective of pairs, or needs of tasks or of rows beside others.
    pub fn check(self, objective: Objective, needs: Needs) -> Result<(), TrainError> {
        let is_single = objective != Objective::Bpr && !needs.groups.are_tasks() && needs.source != SourceRows::Beside;
        if self.rule == DomainSampling::Proportional || is_single {
            return Ok(());
        }
        Err(TrainError::Config {
            key: "domain_sampling",
            problem: "draws single rows, not pairs (`bpr`), tasks of users, or rows of the base's domains beside others; leave it out"
                .into(),
        })
    }

    /// Epochs that the run has, of so many steps each.
    fn epochs(self, steps: usize) -> u64 {
        self.steps.map_or(self.epochs, |most| self.epochs.min(most.div_ceil(steps.max(1) as u64)))
    }
}

/// Rows of a log, drawn anew each epoch: of each domain as many as its share says, every row equally often but for one.
pub struct SampledFeed<'a> {
    dataset: &'a Dataset,
    rows: Vec<u32>,
    /// Those of each domain.
    domains: Vec<Vec<u32>>,
    rule: DomainSampling,
    epochs: u64,
    batch: usize,
    seed: u64,
    needs: Needs,
    drawn: EpochCache<RowFeed<'a>>,
}

impl<'a> SampledFeed<'a> {
    /// Batches of `batch` rows; groups as in [`RowFeed::new`].
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without rows, [`TrainError::Config`] for a batch of 0.
    pub fn new(dataset: &'a Dataset, rows: &[u32], sampling: Sampling, batch: usize, seed: u64, needs: Needs) -> Result<Self, TrainError> {
        // Says what is wrong with the arguments, too.
        let epochs = sampling.epochs(RowFeed::new(dataset, rows, batch, seed, needs)?.steps(0));
        let mut domains = vec![Vec::new(); dataset.domains.len()];
        rows.iter().for_each(|&row| domains[dataset.log.domain[row as usize].at()].push(row));
        Ok(Self { dataset, rows: rows.to_vec(), domains, rule: sampling.rule, epochs, batch, seed, needs, drawn: EpochCache::default() })
    }

    fn draw(&self, epoch: u64) -> RowFeed<'a> {
        let sizes: Vec<usize> = self.domains.iter().map(Vec::len).collect();
        let counts = self.rule.shares(&sizes, self.rows.len(), (epoch, self.epochs));
        let seed = RandomStream::seed_for(self.seed, "domains");
        let mut drawn = Vec::with_capacity(self.rows.len());
        for (domain, (rows, count)) in self.domains.iter().zip(counts).enumerate().filter(|(_, (rows, _))| !rows.is_empty()) {
            let whole = count / rows.len();
            (0..whole).for_each(|_| drawn.extend_from_slice(rows));
            let mut rest = rows.clone();
            RandomStream::new(seed, epoch, domain as u64).shuffle(&mut rest);
            drawn.extend_from_slice(&rest[..count - whole * rows.len()]);
        }
        RowFeed::new(self.dataset, &drawn, self.batch, self.seed, self.needs).expect("arguments that were checked")
    }

    fn of_epoch<R>(&self, epoch: u64, read: impl FnOnce(&RowFeed<'a>) -> R) -> R {
        self.drawn.with(epoch, || self.draw(epoch), read)
    }
}

impl Feed for SampledFeed<'_> {
    fn steps(&self, epoch: u64) -> usize {
        self.of_epoch(epoch, |feed| feed.steps(epoch))
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        self.of_epoch(epoch, |feed| feed.batch(epoch, step))
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    /// As the log has them: what is solved for, and what is judged, counts every row once.
    fn redrawn(&self, half: Option<Half>, batch: usize) -> Result<Option<Box<dyn Feed + '_>>, TrainError> {
        let rows = half_of_rows(self.dataset, &self.rows, half);
        Ok(Some(Box::new(RowFeed::new(self.dataset, &rows, batch, self.seed, self.needs)?)))
    }

    fn window(&self) -> Option<[i64; 2]> {
        window(self.dataset, self.rows.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_go_from_those_of_the_log_to_nearly_equal_ones() {
        let sizes = [1000, 100, 0, 10];
        let of = |rule: DomainSampling, epoch| rule.shares(&sizes, 1110, (epoch, 5));
        assert_eq!(of(DomainSampling::Proportional, 0), sizes);
        assert_eq!(of(DomainSampling::Annealed, 0), sizes);
        assert_eq!(of(DomainSampling::Equal, 3), [370, 370, 0, 370]);
        // 1000^0.2 : 100^0.2 : 10^0.2 = 3.981 : 2.512 : 1.585.
        assert_eq!(of(DomainSampling::Annealed, 4), [547, 345, 0, 218]);
        // 31.62 : 10 : 3.162.
        assert_eq!(of(DomainSampling::SquareRoot, 4), [784, 248, 0, 78]);
        for rule in [DomainSampling::SquareRoot, DomainSampling::Annealed, DomainSampling::Equal] {
            assert_eq!((0..5).map(|e| of(rule, e).iter().sum::<usize>()).collect::<Vec<_>>(), [1110; 5]);
        }
        assert_eq!(DomainSampling::Annealed.shares(&[5, 3], 8, (0, 1)), [5, 3]);
        // A run that ends after 21 steps of 10 an epoch has three epochs, whatever it was allowed.
        let run = |steps| Sampling { rule: DomainSampling::Annealed, epochs: 100, steps }.epochs(10);
        assert_eq!([run(None), run(Some(21)), run(Some(5000))], [100, 3, 100]);
    }
}
