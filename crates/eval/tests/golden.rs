//! Metrics against values that `reference/metrics.py` computes by direct definition.

use std::collections::BTreeMap;

use acclimate_eval::{EvaluationClasses, EvaluationQueries, EvaluationRows, LabelRange, Metric, Statistic, rank_of};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    clicks: Rows,
    ratings: Rows,
    ranking: Ranking,
    classes: Classes,
}

#[derive(Deserialize)]
struct Rows {
    users: Vec<u32>,
    #[serde(default)]
    domains: Vec<u32>,
    labels: Vec<f32>,
    predictions: Vec<f64>,
    expected: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Ranking {
    users: Vec<u32>,
    candidates: Vec<Vec<f64>>,
    positives: Vec<f64>,
    ranks: Vec<f64>,
    expected: BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Classes {
    users: Vec<u32>,
    classes: Vec<u32>,
    count: usize,
    probabilities: Vec<Vec<f64>>,
    expected: BTreeMap<String, Option<f64>>,
}

fn golden() -> Golden {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden/metrics.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect(path)
}

fn assert_all(expected: &BTreeMap<String, Option<f64>>, at_least: usize, value: impl Fn(&Metric) -> Option<f64>) {
    assert!(expected.len() >= at_least, "the golden file lost metrics");
    for (name, &expected) in expected {
        let metric: Metric = name.parse().unwrap();
        assert_eq!(&metric.to_string(), name);
        match (value(&metric), expected) {
            (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-12, "{name}: {found} against {expected}"),
            (found, expected) => assert_eq!(found, expected, "{name}"),
        }
    }
}

#[test]
fn probability_metrics_match_the_reference() {
    let clicks = golden().clicks;
    let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    let rows = EvaluationRows::new(&clicks.users, &clicks.labels).unwrap().with_domains("tab", &clicks.domains, &names).unwrap();
    assert_all(&clicks.expected, 16, |metric| Statistic::of_rows(metric, &rows, "golden", &clicks.predictions).unwrap().value());
}

#[test]
fn rating_and_list_metrics_match_the_reference() {
    let ratings = golden().ratings;
    let stars = LabelRange { low: 1.0, high: 5.0 };
    let rows = EvaluationRows::new(&ratings.users, &ratings.labels).unwrap().with_label_range(stars);
    assert_all(&ratings.expected, 17, |metric| Statistic::of_rows(metric, &rows, "golden", &ratings.predictions).unwrap().value());
}

#[test]
fn ranks_and_their_metrics_match_the_reference() {
    let ranking = golden().ranking;
    let ranks: Vec<f64> =
        ranking.positives.iter().zip(&ranking.candidates).map(|(&positive, row)| rank_of(positive, row.iter().copied())).collect();
    assert_eq!(ranks, ranking.ranks);
    let queries = EvaluationQueries::new(&ranking.users).unwrap();
    assert_all(&ranking.expected, 13, |metric| Statistic::of_ranks(metric, &queries, "golden", &ranks).unwrap().value());
}

#[test]
fn class_metrics_match_the_reference() {
    let classes = golden().classes;
    let names: Vec<String> = (0..classes.count).map(|class| class.to_string()).collect();
    let rows = EvaluationClasses::new(&classes.users, &classes.classes, &names).unwrap();
    assert_all(&classes.expected, 3, |metric| {
        Statistic::of_classes(metric, &rows, "golden", &classes.probabilities.concat()).unwrap().value()
    });
}
