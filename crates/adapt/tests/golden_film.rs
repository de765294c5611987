//! FiLM against `reference/film.py`: the tower's output and every gradient of `sum(y * cotangent)`, through the method as it is configured.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Context, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Bound, Objective, Output, Pass};
use burn::tensor::{Tensor, TensorData};
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

/// FiLM in place of a norm's affine part: the published place, not this method's.
const NOT_BUILT: &str = "norm_before";

#[test]
fn film_matches_the_reference() {
    let cases = cases("film");
    assert!(cases.len() >= 5, "the golden file lost cases");
    cases.iter().filter(|case| case.name != NOT_BUILT).for_each(tower_case);
}

fn tower_case(case: &Case) {
    let condition = case.value("condition");
    let [groups, of_group, d] = condition.shape[..] else { panic!("a condition is [G, 1 or N, d]") };
    // Each condition is a domain of its own, the last one a domain that the base does not know.
    let Network { backbone, schema } = network(case, case.text("norm") == "after", groups * of_group - 1);
    let config = format!("embedding = {d}\nhidden = {}", case.number("hidden"));
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let film = build_method("film", &config.parse().expect("valid TOML"), target).expect("a config the tower can take");

    let base_name = |path: &str| match path.split('.').collect::<Vec<_>>()[..] {
        ["tower", layer, "norm", part] => format!("norm.{layer}.{part}"),
        ["tower", layer, "linear", part] => format!("tower.{layer}.{part}"),
        _ => path.to_owned(),
    };
    let (base, base_names) = bind(case, &backbone.architecture().params, base_name);
    let generator = &film.params()[2..];
    let (own, own_names) = bind(case, generator, str::to_owned);
    let common = Tensor::<3>::zeros([1, 1, d], &device());
    let values = TensorData::new(condition.f32(), [1, groups * of_group, d]);
    let embedding = Tensor::<3>::from_data(values, &device()).require_grad();
    let all: Bound = [common, embedding.clone()].into_iter().chain(own.tensors().iter().cloned()).collect::<Vec<_>>().into();

    let x = case.leaf("x");
    let [g, n, _] = x.dims();
    let domain = (0..g * n).map(|row| DomainIndex(if of_group == 1 { row / n } else { row } as u32)).collect();
    let batch = Batch { groups: g, rows: n, mask: vec![1.0; g * n], domain, ..Batch::default() };
    let context = Context::new(Unlabelled::new(&batch));
    let modulation = film.adapt(&base, &all, &context).expect("the context is complete");
    let Output::Rows(y) = backbone.forward(&Pass::new(&base, &modulation), &batch, std::slice::from_ref(&x)) else {
        panic!("a tower scores rows")
    };

    case.check("y", to_vec(y.clone()));
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    let loss = (y * case.value("cotangent").constant()).sum();
    case.check_gradients(&loss, base.chain(own).chain([("x", x), ("condition", embedding)]));
}

/// A condition without training rows is at the place that all others start from.
#[test]
fn an_unseen_condition_keeps_the_common_embedding() {
    let Network { backbone, schema } = tower::dnn(&[2, 3], false, 2);
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let film = build_method("film", &toml::Table::new(), target).expect("a config the tower can take");
    let own = acclimate_model::Params::init(film.params(), 1);
    assert!(own.values[1].iter().all(|&r| r == 0.0) && own.values[0].iter().any(|&e| e != 0.0));
}
