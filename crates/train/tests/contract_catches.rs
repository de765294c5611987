//! Each law can fail: methods that break one on purpose are caught.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use acclimate_adapt::{AdaptError, Adaptation, CodeRows, Context, Groups, Hidden, Needs, Reading, Scope, StandIn, build_method};
use acclimate_model::{
    Added, BackboneConfig, Bound, DnnConfig, Effect, Modulation, Moved, NormChange, Output, ParamId, ParamSpec, SiteId, mask,
};
use acclimate_train::contract::{Case, Ground, LAWS, Violation};
use acclimate_train::{OptimizerConfig, Run, TrainConfig, Trained, train};
use burn::tensor::{Device, Tensor};

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let config = DnnConfig { embedding: 4, hidden: vec![16, 8], ..DnnConfig::default() };
    Ground::simulate("dnn", BackboneConfig::Dnn(config)).expect("a valid config")
});

/// What a [`Broken`] method does wrong at the head: `y` is the score, `w` its parameter `[1, 1, 1]`, `calls` how often it has adapted.
type Fault = fn(y: Tensor<3>, w: Tensor<3>, calls: u32) -> Tensor<3>;

/// One parameter at the head, and a fault.
struct Broken {
    specs: Vec<ParamSpec>,
    scope: Scope,
    needs: Needs,
    head: SiteId,
    calls: AtomicU32,
    fault: Fault,
    /// Whether it says that labels teach it something.
    learns: bool,
}

impl Broken {
    fn boxed(start: f32, fault: Fault) -> Box<Self> {
        let architecture = GROUND.base.backbone.architecture();
        let head = architecture.find_site("head").expect("a dnn has a head");
        let specs = vec![ParamSpec::vector("w", 1, 1, start)];
        Box::new(Self { specs, scope: Scope::default(), needs: Needs::default(), head, calls: AtomicU32::new(0), fault, learns: true })
    }
}

/// The calls are left out: a run is known by its config.
impl std::fmt::Debug for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broken")
    }
}

impl Adaptation for Broken {
    fn params(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        self.needs
    }

    fn learns(&self) -> bool {
        self.learns
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let (w, fault) = (own.get(ParamId(0)), self.fault);
        Ok(Modulation::none().with(self.head, Effect::opaque(move |_, y| fault(y, w.clone(), calls))))
    }
}

fn check(case: &Case<'_>, law: &str) -> Result<(), Violation> {
    let law = LAWS.iter().find(|l| l.name.contains(law)).unwrap_or_else(|| panic!("no law `{law}`"));
    case.check(law)
}

fn caught(adaptation: Box<dyn Adaptation>, law: &str, finding: &str) {
    let violation = check(&Case::new("broken", adaptation, &GROUND), law).expect_err(law);
    assert!(violation.finding.contains(finding), "{violation}");
}

/// A shift of the score: what a sound method with one parameter does.
fn sound(y: Tensor<3>, w: Tensor<3>, _: u32) -> Tensor<3> {
    y + w
}

#[test]
fn a_sound_method_is_not_accused() {
    let case = Case::new("sound", Broken::boxed(0.0, sound), &GROUND);
    for law in LAWS.iter().filter(|l| !l.name.contains("patch")) {
        case.check(law).unwrap_or_else(|violation| panic!("{violation}"));
    }
}

#[test]
fn a_start_beside_the_base_is_caught() {
    caught(Broken::boxed(0.1, sound), "untrained", "patched, base");
}

#[test]
fn silence_about_missing_context_is_caught() {
    let needs = Needs { groups: Groups::Task, ..Needs::default() };
    let mut tensors_first = Broken::boxed(0.0, sound);
    tensors_first.needs = needs;
    caught(tensors_first, "missing context", "panics");

    #[derive(Debug)]
    struct Silent(Scope);
    impl Adaptation for Silent {
        fn scope(&self) -> &Scope {
            &self.0
        }
        fn needs(&self) -> Needs {
            Needs { groups: Groups::Domain, ..Needs::default() }
        }
        fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
            Ok(Modulation::none())
        }
    }
    caught(Box::new(Silent(Scope::default())), "missing context", "is no error");
}

#[test]
fn labels_that_are_said_to_teach_nothing_are_caught() {
    let mut broken = Broken::boxed(0.0, sound);
    broken.learns = false;
    caught(broken, "nothing from labels", "others give another patch");
}

/// Reads no item, and says so, or reads every one and says that some are left out.
#[derive(Debug)]
struct Reads(Scope, f32);

impl Adaptation for Reads {
    fn scope(&self) -> &Scope {
        &self.0
    }
    fn reading(&self, _: &[Vec<f32>]) -> Option<Reading> {
        let schema = &GROUND.base.spec.schema;
        let field = schema.categorical.iter().position(|f| f.name == "item_id").expect("a feature of the ground");
        let rows = vec![1.0; schema.vocabularies[schema.categorical[field].vocabulary.at()].rows];
        Some(Reading { counted: vec![CodeRows { field, rows }], least: self.1, paths: None })
    }
    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none())
    }
}

#[test]
fn a_reading_that_leaves_out_nothing_is_caught() {
    let reads =
        |least| check(&Case::new("reads", Box::new(Reads(Scope::default(), least)), &GROUND), "what is hidden").map_err(|v| v.finding);
    assert_eq!(reads(2.0), Ok(()));
    assert!(reads(1.0).expect_err("every item is read").contains("every code that the network reads is read"));
}

#[test]
fn a_feature_that_is_hidden_for_nothing_is_caught() {
    let config = DnnConfig { embedding: 4, hidden: vec![16, 8], without: vec!["item_id".into()], ..DnnConfig::default() };
    let ground = Ground::untrained("dnn", BackboneConfig::Dnn(config)).expect("a valid config");
    let place = |name: &str| ground.base.spec.schema.categorical.iter().position(|f| f.name == name).expect("a feature of the ground");
    let hiding = |name: &str| {
        let mut broken = Broken::boxed(0.0, sound);
        broken.needs.hidden = Some(Hidden { field: place(name), stand_in: StandIn::Unknown });
        check(&Case::new("hiding", broken, &ground), "what is hidden").map_err(|violation| violation.finding)
    };
    assert_eq!(hiding("user_id"), Ok(()));
    assert!(hiding("item_id").expect_err("no network reads it").contains("does not read"));
}

#[test]
fn statistics_of_the_batch_are_caught() {
    caught(Broken::boxed(0.0, |y, w, _| y.clone() + y.mean_dim(1) * w), "depends on nothing else", "a score changes");
    caught(Broken::boxed(0.0, |y, w, _| y.clone() + y.mean_dim(0) * w), "depends on nothing else", "a score changes");
}

#[test]
fn a_dead_parameter_is_caught() {
    caught(Broken::boxed(0.0, |y, w, _| y + w * 0.0), "gets a gradient", "never gets a gradient");
}

#[test]
fn a_gradient_that_is_too_small_is_caught() {
    let half = |y: Tensor<3>, w: Tensor<3>, _| y + w.clone() * 0.5 + w.detach() * 0.5;
    caught(Broken::boxed(0.0, half), "derivative of the loss", "w, value 0: the gradient is");
}

/// A method of the support set, the base's rows and the head's weight: the score moves by `w` times the mean of the support's inputs, padding counted as 0.
#[derive(Debug)]
struct Supported {
    specs: Vec<ParamSpec>,
    scope: Scope,
    /// Which term its gradient leaves out.
    dropped: Option<Dropped>,
    /// Whether its gradient points the other way.
    is_reversed: bool,
    exact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dropped {
    Support,
    Dense,
    Penalty,
}

impl Supported {
    fn boxed(dropped: Option<Dropped>, exact: bool) -> Box<Self> {
        let architecture = GROUND.base.backbone.architecture();
        let weight = architecture.params.iter().position(|p| p.path == "head.weight").map(ParamId).expect("a dnn has a head");
        let scope = Scope { params: vec![weight], tables: (0..architecture.tables.len()).collect() };
        Box::new(Self { specs: vec![ParamSpec::vector("w", 1, 1, 0.0)], scope, dropped, is_reversed: false, exact })
    }
}

impl Adaptation for Supported {
    fn params(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn needs(&self) -> Needs {
        Needs { groups: Groups::Task, ..Needs::default() }
    }

    fn is_exact(&self) -> bool {
        self.exact
    }

    fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let support = context.support.expect("the ground's tasks have one");
        let mask = acclimate_model::mask(support.batch, &support.inputs[0].device()); // [G, S, 1]
        let inputs = support.inputs[0].clone() * mask;
        let inputs = if self.dropped == Some(Dropped::Support) { inputs.detach() } else { inputs };
        let w = own.get(ParamId(0));
        let penalty = (w.clone().square() * 3.0).sum();
        let penalty = if self.dropped == Some(Dropped::Penalty) { penalty.detach() } else { penalty };
        let shift = inputs.mean_dim(1).mean_dim(2) * w * 20.0; // [G, 1, 1]
        let head = GROUND.base.backbone.architecture().find_site("head").expect("a dnn has a head");
        let is_reversed = self.is_reversed;
        let moved = Effect::opaque(move |_, y| {
            let sound = y + shift.clone();
            if is_reversed { sound.clone().detach() * 2.0 - sound } else { sound }
        });
        let all = Modulation::none().with(head, moved).penalised(penalty);
        Ok(match self.dropped {
            Some(Dropped::Dense) => all.with(head, Effect::Replace { weight: base.get(self.scope.params[0]).detach(), bias: None }),
            _ => all,
        })
    }
}

#[test]
fn a_term_that_a_gradient_leaves_out_is_caught() {
    let law = "derivative of the loss";
    for exact in [true, false] {
        check(&Case::new("sound", Supported::boxed(None, exact), &GROUND), law).unwrap_or_else(|violation| panic!("{violation}"));
    }
    caught(Supported::boxed(Some(Dropped::Support), true), law, "rows of ");
    caught(Supported::boxed(Some(Dropped::Dense), true), law, "head.weight");
    caught(Supported::boxed(Some(Dropped::Penalty), true), law, "w, value 0");
    caught(Box::new(Supported { is_reversed: true, ..*Supported::boxed(None, false) }), law, "along its gradient");
}

/// The sound method with a term that is known after the pass, `w² mean(s)` over all rows, and a second parameter that it may move.
#[derive(Debug)]
struct WithTerm {
    specs: Vec<ParamSpec>,
    scope: Scope,
    /// Whether the gradient leaves the term out.
    is_detached: bool,
    /// What the term moves: a parameter and its value.
    moves: Option<(usize, f32)>,
}

impl WithTerm {
    fn boxed(is_detached: bool, moves: Option<(usize, f32)>) -> Box<Self> {
        let specs = vec![ParamSpec::vector("w", 1, 1, 0.0), ParamSpec::moment("running", 1, 0.0)];
        Box::new(Self { specs, scope: Scope::default(), is_detached, moves })
    }
}

impl Adaptation for WithTerm {
    fn params(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let head = GROUND.base.backbone.architecture().find_site("head").expect("a dnn has a head");
        let (shift, w) = (own.get(ParamId(0)), own.get(ParamId(0)));
        let all = Modulation::none().with(head, Effect::offset(shift));
        Ok(all.with_term(move |after| {
            let Output::Rows(scores) = after.output else { return None };
            let summands = w.clone().square() * scores.clone() * mask(after.batch, &scores.device()) * 0.02;
            let summands = if self.is_detached { summands.detach() } else { summands };
            let moved = self.moves.map(|(param, value)| Moved { param: ParamId(param), block: 0, values: vec![value] });
            Some(Added { summands, moved: moved.into_iter().collect() })
        }))
    }
}

#[test]
fn a_term_after_the_pass_counts_in_the_loss_and_in_its_gradient() {
    let law = "derivative of the loss";
    let sound = Case::new("sound", WithTerm::boxed(false, Some((1, 0.5))), &GROUND);
    for law in [law, "running values", "resumed", "same seed"] {
        check(&sound, law).unwrap_or_else(|violation| panic!("{violation}"));
    }
    caught(WithTerm::boxed(true, Some((1, 0.5))), law, "w, value 0");
}

#[test]
fn a_running_value_that_is_not_declared_or_never_moves_is_caught() {
    caught(WithTerm::boxed(false, Some((0, 0.5))), "running values", "`w`, which is not declared");
    caught(WithTerm::boxed(false, None), "running values", "nothing ever moves `running`");
}

#[test]
fn a_method_that_learns_nothing_is_caught() {
    caught(Broken::boxed(0.0, |y, w, _| y + w * 1e-12), "learns", "its loss");
}

#[test]
fn an_overflow_is_caught() {
    caught(Broken::boxed(0.0, |y, w, _| y.clone() + (y.abs() * 3.0).exp() * w * 1e-6), "finite", "not finite");
}

#[test]
fn an_effect_at_the_wrong_site_is_caught() {
    #[derive(Debug)]
    struct Misplaced(Box<Broken>);
    impl Adaptation for Misplaced {
        fn params(&self) -> &[ParamSpec] {
            self.0.params()
        }
        fn scope(&self) -> &Scope {
            self.0.scope()
        }
        fn adapt<'a>(&'a self, base: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
            let gain = NormChange { plus: Some(own.get(ParamId(0))), ..NormChange::default() };
            Ok(self.0.adapt(base, own, context)?.with(self.0.head, Effect::Norm(gain)))
        }
    }
    caught(Box::new(Misplaced(Broken::boxed(0.0, sound))), "folded", "says nothing at its site");
}

/// A state that is neither a parameter nor in a checkpoint.
fn remembering(y: Tensor<3>, w: Tensor<3>, calls: u32) -> Tensor<3> {
    y + w * (1.0 + 0.01 * (calls % 100) as f32)
}

#[test]
fn hidden_state_is_caught() {
    caught(Broken::boxed(0.0, remembering), "same seed", "another patch");
    caught(Broken::boxed(0.0, remembering), "resumed", "the resumed run");
}

#[test]
fn a_deaf_seed_is_caught() {
    caught(Broken::boxed(0.0, |y, w, _| y + w * 0.0), "another seed", "same scores");
}

fn method(config: &str) -> Box<dyn Adaptation> {
    let spec = &GROUND.base.spec;
    let target = acclimate_adapt::Target { backbone: GROUND.base.backbone.as_ref(), schema: &spec.schema, objective: spec.objective };
    build_method("adapter", &config.parse().expect("valid TOML"), target).expect("a valid config")
}

#[test]
fn a_manifest_that_does_not_rebuild_the_method_is_caught() {
    // The case says nothing of the config, so the loaded patch has the default form.
    let case = Case::new("adapter", method("gelu = 'tanh'"), &GROUND);
    assert!(check(&case, "a saved patch").expect_err("another GELU").finding.contains("before, after"));
    let case = Case::new("unlisted", method(""), &GROUND);
    assert!(check(&case, "a saved patch").expect_err("no such method").finding.contains("unlisted"));
}

#[test]
fn a_base_taken_for_another_is_caught() {
    let config = DnnConfig { embedding: 4, hidden: vec![16, 8], ..DnnConfig::default() };
    let mut ground = Ground::untrained("dnn", BackboneConfig::Dnn(config)).expect("a valid config");
    ground.other = ground.base.clone();
    let case = Case::listed("fine_tune_head", &toml::Table::new(), &ground).expect("it works on a dnn");
    assert!(check(&case, "wrong base").expect_err("the same base").finding.contains("is no error"));
}

#[test]
fn a_change_that_is_not_declared_is_caught() {
    let listed = || Case::listed("adapter", &toml::Table::new(), &GROUND).expect("it works on a dnn");
    let tamper = |change: fn(&mut Trained)| {
        let mut trained = untrained();
        change(&mut trained);
        check(&listed().with_result(trained), "only declared").expect_err("a change").finding
    };
    assert!(check(&listed().with_result(untrained()), "only declared").is_ok());
    assert!(tamper(|t| t.base.params.values[0][3] += 1e-3).contains("tower.0.linear.weight"));
    assert!(tamper(|t| std::sync::Arc::make_mut(&mut t.base.tables[0]).values[5] = 1.0).contains("row 1"));
    assert!(tamper(|t| t.own.values.truncate(1)).contains("declares"));
}

/// What training of no step gives.
fn untrained() -> Trained {
    let adaptation = method("");
    let config = TrainConfig { steps: Some(0), optimizer: OptimizerConfig::default(), ..TrainConfig::default() };
    struct Nothing;
    impl acclimate_train::feed::Feed for Nothing {
        fn steps(&self, _: u64) -> usize {
            0
        }
        fn batch(&self, _: u64, _: usize) -> acclimate_train::feed::Feeding {
            unreachable!("an epoch of no step")
        }
        fn rows(&self) -> usize {
            0
        }
        fn window(&self) -> Option<[i64; 2]> {
            None
        }
    }
    let run = Run {
        base: &GROUND.base,
        adaptation: adaptation.as_ref(),
        feed: &Nothing,
        config: &config,
        seed: 0,
        device: &Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &false.into(),
    };
    train(run).expect("nothing to do")
}
