//! A simulator with known answers: every label is drawn from a probability that is kept beside it.
//!
//! Users and items have a latent taste that features show only in part. In domain `k` at time `t` in `[0, 1]`
//!
//! ```text
//! utility = base_k + bias_u + device + (scale_k * M_k z_u + g_k + drift * t * delta) . v_i + shift
//! P(click) = 1 / (1 + exp(-utility))
//! ```
//!
//! `z_u` is the taste of the user, `v_i` the character of the item, `M_k` the taste map of the domain (the identity with a slight rotation in source domains,
//! weights and signs of its own in the target), `g_k` what everybody likes there, shift what [`Shift`] adds from a moment on, or the surface of [`Requests`]. No model can beat these probabilities: they are the ceiling of every table.

mod features;
mod parts;
mod requests;
mod shift;
mod world;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Dataset, DomainIndex, ItemIndex, LabelKind, RandomStream, Split, TaskConfig, TaskOrder};
use features::encode;
use parts::{Draft, draw_rows};
pub use requests::Requests;
pub use shift::{Shift, ShiftKind};
use world::World;

/// What to simulate. The defaults are the demo: 60,000 rows in about 0.1 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Users, cold ones included; default 3,000.
    pub users: usize,
    /// Items, all of them in every domain; default 800.
    pub items: usize,
    /// Domains; the last one is the target. Default 4.
    pub domains: usize,
    /// Rows of the log; default 60,000.
    pub rows: usize,
    /// Users without any training row; the last third of them is for model choice. Default 450.
    pub cold_users: usize,
    /// Rows of each cold user; default 32, enough for 20 support and 10 query rows.
    pub cold_rows: usize,
    /// Share of the rows of warm users that is in the target domain; default 0.2.
    pub target_share: f64,
    /// Labelled target rows to adapt from; default 2,500. Fewer make adaptation harder.
    pub target_rows: usize,
    /// Width of the latent taste; default 8.
    pub dimension: usize,
    /// Standard deviation of the personal part of the utility, in logits; default 2. Larger raises the ceiling and what features miss.
    pub taste: f64,
    /// Share of a user's taste that the segment explains; default 0.4. Smaller leaves more for support rows to reveal.
    pub segment_share: f64,
    /// How far the target's taste is from the sources': 0 = the same, 1 (default) = some tastes reversed, others stronger.
    pub taste_shift: f64,
    /// How far what everybody likes moves from the first second to the last, in logits; default 0.4.
    pub drift: f64,
    /// What is otherwise from a moment on; default nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<Shift>,
    /// Rows that are shown together, on surfaces that no row names; default each row for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            users: 3000,
            items: 800,
            domains: 4,
            rows: 60_000,
            cold_users: 450,
            cold_rows: 32,
            target_share: 0.2,
            target_rows: 2500,
            dimension: 8,
            taste: 2.0,
            segment_share: 0.4,
            taste_shift: 1.0,
            drift: 0.4,
            shift: None,
            requests: None,
        }
    }
}

/// Why a simulation is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("simulator setting `{setting}`: {problem}")]
pub struct SimulatorError {
    /// Name of the field in the config.
    pub setting: &'static str,
    /// What is wrong and what to do.
    pub problem: &'static str,
}

/// A simulated data set and its truth.
///
/// Parts of the split:
///
/// | part | users | domains | for |
/// |---|---|---|---|
/// | `train`, `validation`, `test` | warm | sources, by time | the base |
/// | `target_train`, `target_validation`, `target_test` | warm | target, by time | adaptation to a domain |
/// | `cold_validation`, `cold_test` | cold, disjoint | sources | adaptation to a user, in [tasks](Simulation::tasks) |
#[derive(Clone, Debug)]
pub struct Simulation {
    /// Encoded rows; vocabularies and scales come from the part `train`.
    pub dataset: Dataset,
    /// Disjoint parts, see above.
    pub split: Split,
    /// True click probability of each row: the scores that no model can beat.
    pub probability: Vec<f32>,
    world: World,
    drafts: Vec<Draft>,
}

impl SimulatorConfig {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// The first setting that makes a simulation impossible.
    pub fn validate(&self) -> Result<(), SimulatorError> {
        let checks = [
            (self.domains < 2, "domains", "is below 2; a target needs at least one source"),
            (self.dimension == 0, "dimension", "is 0; use at least 1"),
            (self.cold_users >= self.users, "cold_users", "leaves no warm user; lower it or raise users"),
            (self.cold_rows > self.items / 2, "cold_rows", "is above half the items; raise items, a user sees no item twice"),
            (self.cold_users * self.cold_rows >= self.rows, "rows", "are all used up by cold users; raise rows"),
            (
                (self.rows - (self.cold_users * self.cold_rows).min(self.rows)) * 4
                    > (self.users - self.cold_users.min(self.users)) * self.items,
                "rows",
                "would fill more than a quarter of all pairs of warm users and items; raise users or items",
            ),
            (!(0.0..1.0).contains(&self.target_share), "target_share", "must be at least 0 and below 1"),
            (!(0.0..=1.0).contains(&self.segment_share), "segment_share", "must lie between 0 and 1"),
            (
                ![self.taste, self.taste_shift, self.drift].iter().all(|x| x.is_finite()),
                "taste",
                "taste, taste_shift and drift must be finite numbers",
            ),
            (
                self.shift.is_some_and(|shift| !shift.size.is_finite() || !(0.0..1.0).contains(&shift.from)),
                "shift",
                "`size` must be a finite number of logits, and `from` a share of time, at least 0 and below 1",
            ),
            (self.shift.is_some() && self.requests.is_some(), "requests", "do not go together with `shift`; remove one of the two"),
            (
                self.requests.is_some_and(|r| r.rows == 0 || !r.size.is_finite() || !r.preference.is_finite()),
                "requests",
                "need `rows` of at least 1, and finite numbers as `size` and `preference`",
            ),
        ];
        checks.into_iter().find(|check| check.0).map_or(Ok(()), |(_, setting, problem)| Err(SimulatorError { setting, problem }))
    }

    /// Draws a data set. The same config and seed give the same bytes.
    ///
    /// # Errors
    /// Settings that make it impossible.
    pub fn simulate(&self, seed: u64) -> Result<Simulation, SimulatorError> {
        self.validate()?;
        let stream = |purpose| RandomStream::new(RandomStream::seed_for(seed, purpose), 0, 0);
        let world = World::draw(self, &mut stream("world"));
        let drafts = draw_rows(self, &world, &mut stream("rows"));
        let split = parts::split(self, &drafts);
        let truth: Vec<f64> = drafts.iter().map(|d| world.probability(d, d.domain)).collect();
        let mut labels = stream("labels");
        let label = truth.iter().map(|&p| f32::from(u8::from(labels.unit() < p))).collect();
        let train = split.rows("train").expect("the simulator's split has a training part");
        let dataset = Dataset {
            name: "simulator".into(),
            label: LabelKind::Click,
            users: Arc::new((0..self.users).map(|u| format!("u{u}")).collect()),
            items: Arc::new((0..self.items).map(|i| format!("i{i}")).collect()),
            domains: (1..self.domains).map(|d| format!("source_{d}")).chain(["target".to_owned()]).collect(),
            zone: crate::Zone::UTC,
            attributes: Vec::new(),
            files: Vec::new(),
            features: encode(self, &world, &drafts, train, &mut stream("features")),
            log: Arc::new(parts::log(&drafts, label, self.requests.is_some())),
        };
        Ok(Simulation { dataset, split, probability: truth.iter().map(|&p| p as f32).collect(), world, drafts })
    }
}

impl Simulation {
    /// True click probabilities of some rows: computing a metric on them gives its ceiling.
    #[must_use]
    pub fn ceiling(&self, rows: &[u32]) -> Vec<f32> {
        rows.iter().map(|&row| self.probability[row as usize]).collect()
    }

    /// What the click probability of a row would be if the same user saw the same item in another domain: the known size of a domain shift.
    #[must_use]
    pub fn probability_in(&self, row: u32, domain: DomainIndex) -> f32 {
        self.world.probability(&self.drafts[row as usize], domain.at()) as f32
    }

    /// The domain to adapt to.
    #[must_use]
    pub fn target(&self) -> DomainIndex {
        DomainIndex(self.dataset.domains.len() as u32 - 1)
    }

    /// The character of an item that no feature shows in full, for tests of what could be learned.
    #[must_use]
    pub fn item_character(&self, item: ItemIndex) -> &[f64] {
        &self.world.items[item.at()].character
    }

    /// Tasks that fit the cold users: 10 query rows, the last in time, and support in the order of time.
    #[must_use]
    pub fn tasks() -> TaskConfig {
        TaskConfig { order: TaskOrder::Chronological, ..TaskConfig::default() }
    }
}

#[cfg(test)]
mod tests;
