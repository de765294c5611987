//! The rate of each item in each domain, backed off to the item, the domain and the whole.

use std::collections::HashMap;

use acclimate_data::{DomainIndex, ItemIndex, LabelKind};
use serde::{Deserialize, Serialize};

use super::validation::Judge;
use super::{Choice, Chosen, FittedPointwise, FloorError, Grid, Labelled, PointwiseFloor, Unlabelled};

/// Settings of [`SmoothedItemRate`]; where a list holds more than one value, validation chooses the pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothedItemRateConfig {
    /// Rows at the overall rate that are added to each item. Raising it trusts rare items less. Default: chosen from 1 to 200.
    pub item_shrink: Grid,
    /// Rows at the backed-off rate that are added to each pair of item and domain. Raising it trusts the item's rate in other domains more. Default: chosen from 5 to 2,000.
    pub pair_shrink: Grid,
}

impl Default for SmoothedItemRateConfig {
    fn default() -> Self {
        Self {
            item_shrink: [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0].into(),
            pair_shrink: [5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0].into(),
        }
    }
}

/// Smoothed mean label of an item in a domain.
///
/// With `p` the mean label, `p_d` the mean of domain d, `a` = `item_shrink` and `b` = `pair_shrink`:
///
/// - lift of an item: `l_i = (sum_i(y) + a p) / (sum_i(p_d) + a p)`, what it got over what the domains of its rows would give;
/// - `rate(i, d) = (sum_id(y) + b p_d l_i) / (n_id + b)`, the prior capped at 1 for clicks.
///
/// So an item unseen in a domain gets the domain's rate times its lift elsewhere, and an unseen item the domain's rate.
/// The lift, not the plain item rate, keeps an item that was only shown where nobody clicks from looking bad everywhere.
/// Validation chooses by log loss for clicks, by squared error otherwise.
#[derive(Clone, Debug, Default)]
pub struct SmoothedItemRate {
    /// Settings.
    pub config: SmoothedItemRateConfig,
}

const NAME: &str = "smoothed_item_rate";

/// Rows, sum of labels and sum of expected labels.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rows: f64,
    sum: f64,
    expected: f64,
}

struct Counts {
    mean: f64,
    domains: Vec<f64>,
    items: Vec<Count>,
    pairs: HashMap<(ItemIndex, DomainIndex), Count>,
    /// Largest rate of a back-off.
    cap: f64,
}

struct Fitted {
    counts: Counts,
    item_shrink: f64,
    pair_shrink: f64,
    config: SmoothedItemRateConfig,
}

/// What is counted for one row: all that its rate follows from, whatever the shrinkages.
#[derive(Clone, Copy)]
struct Found {
    base: f64,
    item: Count,
    pair: Count,
}

impl Counts {
    fn new(train: Labelled<'_>) -> Result<Self, FloorError> {
        let mean = train.mean(NAME)?;
        let rows = train.rows();
        let [_, items, domains] = rows.counts();
        let mut per_domain = vec![Count::default(); domains];
        for i in 0..train.len() {
            let domain = &mut per_domain[rows.domain(i).at()];
            domain.rows += 1.0;
            domain.sum += train.label(i);
        }
        let domains: Vec<f64> = per_domain.iter().map(|d| if d.rows > 0.0 { d.sum / d.rows } else { mean }).collect();
        let cap = if rows.label_kind() == LabelKind::Click { 1.0 } else { f64::INFINITY };
        let mut counts = Self { mean, domains, items: vec![Count::default(); items], pairs: HashMap::new(), cap };
        for i in 0..train.len() {
            let (item, domain) = (rows.item(i), rows.domain(i));
            for count in [&mut counts.items[item.at()], counts.pairs.entry((item, domain)).or_default()] {
                count.rows += 1.0;
                count.sum += train.label(i);
                count.expected += counts.domains[domain.at()];
            }
        }
        Ok(counts)
    }

    fn of(&self, item: ItemIndex, domain: DomainIndex) -> Found {
        Found {
            base: self.domains.get(domain.at()).copied().unwrap_or(self.mean),
            item: self.items.get(item.at()).copied().unwrap_or_default(),
            pair: self.pairs.get(&(item, domain)).copied().unwrap_or_default(),
        }
    }

    fn rate(&self, Found { base, item, pair }: Found, item_shrink: f64, pair_shrink: f64) -> f64 {
        let prior_sum = item_shrink * self.mean;
        let expected = item.expected + prior_sum;
        // Without a single positive there is no scale to lift.
        let lift = if expected == 0.0 { 1.0 } else { (item.sum + prior_sum) / expected };
        let prior = (base * lift).min(self.cap);
        (pair.sum + pair_shrink * prior) / (pair.rows + pair_shrink)
    }
}

impl PointwiseFloor for SmoothedItemRate {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self) -> Result<(), FloorError> {
        let SmoothedItemRateConfig { item_shrink, pair_shrink } = &self.config;
        item_shrink.check(NAME, "item_shrink", f64::MIN_POSITIVE, "a number of rows above 0")?;
        pair_shrink.check(NAME, "pair_shrink", f64::MIN_POSITIVE, "a number of rows above 0")
    }

    fn fit(&self, train: Labelled<'_>, choice: Choice<'_>) -> Result<Box<dyn FittedPointwise>, FloorError> {
        self.check()?;
        let SmoothedItemRateConfig { item_shrink, pair_shrink } = &self.config;
        let pairs: Vec<(f64, f64)> = item_shrink.values().iter().flat_map(|&a| pair_shrink.values().iter().map(move |&b| (a, b))).collect();
        choice.check(NAME, "item_shrink, pair_shrink", pairs.len())?;
        let counts = Counts::new(train)?;
        let rows = choice.rows.rows();
        let found: Vec<Found> = (0..rows.len()).map(|i| counts.of(rows.item(i), rows.domain(i))).collect();
        let best = Judge::new(choice.rows).best(&pairs, |(a, b), predictions| {
            found.iter().zip(predictions).for_each(|(&found, p)| *p = counts.rate(found, a, b) as f32);
        });
        let (item_shrink, pair_shrink) = best.expect("at least one pair, checked above");
        Ok(Box::new(Fitted { counts, item_shrink, pair_shrink, config: self.config.clone() }))
    }
}

impl FittedPointwise for Fitted {
    fn score(&self, _support: Labelled<'_>, query: Unlabelled<'_>) -> Vec<f32> {
        let rate = |i| self.counts.rate(self.counts.of(query.item(i), query.domain(i)), self.item_shrink, self.pair_shrink);
        (0..query.len()).map(|i| rate(i) as f32).collect()
    }

    fn parameters(&self) -> usize {
        1 + self.counts.domains.len() + self.counts.items.len() + self.counts.pairs.len()
    }

    fn chosen(&self) -> Vec<Chosen> {
        let SmoothedItemRateConfig { item_shrink, pair_shrink } = &self.config;
        vec![item_shrink.chosen("item_shrink", self.item_shrink, |_| false), pair_shrink.chosen("pair_shrink", self.pair_shrink, |_| false)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::fixture::clicks;

    fn with_shrink(item: impl Into<Grid>, pair: impl Into<Grid>) -> SmoothedItemRate {
        SmoothedItemRate { config: SmoothedItemRateConfig { item_shrink: item.into(), pair_shrink: pair.into() } }
    }

    #[test]
    fn backs_off_to_item_then_domain() {
        // p = 1/2, p_0 = 3/4, p_1 = 1/4. Item 0 has 2 clicks in domain 0 (expected 3/2), item 3 nothing anywhere.
        let data = clicks(&[
            (0, 0, 0, 1.0),
            (1, 0, 0, 1.0),
            (0, 1, 0, 1.0),
            (1, 1, 0, 0.0),
            (0, 1, 1, 0.0),
            (1, 2, 1, 0.0),
            (0, 2, 1, 1.0),
            (1, 1, 1, 0.0),
            (0, 0, 1, 0.0),
            (0, 3, 1, 0.0),
            (0, 0, 0, 0.0),
        ]);
        let none = Labelled::none(&data);
        let train: Vec<u32> = (0..8).collect();
        let fitted = with_shrink(2.0, 4.0).fit(Labelled::new(&data, &train).unwrap(), Choice::none(&data)).unwrap();
        let scores = fitted.score(none, Unlabelled::new(&data, &[8, 9, 10]).unwrap());
        let lift = (2.0 + 2.0 * 0.5) / (1.5 + 2.0 * 0.5);
        let expected = [0.25 * lift, 0.25, (2.0 + 4.0 * 0.75 * lift) / (2.0 + 4.0)];
        for (score, expected) in scores.iter().zip(expected) {
            assert!((f64::from(*score) - expected).abs() < 1e-7, "{score} against {expected}");
        }
    }

    #[test]
    fn validation_chooses_and_must_be_there() {
        let rows: Vec<_> = (0..40).map(|i| (i % 5, i % 2, 0, f32::from(u8::from(i % 2 == 0)))).collect();
        let data = clicks(&rows);
        let (train, validation): (Vec<u32>, Vec<u32>) = (0..40).partition(|r| r % 10 < 6);
        let floor = with_shrink([500.0, 1.0], [500.0, 1.0]);
        let train = Labelled::new(&data, &train).unwrap();
        let fitted = floor.fit(train, Choice { rows: Labelled::new(&data, &validation).unwrap(), ..Choice::none(&data) }).unwrap();
        let chosen = fitted.chosen();
        assert_eq!(
            [(&chosen[0].setting[..], chosen[0].value), (&chosen[1].setting, chosen[1].value)],
            [("item_shrink", 1.0), ("pair_shrink", 1.0)]
        );
        assert!(matches!(floor.fit(train, Choice::none(&data)), Err(FloorError::NoValidation { candidates: 4, .. })));
    }

    #[test]
    fn no_click_at_all_gives_rate_zero() {
        let data = clicks(&[(0, 0, 0, 0.0), (0, 1, 0, 0.0)]);
        let rows = Labelled::new(&data, &[0, 1]).unwrap();
        assert_eq!(with_shrink(5.0, 5.0).fit(rows, Choice::none(&data)).unwrap().score(rows, rows.rows()), [0.0, 0.0]);
    }
}
