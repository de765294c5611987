//! Training and measuring on plain rows: what the scenarios with domains share.

mod checks;

use std::borrow::Cow;

use acclimate_adapt::{Adaptation, Needs, Patch, SourceRows, build_method};
use acclimate_data::{Dataset, LabelKind, TasksOf};
use acclimate_eval::suspicion::Parts;
use acclimate_eval::{Cost, Entrant, Preflight};
use acclimate_model::{Base, BaseSpec, Objective, Params};
use acclimate_train::{Draw, Preparation, RowPreparation, Scorer};

use super::entrants::{TrainedBase, base_of, method_entrant};
use crate::experiment::{BaseConfig, Merge, MethodEntry};
use crate::floors;
use crate::lab::{Finished, Job, Judge, Prediction, judging_rows, pretraining, target};
use crate::open::stored;
use crate::preflight::{OnRows, SaidOfRows};
use crate::source::{digest, digest_text};
use crate::{ExperimentError, Lab};

pub(super) use checks::{all_alike, check_methods, defined, filled, learnable};

/// Rows that methods learn from and are measured on.
pub(super) struct Stage<'a> {
    /// Begins the name of every run, such as `n=100/`.
    pub(super) name: String,
    /// The setting: chooses keys of `train_by_size`.
    pub(super) setting: String,
    /// The data, for each seed: what is known of earlier rows may differ.
    pub(super) datasets: Vec<Cow<'a, Dataset>>,
    pub(super) domain_column: &'a str,
    /// Rows to learn from, for each seed.
    pub(super) train: Vec<Vec<u32>>,
    /// Rows for early stopping; without them the number of steps is fixed.
    pub(super) validation: Option<&'a [u32]>,
    /// Rows of the domains that the bases were trained on, where methods may train on those as well.
    pub(super) source: Option<SourceParts<'a>>,
    /// Rows to predict.
    pub(super) query: &'a [u32],
    /// Domains that the bases must not know.
    pub(super) unseen: Vec<String>,
}

/// Rows that the bases were trained on.
#[derive(Clone, Copy)]
pub(super) struct SourceParts<'a> {
    /// Begins the names of runs on them, such as `tab=2/`.
    pub(super) name: &'a str,
    /// Which domains are targets.
    pub(super) targets: &'a [bool],
    /// To learn from.
    pub(super) train: &'a [u32],
    /// For early stopping of what is trained as a base is.
    pub(super) validation: &'a [u32],
}

/// What a scenario has beside rows to learn from, for methods that need it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Offers {
    /// Nothing.
    Rows,
    /// Support rows of each user, or of each item.
    Support(TasksOf),
    /// Rows of the domains that the bases were trained on.
    Sources,
}

/// What a method starts from.
struct Start<'a> {
    base: &'a Base,
    dataset: &'a Dataset,
    seed: u64,
    /// A patch that training starts from, with what it cost.
    merged: Option<(Patch, Cost)>,
}

/// Rows that one training of a method learns from and is measured on.
struct Part<'a> {
    /// Follows the method's name in that of the run, such as `,tab=2`.
    name: String,
    train: &'a [u32],
    validation: Option<&'a [u32]>,
    query: &'a [u32],
}

/// The objective of a base: its own, or what the labels suggest.
pub(super) fn objective(config: &BaseConfig, dataset: &Dataset) -> Objective {
    config.objective.unwrap_or(match dataset.label {
        LabelKind::Rating { .. } => Objective::SquaredError,
        _ => Objective::Logistic,
    })
}

/// The network of a base on a data set.
pub(super) fn spec(config: &BaseConfig, dataset: &Dataset) -> BaseSpec {
    BaseSpec { backbone: config.backbone.clone(), schema: dataset.schema(), objective: objective(config, dataset) }
}

/// Rows of a data set as networks with an objective read them.
pub(crate) fn prepared(dataset: &Dataset, objective: Objective) -> RowPreparation<'_> {
    RowPreparation::new(Cow::Borrowed(dataset), objective)
}

impl Stage<'_> {
    /// Trains every base for every seed.
    pub(super) fn bases(&self, lab: &Lab<'_>) -> Result<Vec<TrainedBase>, ExperimentError> {
        let train = |config: &BaseConfig| {
            let runs = lab.seeds.iter().zip(&self.train).zip(&self.datasets).map(|((&seed, rows), dataset)| {
                let dataset = dataset.as_ref();
                let spec = spec(config, dataset);
                let prepared = prepared(dataset, spec.objective);
                let feed = prepared.feed(rows, Draw::new(&config.train, seed, Needs::default()))?;
                let judge = self.judge(lab, dataset, spec.objective, self.validation)?;
                let device = lab.device.clone();
                let mut validate = |base: &Base, own: &Params| {
                    let adaptation = pretraining(base).expect("every backbone has parameters");
                    let (judge, rows) = judge.as_ref().expect("called only with validation rows");
                    judge.value(&prepared.answers(&Scorer::new(base, adaptation.as_ref(), own, &device), rows)?)
                };
                let job = Job {
                    name: format!("{}{}-seed{seed}", self.name, config.name),
                    inputs: self.inputs(lab, dataset, rows),
                    measured: String::new(),
                    feed: feed.as_ref(),
                    config: &config.train,
                    seed,
                    intercept: Some((dataset, rows)),
                    validate: judge.is_some().then_some((lab.select(dataset), &mut validate as _)),
                    unseen: self.unseen.clone(),
                    start: None,
                    tuning: None,
                };
                lab.base(config, spec, job)
            });
            let reads = floors::reads(config, &self.datasets[0]);
            Ok(TrainedBase { name: config.name.clone(), seeds: runs.collect::<Result<_, ExperimentError>>()?, reads })
        };
        lab.experiment.bases()?.iter().map(train).collect()
    }

    /// The unadapted bases as entrants.
    pub(super) fn base_entrants(&self, lab: &Lab<'_>, bases: &[TrainedBase]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let entrants = bases.iter().map(|trained| {
            let runs = trained.seeds.iter().zip(&self.datasets).map(|((base, cost), dataset)| {
                let adaptation = pretraining(base)?;
                let values = predict(lab, base, adaptation.as_ref(), &Params::default(), dataset, self.query)?;
                Ok(Finished {
                    predictions: vec![Prediction { setting: self.setting.clone(), values, spread: None }],
                    cost: *cost,
                    settings: Vec::new(),
                })
            });
            let runs = runs.collect::<Result<Vec<_>, ExperimentError>>()?;
            Ok(trained.entrant(lab, &runs, 0))
        });
        entrants.collect()
    }

    /// Trains every method for every seed and lets it predict.
    pub(super) fn method_entrants(&self, lab: &Lab<'_>, bases: &[TrainedBase]) -> Result<Vec<Entrant<f32>>, ExperimentError> {
        let mut entrants = Vec::new();
        // Without rows nothing can be trained, but patches of other domains can be merged.
        let has_rows = self.train.iter().any(|rows| !rows.is_empty());
        for entry in lab.experiment.methods.iter().filter(|entry| has_rows || entry.merge.is_some()) {
            let mut runs = Vec::new();
            let runs_of = lab.seeds.iter().zip(&self.train).zip(&self.datasets);
            for (((&seed, rows), dataset), (base, _)) in runs_of.zip(&base_of(entry, bases).seeds) {
                let start = Start { base, dataset: dataset.as_ref(), seed, merged: None };
                let merged = entry.merge.as_ref().map(|merge| self.merged(lab, entry, &start, merge)).transpose()?;
                let start = Start { merged, ..start };
                if let (Some((patch, cost)), true) = (&start.merged, rows.is_empty()) {
                    let values = predict(lab, &patch.apply(base)?, patch.adaptation(base)?.as_ref(), &patch.own, dataset, self.query)?;
                    let predictions = vec![Prediction { setting: self.setting.clone(), values, spread: None }];
                    runs.push(Finished { predictions, cost: *cost, settings: Vec::new() });
                    continue;
                }
                runs.push(match entry.each_domain {
                    false => {
                        let part = Part { name: String::new(), train: rows, validation: self.validation, query: self.query };
                        self.method_run(lab, entry, &start, &part)?
                    }
                    true => self.each_domain(lab, entry, &start, rows)?,
                });
            }
            entrants.push(method_entrant(lab, entry, bases, &runs, 0)?);
        }
        Ok(entrants)
    }

    /// One training of a method, on some of the rows.
    fn method_run(&self, lab: &Lab<'_>, entry: &MethodEntry, start: &Start<'_>, part: &Part<'_>) -> Result<Finished, ExperimentError> {
        let Start { base, dataset, seed, merged } = start;
        let seed = *seed;
        let config = lab.experiment.train_config(entry, &self.setting)?;
        let adaptation = build_method(&entry.name, &entry.config, target(base))?;
        let adaptation = adaptation.as_ref();
        let prepared = prepared(dataset, base.spec.objective);
        let needs = adaptation.needs();
        let source = self.source.filter(|_| needs.source != SourceRows::None);
        let sources = source.map_or(&[][..], |source| source.train);
        let feed = prepared.feed(part.train, Draw::new(&config, seed, needs).with_sources(sources))?;
        // What is trained as a base is, on its rows and those of the target together, ends as a base does.
        let pooled = source.filter(|_| needs.source == SourceRows::Pooled);
        let all = pooled.map(|source| [source.train, part.train].concat());
        let (learned, validation) =
            (all.as_deref().unwrap_or(part.train), pooled.map_or(part.validation, |source| Some(source.validation)));
        let judge = self.judge(lab, dataset, base.spec.objective, validation)?;
        let mut validate = |base: &Base, own: &Params| {
            let (judge, rows) = judge.as_ref().expect("called only with validation rows");
            judge.value(&prepared.answers(&Scorer::new(base, adaptation, own, &lab.device), rows)?)
        };
        let job = Job {
            name: format!("{}{}{}-seed{seed}", self.name, entry.label(), part.name),
            inputs: std::iter::once(deciding(lab, dataset, part.train, validation))
                .chain(source.map(|source| digest(dataset, source.train)))
                .chain(merged.as_ref().map(|(patch, _)| format!("merged {}", values_digest(patch))))
                .collect::<Vec<_>>()
                .join("|"),
            measured: format!("{}|{}", self.setting, digest(dataset, part.query)),
            feed: feed.as_ref(),
            config: &config,
            seed,
            intercept: Some((dataset, learned)),
            validate: judge.is_some().then_some((lab.select(dataset), &mut validate as _)),
            unseen: self.unseen.clone(),
            start: merged.as_ref().map(|(patch, _)| patch),
            tuning: None,
        };
        let mut finished = lab.method(base, entry, adaptation, job, |patched, own| {
            let values = predict(lab, patched, adaptation, own, dataset, part.query)?;
            Ok(vec![Prediction { setting: self.setting.clone(), values, spread: None }])
        })?;
        // What a start cost is part of what came of it.
        if let Some((_, Cost { train_seconds: Some(seconds), .. })) = merged {
            finished.cost.train_seconds = finished.cost.train_seconds.map(|own| own + seconds);
        }
        Ok(finished)
    }

    /// The mean of the patches of other domains, each trained on the rows of the base's in it.
    fn merged(&self, lab: &Lab<'_>, entry: &MethodEntry, start: &Start<'_>, merge: &Merge) -> Result<(Patch, Cost), ExperimentError> {
        let Start { base, dataset, seed, .. } = *start;
        let source = self.source.expect("only scenarios with source rows have entries that merge");
        let problem = |problem: String| lab.experiment.problem(format!("method `{}`, merge", entry.label()), problem);
        let known = &dataset.domains;
        let wanted = |domain: usize| {
            let named = match merge {
                Merge::Every(_) => true,
                Merge::Of(names) => names.contains(&known[domain]),
            };
            named && !source.targets[domain]
        };
        let config = lab.experiment.train_config(entry, "")?;
        let adaptation = build_method(&entry.name, &entry.config, target(base))?;
        let adaptation = adaptation.as_ref();
        let prepared = prepared(dataset, base.spec.objective);
        // Data that differ from stage to stage give patches that do.
        let name = if self.datasets.iter().any(|d| matches!(d, Cow::Owned(_))) { &self.name } else { source.name };
        let (mut parts, mut seconds) = (Vec::new(), 0.0);
        let mut without = Vec::new();
        for domain in (0..known.len()).filter(|&domain| wanted(domain)) {
            let own = |rows: &[u32]| in_domain(dataset, domain, rows);
            let (rows, validation) = (own(source.train), own(source.validation));
            // Labels that are all alike teach nothing but their rate, and can not say when to stop.
            if rows.is_empty() || all_alike(dataset, &rows).is_some() {
                without.push(known[domain].as_str());
                continue;
            }
            let validation = Some(validation).filter(|rows| !rows.is_empty() && all_alike(dataset, rows).is_none());
            let feed = prepared.feed(&rows, Draw::new(&config, seed, adaptation.needs()))?;
            let judge = self.judge(lab, dataset, base.spec.objective, validation.as_deref())?;
            let mut validate = |base: &Base, own: &Params| {
                let (judge, rows) = judge.as_ref().expect("called only with validation rows");
                judge.value(&prepared.answers(&Scorer::new(base, adaptation, own, &lab.device), rows)?)
            };
            let job = Job {
                intercept: Some((dataset, &rows)),
                validate: judge.is_some().then_some((lab.select(dataset), &mut validate as _)),
                unseen: self.unseen.clone(),
                ..Job::new(
                    format!("{}{},{}={}-seed{seed}", name, entry.label(), self.domain_column, known[domain]),
                    deciding(lab, dataset, &rows, validation.as_deref()),
                    feed.as_ref(),
                    &config,
                    seed,
                )
            };
            let (patch, cost) = lab.trained_patch(base, entry, adaptation, job)?;
            seconds += cost.train_seconds.unwrap_or(0.0);
            parts.push((patch, 1.0));
        }
        if parts.is_empty() {
            return Err(problem("leaves no domain with rows to learn from; name others, or \"all\"".into()));
        }
        if !without.is_empty() {
            let said =
                format!("{}: without rows, or with labels that are all alike, and not merged: {}", entry.label(), without.join(", "));
            lab.progress.say(&said);
        }
        // What is measured is what is stored.
        let merged = stored(Patch::merged(base, &parts)?, base, entry.compact, entry.budget)?;
        let bytes = merged.bytes(base) as u64;
        let stored = merged.manifest.counts.stored() as u64;
        Ok((merged, Cost { trainable_parameters: Some(stored), patch_bytes: Some(bytes), train_seconds: Some(seconds), ..Cost::default() }))
    }

    /// A patch for each domain with training rows, from these rows alone: a domain that is added later changes no other's patch. Other domains are served by the base.
    fn each_domain(&self, lab: &Lab<'_>, entry: &MethodEntry, start: &Start<'_>, train: &[u32]) -> Result<Finished, ExperimentError> {
        let Start { base, dataset, .. } = *start;
        let plain = pretraining(base)?;
        let mut values = predict(lab, base, plain.as_ref(), &Params::default(), dataset, self.query)?;
        let (mut cost, mut settings) = (acclimate_eval::Cost::default(), Vec::new());
        for (domain, name) in dataset.domains.iter().enumerate() {
            let own = |rows: &[u32]| in_domain(dataset, domain, rows);
            let (rows, query) = (own(train), own(self.query));
            if rows.is_empty() || query.is_empty() {
                continue;
            }
            // Labels that are all alike can not say when to stop.
            let validation = self.validation.map(own).filter(|rows| !rows.is_empty() && all_alike(dataset, rows).is_none());
            let part =
                Part { name: format!(",{}={name}", self.domain_column), train: &rows, validation: validation.as_deref(), query: &query };
            let run = self.method_run(lab, entry, start, &part)?;
            let places = self.query.iter().enumerate().filter(|(_, row)| dataset.log.domain[**row as usize].at() == domain);
            places.zip(&run.predictions[0].values).for_each(|((place, _), &value)| values[place] = value);
            let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).map_or(a.or(b), |(a, b)| Some(a + b));
            cost.trainable_parameters = sum(cost.trainable_parameters, run.cost.trainable_parameters);
            cost.patch_bytes = sum(cost.patch_bytes, run.cost.patch_bytes);
            cost.train_seconds = Some(cost.train_seconds.unwrap_or(0.0) + run.cost.train_seconds.unwrap_or(0.0));
            settings.extend(run.settings);
        }
        Ok(Finished { predictions: vec![Prediction { setting: self.setting.clone(), values, spread: None }], cost, settings })
    }

    /// Checks the first base before anything is adapted from it; `base` is what it says in the settings of this stage.
    pub(super) fn preflight(
        &self,
        lab: &Lab<'_>,
        scenario: &str,
        bases: &[TrainedBase],
        base: &Entrant<f32>,
        parts: Parts<'_>,
    ) -> Result<Preflight, ExperimentError> {
        lab.preflight(&OnRows {
            name: &self.name,
            scenario,
            dataset: &self.datasets[0],
            domain_column: self.domain_column,
            config: &lab.experiment.base,
            base: &bases[0].seeds[0].0,
            learned: &self.train[0],
            parts,
            inputs: self.inputs(lab, &self.datasets[0], &self.train[0]),
            settings: vec![SaidOfRows { setting: &self.setting, rows: self.query, said: &base.outputs[0] }],
        })
    }

    fn judge<'r>(
        &self,
        lab: &Lab<'_>,
        dataset: &Dataset,
        objective: Objective,
        validation: Option<&'r [u32]>,
    ) -> Result<Option<(Judge, &'r [u32])>, ExperimentError> {
        let Some(rows) = validation else { return Ok(None) };
        let judge = Judge::new(judging_rows(dataset, rows, self.domain_column)?, lab.select(dataset), objective);
        Ok(Some((judge, rows)))
    }

    /// Digest of the rows that decide what is trained, with the metric where some choose.
    fn inputs(&self, lab: &Lab<'_>, dataset: &Dataset, train: &[u32]) -> String {
        deciding(lab, dataset, train, self.validation)
    }
}

/// The rows of one domain.
fn in_domain(dataset: &Dataset, domain: usize, rows: &[u32]) -> Vec<u32> {
    rows.iter().copied().filter(|&row| dataset.log.domain[row as usize].at() == domain).collect()
}

/// Digest of rows to learn from and of those that choose, with the metric by which they do.
fn deciding(lab: &Lab<'_>, dataset: &Dataset, train: &[u32], validation: Option<&[u32]>) -> String {
    let rows = [train, validation.unwrap_or_default()].map(|rows| digest(dataset, rows)).join("|");
    validation.map_or_else(|| rows.clone(), |_| format!("{rows}|{}", lab.select(dataset)))
}

/// Digest of everything that a patch changes.
pub(crate) fn values_digest(patch: &Patch) -> String {
    digest_text(&format!("{:?}|{:?}|{:?}", patch.own.values, patch.dense, patch.rows))
}

/// Predictions in the unit of the label.
pub(crate) fn predict(
    lab: &Lab<'_>,
    base: &Base,
    adaptation: &dyn Adaptation,
    own: &Params,
    dataset: &Dataset,
    rows: &[u32],
) -> Result<Vec<f32>, ExperimentError> {
    let scores = Scorer::new(base, adaptation, own, &lab.device).rows(dataset, rows)?;
    Ok(scores.into_iter().map(|s| base.spec.objective.predict(s)).collect())
}
