//! `new_domain`: a domain that the base has never seen, with few labelled rows to adapt from.
//!
//! For each target the base learns from all other domains; it sees the target's domain features as unknown, so let it meet the unknown in training
//! (`[base.train] hide`). With n target rows every method adapts for a fixed number of steps: no target row is spent on early stopping.

use acclimate_data::subset_by_hash;
use acclimate_eval::{Entrant, Outcome, Panel};
use serde::{Deserialize, Serialize};

use super::Scenario;
use super::entrants::panel;
use super::multi_domain::named;
use super::rows::{Stage, check_methods, filled};
use crate::floors::{FloorQuery, FloorResult, FloorRows};
use crate::lab::{Measure, evaluation_rows};
use crate::{Experiment, ExperimentError, Lab, Source};

/// Configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewDomain {
    /// The domains to adapt to, each on its own.
    pub targets: Vec<String>,
    /// Labelled target rows to adapt from: numbers, or "all". With 0 only the base and the floors are measured. Seed s takes the first n rows
    /// in the order of SHA-256 of `s:row`.
    pub sizes: Vec<Size>,
}

/// A number of target rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of rows or \"all\"")]
pub enum Size {
    /// So many.
    Rows(usize),
    /// All there are.
    Named(All),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum All {
    /// The word.
    All,
}

impl Size {
    /// Name of the setting: `n=100`, `n=all`.
    #[must_use]
    pub fn setting(self) -> String {
        match self {
            Self::Rows(n) => format!("n={n}"),
            Self::Named(All::All) => "n=all".into(),
        }
    }

    fn of(self, rows: &[u32], seed: u64) -> Vec<u32> {
        match self {
            Self::Rows(n) => subset_by_hash(rows, seed, n),
            Self::Named(All::All) => rows.to_vec(),
        }
    }
}

impl Scenario for NewDomain {
    fn check(&self, experiment: &Experiment) -> Result<(), ExperimentError> {
        if self.targets.is_empty() || self.sizes.is_empty() {
            return Err(experiment.problem("[scenario]", "needs at least one entry in `targets` and in `sizes`"));
        }
        if let Some(target) = repeated(&self.targets) {
            return Err(experiment.problem("[scenario] targets", format!("names `{target}` twice; remove one")));
        }
        if let Some(size) = repeated(&self.sizes) {
            return Err(experiment.problem("[scenario] sizes", format!("holds {} twice; remove one", size.setting())));
        }
        Ok(())
    }

    fn train_settings(&self) -> Vec<String> {
        self.sizes.iter().map(|size| size.setting()).collect()
    }

    fn compare(&self, lab: &Lab<'_>, source: &Source) -> Result<Vec<Outcome>, ExperimentError> {
        check_methods(lab, source, false)?;
        for target in &self.targets {
            named(lab, source, "[scenario] targets", std::slice::from_ref(target))?;
        }
        let targets = self.targets.iter().map(|target| {
            let chosen = named(lab, source, "[scenario] targets", std::slice::from_ref(target))?;
            self.one_target(lab, source, target, chosen.iter().position(|&c| c).unwrap_or(0))
        });
        Ok(targets.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

/// The first entry that stands there twice.
fn repeated<T: PartialEq>(entries: &[T]) -> Option<&T> {
    entries.iter().enumerate().find_map(|(i, entry)| entries[..i].contains(entry).then_some(entry))
}

impl NewDomain {
    fn one_target(&self, lab: &Lab<'_>, source: &Source, target: &str, domain: usize) -> Result<Vec<Outcome>, ExperimentError> {
        let dataset = &source.with_unknown_domain(domain);
        let part = |name: &str| {
            let rows = source.part(name)?;
            Ok::<(Vec<u32>, Vec<u32>), ExperimentError>(rows.into_iter().partition(|&r| dataset.log.domain[r as usize].at() == domain))
        };
        let ((target_train, train), (target_validation, validation), (test, _)) = (part("train")?, part("validation")?, part("test")?);
        let place = format!("{}={target}", source.domain_column);
        if let Some(size) = self.sizes.iter().find(|size| matches!(size, Size::Rows(n) if *n > target_train.len())) {
            let problem = format!("{}: {place} has only {} training rows; choose fewer, or \"all\"", size.setting(), target_train.len());
            return Err(lab.experiment.problem("[scenario] sizes", problem));
        }
        let (measured, query) = if lab.measure == Measure::Test { ("test", test) } else { ("validation", target_validation) };
        filled(lab, measured, &format!(" of {place}"), &query)?;
        for (part, rows) in [("train", &train), ("validation", &validation)] {
            filled(lab, part, &format!(" of domains other than {place}"), rows)?;
        }
        let scenario = format!("new_domain[{place}]");
        let stage = |name: String, setting: String, train, validation| Stage {
            name,
            setting,
            dataset,
            domain_column: &source.domain_column,
            train,
            validation,
            query: &query,
            unseen: vec![target.to_owned()],
        };
        let pretraining = stage(format!("{place}/"), String::new(), vec![train.clone(); lab.seeds.len()], Some(&validation));
        let bases = pretraining.bases(lab)?;
        let rows = evaluation_rows(dataset, &query, &source.domain_column)?;
        let mut outcomes = Vec::new();
        for size in &self.sizes {
            let setting = size.setting();
            let subsets: Vec<_> = lab.seeds.iter().map(|&seed| size.of(&target_train, seed)).collect();
            let stage = stage(format!("{place}/{setting}/"), setting.clone(), subsets, None);
            let mut entrants = self.floors(lab, &stage, &train, &validation)?;
            entrants.extend(stage.base_entrants(lab, &bases)?);
            if *size != Size::Rows(0) {
                entrants.extend(stage.method_entrants(lab, &bases)?);
            }
            let panel = entrants.into_iter().fold(panel(lab, source, &scenario, &setting, &query), Panel::enter);
            outcomes.push(panel.on_rows(&rows, &lab.experiment.metrics)?);
        }
        Ok(outcomes)
    }

    /// Floors see the rows of the other domains and the target rows of a method: one fit for each distinct subset.
    fn floors(&self, lab: &Lab<'_>, stage: &Stage<'_>, others: &[u32], validation: &[u32]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let mut subsets: Vec<(u64, &[u32])> = lab.seeds.iter().copied().zip(stage.train.iter().map(Vec::as_slice)).collect();
        subsets.dedup_by(|a, b| a.1 == b.1);
        // By floor, then by subset.
        let mut floors: Vec<(Vec<u64>, Vec<FloorResult>)> = Vec::new();
        for &(seed, subset) in &subsets {
            let train = [others, subset].concat();
            let support = stage.dataset.rows_of_users(&train, stage.query);
            let query = FloorQuery { setting: stage.setting.clone(), support, query: stage.query.to_vec() };
            let known = stage.dataset.rows_of_users(&train, validation);
            let rows = FloorRows { dataset: stage.dataset, train: &train, validation, validation_support: &known };
            let fitted = lab.floors(&format!("{}floors-seed{seed}", stage.name), &rows, &[query])?;
            floors.resize_with(fitted.len(), Default::default);
            for ((seeds, results), result) in floors.iter_mut().zip(fitted) {
                seeds.push(seed);
                results.push(result);
            }
        }
        Ok(floors.into_iter().map(|(seeds, results)| FloorResult::of_seeds(&seeds, &results)).collect())
    }
}
