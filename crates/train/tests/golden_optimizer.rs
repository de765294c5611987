//! Optimisers against `reference/optim.py`: values and moments after each of five steps, and clipping of the global norm.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::{AdaptError, Adaptation, Context, Scope};
use acclimate_data::{Batch, DomainIndex, LabelKind, Schema};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Bound, DnnConfig, Init, Modulation, Objective, ParamSpec, RowGradients, Table};
use acclimate_train::feed::{Feed, Feeding};
use acclimate_train::{Moments, OptimizerConfig, Rule, Run, TrainConfig, train};
use burn::tensor::{Device, Tensor};
use golden::{Case, cases};

/// Variants that the product does not have: coupled decay, and SparseAdam's place of epsilon.
const NOT_BUILT: [&str; 4] = ["adam_l2", "rowwise_adam_l2", "rowwise_adam_sparse_eps", "rowwise_adam_sparse_eps_1e-08"];

#[test]
fn optimisers_match_the_reference() {
    let cases = cases("optim");
    assert!(cases.len() >= 14, "the golden file lost cases");
    for case in &cases {
        match case.name.as_str() {
            name if NOT_BUILT.contains(&name) => {}
            name if name.starts_with("clip") => clipping(case),
            name if name.starts_with("rowwise") => row_wise(case),
            "adam" | "adamw" => dense(case),
            name => panic!("no test for `{name}`"),
        }
    }
}

fn config(case: &Case) -> OptimizerConfig {
    let rule = match case.name.as_str() {
        name if name.contains("adagrad") => Rule::Adagrad,
        name if name.contains("sgd") => Rule::Sgd,
        _ => Rule::Adam,
    };
    let number = |key: &str| case.config.get(key).and_then(serde_json::Value::as_f64);
    let decay = number("decay").unwrap_or(0.0);
    OptimizerConfig {
        rule,
        rate: case.number("lr"),
        epsilon: number("eps").unwrap_or(1e-8),
        weight_decay: decay,
        row_decay: decay,
        ..OptimizerConfig::default()
    }
}

/// Compares values and moments after step `t`.
fn check(case: &Case, t: u64, values: &[f32], moments: &Moments) {
    case.check(&format!("p.{t}"), values.to_vec());
    for (name, found) in [("m", &moments.first), ("v", &moments.second), ("sum", &moments.second)] {
        if case.outputs.contains_key(&format!("{name}.{t}")) {
            case.check(&format!("{name}.{t}"), found.clone());
        }
    }
}

fn dense(case: &Case) {
    let (config, mut values) = (config(case), case.value("p").f32());
    let mut moments = Moments::zeros(values.len());
    for (t, gradient) in (1..).zip(case.value("g").f32().chunks_exact(values.len())) {
        config.dense(t, 1.0).dense(&mut values, gradient, &mut moments, true);
        check(case, t, &values, &moments);
    }
}

fn row_wise(case: &Case) {
    let config = config(case);
    let [rows, d] = [case.value("p").shape[0], case.value("p").shape[1]];
    let mut table = Table { d, values: case.value("p").f32() };
    let mut moments = Moments::zeros(table.values.len());
    if let Some(initial) = case.config.get("initial").and_then(serde_json::Value::as_f64) {
        moments.second.fill(initial as f32);
    }
    let (ids, g) = (case.value("ids"), case.value("g").f32());
    let touched = ids.shape[1];
    let mut gradients = RowGradients::new(rows, d);
    for (t, (ids, g)) in (1..).zip(ids.u32().chunks_exact(touched).zip(g.chunks_exact(touched * d))) {
        ids.iter().zip(g.chunks_exact(d)).for_each(|(&id, g)| gradients.add(id, g, 1.0));
        config.rows(t, 1.0).rows(&mut table, 0, &gradients, &mut moments);
        gradients.clear();
        check(case, t, &table.values, &moments);
    }
}

/// Parameters whose gradient is given: the penalty is `sum(p * g)`.
#[derive(Debug)]
struct Given {
    specs: Vec<ParamSpec>,
    gradients: Vec<Tensor<3>>,
    scope: Scope,
}

impl Adaptation for Given {
    fn params(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let terms = own.tensors().iter().zip(&self.gradients).map(|(p, g)| (p.clone() * g.clone()).sum());
        Ok(Modulation::none().penalised(terms.reduce(|a, b| a + b).expect("at least one parameter")))
    }
}

/// One row, one step.
struct OneRow;

impl Feed for OneRow {
    fn steps(&self, _: u64) -> usize {
        1
    }

    fn batch(&self, _: u64, _: usize) -> Feeding {
        let query = Batch {
            groups: 1,
            rows: 1,
            mask: vec![1.0],
            label: vec![0.0],
            domain: vec![DomainIndex(0)],
            numbers: 1,
            numeric: vec![1.0],
            unknown: vec![0.0],
            ..Batch::default()
        };
        Feeding { query, support: None }
    }

    fn rows(&self) -> usize {
        1
    }

    fn window(&self) -> Option<[i64; 2]> {
        None
    }
}

/// Plain descent at rate 1 from 0 leaves minus the clipped gradient in the parameters.
fn clipping(case: &Case) {
    let schema = Schema {
        label: LabelKind::Click,
        domains: vec!["all".into()],
        vocabularies: Vec::new(),
        categorical: Vec::new(),
        bags: Vec::new(),
        numeric: vec!["x".into()],
        sides: BTreeMap::new(),
    };
    let backbone = BackboneConfig::Dnn(DnnConfig { hidden: vec![2], ..DnnConfig::default() });
    let base = Base::init(BaseSpec { backbone, schema, objective: Objective::Logistic }, 0).expect("a number is a feature");
    let names: Vec<&str> = case.inputs.keys().map(String::as_str).collect();
    let spec = |name: &&str| ParamSpec::weight(*name, case.value(name).shape3(), Init::Constant(0.0));
    let given = Given {
        specs: names.iter().map(spec).collect(),
        gradients: names.iter().map(|name| case.value(name).constant()).collect(),
        scope: Scope::default(),
    };
    let optimizer = OptimizerConfig { rule: Rule::Sgd, rate: 1.0, clip_norm: Some(case.number("max_norm")), ..OptimizerConfig::default() };
    let run = Run {
        base: &base,
        adaptation: &given,
        feed: &OneRow,
        config: &TrainConfig { epochs: 1, optimizer, ..TrainConfig::default() },
        seed: 0,
        device: &Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &AtomicBool::new(false),
    };
    let trained = train(run).expect("one step");
    for (name, values) in names.iter().zip(&trained.own.values) {
        case.check(&format!("clipped.{name}"), values.iter().map(|x| -x).collect());
    }
}
