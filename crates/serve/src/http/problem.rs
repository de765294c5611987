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
            Self::NoRoute { .. } => 404,
            Self::Method { .. } => 405,
            Self::SlowBody { .. } => 408,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Broken { .. } => "broken",
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

    /// `{"error": {"code", "message", "what"}}`.
    pub(crate) fn response(&self) -> Response<Body> {
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
        let body = Outer { error: Inner { code: self.code(), message: self.to_string(), what: self.what() } };
        let mut response = json(self.status(), &body);
        let headers = response.headers_mut();
        if let Self::Refused(Refusal::Busy { retry_ms }) = self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_ms.div_ceil(1000).max(1)));
        }
        if let Self::Method { allow, .. } = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            headers.insert(header::ALLOW, allow);
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
    response
}
