//! The gate for patches of a base of sequences: the ranks of what held-out users took next.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::Serve;
use acclimate_eval::Bootstrap;
use acclimate_registry::{GateConfig, Paired};

use super::{HeldData, HeldOut, Judged, Request, named, no_rows, slices, without_undefined};
use crate::ExperimentError;
use crate::open::OpenBase;
use crate::sequences::{OpenSequences, of_full};

/// Judges a patch; `None` for a base of rows.
pub(super) fn judge(folder: &Path, patch: &Path, request: &Request, stop: &AtomicBool) -> Result<Option<Judged>, ExperimentError> {
    let mut open = match OpenSequences::open(folder, request.data.as_deref()) {
        Ok(None) => return Ok(None),
        Ok(Some(open)) => open,
        Err(error) if request.data.is_none() => {
            return Err(no_rows(folder, format!("the data that the base was trained on can not be read ({error})")));
        }
        Err(error) => return Err(error),
    };
    if !request.context.is_empty() {
        let problem = "reads sequences, which begin and end in one data set; leave --context out".to_owned();
        return Err(ExperimentError::Artifact { path: folder.into(), problem });
    }
    open.check_domain(request.domain.as_deref())?;
    let patch = OpenBase::patch_of(&open.saved.base, patch)?;
    let metric = request.metric.clone().unwrap_or_else(|| named("mrr[full]"));
    of_full(&metric)?;
    let config = GateConfig { metric, ..request.config.clone() };
    config.validate()?;
    let rows = |part: &str, _: Option<&str>| open.rows(part);
    let data = HeldData { source: &open.source, own_data: open.own_data, has_parts: open.has_parts(), rows: &rows };
    // What is asked for is of the domain that it recommends in.
    let HeldOut { rows, said, mut notes } = HeldOut::of(&data, &patch, request)?;
    let asked = open.questions(&said, &rows)?;
    let (users, at) = asked.owners();
    let slices = slices(&open.source, &at, &request.slices)?;
    let (base, base_again) = (open.ranks_of_base(&asked)?, open.ranks_of_base(&asked)?);
    let served = match patch.manifest.serve.applies(0) {
        true => open.ranks_of(&patch, &asked)?,
        false => base.clone(),
    };
    if patch.manifest.serve == Serve::Never {
        notes.push("The patch itself is never applied: what passes here is its base.".into());
    }
    let bootstrap = Bootstrap { draws: config.draws, seed: config.seed, ..Bootstrap::default() };
    let mut preflight = open.preflight((&asked, [&base, &base_again]), &config.metric, bootstrap, stop)?;
    without_undefined(&mut preflight, &config.metric, &mut notes);
    let rows = Paired { base: &base, base_again: &base_again, patch: &served, labels: None, users: &users, slices: &slices };
    let report = config.judge(&rows, Some(&preflight))?;
    Ok(Some(Judged { report, rows: format!("what followed in {said}"), notes }))
}
