//! Fresh users against `reference/fresh.py`.

use std::convert::Infallible;

use acclimate_fit::Sparse;
use acclimate_fit::bridge::{Bridge, Known};
use acclimate_fit::fresh::{Ease, MetaCf, MetaCfConfig, Order};
use serde_json::Value;

const GOLDEN: &str = include_str!("../../../reference/golden/fresh.json");
const SHOWN: &[u32] = &[3, 8, 12];

fn tensor(golden: &Value, section: &str, name: &str) -> Vec<f64> {
    golden[section][name]["data"].as_array().unwrap_or_else(|| panic!("{section}/{name}")).iter().map(|x| x.as_f64().unwrap()).collect()
}

fn golden() -> (Value, Sparse) {
    let golden: Value = serde_json::from_str(GOLDEN).expect("a golden file");
    let width = golden["data"]["rows"]["shape"][1].as_u64().unwrap() as usize;
    let mut rows = Sparse::new(width);
    for row in tensor(&golden, "data", "rows").chunks_exact(width) {
        rows.push(row.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(i, &x)| (i as u32, x)));
    }
    (golden, rows)
}

fn agrees(golden: &Value, name: &str, fitted: &dyn Bridge, shown: &[u32]) {
    let expected = tensor(golden, "outputs", name);
    let mut scores = vec![f64::NAN; expected.len()];
    fitted.score(&Known { source: (&[], &[]), revealed: (shown, &vec![1.0; shown.len()]) }, &mut scores);
    let most = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    let error = scores.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 1e-7 * most, "{name}: {scores:?} against {expected:?}");
}

#[test]
fn ease() {
    let (golden, rows) = golden();
    agrees(&golden, "ease", &Ease::new(&rows, 3.0).expect("a small catalogue"), SHOWN);
}

#[test]
fn meta_learning_of_exact_and_first_order() {
    let (golden, rows) = golden();
    let config = MetaCfConfig {
        factors: 4,
        shots: 3,
        queries: 4,
        negatives: 2,
        inner_steps: 3,
        inner_rate: 0.5,
        potential: 3,
        batch: 8,
        epochs: 3,
        rate: 0.02,
        seed: 4,
        ..MetaCfConfig::default()
    };
    for (name, config) in [
        ("metacf", config),
        ("metacf_first_order", MetaCfConfig { order: Order::First, ..config }),
        ("metacf_no_potential", MetaCfConfig { potential: 0, ..config }),
        ("metacf_clamped", MetaCfConfig { clamp: 0.003, ..config }),
        ("fism", MetaCfConfig { inner_steps: 0, ..config }),
    ] {
        let mut epoch = 0.0;
        let fitted: Result<MetaCf, Infallible> = MetaCf::fit(&rows, config, |_| {
            // The last epoch is the best.
            epoch += 1.0;
            Ok(epoch)
        });
        let Ok(fitted) = fitted;
        agrees(&golden, name, &fitted, SHOWN);
        if name == "metacf" {
            agrees(&golden, "metacf_one", &fitted, &SHOWN[..1]);
        }
    }
}
