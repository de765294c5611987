//! Where an experiment's rows come from: a data-set file or the simulator, cut into parts and encoded.

use std::path::Path;
use std::sync::Arc;

use acclimate_data::{
    Dataset, DatasetConfig, Encoder, FeatureKind, Followed, Known, RawDataset, ReadReport, Side, Simulation, Split, SplitConfig, SplitError,
};
use sha2::{Digest, Sha256};

use crate::scores::Scores;
use crate::state::{Roles, StateMode};
use crate::{Experiment, ExperimentError};

/// Begins the names of the parts of held-out domains.
const TARGET: &str = "target_";

/// Rows ready for training: vocabularies and scales come from the part `train`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The rows.
    pub dataset: Dataset,
    /// Their parts.
    pub split: Split,
    /// The rule that made them, with bounds that mean the same in a log which has grown; the simulator has none.
    pub rule: Option<SplitConfig>,
    /// What encoded them; the simulator has none.
    pub encoder: Option<Encoder>,
    /// True click probability of each row, where it is known.
    pub truth: Option<Vec<f32>>,
    /// What metrics call the domain: the name of its column.
    pub domain_column: String,
    /// The features that hold the domain, by name.
    pub domain_features: Vec<String>,
    /// Which rows are known to the features that are made of earlier rows.
    pub state: StateMode,
    /// Predictions made elsewhere.
    pub scores: Vec<Scores>,
    /// What a reader of the report must know.
    pub notes: Vec<String>,
}

impl Source {
    /// Reads, splits and encodes what an experiment names.
    ///
    /// # Errors
    /// Anything wrong with the data-set file, its tables or the split.
    pub fn load(experiment: &Experiment) -> Result<Self, ExperimentError> {
        if let Some(simulator) = &experiment.simulator {
            return Ok(Self::simulated(simulator.simulate(1)?));
        }
        let folder = experiment.path.parent().unwrap_or(Path::new(""));
        let rule = experiment.split.as_ref().ok_or_else(|| experiment.problem("[split]", "is missing"))?;
        let (config, raw, report) = read(&folder.join(experiment.dataset.as_deref().unwrap_or(Path::new(""))), Some(rule))?;
        let problem = |error: SplitError| experiment.problem("[split]", error.to_string());
        let rule = rule.fixed(raw.view()).map_err(problem)?;
        let split = rule.split(raw.view()).map_err(problem)?;
        let train = part(&split, "train")?;
        let known = experiment.state.known(&raw.dataset().log, Roles { train: &train, measured: &measured(&split) }, |_| false);
        if experiment.state != StateMode::Frozen && raw.dataset().log.time.is_empty() {
            return Err(experiment.problem("state", "needs a time of each row, which this log has not; leave the key out"));
        }
        let (encoder, dataset) = raw.fit_encode(&train, &known)?;
        let mut source = Self::of(&config, dataset, split);
        (source.encoder, source.rule, source.state) = (Some(encoder), Some(rule), experiment.state);
        let scores = experiment.entrants.iter().map(|entry| Scores::read(experiment, entry, &config, &source.dataset));
        source.scores = scores.collect::<Result<_, _>>()?;
        source.add_notes(&report);
        Ok(source)
    }

    /// Adds what a reader of results must know of the files and of the split.
    pub(crate) fn add_notes(&mut self, report: &ReadReport) {
        self.notes.extend(report.problems.iter().cloned());
        self.add_skipped(report);
        self.notes.extend_from_slice(self.split.notes());
        self.notes.extend(repeats(&self.dataset, &self.split));
    }

    /// Says how many rows were left out.
    pub(crate) fn add_skipped(&mut self, report: &ReadReport) {
        if report.rows_skipped() > 0 {
            self.notes.push(format!("{} bad rows of the data set were skipped.", report.rows_skipped()));
        }
    }

    /// Rows encoded by a saved encoder.
    ///
    /// # Errors
    /// The encoder belongs to other features.
    pub fn encoded(
        config: &DatasetConfig,
        raw: RawDataset,
        encoder: &Encoder,
        split: Split,
        known: &Known,
    ) -> Result<Self, ExperimentError> {
        Ok(Self::of(config, raw.encode_knowing(encoder, known)?, split))
    }

    /// Rows encoded by a saved encoder, with features of earlier rows from a state that has followed them.
    ///
    /// # Errors
    /// The encoder belongs to other features.
    pub fn following(
        config: &DatasetConfig,
        raw: RawDataset,
        encoder: &Encoder,
        split: Split,
        followed: Followed,
    ) -> Result<Self, ExperimentError> {
        Ok(Self::of(config, raw.encode_following(encoder, followed)?, split))
    }

    fn of(config: &DatasetConfig, dataset: Dataset, split: Split) -> Self {
        let domain_features = config.features.iter().filter(|f| f.kind == FeatureKind::Domain).map(|f| f.name.clone()).collect();
        let domain_column = config.interactions.domain.as_ref().map_or("domain", |d| d.name()).to_owned();
        Self {
            dataset,
            split,
            rule: None,
            encoder: None,
            truth: None,
            domain_column,
            domain_features,
            state: StateMode::default(),
            scores: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A simulation as a source.
    #[must_use]
    pub fn simulated(simulation: Simulation) -> Self {
        let Simulation { dataset, split, probability, .. } = simulation;
        // Settings are named as in experiments on real data.
        let name = |part: &str| if part == "cold_test" { "new_user".to_owned() } else { part.to_owned() };
        let parts = split.parts().map(|(part, rows)| (name(part), rows.to_vec())).collect();
        let split = Split::new(split.total(), parts).expect("renamed parts are as disjoint as they were");
        Self {
            dataset,
            split,
            rule: None,
            encoder: None,
            truth: Some(probability),
            domain_column: "domain".into(),
            domain_features: vec!["domain".into()],
            state: StateMode::default(),
            scores: Vec::new(),
            notes: vec!["Simulated data: the ceiling is what the true click probabilities reach.".into()],
        }
    }

    /// The rows of a part, those of its held-out domains (`target_<name>`) included.
    ///
    /// # Errors
    /// The split has no such part.
    pub fn part(&self, name: &str) -> Result<Vec<u32>, ExperimentError> {
        part(&self.split, name)
    }

    /// The rows of all parts but those that a model is trained with.
    pub(crate) fn measured(&self) -> Vec<u32> {
        measured(&self.split)
    }

    /// The same rows with the domain hidden in some of them: their domain features become the unknown, as for a domain never seen.
    #[must_use]
    pub fn with_unknown_domains(&self, unknown: &[bool]) -> Dataset {
        let mut dataset = self.dataset.clone();
        for (domain, _) in unknown.iter().enumerate().filter(|(_, unknown)| **unknown) {
            hide_domain(&mut dataset, domain, &self.domain_features);
        }
        dataset
    }
}

/// Makes the domain features of a domain's rows the unknown, as for a domain never seen.
pub(crate) fn hide_domain(dataset: &mut Dataset, domain: usize, domain_features: &[String]) {
    for column in &mut dataset.features.categorical {
        if column.side == Side::Row && domain_features.contains(&column.name) {
            let rows = Arc::make_mut(column).codes.iter_mut().zip(&dataset.log.domain);
            rows.filter(|(_, d)| d.at() == domain).for_each(|(code, _)| *code = 0);
        }
    }
}

/// Says which parts repeat users and items of training rows: a model has seen the answer there.
#[must_use]
pub fn repeats(dataset: &Dataset, split: &Split) -> Option<String> {
    let train = part(split, "train").ok()?;
    let others = split.names().filter(|name| *name != "train" && !name.starts_with(TARGET));
    let counts = others.filter_map(|name| {
        let rows = part(split, name).ok()?;
        let repeated = dataset.log.repeats(&rows, &train);
        (repeated > 0).then(|| format!("{repeated} of {} rows of `{name}`", rows.len()))
    });
    let counts: Vec<String> = counts.collect();
    (!counts.is_empty()).then(|| format!("The same user and item stand in training rows as well for {}.", counts.join(", ")))
}

/// Reads a data-set file and its tables, and what a split reads beside the attributes named there.
///
/// # Errors
/// Anything wrong with either.
pub fn read(path: &Path, split: Option<&SplitConfig>) -> Result<(DatasetConfig, RawDataset, ReadReport), ExperimentError> {
    let mut config = DatasetConfig::load(path)?;
    if let Some(split) = split {
        split.add_columns(&mut config);
    }
    let (raw, report) = RawDataset::read(&config)?;
    Ok((config, raw, report))
}

/// The rows of all parts but `train` and `validation`, those of held-out domains included.
pub(crate) fn measured(split: &Split) -> Vec<u32> {
    let of_training = |name: &str| matches!(name.strip_prefix(TARGET).unwrap_or(name), "train" | "validation");
    split.parts().filter(|(name, _)| !of_training(name)).flat_map(|(_, rows)| rows).copied().collect()
}

pub(crate) fn part(split: &Split, name: &str) -> Result<Vec<u32>, ExperimentError> {
    let mut rows = split.rows(name)?.to_vec();
    let held_out = format!("{TARGET}{name}");
    if split.names().any(|n| n == held_out) {
        rows.extend_from_slice(split.rows(&held_out)?);
        rows.sort_unstable();
    }
    Ok(rows)
}

/// SHA-256 of some rows with everything a model or floor reads of them, in hex: equal digests mean equal training data.
#[must_use]
pub fn digest(dataset: &Dataset, rows: &[u32]) -> String {
    let mut hash = Sha256::new();
    let (log, features) = (&dataset.log, &dataset.features);
    let mut line = Vec::new();
    for &row in rows {
        line.clear();
        let r = row as usize;
        line.extend([row, log.user[r].0, log.item[r].0, log.domain[r].0, log.label[r].to_bits()].into_iter().flat_map(u32::to_le_bytes));
        line.extend(log.time.get(r).into_iter().flat_map(|t| t.to_le_bytes()));
        for column in &features.categorical {
            line.extend(column.codes[dataset.entity(column.side, r)].to_le_bytes());
        }
        for bag in &features.bags {
            let e = dataset.entity(bag.side, r);
            let codes = bag.lists.of(e);
            line.extend((codes.len() as u32).to_le_bytes());
            line.extend(codes.iter().flat_map(|c| c.to_le_bytes()));
        }
        for number in &features.numeric {
            line.extend(number.values[dataset.entity(number.side, r)].to_le_bytes());
        }
        hash.update(&line);
    }
    hex(hash)
}

/// SHA-256 of some text, in hex.
#[must_use]
pub fn digest_text(text: &str) -> String {
    acclimate_data::sha256_hex(text)
}

/// SHA-256 of some bytes, in hex.
pub(crate) fn digest_bytes(bytes: &[u8]) -> String {
    hex(Sha256::new_with_prefix(bytes))
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
