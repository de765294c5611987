//! HyperFormer on towers against `reference/hyperformer.py`: scores, and gradients of every parameter and of the rows. Those on self-attention are read in `golden_sasrec.rs`.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Adaptation, Context, Target, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Objective, Output, Params, Pass};
use burn::tensor::Tensor;
use golden::{Case, cases, device, to_vec};
use tower::{Network, bind, network};

#[test]
fn hyperformer_matches_the_reference() {
    let cases = cases("hyperformer");
    let towers: Vec<_> = cases.iter().filter(|case| case.config.get("sequence_keys").is_none()).collect();
    assert!(towers.len() >= 4, "the golden file lost cases");
    towers.into_iter().for_each(tower_case);
}

fn tower_case(case: &Case) {
    // The last of the case's domains is one that the base does not know.
    let Network { backbone, schema } = network(case, case.text("norm") == "after", case.number("domains") as usize - 1);
    let target = Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let adaptation =
        build_method("hyperformer", &case.text("tower_keys").parse().expect("valid TOML"), target).expect("a config the tower can take");
    let (base, base_names) = bind(case, &backbone.architecture().params, str::to_owned);
    let (own, own_names) = bind(case, adaptation.params(), str::to_owned);

    let x = case.leaf("x");
    let batch = batch(&case.value("domain").u32(), x.dims()[1]);
    let modulation = adaptation.adapt(&base, &own, &Context::new(Unlabelled::new(&batch))).expect("the context is complete");
    assert!(modulation.misplaced(&backbone.architecture().sites).is_none(), "{}: an effect is misplaced", case.name);
    let Output::Rows(y) = backbone.forward(&Pass::new(&base, &modulation), &batch, std::slice::from_ref(&x)) else {
        panic!("a tower scores rows")
    };

    case.check("y", to_vec(y.clone()));
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    case.check_gradients(&(y * case.value("cotangent").constant()).sum(), base.chain(own).chain([("x", x)]));
}

/// A group of `n` rows of each domain.
fn batch(domains: &[u32], n: usize) -> Batch {
    let domain = domains.iter().flat_map(|&d| vec![DomainIndex(d); n]).collect();
    Batch { groups: domains.len(), rows: n, mask: vec![1.0; domains.len() * n], domain, ..Batch::default() }
}

/// Gradients of the sum of scores with respect to the method's own parameters; none is zero everywhere.
fn gradients(adaptation: &dyn Adaptation, network: &Network, domains: &[u32]) -> Vec<Vec<f32>> {
    let device = device();
    let base = Params::init(&network.backbone.architecture().params, 3).bind(&device, |_| false);
    // Off the start, where what the network writes is 0.
    let mut own = Params::init(adaptation.params(), 3);
    own.values.iter_mut().flatten().zip(1..).for_each(|(value, i)| *value += 0.1 * (f64::from(i) * 0.7).sin() as f32);
    let own = own.bind(&device, |_| true);
    let batch = batch(domains, 2);
    let x = Tensor::<3>::ones([domains.len(), 2, 4], &device);
    let modulation = adaptation.adapt(&base, &own, &Context::new(Unlabelled::new(&batch))).expect("the context is complete");
    let Output::Rows(y) = network.backbone.forward(&Pass::new(&base, &modulation), &batch, &[x]) else { panic!("a tower scores rows") };
    let gradients = y.sum().backward();
    own.tensors().iter().map(|leaf| leaf.grad(&gradients).map_or_else(Vec::new, to_vec)).collect()
}

/// Rows of a new domain move its vector and nothing else; those of known domains move what they always do.
#[test]
fn a_new_domain_trains_its_vector_alone() {
    let network = tower::dnn(&[4, 5, 3], true, 2);
    let target = Target { backbone: network.backbone.as_ref(), schema: &network.schema, objective: Objective::Logistic };
    let build = |keys: &str| build_method("hyperformer", &keys.parse().expect("valid TOML"), target).expect("a config the tower can take");
    let (all, guarded) = (build("unfreeze = []"), build("new_vector_only = true\nunfreeze = []"));
    let names: Vec<_> = all.params().iter().map(|spec| spec.path.as_str()).collect();
    let is_zero = |gradient: &[f32]| gradient.iter().all(|&g| g == 0.0);
    let new = gradients(guarded.as_ref(), &network, &[2, 2]);
    let free = gradients(all.as_ref(), &network, &[2, 2]);
    for ((name, new), free) in names.iter().zip(&new).zip(&free) {
        assert!(!is_zero(free), "{name} has no gradient");
        match *name {
            "domain.embedding" => assert!(!is_zero(&new[2 * new.len() / 3..]), "nothing is trained"),
            _ => assert!(is_zero(new), "a new domain trains {name}"),
        }
    }
    // Beside a known domain the new one changes nothing but its own vector's gradient.
    let (mixed, known) = (gradients(guarded.as_ref(), &network, &[0, 2]), gradients(all.as_ref(), &network, &[0]));
    for ((name, mixed), known) in names.iter().zip(&mixed).zip(&known) {
        let end = if *name == "domain.embedding" { 2 * mixed.len() / 3 } else { mixed.len() };
        assert!(mixed[..end].iter().zip(known).all(|(a, b)| (a - b).abs() < 1e-5), "{name}: {mixed:?}, alone {known:?}");
    }
}

#[test]
fn what_is_trained_beside_a_vector_is_an_error() {
    let network = tower::dnn(&[4, 3], false, 2);
    let target = Target { backbone: network.backbone.as_ref(), schema: &network.schema, objective: Objective::Logistic };
    let error = build_method("hyperformer", &"new_vector_only = true".parse().expect("valid TOML"), target)
        .map(|_| ())
        .expect_err("a refusal")
        .to_string();
    assert!(error.contains("unfreeze = []"), "{error}");
}
