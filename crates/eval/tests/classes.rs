//! Metrics of answers in classes: what they are, what they refuse, and their intervals.

use acclimate_eval::metric::{accuracy, class_log_loss, log_loss, macro_f1};
use acclimate_eval::{
    Bootstrap, Entrant, EvalError, EvaluationClasses, EvaluationQueries, EvaluationRows, Goal, Kind, Metric, Panel, Place, Statistic,
};
use proptest::prelude::*;

const COUNT: usize = 4;
const CLASS_METRICS: [&str; 3] = ["accuracy", "macro_f1", "log_loss"];

/// (user, class, weight of each class) with few distinct weights, so that ties are common.
type Row = (u32, u32, [u8; COUNT]);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..6_u32, 0..COUNT as u32, [1..4_u8, 0..4_u8, 0..4_u8, 0..4_u8]), 1..60)
}

fn names() -> Vec<String> {
    ["a", "b", "c", "d"].map(str::to_owned).to_vec()
}

fn metric(name: &str) -> Metric {
    name.parse().unwrap()
}

fn classes(rows: &[Row]) -> Vec<u32> {
    rows.iter().map(|row| row.1).collect()
}

fn evaluation(rows: &[Row]) -> EvaluationClasses {
    EvaluationClasses::new(&rows.iter().map(|row| row.0).collect::<Vec<_>>(), &classes(rows), &names()).unwrap()
}

fn probabilities(rows: &[Row]) -> Vec<f64> {
    let of = |row: &Row| {
        let sum: f64 = row.2.iter().copied().map(f64::from).sum();
        row.2.map(|weight| f64::from(weight) / sum)
    };
    rows.iter().flat_map(of).collect()
}

fn statistic(name: &str, rows: &[Row]) -> Statistic {
    Statistic::of_classes(&metric(name), &evaluation(rows), "m", &probabilities(rows)).unwrap()
}

proptest! {
    #[test]
    fn statistics_are_the_functions(rows in rows()) {
        let (classes, p) = (classes(&rows), probabilities(&rows));
        let expected = [accuracy(&classes, &p, COUNT), macro_f1(&classes, &p, COUNT), class_log_loss(&classes, &p, COUNT)];
        for (name, expected) in CLASS_METRICS.into_iter().zip(expected) {
            let found = statistic(name, &rows).value();
            prop_assert!((found.unwrap() - expected.unwrap()).abs() < 1e-12, "{}: {:?} against {:?}", name, found, expected);
        }
    }

    #[test]
    fn weights_count_like_copies(rows in rows(), weights in prop::collection::vec(0..4_u32, 6)) {
        let mut users: Vec<u32> = rows.iter().map(|row| row.0).collect();
        users.sort_unstable();
        users.dedup();
        let of_user = |user: u32| weights[user as usize];
        let copies: Vec<Row> = rows.iter().flat_map(|&row| std::iter::repeat_n(row, of_user(row.0) as usize)).collect();
        let weights: Vec<u32> = users.iter().map(|&user| of_user(user)).collect();
        for name in CLASS_METRICS {
            let weighted = statistic(name, &rows).weighted(&weights);
            let copied = if copies.is_empty() { None } else { statistic(name, &copies).value() };
            prop_assert!(weighted.is_some() == copied.is_some());
            prop_assert!(weighted.zip(copied).is_none_or(|(a, b)| (a - b).abs() < 1e-12), "{}: {:?} against {:?}", name, weighted, copied);
        }
    }

    #[test]
    fn two_classes_lose_what_clicks_lose(rows in prop::collection::vec((any::<bool>(), 1..100_u8), 1..40)) {
        let p: Vec<f64> = rows.iter().map(|row| f64::from(row.1) / 100.0).collect();
        let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.0))).collect();
        let classes: Vec<u32> = rows.iter().map(|row| u32::from(row.0)).collect();
        let both: Vec<f64> = p.iter().flat_map(|&p| [1.0 - p, p]).collect();
        prop_assert!((class_log_loss(&classes, &both, 2).unwrap() - log_loss(&labels, &p).unwrap()).abs() < 1e-9);
    }
}

#[test]
fn a_class_that_is_never_true_has_no_f1() {
    // Answers a, b, b, c to a, a, b, b: F1 of a is 2/3, of b 2/4; c and d are never true.
    let rows = [(0, 0, [3, 1, 0, 0]), (0, 0, [1, 2, 0, 0]), (1, 1, [1, 3, 0, 0]), (1, 1, [1, 0, 2, 0])];
    assert_eq!(statistic("macro_f1", &rows).value(), Some((2.0 / 3.0 + 0.5) / 2.0));
    // Without the first user only b is true: answers b, c.
    assert_eq!(statistic("macro_f1", &rows).weighted(&[0, 3]), Some(2.0 / 3.0));
    assert_eq!(statistic("accuracy", &rows).weighted(&[2, 0]), Some(0.5));
}

#[test]
fn a_true_class_of_probability_zero_costs_a_finite_loss() {
    let rows = EvaluationClasses::new(&[0], &[1], &names()).unwrap();
    let loss = Statistic::of_classes(&metric("log_loss"), &rows, "m", &[1.0_f32, 0.0, 0.0, 0.0]).unwrap().value().unwrap();
    assert!((loss - 15.0 * 10_f64.ln()).abs() < 1e-9);
}

#[test]
fn names_parse_print_and_say_what_is_better() {
    for name in ["accuracy", "macro_f1"] {
        assert_eq!(metric(name).to_string(), name);
        assert_eq!((metric(name).goal(), metric(name).needs_classes(), metric(name).needs_ranks()), (Goal::Higher, true, false));
        for (wrong, reason) in [(format!("{name}@3"), "it takes no cut-off"), (format!("{name}[tab=2]"), "it takes no brackets")] {
            let error = wrong.parse::<Metric>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("accuracy, macro_f1"), "{error}");
        }
    }
    assert!(!metric("log_loss").needs_classes());
}

#[test]
fn metrics_say_what_they_need() {
    let said = |found: Result<Statistic, EvalError>| found.unwrap_err().to_string();
    let (rows, queries) = (EvaluationRows::new(&[0], &[1.0]).unwrap(), EvaluationQueries::new(&[0]).unwrap());
    for name in ["accuracy", "macro_f1"] {
        let expected = format!("metric `{name}` needs rows with classes, and this evaluation has none");
        assert!(said(Statistic::of_rows(&metric(name), &rows, "m", &[0.5])).starts_with(&expected));
        assert!(said(Statistic::of_ranks(&metric(name), &queries, "m", &[1.0])).starts_with(&expected));
    }
    let classes = EvaluationClasses::new(&[0], &[0], &names()).unwrap();
    for (name, needs) in [
        ("auc", "labelled rows"),
        ("mae", "labelled rows"),
        ("macro_log_loss", "a domain column"),
        ("log_loss[tab=1]", "a domain column"),
        ("mrr[full]", "ranks of positives"),
    ] {
        let error = said(Statistic::of_classes(&metric(name), &classes, "m", &[1.0, 0.0, 0.0, 0.0]));
        assert!(error.starts_with(&format!("metric `{name}` needs {needs},")), "{error}");
    }
}

#[test]
fn unfit_answers_are_named_with_method_and_row() {
    let rows = EvaluationClasses::new(&[0, 0], &[0, 3], &names()).unwrap();
    let error = |second: &[f32]| {
        let output = [&[0.25; 4][..], second].concat();
        Statistic::of_classes(&metric("accuracy"), &rows, "net", &output).unwrap_err().to_string()
    };
    for (second, expected) in [
        (&[0.5, f32::NAN, 0.0, 0.5][..], "net, row 1, class `b`: NaN is not a probability"),
        (&[0.5, 0.5, 0.5, -0.5], "net, row 1, class `d`: -0.5 is not a probability"),
        (&[2.0, 0.0, 0.0, 0.0], "net, row 1, class `a`: 2 is not a probability"),
        (&[0.5, 0.5, 0.25, 0.0], "net, row 1: the probabilities of all classes sum to 1.25, expected 1"),
        (&[0.5, 0.5], "net (probabilities of 4 classes a row) has 6 entries but the evaluation has 8"),
    ] {
        assert!(error(second).starts_with(expected), "{}", error(second));
    }
    // What rounding does is no error, and a row counts as divided by its sum.
    let loss = Statistic::of_classes(&metric("log_loss"), &rows, "net", &[0.5, 0.4995, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9995]).unwrap().value();
    assert!((loss.unwrap() - (0.9995_f64 / 0.5).ln() / 2.0).abs() < 1e-9, "{loss:?}");
}

#[test]
fn evaluations_are_checked() {
    assert!(matches!(EvaluationClasses::new(&[], &[], &names()), Err(EvalError::Empty { .. })));
    assert!(matches!(EvaluationClasses::new(&[1], &[0, 1], &names()), Err(EvalError::Length { expected: 1, found: 2, .. })));
    assert!(matches!(EvaluationClasses::new(&[1, 2], &[0, 4], &names()), Err(EvalError::ClassIndex { row: 1, index: 4, names: 4 })));
}

#[test]
fn a_panel_compares_classes_with_the_best_floor_on_the_same_draws() {
    let rows: Vec<Row> = (0..400u32).map(|row| (row / 2, (row * row / 7) % 3, [1, 1, 1, 1])).collect();
    let truth = |share: f32, row: &Row| -> [f32; COUNT] {
        std::array::from_fn(|class| if class as u32 == row.1 { share } else { (1.0 - share) / 3.0 })
    };
    let sometimes = |row: &Row| truth(if row.0.is_multiple_of(3) { 0.1 } else { 0.7 }, row);
    let place = Place { dataset: "toy".into(), scenario: "attribute".into(), setting: "age".into() };
    let panel = Panel::new(place, Bootstrap::default())
        .enter(Entrant::deterministic("majority", Kind::Floor, [0.4_f32, 0.3, 0.2, 0.1].repeat(rows.len())))
        .enter(Entrant::deterministic("base", Kind::Control, rows.iter().flat_map(sometimes).collect()))
        .enter(Entrant::deterministic("good", Kind::Adaptation, rows.iter().flat_map(|row| truth(0.9, row)).collect()));
    let metrics = CLASS_METRICS.map(metric);
    let outcome = panel.on_classes(&evaluation(&rows), &metrics).unwrap();
    assert_eq!(outcome.results.len(), 9);
    for result in &outcome.results {
        let (low, high, value) = (result.ci_low.unwrap(), result.ci_high.unwrap(), result.value.unwrap());
        assert!(low <= value + 1e-12 && value <= high + 1e-12, "{} {}: {value} in {low} to {high}", result.method, result.metric);
    }
    let judged: Vec<_> = outcome.results.iter().filter(|result| result.kind != Kind::Floor).collect();
    assert!(judged.iter().all(|result| result.beats_floor == acclimate_eval::Verdict::Yes && result.floor.as_deref() == Some("majority")));
    assert!(
        outcome
            .differences
            .iter()
            .any(|d| d.method == "good" && d.reference == "base" && d.metric == Metric::MacroF1 && d.ci_low > Some(0.0))
    );
}
