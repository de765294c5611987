//! What is fuzzed, and what a reader must not do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acclimate_registry::{
    AdapterConfig, Manifest, Pointer, Routes, SegmentIndex, SignatureFile, TensorLimits, check_segment, check_tensors,
};
use serde_json::Value;

use super::harness::Fuzzed;
use super::seeds;

/// A reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `manifest.json`: what is accepted is written again as the same bytes.
    Manifest,
    /// A pointer: the same.
    Alias,
    /// Routes: the same.
    Routes,
    /// `adapter_model.safetensors`: what the strict look accepts the tensor library reads, tensor for tensor, and every number is finite.
    Patch,
    /// `adapter_config.json`: what is accepted is an object that names its kind, as a lenient reader finds it, and has no key twice.
    Adapter,
    /// `manifest.sig`: what is accepted is written again as the same bytes.
    Signature,
    /// A segment: what is accepted has ascending keys, as many rows of values, and each key is found.
    Segment,
}

impl Target {
    /// Whether a file of a fixture is of the kind.
    pub(crate) fn is_seed(self, path: &Path) -> bool {
        let text = path.to_string_lossy();
        match self {
            Self::Manifest => text.ends_with("/manifest.json"),
            Self::Alias => text.contains("/aliases/"),
            Self::Routes => text.ends_with("/routes.json"),
            Self::Patch => text.ends_with(".safetensors"),
            Self::Adapter => text.ends_with("/adapter_config.json"),
            Self::Signature => text.ends_with("/manifest.sig"),
            Self::Segment => text.contains("/segments/") && text.ends_with(".safetensors"),
        }
    }
}

impl Fuzzed for Target {
    const ALL: &'static [Self] = &[Self::Manifest, Self::Alias, Self::Routes, Self::Patch, Self::Adapter, Self::Signature, Self::Segment];

    fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Alias => "alias",
            Self::Routes => "routes",
            Self::Patch => "patch",
            Self::Adapter => "adapter",
            Self::Signature => "signature",
            Self::Segment => "segment",
        }
    }

    fn corpus(self) -> PathBuf {
        seeds::corpus(self)
    }

    fn seeds(self) -> Vec<Vec<u8>> {
        seeds::of(self)
    }

    fn check(self, bytes: &[u8]) -> Result<bool, String> {
        let same = |written: Option<Vec<u8>>| match written {
            None => Ok(false),
            Some(written) if written == bytes => Ok(true),
            Some(_) => Err("what was accepted is written differently".to_owned()),
        };
        match self {
            Self::Manifest => same(Manifest::read("m", bytes).ok().map(|manifest| manifest.to_bytes())),
            Self::Alias => same(Pointer::read("a", bytes).ok().map(|pointer| pointer.to_bytes())),
            Self::Routes => same(Routes::read("r", bytes).ok().map(|routes| routes.to_bytes())),
            Self::Patch => check_patch(bytes),
            Self::Adapter => check_adapter(bytes),
            Self::Signature => same(SignatureFile::read("s", bytes).ok().map(|file| file.to_bytes())),
            Self::Segment => {
                let _ = SegmentIndex::read("i", bytes);
                check_segment("s", Box::new(Arc::new(bytes.to_vec()))).map_or(Ok(false), |()| check_users(bytes))
            }
        }
    }
}

fn check_adapter(bytes: &[u8]) -> Result<bool, String> {
    let Ok(config) = AdapterConfig::read("a", bytes) else { return Ok(false) };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("accepted, and the JSON library says {error}"))?;
    if value.get("peft_type").and_then(Value::as_str) != Some(&config.peft_type) {
        return Err("a lenient reader finds another kind".to_owned());
    }
    // Of a key that stands twice a lenient reader keeps one: there are more colons than keys.
    let (mut colons, mut in_text, mut escaped) = (0, false, false);
    for &byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => colons += 1,
            _ => {}
        }
    }
    if colons == keys(&value) { Ok(true) } else { Err("a key stands twice".to_owned()) }
}

fn keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(keys).sum::<usize>(),
        Value::Array(list) => list.iter().map(keys).sum(),
        _ => 0,
    }
}

/// As the tensor library reads it: ascending keys, each with a row of values.
fn check_users(bytes: &[u8]) -> Result<bool, String> {
    if !check_patch(bytes)? {
        return Err("accepted as a segment, and not as a tensor file".to_owned());
    }
    let read = safetensors::SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let tensor = |name: &str| read.tensor(name).map_err(|error| format!("`{name}`: {error}"));
    let (keys, values) = (tensor("keys")?, tensor("values")?);
    let keys: Vec<u64> = keys.data().as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    if values.shape().first() != Some(&keys.len()) {
        return Err(format!("{} keys have values of shape {:?}", keys.len(), values.shape()));
    }
    match keys.is_sorted_by(|a, b| a < b) {
        true => Ok(true),
        false => Err("its keys do not ascend".to_owned()),
    }
}

fn check_patch(bytes: &[u8]) -> Result<bool, String> {
    let Ok(places) = check_tensors(&Arc::new(bytes.to_vec()), &TensorLimits::PATCH, None) else { return Ok(false) };
    let read = safetensors::SafeTensors::deserialize(bytes).map_err(|error| format!("accepted, and the tensor library says {error}"))?;
    if read.len() != places.len() {
        return Err(format!("{} tensors, the tensor library finds {}", places.len(), read.len()));
    }
    for place in places {
        let tensor = read.tensor(&place.name).map_err(|error| format!("`{}`: {error}", place.name))?;
        if tensor.data() != &bytes[place.offset as usize..][..place.bytes as usize] {
            return Err(format!("`{}` lies elsewhere", place.name));
        }
        let finite = tensor.data().chunks_exact(4).all(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite());
        if tensor.dtype() == safetensors::Dtype::F32 && !finite {
            return Err(format!("`{}` holds a number that is not finite", place.name));
        }
    }
    Ok(true)
}
