//! Histories: the last values of a user's earlier rows, each a range in one list of its key.

use rayon::prelude::*;

use super::key::Grouped;
use super::replay::Course;
use crate::config::{Lag, Span};
use crate::{DataError, DomainIndex, Lists};

/// Users go to threads in pieces of so many.
const PIECE: usize = 1024;

/// Whose rows a history is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Those of all domains, or of some (by index).
    All(Option<Vec<bool>>),
    /// Those of the row's own domain.
    Same,
    /// Those of all domains but the row's own.
    Other,
}

impl Within {
    /// Whether a row of a domain may stand in any history.
    pub(crate) fn has(&self, domain: DomainIndex) -> bool {
        match self {
            Self::All(Some(named)) => named[domain.at()],
            _ => true,
        }
    }
}

/// A history as the replay sees it.
pub(crate) struct Listing<C> {
    pub(crate) lag: Lag,
    pub(crate) max_age: Option<Span>,
    pub(crate) max_length: usize,
    pub(crate) within: Within,
    /// The code that a row leaves with its user, if any.
    pub(crate) code: C,
}

/// One value of a list: values of equal time stand in the order of their codes, so that the order of the files does not show.
pub(crate) type Entry = (i64, u32);

impl<C: Fn(u32) -> Option<u32> + Sync> Listing<C> {
    /// The history of each row of the log; `grouped` holds the rows of each user.
    pub(crate) fn run(&self, course: &Course<'_>, grouped: &Grouped, name: &str) -> Result<Lists, DataError> {
        let users: Vec<&[u32]> = grouped.keys().collect();
        let found: Vec<(Vec<u32>, Vec<(u32, [u32; 2])>)> = users
            .par_chunks(PIECE)
            .map(|users| {
                let (mut codes, mut spans) = (Vec::new(), Vec::new());
                users.iter().for_each(|rows| self.user(course, rows, &mut codes, &mut spans));
                (codes, spans)
            })
            .collect();
        let too_large = || DataError::TooLarge { what: name.to_owned() };
        let total = found.iter().map(|(codes, _)| codes.len()).sum();
        u32::try_from(total).map_err(|_| too_large())?;
        let (mut codes, mut spans) = (Vec::with_capacity(total), vec![[0, 0]; grouped.rows.len()]);
        for (piece, of_rows) in found {
            let at = codes.len() as u32;
            of_rows.into_iter().for_each(|(row, [begin, end])| spans[row as usize] = [at + begin, at + end]);
            codes.extend(piece);
        }
        Ok(Lists::Spans { spans, codes })
    }

    /// The rows of one user, by time.
    fn user(&self, course: &Course<'_>, rows: &[u32], codes: &mut Vec<u32>, spans: &mut Vec<(u32, [u32; 2])>) {
        let known = rows.iter().filter(|&&row| course.holds(row) && self.within.has(course.domain(row)));
        let mut entries: Vec<(Entry, DomainIndex)> =
            known.filter_map(|&row| Some(((course.time(row), (self.code)(row)?), course.domain(row)))).collect();
        entries.sort_unstable();
        let mut asked: Vec<DomainIndex> = match self.within {
            Within::All(_) => vec![DomainIndex(0)],
            Within::Same | Within::Other => rows.iter().map(|&row| course.domain(row)).collect(),
        };
        asked.sort_unstable();
        asked.dedup();
        for domain in asked {
            let (is_read, is_asked): (fn(_, _) -> bool, fn(_, _) -> bool) = match self.within {
                Within::All(_) => (|_: DomainIndex, _: DomainIndex| true, |_: DomainIndex, _: DomainIndex| true),
                Within::Same => (|a, b| a == b, |a, b| a == b),
                Within::Other => (|a, b| a != b, |a, b| a == b),
            };
            let list: Vec<Entry> = entries.iter().filter(|(_, d)| is_read(*d, domain)).map(|&(entry, _)| entry).collect();
            let begin = codes.len() as u32;
            for &row in rows.iter().filter(|&&row| is_asked(course.domain(row), domain)) {
                let [from, to] = self.span(&list, course.time(row), course.cutoff(self.lag, row));
                spans.push((row, [begin + from as u32, begin + to as u32]));
            }
            codes.extend(list.iter().map(|&(_, code)| code));
        }
    }

    fn span(&self, list: &[Entry], now: i64, cutoff: i64) -> [usize; 2] {
        span(list, self.max_length, self.max_age, now, cutoff)
    }
}

/// The range of a list that a row at `now` sees.
pub(crate) fn span(list: &[Entry], max_length: usize, max_age: Option<Span>, now: i64, cutoff: i64) -> [usize; 2] {
    let end = list.partition_point(|&(time, _)| time < cutoff);
    let begin = end.saturating_sub(max_length);
    let old = max_age.map_or(0, |age| list.partition_point(|&(time, _)| time < now.saturating_sub(age.micros())));
    [begin.max(old).min(end), end]
}
