//! `paml` against `reference/paml.py`: rates and layers after the inner loop, the memory after a step, and gradients of the outer loss in layers, rate net, a learned shrinkage and tables.
//!
//! The last of the tasks has no support row; the memory is empty, half full, and about to go round.

mod coded;
#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use acclimate_adapt::{AdaptError, Target, build_method};
use acclimate_model::{Params, Pass, Weights};
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

/// What validation tasks turn is what a config would have given.
#[test]
fn a_turned_dial_is_the_setting_it_stands_for() {
    let cases = cases("paml");
    let coded = Coded::new(&cases[0]);
    let loss = |name: &str, keys: &str, turned: &[(&str, f32)]| {
        let target = Target { backbone: coded.backbone.as_ref(), schema: &coded.schema, objective: coded.objective };
        let method = build_method(name, &keys.parse().expect("valid TOML"), target).expect("a config the tower can take");
        let mut own = Params::init(method.params(), 1);
        for (dial, value) in turned {
            let dial = method.dials().iter().find(|d| d.name == *dial).expect("a dial of what is not given");
            assert!(dial.values.contains(value) && method.params()[dial.param.0].solved, "{name}: {}", dial.name);
            own.values[dial.param.0][0] = *value;
        }
        let modulation = coded.modulation(method.as_ref(), &own.bind(&golden::device(), |_| false));
        (to_vec(coded.loss(&modulation).0)[0], method.dials().len())
    };
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    for name in ["maml", "fomaml", "anil", "paml"] {
        let trained = loss(name, "", &[]);
        assert_eq!(trained, (loss(name, "inner_steps = 1\ninner_rate = 0.05\nshrink = 'learned'", &[]).0, 3), "{name}: as in training");
        let turned = loss(name, "", &[("inner_rate", 4.0), ("inner_steps", 2.0), ("row_weight", 0.5)]).0;
        let (given, none) = loss(name, "inner_steps = 2\ninner_rate = 0.2\nshrink = 10.0", &[]);
        assert!(none == 0 && near(turned, given) && !near(turned, trained.0), "{name}: {turned} and {given}, {}", trained.0);
    }
    let off = |name: &str| loss(name, "", &[("row_weight", 0.0)]).0;
    assert!(near(off("maml"), off("paml")), "no step at all, at whatever rate");
    // Learned rates are multiplied, and steps that have rates of their own stay.
    let turned = loss("meta_sgd", "", &[("times_learned_rates", 2.0)]);
    assert!(turned.1 == 3 && near(turned.0, loss("meta_sgd", "inner_rate = 0.1", &[]).0), "{turned:?}");
    assert_eq!(["maml_pp", "metacs", "melu", "reptile"].map(|name| loss(name, "", &[]).1), [2, 1, 0, 1]);
}
