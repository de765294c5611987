//! A saved base with data to adapt to or to score.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::{AdaptError, Patch, build_method};
use acclimate_data::{Dataset, DomainIndex, LogView, Split, Task, TaskConfig};
use acclimate_train::feed::{Feed, RowFeed, SupportSize, TaskFeed};
use acclimate_train::{Observer, PatchNotes, Run, TrainConfig, train};
use burn::tensor::Device;

use crate::artifact::SavedBase;
use crate::lab::target;
use crate::{ExperimentError, Source, source};

/// The name of the only part of data that has none.
const ALL: &str = "all";

/// A base and rows encoded as it reads them.
pub struct OpenBase {
    /// The base.
    pub saved: SavedBase,
    /// The rows, in the parts of the base's split where they are the base's own data.
    pub source: Source,
}

/// How a method is trained on an open base.
#[derive(Clone, Debug, Default)]
pub struct Adapting {
    /// Method or named config of it.
    pub method: String,
    /// Its config keys.
    pub keys: toml::Table,
    /// How it is trained; there is no early stopping, so it runs for the steps or epochs given here.
    pub train: TrainConfig,
    /// Seed.
    pub seed: u64,
}

impl OpenBase {
    /// Opens a base folder with the data it was trained on, or with another data-set file of the same features.
    ///
    /// # Errors
    /// No base there, or data that does not fit it.
    pub fn open(folder: &Path, data: Option<&Path>) -> Result<Self, ExperimentError> {
        let saved = SavedBase::load(folder)?;
        let unknown = || problem(folder, "does not say which data set it is for; name one with --data");
        let file = data.map(Path::to_owned).or_else(|| saved.record.dataset.clone()).ok_or_else(unknown)?;
        let (config, raw, _) = source::read(&file)?;
        let split = match (&saved.record.split, data) {
            (Some(rule), None) => rule.split(raw.view())?,
            _ => {
                let rows = raw.dataset().log.len();
                Split::new(rows, vec![(ALL.to_owned(), (0..rows as u32).collect())])?
            }
        };
        let source = Source::encoded(&config, raw, &saved.encoder, split)?;
        Ok(Self { saved, source })
    }

    /// The rows of a part (all rows where the data has no parts), of one domain if one is named.
    ///
    /// # Errors
    /// No such part or domain, or no row in it.
    pub fn rows(&self, part: &str, domain: Option<&str>) -> Result<Vec<u32>, ExperimentError> {
        let dataset = &self.source.dataset;
        let name = Path::new(&dataset.name);
        let part = if self.source.split.names().eq([ALL]) { ALL } else { part };
        let mut rows = self.source.part(part)?;
        if let Some(wanted) = domain {
            let at = dataset.domains.iter().position(|d| d == wanted);
            let unknown = || problem(name, format!("has no domain `{wanted}`; there are {}", dataset.domains.join(", ")));
            let domain = DomainIndex(at.ok_or_else(unknown)? as u32);
            rows.retain(|&r| dataset.log.domain[r as usize] == domain);
        }
        if rows.is_empty() {
            let place = domain.map_or_else(String::new, |d| format!(" of domain `{d}`"));
            return Err(problem(name, format!("part `{part}`{place} has no rows; choose another part or domain")));
        }
        Ok(rows)
    }

    /// Trains a method on rows of this data. Users become tasks for methods that adapt to a support set.
    ///
    /// # Errors
    /// A method or config that does not fit the base, or anything training reports.
    pub fn adapt(&self, how: &Adapting, rows: &[u32], observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Patch, ExperimentError> {
        let (base, dataset) = (&self.saved.base, &self.source.dataset);
        let Adapting { method, keys, train: config, seed } = how;
        let adaptation = build_method(method, keys, target(base))?;
        let tasks = if adaptation.needs().support { tasks(dataset, rows)? } else { Vec::new() };
        let feed: Box<dyn Feed> = if adaptation.needs().support {
            Box::new(TaskFeed::new(dataset, &tasks, config.batch, true, SupportSize::Random, *seed)?)
        } else {
            Box::new(RowFeed::new(dataset, rows, config.batch, *seed, adaptation.needs().domain_groups)?)
        };
        let trained = train(Run {
            base,
            adaptation: adaptation.as_ref(),
            feed: feed.as_ref(),
            config,
            seed: *seed,
            device: &Device::flex(),
            intercept: Some((dataset, rows)),
            validate: None,
            observer,
            checkpoint: None,
            stop,
        })?;
        let (window, rows) = (feed.window(), feed.rows());
        let notes = PatchNotes { method: method.clone(), config: keys.clone(), window, rows, seed: *seed, ..PatchNotes::default() };
        Ok(trained.patch(base, adaptation.as_ref(), notes))
    }

    /// Reads a patch and refuses one of another base.
    ///
    /// # Errors
    /// [`AdaptError::WrongBase`] with both hashes, or a damaged file.
    pub fn patch(&self, path: &Path) -> Result<Patch, AdaptError> {
        Patch::load(&self.saved.base, path)
    }
}

fn tasks(dataset: &Dataset, rows: &[u32]) -> Result<Vec<Task>, ExperimentError> {
    Ok(TaskConfig::default().tasks(LogView::from(dataset), rows)?.tasks)
}

fn problem(path: &Path, problem: impl Into<String>) -> ExperimentError {
    ExperimentError::Artifact { path: path.into(), problem: problem.into() }
}
