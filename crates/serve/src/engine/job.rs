//! A request that waits, and the thread that answers it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use acclimate_plan::Scratch;
use acclimate_registry::Digest;
use tokio::sync::oneshot;

use super::model::{Ask, Change};
use super::serving::{Kept, Target};
use super::{Adapted, Loader, Model, ModelError, Shared};
use crate::api::{Adaptation, Answer, Fallback, Refusal, ScoreAsk, Served, SupportSet};
use crate::engine::rows::Encoded;

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

/// One thread with its own memory.
pub(super) struct Executor<L: Loader> {
    shared: Arc<Shared<L>>,
    scratch: Scratch,
    jobs: Vec<Job<L::Base>>,
    scores: Vec<f32>,
}

impl<L: Loader> Executor<L> {
    pub(super) fn new(shared: Arc<Shared<L>>) -> Self {
        Self { shared, scratch: Scratch::default(), jobs: Vec::new(), scores: Vec::new() }
    }

    /// Takes what waits, until nothing comes any more.
    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        while shared.queue.take(shared.config.batch_rows, &mut self.jobs) {
            let began = Instant::now();
            let mut ready: Vec<Ready> = Vec::with_capacity(self.jobs.len());
            for job in std::mem::take(&mut self.jobs) {
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
    }

    /// Encodes a request and adapts to its support set.
    fn prepare(&mut self, job: &Job<L::Base>) -> Result<Prepared, Refusal> {
        let (target, ask) = (&job.target, &job.ask);
        let base = &target.base;
        let encoding = target.patch.as_ref().and_then(|found| found.loaded.encoding.as_ref()).unwrap_or(&base.encoding);
        let late = |deadline: Instant| Refusal::Late { deadline_ms: deadline.saturating_duration_since(job.arrived).as_millis() as u64 };
        let is_late = job.deadline.filter(|&deadline| Instant::now() >= deadline);
        if let (Some(deadline), false) = (is_late, ask.ladder) {
            return Err(late(deadline));
        }
        let support = match &ask.support {
            Some(SupportSet::Rows(rows)) => rows.as_slice(),
            _ => &[],
        };
        let encoded = encoding.request(ask, support)?;
        let mut served = Served {
            base: base.source(),
            patch: target.patch.as_ref().map(super::serving::Found::source),
            kind: base.loaded.model.kind(),
            state: encoded.state.clone(),
            adapted: None,
            fallback: target.fallback.clone(),
        };
        let by_base = |mut served: Served, wanted: String, reason: String| {
            served.patch = None;
            served.kind = base.loaded.model.kind();
            served.fallback.get_or_insert(Fallback { wanted, got: "base".into(), reason });
            served
        };
        let Some(found) = &target.patch else {
            let served = match &ask.support {
                Some(_) if target.fallback.is_none() => {
                    return Err(Refusal::invalid("support", "the base as it is adapts to nobody; name a patch that does"));
                }
                _ => served,
            };
            return Ok(Prepared { encoded, model: base.loaded.model.clone(), adapted: None, served });
        };
        let model = &found.loaded.model;
        served.kind = model.kind();
        let wanted = || super::said(&found.name, &crate::api::At::Version(found.loaded.version));
        if is_late.is_some() {
            let served = by_base(served, wanted(), "the deadline passed in the queue".into());
            return Ok(Prepared { encoded, model: base.loaded.model.clone(), adapted: None, served });
        }
        if let Err(problem) = model.accepts(encoded.domain) {
            let problem = problem.to_string();
            return match ask.ladder {
                true => Ok(Prepared { encoded, model: base.loaded.model.clone(), adapted: None, served: by_base(served, wanted(), problem) }),
                false => Err(Refusal::invalid("domain", problem)),
            };
        }
        // Somebody who was adapted to beforehand.
        if let (None, Some(users)) = (&ask.support, &found.loaded.users)
            && let Some(head) = users.head(ask.shared.get("user")).map_err(|problem| Refusal::Failed { problem })?
        {
            served.kind = "segmented";
            return Ok(Prepared { encoded, model: model.clone(), adapted: Some(head), served });
        }
        let (rows, adapted) = match &ask.support {
            None => (0, None),
            Some(_) if !model.adapts() => {
                return Err(Refusal::invalid("support", format!("{} adapts to nobody; leave the support set out", wanted())));
            }
            Some(SupportSet::Kept(key)) => {
                let kept = self.shared.adaptations.get(&job.tenant, key).ok_or(Refusal::Gone { key: *key })?;
                if (kept.base, kept.patch) != (base.digest, found.loaded.digest) {
                    let problem = format!("it was adapted from another version than {}; send the support set again", wanted());
                    return Err(Refusal::Conflict { what: "adapted".into(), problem });
                }
                self.shared.metrics.adapted(true, std::time::Duration::ZERO);
                (kept.rows, Some((*key, kept.adapted, true)))
            }
            Some(SupportSet::Rows(support)) => {
                let began = Instant::now();
                let (rows, bytes) = encoding.support(ask, support)?;
                let key = key(base.digest, found.loaded.digest, &encoded, &bytes);
                let (adapted, cached) = match self.shared.adaptations.get(&job.tenant, &key) {
                    Some(kept) => (kept.adapted, true),
                    None => {
                        let mut go_on = |_| job.deadline.is_none_or(|deadline| Instant::now() < deadline);
                        let adapted = model.adapt(&mut self.scratch, rows, &mut go_on);
                        let adapted = Arc::new(adapted.map_err(|error| Refusal::Failed { problem: error.to_string() })?);
                        // What a deadline cut short is not what the next request should get.
                        if job.deadline.is_none_or(|deadline| Instant::now() < deadline) {
                            let kept = Kept { base: base.digest, patch: found.loaded.digest, rows: support.len(), adapted: adapted.clone() };
                            self.shared.adaptations.put(&job.tenant, key, kept);
                        }
                        (adapted, false)
                    }
                };
                self.shared.metrics.adapted(cached, began.elapsed());
                (support.len(), Some((key, adapted, cached)))
            }
        };
        if !model.applies(rows) {
            let reason = format!("it was not shown to be better than its base for {rows} rows to adapt from");
            return Ok(Prepared { encoded, model: base.loaded.model.clone(), adapted: None, served: by_base(served, wanted(), reason) });
        }
        let adapted = adapted.map(|(key, adapted, cached)| {
            served.adapted = Some(Adaptation { key, form: adapted.form, steps: adapted.steps, rows, cached });
            adapted
        });
        Ok(Prepared { encoded, model: model.clone(), adapted, served })
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
            while let Some(next) = ready.next_if(|next| Arc::ptr_eq(&next.request.model, &segment[0].request.model)) {
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
            .map(|Ready { request, .. }| Ask { rows: &request.encoded.rows, domain: request.encoded.domain, adapted: request.adapted.as_deref() })
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
            let answer = match &scored {
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
