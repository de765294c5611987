//! What a person sees while runs go on: a bar for each that goes on, with rows per second and time left, on standard error.

use std::io::Write;
use std::time::{Duration, Instant};

use acclimate_train::{EpochReport, Observer, StepReport};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Results and errors only.
    Quiet,
    /// A bar for the current run.
    #[default]
    Normal,
    /// A line for every epoch as well.
    Verbose,
}

/// A line on standard error. Where that is closed, nobody reads it and nothing is lost.
pub(crate) fn say_line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Shows what goes on.
#[derive(Clone, Debug)]
pub struct Progress {
    level: Level,
    bars: MultiProgress,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new(Level::default())
    }
}

impl Progress {
    /// Progress that says this much.
    #[must_use]
    pub fn new(level: Level) -> Self {
        let target = if level >= Level::Normal { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        Self { level, bars: MultiProgress::with_draw_target(target) }
    }

    /// Says what begins.
    pub fn say(&self, text: &str) {
        if self.level >= Level::Normal {
            say_line(text);
        }
    }

    /// Says that a run was finished before.
    pub fn kept(&self, name: &str) {
        if self.level >= Level::Verbose {
            say_line(&format!("{name}: done before"));
        }
    }

    /// The bar of one training run.
    #[must_use]
    pub fn bar(&self, name: &str) -> Bar {
        let bar = self.bars.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{prefix:28!} {bar:24} {pos}/{len} steps  {msg}  left {eta}");
        bar.set_style(style.expect("the template is valid").progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        Bar { bar, name: name.to_owned(), verbose: self.level >= Level::Verbose, rows: 0, since: Instant::now() }
    }
}

/// The bar of one training run; it vanishes with the run.
pub struct Bar {
    bar: ProgressBar,
    name: String,
    verbose: bool,
    /// Rows since `since`.
    rows: usize,
    since: Instant,
}

impl Observer for Bar {
    fn step(&mut self, report: &StepReport) {
        self.rows += report.rows;
        let elapsed = self.since.elapsed();
        if report.step == 1 || elapsed > Duration::from_millis(500) {
            self.bar.set_length(report.steps);
            self.bar.set_position(report.step);
            self.bar.set_message(format!("{:.0} rows/s  loss {:.4}", self.rows as f64 / elapsed.as_secs_f64().max(1e-9), report.loss));
            (self.rows, self.since) = (0, Instant::now());
        }
    }

    fn epoch(&mut self, report: &EpochReport) {
        if self.verbose {
            let validation = report.validation.map_or(String::new(), |v| format!(", validation {:.4}", v.abs()));
            let best = if report.validation.is_some() && report.best { " (best)" } else { "" };
            let EpochReport { epoch, loss, rows_per_second, .. } = report;
            let line = format!("{}: epoch {}: loss {loss:.4}{validation}{best}, {rows_per_second:.0} rows/s", self.name, epoch + 1);
            self.bar.suspend(|| say_line(&line));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
