//! Scores as tensors.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};
use serde::Serialize;

use super::request::WantedOutput;
use crate::api::{Refusal, Served};
use crate::http::json::{shortened, unknown};
use crate::http::problem::{json, reply};

/// Says where in a body the JSON ends and the bytes begin.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The output that names what answered each row.
const PATCH: &str = "patch";

/// What is answered.
#[derive(Debug)]
pub(crate) struct InferAnswer<'a> {
    pub(crate) model: &'a str,
    pub(crate) id: Option<String>,
    pub(crate) scores: Vec<f32>,
    /// What answered each row, for rows that name their patch.
    pub(crate) patches: Vec<String>,
    /// Where the scores come from, one for each part.
    pub(crate) served: Vec<Served>,
    pub(crate) mixed: bool,
    pub(crate) wanted: Vec<WantedOutput>,
    pub(crate) binary: bool,
}

#[derive(Serialize)]
struct Outer<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: BTreeMap<&'static str, Parameter>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Parameter {
    Text(String),
    Flag(bool),
    Count(u64),
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Scores(&'a [f32]),
    Texts(&'a [String]),
}

/// Whether the outputs that are wanted are there.
pub(crate) fn check_outputs(wanted: &[WantedOutput]) -> Result<(), Refusal> {
    for (index, output) in wanted.iter().enumerate() {
        if !["score", PATCH].contains(&output.name.as_str()) {
            return Err(Refusal::invalid("outputs", unknown(&output.name, &["score", PATCH]).replace("key", "output")));
        }
        if wanted[..index].iter().any(|other| other.name == output.name) {
            return Err(Refusal::invalid("outputs", format!("`{}` is there twice", shortened(&output.name))));
        }
    }
    Ok(())
}

impl InferAnswer<'_> {
    /// The answer: JSON, and bytes behind it where they are wanted.
    pub(crate) fn response(self) -> Response<Body> {
        let everything = [Some("score"), self.mixed.then_some(PATCH)];
        let wanted: Vec<(&str, bool)> = match self.wanted.is_empty() {
            true => everything.into_iter().flatten().map(|name| (name, self.binary)).collect(),
            false => self.wanted.iter().map(|output| (output.name.as_str(), output.binary.unwrap_or(self.binary))).collect(),
        };
        let mut bytes = Vec::new();
        let outputs = wanted.into_iter().map(|(name, binary)| self.output(name, binary, &mut bytes)).collect();
        let first = &self.served[0];
        let version = first.patch.as_ref().filter(|_| !self.mixed).map_or(first.base.version, |patch| patch.source.version);
        let body = Outer {
            model_name: self.model,
            model_version: version.to_string(),
            id: self.id.as_deref(),
            parameters: self.parameters(),
            outputs,
        };
        if bytes.is_empty() {
            return json(200, &body);
        }
        let mut text = serde_json::to_vec(&body).expect("the answer is plain data with string keys");
        let length = text.len();
        text.append(&mut bytes);
        let mut response = reply(200, "application/octet-stream", text);
        response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
        response
    }

    fn output(&self, name: &str, binary: bool, bytes: &mut Vec<u8>) -> Output<'_> {
        let before = bytes.len();
        let (name, datatype, data) = match name {
            PATCH => {
                if binary {
                    self.patches.iter().for_each(|patch| {
                        bytes.extend_from_slice(&(patch.len() as u32).to_le_bytes());
                        bytes.extend_from_slice(patch.as_bytes());
                    });
                }
                (PATCH, "BYTES", Data::Texts(&self.patches))
            }
            _ => {
                if binary {
                    self.scores.iter().for_each(|score| bytes.extend_from_slice(&score.to_le_bytes()));
                }
                ("score", "FP32", Data::Scores(&self.scores))
            }
        };
        let parameters = binary.then_some(BinarySize { binary_data_size: bytes.len() - before });
        Output { name, datatype, shape: [self.scores.len()], parameters, data: (!binary).then_some(data) }
    }

    /// Where the scores come from, as far as it is the same for all rows.
    fn parameters(&self) -> BTreeMap<&'static str, Parameter> {
        let mut parameters = BTreeMap::new();
        let first = &self.served[0];
        let mut put = |key, text: String| parameters.insert(key, Parameter::Text(text));
        put("base", first.base.name.to_string());
        // Parts of a request may fall on both sides of a refresh, or of an event.
        if self.served.iter().all(|served| served.base == first.base) {
            put("base_version", first.base.version.to_string());
            put("base_digest", first.base.digest.to_string());
        }
        let kind = if self.served.iter().all(|served| served.kind == first.kind) { first.kind } else { "mixed" };
        put("kind", kind.to_owned());
        let is_one = !self.mixed && self.served.iter().all(|served| served.patch == first.patch);
        if let Some(patch) = first.patch.as_ref().filter(|_| is_one) {
            put("patch", patch.source.name.to_string());
            put("patch_version", patch.source.version.to_string());
            put("patch_digest", patch.source.digest.to_string());
            if let Some(alias) = &patch.alias {
                put("patch_alias", alias.to_string());
            }
            parameters.insert("patch_forced", Parameter::Flag(patch.forced));
        }
        if let Some(state) = first.state.as_ref().filter(|_| self.served.iter().all(|served| served.state == first.state)) {
            parameters.insert("state_position", Parameter::Count(state.position));
            parameters.extend(state.event.clone().map(|event| ("state_event", Parameter::Text(event))));
        }
        if let Some(fallback) = self.served.iter().find_map(|served| served.fallback.as_ref()) {
            parameters.insert("fallback_wanted", Parameter::Text(fallback.wanted.clone()));
            parameters.insert("fallback_got", Parameter::Text(fallback.got.clone()));
            parameters.insert("fallback_reason", Parameter::Text(fallback.reason.clone()));
        }
        parameters
    }
}

/// What answered, as a row of the output `patch`: `NAME@VERSION`, or nothing for the base.
pub(crate) fn answered_by(served: &Served) -> String {
    served.patch.as_ref().map_or_else(String::new, |patch| format!("{}@{}", patch.source.name, patch.source.version))
}
