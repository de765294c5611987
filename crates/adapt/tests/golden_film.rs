//! FiLM against `reference/film.py`: the tower's output and every gradient of `sum(y * cotangent)`, through the method as it is configured; and how a condition is read.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Context, Unlabelled, build_method};
use acclimate_data::{BagColumn, Batch, DomainIndex, FieldSchema, VocabularyIndex, VocabularySchema};
use acclimate_model::{Bound, Objective, Output, Pass};
use burn::tensor::{Tensor, TensorData};
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

/// FiLM in place of a norm's affine part: the published place, not this method's.
const NOT_BUILT: &str = "norm_before";

#[test]
fn film_matches_the_reference() {
    let cases: Vec<_> = cases("film").into_iter().filter(|case| case.config.get("film").is_none()).collect();
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

#[test]
fn conditions_of_several_features_match_the_reference() {
    let cases: Vec<_> = cases("film").into_iter().filter(|case| case.config.get("film").is_some()).collect();
    assert!(cases.len() >= 4, "the golden file lost cases");
    cases.iter().for_each(condition_case);
}

/// A tower of numbers, in data with a categorical feature, a list and one more number.
fn with_features(Network { backbone, mut schema }: Network) -> Network {
    schema.vocabularies = [("segment", 3), ("tags", 4)].map(|(name, rows)| VocabularySchema { name: name.into(), rows }).into();
    let field = |name: &str, place| FieldSchema { name: name.into(), vocabulary: VocabularyIndex(place) };
    (schema.categorical, schema.bags) = (vec![field("segment", 0)], vec![field("tags", 1)]);
    schema.numeric.push("age".into());
    Network { backbone, schema }
}

fn condition_case(case: &Case) {
    let Network { backbone, schema } = with_features(network(case, false, 1));
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let film = build_method("film", &case.text("film").parse().expect("valid TOML"), target).expect("a config the tower can take");
    let (base, base_names) = bind(case, &backbone.architecture().params, |path| path.replace(".linear", ""));
    let (own, own_names) = bind(case, film.params(), str::to_owned);
    let x = case.leaf("x");
    let [g, n, width] = x.dims();
    let list = |key: &str| case.config[key].as_array().expect("a list").clone();
    let code = |value: &serde_json::Value| value.as_u64().expect("a code") as u32;
    let lists: Vec<Vec<u32>> = list("tags").iter().map(|codes| codes.as_array().expect("codes").iter().map(code).collect()).collect();
    let ends = lists.iter().scan(0, |end, codes| {
        *end += codes.len() as u32;
        Some(*end)
    });
    let tags = BagColumn { offsets: std::iter::once(0).chain(ends).collect(), codes: lists.concat() };
    let ages: Vec<f32> = list("age").iter().map(|age| age.as_f64().expect("a number") as f32).collect();
    let batch = Batch {
        groups: g,
        rows: n,
        mask: vec![1.0; g * n],
        domain: vec![DomainIndex(0); g * n],
        fields: 1,
        categorical: list("segment").iter().map(code).collect(),
        numbers: width + 1,
        numeric: to_vec(x.clone()).chunks_exact(width).zip(ages).flat_map(|(x, age)| [x, &[age]].concat()).collect(),
        bags: vec![tags],
        ..Batch::default()
    };
    let context = Context::new(Unlabelled::new(&batch));
    let modulation = film.adapt(&base, &own, &context).expect("the context is complete");
    let Output::Rows(y) = backbone.forward(&Pass::new(&base, &modulation), &batch, std::slice::from_ref(&x)) else {
        panic!("a tower scores rows")
    };
    case.check("y", to_vec(y.clone()));
    assert_eq!(modulation.penalty().is_some(), case.outputs.contains_key("penalty"));
    if let Some(penalty) = modulation.penalty() {
        case.check("penalty", penalty.into_data().try_into_vec().expect("f32"));
    }
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    case.check_gradients(&(y * case.value("cotangent").constant()).sum(), base.chain(own).chain([("x", x)]));
}

/// One vector for all rows of one condition, one a group where the rows of each agree, else one a row; padding asks for none of its own.
#[test]
fn a_modulation_is_as_wide_as_its_conditions_differ() {
    let Network { backbone, schema } = tower::dnn(&[2, 3], false, 3);
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let film = build_method("film", &toml::Table::new(), target).expect("a config the tower can take");
    let bind = |specs: &[acclimate_model::ParamSpec]| acclimate_model::Params::init(specs, 1).bind(&device(), |_| false);
    let (base, own) = (bind(&backbone.architecture().params), bind(film.params()));
    let shape = |domains: [u32; 4], mask: [f32; 4]| {
        let domain = domains.map(DomainIndex).into();
        let batch = Batch { groups: 2, rows: 2, mask: mask.into(), domain, ..Batch::default() };
        let modulation = film.adapt(&base, &own, &Context::new(Unlabelled::new(&batch))).expect("the context is complete");
        modulation.values() / 6
    };
    let real = [1.0; 4];
    assert_eq!(shape([1, 1, 1, 1], real), 1);
    assert_eq!(shape([1, 1, 2, 2], real), 2);
    assert_eq!(shape([1, 2, 1, 1], real), 4);
    assert_eq!(shape([1, 0, 2, 0], [1.0, 0.0, 1.0, 0.0]), 2);
    assert_eq!(shape([0, 0, 2, 2], [0.0, 0.0, 1.0, 1.0]), 1);
}

#[test]
fn a_wrong_condition_is_an_error_that_says_what_there_is() {
    let Network { backbone, schema } = with_features(tower::dnn(&[2, 3], false, 2));
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let says = |method: &str, keys: &str| {
        build_method(method, &keys.parse().expect("valid TOML"), target).map(|_| ()).expect_err("an error").to_string()
    };
    for method in ["film", "gating_film", "epnet", "ppnet"] {
        for (keys, expected) in [
            ("condition = 'tab'", "`condition` names no feature `tab`; there are `domain`, segment, tags, x0"),
            ("condition = ['segment', 'segment']", "`condition` names `segment` twice"),
            ("condition = []", "`condition` names nothing"),
            ("condition = 3", "expected the name of a feature or a list of names"),
            ("embedding = 0", "`embedding` must be at least 1"),
        ] {
            let found = says(method, keys);
            assert!(found.contains(expected) && found.contains(method), "{found}");
        }
    }
    let number = says("film", "condition = ['segment', 'age']\ngenerator = 'table'");
    assert!(number.contains("names the number `age`, which has no row of a table"), "{number}");
    for (method, keys) in [
        ("film", "hidden = 0"),
        ("epnet", "hidden = 0"),
        ("ppnet", "hidden = 0"),
        ("film", "post_penalty = -1.0"),
        ("ppnet", "sites = ['x']"),
        ("gating_film", "sites = ['head']"),
    ] {
        let (found, key) = (says(method, keys), keys.split(' ').next().expect("a key"));
        assert!(found.contains(&format!("`{key}`")), "{found}");
    }
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
