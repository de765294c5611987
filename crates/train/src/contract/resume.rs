//! A run that is stopped or killed and goes on from its checkpoint ends with the bytes of a run that never stopped.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acclimate_model::{Base, Params};

use super::files::{Folder, bytes};
use super::ground::Setting;
use super::scores::Scored;
use super::{Case, Finding, require, text};
use crate::{Observer, StepReport, Summary, TrainError, Trained, train};

/// How a run ends early.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The stop flag, after this step.
    Stopped(u64),
    /// Killed in this step, before its checkpoint, while checkpoints are written after every step.
    Killed(u64),
}

struct Interrupter<'a> {
    end: Option<End>,
    stop: &'a AtomicBool,
}

/// What a killed run leaves behind.
struct Killed;

impl Observer for Interrupter<'_> {
    fn step(&mut self, report: &StepReport) {
        match self.end {
            Some(End::Stopped(step)) if step == report.step => self.stop.store(true, Ordering::Relaxed),
            Some(End::Killed(step)) if step == report.step => resume_unwind(Box::new(Killed)),
            _ => {}
        }
    }
}

/// Stops after the first step, in the middle, at the end of an epoch and after the last step, with and without a limit of steps.
pub(super) fn exact(case: &Case<'_>) -> Finding {
    if case.adaptation.solves() && case.adaptation.is_solved() {
        // It takes no step that a checkpoint could stand behind: an interrupted run begins again.
        return Ok(());
    }
    let mut setting = case.ground.short(case.adaptation.needs()).map_err(text)?;
    unbroken_and_broken(case, &setting)?;
    // A limit of steps that ends the run in the middle of an epoch.
    setting.config.steps = Some(3);
    setting.config.accumulate = 1;
    unbroken_and_broken(case, &setting)
}

fn unbroken_and_broken(case: &Case<'_>, setting: &Setting<'_>) -> Finding {
    let unbroken = attempt(case, setting, None, None)?.ok_or("a run that nobody stopped did not end")?;
    let (expected, last) = (bytes(case, &unbroken)?, unbroken.summary.steps);
    let epoch = setting.feed.steps(0).div_ceil(setting.config.accumulate as usize) as u64;
    let mut ends: Vec<End> = [1, last / 2, epoch, epoch + 1, last].into_iter().filter(|&s| s > 0 && s <= last).map(End::Stopped).collect();
    ends.extend([1, last.div_ceil(2), last].map(End::Killed));
    for end in ends {
        let folder = Folder::new()?;
        let path = folder.file("run.checkpoint");
        let early = attempt(case, setting, Some(&path), Some(end))?;
        require(early.is_none(), || format!("{end:?}: the run went on to its end"))?;
        if path.exists() {
            // What a kill in the middle of the next write leaves.
            let written = std::fs::read(&path).map_err(text)?;
            std::fs::write(folder.file("run.checkpoint.tmp0"), &written[..written.len() / 2]).map_err(text)?;
        }
        let resumed = attempt(case, setting, Some(&path), None)?.ok_or_else(|| format!("{end:?}: the resumed run did not end"))?;
        require(bytes(case, &resumed)? == expected, || format!("{end:?}: the resumed run gives another patch"))?;
        let (found, expected) = (timeless(resumed.summary), timeless(unbroken.summary.clone()));
        require(found == expected, || format!("{end:?}: the resumed run reports {found:?} instead of {expected:?}"))?;
    }
    Ok(())
}

fn timeless(summary: Summary) -> Summary {
    Summary { seconds: 0.0, ..summary }
}

/// One run; `None` if it ended early.
fn attempt(case: &Case<'_>, setting: &Setting<'_>, checkpoint: Option<&Path>, end: Option<End>) -> Result<Option<Trained>, String> {
    let stop = AtomicBool::new(false);
    let mut interrupter = Interrupter { end, stop: &stop };
    let held_out = &case.held_out()[..1];
    let mut validate = |base: &Base, own: &Params| -> Result<f64, TrainError> {
        Ok(-Scored { base, own, adaptation: case.adaptation.as_ref() }.loss(held_out)?)
    };
    let every = if matches!(end, Some(End::Killed(_))) { Duration::ZERO } else { Duration::MAX };
    let mut run = case.run(setting, &mut interrupter, &stop);
    run.validate = Some(&mut validate);
    run.checkpoint = checkpoint.map(|path| (path.into(), every));
    match catch_unwind(AssertUnwindSafe(|| train(run))) {
        Ok(Ok(trained)) => Ok(Some(trained)),
        Ok(Err(TrainError::Interrupted { .. })) => Ok(None),
        Ok(Err(other)) => Err(other.to_string()),
        Err(panic) if panic.is::<Killed>() => Ok(None),
        Err(panic) => resume_unwind(panic),
    }
}
