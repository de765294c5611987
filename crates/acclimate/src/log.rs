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
use crate::progress::say_line;
use crate::tune::Tried;

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
    Tried(&'a Tried),
}

impl RunLog {
    /// Opens `logs/<name>.jsonl` and `tensorboard/<name>/` inside `folder`.
    ///
    /// # Errors
    /// They can not be written.
    pub fn open(folder: &Path, name: &str) -> Result<Self, ExperimentError> {
        let path = folder.join("logs").join(format!("{name}.jsonl"));
        let events = folder.join("tensorboard").join(name).join("events.out.tfevents.1.acclimate");
        let (lines, _) = append(&path, whole_lines)?;
        let (file, is_new) = append(&events, event::whole_records)?;
        let io = |source| ExperimentError::Io { path: events.clone(), source };
        Ok(Self { lines, events: EventFile::new(file, is_new).map_err(io)?, path, step: 0, failed: false })
    }

    /// A log that can not be written does not stop a run; it is said once.
    fn note(&mut self, result: std::io::Result<()>) {
        if let Err(error) = result
            && !self.failed
        {
            self.failed = true;
            say_line(&format!("{}: {error}; the run goes on without its log", self.path.display()));
        }
    }

    /// Writes every setting of the dials that was tried after training.
    pub(crate) fn tried(&mut self, all: &[Tried]) {
        let written = all.iter().try_for_each(|tried| self.line(&Line::Tried(tried))).and_then(|()| self.lines.flush());
        self.note(written);
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

/// Opens a file to go on writing after its last whole entry: a process that was killed may have left half of one.
fn append(path: &Path, whole: fn(&[u8]) -> usize) -> Result<(BufWriter<File>, bool), ExperimentError> {
    create_folder(path.parent().unwrap_or(Path::new(".")))?;
    let io = |source| ExperimentError::Io { path: path.into(), source };
    let length = std::fs::read(path).map_or(0, |bytes| whole(&bytes) as u64);
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() > length {
        file.set_len(length).map_err(io)?;
    }
    Ok((BufWriter::new(file), length == 0))
}

/// Bytes up to the end of the last whole line.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_entry_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let report = StepReport { epoch: 0, step: 10, steps: 20, rows: 3, loss: 0.5, rate: 1e-3 };
        let write = || RunLog::open(folder.path(), "run").unwrap().step(&report);
        write();
        let path = folder.path().join("logs/run.jsonl");
        let events = folder.path().join("tensorboard/run/events.out.tfevents.1.acclimate");
        let read = || [&path, &events].map(|p| std::fs::read(p).unwrap());
        let [line, records] = read();
        std::fs::write(&path, [&line[..], &line[..line.len() / 2]].concat()).unwrap();
        std::fs::write(&events, [&records[..], &records[..17]].concat()).unwrap();
        write();
        let [lines, both] = read();
        assert_eq!(lines, line.repeat(2));
        assert_eq!(event::whole_records(&both), both.len());
        // The version stands once, at the beginning.
        assert_eq!(both.len(), records.len() + (records.len() - event::first_record(&records)));
    }
}
