//! Floors that predict a class, against values that `reference/class_floors.py` computes by direct definition.

use std::collections::BTreeMap;

use acclimate_eval::floor::classes::{ClassFloor, ClassFloorsConfig, ClassHistory, ClassRows};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    classes: usize,
    train: Rows,
    validation: Rows,
    query: Vec<Vec<u32>>,
    given: Vec<Case>,
    grids: BTreeMap<String, Vec<f64>>,
    chosen: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Deserialize)]
struct Rows {
    items: Vec<Vec<u32>>,
    classes: Vec<u32>,
}

#[derive(Deserialize)]
struct Case {
    floor: String,
    settings: BTreeMap<String, f64>,
    expected: Vec<Vec<f64>>,
}

impl Rows {
    fn rows(&self) -> ClassRows<'_> {
        ClassRows { items: &self.items, classes: &self.classes }
    }
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden/class_floors.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect(path)
}

/// The floor of a name with these settings, each a number or a list.
fn floor(name: &str, settings: &BTreeMap<String, Vec<f64>>) -> Box<dyn ClassFloor> {
    let lines: Vec<String> = settings.iter().map(|(key, values)| format!("{name}.{key} = {values:?}\n")).collect();
    let precise = if name == "logistic_regression" { "logistic_regression.tolerance = 1e-9\n" } else { "" };
    let config: ClassFloorsConfig = toml::from_str(&format!("{}{precise}", lines.concat())).unwrap();
    config.floors().into_iter().find(|floor| floor.name() == name).unwrap()
}

#[test]
fn floors_with_given_settings_match_the_reference() {
    let golden = golden();
    assert_eq!(golden.given.len(), 7, "the golden file lost cases");
    for case in &golden.given {
        let settings = case.settings.iter().map(|(key, &value)| (key.clone(), vec![value])).collect();
        let history = ClassHistory { train: golden.train.rows(), validation: ClassRows::NONE, classes: golden.classes };
        let found = floor(&case.floor, &settings).fit(&history).unwrap().score(&golden.query);
        for (found, expected) in found.chunks_exact(golden.classes).zip(&case.expected) {
            let near = found.iter().zip(expected).all(|(&a, b)| (f64::from(a) - b).abs() < 1e-6);
            assert!(near, "{} {:?}: {found:?} against {expected:?}", case.floor, case.settings);
        }
    }
}

#[test]
fn validation_chooses_what_the_reference_chooses() {
    let golden = golden();
    let history = ClassHistory { train: golden.train.rows(), validation: golden.validation.rows(), classes: golden.classes };
    for (name, settings) in &golden.chosen {
        let open = settings.keys().map(|key| (key.clone(), golden.grids[key].clone())).collect();
        let chosen = floor(name, &open).fit(&history).unwrap().chosen();
        let chosen: BTreeMap<String, f64> = chosen.into_iter().map(|chosen| (chosen.setting, chosen.value)).collect();
        assert_eq!(&chosen, settings, "{name}");
    }
}
