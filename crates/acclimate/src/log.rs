//! The log of one run: a line of JSON for every epoch and every tenth step, and the same numbers as a TensorBoard event file.

mod event;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use acclimate_train::{EpochReport, Observer, StepReport};
use event::EventFile;
use serde::Serialize;

use crate::ExperimentError;
use crate::lab::create_folder;

/// Steps between two lines.
const EVERY: u64 = 10;

/// Writes what an observer hears. A resumed run goes on in the same files.
pub struct RunLog {
    lines: BufWriter<File>,
    events: EventFile<BufWriter<File>>,
    path: PathBuf,
    step: u64,
    failed: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step(&'a StepReport),
    Epoch(&'a EpochReport),
}

impl RunLog {
    /// Opens `logs/<name>.jsonl` and `tensorboard/<name>/` inside `folder`.
    ///
    /// # Errors
    /// They can not be written.
    pub fn open(folder: &Path, name: &str) -> Result<Self, ExperimentError> {
        let path = folder.join("logs").join(format!("{name}.jsonl"));
        let events = folder.join("tensorboard").join(name).join("events.out.tfevents.1.acclimate");
        let (lines, _) = append(&path)?;
        let (file, is_new) = append(&events)?;
        let io = |source| ExperimentError::Io { path: events.clone(), source };
        Ok(Self { lines, events: EventFile::new(file, is_new).map_err(io)?, path, step: 0, failed: false })
    }

    /// A log that can not be written does not stop a run; it is said once.
    fn note(&mut self, result: std::io::Result<()>) {
        if let Err(error) = result
            && !self.failed
        {
            self.failed = true;
            eprintln!("{}: {error}; the run goes on without its log", self.path.display());
        }
    }

    fn line(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.lines, line)?;
        self.lines.write_all(b"\n")
    }
}

impl Observer for RunLog {
    fn step(&mut self, report: &StepReport) {
        self.step = report.step;
        if report.step.is_multiple_of(EVERY) {
            let written = self.line(&Line::Step(report));
            self.note(written);
            let written = self.events.scalars(report.step, &[("loss/batch", report.loss), ("rate", report.rate as f32)]);
            self.note(written);
        }
    }

    fn epoch(&mut self, report: &EpochReport) {
        let written = self.line(&Line::Epoch(report)).and_then(|()| self.lines.flush());
        self.note(written);
        let mut scalars = vec![("loss/epoch", report.loss as f32), ("rows_per_second", report.rows_per_second as f32)];
        scalars.extend(report.validation.map(|v| ("validation", v as f32)));
        let written = self.events.scalars(self.step, &scalars).and_then(|()| self.events.flush());
        self.note(written);
    }
}

fn append(path: &Path) -> Result<(BufWriter<File>, bool), ExperimentError> {
    create_folder(path.parent().unwrap_or(Path::new(".")))?;
    let io = |source| ExperimentError::Io { path: path.into(), source };
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    let is_new = file.metadata().map_err(io)?.len() == 0;
    Ok((BufWriter::new(file), is_new))
}
