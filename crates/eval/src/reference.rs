//! Differences to the bases: what adaptation added, or took away.

use crate::leaderboard::distinct;
use crate::record::{DifferenceRecord, Place, Report};

/// The bases that methods of a place start from, in the order of the report.
pub(crate) fn references<'a>(report: &'a Report, place: &Place) -> Vec<&'a str> {
    distinct(of_place(report, place).map(|difference| difference.reference.as_str()))
}

/// Differences of methods to their bases in one place.
pub(crate) fn of_place<'a>(report: &'a Report, place: &Place) -> impl Iterator<Item = &'a DifferenceRecord> {
    report.differences.iter().filter(move |difference| difference.reference_is_own_base && difference.place == *place)
}
