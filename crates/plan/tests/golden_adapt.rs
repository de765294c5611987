//! Adapting without tensors against the reference programs, to 1e-5.

mod golden;

use std::ops::Range;
use std::sync::Arc;

use acclimate_plan::{ContextLoop, HeadParams, HeadSolver, InnerLoop, Layer, Linear, Loss, Network, Personal, Rates, Shrink, UserRate};
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
    let values: Vec<_> = adapted(case).map(|l| ["weight", "bias"].map(|part| case.f32(&format!("rate.{l}.{part}")))).collect();
    let layers: Vec<[&[f32]; 2]> = values.iter().map(|[weight, bias]| [&weight[..], &bias[..]]).collect();
    if kind == "weight" { Rates::of_values(&layers, 1.0) } else { Rates::of_steps(&layers, 1.0).expect("as many steps each") }
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

#[test]
fn contexts_are_those_of_the_method_cavia() {
    let cases = cases("cavia");
    assert!(cases.len() >= 6, "the golden file lost cases");
    for case in &cases {
        let network = network(case);
        let [tasks, rows, d0] = case.value("x_support").shape[..] else { panic!("rows of tasks") };
        let (x, y, mask) = (case.f32("x_support"), case.f32("y_support"), case.f32("mask_support"));
        let c = case.number("shrink") as f32;
        let steps = case.number("steps") as usize;
        let inner = ContextLoop {
            loss: loss(case),
            steps,
            rate: case.number("alpha") as f32,
            shrink: if c > 0.0 { Shrink::Rows { c, weight: 1.0 } } else { Shrink::None },
            context: Arc::new(case.f32("context")),
        };
        for task in 0..tasks {
            let n = mask[task * rows..][..rows].iter().sum::<f32>() as usize;
            let (x, y) = (&x[task * rows * d0..][..n * d0], &y[task * rows..][..n]);
            let found = inner.run(&network, x, y, &mut |_| true).expect("a plain tower");
            assert_eq!(found.steps, if n == 0 { 0 } else { steps });
            let d = network.layers.first().map_or(1, |layer| layer.linear.d_out);
            let shift = match (found.personal.scales.first(), &found.personal.head) {
                (Some(Some(scale)), None) => scale.shift.clone().expect("a shift").to_vec(),
                (None, Some(head)) => vec![head.bias[0] - network.head.bias[0]],
                _ => vec![0.0; d],
            };
            case.check_part("shift", task, &shift, 1e-5);
        }
    }
}

/// What the support rows of a task of `reference/inner.py` look like when they are gathered: user, item, clicked, tags, two numbers.
fn gathered(case: &Case, task: usize) -> Vec<f32> {
    let (mask, codes, numbers) = (case.value("mask.support"), case.value("codes.support").data, case.value("numbers.support").data);
    let rows = mask.shape[1];
    let table = |name: &str, code: f64| case.value(&format!("table.{name}")).data[3 * code as usize..][..3].to_vec();
    let mean = |name: &str, vocabulary: &str, row: usize| {
        let [list, mask] = ["list", "mask"].map(|of| case.value(&format!("{of}.{name}.support")).data[3 * row..][..3].to_vec());
        let read: Vec<_> = list.iter().zip(&mask).filter(|(_, m)| **m > 0.0).map(|(&code, _)| table(vocabulary, code)).collect();
        (0..3).map(|k| read.iter().map(|e| e[k]).sum::<f64>() / read.len().max(1) as f64).collect::<Vec<_>>()
    };
    let row = |row: usize| {
        let [user, item] = [("user", 0), ("item", 1)].map(|(name, field)| table(name, codes[2 * row + field]));
        [user, item, mean("clicked", "item", row), mean("tags", "tag", row), numbers[2 * row..][..2].to_vec()].concat()
    };
    (task * rows..(task + 1) * rows).filter(|&at| mask.data[at] > 0.0).flat_map(row).map(|x| x as f32).collect()
}

#[test]
fn rates_and_steps_are_those_of_the_method_paml() {
    let cases = cases("paml");
    assert!(cases.len() >= 10, "the golden file lost cases");
    for case in &cases {
        let linear = |path: &str| {
            let [d_in, d_out] = case.value(&format!("{path}.weight")).shape[..] else { panic!("a matrix") };
            let [weight, bias] = ["weight", "bias"].map(|part| Arc::new(case.f32(&format!("{path}.{part}"))));
            Linear { d_in, d_out, weight, bias }
        };
        let layer = |l: usize| Layer { linear: linear(&format!("tower.{l}.linear")), after: Vec::new(), norm: None };
        let network = Network {
            tables: Vec::new(),
            slots: Vec::new(),
            layers: vec![layer(0), layer(1)],
            head: linear("head"),
            after: Vec::new(),
            unit: 1.0,
        };
        let alpha = case.number("alpha") as f32;
        let kept = (case.number("written") as usize).min(6);
        let rate = UserRate {
            columns: vec![0..3, 6..9],
            hidden: Arc::new(case.f32("rate.hidden")),
            weight: Arc::new(case.f32("rate.weight")),
            bias: case.f32("rate.bias")[0],
            memory: Arc::new(if case.text("memory") == "tree" { case.f32("memory.users")[..7 * kept].to_vec() } else { Vec::new() }),
            neighbours: case.number("neighbours") as usize,
            least: case.number("least") as f32 / alpha,
        };
        let shrink = match case.config["shrink"].as_f64() {
            None => Shrink::Learned { kappa: case.f32("shrink")[0], weight: 1.0 },
            Some(0.0) => Shrink::None,
            Some(c) => Shrink::Rows { c: c as f32, weight: 1.0 },
        };
        let (y, rows) = (case.f32("y.support"), case.value("y.support").shape[1]);
        for task in 0..3 {
            let x = gathered(case, task);
            let n = x.len() / 14;
            let own = rate.of(&x, 14).expect("rows that fit");
            case.check_part("rate", task, &[own], 1e-5);
            let steps = case.number("steps") as usize;
            let inner = InnerLoop { loss: loss(case), steps, adapted: 0..3, rates: Rates::One(alpha * own), shrink };
            let found = inner.run(&network, &x, &y[task * rows..][..n], &mut |_| true).expect("a plain tower");
            for (l, path) in ["tower.0.linear", "tower.1.linear", "head"].into_iter().enumerate() {
                let own = network.layers.get(l).map_or(&network.head, |layer| &layer.linear);
                let linear = layer_of(&found.personal, l, own);
                case.check_part(&format!("adapted.{path}.weight"), task, &linear.weight, 1e-5);
                case.check_part(&format!("adapted.{path}.bias"), task, &linear.bias, 1e-5);
            }
        }
    }
}

fn layer_of<'a>(personal: &'a Personal, l: usize, own: &'a Linear) -> &'a Linear {
    layer(personal, l, 2).unwrap_or(own)
}
