//! What tests publish: versions whose bytes follow from a number.

#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_registry::folder::{Folder, MemoryFolder};
use acclimate_registry::{About, AliasMove, Content, Digest, Draft, Floor, Kind, Measured, Name, Registry, Settings, Verdict, Version};

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn version(number: u32) -> Version {
    Version::new(number).unwrap()
}

/// A tensor file with one tensor.
pub fn tensors(values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![values.len()], &bytes).unwrap();
    safetensors::serialize([("own.weight", view)], None).unwrap()
}

pub fn about(base: u64, created: i64) -> About {
    let floor = Some(Floor { name: "item mean".to_owned(), value: 0.61 });
    About {
        methods: vec!["lora".to_owned()],
        config: serde_json::from_str(r#"{"rank": 8, "sites": ["tower.0.linear"], "alpha": 0.1}"#).unwrap(),
        base: Digest::of(format!("base {base}").as_bytes()),
        schema: Digest::of(b"schema"),
        feature_spec: Digest::of(b"features"),
        window: Some([1_600_000_000, 1_600_086_400]),
        metrics: BTreeMap::from([("auc".to_owned(), Measured { value: 0.7314, floor })]),
        parent: None,
        created,
    }
}

pub fn base(seed: u64) -> Draft {
    let files = BTreeMap::from([(name("model.safetensors"), Content::Bytes(tensors(&[seed as f32; 8])))]);
    Draft { kind: Kind::Base, name: name("tower"), about: about(0, 1_700_000_000), files, expected: BTreeMap::new() }
}

pub fn patch(of: &str, seed: u64) -> Draft {
    let config = format!("{{\"peft_type\": \"LORA\", \"r\": {seed}}}");
    let files = BTreeMap::from([
        (name("adapter_model.safetensors"), Content::Bytes(tensors(&[seed as f32, 0.5]))),
        (name("adapter_config.json"), Content::Bytes(config.into_bytes())),
    ]);
    Draft { kind: Kind::Patch, name: name(of), about: about(0, 1_700_000_000), files, expected: BTreeMap::new() }
}

pub fn to(of: &str, alias: &str, number: u32, expected: u64) -> AliasMove {
    AliasMove {
        kind: Kind::Patch,
        name: name(of),
        alias: name(alias),
        version: version(number),
        expected,
        by: "tests".to_owned(),
        reason: "it is better".to_owned(),
        verdict: Verdict::Promoted,
        force: false,
    }
}

/// What the gate said of a version, at some time.
pub fn judgement(digest: Digest, at: i64) -> acclimate_registry::Judgement {
    let users: Vec<u32> = (0..200).collect();
    let labels: Vec<f32> = users.iter().map(|user| (user % 2) as f32).collect();
    let base = vec![0.5; 200];
    let rows =
        acclimate_registry::Paired { base: &base, base_again: &base, patch: &base, labels: Some(&labels), users: &users, slices: &[] };
    let report = acclimate_registry::GateConfig::default().judge(&rows, None).unwrap();
    let (base, rows) = (Digest::of(b"base 0"), "part `test`".to_owned());
    acclimate_registry::Judgement { at, by: "tests".to_owned(), digest, base, rows, report, notes: Vec::new() }
}

/// A registry in memory that holds a base.
pub fn in_memory() -> (Arc<MemoryFolder>, Registry) {
    let folder = Arc::new(MemoryFolder::default());
    let registry = Registry::init_in(folder.clone(), Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    (folder, registry)
}

/// Changes a file behind the registry's back.
pub fn put(folder: &MemoryFolder, path: &str, bytes: &[u8]) {
    folder.remove(path).unwrap();
    folder.create(path).unwrap();
    folder.append(path, bytes).unwrap();
}

pub fn get(folder: &MemoryFolder, path: &str) -> Vec<u8> {
    let blob = folder.open(path).unwrap();
    let mut bytes = vec![0; blob.size().unwrap() as usize];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
