//! Bridges against `reference/bridge.py`.

use acclimate_fit::Sparse;
use acclimate_fit::bridge::{
    BiasBridge, Bridge, Factors, FactorsConfig, ItemKnn, Known, Lesson, Map, Mapped, MappingConfig, Mixture, Observed, Pair, Popularity,
    RidgeBridge, UserKnn, joint,
};
use serde_json::Value;

const GOLDEN: &str = include_str!("../../../reference/golden/bridge.json");
const SEED: u64 = 4;

struct Golden(Value);

impl Golden {
    fn tensor(&self, section: &str, name: &str) -> Vec<f64> {
        self.0[section][name]["data"].as_array().unwrap_or_else(|| panic!("{section}/{name}")).iter().map(|x| x.as_f64().unwrap()).collect()
    }

    fn rows(&self, name: &str) -> Sparse {
        let shape = &self.0["data"][name]["shape"];
        let width = shape[1].as_u64().unwrap() as usize;
        let mut rows = Sparse::new(width);
        for row in self.tensor("data", name).chunks_exact(width) {
            rows.push(row.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(i, &x)| (i as u32, x)));
        }
        rows
    }

    fn pair(&self, kind: &str) -> Pair {
        Pair { source: self.rows(&format!("{kind}_source")), target: self.rows(&format!("{kind}_target")) }
    }

    fn agrees(&self, name: &str, bridge: &dyn Bridge, person: &Known<'_>) {
        let expected = self.tensor("outputs", name);
        let mut scores = vec![0.0; expected.len()];
        bridge.score(person, &mut scores);
        close(name, &scores, &expected);
    }
}

fn close(name: &str, found: &[f64], expected: &[f64]) {
    let most = expected.iter().fold(1e-3_f64, |a, b| a.max(b.abs()));
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(found.len() == expected.len() && error < 1e-6 * most, "{name}: {found:?} against {expected:?}");
}

fn golden() -> Golden {
    Golden(serde_json::from_str(GOLDEN).expect("a golden file"))
}

/// The last person, of whom the target is not known, with two items shown.
fn person<'a>(pair: &'a Pair, shown: (&'a [u32], &'a [f64])) -> Known<'a> {
    Known { source: pair.source.row(pair.source.len() - 1), revealed: shown }
}

const NONE: (&[u32], &[f64]) = (&[], &[]);
const SHOWN: (&[u32], &[f64]) = (&[2, 5], &[1.0, 1.0]);
const RATED: (&[u32], &[f64]) = (&[2, 5], &[4.0, 2.0]);

fn factors(ridge: f64, observed: Observed) -> FactorsConfig {
    FactorsConfig { factors: 3, ridge, sweeps: 5, observed, seed: SEED }
}

fn mapping(map: Map, lesson: Lesson, inner_rate: Option<f64>) -> MappingConfig {
    MappingConfig { map, lesson, inner_rate, epochs: 3, rate: 0.01, seed: SEED }
}

#[test]
fn counts_votes_and_ridge() {
    let golden = golden();
    let pair = golden.pair("clicks");
    golden.agrees("popularity", &Popularity::of_all(&pair), &person(&pair, NONE));
    golden.agrees("shared_popularity", &Popularity::of_shared(&pair), &person(&pair, NONE));
    golden.agrees("item_knn", &ItemKnn::new(&pair, 2.0), &person(&pair, SHOWN));
    golden.agrees("user_knn", &UserKnn::new(&pair), &person(&pair, NONE));
    golden.agrees("ridge", &RidgeBridge::new(&pair, 0.25, 5.0), &person(&pair, NONE));
}

#[test]
fn factors_and_maps_of_clicks() {
    let golden = golden();
    let pair = golden.pair("clicks");
    let config = factors(0.05, Observed::Clicks { unobserved: 0.1 });
    let both = Factors::fit(&joint(&pair), config).0;
    golden.agrees("joint", &both, &person(&pair, SHOWN));
    let [source, target] = both.split(pair.source.width);
    for (name, config) in [
        ("emcdr", mapping(Map::Linear, Lesson::Vectors, None)),
        ("emcdr_network", mapping(Map::Network(5), Lesson::Vectors, None)),
        ("tmcdr", mapping(Map::Linear, Lesson::Rows, Some(0.02))),
        ("ptupcdr", mapping(Map::Personal(4), Lesson::Rows, None)),
    ] {
        golden.agrees(name, &Mapped::fit(&pair, &source, &target, config), &person(&pair, NONE));
    }
}

#[test]
fn a_mixture_in_the_shares_of_judges() {
    let golden = golden();
    let pair = golden.pair("clicks");
    let mixture = Mixture::fit(&pair, factors(0.05, Observed::Clicks { unobserved: 0.1 }), SEED);
    assert_eq!(mixture.shares().iter().map(|(shown, _)| *shown).collect::<Vec<_>>()[..2], [0, 1]);
    golden.agrees("mixture", &mixture, &person(&pair, NONE));
    golden.agrees("mixture_shown", &mixture, &person(&pair, SHOWN));
}

#[test]
fn ratings() {
    let golden = golden();
    let pair = golden.pair("ratings");
    let bridge = BiasBridge::new(&pair, 4.0, 3.0);
    close("line", &bridge.line(), &golden.tensor("outputs", "line"));
    golden.agrees("bias_bridge", &bridge, &person(&pair, NONE));
    golden.agrees("bias_bridge_shown", &bridge, &person(&pair, RATED));
    for (name, biases) in [("plain", false), ("biases", true)] {
        let config = factors(0.1, Observed::Ratings { biases });
        let (source, target) = (Factors::fit(&pair.source, config).0, Factors::fit(&pair.target, config).0);
        let of = |config| Mapped::fit(&pair, &source, &target, config);
        golden.agrees(&format!("rated_{name}"), &of(mapping(Map::Linear, Lesson::Vectors, None)), &person(&pair, NONE));
        golden.agrees(&format!("rated_ptupcdr_{name}"), &of(mapping(Map::Personal(4), Lesson::Rows, None)), &person(&pair, NONE));
    }
}
