//! `cavia` on towers against `reference/cavia.py`, whose network reads `[x; c]`: what the adapted context adds to the first layer, and exact and first-order gradients of the outer loss.
//!
//! The last of the four tasks has no support row; what stands in padding rows is no zero.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Context, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Modulation, Objective, Output, Pass};
use burn::tensor::Tensor;
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

#[test]
fn cavia_matches_the_reference() {
    let cases = cases("cavia");
    assert!(cases.len() >= 14, "the golden file lost cases");
    cases.iter().for_each(check);
}

fn part(case: &Case, part: &str) -> Batch {
    let mask = case.value(&format!("mask_{part}"));
    let [groups, rows] = [mask.shape[0], mask.shape[1]];
    let domain = vec![DomainIndex(0); groups * rows];
    Batch { groups, rows, mask: mask.f32(), label: case.value(&format!("y_{part}")).f32(), domain, ..Batch::default() }
}

fn check(case: &Case) {
    let Network { backbone, schema } = network(case, false, 1);
    let objective = if case.text("loss") == "logistic" { Objective::Logistic } else { Objective::SquaredError };
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
    let adaptation = build_method("cavia", &case.text("keys").parse().expect("valid TOML"), target).expect("a config the tower can take");

    let head = backbone.tower().expect("a tower").linears().count() - 1;
    let name = |path: &str| path.replace("head.", &format!("{head}.")).replace("tower.", "").replace("linear.", "");
    let (base, names) = bind(case, &backbone.architecture().params, name);
    let (own, own_names) = bind(case, adaptation.params(), str::to_owned);
    let (support, query) = (part(case, "support"), part(case, "query"));
    let (x_support, x_query) = (case.leaf("x_support"), case.leaf("x_query"));
    let inputs = [x_support.clone()];
    let context = Context {
        support: Some(Support { batch: &support, inputs: &inputs, backbone: backbone.as_ref() }),
        ..Context::new(Unlabelled::new(&query))
    };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");

    case.check("shift", first_layer_offset(case, &modulation, &backbone));
    let output = backbone.forward(&Pass::new(&base, &modulation), &query, std::slice::from_ref(&x_query));
    let loss = objective.loss(&output, &query);
    case.check("loss", to_vec(loss.clone()));
    let leaves = names.iter().chain(&own_names).map(String::as_str).zip(base.tensors().iter().chain(own.tensors()).cloned());
    case.check_gradients(&loss, leaves.chain([("x_support", x_support), ("x_query", x_query.clone())]));

    // Without context of their own, users have the base's scores to the bit.
    let [Output::Rows(adapted), Output::Rows(plain)] =
        [&modulation, &Modulation::none()].map(|m| backbone.forward(&Pass::new(&base, m), &query, std::slice::from_ref(&x_query)))
    else {
        panic!("a tower scores rows")
    };
    let [adapted, plain] = [adapted, plain].map(to_vec);
    let last = adapted.len() - query.rows;
    assert_eq!(adapted[last..], plain[last..], "{}: no support row, other scores", case.name);
    assert_ne!(adapted[..last], plain[..last], "{}: nothing adapted", case.name);
}

/// What each task adds to what comes out of the first layer, `[T, d_1]`.
fn first_layer_offset(case: &Case, modulation: &Modulation<'_>, backbone: &std::sync::Arc<dyn acclimate_model::Backbone>) -> Vec<f32> {
    let layer = *backbone.tower().expect("a tower").linears().next().expect("a layer");
    let [tasks, _, d_in] = case.value("x_support").shape3();
    let [.., d_out] = case.value("0.weight").shape3();
    let zeros = |d: usize| Tensor::<3>::zeros([tasks, 1, d], &device());
    to_vec(modulation.output(layer.site, &zeros(d_in), zeros(d_out)))
}
