//! Rows of a user that stand more than once, and rows whose order nothing but the file tells.

use crate::Log;
use crate::inspect::{RepeatReport, TieReport};

/// Counts both in one pass over each user's rows.
pub(super) fn count(log: &Log, users: usize) -> (RepeatReport, TieReport) {
    let (mut repeats, mut ties) = (RepeatReport::default(), TieReport::default());
    let has_time = !log.time.is_empty();
    let mut events: Vec<(u32, i64)> = Vec::new();
    for rows in by_user(log, users).windows() {
        let time = |row: u32| if has_time { log.time[row as usize] } else { 0 };
        events.clear();
        events.extend(rows.iter().map(|&row| (log.item[row as usize].0, time(row))));
        events.sort_unstable();
        repeats.rows += events.windows(2).filter(|pair| pair[0].0 == pair[1].0).count();
        if has_time {
            repeats.same_time += events.windows(2).filter(|pair| pair[0] == pair[1]).count();
            events.sort_unstable_by_key(|event| event.1);
            let tied: usize = events.chunk_by(|a, b| a.1 == b.1).map(<[_]>::len).filter(|&rows| rows > 1).sum();
            ties.rows += tied;
            ties.users += usize::from(tied > 0);
        }
    }
    (repeats, ties)
}

/// Rows gathered by user.
struct ByUser {
    ends: Vec<u32>,
    rows: Vec<u32>,
}

impl ByUser {
    fn windows(&self) -> impl Iterator<Item = &[u32]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.rows[start as usize..end as usize])
    }
}

fn by_user(log: &Log, users: usize) -> ByUser {
    let mut next = vec![0_u32; users];
    log.user.iter().for_each(|user| next[user.at()] += 1);
    let mut sum = 0;
    for count in &mut next {
        sum += std::mem::replace(count, sum);
    }
    let mut rows = vec![0; log.len()];
    for (row, user) in log.user.iter().enumerate() {
        rows[next[user.at()] as usize] = row as u32;
        next[user.at()] += 1;
    }
    // What was the start of each user is its end now.
    ByUser { ends: next, rows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, UserIndex};

    fn log(rows: &[(u32, u32, i64)]) -> Log {
        Log {
            user: rows.iter().map(|row| UserIndex(row.0)).collect(),
            item: rows.iter().map(|row| ItemIndex(row.1)).collect(),
            domain: vec![DomainIndex(0); rows.len()],
            time: rows.iter().map(|row| row.2).collect(),
            label: vec![1.0; rows.len()],
            request: Vec::new(),
        }
    }

    #[test]
    fn repeats_and_ties_are_counted_by_user() {
        // User 0 sees item 5 three times, twice at 10; times 10 and 30 are shared by 3 and 2 rows. User 2 has another's pair.
        let mut log = log(&[(0, 5, 10), (2, 5, 10), (0, 6, 10), (0, 5, 20), (0, 5, 10), (0, 7, 30), (0, 8, 30)]);
        let expected = (RepeatReport { rows: 2, same_time: 1 }, TieReport { rows: 5, users: 1 });
        assert_eq!(count(&log, 3), expected);
        log.time.clear();
        assert_eq!(count(&log, 3), (RepeatReport { rows: 2, same_time: 0 }, TieReport::default()));
    }
}
