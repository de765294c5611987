//! The queue before the executors: bounded, so that overload is answered at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait, with a bound on their number and on their rows.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    most_jobs: usize,
    most_rows: usize,
}

struct State<T> {
    /// Rows of each job, and whether others may be taken with it.
    jobs: VecDeque<(usize, bool, T)>,
    rows: usize,
    is_closed: bool,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are too many.
    Busy,
    /// No more are taken.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(most_jobs: usize, most_rows: usize) -> Self {
        let state = State { jobs: VecDeque::new(), rows: 0, is_closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), most_jobs, most_rows }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job of so many rows at the end; `joins` says whether others may be taken with it. One job is always taken, however many rows it has.
    pub(super) fn push(&self, rows: usize, joins: bool, job: T) -> Result<(), Full> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Full::Closed);
        }
        if state.jobs.len() >= self.most_jobs || (!state.jobs.is_empty() && state.rows + rows > self.most_rows) {
            return Err(Full::Busy);
        }
        state.rows += rows;
        state.jobs.push_back((rows, joins, job));
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for jobs and takes those that stand first, up to so many rows, at least one; nothing once the queue is closed and empty.
    pub(super) fn take(&self, rows: usize, into: &mut Vec<T>) -> bool {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.is_closed {
                return false;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut taken = 0;
        while let Some(&(of_job, joins, _)) = state.jobs.front() {
            if !into.is_empty() && (!joins || taken + of_job > rows) {
                break;
            }
            let (.., job) = state.jobs.pop_front().expect("the front was just seen");
            taken += of_job;
            state.rows -= of_job;
            into.push(job);
            if !joins {
                break;
            }
        }
        let more = !state.jobs.is_empty();
        drop(state);
        if more {
            self.arrived.notify_one();
        }
        true
    }

    /// Takes no more jobs; those that wait are still done.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().jobs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let queue = Queue::new(3, 10);
        assert_eq!(queue.push(100, true, "long"), Ok(()), "one job is taken, however long");
        assert_eq!(queue.push(1, true, "more"), Err(Full::Busy));
        let mut jobs = Vec::new();
        assert!(queue.take(5, &mut jobs));
        assert_eq!(jobs, ["long"]);
        for job in ["a", "b", "c"] {
            assert_eq!(queue.push(2, true, job), Ok(()));
        }
        assert_eq!(queue.push(2, true, "d"), Err(Full::Busy));
        queue.close();
        assert_eq!(queue.push(2, true, "e"), Err(Full::Closed));
        jobs.clear();
        assert!(queue.take(4, &mut jobs));
        assert_eq!(jobs, ["a", "b"], "in their order, up to the rows");
        jobs.clear();
        assert!(queue.take(4, &mut jobs) && jobs == ["c"] && !queue.take(4, &mut jobs));
    }

    #[test]
    fn every_job_is_taken_once() {
        let queue = std::sync::Arc::new(Queue::new(usize::MAX, usize::MAX));
        let taken: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                std::thread::spawn(move || {
                    let (mut all, mut jobs) = (Vec::new(), Vec::new());
                    while queue.take(7, &mut jobs) {
                        all.append(&mut jobs);
                    }
                    all
                })
            })
            .collect();
        (0..10_000).for_each(|job| queue.push(1 + job % 5, true, job).unwrap());
        queue.close();
        let mut all: Vec<usize> = taken.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..10_000));
    }
}
