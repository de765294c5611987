//! What the operator does.

use std::sync::atomic::Ordering;

use acclimate_registry::Name;
use axum::body::Body;
use axum::http::Response;
use serde::{Deserialize, Serialize};

use super::endpoint::Common;
use super::json::at;
use super::problem::json;
use crate::api::{At, Caller, ModelInfo, PatchInfo, Readiness, Refusal, Service};

/// Reads the registry again.
pub(crate) async fn refresh<S: Service>(service: &S) -> Response<Body> {
    #[derive(Serialize)]
    struct Refreshed {
        /// What could not be loaded and why.
        problems: Vec<String>,
    }
    json(200, &Refreshed { problems: service.refresh().await })
}

/// Loads a patch; the body may say which version, `{"at": "v3"}` or `{"at": "challenger"}`.
pub(crate) async fn load<S: Service>(service: &S, patch: &str, body: &[u8]) -> Result<Response<Body>, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Load {
        at: Option<String>,
    }
    let load = match body.trim_ascii() {
        [] => Load { at: None },
        body => serde_json::from_slice(body).map_err(|error| Refusal::invalid("the body", error.to_string()))?,
    };
    let at: Option<At> = load.at.map(|text| at("at", &text)).transpose()?;
    Ok(json(200, &service.load(name(patch)?, at).await?))
}

/// Lets a patch go from memory.
pub(crate) async fn unload<S: Service>(service: &S, patch: &str) -> Result<Response<Body>, Refusal> {
    #[derive(Serialize)]
    struct Unloaded {
        unloaded: Name,
    }
    let unloaded = name(patch)?;
    service.unload(unloaded.clone()).await?;
    Ok(json(200, &Unloaded { unloaded }))
}

/// What the operator looks at first.
pub(crate) fn status<S: Service>(common: &Common, service: &S, caller: &Caller) -> Response<Body> {
    #[derive(Serialize)]
    struct Status {
        #[serde(flatten)]
        readiness: Readiness,
        stopping: bool,
        connections: u64,
        in_flight: usize,
        models: Vec<ModelInfo>,
        patches: Vec<PatchInfo>,
    }
    json(
        200,
        &Status {
            readiness: service.readiness(),
            stopping: common.stopping.load(Ordering::Acquire),
            connections: common.counts.connections.load(Ordering::Relaxed),
            in_flight: common.in_flight(),
            models: service.models(),
            patches: service.patches(caller),
        },
    )
}

fn name(text: &str) -> Result<Name, Refusal> {
    text.parse().map_err(|error: acclimate_registry::RegistryError| Refusal::invalid("the patch", error.to_string()))
}
