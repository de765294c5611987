//! Histories: the last values of a user's earlier rows, each a range in one list of its key.

use rayon::prelude::*;

use super::key::Grouped;
use super::replay::Course;
use crate::config::{Lag, Span};
use crate::{DataError, DomainIndex, Lists};

/// Users go to threads in pieces of so many.
const PIECE: usize = 1024;

/// Pieces of a thread that are held at a time.
const ROUND: usize = 8;

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

    /// Whether the list of `domain` holds rows of the domain `of`.
    fn reads(&self, of: DomainIndex, domain: DomainIndex) -> bool {
        match self {
            Self::All(_) => true,
            Self::Same => of == domain,
            Self::Other => of != domain,
        }
    }

    /// Whether rows of the domain `of` ask for the list of `domain`.
    fn asks(&self, of: DomainIndex, domain: DomainIndex) -> bool {
        matches!(self, Self::All(_)) || of == domain
    }
}

/// Lists of some users, and what each of their rows sees of them.
#[derive(Default)]
struct Piece {
    codes: Vec<u32>,
    spans: Vec<(u32, [u32; 2])>,
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
    pub(crate) fn run(&self, course: &Course<'_>, grouped: &Grouped<'_>, name: &str) -> Result<Lists, DataError> {
        let users: Vec<&[u32]> = grouped.keys().collect();
        let too_large = || DataError::TooLarge { what: name.to_owned() };
        let (mut codes, mut spans) = (Vec::new(), vec![[0, 0]; grouped.rows.len()]);
        // A few pieces at a time, so that few wait for their places.
        for users in users.chunks(PIECE * ROUND * rayon::current_num_threads()) {
            let of_users = |users: &[&[u32]]| {
                let mut piece = Piece::default();
                users.iter().for_each(|rows| self.user(course, rows, &mut piece));
                piece
            };
            let found: Vec<Piece> = users.par_chunks(PIECE).map(of_users).collect();
            for piece in found {
                u32::try_from(codes.len() + piece.codes.len()).map_err(|_| too_large())?;
                let at = codes.len() as u32;
                piece.spans.into_iter().for_each(|(row, [begin, end])| spans[row as usize] = [at + begin, at + end]);
                codes.extend(piece.codes);
            }
        }
        codes.shrink_to_fit();
        Ok(Lists::Spans { spans, codes })
    }

    /// The rows of one user, by time.
    fn user(&self, course: &Course<'_>, rows: &[u32], piece: &mut Piece) {
        let known = rows.iter().filter(|&&row| course.holds(row, true) && self.within.has(course.domain(row)));
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
            let read = entries.iter().filter(|&&(_, of)| self.within.reads(of, domain));
            let list: Vec<Entry> = read.map(|&(entry, _)| entry).collect();
            let begin = piece.codes.len() as u32;
            for &row in rows.iter().filter(|&&row| self.within.asks(course.domain(row), domain)) {
                let [from, to] = self.span(&list, course.asked(row), course.cutoff(self.lag, row));
                piece.spans.push((row, [begin + from as u32, begin + to as u32]));
            }
            piece.codes.extend(list.iter().map(|&(_, code)| code));
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
