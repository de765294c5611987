use std::fmt;

use acclimate_data::RawValue;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::binary;
use super::tensor::{Datatype, Tensor, from_json, rows_and_columns};
use crate::api::{Given, Refusal};
use crate::http::Limits;
use crate::http::json::{AtMost, Cell, Columns, Counted, Keys, read, shortened};

/// Most outputs that are asked for.
const OUTPUTS: usize = 16;

/// A request for inference, with its tensors decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct InferRequest {
    /// Comes back with the answer.
    pub id: Option<String>,
    /// Of the request as a whole.
    pub parameters: Given,
    /// The columns.
    pub inputs: Vec<Tensor>,
    /// What is wanted; everything where it is empty.
    pub outputs: Vec<WantedOutput>,
}

/// An output that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOutput {
    /// Its name.
    pub name: String,
    /// As bytes or in JSON; as the request says for all, where it does not say so for one.
    pub binary: Option<bool>,
}

/// Reads a request: JSON, and after so many bytes of it the tensors that are sent as bytes.
///
/// # Errors
///
/// What is wrong in which tensor: its shape, its type, its number of bytes or elements, or an element.
pub fn parse_infer(bytes: &[u8], json_bytes: Option<usize>, limits: &Limits) -> Result<InferRequest, Refusal> {
    let (json, mut rest) = match json_bytes {
        None => (bytes, &[][..]),
        Some(length) => bytes.split_at_checked(length).ok_or_else(|| {
            Refusal::invalid("Inference-Header-Content-Length", format!("it says {length} bytes of JSON, and the body has {}", bytes.len()))
        })?,
    };
    let draft = read(json, DraftSeed(limits))?;
    let count = |what: &str, found: usize, limit: usize| match found > limit {
        true => Err(Refusal::TooLarge { what: what.to_owned(), found: found as u64, limit: limit as u64 }),
        false => Ok(()),
    };
    count("inputs", draft.inputs.found, limits.columns)?;
    count("outputs", draft.outputs.found, OUTPUTS)?;
    let mut inputs: Vec<Tensor> = Vec::with_capacity(draft.inputs.found);
    for input in draft.inputs.kept {
        if inputs.iter().any(|other| other.name == input.name) {
            return Err(Refusal::invalid(format!("inputs.{}", shortened(&input.name)), "it is there twice"));
        }
        inputs.push(input.tensor(&mut rest, limits)?);
    }
    if !rest.is_empty() {
        return Err(Refusal::invalid(
            "the body",
            format!("{} bytes follow its last tensor; `binary_data_size` says how many each has", rest.len()),
        ));
    }
    Ok(InferRequest { id: draft.id, parameters: draft.parameters, inputs, outputs: draft.outputs.kept })
}

/// A tensor as it is written.
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    binary_data_size: Option<usize>,
    data: Option<Vec<RawValue>>,
}

impl Input {
    /// Takes its bytes from those that are left.
    fn tensor(self, rest: &mut &[u8], limits: &Limits) -> Result<Tensor, Refusal> {
        let what = |part: &str| format!("inputs.{}{part}", shortened(&self.name));
        let datatype = Datatype::named(&self.datatype).ok_or_else(|| {
            Refusal::invalid(
                what(".datatype"),
                format!("`{}` is no type that is read; use {}", shortened(&self.datatype), Datatype::names()),
            )
        })?;
        let (rows, columns) = rows_and_columns(&self.name, &self.shape, limits)?;
        let cells = match (self.data, self.binary_data_size) {
            (Some(data), None) => from_json(&self.name, datatype, rows, columns, data)?,
            (None, Some(size)) => {
                let too_few =
                    || Refusal::invalid(what(".parameters.binary_data_size"), format!("it says {size} bytes, and {} are left", rest.len()));
                let (bytes, after) = rest.split_at_checked(size).ok_or_else(too_few)?;
                *rest = after;
                binary::from_bytes(&self.name, datatype, rows * columns.unwrap_or(1), bytes)?
            }
            (Some(_), Some(_)) => return Err(Refusal::invalid(what(""), "it has `data` and `binary_data_size`; give one of them")),
            (None, None) => return Err(Refusal::invalid(what(""), "it has no `data` and no `binary_data_size`")),
        };
        Ok(Tensor { name: self.name, datatype, rows, columns, cells })
    }
}

struct Draft {
    id: Option<String>,
    parameters: Given,
    inputs: Counted<Input>,
    outputs: Counted<WantedOutput>,
}

#[derive(Clone, Copy)]
struct DraftSeed<'a>(&'a Limits);

impl<'de> DeserializeSeed<'de> for DraftSeed<'_> {
    type Value = Draft;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Draft, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DraftSeed<'_> {
    type Value = Draft;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with `inputs`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let mut keys = Keys::new(&["id", "parameters", "inputs", "outputs"]);
        let (mut id, mut parameters, mut inputs, mut outputs) = (None, Given::new(), None, None);
        while let Some(key) = keys.next(&mut map)? {
            match key {
                "id" => id = map.next_value()?,
                "parameters" => parameters = map.next_value_seed(Columns(self.0))?,
                "inputs" => {
                    inputs = Some(map.next_value_seed(AtMost { seed: InputSeed(self.0), limit: self.0.columns, what: "tensors" })?)
                }
                _ => outputs = Some(map.next_value_seed(AtMost { seed: OutputSeed(self.0), limit: OUTPUTS, what: "outputs" })?),
            }
        }
        let inputs = inputs.ok_or_else(|| A::Error::custom("there are no `inputs`"))?;
        Ok(Draft { id, parameters, inputs, outputs: outputs.unwrap_or(Counted { kept: Vec::new(), found: 0 }) })
    }
}

#[derive(Clone, Copy)]
struct InputSeed<'a>(&'a Limits);

impl<'de> DeserializeSeed<'de> for InputSeed<'_> {
    type Value = Input;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Input, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for InputSeed<'_> {
    type Value = Input;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a tensor: an object with `name`, `shape`, `datatype` and `data`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Input, A::Error> {
        let mut keys = Keys::new(&["name", "shape", "datatype", "parameters", "data"]);
        let (mut name, mut shape, mut datatype, mut parameters, mut data) = (None, None, None, Given::new(), None);
        while let Some(key) = keys.next(&mut map)? {
            match key {
                "name" => name = Some(map.next_value()?),
                "shape" => shape = Some(map.next_value()?),
                "datatype" => datatype = Some(map.next_value()?),
                "parameters" => parameters = map.next_value_seed(Columns(self.0))?,
                _ => {
                    let most = self.0.rows.saturating_mul(self.0.list);
                    let list: Counted<RawValue> =
                        map.next_value_seed(AtMost { seed: Cell { list: self.0.list }, limit: most, what: "elements" })?;
                    if list.found > list.kept.len() {
                        return Err(A::Error::custom(format_args!("more than {most} elements")));
                    }
                    data = Some(list.kept);
                }
            }
        }
        let size = parameters.remove("binary_data_size");
        let binary_data_size = match size {
            None => None,
            Some(RawValue::Integer(size)) if size >= 0 => Some(usize::try_from(size).unwrap_or(usize::MAX)),
            Some(_) => return Err(A::Error::custom("`binary_data_size` is no number of bytes")),
        };
        if let Some(other) = parameters.keys().next() {
            return Err(A::Error::custom(crate::http::json::unknown(other, &["binary_data_size"])));
        }
        let lacks = |key: &str| A::Error::custom(format_args!("the tensor has no `{key}`"));
        Ok(Input {
            name: name.ok_or_else(|| lacks("name"))?,
            shape: shape.ok_or_else(|| lacks("shape"))?,
            datatype: datatype.ok_or_else(|| lacks("datatype"))?,
            binary_data_size,
            data,
        })
    }
}

#[derive(Clone, Copy)]
struct OutputSeed<'a>(&'a Limits);

impl<'de> DeserializeSeed<'de> for OutputSeed<'_> {
    type Value = WantedOutput;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<WantedOutput, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OutputSeed<'_> {
    type Value = WantedOutput;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an output: an object with `name`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WantedOutput, A::Error> {
        let mut keys = Keys::new(&["name", "parameters"]);
        let (mut name, mut parameters) = (None, Given::new());
        while let Some(key) = keys.next(&mut map)? {
            match key {
                "name" => name = Some(map.next_value()?),
                _ => parameters = map.next_value_seed(Columns(self.0))?,
            }
        }
        let binary = match parameters.remove("binary_data") {
            None => None,
            Some(RawValue::Bool(binary)) => Some(binary),
            Some(_) => return Err(A::Error::custom("`binary_data` is true or false")),
        };
        if let Some(other) = parameters.keys().next() {
            return Err(A::Error::custom(crate::http::json::unknown(other, &["binary_data"])));
        }
        Ok(WantedOutput { name: name.ok_or_else(|| A::Error::custom("the output has no `name`"))?, binary })
    }
}
