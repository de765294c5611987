//! `paml` against `reference/paml.py`: rates and layers after the inner loop, the memory after a step, and gradients of the outer loss in layers, rate net, a learned shrinkage and tables.
//!
//! The last of the tasks has no support row; the memory is empty, half full, and about to go round.

mod coded;
#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use acclimate_adapt::{AdaptError, Target, build_method};
use acclimate_model::{Pass, Weights};
use coded::Coded;
use golden::{Case, cases, to_vec};

#[test]
fn paml_matches_the_reference() {
    let cases = cases("paml");
    assert!(cases.len() >= 10, "the golden file lost cases");
    cases.iter().for_each(check);
}

fn check(case: &Case) {
    let coded = Coded::new(case);
    let config = format!(
        "inner_steps = {}\ninner_rate = {}\nleast_rate = {:?}\norder = '{}'\nwidth = {}\nmemory = '{}'\nmemory_size = {}\nneighbours = {}\ngamma = {:?}\nshrink = {}",
        case.number("steps"),
        case.number("alpha"),
        case.number("least"),
        if case.text("order") == "exact" { "second" } else { "first" },
        case.number("width"),
        case.text("memory"),
        case.number("memory_size"),
        case.number("neighbours"),
        case.number("gamma"),
        case.config["shrink"].to_string().replace('"', "'"),
    );
    let target = Target { backbone: coded.backbone.as_ref(), schema: &coded.schema, objective: coded.objective };
    let method = build_method("paml", &config.parse().expect("valid TOML"), target).expect("a config the tower can take");
    let own = Coded::own(case, method.as_ref());
    let modulation = coded.modulation(method.as_ref(), &own);

    let pass = Pass::new(&coded.base, &modulation);
    for linear in coded.backbone.tower().expect("a tower").linears() {
        let path = &coded.backbone.architecture().sites[linear.site.0].path;
        let Weights { weight, bias, .. } = linear.weights(&pass);
        case.check(&format!("adapted.{path}.weight"), to_vec(weight));
        case.check(&format!("adapted.{path}.bias"), to_vec(bias.expect("a bias")));
    }
    let (loss, moved) = coded.loss(&modulation);
    case.check("loss", to_vec(loss.clone()));
    coded.check_gradients(case, &loss, method.as_ref(), &own);

    assert_eq!(moved.is_empty(), case.text("memory") == "none", "{}: what is kept", case.name);
    if !moved.is_empty() {
        let place = |path: &str| method.params().iter().position(|spec| spec.path == path).expect("a running value");
        let (users, written) = (place("memory.users"), place("memory.written"));
        let mut memory = case.value("memory.users").f32();
        for moved in moved {
            let at = moved.block as usize * moved.values.len();
            match moved.param.0 {
                i if i == users => memory[at..][..moved.values.len()].copy_from_slice(&moved.values),
                i => {
                    assert_eq!(i, written);
                    case.check("written", moved.values);
                }
            }
        }
        case.check("memory", memory);
    }
}

#[test]
fn a_config_that_says_two_things_is_refused() {
    let cases = cases("paml");
    let coded = Coded::new(&cases[0]);
    let refused = |keys: &str| {
        let target = Target { backbone: coded.backbone.as_ref(), schema: &coded.schema, objective: coded.objective };
        build_method("paml", &keys.parse().expect("valid TOML"), target).map(|_| ()).expect_err(keys)
    };
    for (keys, expected) in [
        ("gamma = 1.0", "gamma"),
        ("gamma = -1.0\nmemory = 'none'", "gamma"),
        ("least_rate = 0.1", "least_rate"),
        ("width = 0", "width"),
        ("neighbours = 0", "neighbours"),
        ("memory_size = 0", "memory_size"),
        ("inner_rate = 0.0", "inner_rate"),
    ] {
        let error = refused(keys);
        assert!(matches!(error, AdaptError::Value { key, .. } if key == expected), "{keys}: {error}");
    }
    let schema = acclimate_data::Schema { sides: Default::default(), ..coded.schema.clone() };
    let target = Target { backbone: coded.backbone.as_ref(), schema: &schema, objective: coded.objective };
    let error = build_method("paml", &toml::Table::new(), target).map(|_| ()).expect_err("no feature is the user's");
    assert!(error.to_string().contains("no feature of the user"), "{error}");
}
