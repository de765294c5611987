//! `bayes_head` against `reference/bayes_head.py`: the head that is served after no, few and many rows, the spread around what it says, and what is solved for, with sweeps and shares chosen on held-out tasks.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Answered, Context, Stage, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Objective, Output, Params, Pass, Weights};
use golden::{Case, cases, to_vec};
use tower::{Network, bind, dnn, network};

fn objective(case: &Case) -> Objective {
    if case.text("loss") == "logistic" { Objective::Logistic } else { Objective::SquaredError }
}

/// The cases whose name begins so.
fn those(start: &str) -> Vec<Case> {
    let mut cases = cases("bayes_head");
    cases.retain(|case| case.name.starts_with(start));
    cases
}

#[test]
fn served_heads_match_the_reference() {
    let cases = those("served");
    assert!(cases.len() >= 3, "the golden file lost cases");
    for case in &cases {
        let Network { backbone, schema } = network(case, false, 1);
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: objective(case) };
        let adaptation = build_method("bayes_head", &toml::Table::new(), target).expect("a network it can take");
        let tower = backbone.tower().expect("a tower");
        let last = tower.linears().count() - 1;
        let name = |path: &str| path.replace("head.", &format!("{last}.")).replace("tower.", "").replace("linear.", "");
        let (base, _) = bind(case, &backbone.architecture().params, name);
        let (own, _) = bind(case, adaptation.params(), str::to_owned);

        let [groups, rows, _] = case.value("x_support").shape3();
        let [_, asked, _] = case.value("x_query").shape3();
        let support = Batch {
            groups,
            rows,
            mask: case.value("mask_support").f32(),
            label: case.value("y_support").f32(),
            domain: vec![DomainIndex(0); groups * rows],
            ..Batch::default()
        };
        let query = Batch {
            groups,
            rows: asked,
            mask: vec![1.0; groups * asked],
            domain: vec![DomainIndex(0); groups * asked],
            ..Batch::default()
        };
        let (inputs, asked_inputs) = ([case.value("x_support").constant()], [case.value("x_query").constant()]);
        let context = Context {
            support: Some(Support { batch: &support, inputs: &inputs, backbone: backbone.as_ref() }),
            inputs: &asked_inputs,
            ..Context::new(Unlabelled::new(&query))
        };
        let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
        let pass = Pass::new(&base, &modulation);
        let Weights { weight, bias, .. } = tower.linears().last().expect("a head").weights(&pass);
        case.check("weight", to_vec(weight));
        case.check("bias", to_vec(bias.expect("a bias")));
        let Output::Rows(scores) = backbone.forward(&pass, &query, &asked_inputs) else { panic!("a tower scores rows") };
        case.check("scores", to_vec(scores));
        let spread = adaptation.spread(&base, &own, &context).expect("the context is complete");
        assert_eq!(spread.is_some(), objective(case) == Objective::SquaredError, "{}", case.name);
        if let Some(spread) = spread {
            case.check("deviations", spread.deviations);
            assert_eq!((&spread.grid[..], &spread.cuts[..]), (&[2.0, 3.0, 4.0, 5.0][..], &[2.5, 3.375, 4.5][..]), "{}", case.name);
        }
    }
}

#[test]
fn what_is_solved_for_matches_the_reference() {
    let cases = those("solved");
    assert!(cases.len() >= 7, "the golden file lost cases");
    for case in &cases {
        let d = case.number("d") as usize;
        let Network { backbone, schema } = dnn(&[3, d], false, 1);
        let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: objective(case) };
        let adaptation = build_method("bayes_head", &case.text("keys").parse().expect("valid TOML"), target).expect("a valid config");
        let mut own = Params::init(adaptation.params(), 1);
        let start = own.clone();
        let (mut scores, labels) = (case.value("scores").f32(), case.value("labels").f32());
        let (tasks, states) = (case.value("tasks").u32(), case.value("states").f32());
        let domains = vec![DomainIndex(0); scores.len()];
        for (stage, solved) in [(Stage::Before, false), (Stage::After, true)] {
            let mut answered =
                Answered { scores: &mut scores, labels: &labels, domains: &domains, tasks: &tasks, states: &states, ..Answered::default() };
            adaptation.solve(&mut own.values, &mut answered, stage);
            assert_eq!(own != start, solved, "{}: {stage:?}", case.name);
        }
        own.specs.iter().zip(&own.values).for_each(|(spec, values)| case.check(&spec.path, values.clone()));
    }
}
