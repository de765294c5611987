//! `adapter` on the `dnn` tower against `reference/adapter.py`: scores, and gradients of every parameter and of the rows.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod tower;

use acclimate_adapt::{Context, Unlabelled, build_method};
use acclimate_data::{Batch, DomainIndex};
use acclimate_model::{Objective, Output, Pass};
use golden::{Case, cases, to_vec};
use tower::{Network, bind, network};

#[test]
fn the_adapter_matches_the_reference() {
    let cases = cases("adapter");
    let towers: Vec<_> = cases.iter().filter(|c| c.name.starts_with("tower")).collect();
    assert!(towers.len() >= 6, "the golden file lost cases");
    for case in towers {
        tower_case(case);
    }
}

fn tower_case(case: &Case) {
    let layer_norm = case.text("norm") == "layer_norm";
    let domains = case.config.get("domains").and_then(|d| d.as_u64());
    // The last of the case's domains is one that the base does not know.
    let known = domains.unwrap_or(1).saturating_sub(1) as usize;
    let Network { backbone, schema } = network(case, layer_norm, known);
    let config = format!(
        "bottleneck = {}\nform = '{}'\ngelu = '{}'\nper_domain = {}",
        case.number("bottleneck"),
        case.text("form"),
        if case.text("gelu") == "gelu" { "exact" } else { "tanh" },
        domains.is_some()
    );
    let config = config.parse().expect("valid TOML");
    let target = acclimate_adapt::Target { backbone: backbone.as_ref(), schema: &schema, objective: Objective::Logistic };
    let adaptation = build_method("adapter", &config, target).expect("a config the tower can take");

    // `tower.0.linear.weight` is `tower.0.weight` there, `tower.0.norm.gain` is `norm.0.gain`.
    let base_name = |path: &str| match path.split('.').collect::<Vec<_>>()[..] {
        ["tower", layer, "norm", part] => format!("norm.{layer}.{part}"),
        ["tower", layer, "linear", part] => format!("tower.{layer}.{part}"),
        _ => path.to_owned(),
    };
    let own_name = |path: &str| path.replace("tower.", "adapter.").replace("linear.", "");
    let (base, base_names) = bind(case, &backbone.architecture().params, base_name);
    let (own, own_names) = bind(case, adaptation.params(), own_name);

    let x = case.leaf("x");
    let [g, n, _] = x.dims();
    let domain = case.inputs.get("domain").map_or(vec![0; g], golden::Array::u32);
    let domain = domain.iter().flat_map(|&d| vec![DomainIndex(d); n]).collect();
    let batch = Batch { groups: g, rows: n, mask: vec![1.0; g * n], domain, ..Batch::default() };
    let context = Context::new(Unlabelled::new(&batch));
    let modulation = adaptation.adapt(&base, &own, &context).expect("the context is complete");
    let pass = Pass::new(&base, &modulation);
    let Output::Rows(y) = backbone.forward(&pass, &batch, std::slice::from_ref(&x)) else { panic!("a tower scores rows") };

    case.check("y", to_vec(y.clone()));
    let base = base_names.iter().map(String::as_str).zip(base.tensors().iter().cloned());
    let own = own_names.iter().map(String::as_str).zip(own.tensors().iter().cloned());
    case.check_gradients(&(y * case.value("cotangent").constant()).sum(), base.chain(own).chain([("x", x)]));
}
