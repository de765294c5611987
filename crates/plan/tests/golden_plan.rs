//! Scores of PyTorch: `reference/plan.py`.

use std::collections::BTreeMap;
use std::sync::Arc;

use acclimate_plan::{
    Activation, After, BagColumn, Branch, Columns, Isa, Layer, Linear, Network, Norm, Options, Plan, Precision, Query, Read, Rows, Scale,
    Scratch, Slot, Source, Table,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    config: Config,
    inputs: BTreeMap<String, Values>,
    parameters: BTreeMap<String, Values>,
    outputs: BTreeMap<String, Values>,
}

#[derive(Deserialize)]
struct Config {
    slots: Vec<SlotConfig>,
    layers: Vec<LayerConfig>,
    after: Vec<String>,
    unit: f32,
}

#[derive(Deserialize)]
struct SlotConfig {
    kind: String,
    table: usize,
    column: usize,
    shared: bool,
}

#[derive(Deserialize)]
struct LayerConfig {
    norm: String,
    after: Vec<String>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Case {
    fn values(&self, name: &str) -> Arc<Vec<f32>> {
        Arc::new(self.parameters[name].data.clone())
    }

    fn linear(&self, name: &str) -> Linear {
        let shape = &self.parameters[&format!("{name}.weight")].shape;
        let (weight, bias) = (self.values(&format!("{name}.weight")), self.values(&format!("{name}.bias")));
        Linear { d_in: shape[0], d_out: shape[1], weight, bias }
    }

    fn after(&self, name: &str, steps: &[String]) -> Vec<After> {
        let step = |(i, step): (usize, &String)| {
            let at = format!("{name}.after.{i}");
            if step == "scale" {
                let [gain, shift] = ["gain", "shift"].map(|part| Some(self.values(&format!("{at}.{part}"))));
                return After::Scale(Scale { gain, shift });
            }
            After::Branch(Branch {
                read: if step.contains("input") { Read::Input } else { Read::Output },
                skip: step.ends_with("skip"),
                activation: match step.split(' ').nth(2) {
                    Some("gelu") => Activation::Gelu,
                    Some("gelu_tanh") => Activation::GeluTanh,
                    Some("relu") => Activation::Relu,
                    other => panic!("{other:?}"),
                },
                down: self.linear(&format!("{at}.down")),
                up: self.linear(&format!("{at}.up")),
            })
        };
        steps.iter().enumerate().map(step).collect()
    }

    fn network(&self) -> Network {
        let tables = (0..3).map(|t| format!("table.{t}"));
        let slot = |slot: &SlotConfig| {
            let (column, table) = (slot.column, slot.table);
            let source = match slot.kind.as_str() {
                "field" => Source::Field { column, table },
                "bag" => Source::Bag { column, table },
                "number" => Source::Number { column },
                other => panic!("{other}"),
            };
            Slot { source, shared: slot.shared }
        };
        let layer = |(l, layer): (usize, &LayerConfig)| {
            let name = format!("layer.{l}");
            let norm = |part: &str| self.values(&format!("{name}.norm.{part}"));
            Layer {
                linear: self.linear(&name),
                after: self.after(&name, &layer.after),
                norm: match layer.norm.as_str() {
                    "none" => None,
                    "affine" => Some(Norm::Affine { gain: norm("gain"), shift: norm("shift") }),
                    "layer" => Some(Norm::Layer { gain: norm("gain"), shift: norm("shift"), epsilon: 1e-5 }),
                    other => panic!("{other}"),
                },
            }
        };
        Network {
            tables: tables.map(|name| Table::new(self.parameters[&name].shape[1], self.values(&name))).collect(),
            slots: self.config.slots.iter().map(slot).collect(),
            layers: self.config.layers.iter().enumerate().map(layer).collect(),
            head: self.linear("head"),
            after: self.after("head", &self.config.after),
            unit: self.config.unit,
        }
    }

    fn rows(&self) -> Rows {
        let codes = |name: &str| self.inputs[name].data.iter().map(|&code| code as u32).collect::<Vec<u32>>();
        let columns = |side: &str| Columns {
            fields: 1,
            codes: codes(&format!("{side}.codes")),
            numbers: 1,
            numeric: self.inputs[&format!("{side}.numeric")].data.clone(),
            bags: vec![BagColumn { offsets: codes(&format!("{side}.bag.offsets")), codes: codes(&format!("{side}.bag.codes")) }],
        };
        Rows { n: self.inputs["own.codes"].shape[0], shared: columns("shared"), own: columns("own") }
    }
}

fn near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{what} {i}: {found} and {expected}");
    }
}

#[test]
fn plans_say_what_pytorch_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden/plan.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in &golden.cases {
        let (network, rows) = (case.network(), [case.rows()]);
        for (isa, fold_rows) in Isa::ALL.into_iter().flat_map(|isa| [(isa, 0), (isa, 5), (isa, 100)]).filter(|(isa, _)| isa.is_here()) {
            let plan = Plan::compile(&network, &Options { fold_rows, isa: Some(isa), precision: Precision::F32 }).unwrap();
            let what = |part: &str| format!("{}, {isa}, folded up to {fold_rows}, {part}", case.name);
            let (mut scratch, mut out) = (Scratch::new(), Vec::new());
            plan.inputs(&rows[0], &mut out).unwrap();
            near(&what("x"), &out, &case.outputs["x"].data);
            plan.hidden(&mut scratch, &[Query { rows: &rows[0], personal: None }], &mut out).unwrap();
            near(&what("hidden"), &out, &case.outputs["hidden"].data);
            plan.check(&rows, &case.outputs["score"].data, 1e-5).unwrap_or_else(|problem| panic!("{}: {problem}", what("score")));
        }
    }
}
