//! What is expected with a spread: cut points and metrics against `reference/spread.py`, laws on simulated ratings, and how panels treat those without.

use std::collections::BTreeMap;

use acclimate_eval::{
    Bootstrap, Entrant, EvalError, EvaluationRows, Kind, LabelRange, Leaderboard, Metric, Ordinal, Outcome, Paint, Panel, Place, Report,
    Said, Spread, Statistic,
};
use acclimate_fit::Expected;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    values: Vec<f64>,
    users: Vec<u32>,
    labels: Vec<f32>,
    predictions: Vec<f32>,
    deviations: Vec<f32>,
    weights: Vec<f64>,
    cuts: Vec<f64>,
    offset: f64,
    ordinal: BTreeMap<String, f64>,
    gaussian: BTreeMap<String, f64>,
}

fn metric(name: &str) -> Metric {
    name.parse().unwrap()
}

#[test]
fn cut_points_and_metrics_match_the_reference() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden/spread.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).expect(path)).expect(path);
    assert!(golden.cases.len() >= 2, "the golden file lost cases");
    for case in golden.cases {
        let square = |sd: f32| f64::from(sd).powi(2);
        let rows = (0..case.labels.len()).map(|i| Expected {
            mean: case.predictions[i].into(),
            variance: square(case.deviations[i]),
            rating: case.labels[i].into(),
            weight: case.weights[i],
        });
        let ordinal = Ordinal::fit(case.values.clone(), &rows.collect::<Vec<_>>()).unwrap();
        for (found, expected) in ordinal.cuts.iter().zip(&case.cuts) {
            assert!((found - expected).abs() < 1e-9, "{}: {:?} against {:?}", case.name, ordinal.cuts, case.cuts);
        }
        let range = LabelRange { low: case.values[0], high: case.values[case.values.len() - 1] };
        let rows = EvaluationRows::new(&case.users, &case.labels).unwrap().with_label_range(range);
        let offset = rows.best_offset("golden", &case.predictions).unwrap();
        assert!((offset - case.offset).abs() < 1e-9, "{}: offset {offset} against {}", case.name, case.offset);
        for (head, expected) in [(Some(&ordinal), &case.ordinal), (None, &case.gaussian)] {
            assert_eq!(expected.len(), 5, "the golden file lost metrics");
            let spread = Spread::new(case.deviations.clone(), head);
            for (name, expected) in expected {
                let said = Said { predictions: &case.predictions, spread: Some(&spread), offset: Some(offset) };
                let found = Statistic::of_said(&metric(name), &rows, "golden", said).unwrap().value().unwrap();
                assert!((found - expected).abs() < 1e-9, "{}: {name} is {found} and not {expected}", case.name);
            }
        }
    }
}

/// A standard normal for a place.
fn normal(place: u32) -> f64 {
    let uniform = |salt: u32| {
        let mut x = (place * 2 + salt).wrapping_mul(0x9E37_79B1) ^ 0x85EB_CA6B;
        x = (x ^ (x >> 15)).wrapping_mul(0x2C1B_3C6D);
        x = (x ^ (x >> 12)).wrapping_mul(0x297A_2D39);
        (f64::from(x ^ (x >> 15)) + 0.5) / 4_294_967_296.0
    };
    (-2.0 * uniform(0).ln()).sqrt() * (std::f64::consts::TAU * uniform(1)).cos()
}

const ROWS: u32 = 6000;

/// Means, deviations, and what comes of them.
fn simulated() -> (Vec<f32>, Vec<f32>, Vec<f64>) {
    let mean: Vec<f32> = (0..ROWS).map(|i| (3.2 + 0.7 * normal(i)) as f32).collect();
    let deviation: Vec<f32> = (0..ROWS).map(|i| (0.9 * (0.3 * normal(ROWS + i)).exp()) as f32).collect();
    let latent = (0..ROWS).map(|i| f64::from(mean[i as usize]) + f64::from(deviation[i as usize]) * normal(2 * ROWS + i)).collect();
    (mean, deviation, latent)
}

fn value(name: &str, labels: &[f32], mean: &[f32], spread: &Spread) -> f64 {
    let users: Vec<u32> = (0..ROWS).map(|i| i / 10).collect();
    let rows = EvaluationRows::new(&users, labels).unwrap();
    let said = Said { predictions: mean, spread: Some(spread), offset: None };
    Statistic::of_said(&metric(name), &rows, "law", said).unwrap().value().unwrap()
}

#[test]
fn intervals_cover_what_they_say_and_the_true_spread_has_the_best_density() {
    let (mean, deviation, latent) = simulated();
    let labels: Vec<f32> = latent.iter().map(|x| *x as f32).collect();
    let times = |factor: f32| Spread::new(deviation.iter().map(|sd| sd * factor).collect(), None);
    for (name, share) in [("coverage@50", 0.5), ("coverage@90", 0.9)] {
        let found = value(name, &labels, &mean, &times(1.0));
        // Three standard deviations of a share of 6,000.
        assert!((found - share).abs() < 3.0 * (share * (1.0 - share) / f64::from(ROWS)).sqrt(), "{name}: {found}");
        assert!(
            value(name, &labels, &mean, &times(0.5)) < share - 0.1 && value(name, &labels, &mean, &times(2.0)) > share + 0.05,
            "{name}"
        );
    }
    let density = |factor| value("nlpd", &labels, &mean, &times(factor));
    assert!(density(1.0) < density(0.8) && density(1.0) < density(1.25));
}

#[test]
fn a_grid_is_found_again_and_covers_at_least_its_share() {
    let (mean, deviation, latent) = simulated();
    let (values, cuts) = (vec![1.0, 2.0, 3.0, 4.0, 5.0], [1.7, 2.3, 3.1, 4.4]);
    let labels: Vec<f32> = latent.iter().map(|x| values[cuts.iter().filter(|cut| *cut < x).count()] as f32).collect();
    let rows = (0..ROWS as usize).map(|i| Expected {
        mean: mean[i].into(),
        variance: f64::from(deviation[i]).powi(2),
        rating: labels[i].into(),
        weight: 1.0,
    });
    let ordinal = Ordinal::fit(values, &rows.collect::<Vec<_>>()).unwrap();
    for (found, cut) in ordinal.cuts.iter().zip(cuts) {
        assert!((found - cut).abs() < 0.06, "{:?}", ordinal.cuts);
    }
    let spread = Spread::new(deviation.clone(), Some(&ordinal));
    for (name, share) in [("coverage@50", 0.5), ("coverage@90", 0.9)] {
        assert!(value(name, &labels, &mean, &spread) > share, "{name}");
    }
    // The median errs less than the mean where cut points are not midway.
    assert!(value("mae", &labels, &mean, &spread) < value("mae", &labels, &mean, &Spread::new(deviation.clone(), None)));
    assert_eq!(value("rmse", &labels, &mean, &spread), value("rmse", &labels, &mean, &Spread::new(deviation, None)), "is of the mean");
}

fn panel(spread: Option<Spread>, offsets: Vec<f64>) -> Result<Outcome, EvalError> {
    let place = Place { dataset: "toy".into(), scenario: "cold_start".into(), setting: "new_user".into() };
    let users: Vec<u32> = (0..24).map(|row| row / 3).collect();
    let labels: Vec<f32> = (0..24).map(|row| (1 + row % 5) as f32).collect();
    let said: Vec<f32> = labels.iter().map(|y| 0.6 * y + 1.5).collect();
    let rows = EvaluationRows::new(&users, &labels).unwrap().with_label_range(LabelRange { low: 1.0, high: 5.0 });
    let metrics = ["rmse", "mae", "mae[offset]", "coverage@90", "nlpd"].map(metric);
    Panel::new(place, Bootstrap { draws: 50, ..Bootstrap::default() })
        .enter(Entrant::deterministic("floor", Kind::Floor, said.clone()).with_spreads([spread.clone()]))
        .enter(Entrant::deterministic("base", Kind::Control, vec![3.0; 24]))
        .enter(Entrant::deterministic("method", Kind::Adaptation, said).with_spreads([spread]).with_offsets(offsets))
        .on_rows(&rows, &metrics)
}

#[test]
fn who_says_no_spread_has_no_value_and_no_difference() {
    let outcome = panel(Some(Spread::new(vec![0.5; 24], None)), vec![0.0]).unwrap();
    let value = |method: &str, name: &str| outcome.results.iter().find(|r| r.method == method && r.metric == metric(name)).unwrap().value;
    for name in ["coverage@90", "nlpd"] {
        assert!(value("base", name).is_none() && value("floor", name).is_some() && value("method", name).is_some(), "{name}");
        let pairs: Vec<_> =
            outcome.differences.iter().filter(|d| d.metric == metric(name)).map(|d| (&d.method[..], &d.reference[..])).collect();
        assert_eq!(pairs, [("method", "floor")], "{name}");
    }
    assert_eq!(value("method", "mae[offset]"), value("method", "mae"), "a constant of 0 changes nothing");
    assert!(value("base", "mae[offset]").is_none());
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
    let mut report = Report::default();
    report.extend(outcome);
    let table = Leaderboard::new(&report, Paint::Plain).with_width(200).with_most_metrics(5).to_string();
    assert!(table.contains('\u{2013}') && !table.contains("undefined"), "{table}");
}

#[test]
fn a_spread_that_is_none_is_named() {
    let said = |spread: Spread| panel(Some(spread), Vec::new()).unwrap_err().to_string();
    assert!(said(Spread::new(vec![0.5; 23], None)).contains("the spread of floor has 23 entries"));
    let mut deviations = vec![0.5; 24];
    deviations[7] = 0.0;
    assert!(said(Spread::new(deviations.clone(), None)).contains("row 7: 0 is not a standard deviation"));
    deviations[7] = f32::NAN;
    assert!(said(Spread::new(deviations, None)).contains("row 7: NaN"));
    assert!(panel(None, vec![0.0, 1.0]).unwrap_err().to_string().contains("offsets of `method`"));
    for (name, reason) in [("coverage", "hundredths"), ("coverage@100", "1 to 99"), ("nlpd[x]", "no brackets"), ("rmse[offset]", "pooled")]
    {
        assert!(name.parse::<Metric>().unwrap_err().to_string().contains(reason), "{name}");
    }
}
