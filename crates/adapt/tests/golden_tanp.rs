//! `tanp` on towers against `reference/tanp.py`: scores, the loss with its terms, and gradients of every parameter and of the rows; and the laws of a neural process.
//!
//! The last of the four tasks has no support row; what stands in padding rows is no zero.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Adaptation, Context, Support, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{AfterPass, Bound, Modulation, Objective, Output, Params, Pass};
use burn::tensor::{Tensor, TensorData};
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

#[test]
fn tanp_matches_the_reference() {
    let cases = cases("tanp");
    assert!(cases.len() >= 7, "the golden file lost cases");
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
    let adaptation = build_method("tanp", &case.text("keys").parse().expect("valid TOML"), target).expect("a config the tower can take");
    let (base, _) = bind(case, &backbone.architecture().params, str::to_owned);
    let (own, names) = bind(case, adaptation.params(), str::to_owned);
    let (support, query) = (part(case, "support"), part(case, "query"));
    let (of_support, of_query) = ([case.leaf("x_support")], [case.leaf("x_query")]);
    let context = Context {
        support: Some(Support { batch: &support, inputs: &of_support, backbone: backbone.as_ref() }),
        inputs: &of_query,
        ..Context::new(Unlabelled::new(&query))
    };
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    let output = backbone.forward(&Pass::new(&base, &modulation), &query, &of_query);
    let Output::Rows(scores) = &output else { panic!("a tower scores rows") };
    let real = to_vec(scores.clone()).into_iter().zip(&query.mask).filter(|(_, m)| **m != 0.0).map(|(score, _)| score);
    case.check("scores", real.collect());
    let added = modulation.added(&AfterPass { output: &output, batch: &query, objective, teacher: None });
    let loss = added.into_iter().fold(objective.loss(&output, &query), |loss, added| loss + added.summands.sum());
    case.check("loss", to_vec(loss.clone()));
    let leaves = names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    let [of_support, of_query] = [of_support, of_query].map(|[x]| x);
    case.check_gradients(&loss, leaves.chain([("x_support", of_support), ("x_query", of_query)]));
}

/// A tower, the method with these keys, and values for both off their start.
struct Laid {
    network: Network,
    adaptation: Box<dyn Adaptation>,
    base: Bound,
    own: Bound,
}

const WIDTH: usize = 3;

fn laid(keys: &str) -> Laid {
    let network = tower::dnn(&[WIDTH, 4], false, 1);
    let target = Target { backbone: network.backbone.as_ref(), schema: &network.schema, objective: Objective::SquaredError };
    let adaptation = build_method("tanp", &keys.parse().expect("valid TOML"), target).expect("a config the tower can take");
    let base = Params::init(&network.backbone.architecture().params, 3).bind(&device(), |_| false);
    let mut own = Params::init(adaptation.params(), 3);
    own.values.iter_mut().flatten().zip(1..).for_each(|(value, i)| *value += 0.1 * (f64::from(i) * 0.7).sin() as f32);
    let own = own.bind(&device(), |_| false);
    Laid { network, adaptation, base, own }
}

/// A task of rows that are given by numbers, with their inputs.
fn task(rows: &[u32], mask: f32) -> (Batch, [Tensor<3>; 1]) {
    let n = rows.len();
    let wave = |x: f64| (x.sin() * 1.3) as f32;
    let label = rows.iter().map(|&r| wave(f64::from(r) * 2.1)).collect();
    let x = rows.iter().flat_map(|&r| (0..WIDTH).map(move |j| wave(f64::from(r) + 1.7 * j as f64))).collect::<Vec<_>>();
    let batch = Batch { groups: 1, rows: n, mask: vec![mask; n], label, domain: vec![DomainIndex(0); n], ..Batch::default() };
    (batch, [Tensor::from_data(TensorData::new(x, [1, n, WIDTH]), &device())])
}

/// Scores of the query and what the terms add to the loss.
fn said(laid: &Laid, (support, of_support): &(Batch, [Tensor<3>; 1]), (query, of_query): &(Batch, [Tensor<3>; 1])) -> (Vec<f32>, f32) {
    let backbone = laid.network.backbone.as_ref();
    let support = Some(Support { batch: support, inputs: of_support, backbone });
    let context = Context { support, inputs: of_query, ..Context::new(Unlabelled::new(query)) };
    let modulation = laid.adaptation.adapt(&laid.base, &laid.own, &context).expect("the context is complete");
    let output = backbone.forward(&Pass::new(&laid.base, &modulation), query, of_query);
    let added = modulation.added(&AfterPass { output: &output, batch: query, objective: Objective::SquaredError, teacher: None });
    let added = added.into_iter().flat_map(|added| to_vec(added.summands)).sum();
    let Output::Rows(scores) = output else { panic!("a tower scores rows") };
    (to_vec(scores), added)
}

#[test]
fn the_order_of_the_support_changes_nothing() {
    for keys in ["", "score = 'own'\ngain = 'tanh'\nkernel = 'norm'"] {
        let (laid, query) = (laid(keys), task(&[7, 8], 1.0));
        let (one, other) = (said(&laid, &task(&[1, 2, 3, 4], 1.0), &query), said(&laid, &task(&[3, 1, 4, 2], 1.0), &query));
        assert!(one.0.iter().zip(&other.0).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} and {other:?}");
        assert!((one.1 - other.1).abs() < 1e-5, "{one:?} and {other:?}");
        assert_ne!(one.0, said(&laid, &task(&[1, 2, 3, 5], 1.0), &query).0);
    }
}

#[test]
fn nothing_diverges_where_the_query_adds_nothing() {
    let laid = laid("kl = 1.0\nclustering = 0.0");
    let support = task(&[1, 2, 3], 1.0);
    // The same rows again leave the mean as it is; other rows do not.
    let again = said(&laid, &support, &task(&[1, 2, 3], 1.0)).1;
    let other = said(&laid, &support, &task(&[4, 5], 1.0)).1;
    assert!(again.abs() < 1e-6 && other > 1e-6, "{again}, {other}");
}

/// With one task its targets are its shares, since f is c; only shares that add up to 1 then have no loss.
#[test]
fn the_shares_of_a_task_add_up_to_one() {
    for kernel in ["squared", "norm"] {
        let laid = laid(&format!("kl = 0.0\nclustering = 1.0\nkernel = '{kernel}'"));
        let clustering = said(&laid, &task(&[1, 2, 3], 1.0), &task(&[4, 5], 1.0)).1;
        assert!(clustering.abs() < 1e-6, "{kernel}: {clustering}");
    }
}

#[test]
fn without_support_rows_it_is_the_base() {
    for keys in ["", "score = 'own'\nlatent = 'sampled'"] {
        let (laid, query) = (laid(keys), task(&[7, 8], 1.0));
        let plain = laid.network.backbone.forward(&Pass::new(&laid.base, &Modulation::none()), &query.0, &query.1);
        let Output::Rows(plain) = plain else { panic!("a tower scores rows") };
        let plain = to_vec(plain);
        for support in [task(&[], 1.0), task(&[1, 2], 0.0)] {
            let (scores, added) = said(&laid, &support, &query);
            assert_eq!(scores, plain);
            assert!(added.is_finite());
        }
        assert_ne!(said(&laid, &task(&[1, 2], 1.0), &query).0, plain);
    }
}

#[test]
fn wrong_keys_say_what_to_do() {
    let network = tower::dnn(&[WIDTH, 4], false, 1);
    for (objective, keys, said) in [
        (Objective::SquaredError, "latent = 'sampled'", "score = \"own\""),
        (Objective::SquaredError, "decoder = []", "widths"),
        (Objective::SquaredError, "clusters = 0", "at least 1"),
        (Objective::SquaredError, "kl = -1.0", "0 or more"),
        (Objective::SquaredError, "user = 'nobody'", "`nobody`"),
        (Objective::Bpr, "", "squared_error"),
    ] {
        let target = Target { backbone: network.backbone.as_ref(), schema: &network.schema, objective };
        let error = build_method("tanp", &keys.parse().expect("valid TOML"), target).map(|_| ()).expect_err("a refusal").to_string();
        assert!(error.contains(said), "{keys}: {error}");
    }
}
