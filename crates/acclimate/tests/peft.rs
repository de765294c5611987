//! Low-rank patches as PEFT has them: names, shapes and values, and where a Python with torch and peft is named, PEFT's own scores.
//!
//! `ACCLIMATE_PEFT_PYTHON` names that Python; without it the last test says that it was skipped.

mod shop;

use std::path::{Path, PathBuf};
use std::process::Command;

use acclimate::Patch;
use acclimate::artifact::SavedBase;
use acclimate::model::{ArrayKind, TensorFile};
use serde_json::{Value, json};
use shop::{fails, ok, write_data};

/// A base and a low-rank patch in a folder, and both in a registry there.
fn published(at: &Path) -> (SavedBase, PathBuf) {
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    adapt(at, "lora", &["--set", "rank=2", "--set", "alpha=4"], "low.safetensors");
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    let said = ok(at, &["registry", "publish", "low", "--base", "base", "--patch", "low.safetensors"]);
    assert!(said.contains("patches/low/v000001 is published for PEFT too"), "{said}");
    (SavedBase::load(&at.join("base")).unwrap(), at.join("registry/patches/low/v000001"))
}

fn adapt(at: &Path, method: &str, rest: &[&str], out: &str) {
    let words = ["adapt", method, "--base", "base", "--train", "epochs=3", "--serve", "always", "--out", out, "--quiet"];
    ok(at, &[&words[..], rest].concat());
}

fn config(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("adapter_config.json")).unwrap()).unwrap()
}

#[test]
fn a_low_rank_patch_has_the_names_shapes_and_values_of_peft() {
    let folder = tempfile::tempdir().unwrap();
    let (base, patch) = published(folder.path());
    let config = config(&patch);
    let expected = [
        ("peft_type", json!("LORA")),
        ("r", json!(2)),
        ("lora_alpha", json!(4.0)),
        ("target_modules", json!(["tower.0.linear"])),
        ("modules_to_save", json!(["head"])),
        ("bias", json!("none")),
        ("fan_in_fan_out", json!(false)),
    ];
    expected.into_iter().for_each(|(key, value)| assert_eq!(config[key], value, "{key}"));
    let file = patch.join("adapter_model.safetensors");
    let layout = TensorFile::read(&file).unwrap().layout();
    let shape = |name: &str| layout[&format!("base_model.model.{name}")].clone();
    assert_eq!(layout.len(), 4, "{layout:?}");
    assert_eq!(shape("tower.0.linear.lora_A.weight"), (ArrayKind::Float, vec![2, 16]));
    assert_eq!(shape("tower.0.linear.lora_B.weight"), (ArrayKind::Float, vec![8, 2]));
    assert_eq!((shape("head.weight").1, shape("head.bias").1), (vec![1, 8], vec![1]));
    // There and back: every value has the same bits, and the same file is written again.
    let (ours, theirs) =
        (Patch::load(&base.base, &folder.path().join("low.safetensors")).unwrap(), Patch::load(&base.base, &file).unwrap());
    let bits = |patch: &Patch| -> Vec<Vec<u32>> {
        let values = patch.own.values.iter().chain(patch.dense.iter().map(|(_, values)| values));
        values.map(|values| values.iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&ours), bits(&theirs));
    assert_eq!(ours, theirs);
    let (_, again) = theirs.to_peft(&base.base).unwrap();
    assert_eq!(again.to_bytes(), std::fs::read(&file).unwrap());
    // A matrix is not its transpose: A of the file, column by column, is ours.
    let raw = safetensors_values(&file, "base_model.model.tower.0.linear.lora_A.weight");
    assert_eq!((raw[1], raw[16]), (ours.own.values[0][2], ours.own.values[0][1]));
}

/// The values of a tensor, read without our reader.
fn safetensors_values(file: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let offset = |at: usize| 8 + length + header[name]["data_offsets"][at].as_u64().unwrap() as usize;
    bytes[offset(0)..offset(1)].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A config as PEFT writes it, with some keys changed.
fn saved_by_peft(from: &Path, to: &Path, changes: &[(&str, Value)]) {
    std::fs::create_dir_all(to).unwrap();
    let bytes = std::fs::read(from.join("adapter_model.safetensors")).unwrap();
    // PEFT writes other metadata than ours.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header["__metadata__"] = json!({ "format": "pt" });
    let header = header.to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(to.join("adapter_model.safetensors"), file).unwrap();
    let mut written = config(from);
    written["rank_pattern"] = json!({});
    written["peft_version"] = json!("0.1");
    changes.iter().for_each(|(key, value)| written[*key] = value.clone());
    std::fs::write(to.join("adapter_config.json"), written.to_string()).unwrap();
}

#[test]
fn what_peft_saved_is_published_with_the_same_bits_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (base, patch) = published(at);
    saved_by_peft(&patch, &at.join("saved"), &[("target_modules", json!(["linear"]))]);
    let publish = |folder: &'static str| ["registry", "publish", "theirs", "--base", "base", "--peft", folder];
    ok(at, &publish("saved"));
    let theirs = at.join("registry/patches/theirs/v000001");
    let file = |folder: &Path| folder.join("adapter_model.safetensors");
    let names: Vec<String> = TensorFile::read(&file(&patch)).unwrap().layout().into_keys().collect();
    for name in &names {
        assert_eq!(safetensors_values(&file(&theirs), name), safetensors_values(&file(&patch), name), "{name}");
    }
    assert_eq!(config(&theirs), config(&patch));
    let (a, b) = (Patch::load(&base.base, &file(&patch)).unwrap(), Patch::load(&base.base, &file(&theirs)).unwrap());
    assert_eq!((a.own, a.dense), (b.own, b.dense));
    // Rows that it was trained on are unknown, so the gate asks for some that it has not seen.
    let (code, message) = fails(at, &["registry", "promote", "theirs", "--reason", "x"]);
    assert!(code == 3 && message.contains("does not say which rows it was trained on"), "{message}");
    let wrong: [(&str, Value, &str); 7] = [
        ("peft_type", json!("IA3"), "`peft_type` is not LORA"),
        ("use_rslora", json!(true), "`use_rslora` is set"),
        ("target_modules", json!("all-linear"), "is no list of names"),
        ("target_modules", json!(["tower.9.linear"]), "`tower.9.linear` is no linear layer"),
        ("modules_to_save", json!(["tower.0.linear"]), "may name the head only"),
        ("modules_to_save", Value::Null, "head"),
        ("r", json!(3), "expected numbers [3, 16]"),
    ];
    for (key, value, why) in wrong {
        saved_by_peft(&patch, &at.join("wrong"), &[(key, value)]);
        let (code, message) = fails(at, &publish("wrong"));
        assert!(code == 3 && message.contains(why), "{key}: {message}");
    }
}

#[test]
fn what_peft_does_not_know_keeps_our_form_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    published(at);
    let cases: [(&str, &[&str], &str); 4] = [
        ("film", &[], "`film` is not `lora`"),
        ("mlora", &[], "has no place in PEFT's LoRA"),
        ("lora", &["--set", "unfreeze=['rows']"], "it holds embedding rows"),
        ("lora", &["--set", "unfreeze=['biases']"], "is trained itself and has an addition"),
    ];
    for (at_case, (method, keys, why)) in cases.into_iter().enumerate() {
        let name = format!("other-{at_case}");
        adapt(at, method, keys, &format!("{name}.safetensors"));
        ok(at, &["registry", "publish", &name, "--base", "base", "--patch", &format!("{name}.safetensors")]);
        let config = config(&at.join(format!("registry/patches/{name}/v000001")));
        assert_eq!(config["peft_type"], "ACCLIMATE", "{method} {keys:?}");
        assert!(config["why"].as_str().unwrap().contains(why), "{config}");
    }
}

#[test]
fn a_published_patch_scores_as_the_file_that_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    published(at);
    let predict = |base: &str, patch: &str, out: &str| {
        ok(at, &["predict", "--base", base, "--patch", patch, "--out", out, "--quiet"]);
        let read = std::fs::read_to_string(at.join(out)).unwrap();
        read.lines().skip(1).map(|line| line.rsplitn(3, ',').take(2).map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let of_files = predict("base", "low.safetensors", "a.csv");
    let of_registry = predict("registry/bases/shop/v000001", "registry/patches/low/v000001/adapter_model.safetensors", "b.csv");
    assert!(of_files.len() > 100 && of_files.iter().any(|row| row[0] != row[1]));
    assert_eq!(of_files, of_registry);
}

#[test]
fn peft_scores_as_acclimate_does() {
    let Some(python) = std::env::var_os("ACCLIMATE_PEFT_PYTHON") else {
        eprintln!("skipped: ACCLIMATE_PEFT_PYTHON names no Python with torch and peft");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (_, patch) = published(at);
    let base = at.join("registry/bases/shop/v000001");
    ok(at, &["predict", "--base", "base", "--patch", "low.safetensors", "--out", "scores.csv", "--quiet"]);
    let script = "import sys, load_patch\nload_patch.main(*sys.argv[2:]).save_pretrained(sys.argv[1])";
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/torch");
    let mut command = Command::new(python);
    command.current_dir(at).env("PYTHONPATH", examples).args(["-c", script, "again"]).args([&base, &patch]);
    let output = command.args(["scores.csv", "users.csv", "items.csv"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let far = |key: &str| said[key].as_f64().unwrap();
    assert!(far("rows") > 100.0 && far("moved") > 1e-3, "{said}");
    assert!(far("base") < 1e-5 && far("patch") < 1e-5, "{said}");
    // What PEFT saves again has the bits that were published.
    let again = at.join("again/adapter_model.safetensors");
    for name in TensorFile::read(&patch.join("adapter_model.safetensors")).unwrap().layout().keys() {
        assert_eq!(safetensors_values(&again, name), safetensors_values(&patch.join("adapter_model.safetensors"), name), "{name}");
    }
    assert_eq!(config(&at.join("again"))["r"], 2);
    ok(at, &["registry", "publish", "again", "--base", "base", "--peft", "again"]);
    let again = at.join("registry/patches/again/v000001");
    assert_eq!(config(&again), config(&patch));
    for name in TensorFile::read(&patch.join("adapter_model.safetensors")).unwrap().layout().keys() {
        let values = |folder: &Path| safetensors_values(&folder.join("adapter_model.safetensors"), name);
        assert_eq!(values(&again), values(&patch), "{name}");
    }
}
