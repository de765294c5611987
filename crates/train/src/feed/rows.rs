//! Labelled rows in seeded order.

use std::ops::Range;

use acclimate_adapt::{Groups, Needs};
use acclimate_data::{Batch, Dataset, EpochRows, RandomStream, RowOrder, cut_groups};

use super::{EpochCache, Feed, Feeding, Half, window};
use crate::TrainError;

/// Rows of a log, shuffled anew each epoch and cut into batches of one group. By domain or request, those with at most half a batch of rows share batches, as
/// a group each; of a longer request each batch is a set of its own.
pub struct RowFeed<'a> {
    dataset: &'a Dataset,
    orders: Vec<RowOrder>,
    /// Rows of each small part, by their number.
    small: Vec<Vec<u32>>,
    /// Which of them make a batch.
    shared: Vec<Range<usize>>,
    /// What each step reads.
    places: Vec<Place>,
    seed: u64,
    rows: Vec<u32>,
    needs: Needs,
    window: Option<[i64; 2]>,
    epoch: EpochCache<Epoch>,
}

/// What a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// An order and its batch.
    Order(usize, usize),
    /// A batch of small parts.
    Shared(usize),
}

struct Epoch {
    /// The data as this epoch knows it, where that differs.
    dataset: Option<Dataset>,
    orders: Vec<EpochRows>,
    /// The small parts of each shared batch.
    shared: Vec<Vec<usize>>,
}

impl<'a> RowFeed<'a> {
    /// Batches of `batch` rows. Each group of a batch holds rows of one domain, or of one request, where a method [needs](Needs::groups) that, in seeded alternation.
    ///
    /// # Errors
    /// [`TrainError::Nothing`] without rows, [`TrainError::Config`] for a batch of 0, and for requests where the data set knows none.
    pub fn new(dataset: &'a Dataset, rows: &[u32], batch: usize, seed: u64, needs: Needs) -> Result<Self, TrainError> {
        if rows.is_empty() {
            return Err(TrainError::Nothing { what: "row" });
        }
        if batch == 0 {
            return Err(TrainError::Config { key: "batch", problem: "must be at least 1".into() });
        }
        let places = parts(dataset, rows, needs.groups)?;
        let is_whole = places.is_none();
        let parts = places.map_or_else(
            || vec![rows.to_vec()],
            |places| places.into_iter().map(|places| places.into_iter().map(|i| rows[i]).collect()).collect::<Vec<Vec<u32>>>(),
        );
        let (mut orders, mut small) = (Vec::new(), Vec::new());
        for (part, rows) in parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            if !is_whole && rows.len() <= batch / 2 {
                small.push(rows);
            } else {
                orders.push(RowOrder::new(rows, batch, seed.wrapping_add(part as u64)));
            }
        }
        small.sort_by_key(Vec::len);
        let shared = cut_groups(&small.iter().map(Vec::len).collect::<Vec<_>>(), batch);
        let places = alternate(&orders, shared.len());
        let window = window(dataset, rows.iter().copied());
        let rows = rows.to_vec();
        Ok(Self { dataset, orders, small, shared, places, seed, rows, needs, window, epoch: EpochCache::default() })
    }

    /// For each group of a step a set that is not its own: of a small part the next one, of a batch of a long one the next one's first batch.
    fn strange_sets<'b>(&'b self, plan: &'b Epoch, place: Place, groups: &[usize]) -> Vec<&'b [u32]> {
        let first = |order: usize| plan.orders[order].batch(0).expect("an order has rows");
        match place {
            Place::Order(order, _) if plan.orders.len() > 1 => vec![first((order + 1) % plan.orders.len())],
            Place::Order(order, _) => vec![self.small.first().map_or_else(|| first(order), Vec::as_slice)],
            Place::Shared(_) => groups.iter().map(|&part| self.small[(part + 1) % self.small.len()].as_slice()).collect(),
        }
    }

    /// Small parts of equal size meet in random company, and their batches come in random order.
    fn plan(&self, epoch: u64) -> Epoch {
        let mut stream = RandomStream::new(RandomStream::seed_for(self.seed, "small domains"), epoch, 0);
        let mut parts: Vec<usize> = (0..self.small.len()).collect();
        stream.shuffle(&mut parts);
        parts.sort_by_key(|&i| self.small[i].len());
        let mut shared: Vec<_> = self.shared.iter().map(|run| parts[run.clone()].to_vec()).collect();
        stream.shuffle(&mut shared);
        // In a log without time, which rows are earlier is drawn anew each epoch; the first is as the data was read.
        let dataset = (epoch > 0).then(|| self.dataset.redrawn(epoch)).flatten();
        Epoch { dataset, orders: self.orders.iter().map(|o| o.epoch(epoch)).collect(), shared }
    }
}

impl Feed for RowFeed<'_> {
    fn steps(&self, _: u64) -> usize {
        self.places.len()
    }

    fn batch(&self, epoch: u64, step: usize) -> Feeding {
        let place = self.places[step];
        self.epoch.with(
            epoch,
            || self.plan(epoch),
            |plan| {
                let dataset = plan.dataset.as_ref().unwrap_or(self.dataset);
                let (query, groups) = match place {
                    Place::Order(order, step) => {
                        let rows = plan.orders[order].batch(step).expect("a step below `steps` has rows");
                        (Batch::single(dataset, rows), &[][..])
                    }
                    Place::Shared(i) => {
                        let groups = &plan.shared[i];
                        (Batch::gather(dataset, &groups.iter().map(|&part| &self.small[part]).collect::<Vec<_>>()), &groups[..])
                    }
                };
                let support = self.needs.strange_sets.then(|| Batch::gather(dataset, &self.strange_sets(plan, place, groups)));
                Feeding { query, support }
            },
        )
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn redrawn(&self, half: Option<Half>, batch: usize) -> Result<Option<Box<dyn Feed + '_>>, TrainError> {
        let rows = half_of_rows(self.dataset, &self.rows, half);
        Ok(Some(Box::new(Self::new(self.dataset, &rows, batch, self.seed, self.needs)?)))
    }

    fn window(&self) -> Option<[i64; 2]> {
        self.window
    }
}

/// Places of rows by their domain or request; `None` where groups are neither.
///
/// # Errors
/// [`TrainError::Config`] for requests where the data set knows none.
pub(crate) fn parts(dataset: &Dataset, rows: &[u32], groups: Groups) -> Result<Option<Vec<Vec<usize>>>, TrainError> {
    let log = &dataset.log;
    let keyed = |count: usize, key: &dyn Fn(usize) -> usize| {
        let mut places = vec![Vec::new(); count];
        rows.iter().enumerate().for_each(|(i, &row)| places[key(row as usize)].push(i));
        places
    };
    match groups {
        Groups::Domain => Ok(Some(keyed(dataset.domains.len(), &|row| log.domain[row].at()))),
        Groups::Request if log.request.is_empty() => {
            let problem = "reads the set of a row's request, and the data set does not say which rows are one request; add `request` to [interactions]: a column, or a rule such as `{ by = [\"user\", \"domain\"], gap = \"10m\" }`";
            Err(TrainError::Config { key: "method", problem: problem.into() })
        }
        Groups::Request => {
            let requests = rows.iter().map(|&row| log.request[row as usize] as usize + 1).max().unwrap_or(0);
            let mut places = keyed(requests, &|row| log.request[row] as usize);
            places.retain(|places| !places.is_empty());
            Ok(Some(places))
        }
        Groups::Any | Groups::Task | Groups::User | Groups::Item => Ok(None),
    }
}

/// One half of some rows, or all: the earlier and the later one where rows have times, for what was learned from one time must hold at another. Else by user: rows of one user are alike,
/// and what is learned from some would pass for knowledge about the others.
pub(super) fn half_of_rows(dataset: &Dataset, rows: &[u32], half: Option<Half>) -> Vec<u32> {
    let log = &dataset.log;
    let mut times: Vec<i64> = rows.iter().filter_map(|&row| log.time.get(row as usize)).copied().collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().filter(|middle| times[0] < *middle);
    let half_of = |row: u32| match middle {
        Some(middle) if log.time[row as usize] < middle => Half::First,
        Some(_) => Half::Second,
        None => Half::of(log.user[row as usize].0),
    };
    rows.iter().copied().filter(|&row| half.is_none_or(|half| half_of(row) == half)).collect()
}

/// Spreads the batches of each order, and the shared ones, evenly over the epoch: batch j of n takes the place `(j + ½) / n`.
fn alternate(orders: &[RowOrder], shared: usize) -> Vec<Place> {
    let of_orders = (0..orders.len()).flat_map(|o| (0..orders[o].steps()).map(move |j| Place::Order(o, j)));
    let mut places: Vec<_> = of_orders.chain((0..shared).map(Place::Shared)).collect();
    let at = |place: &Place| match *place {
        Place::Order(o, j) => (j as f64 + 0.5) / orders[o].steps() as f64,
        Place::Shared(j) => (j as f64 + 0.5) / shared as f64,
    };
    places.sort_by(|a, b| at(a).total_cmp(&at(b)).then(a.cmp(b)));
    places
}
