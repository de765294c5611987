//! What is fuzzed, and what a reader must not do.

use std::path::{Path, PathBuf};

use acclimate_data::RawValue;
use acclimate_serve::api::SupportSet;
use acclimate_serve::http::Limits;
use acclimate_serve::http::infer::{Datatype, Tensor, parse_infer};
use acclimate_serve::http::json::{parse_adapt, parse_events, parse_rank, parse_score};
use serde_json::Value;

use super::harness::Fuzzed;

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Bodies of `/v1/score`, `/v1/rank` and `/v1/adapt`.
    Score,
    /// Requests for inference: a line with the length of the JSON, or an empty one, then the body.
    Infer,
    /// Bodies of `/v1/events`.
    Event,
}

impl Fuzzed for Target {
    const ALL: &'static [Self] = &[Self::Score, Self::Infer, Self::Event];

    fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Infer => "infer",
            Self::Event => "event",
        }
    }

    fn corpus(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name())
    }

    fn seeds(self) -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(self.corpus()).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
        paths.sort();
        paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
    }

    fn check(self, bytes: &[u8]) -> Result<bool, String> {
        // Small enough to be met.
        let limits = Limits { rows: 64, list: 16, columns: 16, events: 16, support_rows: 8, ..Limits::default() };
        match self {
            Self::Score => check_score(bytes, &limits),
            Self::Infer => check_infer(bytes, &limits),
            Self::Event => check_events(bytes, &limits),
        }
    }
}

/// What a second reader makes of the same bytes, which the first has accepted.
fn plain(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("accepted, and it is no JSON: {error}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, read: T, plain: T) -> Result<(), String> {
    if read == plain { Ok(()) } else { Err(format!("{what}: read as {read:?}, and it says {plain:?}")) }
}

/// Whether a value is what the second reader says.
fn same_value(what: &str, read: &RawValue, plain: &Value) -> Result<(), String> {
    let read = serde_json::to_value(read).map_err(|error| error.to_string())?;
    same(what, &read, plain)
}

fn check_score(bytes: &[u8], limits: &Limits) -> Result<bool, String> {
    let ranked = parse_rank(bytes, limits);
    let adapted = parse_adapt(bytes, limits);
    let scored = parse_score(bytes, limits);
    if let (Ok(scored), Err(refusal)) = (&scored, &ranked) {
        return Err(format!("a body of {} items is taken for scores and not for a ranking: {refusal}", scored.items.len()));
    }
    if let Ok(ask) = &adapted {
        same("items", ask.items.len(), 0)?;
    }
    let Ok(ranking) = ranked else { return Ok(adapted.is_ok()) };
    let (ask, plain) = (ranking.ask, plain(bytes)?);
    let items = plain["items"].as_array().ok_or("there are no items")?;
    same("items", ask.items.len(), items.len())?;
    for (row, item) in ask.items.iter().zip(items) {
        match item {
            Value::Object(columns) => {
                same("columns", row.len(), columns.len())?;
                row.iter().try_for_each(|(name, value)| same_value(name, value, &columns[name]))?;
            }
            id => same_value("item", &row["item"], id)?,
        }
    }
    for (name, value) in &ask.shared {
        let own = plain["features"].get(name).unwrap_or(&plain[name]);
        same_value(name, value, own)?;
    }
    if let Some(SupportSet::Rows(rows)) = &ask.support {
        same("support", rows.len(), plain["support"].as_array().map_or(0, Vec::len))?;
    }
    Ok(true)
}

fn check_infer(bytes: &[u8], limits: &Limits) -> Result<bool, String> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
    let (line, body) = (&bytes[..end], &bytes[end + 1..]);
    let length = if line.is_empty() { None } else { std::str::from_utf8(line).ok().and_then(|line| line.parse::<usize>().ok()) };
    let Ok(request) = parse_infer(body, length, limits) else { return Ok(false) };
    let json = &body[..length.unwrap_or(body.len())];
    let plain = plain(json)?;
    let inputs = plain["inputs"].as_array().ok_or("there are no inputs")?;
    same("inputs", request.inputs.len(), inputs.len())?;
    let mut rest = &body[json.len()..];
    for (tensor, input) in request.inputs.iter().zip(inputs) {
        same("name", Some(tensor.name.as_str()), input["name"].as_str())?;
        let shape: Vec<u64> = [Some(tensor.rows), tensor.columns].into_iter().flatten().map(|size| size as u64).collect();
        same("shape", Value::from(shape), input["shape"].clone())?;
        same("elements", tensor.cells.len(), tensor.rows * tensor.columns.unwrap_or(1))?;
        if let Some(cell) = tensor.cells.iter().find(|cell| !is_of(tensor.datatype, cell)) {
            return Err(format!("{cell:?} is no {}", tensor.datatype));
        }
        if let Some(size) = input["parameters"]["binary_data_size"].as_u64() {
            let (bytes, after) = rest.split_at_checked(size as usize).ok_or("more bytes are taken than there are")?;
            same("bytes", Some(written(tensor)), Some(without_nan(tensor.datatype, bytes)))?;
            rest = after;
        }
    }
    same("bytes that are left", rest.len(), 0)?;
    Ok(true)
}

/// Whether an element is of a type.
fn is_of(datatype: Datatype, cell: &RawValue) -> bool {
    match (datatype, cell) {
        (Datatype::Bool, RawValue::Bool(_)) | (Datatype::Int { .. }, RawValue::Integer(_)) | (Datatype::Bytes, RawValue::Text(_)) => true,
        (Datatype::Float { .. }, RawValue::Number(value)) => value.is_finite(),
        (Datatype::Float { .. }, RawValue::Missing) => true,
        _ => false,
    }
}

/// The bytes of a tensor.
fn written(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    for cell in &tensor.cells {
        match (tensor.datatype, cell) {
            (Datatype::Int { width, .. }, RawValue::Integer(value)) => bytes.extend(&value.to_le_bytes()[..width]),
            (Datatype::Float { width: 4 }, RawValue::Number(value)) => bytes.extend((*value as f32).to_le_bytes()),
            (Datatype::Float { .. }, RawValue::Number(value)) => bytes.extend(value.to_le_bytes()),
            (Datatype::Float { width }, _) => bytes.extend(std::iter::repeat_n(0xff, width)),
            (_, RawValue::Bool(value)) => bytes.push(u8::from(*value)),
            (_, RawValue::Text(text)) => {
                bytes.extend((text.len() as u32).to_le_bytes());
                bytes.extend(text.as_bytes());
            }
            _ => {}
        }
    }
    bytes
}

/// Bytes in which every NaN is the same one.
fn without_nan(datatype: Datatype, bytes: &[u8]) -> Vec<u8> {
    let Datatype::Float { width } = datatype else { return bytes.to_vec() };
    let nan = |bytes: &[u8]| match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).is_nan(),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]).is_nan(),
        _ => false,
    };
    bytes.chunks(width).flat_map(|number| if nan(number) { vec![0xff; number.len()] } else { number.to_vec() }).collect()
}

fn check_events(bytes: &[u8], limits: &Limits) -> Result<bool, String> {
    let Ok(read) = parse_events(bytes, limits) else { return Ok(false) };
    let mut plain = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let value = value.map_err(|error| format!("accepted, and it is no JSON: {error}"))?;
        match value.get("events") {
            Some(list) => plain.extend(list.as_array().ok_or("`events` is no list")?.iter().cloned()),
            None => plain.push(value),
        }
    }
    same("events", read.events.len(), plain.len())?;
    for (event, plain) in read.events.iter().zip(&plain) {
        same("id", Some(event.id.as_str()), plain["id"].as_str())?;
        let label = plain["label"].as_f64().or_else(|| plain["label"].as_bool().map(|label| f64::from(u8::from(label))));
        same("label", Some(event.label), label)?;
        let own = ["id", "label", "time"].iter().filter(|key| plain.get(**key).is_some()).count();
        same("columns", event.given.len() + own, plain.as_object().map_or(0, serde_json::Map::len))?;
        event.given.iter().try_for_each(|(name, value)| same_value(name, value, &plain[name]))?;
    }
    Ok(true)
}
