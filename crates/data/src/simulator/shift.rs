//! What is otherwise in the stream from a moment on, with a known answer.

use serde::{Deserialize, Serialize};

use super::parts::Draft;
use super::world::World;
use crate::RandomStream;

/// A change of the world at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shift {
    /// What changes.
    pub kind: ShiftKind,
    /// By how much, in logits; of `covariate`: how strongly inputs are drawn to one side.
    pub size: f64,
    /// From which share of time on; default 0.8, where the test rows of the sources begin.
    #[serde(default = "of_the_test")]
    pub from: f64,
}

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftKind {
    /// The share of clicks: clicks become more frequent by `size` in logits, and what is seen of each class stays as it was. The best answer is an offset of `size`.
    Prior,
    /// What is seen: items of one character come more often. Every row has the probability that it had, and the best answer is none.
    Covariate,
    /// What it means: every row is clicked more by `size` in logits, and what is seen stays as it was. The best answer is an offset of `size`, and without labels nobody can know.
    Concept,
}

fn of_the_test() -> f64 {
    0.8
}

impl Shift {
    /// The row as it happens after the change; `None` if it does not.
    ///
    /// With the prior a row is kept as often as its label is: of clicks all and of others a share `exp(-size)`, or the other way round for a negative size. A row that is kept is a click with
    /// `σ(utility + size)`, by Bayes' rule.
    pub(super) fn applied(self, world: &World, draft: Draft, stream: &mut RandomStream) -> Option<Draft> {
        if draft.time < self.from {
            return Some(draft);
        }
        let shifted = Draft { shift: self.size, ..draft.clone() };
        match self.kind {
            ShiftKind::Concept => Some(shifted),
            ShiftKind::Prior => {
                let p = world.probability(&draft, draft.domain);
                let [click, other] = if self.size > 0.0 { [1.0, (-self.size).exp()] } else { [self.size.exp(), 1.0] };
                (stream.unit() < p * click + (1.0 - p) * other).then_some(shifted)
            }
            ShiftKind::Covariate => {
                let side = world.items[draft.item].character[0];
                (stream.unit() < 1.0 / (1.0 + (-self.size * side).exp())).then_some(draft)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatorConfig;

    fn simulated(kind: Option<ShiftKind>, size: f64) -> crate::Simulation {
        let shift = kind.map(|kind| Shift { kind, size, from: 0.8 });
        let config = SimulatorConfig {
            shift,
            domains: 2,
            target_share: 0.0,
            rows: 120_000,
            users: 6000,
            items: 800,
            cold_users: 30,
            ..SimulatorConfig::default()
        };
        config.simulate(3).unwrap()
    }

    /// Mean click, mean of the true probability, and mean of an item's first number, over test rows.
    fn told(simulation: &crate::Simulation) -> [f64; 3] {
        let rows = simulation.split.rows("test").unwrap();
        let dataset = &simulation.dataset;
        let number = dataset.features.numeric.iter().find(|n| n.name == "item_trait_0").unwrap();
        let mean = |of: &dyn Fn(usize) -> f32| rows.iter().map(|&r| f64::from(of(r as usize))).sum::<f64>() / rows.len() as f64;
        [mean(&|r| dataset.log.label[r]), mean(&|r| simulation.probability[r]), mean(&|r| number.values[dataset.log.item[r].at()])]
    }

    #[test]
    fn each_kind_changes_what_it_says_and_the_truth_is_kept() {
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let [clicks, truth, trait_0] = told(&simulated(None, 0.0));
        assert!((clicks - truth).abs() < 0.01);
        for kind in [ShiftKind::Prior, ShiftKind::Covariate, ShiftKind::Concept] {
            let [shifted, known, number] = told(&simulated(Some(kind), 0.8));
            assert!((shifted - known).abs() < 0.01, "{kind:?}: the truth is that of the labels");
            match kind {
                // The prior moves by the whole size, a concept by less: its odds are moved row by row.
                ShiftKind::Prior => assert!((logit(shifted) - logit(clicks) - 0.8).abs() < 0.08, "{}", logit(shifted) - logit(clicks)),
                ShiftKind::Concept => {
                    assert!(logit(shifted) - logit(clicks) > 0.4);
                    assert!((number - trait_0).abs() < 0.03, "inputs stay: {number} {trait_0}");
                }
                ShiftKind::Covariate => assert!(number - trait_0 > 0.2, "inputs move: {number} {trait_0}"),
            }
        }
    }

    #[test]
    fn before_its_moment_nothing_changes() {
        let [plain, shifted] = [None, Some(ShiftKind::Concept)].map(|kind| simulated(kind, 0.8));
        let train = |s: &crate::Simulation| s.split.rows("train").unwrap().iter().map(|&r| s.probability[r as usize]).collect::<Vec<_>>();
        assert_eq!(train(&plain), train(&shifted));
    }
}
