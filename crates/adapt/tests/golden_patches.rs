//! Methods on the `dnn` tower against their reference programs: scores, and gradients of every parameter and of the rows.
//!
//! A golden file is read here if its cases say `keys`, the method's config; parameters then have the product's names.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Answered, Context, METHODS, Stage, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Estimate, Objective, Output, ParamId, ParamSpec, Params, Pass, mask};
use golden::{Case, cases, to_vec};
use tower::{Network, bind, network};

/// Cases of a method that this test reads.
fn of(method: &str) -> Vec<Case> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../reference/golden");
    let exists = std::path::Path::new(&format!("{folder}/{method}.json")).exists();
    if exists { cases(method).into_iter().filter(|case| case.config.get("keys").is_some()).collect() } else { Vec::new() }
}

/// The last of a case's domains is one that the base does not know.
fn of_case(case: &Case) -> Network {
    let has_norms = case.config.get("norm").is_some_and(|norm| norm == "after");
    network(case, has_norms, case.config.get("domains").map_or(1, |d| d.as_u64().expect("a number") as usize - 1))
}

#[test]
fn methods_match_their_references() {
    let mut tried = 0;
    for method in METHODS {
        for case in of(method.name).iter().filter(|case| case.outputs.contains_key("y")) {
            forward(method.name, case);
            tried += 1;
        }
    }
    assert!(tried >= 7, "the golden files lost cases");
}

fn forward(method: &str, case: &Case) {
    let Network { backbone, schema } = of_case(case);
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let adaptation = build_method(method, &case.text("keys").parse().expect("valid TOML"), target).expect("a config the tower can take");
    let (base, base_names) = bind(case, &backbone.architecture().params, |path| path.replace(".linear", ""));
    let (own, own_names) = bind(case, adaptation.params(), str::to_owned);
    let x = case.leaf("x");
    let [g, n, _] = x.dims();
    let domain = case.inputs.get("domain").map_or(vec![0; g], golden::Array::u32);
    let domain = domain.iter().flat_map(|&d| vec![DomainIndex(d); n]).collect();
    let real = case.inputs.get("mask").map_or(vec![1.0; g * n], golden::Array::f32);
    let batch = Batch { groups: g, rows: n, mask: real, domain, ..Batch::default() };
    let context = Context { inputs: std::slice::from_ref(&x), ..Context::new(Unlabelled::new(&batch)) };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    let training = case.config.get("training").is_some_and(|training| *training == true);
    // As for a method that trains all of the base: where it has moments of its own, the base's stay.
    let of_base = backbone.architecture().params.iter().enumerate().filter(|(_, spec)| spec.moment).map(|(i, _)| ParamId(i));
    let estimate = training.then(|| Estimate::new(&batch, of_base.collect(), &golden::device()));
    let pass = Pass { estimate: estimate.as_ref(), ..Pass::new(&base, &modulation) };
    let Output::Rows(y) = backbone.forward(&pass, &batch, std::slice::from_ref(&x)) else { panic!("a tower scores rows") };
    let y = y * mask(&batch, &x.device());
    case.check("y", to_vec(y.clone()));
    if let Some(estimate) = estimate {
        moved(case, estimate, backbone.architecture().params.as_slice(), adaptation.params());
    }
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    case.check_gradients(&(y * case.value("cotangent").constant()).sum(), base.chain(own).chain([("x", x)]));
}

/// A training pass moves the running moments of the method, and none of the base.
fn moved(case: &Case, estimate: Estimate, base: &[ParamSpec], own: &[ParamSpec]) {
    let values = |specs: &[ParamSpec]| {
        let values = specs.iter().map(|spec| case.value(&spec.path.replace(".linear", "")).f32());
        Params { specs: specs.to_vec(), values: values.collect() }
    };
    let own_values = own.iter().map(|spec| case.value(&spec.path).f32()).collect();
    let (start, mut after, mut own) = (values(base), values(base), Params { specs: own.to_vec(), values: own_values });
    estimate.update(&mut after, &mut own);
    assert_eq!(after, start);
    for (spec, values) in own.specs.iter().zip(&own.values).filter(|(spec, _)| spec.moment) {
        case.check(&format!("moved.{}", spec.path), values.clone());
    }
}

#[test]
fn what_is_solved_matches_its_reference() {
    let cases = of("intercept");
    assert!(cases.len() >= 3, "the golden file lost cases");
    for case in &cases {
        let Network { backbone, schema } = of_case(case);
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
        let adaptation = build_method("intercept", &case.text("keys").parse().expect("valid TOML"), target).expect("a valid config");
        let labels = case.value("labels").f32();
        let domains: Vec<DomainIndex> = case.value("domain").u32().into_iter().map(DomainIndex).collect();
        let mut own = Params::init(adaptation.params(), 1);
        // Solved again with the offsets in the scores, it stays where it is.
        for _ in 0..2 {
            let at = |row: usize| own.values[0][0] + own.values.get(1).map_or(0.0, |of_domains| of_domains[domains[row].0 as usize]);
            let mut scores: Vec<f32> = case.value("scores").f32().iter().enumerate().map(|(row, z)| z + at(row)).collect();
            let mut answered = Answered { scores: &mut scores, labels: &labels, domains: &domains, ..Answered::default() };
            adaptation.solve(&mut own.values, &mut answered, Stage::After);
            own.specs.iter().zip(&own.values).for_each(|(spec, values)| case.check(&spec.path, values.clone()));
        }
    }
}
