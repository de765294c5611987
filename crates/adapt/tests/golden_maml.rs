//! `maml` on a tower of three layers against `reference/maml.py`: adapted values, and exact and first-order gradients of the outer loss, with learned rates, a loss of every step, and what Reptile follows.
//!
//! The last of the tasks has no support row. A case's scope `last` is the last layer alone, `adapt = "head"` here.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::inner::{FastLayer, InnerLoop, Order, Rates, Tasks};
use acclimate_adapt::{Context, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{AfterPass, Objective, Pass, Weights};
use burn::tensor::Tensor;
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

#[test]
fn maml_matches_the_reference() {
    let cases = cases("maml");
    let towers: Vec<_> = cases.iter().filter(|c| c.config.get("order").is_some()).collect();
    assert!(towers.len() >= 31, "the golden file lost cases");
    for case in towers {
        tower_case(case);
    }
}

fn part(case: &Case, part: &str) -> Batch {
    let mask = case.value(&format!("mask_{part}"));
    let [groups, rows] = [mask.shape[0], mask.shape[1]];
    let domain = vec![DomainIndex(0); groups * rows];
    Batch { groups, rows, mask: mask.f32(), label: case.value(&format!("y_{part}")).f32(), domain, ..Batch::default() }
}

fn tower_case(case: &Case) {
    let Network { backbone, schema } = network(case, false, 1);
    let logistic = case.text("loss") == "logistic";
    let objective = if logistic { Objective::Logistic } else { Objective::SquaredError };
    let key =
        |key: &str, or: &str| case.config.get(key).map_or(or.to_owned(), |value| value.as_str().map_or(value.to_string(), str::to_owned));
    let (rates, multi_step, outer) = (key("rates", "none"), key("multi_step", "0.0"), key("outer", "query"));
    let config = format!(
        "inner_steps = {}\ninner_rate = {}\norder = '{}'\nadapt = '{}'\nrates = '{rates}'\nmulti_step = {multi_step}\nouter = '{outer}'\nshrink = 0.0",
        case.number("steps"),
        case.number("alpha"),
        if case.text("order") == "exact" { "second" } else { "first" },
        if case.text("scope") == "last" { "head" } else { case.text("scope") }
    );
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
    let adaptation = build_method("maml", &config.parse().expect("valid TOML"), target).expect("a config the tower can take");

    let name = |path: &str| path.replace("head.", "2.").replace("tower.", "").replace("linear.", "");
    let (base, names) = bind(case, &backbone.architecture().params, name);
    let (support, query) = (part(case, "support"), part(case, "query"));
    let (x_support, x_query) = (case.leaf("x_support"), case.leaf("x_query"));
    let inputs = [x_support.clone()];
    let (own, own_names) = bind(case, adaptation.params(), str::to_owned);
    let context = Context {
        inputs: std::slice::from_ref(&x_query),
        support: Some(Support { batch: &support, inputs: &inputs, backbone: backbone.as_ref() }),
        ..Context::new(Unlabelled::new(&query))
    };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    let pass = Pass::new(&base, &modulation);

    for (i, linear) in backbone.tower().expect("a tower").linears().enumerate() {
        let Weights { weight, bias, .. } = linear.weights(&pass);
        case.check(&format!("adapted.{i}.weight"), per_task(weight, query.groups));
        case.check(&format!("adapted.{i}.bias"), per_task(bias.expect("a bias"), query.groups));
    }
    let output = backbone.forward(&pass, &query, std::slice::from_ref(&x_query));
    let mut loss = objective.loss(&output, &query);
    let of_steps = modulation.added(&AfterPass { output: &output, batch: &query, objective, teacher: None });
    assert_eq!(of_steps.is_empty(), multi_step == "0.0", "{}: terms of the loss", case.name);
    if !of_steps.is_empty() {
        case.check("last_loss", to_vec(loss.clone()));
        loss = of_steps.into_iter().fold(loss, |loss, added| loss + added.summands.sum());
    }
    case.check("loss", to_vec(loss.clone()));
    assert_eq!(modulation.penalty().is_some(), outer == "reptile", "{}: a penalty", case.name);
    if let Some(pull) = modulation.penalty() {
        case.check("pull", to_vec(pull.clone()));
        loss = loss + pull;
    }
    let leaves = names.iter().chain(&own_names).map(String::as_str).zip(base.tensors().iter().chain(own.tensors()).cloned());
    case.check_gradients(&loss, leaves.chain([("x_support", x_support), ("x_query", x_query)]));
}

/// Layers that are not adapted are shared by all tasks.
fn per_task(weight: Tensor<3>, tasks: usize) -> Vec<f32> {
    let [_, d_in, d_out] = weight.dims();
    to_vec(weight.expand([tasks, d_in, d_out]))
}

#[test]
fn no_support_row_at_all_changes_nothing() {
    let inner = InnerLoop { objective: Objective::Logistic, order: Order::Second, steps: 2, adapted: 0..1 };
    let tensor = |shape: [usize; 3]| Tensor::<3>::ones(shape, &device());
    let layer = FastLayer { weight: tensor([1, 2, 1]), bias: tensor([1, 1, 1]) };
    let x = Tensor::<3>::zeros([3, 1, 2], &device()).slice([0..3, 0..0, 0..2]);
    let adapted = inner.adapt(&[layer], &Rates::One(0.1), Tasks::new(&x, &Batch { groups: 3, ..Batch::default() }));
    assert_eq!(to_vec(adapted.layers[0].weight.clone()), [1.0, 1.0]);
}
