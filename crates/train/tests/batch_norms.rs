//! Moments that are measured without labels: of a method's own before training, and of a window of rows. Against `reference/conditional_batch_norm.py` and `reference/partitioned_norm.py`, and by
//! their laws.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Adaptation, Target, build_method};
use acclimate_data::{Batch, DomainIndex, LabelKind, Schema};
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Norm, Objective, Params};
use acclimate_train::feed::{Feed, Feeding};
use acclimate_train::{Run, Scorer, TrainConfig, train};
use burn::tensor::Device;
use golden::{Case, cases};

/// A tower of the case's widths; the last of its domains is one that the base does not know.
fn base(case: &Case, norm: Norm) -> Base {
    let list = case.config["widths"].as_array().expect("`widths` is a list");
    let widths: Vec<usize> = list.iter().map(|w| w.as_u64().expect("a width") as usize).collect();
    let schema = Schema {
        label: LabelKind::Click,
        domains: (0..case.number("domains") as usize - 1).map(|i| format!("d{i}")).collect(),
        vocabularies: Vec::new(),
        categorical: Vec::new(),
        bags: Vec::new(),
        numeric: (0..widths[0]).map(|i| format!("x{i}")).collect(),
        sides: BTreeMap::new(),
    };
    let backbone = BackboneConfig::Dnn(DnnConfig { hidden: widths[1..].to_vec(), norm, ..DnnConfig::default() });
    let mut base = Base::init(BaseSpec { backbone, schema, objective: Objective::Logistic }, 0).expect("numbers are features");
    let specs = base.params.specs.clone();
    for (spec, values) in specs.iter().zip(&mut base.params.values).filter(|_| norm == Norm::Batch) {
        *values = case.value(&spec.path.replace(".linear", "")).f32();
    }
    base
}

fn method(base: &Base, name: &str, keys: &str) -> Box<dyn Adaptation> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    build_method(name, &keys.parse().expect("valid TOML"), target).expect("a config the tower can take")
}

/// One group of rows, and so much padding.
fn batch(x: &[f32], d: usize, domains: &[u32], padding: usize) -> Batch {
    let rows = domains.len() + padding;
    let mut mask = vec![1.0; domains.len()];
    mask.resize(rows, 0.0);
    let mut domain: Vec<DomainIndex> = domains.iter().map(|&d| DomainIndex(d)).collect();
    domain.resize(rows, DomainIndex(0));
    let mut numeric = x.to_vec();
    // Padding that would be seen.
    numeric.resize(rows * d, 100.0);
    let label = (0..rows).map(|row| (row % 2) as f32).collect();
    Batch {
        groups: 1,
        rows,
        mask,
        label,
        domain,
        numbers: d,
        numeric,
        unknown: vec![0.0; rows * d],
        row: (0..rows as u32).collect(),
        ..Batch::default()
    }
}

/// The rows of a case, a few in each step.
struct Steps(Vec<Batch>);

impl Feed for Steps {
    fn steps(&self, _: u64) -> usize {
        self.0.len()
    }

    fn batch(&self, _: u64, step: usize) -> Feeding {
        Feeding { query: self.0[step].clone(), support: None }
    }

    fn rows(&self) -> usize {
        self.0.iter().map(Batch::len).sum()
    }

    fn window(&self) -> Option<[i64; 2]> {
        None
    }
}

#[test]
fn measured_moments_match_the_reference_whatever_training_does() {
    let cases: Vec<_> = cases("conditional_batch_norm").into_iter().filter(|case| case.config.get("measured").is_some()).collect();
    assert!(cases.len() >= 3, "the golden file lost cases");
    for case in &cases {
        let base = base(case, Norm::Batch);
        let d = case.value("x").shape[1];
        let (x, domains) = (case.value("x").f32(), case.value("domain").u32());
        let steps = x.chunks(4 * d).zip(domains.chunks(4)).map(|(x, domains)| batch(x, d, domains, 2)).collect();
        for (name, keys) in [
            ("conditional_batch_norm", case.text("measured").to_owned()),
            (
                "stack",
                format!(
                    "methods = [{{ name = 'film' }}, {{ name = 'conditional_batch_norm', {} }}]",
                    case.text("measured").replace('\n', ", ")
                ),
            ),
        ] {
            let adaptation = method(&base, name, &keys);
            let run = Run {
                base: &base,
                adaptation: adaptation.as_ref(),
                feed: &Steps(Clone::clone(&steps)),
                config: &TrainConfig { epochs: 2, ..TrainConfig::default() },
                seed: 3,
                device: &Device::flex(),
                intercept: None,
                validate: None,
                observer: &mut (),
                checkpoint: None,
                stop: &AtomicBool::new(false),
            };
            let trained = train(run).expect("a run");
            let at = trained.own.specs.iter().position(|spec| spec.path.ends_with("moments")).expect("moments of its own");
            case.check("moments", trained.own.values[at].clone());
        }
    }
}

fn window_cases() -> Vec<Case> {
    cases("partitioned_norm").into_iter().filter(|case| case.config.get("window").is_some()).collect()
}

/// Base, method with the case's values, and the case's rows.
fn of_case(case: &Case) -> (Base, Box<dyn Adaptation>, Params, Vec<f32>, usize) {
    let base = base(case, Norm::Batch);
    let adaptation = method(&base, "partitioned_norm", "");
    let values = adaptation.params().iter().map(|spec| case.value(&spec.path).f32()).collect();
    let own = Params { specs: adaptation.params().to_vec(), values };
    (base, adaptation, own, case.value("x").f32(), *case.value("x").shape.last().expect("a width"))
}

#[test]
fn a_window_matches_the_reference_however_it_is_cut() {
    let cases = window_cases();
    assert!(cases.len() >= 2, "the golden file lost cases");
    for case in &cases {
        let (base, adaptation, own, x, d) = of_case(case);
        let (domain, rows) = (case.number("domain") as u32, x.len() / d);
        let device = Device::flex();
        let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &device);
        let cut: Vec<Batch> = x.chunks(3 * d).map(|x| batch(x, d, &vec![domain; x.len() / d], 1)).collect();
        let whole = batch(&x, d, &vec![domain; rows], 0);
        for window in [&cut[..], std::slice::from_ref(&whole)] {
            let moved = scorer.window_norms(window, case.number("pseudo_count")).expect("rows of one domain");
            for (norm, (site, [mean, variance])) in moved.norms().iter().enumerate() {
                assert_eq!(base.backbone.architecture().sites[site.0].path, format!("tower.{norm}.norm"));
                case.check(&format!("tower.{norm}.norm.mean"), mean.clone());
                case.check(&format!("tower.{norm}.norm.variance"), variance.clone());
            }
            case.check("scores", Scorer::new(&base, &moved, &own, &device).batch(&whole, None).expect("scores"));
        }
    }
}

#[test]
fn a_window_without_rows_changes_nothing_and_one_of_many_counts_alone() {
    let case = &window_cases()[0];
    let (base, adaptation, own, x, d) = of_case(case);
    let device = Device::flex();
    let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &device);
    let rows = batch(&x, d, &vec![1; x.len() / d], 0);
    let padding = batch(&[], d, &[], 4);
    for window in [&[][..], std::slice::from_ref(&padding)] {
        let still = scorer.window_norms(window, 0.0).expect("nothing to measure");
        assert!(still.norms().is_empty());
        assert_eq!(Scorer::new(&base, &still, &own, &device).batch(&rows, None).unwrap(), scorer.batch(&rows, None).unwrap());
    }
    let alone = scorer.window_norms(std::slice::from_ref(&rows), 0.0).expect("rows of one domain");
    let distance = |times: usize| {
        let many = scorer.window_norms(&vec![rows.clone(); times], 16.0).expect("rows of one domain");
        let pairs = many.norms().iter().zip(alone.norms()).flat_map(|((_, a), (_, b))| a.concat().into_iter().zip(b.concat()));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max)
    };
    assert!(
        distance(1) > 0.05 && distance(20) < distance(1) / 5.0 && distance(2000) < distance(1) / 200.0,
        "{} {}",
        distance(20),
        distance(2000)
    );
}

/// Gains, shifts, weights, the base and the method's own values are as they were; only moments are others.
#[test]
fn a_window_moves_nothing_but_moments() {
    use acclimate_adapt::{Context, Unlabelled};
    use acclimate_model::{Effect, NormChange};
    let case = &window_cases()[0];
    let (base, adaptation, own, x, d) = of_case(case);
    let (device, rows) = (Device::flex(), batch(&x, d, &vec![1; x.len() / d], 0));
    let (hash, before) = (base.hash(), own.clone());
    let moved = Scorer::new(&base, adaptation.as_ref(), &own, &device).window_norms(std::slice::from_ref(&rows), 16.0).expect("a window");
    assert!(base.hash() == hash && own == before);
    let bind = |params: &Params| params.bind(&device, |_| false);
    let (bound, bound_own, context) = (bind(&base.params), bind(&own), Context::new(Unlabelled::new(&rows)));
    let plain = adaptation.adapt(&bound, &bound_own, &context).expect("a modulation");
    let there = moved.adapt(&bound, &bound_own, &context).expect("a modulation");
    let (kept, added) = there.effects().split_at(plain.effects().len());
    assert_eq!(format!("{kept:?}"), format!("{:?}", plain.effects()));
    assert_eq!(added.len(), 2);
    let only_moments = |effect: &Effect<'_>| {
        matches!(effect, Effect::Norm(NormChange { times: None, plus: None, shift: None, moments: Some(_), own: None }))
    };
    assert!(added.iter().all(|(_, effect)| only_moments(effect)));
}

#[test]
fn a_window_abstains_without_batch_norms_and_refuses_what_it_can_not_read() {
    let case = &window_cases()[0];
    let device = Device::flex();
    let plain = base(case, Norm::Layer);
    let film = method(&plain, "film", "");
    let own = Params::init(film.params(), 1);
    let x = case.value("x").f32();
    let d = *case.value("x").shape.last().expect("a width");
    let rows = batch(&x, d, &vec![1; x.len() / d], 0);
    let still = Scorer::new(&plain, film.as_ref(), &own, &device).window_norms(std::slice::from_ref(&rows), 16.0).expect("no norm to move");
    assert!(still.norms().is_empty());

    let (base, adaptation, own, ..) = of_case(case);
    let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &device);
    let says = |window: &[Batch], n: f64| scorer.window_norms(window, n).map(|_| ()).expect_err("an error").to_string();
    let other = batch(&x, d, &vec![0; x.len() / d], 0);
    assert!(says(&[rows.clone(), other], 16.0).contains("`window` has rows whose norms have other moments"));
    assert!(says(std::slice::from_ref(&rows), -1.0).contains("`pseudo_count`") && says(&[rows], f64::NAN).contains("`pseudo_count`"));
}

#[test]
fn wrong_configs_of_norms_are_typed_errors() {
    let case = &window_cases()[0];
    let says = |norm: Norm, name: &str, keys: &str| {
        let base = base(case, norm);
        let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
        build_method(name, &keys.parse().expect("valid TOML"), target).map(|_| ()).expect_err("an error").to_string()
    };
    for name in ["conditional_batch_norm", "partitioned_norm"] {
        for norm in [Norm::None, Norm::Layer] {
            let found = says(norm, name, "");
            assert!(found.contains(name) && found.contains("no norm with running moments; set `norm = \"batch\"`"), "{found}");
        }
        let found = says(Norm::Batch, name, "sites = ['tower.0.linear']");
        assert!(found.contains("`sites` matches no norm"), "{found}");
    }
    for (keys, expected) in [
        ("hidden = 0", "`hidden` must be at least 1"),
        ("embedding = 0", "`embedding` must be at least 1"),
        ("pseudo_count = -1.0", "`pseudo_count` must be a number"),
        ("moments = 'per_condition'\ncondition = ['domain', 'x0']", "`condition` must be `domain` or one categorical feature"),
        ("moments = 'per_condition'\ncondition = 'x0'", "`condition` must be `domain` or one categorical feature"),
        ("moments = 'batch'", "per_condition"),
        ("condition = 'tab'", "names no feature `tab`"),
    ] {
        let found = says(Norm::Batch, "conditional_batch_norm", keys);
        assert!(found.contains(expected), "{found}");
    }
}
