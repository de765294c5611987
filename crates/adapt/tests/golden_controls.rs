//! Controls that change the loss of training against their reference programs: the loss, its gradients, and what a step moves.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Context, Needs, SourceRows, Start, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{AfterPass, Modulation, Objective, Output, Pass};
use golden::{Array, Case, cases, to_vec};
use tower::{Network, bind, network};

fn objective(case: &Case) -> Objective {
    if case.text("objective") == "logistic" { Objective::Logistic } else { Objective::SquaredError }
}

/// The rows of a case, without features: what enters the tower is its `x`.
fn batch(case: &Case) -> Batch {
    let [groups, rows, _] = case.value("x").constant().dims();
    let domain = case.inputs.get("domain").map_or(vec![0; groups * rows], Array::u32);
    Batch {
        groups,
        rows,
        mask: case.inputs.get("mask").map_or(vec![1.0; groups * rows], Array::f32),
        label: case.value("y").f32(),
        domain: domain.into_iter().map(DomainIndex).collect(),
        ..Batch::default()
    }
}

/// Tries every case of a method; returns how many there are and what the method needs.
fn matches(method: &str) -> (usize, Needs) {
    let cases = cases(method);
    let mut needs = Needs::default();
    for case in &cases {
        // The last of a case's domains is one that the base does not know.
        let known = case.config.get("domains").map_or(1, |d| d.as_u64().expect("a number") as usize - 1);
        let Network { backbone, schema } = network(case, false, known);
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: objective(case) };
        let keys = case.text("keys").parse().expect("valid TOML");
        let adaptation = build_method(method, &keys, target).expect("a config the tower can take");
        needs = adaptation.needs();
        let specs = &backbone.architecture().params;
        let (base, base_names) = bind(case, specs, |path| path.replace(".linear", ""));
        let (own, _) = bind(case, adaptation.params(), str::to_owned);
        let (x, batch) = (case.leaf("x"), batch(case));
        let context = Context { inputs: std::slice::from_ref(&x), ..Context::new(Unlabelled::new(&batch)) };
        let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
        let output = backbone.forward(&Pass::new(&base, &modulation), &batch, std::slice::from_ref(&x));
        let teacher = needs.teacher.then(|| {
            let (start, _) = bind(case, specs, |path| format!("start.{}", path.replace(".linear", "")));
            let Output::Rows(s) = backbone.forward(&Pass::new(&start, &Modulation::none()), &batch, &[case.value("x").constant()]) else {
                panic!("a tower scores rows")
            };
            case.check("teacher", to_vec(s.clone()));
            Output::Rows(s.detach())
        });
        let after = AfterPass { output: &output, batch: &batch, objective: objective(case), teacher: teacher.as_ref() };
        let mut loss = objective(case).loss(&output, &batch);
        for added in modulation.added(&after) {
            loss = loss + added.summands.sum();
            let Some(spec) = adaptation.params().first() else { continue };
            let mut moved = case.value(&spec.path).f32();
            for value in added.moved {
                let at = value.block as usize * spec.block();
                moved[at..at + spec.block()].copy_from_slice(&value.values);
            }
            case.check(&format!("moved.{}", spec.path), moved);
        }
        case.check("loss", to_vec(loss.clone()));
        let leaves = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
        case.check_gradients(&loss, leaves.chain([("x", x)]));
    }
    (cases.len(), needs)
}

#[test]
fn rows_of_both_lists_count_the_same_in_joint_training() {
    assert_eq!(matches("joint"), (2, Needs { source: SourceRows::Pooled, ..Needs::default() }));
}

#[test]
fn distillation_matches_its_reference() {
    assert_eq!(matches("distillation"), (3, Needs { teacher: true, ..Needs::default() }));
}

#[test]
fn coral_matches_its_reference() {
    assert_eq!(matches("coral"), (3, Needs { source: SourceRows::Beside, ..Needs::default() }));
}

#[test]
fn group_dro_matches_its_reference() {
    assert_eq!(matches("group_dro"), (3, Needs::default()));
}

#[test]
fn settings_out_of_range_and_objectives_without_values_are_refused() {
    let Network { backbone, schema } = tower::dnn(&[4, 3], false, 2);
    let refused = |method: &str, keys: &str, objective| {
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective };
        build_method(method, &keys.parse().expect("valid TOML"), target).expect_err(keys).to_string()
    };
    for (method, keys, expected) in [
        ("distillation", "weight = 1.0", "`weight` must be from 0 to below 1"),
        ("distillation", "temperature = 0.0", "`temperature` must be above 0"),
        ("coral", "weight = -1.0", "`weight` must be 0 or more"),
        ("group_dro", "rate = -0.1", "`rate` must be 0 or more"),
        ("stack", "methods = [{ name = 'joint' }]", "starts from fresh values"),
        (
            "stack",
            "methods = [{ name = 'lora', per_domain = true }, { name = 'maml' }]",
            "one needs groups of a domain, the other tasks of users",
        ),
        ("stack", "methods = [{ name = 'intercept' }, { name = 'coral' }]", "can hold `coral`, which trains on rows of the base's domains"),
        ("stack", "train = 'stages'\nmethods = [{ name = 'coral' }, { name = 'lora' }]", "only with `train = \"together\"`"),
        ("stack", "methods = [{ name = 'coral' }, { name = 'star' }]", "know no domains"),
    ] {
        let said = refused(method, keys, Objective::Logistic);
        assert!(said.contains(expected), "{method}, {keys}: {said}");
    }
    for method in ["distillation", "coral", "group_dro"] {
        let said = refused(method, "", Objective::Bpr);
        assert!(said.contains("`bpr`") && said.contains("train it for `logistic` or `squared_error`"), "{method}: {said}");
    }
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let starts =
        ["start = 'base'", ""].map(|keys| build_method("group_dro", &keys.parse().expect("valid TOML"), target).expect("it fits").start());
    assert_eq!(starts, [Start::Base, Start::Fresh]);
}
