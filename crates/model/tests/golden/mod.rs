//! Reads the golden files of `reference/golden`; shared by the tests of several crates.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

/// Difference that f32 arithmetic may make, relative to the largest expected value (at least 1).
pub const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

/// One case of a file; the sections that a case does not have are empty.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    pub config: serde_json::Value,
    #[serde(default)]
    pub inputs: BTreeMap<String, Array>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Array>,
    #[serde(default)]
    pub outputs: BTreeMap<String, Array>,
    #[serde(default)]
    pub gradients: BTreeMap<String, Array>,
}

/// A tensor: flat and row-major.
#[derive(Clone, Deserialize)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// All cases of `reference/golden/<name>.json`.
pub fn cases(name: &str) -> Vec<Case> {
    let path = format!("{}/../../reference/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let file: File = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    file.cases
}

/// The CPU with gradients.
pub fn device() -> Device {
    Device::flex().autodiff()
}

impl Case {
    /// An input or a parameter.
    pub fn value(&self, name: &str) -> &Array {
        self.inputs.get(name).or_else(|| self.parameters.get(name)).unwrap_or_else(|| panic!("{}: no `{name}`", self.name))
    }

    /// An input or a parameter as a leaf with gradient, leading sizes filled up with 1.
    pub fn leaf(&self, name: &str) -> Tensor<3> {
        self.value(name).constant().require_grad()
    }

    pub fn text(&self, key: &str) -> &str {
        self.config[key].as_str().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.config[key].as_f64().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    /// Compares with an output.
    pub fn check(&self, name: &str, found: Vec<f32>) {
        self.compare(name, &found, &self.outputs[name]);
    }

    /// Compares with a gradient.
    pub fn check_gradient(&self, name: &str, found: Option<Vec<f32>>) {
        let expected = &self.gradients[name];
        // No gradient at all is the gradient zero.
        let found = found.unwrap_or_else(|| vec![0.0; expected.data.len()]);
        self.compare(&format!("gradient of {name}"), &found, expected);
    }

    /// Compares the gradients of leaves with those of the file.
    pub fn check_gradients<'a>(&self, loss: &Tensor<1>, leaves: impl IntoIterator<Item = (&'a str, Tensor<3>)>) {
        let gradients = loss.backward();
        for (name, leaf) in leaves {
            self.check_gradient(name, leaf.grad(&gradients).map(to_vec));
        }
    }

    fn compare(&self, what: &str, found: &[f32], expected: &Array) {
        assert_eq!(found.len(), expected.data.len(), "{}: size of {what}", self.name);
        let scale = expected.data.iter().fold(1.0f64, |a, e| a.max(e.abs()));
        for (i, (&f, &e)) in found.iter().zip(&expected.data).enumerate() {
            let error = (f64::from(f) - e).abs();
            assert!(error <= TOLERANCE * scale, "{}: {what} at {i} is {f}, the reference says {e}", self.name);
        }
    }
}

impl Array {
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    pub fn u32(&self) -> Vec<u32> {
        self.data.iter().map(|&x| x as u32).collect()
    }

    /// The shape with leading ones, three sizes in all.
    pub fn shape3(&self) -> [usize; 3] {
        let mut shape = [1; 3];
        shape[3 - self.shape.len()..].copy_from_slice(&self.shape);
        shape
    }

    /// A tensor without gradient.
    pub fn constant(&self) -> Tensor<3> {
        Tensor::from_data(TensorData::new(self.f32(), self.shape3()), &device())
    }
}

/// Values on the host.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("tensors hold f32")
}
