//! A request on its way to the service and back.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Instant;

use acclimate_data::RawValue;
use acclimate_registry::Name;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::http::{Extensions, HeaderMap, Response, Uri, header};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Limits;
use super::access::{Access, Asking};
use super::admin;
use super::body::{Budget, Held, read};
use super::counts::Counts;
use super::document;
use super::infer::{self, ModelPath, parse_infer};
use super::inflate::inflated;
use super::json::{Ranking, parse_adapt, parse_events, parse_rank, parse_score, shortened};
use super::problem::{Problem, json, reply};
use super::route::{Call, Listener, ROUTES, Route};
use crate::api::{Answer, Caller, Refusal, ScoreAsk, Served, Service};
use crate::audit::{Audit, AuditEntry};

/// What all requests share, whatever the service is.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) limits: Limits,
    pub(crate) counts: Counts,
    pub(crate) bodies: Arc<Budget>,
    /// One permit for each request in work.
    pub(crate) work: Semaphore,
    /// One permit for each request of a tenant in work.
    pub(crate) tenants: BTreeMap<String, Semaphore>,
    /// The order to stop has come.
    pub(crate) stopping: AtomicBool,
    pub(crate) audit: Option<Audit>,
}

impl Common {
    /// Requests in work.
    pub(crate) fn in_flight(&self) -> usize {
        self.limits.in_flight.saturating_sub(self.work.available_permits())
    }

    /// Records a denial.
    fn denied(&self, who: &str, route: &Route, denied: &Problem) {
        let who = if let Problem::Role { key, .. } = denied { key } else { who };
        self.record("denied", who, format!("{} {}", route.method, route.path), denied.to_string());
    }

    /// Records what was done or denied.
    pub(crate) fn record(&self, event: &str, who: &str, what: String, why: String) {
        if let Some(audit) = &self.audit {
            audit.record(AuditEntry { event: event.to_owned(), who: who.to_owned(), what, why });
        }
    }
}

/// The address that a connection comes from, as an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

fn peer(extensions: &Extensions) -> String {
    extensions.get::<Peer>().map_or_else(|| "unknown".to_owned(), |peer| peer.0.to_string())
}

/// What an endpoint has.
pub(crate) struct Context<S> {
    pub(crate) common: Arc<Common>,
    pub(crate) service: Arc<S>,
    pub(crate) access: Arc<Access>,
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { common: Arc::clone(&self.common), service: Arc::clone(&self.service), access: Arc::clone(&self.access) }
    }
}

/// The routes of a listener.
pub(crate) fn router<S: Service>(listener: Listener, context: &Context<S>) -> Router {
    let mut router = Router::new();
    for (index, route) in ROUTES.iter().enumerate().filter(|(_, route)| route.listener == listener) {
        router = router.route(route.path, endpoint(index, route, context.clone()));
    }
    let wrong_method = move |request: Request| async move {
        let path = request.uri().path();
        let here = ROUTES.iter().filter(|route| route.listener == listener && matches(route.path, path));
        let allow: Vec<&str> = here.map(|route| route.method).collect();
        Problem::Method { method: shortened(request.method().as_str()), allow: allow.join(", ") }.response(path)
    };
    let common = Arc::clone(&context.common);
    let nowhere = move |uri: Uri| async move {
        common.counts.lost();
        Problem::NoRoute { path: shortened(uri.path()) }.response(uri.path())
    };
    router.method_not_allowed_fallback(wrong_method).fallback(nowhere)
}

/// Whether a path is one of those that a route takes.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(part)) if wanted == part || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}

fn endpoint<S: Service>(index: usize, route: &'static Route, context: Context<S>) -> MethodRouter {
    let filter = if route.method == "POST" { MethodFilter::POST } else { MethodFilter::GET };
    on(filter, move |parameters: Result<RawPathParams, RawPathParamsRejection>, request: Request| async move {
        let began = Instant::now();
        let answered = unless_it_panics(respond(route, &context, parameters.ok(), request)).await;
        let response = answered.unwrap_or_else(|problem| problem.response(route.path));
        context.common.counts.answered(index, response.status().as_u16(), began.elapsed());
        response
    })
}

/// What comes of a request; a fault of ours ends that request only, and is told as one.
async fn unless_it_panics<T>(answer: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let mut answer = pin!(answer);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
        Ok(polled) => polled,
        Err(_) => {
            Poll::Ready(Err(Refusal::Failed { problem: "a fault of the server, which its log tells of; report it".to_owned() }.into()))
        }
    })
    .await
}

async fn respond<S: Service>(
    route: &Route,
    context: &Context<S>,
    parameters: Option<RawPathParams>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let Context { common, service, access } = context;
    let allowed = access.check(&head.headers, route.needs).and_then(|asking| match head.headers.contains_key(header::ORIGIN) {
        // A page that a browser of this machine shows could ask what only this machine may.
        true if route.method == "POST" => Err(Problem::Origin),
        _ => Ok(asking),
    });
    let Asking { key, caller } = allowed.inspect_err(|denied| common.denied(&peer(&head.extensions), route, denied))?;
    // A path that is no text is that of nothing.
    let parameters = parameters.ok_or_else(|| Problem::NoRoute { path: shortened(head.uri.path()) })?;
    let part = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let model = ModelPath { name: part("model").unwrap_or_default(), version: part("version") };
    if route.listener == Listener::Admin && route.method == "POST" {
        common.record("admin", &key, format!("{} {}", route.method, head.uri.path()), "asked".to_owned());
    }
    match route.call {
        Call::Score => {
            let held = received(common, &head.headers, body, common.limits.body_bytes).await?;
            let _permit = permit(common, &caller)?;
            let (ask, _held) = parsed(common, held, parse_score).await?;
            may_adapt(common, route, &key, &caller, &ask)?;
            let answer = scored(service.as_ref(), &caller, ask).await?;
            Ok(json(200, &answer))
        }
        Call::Rank => {
            let held = received(common, &head.headers, body, common.limits.body_bytes).await?;
            let _permit = permit(common, &caller)?;
            let (Ranking { ask, k }, _held) = parsed(common, held, parse_rank).await?;
            may_adapt(common, route, &key, &caller, &ask)?;
            let items: Vec<Option<RawValue>> = ask.items.iter().map(|row| row.get("item").cloned()).collect();
            let answer = scored(service.as_ref(), &caller, ask).await?;
            Ok(json(200, &ranked(items, answer, k)))
        }
        Call::Adapt => {
            let held = received(common, &head.headers, body, common.limits.body_bytes).await?;
            let _permit = permit(common, &caller)?;
            let (ask, _held) = parsed(common, held, parse_adapt).await?;
            #[derive(Serialize)]
            struct Adapted {
                served: Served,
            }
            Ok(json(200, &Adapted { served: service.adapt(&caller, ask).await? }))
        }
        Call::Events => {
            let held = received(common, &head.headers, body, common.limits.events_bytes).await?;
            let _permit = permit(common, &caller)?;
            let (read, _held) = parsed(common, held, parse_events).await?;
            let base = named_base(head.uri.query(), read.base)?;
            Ok(json(200, &service.record(&caller, base, read.events).await?))
        }
        Call::Patches => {
            #[derive(Serialize)]
            struct Patches<T> {
                patches: T,
            }
            Ok(json(200, &Patches { patches: service.patches(&caller) }))
        }
        Call::Live => Ok(reply(200, "text/plain; charset=utf-8", "alive\n")),
        Call::Ready => Ok(ready(common, service.as_ref())),
        Call::Metrics => {
            let mut text = String::new();
            common.counts.write(common.in_flight(), common.bodies.taken(), &mut text);
            service.metrics(&mut text);
            Ok(reply(200, "text/plain; version=0.0.4; charset=utf-8", text))
        }
        Call::OpenApi => Ok(reply(200, "application/json", document::OPENAPI)),
        Call::Docs => Ok(document::page()),
        Call::ServerMetadata => Ok(infer::server_metadata()),
        Call::ModelMetadata => {
            let _permit = permit(common, &caller)?;
            Ok(infer::model_metadata(service.as_ref(), &caller, &model).await?)
        }
        Call::ModelReady => {
            let _permit = permit(common, &caller)?;
            Ok(infer::model_ready(service.as_ref(), &caller, &model).await?)
        }
        Call::Index => Ok(infer::index(service.as_ref(), &caller)),
        Call::Infer => {
            let length = infer::json_length(&head.headers)?;
            let held = received(common, &head.headers, body, common.limits.body_bytes).await?;
            let _permit = permit(common, &caller)?;
            let (request, _held) = parsed(common, held, move |bytes, limits| parse_infer(bytes, length, limits)).await?;
            Ok(infer::infer(service, &caller, &model, request, &common.limits).await?)
        }
        Call::Refresh => Ok(admin::refresh(service.as_ref()).await),
        Call::Load => {
            let held = received(common, &head.headers, body, common.limits.body_bytes).await?;
            Ok(admin::load(service.as_ref(), part("patch").unwrap_or_default(), &held.bytes).await?)
        }
        Call::Unload => Ok(admin::unload(service.as_ref(), part("patch").unwrap_or_default()).await?),
        Call::Status => Ok(admin::status(common, service.as_ref(), &caller)),
    }
}

/// Support sets cost more than scores, so that a key that only scores brings none.
fn may_adapt(common: &Common, route: &Route, key: &str, caller: &Caller, ask: &ScoreAsk) -> Result<(), Problem> {
    if ask.support.is_none() || caller.roles.adapt {
        return Ok(());
    }
    let denied = Problem::Role { key: key.to_owned(), role: "adapt" };
    common.denied(key, route, &denied);
    Err(denied)
}

/// The body of a request.
async fn received(common: &Common, headers: &HeaderMap, body: Body, most: usize) -> Result<Held, Problem> {
    let held = read(headers, body, most, &common.limits, &common.bodies).await?;
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(held);
    }
    // What comes out of a few bytes may take milliseconds, as a large body does.
    let (headers, inflation) = (headers.clone(), common.limits.inflation);
    let read = move || inflated(&headers, held, most, inflation);
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(Refusal::Failed { problem: format!("reading the body failed: {error}") }.into()))
}

/// Bodies beyond this are read on a thread of their own: reading them takes milliseconds, in which a thread of the runtime answers nobody.
const LARGE: usize = 64 << 10;

/// What a body says, with the body: what was made of it is no smaller, and counts as long as it lives.
async fn parsed<T: Send + 'static>(
    common: &Arc<Common>,
    held: Held,
    parse: impl FnOnce(&[u8], &Limits) -> Result<T, Refusal> + Send + 'static,
) -> Result<(T, Held), Refusal> {
    if held.bytes.len() <= LARGE {
        return Ok((parse(&held.bytes, &common.limits)?, held));
    }
    let common = Arc::clone(common);
    let read = move || {
        // With its share of the memory for bodies, whether or not anybody still waits.
        let held = held;
        Ok((parse(&held.bytes, &common.limits)?, held))
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(Refusal::Failed { problem: format!("reading the body failed: {error}") }))
}

/// Leave to work on a request; refused at once where too many are in work, since waiting here would only make all of them late.
fn permit<'a>(common: &'a Common, caller: &Caller) -> Result<(Option<SemaphorePermit<'a>>, SemaphorePermit<'a>), Problem> {
    let busy = |_| Refusal::Busy { retry_ms: 1_000 };
    let own = common.tenants.get(&caller.tenant).map(Semaphore::try_acquire).transpose().map_err(busy)?;
    Ok((own, common.work.try_acquire().map_err(busy)?))
}

/// The base that the query or the body names.
fn named_base(query: Option<&str>, body: Option<Name>) -> Result<Option<Name>, Refusal> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(body) };
    let Some(base) = query.strip_prefix("base=").filter(|base| !base.contains('&')) else {
        return Err(Refusal::invalid("the query", "only `base=NAME` is known"));
    };
    let base: Name = base.parse().map_err(|error: acclimate_registry::RegistryError| Refusal::invalid("base", error.to_string()))?;
    match body {
        Some(other) if other != base => Err(Refusal::invalid("base", format!("the query says {base} and the body says {other}"))),
        _ => Ok(Some(base)),
    }
}

/// Scores, one for each row: finite, or [`NO_SCORE`].
pub(crate) async fn scored<S: Service>(service: &S, caller: &Caller, ask: ScoreAsk) -> Result<Answer, Refusal> {
    let rows = ask.items.len();
    let answer = service.score(caller, ask).await?;
    if answer.scores.len() != rows {
        return Err(Refusal::Failed { problem: format!("{} scores came of {rows} rows", answer.scores.len()) });
    }
    match answer.scores.iter().position(|score| !score.is_finite() && *score != NO_SCORE) {
        None => Ok(answer),
        Some(row) => Err(Refusal::Failed { problem: format!("the score of items[{row}] is not finite") }),
    }
}

/// The score of a row that has none, such as an item that a base of sequences was never taught: `null` in JSON, and behind all others in a ranking.
const NO_SCORE: f32 = f32::NEG_INFINITY;

/// Rows in the order of their scores.
#[derive(Serialize)]
struct Ranked {
    ranked: Vec<RankedItem>,
    served: Served,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unknown: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct RankedItem {
    /// As the request names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<RawValue>,
    /// Where it is in the request.
    position: usize,
    score: f32,
}

/// The first k by score; equal ones in the order of the request.
fn ranked(mut items: Vec<Option<RawValue>>, answer: Answer, k: Option<usize>) -> Ranked {
    let scores = &answer.scores;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let before = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    let k = k.unwrap_or(order.len()).min(order.len());
    if k < order.len() {
        order.select_nth_unstable_by(k, before);
        order.truncate(k);
    }
    order.sort_unstable_by(before);
    let ranked = order.into_iter().map(|position| RankedItem { item: items[position].take(), position, score: scores[position] });
    Ranked { ranked: ranked.collect(), served: answer.served, unknown: answer.unknown }
}

/// Whether requests should come.
fn ready<S: Service>(common: &Common, service: &S) -> Response<Body> {
    let mut readiness = service.readiness();
    if common.stopping.load(Ordering::Acquire) {
        readiness.ready = false;
        readiness.reasons.push("the server is shutting down".to_owned());
    }
    json(if readiness.ready { 200 } else { 503 }, &readiness)
}
