//! Adapting without tensors against the reference programs, to 1e-5.

mod golden;

use std::ops::Range;
use std::sync::Arc;

use acclimate_plan::{HeadParams, HeadSolver, InnerLoop, LayerRates, Linear, Loss, Network, Personal, Rate, Rates, Shrink};
use golden::{Case, cases, network};

fn loss(case: &Case) -> Loss {
    if case.text("loss") == "logistic" { Loss::Logistic } else { Loss::SquaredError }
}

fn adapted(case: &Case) -> Range<usize> {
    match case.text("scope") {
        "all" => 0..3,
        "body" => 0..2,
        "head" | "last" => 2..3,
        scope => panic!("{}: a scope `{scope}`", case.name),
    }
}

/// The rates of a case: its parameters `rate.LAYER.PART`.
fn rates(case: &Case) -> Rates {
    let Some(kind) = case.config.get("rates") else { return Rates::One(case.number("alpha") as f32) };
    let values = |l: usize, part: &str| case.f32(&format!("rate.{l}.{part}"));
    if kind == "weight" {
        let each = |l: usize, part: &str| Rate::Each(Arc::new(values(l, part)));
        return Rates::Learned(vec![adapted(case).map(|l| LayerRates { weight: each(l, "weight"), bias: each(l, "bias") }).collect()]);
    }
    let one = |l: usize, part: &str, k: usize| Rate::One(values(l, part)[k]);
    let of_step = |k| adapted(case).map(|l| LayerRates { weight: one(l, "weight", k), bias: one(l, "bias", k) }).collect();
    Rates::Learned((0..values(adapted(case).start, "bias").len()).map(of_step).collect())
}

fn shrink(case: &Case) -> Shrink {
    let number = |key: &str| case.config.get(key).map(|_| case.number(key) as f32);
    let weight = number("row_weight").unwrap_or(1.0);
    match (number("c"), number("kappa")) {
        (Some(c), _) => Shrink::Rows { c, weight },
        (_, Some(kappa)) => Shrink::Learned { kappa, weight },
        _ => Shrink::None,
    }
}

fn layer(personal: &Personal, l: usize, hidden: usize) -> Option<&Linear> {
    if l < hidden { personal.layers.get(l)?.as_ref() } else { personal.head.as_ref() }
}

#[test]
fn steps_on_support_rows_match_the_reference() {
    let cases = cases("support_steps");
    assert!(cases.len() >= 12, "the golden file lost cases");
    for case in &cases {
        let steps = case.number("steps") as usize;
        let inner = InnerLoop { loss: loss(case), steps, adapted: adapted(case), rates: rates(case), shrink: shrink(case) };
        let found = inner.run(&network(case), &case.f32("x"), &case.f32("y"), &mut |_| true).expect("a plain tower");
        assert_eq!(found.steps, steps);
        for l in 0..3 {
            let of_layer = layer(&found.personal, l, 2);
            assert_eq!(of_layer.is_some(), adapted(case).contains(&l), "{}: layer {l}", case.name);
            if let Some(linear) = of_layer {
                case.check(&format!("adapted.{l}.weight"), &linear.weight, 1e-5);
                case.check(&format!("adapted.{l}.bias"), &linear.bias, 1e-5);
            }
        }
    }
}

/// The tasks of the tensor methods' own reference: the same numbers, with other rows beside them.
#[test]
fn steps_are_those_of_the_method_maml() {
    let mut cases = cases("maml");
    cases.retain(|case| case.config.get("order").is_some_and(|order| order == "first_order"));
    assert!(cases.len() >= 16, "the golden file lost cases");
    for case in &cases {
        let [tasks, rows] = case.value("y_support").shape[..] else { panic!("labels of tasks") };
        let (x, y, mask) = (case.f32("x_support"), case.f32("y_support"), case.f32("mask_support"));
        let steps = case.number("steps") as usize;
        let inner = InnerLoop { loss: loss(case), steps, adapted: adapted(case), rates: rates(case), shrink: Shrink::None };
        let network = network(case);
        for task in 0..tasks {
            let n = mask[task * rows..][..rows].iter().sum::<f32>() as usize;
            let found = inner.run(&network, &x[task * rows * 3..][..n * 3], &y[task * rows..][..n], &mut |_| true).expect("a plain tower");
            assert_eq!(found.steps, if n == 0 { 0 } else { steps });
            for l in adapted(case) {
                let own = if l < 2 { &network.layers[l].linear } else { &network.head };
                let linear = layer(&found.personal, l, 2).unwrap_or(own);
                case.check_part(&format!("adapted.{l}.weight"), task, &linear.weight, 1e-5);
                case.check_part(&format!("adapted.{l}.bias"), task, &linear.bias, 1e-5);
            }
        }
    }
}

/// What goes into the head, in double precision and then narrowed: what a pass in single precision has but for rounding.
fn states(network: &Network, x: &[f32]) -> Vec<f32> {
    let of_row = |row: &[f32]| {
        let start: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        let h = network.layers.iter().fold(start, |h, layer| {
            let Linear { d_out, weight, bias, .. } = &layer.linear;
            let z = |j: usize| f64::from(bias[j]) + h.iter().enumerate().map(|(i, h)| h * f64::from(weight[i * d_out + j])).sum::<f64>();
            (0..*d_out).map(|j| z(j).max(0.0)).collect()
        });
        h.into_iter().map(|h| h as f32).collect::<Vec<_>>()
    };
    let d = network.layers.first().map_or(network.head.d_in, |layer| layer.linear.d_in);
    x.chunks_exact(d).flat_map(of_row).collect()
}

#[test]
fn solved_heads_are_those_of_the_method_bayes_head() {
    let mut cases = cases("bayes_head");
    cases.retain(|case| case.name.starts_with("served"));
    assert!(cases.len() >= 3, "the golden file lost cases");
    for case in &cases {
        let network = network(case);
        let [numbers, shares, prior, factor] = ["numbers", "shares", "prior", "factor"].map(|name| case.f32(name));
        let params = HeadParams { numbers: &numbers, shares: &shares, prior: &prior, factor: &factor };
        let solver = HeadSolver::new(loss(case), &network.head, params).expect("what a patch keeps");
        let [tasks, rows, d0] = case.value("x_support").shape[..] else { panic!("rows of tasks") };
        let (x, y, mask) = (case.f32("x_support"), case.f32("y_support"), case.f32("mask_support"));
        for task in 0..tasks {
            let n = mask[task * rows..][..rows].iter().sum::<f32>() as usize;
            let personal =
                solver.solve(&states(&network, &x[task * rows * d0..][..n * d0]), &y[task * rows..][..n]).expect("rows that fit");
            let head = personal.head.expect("a head");
            case.check_part("weight", task, &head.weight, 1e-6);
            case.check_part("bias", task, &head.bias, 1e-6);
            assert!(personal.layers.is_empty() && personal.scales.is_empty(), "{}: the body stays", case.name);
        }
    }
}
