//! `bridge`: people who are new to a domain and known in another.
//!
//! Shared people, those with rows in both domains, teach what one domain says of the other; some of them are held out, all their target rows hidden. Each direction
//! is a setting, `game->video`. Clicks are ranked among all items of the target, ratings predicted. With `reveal`, the first target rows of the held-out people are
//! shown: `game->video,k=3` asks for the rows that no size shows. `both` are the people of all directions.
//!
//! Methods here are fits without a network ([`acclimate_fit::bridge`]); they stand on factorisations of the domains and have no base to patch, so that the
//! experiment has no `[base]`.

mod fits;
mod questions;

use acclimate_data::LabelKind;
use acclimate_eval::{Kind, LabelRange, Outcome};
use serde::{Deserialize, Serialize};

use self::fits::{Fits, MethodConfig};
use super::Scenario;
use super::newcomers::{Bench, Newcomers, RowsWith, Said, Wanted, no_entrants, only_floors, without_networks};
use crate::{Experiment, ExperimentError, Lab, Source};

/// The control that methods are compared with: one factorisation of both domains, into which a newcomer is folded.
const MF: &str = "mf";

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// The two domains, each bridged to from the other; with `source` and `target`, only one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<[String; 2]>,
    /// Domain that people are known in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Domain that they are new in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Rows that nothing is learned from, where the log itself holds people out: whoever has such rows in the target is new there. Default: validation and test users of the split
    /// with rows in both domains are new, in either direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<RowsWith>,
    /// Numbers of target rows that are shown before the rest is asked for; default none. They come in the order of `H(order; user, item)`.
    #[serde(default)]
    pub reveal: Vec<usize>,
    /// First argument of the hash that orders a person's target rows; default 3.
    #[serde(default = "three")]
    pub order: u64,
    /// The fixed candidates of sampled metrics: those with the smallest `H(salt; user, item)`.
    #[serde(default)]
    pub negatives: SampledItems,
    /// How domains are factorised.
    #[serde(default)]
    pub factors: FactorKeys,
}

fn three() -> u64 {
    3
}

/// How many candidates sampled metrics have, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampledItems {
    /// How many, default 999.
    pub count: usize,
    /// First argument of the hash, default 2.
    pub salt: u64,
}

impl Default for SampledItems {
    fn default() -> Self {
        Self { count: 999, salt: 2 }
    }
}

/// How domains are factorised; lists are chosen from on validation people, by the factorisation of both domains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactorKeys {
    /// Numbers in a vector; default 64 for clicks, 16 for ratings.
    pub size: Option<usize>,
    /// Passes of alternating least squares, default 12.
    pub sweeps: usize,
    /// Penalties; default 0.003 and 0.01 for clicks, 0.03, 0.1 and 0.3 for ratings.
    pub ridge: Vec<f64>,
    /// Weights of what was not observed, clicks only; default 0.03 and 0.1.
    pub unobserved: Vec<f64>,
}

impl Default for FactorKeys {
    fn default() -> Self {
        Self { size: None, sweeps: 12, ridge: Vec::new(), unobserved: Vec::new() }
    }
}

impl Bridge {
    /// Pairs of source and target.
    fn directions(&self) -> Vec<[&str; 2]> {
        match (&self.domains, &self.source, &self.target) {
            (Some([a, b]), _, _) => vec![[a, b], [b, a]],
            (None, Some(source), Some(target)) => vec![[source, target]],
            _ => Vec::new(),
        }
    }
}

/// Names of the floors, which no entry may take.
pub(crate) fn floor_names() -> impl Iterator<Item = &'static str> {
    fits::FLOORS.into_iter().map(|floor| floor.name()).chain([MF])
}

impl Scenario for Bridge {
    fn needs_base(&self) -> bool {
        false
    }

    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        let problem = |key: &str, problem: &str| Err(experiment.problem(format!("[scenario] {key}"), problem));
        if self.domains.is_some() && (self.source.is_some() || self.target.is_some()) {
            return problem("domains", "names both ways; `source` and `target` name one. Give either");
        }
        let Some([source, target]) = self.directions().first().copied() else {
            return problem("domains", "is missing; name the two domains, or `source` and `target` for one way only");
        };
        if source == target {
            return problem("domains", "must be two different ones");
        }
        if self.reveal.contains(&0) || !self.reveal.is_sorted_by(|a, b| a < b) {
            return problem("reveal", "must be ascending numbers of rows, such as [1, 3, 5]; 0 is always measured");
        }
        let FactorKeys { size, sweeps, ridge, unobserved } = &self.factors;
        if size.is_some_and(|size| !(2..=512).contains(&size)) || *sweeps == 0 {
            return problem("factors", "needs a `size` from 2 to 512 and `sweeps` of at least 1");
        }
        if ridge.iter().any(|r| !r.is_finite() || *r <= 0.0) || unobserved.iter().any(|a| !(*a > 0.0 && *a < 1.0)) {
            return problem("factors", "needs penalties above 0, and weights `unobserved` above 0 and below 1");
        }
        if self.held_out.as_ref().is_some_and(|held| held.values.is_empty()) {
            return problem("held_out", "needs the `values` of the attribute that hold a row out");
        }
        for entry in &experiment.methods {
            MethodConfig::of(entry).map_err(|error| experiment.problem(entry.entry(), error))?;
            without_networks(experiment, entry)?;
        }
        no_entrants(experiment)?;
        only_floors(experiment, &fits::FLOORS.map(fits::Floor::name))?;
        Ok(())
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        let range = match source.dataset.label {
            LabelKind::Rating { min, max } => Some(LabelRange { low: min.into(), high: max.into() }),
            LabelKind::Implicit => None,
            LabelKind::Click => {
                let problem = "crosses domains by ratings or by positives; a log of clicks and misses needs a [split] and scenario of rows, or `label = { kind = \"implicit\" }` on its positives alone";
                return Err(lab.experiment.problem("[scenario]", problem));
            }
        };
        let metrics = Wanted::new(lab, self.negatives.count, range, ("bridge", Some(MF)))?;
        let directions = self.directions().into_iter().map(|names| questions::newcomers(lab, source, self, names)).collect::<Result<Vec<_>, _>>()?;
        let mut said = Vec::new();
        for direction in &directions {
            said.push(self.entrants(lab, direction, &metrics)?);
        }
        metrics.outcomes(lab, source, &directions, said)
    }
}

impl Bridge {
    /// Every floor, the factorisation and every method in one direction.
    fn entrants(&self, lab: &Lab<'_>, direction: &Newcomers, metrics: &Wanted) -> Result<Vec<Said>, ExperimentError> {
        let fits = Fits::new(Bench { lab, newcomers: direction, metrics }, self);
        let mut all = Vec::new();
        let floors = fits::FLOORS.into_iter().filter(|floor| floor.is_for(metrics.range.is_some()) && lab.experiment.floors.wants(floor.name()));
        for floor in floors {
            all.push(Said { name: floor.name().into(), kind: Kind::Floor, runs: vec![fits.floor(floor)?] });
        }
        all.push(Said { name: MF.into(), kind: Kind::Control, runs: lab.seeds.iter().map(|&seed| fits.joint(seed)).collect::<Result<_, _>>()? });
        for entry in &lab.experiment.methods {
            let config = MethodConfig::of(entry).map_err(|error| lab.experiment.problem(entry.entry(), error))?;
            let runs = lab.seeds.iter().map(|&seed| fits.method(entry.label(), &config, seed)).collect::<Result<_, _>>()?;
            all.push(Said { name: entry.label().into(), kind: Kind::Adaptation, runs });
        }
        Ok(all)
    }
}
