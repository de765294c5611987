//! Differences to the bases: what adaptation added, or took away.

use crate::leaderboard::distinct;
use crate::record::{DifferenceRecord, Kind, Place, Report, Verdict};

/// The bases that methods of a place start from, in the order of the report.
pub(crate) fn references<'a>(report: &'a Report, place: &Place) -> Vec<&'a str> {
    distinct(of_place(report, place).map(|difference| difference.reference.as_str()))
}

/// Differences of methods to their bases in one place.
pub(crate) fn of_place<'a>(report: &'a Report, place: &Place) -> impl Iterator<Item = &'a DifferenceRecord> {
    report.differences.iter().filter(move |difference| difference.reference_is_own_base && difference.place == *place)
}

/// An adaptation that is worse than its base in some settings, by the first metric of the report and the paired interval.
pub(crate) struct Loss<'a> {
    pub(crate) method: &'a str,
    pub(crate) reference: &'a str,
    pub(crate) settings: Vec<String>,
}

/// All losses of a report, by method. Settings of several scenarios are told apart by them.
pub(crate) fn losses(report: &Report) -> Vec<Loss<'_>> {
    let Some(metric) = report.results.first().map(|result| &result.metric) else { return Vec::new() };
    let adapts = |method: &str| report.results.iter().any(|result| result.kind == Kind::Adaptation && result.method == method);
    let lost = |d: &&DifferenceRecord| d.metric == *metric && d.better == Verdict::No && d.reference_is_own_base && adapts(&d.method);
    let scenarios = distinct(report.results.iter().map(|result| &result.place.scenario)).len();
    let mut losses: Vec<Loss<'_>> = Vec::new();
    for difference in report.differences.iter().filter(lost) {
        let DifferenceRecord { method, reference, place, .. } = difference;
        let setting = if scenarios > 1 { format!("{} {}", place.scenario, place.setting) } else { place.setting.clone() };
        match losses.iter_mut().find(|loss| loss.method == method && loss.reference == reference) {
            Some(loss) => loss.settings.push(setting),
            None => losses.push(Loss { method, reference, settings: vec![setting] }),
        }
    }
    losses
}
