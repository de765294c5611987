//! A request that waits, and the thread that answers it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acclimate_plan::Scratch;
use acclimate_registry::Digest;
use tokio::sync::oneshot;

use super::model::{Ask, Change, Unfit};
use super::serving::{Found, Kept, Target};
use super::{Adapted, Loader, Model, ModelError, Shared};
use crate::api::{Adaptation, Answer, At, Fallback, Refusal, ScoreAsk, Served, SupportSet};
use crate::engine::rows::{Encoded, Known};

/// The form of what was adapted to by reading it as what happened before.
pub const HISTORY: &str = "history";

/// Where the answer goes; who has gone away gets none.
pub(crate) struct Reply(pub(super) oneshot::Sender<Result<Answer, Refusal>>);

impl Reply {
    fn send(self, answer: Result<Answer, Refusal>) {
        let _ = self.0.send(answer);
    }

    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }
}

/// A request in the queue.
pub(crate) struct Job<B> {
    pub(super) target: Target<B>,
    pub(super) ask: ScoreAsk,
    pub(super) tenant: String,
    pub(super) arrived: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) reply: Reply,
}

/// A request that is ready to be scored.
struct Prepared {
    encoded: Encoded,
    model: Arc<dyn Model>,
    adapted: Option<Arc<Adapted>>,
    served: Served,
}

/// And where its answer goes.
struct Ready {
    request: Prepared,
    reply: Reply,
}

/// A place among those who score, given back when it is dropped, whatever happens meanwhile.
pub(super) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// One more, however many there are.
    fn taken(at_work: &'a AtomicUsize) -> Self {
        at_work.fetch_add(1, Ordering::AcqRel);
        Self(at_work)
    }

    /// One more, if there are fewer than `places`.
    pub(super) fn free(at_work: &'a AtomicUsize, places: usize) -> Option<Self> {
        let next = |taken: usize| (taken < places).then_some(taken + 1);
        at_work.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok().map(|_| Self(at_work))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One thread with its own memory.
pub(super) struct Executor<L: Loader> {
    shared: Arc<Shared<L>>,
    scratch: Scratch,
    jobs: Vec<Job<L::Base>>,
    scores: Vec<f32>,
}

impl<B> Job<B> {
    /// Whether it takes microseconds whatever becomes of it: nothing to adapt to, and plans alone.
    pub(super) fn is_quick(&self) -> bool {
        // Heads of users are read from files, which may wait for a disk.
        let is_quick = |found: &Found| found.loaded.model.is_quick() && found.loaded.users.is_none();
        let of_patch = self.target.patch.as_ref().is_none_or(is_quick);
        self.ask.support.is_none() && of_patch && self.target.base.loaded.model.is_quick()
    }
}

impl<L: Loader> Executor<L> {
    pub(super) fn new(shared: Arc<Shared<L>>) -> Self {
        Self { shared, scratch: Scratch::default(), jobs: Vec::new(), scores: Vec::new() }
    }

    /// Takes what waits, until nothing comes any more.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        while shared.queue.take(shared.config.batch_rows, &mut self.jobs) {
            let _place = Place::taken(&shared.at_work);
            let jobs = std::mem::take(&mut self.jobs);
            self.answer(jobs);
        }
    }

    /// Answers some requests.
    pub(super) fn answer(&mut self, jobs: Vec<Job<L::Base>>) {
        let (shared, began) = (self.shared.clone(), Instant::now());
        let mut ready: Vec<Ready> = Vec::with_capacity(jobs.len());
        for job in jobs {
            shared.metrics.waited(began.saturating_duration_since(job.arrived));
            if job.reply.is_gone() {
                continue;
            }
            match self.guarded(|own| own.prepare(&job)).unwrap_or_else(|problem| Err(Refusal::Failed { problem })) {
                Ok(request) => ready.push(Ready { request, reply: job.reply }),
                Err(refusal) => job.reply.send(Err(refusal)),
            }
        }
        self.score(ready, began);
    }

    /// Encodes a request and adapts to its support set.
    fn prepare(&mut self, job: &Job<L::Base>) -> Result<Prepared, Refusal> {
        let (target, ask) = (&job.target, &job.ask);
        let base = &target.base;
        let is_late = job.deadline.filter(|&deadline| Instant::now() >= deadline);
        if let (Some(deadline), false) = (is_late, ask.ladder) {
            return Err(Refusal::Late { deadline_ms: deadline.saturating_duration_since(job.arrived).as_millis() as u64 });
        }
        let Some(found) = &target.patch else {
            return match &ask.support {
                Some(SupportSet::Kept(_)) if target.fallback.is_none() => Err(Refusal::invalid(
                    "adapted",
                    "what was adapted to is kept for patches; send the support set itself, or name a patch",
                )),
                Some(_) if target.fallback.is_none() && !base.loaded.model.adapts() => {
                    Err(Refusal::invalid("support", "the base as it is adapts to nobody; name a patch that does"))
                }
                _ => by_base(&self.shared, job, None),
            };
        };
        let (model, shared) = (&found.loaded.model, self.shared.clone());
        let wanted = super::said(&found.name, &At::Version(found.loaded.version));
        let instead = |reason: String| by_base(&shared, job, Some(Fallback { wanted: wanted.clone(), got: "base".into(), reason }));
        if is_late.is_some() {
            return instead("the deadline passed in the queue".into());
        }
        if ask.support.is_some() && !model.adapts() {
            return Err(Refusal::invalid("support", format!("{wanted} adapts to nobody; leave the support set out")));
        }
        let (support, kept) = match &ask.support {
            Some(SupportSet::Rows(rows)) => (rows.as_slice(), None),
            Some(SupportSet::Kept(key)) => {
                let kept = self.shared.adaptations.get(&job.tenant, key).ok_or(Refusal::Gone { key: *key })?;
                if (kept.base, kept.patch) != (base.digest, found.loaded.digest) {
                    let problem = format!("it was adapted from another version than {wanted}; send the support set again");
                    return Err(Refusal::Conflict { what: "adapted".into(), problem });
                }
                (&[][..], Some((*key, kept)))
            }
            None => (&[][..], None),
        };
        let encoding = found.loaded.encoding.as_ref().unwrap_or(&base.encoding);
        let happened = kept.as_ref().map_or(&[][..], |(_, kept)| &kept.happened);
        let (encoded, rows) = encoding.request(ask, support, happened)?;
        if let Err(Unfit { what, problem }) = model.accepts(&encoded.rows, encoded.named) {
            return if ask.ladder { instead(problem) } else { Err(Refusal::invalid(what, problem)) };
        }
        if model.reads_histories()
            && let Some(refusal) = encoding.unread(ask, support, &encoded)
        {
            return Err(refusal);
        }
        let mut served = Served {
            base: base.source(),
            patch: Some(found.source()),
            kind: model.kind(),
            state: encoded.state.clone(),
            users: None,
            adapted: None,
            fallback: target.fallback.clone(),
        };
        // Somebody who was adapted to beforehand.
        if let (None, Some(users)) = (&ask.support, &found.loaded.users)
            && let Some(user) = encoding.user(&ask.shared)?
            && let Some(head) = users.head(&user).map_err(|problem| Refusal::Failed { problem })?
        {
            (served.kind, served.users) = ("segmented", Some(users.source.clone()));
            return Ok(Prepared { encoded, model: model.clone(), adapted: Some(head), served });
        }
        let (known, adapted) = match (&ask.support, kept, rows) {
            (None, ..) => (0, None),
            (Some(_), Some((key, kept)), _) => {
                self.shared.metrics.adapted(true, Duration::ZERO);
                (kept.rows, Some((Some(key), kept.adapted, true)))
            }
            (Some(_), None, rows) => {
                let adapted = self.adapt(job, found, &encoded, rows.unwrap_or_default())?;
                (support.len(), Some(adapted))
            }
        };
        if !model.applies(known) {
            return instead(format!("it was not shown to be better than its base for {known} rows to adapt from"));
        }
        let adapted = adapted.map(|(key, adapted, cached)| {
            served.adapted = Some(Adaptation { key, form: adapted.form, steps: adapted.steps, rows: known, cached });
            adapted
        });
        Ok(Prepared { encoded, model: model.clone(), adapted, served })
    }

    /// Adapts to a support set, or finds what was made of it before; with the key under which it is kept, if it is.
    fn adapt(
        &mut self,
        job: &Job<L::Base>,
        found: &Found,
        encoded: &Encoded,
        Known { support, bytes }: Known,
    ) -> Result<(Option<Digest>, Arc<Adapted>, bool), Refusal> {
        let (began, base) = (Instant::now(), &job.target.base);
        let key = key(base.digest, found.loaded.digest, encoded, &bytes);
        if let Some(kept) = self.shared.adaptations.get(&job.tenant, &key) {
            self.shared.metrics.adapted(true, began.elapsed());
            return Ok((Some(key), kept.adapted, true));
        }
        let has_time = || job.deadline.is_none_or(|deadline| Instant::now() < deadline);
        let rows = support.labels.len();
        let adapted = found.loaded.model.adapt(&mut self.scratch, support, &mut |_| has_time());
        // What can not be adapted to is what was sent.
        let adapted = Arc::new(adapted.map_err(|error| Refusal::invalid("support", error.to_string()))?);
        self.shared.metrics.adapted(false, began.elapsed());
        // What a deadline cut short is not what the next request should get.
        let is_kept = has_time() && {
            let happened = Arc::new(encoded.happened.clone());
            let kept = Kept { base: base.digest, patch: found.loaded.digest, rows, adapted: adapted.clone(), happened };
            self.shared.adaptations.put(&job.tenant, key, kept)
        };
        Ok((is_kept.then_some(key), adapted, false))
    }

    /// Scores what is ready, all rows of one model in one pass.
    fn score(&mut self, mut ready: Vec<Ready>, began: Instant) {
        if ready.is_empty() {
            return;
        }
        let address = |ready: &Ready| Arc::as_ptr(&ready.request.model).cast::<()>() as usize;
        ready.sort_by_key(address);
        let (mut rows, mut segments) = (0, 0);
        let mut ready = ready.into_iter().peekable();
        while let Some(first) = ready.next() {
            let mut segment = vec![first];
            // What gains nothing by company is answered one by one.
            let gains = segment[0].request.model.is_quick();
            while let Some(next) = ready.next_if(|next| gains && Arc::ptr_eq(&next.request.model, &segment[0].request.model)) {
                segment.push(next);
            }
            segments += 1;
            rows += self.score_segment(segment);
        }
        self.shared.metrics.scored(rows, segments, began.elapsed());
    }

    /// One pass over the rows of some requests of one model.
    fn pass(&mut self, model: &dyn Model, segment: &[Ready]) -> Result<(), ModelError> {
        let asks: Vec<Ask<'_>> = segment
            .iter()
            .map(|Ready { request, .. }| Ask {
                rows: &request.encoded.rows,
                domain: request.encoded.domain,
                adapted: request.adapted.as_deref(),
            })
            .collect();
        self.scores.clear();
        model.score(&mut self.scratch, &asks, &mut self.scores)
    }

    /// Keeps the thread whatever happens in it: a fault ends one request, and the memory that it was seen in is not used again.
    fn guarded<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Result<T, String> {
        std::panic::catch_unwind(AssertUnwindSafe(|| run(self))).map_err(|fault| {
            self.scratch = Scratch::default();
            self.scores = Vec::new();
            let said = fault.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| fault.downcast_ref::<String>().cloned());
            let problem = format!("a fault inside the server: {}", said.unwrap_or_else(|| "no word of it".to_owned()));
            tracing::error!("{problem}");
            problem
        })
    }

    fn score_segment(&mut self, segment: Vec<Ready>) -> usize {
        let total = segment.iter().map(|ready| ready.request.encoded.rows.n).sum();
        let model = segment[0].request.model.clone();
        let scored = self.guarded(|own| own.pass(model.as_ref(), &segment)).unwrap_or_else(|problem| Err(ModelError(problem)));
        if scored.is_err() && segment.len() > 1 {
            // One that can not be scored is no other's fault.
            return segment.into_iter().map(|ready| self.score_segment(vec![ready])).sum();
        }
        let is_whole = self.scores.len() == total;
        let mut begin = 0;
        for Ready { request: Prepared { encoded, served, .. }, reply } in segment {
            let n = encoded.rows.n;
            let no_score = model.reads_histories().then_some(f32::NEG_INFINITY);
            let is_score = |score: &f32| score.is_finite() || no_score == Some(*score);
            let answer = match &scored {
                Ok(()) if is_whole && !self.scores[begin..begin + n].iter().all(is_score) => {
                    Err(Refusal::Failed { problem: "a score is not finite".into() })
                }
                Ok(()) if is_whole => {
                    if served.fallback.is_some() {
                        self.shared.metrics.fell_back();
                    }
                    Ok(Answer { scores: self.scores[begin..begin + n].to_vec(), served, unknown: encoded.unknown })
                }
                Ok(()) => Err(Refusal::Failed { problem: "the model gave another number of scores than it was asked for".into() }),
                Err(error) => Err(Refusal::Failed { problem: error.to_string() }),
            };
            begin += n;
            reply.send(answer);
        }
        total
    }
}

/// The base answers, with its own encoding of the rows: a patch may know ids that the base has never seen.
fn by_base<L: Loader>(shared: &Shared<L>, job: &Job<L::Base>, fallback: Option<Fallback>) -> Result<Prepared, Refusal> {
    let (base, ask) = (&job.target.base, &job.ask);
    let (support, kept) = match &ask.support {
        Some(SupportSet::Rows(rows)) => (rows.as_slice(), None),
        // What somebody did is known, whoever answers.
        Some(SupportSet::Kept(key)) => (&[][..], shared.adaptations.get(&job.tenant, key).filter(|kept| kept.base == base.digest)),
        None => (&[][..], None),
    };
    let (encoded, _) = base.encoding.request(ask, support, kept.as_ref().map_or(&[], |kept| &kept.happened))?;
    let model = &base.loaded.model;
    if model.reads_histories() {
        if let Some(refusal) = base.encoding.unread(ask, support, &encoded) {
            return Err(refusal);
        }
        if encoded.rows.n == 0 {
            let problem = "the base reads it as history in each request, and keeps nothing of it; send it with the items, or record events";
            return Err(Refusal::invalid("support", problem));
        }
    }
    model.accepts(&encoded.rows, encoded.named).map_err(|Unfit { what, problem }| Refusal::invalid(what, problem))?;
    // A base that reads what happened before has read the support set.
    let adapted = (model.adapts() && !support.is_empty()).then_some(Adaptation {
        key: None,
        form: HISTORY,
        steps: 0,
        rows: support.len(),
        cached: false,
    });
    let served = Served {
        base: base.source(),
        patch: None,
        kind: model.kind(),
        state: encoded.state.clone(),
        users: None,
        adapted,
        fallback: job.target.fallback.clone().or(fallback),
    };
    Ok(Prepared { encoded, model: model.clone(), adapted: None, served })
}

/// What an adapted state is the state of.
fn key(base: Digest, patch: Digest, encoded: &Encoded, support: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(support.len() + 96);
    bytes.extend_from_slice(base.to_string().as_bytes());
    bytes.extend_from_slice(patch.to_string().as_bytes());
    bytes.extend_from_slice(&encoded.state.as_ref().map_or(u64::MAX, |state| state.position).to_le_bytes());
    bytes.extend_from_slice(support);
    Digest::of(&bytes)
}

impl Change {
    /// The personal weights, if it is that.
    #[must_use]
    pub fn personal(&self) -> Option<&acclimate_plan::Personal> {
        match self {
            Self::Personal(personal) => Some(personal),
            Self::None | Self::Support(_) => None,
        }
    }
}
