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
use acclimate_eval::{Cost, Entrant, EvaluationQueries, EvaluationRows, Kind, LabelRange, Metric, Outcome, Panel, Place, Statistic};
use serde::{Deserialize, Serialize};

use self::fits::{Fits, MethodConfig};
use self::questions::{Direction, Question};
use super::Scenario;
use crate::lab::Finished;
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
    pub held_out: Option<HeldOut>,
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

/// Rows that are held out by an attribute of theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// Name of the attribute of rows.
    pub attribute: String,
    /// Its values, as they are written in the log.
    pub values: Vec<String>,
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
            if !entry.train.is_empty() || !entry.train_by_size.is_empty() || entry.base.is_some() {
                let said = "is fitted without a network; `train`, `train_by_size` and `base` say nothing here: remove them, or give keys in `config`";
                return Err(experiment.problem(format!("method `{}`", entry.label()), said));
            }
        }
        let known: Vec<&str> = fits::FLOORS.into_iter().map(|floor| floor.name()).collect();
        if let Some(name) = experiment.floors.unknown(&known) {
            return Err(experiment.problem("[floors] only", format!("names no floor `{name}` of this scenario; there are {}", known.join(", "))));
        }
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
        let metrics = Wanted::new(lab, self.negatives.count, range)?;
        let directions = self.directions().into_iter().map(|names| Direction::new(lab, source, self, names)).collect::<Result<Vec<_>, _>>()?;
        let mut said = Vec::new();
        for direction in &directions {
            said.push(self.entrants(lab, direction, &metrics)?);
        }
        metrics.outcomes(lab, source, &directions, said)
    }
}

/// What one entrant said in each setting of a direction, one run a seed.
struct Said {
    name: String,
    kind: Kind,
    runs: Vec<Finished>,
}

impl Bridge {
    /// Every floor, the factorisation and every method in one direction.
    fn entrants(&self, lab: &Lab<'_>, direction: &Direction, metrics: &Wanted) -> Result<Vec<Said>, ExperimentError> {
        let fits = Fits::new(lab, self, direction, metrics);
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

/// What is measured: ratings, or ranks among all items and among some.
pub(super) struct Wanted {
    pub(super) range: Option<LabelRange>,
    /// Metrics of ratings, or of full rankings and of sampled ones.
    metrics: [Vec<Metric>; 2],
    /// What settings are chosen by.
    pub(super) select: Metric,
    count: usize,
}

impl Wanted {
    fn new(lab: &Lab<'_>, count: usize, range: Option<LabelRange>) -> Result<Self, ExperimentError> {
        let default = if range.is_some() { "rmse" } else { "mrr[full]" };
        let select = lab.experiment.select.clone().unwrap_or_else(|| default.parse().expect("a metric's own name"));
        let place = |metric: &Metric| match (range, crate::sequences::is_sampled(metric, count)) {
            (Some(_), _) if matches!(metric, Metric::Mae { .. } | Metric::Rmse { .. }) => Some(0),
            (None, Some(sampled)) => Some(usize::from(sampled)),
            _ => None,
        };
        let mut metrics = [Vec::new(), Vec::new()];
        for metric in lab.experiment.metrics.iter().chain([&select]) {
            if place(metric).is_none() {
                let these = if range.is_some() { "mae and rmse".to_owned() } else { format!("metrics of ranks among [full] or [sampled={count}], such as `mrr[full]`") };
                return Err(lab.experiment.problem("metrics", format!("`{metric}` can not be measured here, but {these} can")));
            }
        }
        if place(&select) == Some(1) {
            return Err(lab.experiment.problem("select", format!("`{select}` ranks among a sample; choose by a full ranking, such as `mrr[full]`")));
        }
        for metric in &lab.experiment.metrics {
            metrics[place(metric).expect("checked above")].push(metric.clone());
        }
        Ok(Self { range, metrics, select, count })
    }

    /// The metric that settings are chosen by, higher is better, of what was said about questions.
    fn judge(&self, lab: &Lab<'_>, questions: &[&Question], values: &[f32]) -> Result<f64, ExperimentError> {
        let users: Vec<u32> = questions.iter().flat_map(|q| q.asked.iter().map(|_| q.user)).collect();
        let statistic = if let Some(range) = self.range {
            let labels: Vec<f32> = questions.iter().flat_map(|q| q.labels.iter().copied()).collect();
            Statistic::of_rows(&self.select, &EvaluationRows::new(&users, &labels)?.with_label_range(range), "validation", values)?
        } else {
            Statistic::of_ranks(&self.select, &EvaluationQueries::new(&users)?, "validation", values)?
        };
        let value = statistic.value().ok_or_else(|| lab.experiment.problem("select", format!("`{}` is undefined on validation people", self.select)))?;
        Ok(-self.select.goal().badness(value))
    }

    fn outcomes(&self, lab: &Lab<'_>, source: &Source, directions: &[Direction], said: Vec<Vec<Said>>) -> Result<Vec<Outcome>, ExperimentError> {
        let mut outcomes = Vec::new();
        let kinds: &[&str] = if self.range.is_some() { &["rating"] } else { &["full", "sampled"] };
        for (kind, metrics) in kinds.iter().zip(&self.metrics).filter(|(_, metrics)| !metrics.is_empty()) {
            for (direction, said) in directions.iter().zip(&said) {
                for setting in direction.settings() {
                    let parts = [(direction, &said[..])];
                    outcomes.push(self.outcome(lab, source, (&format!("{}{}", direction.name, setting.suffix), &setting.suffix, kind), &parts, metrics)?);
                }
            }
            if directions.len() > 1 {
                let parts: Vec<(&Direction, &[Said])> = directions.iter().zip(said.iter().map(Vec::as_slice)).collect();
                outcomes.push(self.outcome(lab, source, ("both", "", kind), &parts, metrics)?);
            }
        }
        if let Some(first) = outcomes.first_mut() {
            first.notes.extend(directions.iter().flat_map(|direction| direction.notes.iter().cloned()));
        }
        Ok(outcomes)
    }

    /// One table: a setting of one direction, or of all, whose people count apart.
    fn outcome(
        &self,
        lab: &Lab<'_>,
        source: &Source,
        (name, suffix, kind): (&str, &str, &str),
        parts: &[(&Direction, &[Said])],
        metrics: &[Metric],
    ) -> Result<Outcome, ExperimentError> {
        let (mut users, mut labels, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (at, (direction, _)) in parts.iter().enumerate() {
            let setting = direction.settings().into_iter().find(|s| s.suffix == suffix).expect("a setting of every direction");
            let mut rows = Vec::new();
            for question in direction.asked(lab.measure, &setting) {
                // Sampled metrics leave out people with too few candidates.
                let counts = kind != "sampled" || question.sampled.len() == self.count;
                rows.extend(question.asked.iter().map(|_| counts));
                if counts {
                    users.extend(question.asked.iter().map(|_| question.user * parts.len() as u32 + at as u32));
                    labels.extend(question.labels.iter().copied());
                }
            }
            kept.push(rows);
        }
        if users.is_empty() {
            let problem = format!("`count` = {} is more than any person of {name} has; ask for fewer here and in [sampled=N]", self.count);
            return Err(lab.experiment.problem("[scenario] negatives", problem));
        }
        let mut panel = Panel::new(
            Place { dataset: source.dataset.name.clone(), scenario: "bridge".into(), setting: name.into() },
            lab.experiment.bootstrap,
        );
        let references: Vec<&str> = [MF].into_iter().chain(lab.experiment.references.iter().map(String::as_str)).collect();
        panel = panel.with_references(&references);
        for at in 0..parts[0].1.len() {
            let first = &parts[0].1[at];
            let run = |seed: usize| -> Vec<f32> {
                let of_part = |((direction, said), kept): (&(&Direction, &[Said]), &Vec<bool>)| {
                    let wanted = format!("{}{suffix}|{kind}", direction.name);
                    let finished = &said[at].runs[seed];
                    let values = finished.predictions.iter().find(|p| p.setting == wanted).map_or(&[][..], |p| &p.values);
                    values.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect::<Vec<f32>>()
                };
                parts.iter().zip(&kept).flat_map(of_part).collect()
            };
            let settings = || -> Vec<_> { parts.iter().flat_map(|(direction, said)| fits::told(direction, parts.len(), &said[at].runs[0].settings)).collect() };
            let entrant = if first.kind == Kind::Floor {
                Entrant::deterministic(&first.name, first.kind, run(0)).with_settings(vec![settings()])
            } else {
                let runs = lab.seeds.iter().enumerate().map(|(at, &seed)| (seed, run(at))).collect();
                let costs: Vec<Cost> = parts.iter().flat_map(|(_, said)| said[at].runs.iter().map(|run| run.cost)).collect();
                let entrant = Entrant::trained(&first.name, first.kind, runs, fits::mean(&costs));
                if first.name == MF { entrant } else { entrant.on(MF) }
            };
            panel = panel.enter(entrant);
        }
        Ok(if let Some(range) = self.range {
            panel.on_rows(&EvaluationRows::new(&users, &labels)?.with_label_range(range), metrics)?
        } else {
            panel.on_ranks(&EvaluationQueries::new(&users)?, metrics)?
        })
    }
}
