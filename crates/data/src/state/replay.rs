//! A statistic or history run over a log: for each row, what is known before it.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;

use super::key::{Grouped, name_hash};
use super::tally::{Mark, Tally, TallyKind};
use crate::config::Lag;
use crate::hash::hash64;
use crate::{DomainIndex, Log, Zone};

/// Keys go to threads in pieces of about so many rows.
const PIECE: usize = 65_536;

/// Salt of the orders in which the rows of a log without time come.
const ORDERS: u64 = 0x6f72_6465_7273;

/// Later than every known row of a log without time.
pub(crate) const AFTER_ALL: i64 = 1 << 61;

/// Pieces of a thread whose values are held at a time.
const ROUND: usize = 4;

/// A log in the order of time, and what is known of it.
pub(crate) struct Course<'a> {
    pub(crate) log: &'a Log,
    pub(crate) zone: Zone,
    /// All rows by time.
    pub(crate) by_time: Vec<u32>,
    /// For each domain, its place in the order of their hashes, in which sums over domains are taken wherever a log names them first.
    ranks: Vec<u32>,
    pub(crate) known: &'a Known,
    times: Cow<'a, [i64]>,
    /// By row, when its request began; empty where there are no requests.
    begins: Vec<i64>,
}

/// Which rows of a log are known when features are made of earlier rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// By row; none: every row is known to the later ones.
    rows: Option<Vec<bool>>,
    /// By row, microseconds by which all that it knows is older than it need be; empty: not at all.
    staleness: Vec<i64>,
    /// By row, what it is in a task: the rows of the same user know the support and no other; empty: no row is in one.
    tasks: Vec<Role>,
    /// By row, when it happened as far as features are concerned; none: when the log says.
    times: Option<Vec<i64>>,
    /// Which of the orders is drawn in which the rows of a log without time come.
    draw: u64,
}

/// What a row is in a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    None,
    Support,
    Query,
}

impl Known {
    /// Every row is known to the later ones, as to a server that learns of everything at once.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only some of `total` rows are known.
    #[must_use]
    pub fn only(rows: &[u32], total: usize) -> Self {
        let mut known = vec![false; total];
        rows.iter().for_each(|&row| known[row as usize] = true);
        Self { rows: Some(known), ..Self::default() }
    }

    /// What some rows know ends so many microseconds before them, lags apart; the others' as it did.
    #[must_use]
    pub fn stale(mut self, total: usize, rows: impl IntoIterator<Item = (u32, i64)>) -> Self {
        self.staleness.resize(total, 0);
        rows.into_iter().for_each(|(row, micros)| self.staleness[row as usize] = micros.max(0));
        self
    }

    /// Tasks are support and query rows of a user each. Of such a user, the support of the task is known to the rows of the same user and nothing else is, whatever the times: a query comes after its
    /// support. To the features of other users these rows are what they were before.
    #[must_use]
    pub fn with_tasks(mut self, log: &Log, tasks: &[(Vec<u32>, Vec<u32>)]) -> Self {
        self.tasks = vec![Role::None; log.len()];
        let mut times = self.times(log).into_owned();
        for (support, query) in tasks {
            support.iter().for_each(|&row| self.tasks[row as usize] = Role::Support);
            query.iter().for_each(|&row| self.tasks[row as usize] = Role::Query);
            let Some(latest) = support.iter().map(|&row| times[row as usize]).max() else { continue };
            query.iter().for_each(|&row| times[row as usize] = times[row as usize].max(latest + 1));
        }
        self.times = Some(times);
        self
    }

    /// In a log without time, another of the orders in which rows may have come: each known row then knows another random part of the others.
    #[must_use]
    pub fn drawn(self, draw: u64) -> Self {
        Self { draw, ..self }
    }

    /// By row, when it happened as far as features are concerned. In a log without time, known rows come in an order that is drawn, and the others after them.
    pub(crate) fn times<'a>(&'a self, log: &'a Log) -> Cow<'a, [i64]> {
        match &self.times {
            Some(times) => times.into(),
            None if log.time.len() == log.len() => (&log.time[..]).into(),
            None => (0..log.len() as u32).map(|row| i64::from(!self.holds(row)) * AFTER_ALL + self.place(row)).collect(),
        }
    }

    /// The place of a row in the order that is drawn, below [`AFTER_ALL`].
    fn place(&self, row: u32) -> i64 {
        (hash64(ORDERS, self.draw, row.into()) >> 3) as i64
    }

    pub(crate) fn holds(&self, row: u32) -> bool {
        self.rows.as_ref().is_none_or(|rows| rows[row as usize])
    }

    /// Whether a row is known to later rows of its own user.
    pub(crate) fn holds_for_user(&self, row: u32) -> bool {
        match self.tasks.get(row as usize) {
            None | Some(Role::None) => self.holds(row),
            Some(role) => *role == Role::Support,
        }
    }
}

impl<'a> Course<'a> {
    pub(crate) fn new(log: &'a Log, domains: &[String], zone: Zone, known: &'a Known) -> Self {
        let mut by_time: Vec<u32> = (0..log.len() as u32).collect();
        let times = known.times(log);
        by_time.par_sort_by_key(|&row| times[row as usize]);
        let mut order: Vec<usize> = (0..domains.len()).collect();
        order.sort_by_key(|&domain| name_hash(&domains[domain]));
        let mut ranks = vec![0; domains.len()];
        order.into_iter().enumerate().for_each(|(rank, domain)| ranks[domain] = rank as u32);
        let begins = begins(log, &times);
        Self { log, zone, by_time, ranks, known, times, begins }
    }

    /// When a row is asked for: with the first of its request, for a request is answered in one go. The query of a task comes after its support.
    pub(crate) fn asked(&self, row: u32) -> i64 {
        match self.begins.get(row as usize) {
            Some(&begin) if self.known.tasks.get(row as usize).copied().unwrap_or_default() != Role::Query => begin,
            _ => self.time(row),
        }
    }

    pub(crate) fn time(&self, row: u32) -> i64 {
        self.times[row as usize]
    }

    /// Whether later rows of a key know a row; keys with the user know what users with tasks know of themselves.
    pub(crate) fn holds(&self, row: u32, of_user: bool) -> bool {
        if of_user { self.known.holds_for_user(row) } else { self.known.holds(row) }
    }

    pub(crate) fn domain(&self, row: u32) -> DomainIndex {
        self.log.domain[row as usize]
    }

    /// The place of a domain in sums over domains.
    fn rank(&self, domain: DomainIndex) -> u32 {
        self.ranks[domain.at()]
    }

    /// Where what a row knows ends.
    pub(crate) fn cutoff(&self, lag: Lag, row: u32) -> i64 {
        let stale = self.known.staleness.get(row as usize).copied().unwrap_or(0);
        // The support of a task is there when its query is asked.
        let lag = if self.known.tasks.get(row as usize) == Some(&Role::Query) { Lag::default() } else { lag };
        lag.cutoff(self.asked(row) - stale, self.zone)
    }

    /// Goes through the rows of a key by where what they know ends, with their places. Rows are given by time, so that there is nothing to sort unless some
    /// know less than they might.
    fn queries(&self, lag: Lag, rows: &[u32], mut each: impl FnMut(i64, usize)) {
        let queries = rows.iter().enumerate().map(|(at, &row)| (self.cutoff(lag, row), at));
        if self.known.staleness.is_empty() && self.known.tasks.is_empty() && self.begins.is_empty() {
            queries.for_each(|(cutoff, at)| each(cutoff, at));
        } else {
            let mut queries: Vec<(i64, usize)> = queries.collect();
            queries.sort_unstable();
            queries.into_iter().for_each(|(cutoff, at)| each(cutoff, at));
        }
    }
}

/// By row, the earliest time of its request; empty without requests.
pub(super) fn begins(log: &Log, times: &[i64]) -> Vec<i64> {
    let requests = log.request.iter().max().map_or(0, |last| *last as usize + 1);
    let mut first = vec![i64::MAX; requests];
    log.request.iter().zip(times).for_each(|(&request, &time)| first[request as usize] = first[request as usize].min(time));
    log.request.iter().map(|&request| first[request as usize]).collect()
}

/// A statistic as the replay sees it.
pub(crate) struct Counting<M, R> {
    pub(crate) kind: TallyKind,
    pub(crate) lag: Lag,
    /// Whether a row knows those of its own domain only by their absence.
    pub(crate) of_others: bool,
    /// Whether the user is a part of the key.
    pub(crate) of_user: bool,
    /// What a row leaves with its key, if anything.
    pub(crate) mark: M,
    /// What a row reads: the tally of its key, the row, where what it knows ends, and the value that it had before.
    pub(crate) read: R,
}

impl<M, R> Counting<M, R>
where
    M: Fn(u32) -> Option<u64> + Sync,
    R: Fn(&Tally, u32, i64, f64) -> f64 + Sync,
{
    /// Gives each row of the log its value in place of the one that it had before.
    pub(crate) fn run(&self, course: &Course<'_>, grouped: &Grouped<'_>, values: &mut [f64]) {
        let pieces = grouped.pieces(PIECE);
        let threads = rayon::current_num_threads();
        if threads == 1 || pieces.len() == 1 {
            grouped.keys().for_each(|rows| {
                self.key(course, rows, |at, cutoff, tally| {
                    let value = &mut values[rows[at] as usize];
                    *value = (self.read)(tally, rows[at], cutoff, *value);
                })
            });
            return;
        }
        // A few pieces at a time, so that few values wait for their places.
        for pieces in pieces.chunks(threads * ROUND) {
            let of_keys = |keys: &Range<usize>| {
                let mut found = vec![0.0; grouped.of(keys.clone()).len()];
                let mut rest = &mut found[..];
                for rows in keys.clone().map(|key| grouped.of(key..key + 1)) {
                    let (own, others) = rest.split_at_mut(rows.len());
                    self.key(course, rows, |at, cutoff, tally| {
                        own[at] = (self.read)(tally, rows[at], cutoff, values[rows[at] as usize]);
                    });
                    rest = others;
                }
                found
            };
            let found: Vec<Vec<f64>> = pieces.par_iter().map(of_keys).collect();
            let rows = pieces.iter().flat_map(|keys| grouped.of(keys.clone()));
            rows.zip(found.iter().flatten()).for_each(|(&row, &value)| values[row as usize] = value);
        }
    }

    /// The rows of one key, by time: hands on the place of each, where what it knows ends, and the tally of what lies before.
    fn key(&self, course: &Course<'_>, rows: &[u32], mut visit: impl FnMut(usize, i64, &Tally)) {
        if self.of_others {
            return self.apart(course, rows, visit);
        }
        let (mut tally, mut next) = (Tally::new(self.kind), 0);
        course.queries(self.lag, rows, |cutoff, at| {
            next = self.learn(course, rows, next, cutoff, |_, mark| tally.add(self.kind, mark));
            visit(at, cutoff, &tally);
        });
    }

    /// The same, where a row reads the rows of other domains.
    fn apart(&self, course: &Course<'_>, rows: &[u32], mut visit: impl FnMut(usize, i64, &Tally)) {
        let (mut tallies, mut next): (Vec<(u32, Tally)>, _) = (Vec::new(), 0);
        course.queries(self.lag, rows, |cutoff, at| {
            next = self.learn(course, rows, next, cutoff, |domain, mark| {
                let domain = course.rank(domain);
                let at = tallies.binary_search_by_key(&domain, |(d, _)| *d).unwrap_or_else(|at| {
                    tallies.insert(at, (domain, Tally::new(self.kind)));
                    at
                });
                tallies[at].1.add(self.kind, mark);
            });
            let own = course.rank(course.domain(rows[at]));
            let mut all = Tally::new(self.kind);
            tallies.iter().filter(|(domain, _)| *domain != own).for_each(|(_, tally)| all.merge(self.kind, tally, cutoff));
            visit(at, cutoff, &all);
        });
    }

    /// Hands on the marks of the rows before `cutoff`, beginning with row number `next`; gives the number of the first row that is not before it.
    fn learn(&self, course: &Course<'_>, rows: &[u32], mut next: usize, cutoff: i64, mut add: impl FnMut(DomainIndex, Mark)) -> usize {
        while let Some(time) = rows.get(next).map(|&row| course.time(row)).filter(|&time| time < cutoff) {
            let tied = rows[next..].iter().take_while(|&&row| course.time(row) == time).count();
            let known = rows[next..next + tied].iter().filter(|&&row| course.holds(row, self.of_user));
            let marks = known.filter_map(|&row| Some((course.domain(row), Mark { time, bits: (self.mark)(row)? })));
            if tied == 1 {
                marks.for_each(|(domain, mark)| add(domain, mark));
            } else {
                let mut marks: Vec<(DomainIndex, Mark)> = marks.collect();
                marks.sort_unstable_by_key(|&(_, mark)| mark);
                marks.into_iter().for_each(|(domain, mark)| add(domain, mark));
            }
            next += tied;
        }
        next
    }
}
