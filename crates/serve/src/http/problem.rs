use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use thiserror::Error;

use crate::api::Refusal;

/// Why a request of HTTP is not answered: the service refuses, or it did not get that far.
#[derive(Clone, Debug, Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no key came; send `Authorization: Bearer KEY` or `X-API-Key: KEY`")]
    NoKey,
    #[error("the key is not known; check it with whoever gave it")]
    WrongKey,
    #[error("the key `{key}` has not the role `{role}`; ask for it, or use another key")]
    Role { key: String, role: &'static str },
    #[error("pages of other places may not ask; send the request without `Origin`")]
    Origin,
    #[error("the body is compressed in a way that is not read; use gzip, deflate or none")]
    Coding,
    #[error("there is nothing at {path}; GET /openapi.json says what there is")]
    NoRoute { path: String },
    #[error("{method} is not for this path; use {allow}")]
    Method { method: String, allow: String },
    #[error("the body did not come within {ms} ms; send it faster, or in parts")]
    SlowBody { ms: u64 },
    #[error("the body broke off: {problem}")]
    Broken { problem: String },
}

impl Problem {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Broken { .. } => 400,
            Self::NoKey | Self::WrongKey => 401,
            Self::Role { .. } | Self::Origin => 403,
            Self::NoRoute { .. } => 404,
            Self::Method { .. } => 405,
            Self::SlowBody { .. } => 408,
            Self::Coding => 415,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Broken { .. } => "broken",
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::Role { .. } => "role",
            Self::Origin => "origin",
            Self::Coding => "coding",
            Self::NoRoute { .. } => "no_route",
            Self::Method { .. } => "method",
            Self::SlowBody { .. } => "slow_body",
        }
    }

    /// The place in the request.
    fn what(&self) -> Option<&str> {
        match self {
            Self::Refused(
                Refusal::Invalid { what, .. } | Refusal::Unknown { what } | Refusal::Conflict { what, .. } | Refusal::TooLarge { what, .. },
            ) => Some(what),
            _ => None,
        }
    }

    /// Whether some of the request is left unread, so that no other can follow it.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::SlowBody { .. } | Self::Broken { .. })
    }

    /// `{"error": {"code", "message", "what"}}`; of the Open Inference Protocol `{"error": message, "code", "what"}`, since its clients read the message there.
    pub(crate) fn response(&self, path: &str) -> Response<Body> {
        #[derive(Serialize)]
        struct Flat<'a> {
            error: String,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            what: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Outer<'a> {
            error: Inner<'a>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            code: &'static str,
            message: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            what: Option<&'a str>,
        }
        let (code, message, what) = (self.code(), self.to_string(), self.what());
        let mut response = match path == "/v2" || path.starts_with("/v2/") {
            true => {
                let message =
                    what.filter(|what| !message.starts_with(what)).map_or_else(|| message.clone(), |what| format!("{what}: {message}"));
                json(self.status(), &Flat { error: message, code, what })
            }
            false => json(self.status(), &Outer { error: Inner { code, message, what } }),
        };
        let headers = response.headers_mut();
        if let Self::Refused(Refusal::Busy { retry_ms }) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1000).max(1)));
        }
        if let Self::Method { allow, .. } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
        }
        if self.status() == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn json(status: u16, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => reply(status, "application/json", bytes),
        Err(error) => reply(500, "text/plain; charset=utf-8", format!("the answer can not be written: {error}").into_bytes()),
    }
}

/// An answer of some bytes.
pub(crate) fn reply(status: u16, kind: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Text of a request that comes back in a message is no page.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
