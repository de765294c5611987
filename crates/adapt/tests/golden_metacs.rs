//! `maml` with everything adapted against `reference/metacs.py`: layers and query rows after the inner loop, and gradients of the outer loss in layers, rates, a learned shrinkage and whole tables.
//!
//! The last of the tasks has no support row; a vocabulary is shared by a field and a list.

mod coded;
#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use acclimate_adapt::inner::Shrink;
use acclimate_adapt::{Target, build_method};
use acclimate_model::{Ids, SiteId, Weights};
use coded::Coded;
use golden::{Case, cases, to_vec};

#[test]
fn metacs_matches_the_reference() {
    let cases = cases("metacs");
    assert!(cases.len() >= 8, "the golden file lost cases");
    cases.iter().for_each(check);
}

fn check(case: &Case) {
    let coded = Coded::new(case);
    let or = |key: &str, or: &str| case.config.get(key).map_or(or.to_owned(), |value| value.to_string().replace('"', "'"));
    let config = format!(
        "rho = 0.0\nouter_rate = 0.0\ninner_steps = {}\ninner_rate = {}\norder = '{}'\nrates = {}\nmulti_step = {}\nshrink = {}",
        case.number("steps"),
        case.number("alpha"),
        if case.text("order") == "exact" { "second" } else { "first" },
        or("rates", "'none'"),
        or("multi_step", "0.0"),
        or("shrink", "0.0"),
    );
    let target = Target { backbone: coded.backbone.as_ref(), schema: &coded.schema, objective: coded.objective };
    let method = build_method("metacs", &config.parse().expect("valid TOML"), target).expect("a config the tower can take");
    let own = Coded::own(case, method.as_ref());
    let modulation = coded.modulation(method.as_ref(), &own);
    assert_eq!(modulation.misplaced(&coded.backbone.architecture().sites).map(|(at, _)| at), None::<SiteId>);

    let tower: Vec<_> = coded.backbone.tower().expect("a tower").linears().copied().collect();
    let pass = acclimate_model::Pass::new(&coded.base, &modulation);
    for linear in &tower {
        let path = &coded.backbone.architecture().sites[linear.site.0].path;
        let Weights { weight, bias, .. } = linear.weights(&pass);
        case.check(&format!("adapted.{path}.weight"), to_vec(weight));
        case.check(&format!("adapted.{path}.bias"), to_vec(bias.expect("a bias")));
    }
    let site = coded.backbone.architecture().find_site("input").expect("rows go in somewhere");
    let ids = Ids::Codes { codes: &coded.query.categorical, fields: coded.query.fields };
    let mut x = to_vec(modulation.rows(site, ids, coded.x_query[0].clone()));
    let width = x.len() / coded.query.len();
    x.chunks_exact_mut(width).zip(&coded.query.mask).for_each(|(row, mask)| row.iter_mut().for_each(|x| *x *= mask));
    case.check("x", x);

    let (loss, moved) = coded.loss(&modulation);
    assert!(moved.is_empty(), "{}: nothing is kept between steps", case.name);
    case.check("loss", to_vec(loss.clone()));
    coded.check_gradients(case, &loss, method.as_ref(), &own);
}

/// A step of the inner loop is at most as long as one of the outer, and what it is tied to must be said.
#[test]
fn a_rate_above_the_outer_one_is_refused() {
    let cases = cases("metacs");
    let coded = Coded::new(&cases[0]);
    let said = |keys: &str| {
        let target = Target { backbone: coded.backbone.as_ref(), schema: &coded.schema, objective: coded.objective };
        build_method("metacs", &keys.parse().expect("valid TOML"), target).map(|_| ()).map_err(|e| e.to_string())
    };
    for (keys, expected) in [
        ("rho = 1.5", "`rho`"),
        ("rho = -0.5", "`rho`"),
        ("outer_rate = 0.0", "`outer_rate`"),
        ("rho = 0.0", "`outer_rate`"),
        ("rates = 'weight'", "`layer_step`"),
        ("outer = 'reptile'\nshrink = 1.0", "`all`"),
        ("outer = 'reptile'", "`reptile` does not follow"),
        ("shrink = -1.0", "`shrink`"),
    ] {
        let error = said(keys).expect_err(keys);
        assert!(error.contains(expected), "{keys}: {error}");
    }
    assert_eq!(said("rho = 0.5"), Ok(()));
    assert!(Shrink::LEARNED.is_learned());
}
