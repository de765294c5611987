//! Reads the golden files of `reference/golden` as plain numbers.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::Arc;

use acclimate_plan::{Layer, Linear, Network, Slot, Source};
use serde_json::Value;

/// One case of a file.
pub struct Case {
    pub name: String,
    pub config: Value,
    values: Value,
}

/// A tensor: flat and row-major.
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// All cases of `reference/golden/<name>.json`.
pub fn cases(name: &str) -> Vec<Case> {
    let path = format!("{}/../../reference/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let case =
        |case: &Value| Case { name: case["name"].as_str().expect("a name").into(), config: case["config"].clone(), values: case.clone() };
    file["cases"].as_array().expect("a list").iter().map(case).collect()
}

impl Case {
    fn array(&self, sections: &[&str], name: &str) -> Option<Array> {
        let tensor = sections.iter().find_map(|section| self.values[*section].get(name))?;
        let list = |key: &str| tensor[key].as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number"));
        Some(Array { shape: list("shape").map(|n| n as usize).collect(), data: list("data").collect() })
    }

    /// An input or a parameter.
    pub fn value(&self, name: &str) -> Array {
        self.array(&["inputs", "parameters"], name).unwrap_or_else(|| panic!("{}: no `{name}`", self.name))
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.value(name).data.iter().map(|x| *x as f32).collect()
    }

    pub fn text(&self, key: &str) -> &str {
        self.config[key].as_str().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    /// Compares with an output, to a difference relative to its largest value, at least 1.
    pub fn check(&self, name: &str, found: &[f32], tolerance: f64) {
        let expected = self.array(&["outputs"], name).unwrap_or_else(|| panic!("{}: no output `{name}`", self.name));
        self.near(name, found, &expected.data, tolerance);
    }

    /// The same of the part of one task.
    pub fn check_part(&self, name: &str, task: usize, found: &[f32], tolerance: f64) {
        let expected = self.array(&["outputs"], name).unwrap_or_else(|| panic!("{}: no output `{name}`", self.name));
        let size = expected.data.len() / expected.shape[0];
        self.near(name, found, &expected.data[task * size..][..size], tolerance);
    }

    fn near(&self, name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len(), "{}: size of {name}", self.name);
        let scale = expected.iter().fold(1.0f64, |a, e| a.max(e.abs()));
        for (at, (f, e)) in found.iter().zip(expected).enumerate() {
            // False also of what is not a number.
            let near = (f64::from(*f) - e).abs() <= tolerance * scale;
            assert!(near, "{}: {name} at {at} is {f}, the reference says {e}", self.name);
        }
    }
}

/// The linear maps `0.weight`, `0.bias`, `1.weight`, .. of a case, the last as the head; its row is all numbers.
pub fn network(case: &Case) -> Network {
    let widths: Vec<usize> =
        case.config["widths"].as_array().expect("a list").iter().map(|w| w.as_u64().expect("a width") as usize).collect();
    let linear = |l: usize| Linear {
        d_in: widths[l],
        d_out: widths[l + 1],
        weight: Arc::new(case.f32(&format!("{l}.weight"))),
        bias: Arc::new(case.f32(&format!("{l}.bias"))),
    };
    let head = widths.len() - 2;
    Network {
        tables: Vec::new(),
        slots: (0..widths[0]).map(|column| Slot { source: Source::Number { column }, shared: false }).collect(),
        layers: (0..head).map(|l| Layer { linear: linear(l), after: Vec::new(), norm: None }).collect(),
        head: linear(head),
        after: Vec::new(),
        unit: 1.0,
    }
}
