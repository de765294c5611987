//! The Open Inference Protocol, version 2: metadata, readiness and inference with JSON or binary tensors.
//!
//! A model is a base, `films`, or a patch of one, `films--films-tab2`. Each column is a tensor of N rows with the name of its feature. Rows that agree in
//! all shared columns (user, time, features of the moment) form one request of the service.

mod answer;
mod binary;
mod request;
mod rows;
mod tensor;

pub use request::{InferRequest, WantedOutput, parse_infer};
pub use tensor::{Datatype, Tensor};

use std::sync::Arc;

use acclimate_registry::{Name, Version};
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use serde::Serialize;
use tokio::task::JoinSet;

use self::answer::{InferAnswer, JSON_LENGTH, answered_by, check_outputs};
use self::rows::{Asked, asked, model_of};
use super::Limits;
use super::endpoint::scored;
use super::json::{shortened, version};
use super::problem::json;
use crate::api::{Answer, At, Caller, Choice, ModelInfo, PatchInfo, Refusal, ScoreAsk, Service};

/// Requests of one request for inference that wait for the service at once, at most: a tenant that may have fewer in work has fewer here as well.
const AT_ONCE: usize = 64;

/// A model as a path names it.
pub(crate) struct ModelPath<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: Option<&'a str>,
}

/// What `GET /v2` says.
pub(crate) fn server_metadata() -> Response<Body> {
    #[derive(Serialize)]
    struct Metadata {
        name: &'static str,
        version: &'static str,
        extensions: [&'static str; 3],
    }
    let extensions = ["binary_tensor_data", "parameters", "model_repository"];
    json(200, &Metadata { name: "acclimate", version: env!("CARGO_PKG_VERSION"), extensions })
}

/// A model that is served to a caller.
struct Found {
    model: ModelInfo,
    patch: Option<PatchInfo>,
    /// The versions that are asked for.
    versions: Vec<Version>,
}

async fn found<S: Service>(service: &S, caller: &Caller, path: &ModelPath<'_>) -> Result<Found, Refusal> {
    let unknown = || Refusal::Unknown { what: format!("the model `{}`", shortened(path.name)) };
    let (model, patch) = model_of(path.name, &service.models())?;
    // Who may not score loads nothing.
    if let Some(name) = patch.as_ref().filter(|_| caller.roles.score) {
        let at = path.version.and_then(version).map_or_else(|| At::Alias(champion()), At::Version);
        service.look_up(caller, model.name.clone(), name.clone(), at).await?;
    }
    let (patch, versions) = match patch {
        None => (None, vec![model.version]),
        Some(name) => {
            let info =
                service.patches(caller).into_iter().find(|patch| patch.name == name && patch.base == model.name).ok_or_else(unknown)?;
            let versions = info.versions.iter().map(|version| version.version).collect();
            (Some(info), versions)
        }
    };
    let versions = match path.version {
        None => versions,
        Some(text) => {
            let wanted = version(text).filter(|wanted| versions.contains(wanted));
            vec![wanted.ok_or_else(|| Refusal::Unknown {
                what: format!("version `{}` of the model `{}`", shortened(text), shortened(path.name)),
            })?]
        }
    };
    Ok(Found { model, patch, versions })
}

/// What `GET /v2/models/{m}` says: the columns that a request gives.
pub(crate) async fn model_metadata<S: Service>(service: &S, caller: &Caller, path: &ModelPath<'_>) -> Result<Response<Body>, Refusal> {
    #[derive(Serialize)]
    struct Metadata<'a> {
        name: &'a str,
        versions: Vec<String>,
        platform: &'static str,
        inputs: Vec<TensorMetadata>,
        outputs: [TensorMetadata; 1],
    }
    #[derive(Serialize)]
    struct TensorMetadata {
        name: String,
        datatype: &'static str,
        shape: [i64; 1],
    }
    let found = found(service, caller, path).await?;
    let inputs = found.model.columns.into_iter().filter(|column| !column.derived).map(|column| TensorMetadata {
        name: column.name,
        datatype: if column.kind == "number" { "FP64" } else { "BYTES" },
        shape: [-1],
    });
    Ok(json(
        200,
        &Metadata {
            name: path.name,
            versions: found.versions.iter().map(|version| version.to_string()).collect(),
            platform: "acclimate",
            inputs: inputs.collect(),
            outputs: [TensorMetadata { name: "score".to_owned(), datatype: "FP32", shape: [-1] }],
        },
    ))
}

/// Whether a model can answer.
pub(crate) async fn model_ready<S: Service>(service: &S, caller: &Caller, path: &ModelPath<'_>) -> Result<Response<Body>, Refusal> {
    #[derive(Serialize)]
    struct Ready<'a> {
        name: &'a str,
        ready: bool,
    }
    let found = found(service, caller, path).await?;
    // A patch whose newest version could not be loaded goes on answering with the one before.
    let ready = service.readiness().ready && found.patch.is_none_or(|patch| !patch.versions.is_empty());
    Ok(json(if ready { 200 } else { 503 }, &Ready { name: path.name, ready }))
}

/// What `POST /v2/repository/index` says: every base and every patch.
pub(crate) fn index<S: Service>(service: &S, caller: &Caller) -> Response<Body> {
    #[derive(Serialize)]
    struct Entry {
        name: String,
        version: String,
        state: &'static str,
        reason: String,
    }
    let entry = |name: String, version: String, reason: Option<String>| Entry {
        name,
        state: if version.is_empty() { "UNAVAILABLE" } else { "READY" },
        version,
        reason: reason.unwrap_or_default(),
    };
    let mut entries: Vec<Entry> =
        service.models().iter().map(|model| entry(model.name.to_string(), model.version.to_string(), None)).collect();
    for patch in service.patches(caller) {
        let newest = patch.versions.iter().map(|version| version.version).max();
        entries.push(entry(
            format!("{}--{}", patch.base, patch.name),
            newest.map(|version| version.to_string()).unwrap_or_default(),
            patch.problem,
        ));
    }
    json(200, &entries)
}

/// The length of the JSON of a body that has bytes behind it.
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(JSON_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Refusal::invalid("Inference-Header-Content-Length", "it is no number of bytes"))
}

/// Scores the rows of a request.
pub(crate) async fn infer<S: Service>(
    service: &Arc<S>,
    caller: &Caller,
    path: &ModelPath<'_>,
    request: InferRequest,
    limits: &Limits,
) -> Result<Response<Body>, Refusal> {
    let (model, patch) = model_of(path.name, &service.models())?;
    let at = path
        .version
        .map(|text| version(text).ok_or_else(|| Refusal::Unknown { what: format!("version `{}`", shortened(text)) }))
        .transpose()?;
    let named = match (patch, at) {
        (Some(name), at) => Some(Choice::Patch { name, at: at.map_or_else(|| At::Alias(champion()), At::Version) }),
        (None, Some(at)) if at != model.version => {
            return Err(Refusal::Unknown { what: format!("version {at} of the model `{}`", shortened(path.name)) });
        }
        (None, _) => None,
    };
    check_outputs(&request.outputs)?;
    let (id, wanted) = (request.id.clone(), request.outputs.clone());
    let Asked { parts, rows, mixed, binary } = asked(request, &model, named, limits)?;
    let (places, asks): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.rows, part.ask)).unzip();
    let answers = each(service, caller, asks, limits.tenant_in_flight.min(AT_ONCE)).await?;
    let (mut scores, mut patches) = (vec![0.0; rows], vec![String::new(); rows]);
    for (rows, answer) in places.iter().zip(&answers) {
        let patch = answered_by(&answer.served);
        for (row, score) in rows.iter().zip(&answer.scores) {
            scores[*row] = *score;
            patches[*row].clone_from(&patch);
        }
    }
    let served = answers.into_iter().map(|answer| answer.served).collect();
    Ok(InferAnswer { model: path.name, id, scores, patches, served, mixed, wanted, binary }.response())
}

/// The alias that is meant where none is named.
fn champion() -> Name {
    "champion".parse().expect("it is a name")
}

/// The answers to some requests, `most` of them at once, in their order; the first refusal of any is that of all.
async fn each<S: Service>(service: &Arc<S>, caller: &Caller, asks: Vec<ScoreAsk>, most: usize) -> Result<Vec<Answer>, Refusal> {
    if asks.len() == 1 {
        let mut answers = Vec::with_capacity(1);
        for ask in asks {
            answers.push(scored(service.as_ref(), caller, ask).await?);
        }
        return Ok(answers);
    }
    let mut answers: Vec<Option<Answer>> = asks.iter().map(|_| None).collect();
    let (mut waiting, mut tasks) = (asks.into_iter().enumerate(), JoinSet::new());
    loop {
        while tasks.len() < most {
            let Some((index, ask)) = waiting.next() else { break };
            let (service, caller) = (Arc::clone(service), caller.clone());
            tasks.spawn(async move { (index, scored(service.as_ref(), &caller, ask).await) });
        }
        match tasks.join_next().await {
            None => break,
            Some(Ok((index, answer))) => answers[index] = Some(answer?),
            Some(Err(error)) => return Err(Refusal::Failed { problem: format!("a part of the request was not answered: {error}") }),
        }
    }
    answers
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| Refusal::Failed { problem: "a part of the request was not answered".to_owned() })
}
