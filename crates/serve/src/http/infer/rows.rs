//! Columns to requests: rows that share all shared columns and the patch are one request.

use std::collections::HashMap;

use acclimate_data::RawValue;
use acclimate_registry::Name;

use super::request::InferRequest;
use super::tensor::{Datatype, Tensor};
use crate::api::{Choice, Given, ModelInfo, Refusal, ScoreAsk};
use crate::http::Limits;
use crate::http::json::{choice, deadline, list_cell, shortened, unknown};

/// The input that names the patch of each row.
pub(crate) const PATCH_ID: &str = "patch_id";

/// A request to the service, and the rows that it is of.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) ask: ScoreAsk,
    pub(crate) rows: Vec<usize>,
}

/// What a request for inference asks of the service.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) parts: Vec<Part>,
    /// Number of rows.
    pub(crate) rows: usize,
    /// Whether each row names its patch.
    pub(crate) mixed: bool,
    /// Whether outputs are bytes where it is not said of one.
    pub(crate) binary: bool,
}

/// Cuts a request into those that the service answers. `named` is the patch that the name of the model holds.
pub(crate) fn asked(mut request: InferRequest, model: &ModelInfo, named: Option<Choice>, limits: &Limits) -> Result<Asked, Refusal> {
    let settings = Settings::of(&mut request.parameters, named)?;
    let rows = request.inputs.first().map_or(0, |input| input.rows);
    if rows == 0 {
        return Err(Refusal::invalid("inputs", "there are no rows; send a tensor for each column, with at least one row"));
    }
    if let Some(other) = request.inputs.iter().find(|input| input.rows != rows) {
        let (first, name) = (&request.inputs[0].name, shortened(&other.name));
        return Err(Refusal::invalid(
            format!("inputs.{name}.shape"),
            format!("it has {} rows, and `{}` has {rows}", other.rows, shortened(first)),
        ));
    }
    let patches = request.inputs.iter().position(|input| input.name == PATCH_ID).map(|at| request.inputs.remove(at));
    if patches.is_some() && settings.choice != Choice::Base {
        return Err(Refusal::invalid(PATCH_ID, "a patch or a domain for all rows is named too; name it in one place"));
    }
    let patches = patches.map(texts).transpose()?;
    let mut columns = Vec::with_capacity(request.inputs.len());
    for input in request.inputs {
        columns.push(Column::of(input, model, limits)?);
    }
    let mut parts: Vec<Part> = Vec::new();
    let (mut known, mut key): (HashMap<Vec<u8>, usize>, _) = (HashMap::new(), Vec::new());
    for row in 0..rows {
        key.clear();
        let patch = patches.as_ref().map(|patches| patches[row].as_str()).filter(|patch| !patch.is_empty());
        put(&mut key, patch.unwrap_or_default().as_bytes());
        columns.iter().filter(|column| column.shared).for_each(|column| identify(&mut key, &column.cells[row]));
        let index = match known.get(&key) {
            Some(index) => *index,
            None => {
                if parts.len() == limits.groups {
                    let what = "requests of rows that share their columns".to_owned();
                    return Err(Refusal::TooLarge { what, found: parts.len() as u64 + 1, limit: limits.groups as u64 });
                }
                let choice = match patch {
                    Some(patch) => {
                        choice(Some(patch), None).map_err(|refusal| Refusal::invalid(format!("{PATCH_ID}[{row}]"), refusal.to_string()))?
                    }
                    None => settings.choice.clone(),
                };
                let shared = columns.iter_mut().filter(|column| column.shared);
                let shared: Given =
                    shared.map(|column| (column.name.clone(), std::mem::replace(&mut column.cells[row], RawValue::Missing))).collect();
                let (base, items) = (Some(model.name.clone()), Vec::new());
                let ask = ScoreAsk { base, choice, ladder: settings.ladder, shared, items, support: None, deadline: settings.deadline };
                parts.push(Part { ask, rows: Vec::new() });
                known.insert(key.clone(), parts.len() - 1);
                parts.len() - 1
            }
        };
        let own = columns.iter_mut().filter(|column| !column.shared);
        let item = own.map(|column| (column.name.clone(), std::mem::replace(&mut column.cells[row], RawValue::Missing))).collect();
        parts[index].ask.items.push(item);
        parts[index].rows.push(row);
    }
    Ok(Asked { parts, rows, mixed: patches.is_some(), binary: settings.binary })
}

/// The parameters of a request.
struct Settings {
    choice: Choice,
    ladder: bool,
    deadline: Option<std::time::Duration>,
    binary: bool,
}

impl Settings {
    fn of(parameters: &mut Given, named: Option<Choice>) -> Result<Self, Refusal> {
        let mut text = |key: &str| match parameters.remove(key) {
            None => Ok(None),
            Some(RawValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::invalid(format!("parameters.{key}"), "it is no text")),
        };
        let (patch, domain) = (text("patch")?, text("domain")?);
        let mut flag = |key: &str| match parameters.remove(key) {
            None => Ok(false),
            Some(RawValue::Bool(flag)) => Ok(flag),
            Some(_) => Err(Refusal::invalid(format!("parameters.{key}"), "it is neither true nor false")),
        };
        let (ladder, binary) = (flag("fallback")?, flag("binary_data_output")?);
        let deadline = match parameters.remove("timeout") {
            None | Some(RawValue::Integer(0)) => None,
            Some(RawValue::Integer(micros)) => Some(deadline("parameters.timeout", micros as f64 / 1e6)?),
            Some(_) => return Err(Refusal::invalid("parameters.timeout", "it is no whole number of microseconds")),
        };
        if let Some(other) = parameters.keys().next() {
            let known = ["patch", "domain", "fallback", "timeout", "binary_data_output"];
            return Err(Refusal::invalid("parameters", unknown(other, &known)));
        }
        let choice = match (named, patch.as_deref(), domain) {
            (Some(named), None, None) => named,
            (Some(_), ..) => {
                return Err(Refusal::invalid("parameters.patch", "the name of the model names a patch too; name it in one place"));
            }
            (None, patch, domain) => choice(patch, domain)?,
        };
        Ok(Self { choice, ladder, deadline, binary })
    }
}

/// A feature, one value for each row.
struct Column {
    name: String,
    shared: bool,
    cells: Vec<RawValue>,
}

impl Column {
    fn of(tensor: Tensor, model: &ModelInfo, limits: &Limits) -> Result<Self, Refusal> {
        let Some(info) = model.columns.iter().find(|column| column.name == tensor.name) else {
            let known: Vec<&str> = model.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Refusal::invalid("inputs", unknown(&tensor.name, &known).replace("key", "input")));
        };
        let cells = match (info.kind == "list", tensor.columns) {
            (false, None | Some(1)) => tensor.cells.into_iter().map(some_text).collect(),
            (false, Some(columns)) => {
                let problem = format!("it has {columns} values in a row, and `{}` has one; give the shape [N]", info.name);
                return Err(Refusal::invalid(format!("inputs.{}.shape", info.name), problem));
            }
            (true, None) if tensor.datatype == Datatype::Bytes => {
                let lists = tensor.cells.into_iter().enumerate().map(|(row, cell)| match cell {
                    RawValue::Text(text) if !text.is_empty() => list_cell(&text, limits.list).map_err(|error| {
                        Refusal::invalid(format!("inputs.{}[{row}]", info.name), format!("it is no list in JSON: {error}"))
                    }),
                    _ => Ok(RawValue::Missing),
                });
                lists.collect::<Result<_, _>>()?
            }
            (true, None) => tensor.cells.into_iter().map(|cell| RawValue::List(vec![cell])).collect(),
            (true, Some(0)) => (0..tensor.rows).map(|_| RawValue::List(Vec::new())).collect(),
            (true, Some(columns)) => {
                let mut cells = tensor.cells.into_iter();
                let value = |cell: &RawValue| !matches!(cell, RawValue::Missing) && *cell != RawValue::Text(String::new());
                (0..tensor.rows).map(|_| RawValue::List(cells.by_ref().take(columns).filter(value).collect())).collect()
            }
        };
        Ok(Self { name: tensor.name, shared: info.shared, cells })
    }
}

/// Empty text is no value: a tensor has no other way to leave one out.
fn some_text(cell: RawValue) -> RawValue {
    match cell {
        RawValue::Text(text) if text.is_empty() => RawValue::Missing,
        cell => cell,
    }
}

/// The texts of a column of text.
fn texts(tensor: Tensor) -> Result<Vec<String>, Refusal> {
    if !matches!(tensor.columns, None | Some(1)) || tensor.datatype != Datatype::Bytes {
        return Err(Refusal::invalid(format!("inputs.{}", tensor.name), "give BYTES of the shape [N]"));
    }
    Ok(tensor.cells.into_iter().map(|cell| if let RawValue::Text(text) = cell { text } else { String::new() }).collect())
}

fn put(key: &mut Vec<u8>, bytes: &[u8]) {
    key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    key.extend_from_slice(bytes);
}

/// Appends what tells a value from every other.
fn identify(key: &mut Vec<u8>, cell: &RawValue) {
    match cell {
        RawValue::Missing => key.push(0),
        RawValue::Bool(value) => key.extend([1, u8::from(*value)]),
        RawValue::Integer(value) => {
            key.push(2);
            key.extend(value.to_le_bytes());
        }
        RawValue::Unsigned(value) => {
            key.push(6);
            key.extend(value.to_le_bytes());
        }
        RawValue::Number(value) => {
            key.push(3);
            key.extend(value.to_bits().to_le_bytes());
        }
        RawValue::Text(text) => {
            key.push(4);
            put(key, text.as_bytes());
        }
        RawValue::List(list) => {
            key.push(5);
            key.extend_from_slice(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|cell| identify(key, cell));
        }
    }
}

/// The base and the patch that the name of a model means: `films`, or `films--tab2` for the patch `tab2` of it.
pub(crate) fn model_of(text: &str, models: &[ModelInfo]) -> Result<(ModelInfo, Option<Name>), Refusal> {
    let base = |name: &str| models.iter().find(|model| model.name.as_str() == name).cloned();
    if let Some(model) = base(text) {
        return Ok((model, None));
    }
    // A name may hold two hyphens itself, so each place is tried.
    let mut places = text.match_indices("--").map(|(at, _)| (&text[..at], &text[at + 2..]));
    let found = places.find_map(|(name, patch)| Some((base(name)?, patch.parse().ok()?)));
    found.map(|(model, patch)| (model, Some(patch))).ok_or_else(|| Refusal::Unknown { what: format!("the model `{}`", shortened(text)) })
}
