//! What rows know of the rows before them, in an experiment and in a saved base.

use std::path::{Path, PathBuf};

use acclimate_data::{Dataset, DatasetConfig, FeatureState, Followed, Known, Log, MICROS_PER_DAY, RandomStream, RawDataset, Split, date};
use serde::{Deserialize, Serialize};

use crate::artifact::{RunRecord, SavedBase};
use crate::{ExperimentError, Source, source};

/// Name of the file in a base's folder that holds what is known of earlier rows.
pub const FILE: &str = "state.zst";

/// Which rows are known to the features that are made of earlier rows (histories and statistics).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateMode {
    /// Training rows only: what is known ends with the training part, as in published protocols.
    #[default]
    Frozen,
    /// As frozen, and a training row knows only what was as old for it as it will be for a measured row: each takes its age from one of those, by hash.
    Aged,
    /// Every row of an earlier time, whatever its part: what is known moves on, as on a server.
    Moving,
}

/// Rows of a log by what they are for.
#[derive(Clone, Copy, Debug)]
pub struct Roles<'a> {
    /// Rows to learn from.
    pub train: &'a [u32],
    /// Rows to measure on.
    pub measured: &'a [u32],
}

impl StateMode {
    /// The rows that are known. Rows that `is_hidden` says are not: of a domain, say, that nobody has seen.
    #[must_use]
    pub fn known(self, log: &Log, roles: Roles<'_>, is_hidden: impl Fn(u32) -> bool) -> Known {
        let open = |rows: &mut dyn Iterator<Item = u32>| rows.filter(|&row| !is_hidden(row)).collect::<Vec<_>>();
        let total = log.len();
        let rows = match self {
            Self::Moving => open(&mut (0..total as u32)),
            Self::Frozen | Self::Aged => open(&mut roles.train.iter().copied()),
        };
        if self == Self::Moving && rows.len() == total {
            return Known::all();
        }
        let known = Known::only(&rows, total);
        if self != Self::Aged || log.time.is_empty() {
            return known;
        }
        let time = |row: &u32| log.time[*row as usize];
        let end = roles.train.iter().map(time).max().unwrap_or(0);
        let ages: Vec<i64> = roles.measured.iter().map(|row| (time(row) - end).max(0)).collect();
        if ages.is_empty() {
            return known;
        }
        let age = |&row: &u32| (row, ages[RandomStream::new(RandomStream::seed_for(0, "ages"), 0, u64::from(row)).position(ages.len())]);
        known.stale(total, roles.train.iter().map(age))
    }
}

/// The data as users with tasks know it: of such a user the support is known and nothing of the query, whatever their times; of all others the training rows. In a log without
/// time, `draw` says in which order the rows of a support came.
///
/// # Errors
/// A history that is too large.
pub(crate) fn of_tasks(dataset: &Dataset, train: &[u32], tasks: &[(Vec<u32>, Vec<u32>)], draw: u64) -> Result<Dataset, ExperimentError> {
    Ok(dataset.knowing(&Known::only(train, dataset.log.len()).drawn(draw).with_tasks(&dataset.log, tasks))?)
}

impl Source {
    /// The same rows, where those of a domain are known only if they are among `few`: all that is known of a new domain.
    ///
    /// # Errors
    /// A history that is too large.
    pub fn knowing_few(&self, dataset: Dataset, domains: &[bool], few: &[u32]) -> Result<Dataset, ExperimentError> {
        if !dataset.has_state() {
            return Ok(dataset);
        }
        let (train, measured) = (self.part("train")?, self.measured());
        let mut is_few = vec![false; dataset.log.len()];
        few.iter().for_each(|&row| is_few[row as usize] = true);
        let log = dataset.log.clone();
        let is_hidden = |row: u32| domains[log.domain[row as usize].at()] && !is_few[row as usize];
        Ok(dataset.knowing(&self.state.known(&log, Roles { train: &train, measured: &measured }, is_hidden))?)
    }
}

/// The rows of a base's own data that its features of earlier rows are made of, without the domains that it must not know.
pub(crate) fn known(record: &RunRecord, raw: &RawDataset, split: &Split) -> Result<Known, ExperimentError> {
    let dataset = raw.dataset();
    let unseen: Vec<bool> = dataset.domains.iter().map(|domain| record.unseen.contains(domain)).collect();
    let (train, measured) = (source::part(split, "train")?, source::measured(split));
    let is_hidden = |row: u32| unseen[dataset.log.domain[row as usize].at()];
    Ok(record.state.known(&dataset.log, Roles { train: &train, measured: &measured }, is_hidden))
}

/// Writes what a base's own data says beside the base, so that later rows can be read without that data.
///
/// # Errors
/// The data can not be read, or the file not be written.
pub fn save(folder: &Path, saved: &SavedBase) -> Result<(), ExperimentError> {
    Ok(of_own_data(folder, saved)?.save(&saved.encoder, &folder.join(FILE))?)
}

/// What is known at the end of the base's own data.
fn of_own_data(folder: &Path, saved: &SavedBase) -> Result<FeatureState, ExperimentError> {
    let lacks = |problem: &str| ExperimentError::Artifact { path: folder.into(), problem: problem.into() };
    let (Some(file), Some(rule)) = (&saved.record.dataset, &saved.record.split) else {
        return Err(lacks("does not say which data set its features of earlier rows are made of; make the base again"));
    };
    let mut config = DatasetConfig::load(file)?;
    rule.add_columns(&mut config);
    let (raw, _) = RawDataset::read(&config)?;
    let split = rule.split(raw.view())?;
    Ok(FeatureState::after(&saved.encoder, &raw, &known(&saved.record, &raw, &split)?)?)
}

/// The features of the rows of other data: the state of the base goes on from where its own data ends, through the rows of `context`. Rows are known to later
/// ones where the base's experiment says so and their labels are read.
pub(crate) fn follow(
    folder: &Path,
    saved: &SavedBase,
    raw: &RawDataset,
    context: &[PathBuf],
    has_labels: bool,
) -> Result<(Followed, Vec<String>), ExperimentError> {
    let (file, encoder) = (folder.join(FILE), &saved.encoder);
    let mut state = if file.exists() { FeatureState::load(encoder, &file)? } else { of_own_data(folder, saved)? };
    let mut notes = Vec::new();
    for path in context {
        let (earlier, _) = RawDataset::read(&DatasetConfig::load(path)?)?;
        let late = state.late();
        state.learn(encoder, &earlier, &Known::all())?;
        if state.late() > late {
            notes.push(format!(
                "{} rows of {} are older than what the base knows already, and are left out.",
                state.late() - late,
                path.display()
            ));
        }
    }
    let first = raw.dataset().log.time.iter().min().copied();
    if let (Some(newest), Some(first)) = (state.newest(), first) {
        let days = (first - newest) as f64 / MICROS_PER_DAY as f64;
        if days > 1.0 {
            notes.push(format!(
                "What the base knows of earlier rows ends on {}, {days:.0} days before these rows begin; `--context` adds rows between.",
                date(newest)
            ));
        }
    }
    let (learns, late) = (saved.record.state == StateMode::Moving && has_labels, state.late());
    if saved.record.state == StateMode::Moving && !has_labels {
        notes.push("Without labels, rows are not known to later ones: what the base knows stays as it is.".into());
    }
    let followed = state.follow(encoder, raw, learns)?;
    if state.late() > late {
        notes.push(format!("{} of these rows are older than what the base knows, and are not known to later ones.", state.late() - late));
    }
    Ok((followed, notes))
}
