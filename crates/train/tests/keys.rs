//! What each key of the training config does, worked out by hand: a key that did the opposite, or nothing, fails here.
//!
//! The method of these tests has given gradients: its loss is a sum of products, and the network's own score is taken out of it. With plain descent
//! at rate 1 every value then moves by exactly minus its gradient.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use acclimate_adapt::{AdaptError, Adaptation, Context, Needs, Scope, Target, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, SimulatorConfig, VocabularyIndex, VocabularySchema};
use acclimate_model::{
    BackboneConfig, Base, BaseSpec, Bound, DnnConfig, Effect, Init, Modulation, NextItNetConfig, Objective, ParamSpec, Params, SiteId,
};
use acclimate_train::feed::{Feed, Feeding, RowFeed};
use acclimate_train::{
    EpochReport, Hide, HideRare, Observer, OptimizerConfig, Rule, Run, Schedule, Scorer, StepReport, Summary, TrainConfig, TrainError,
    Trained, train,
};
use burn::tensor::Device;

/// A method whose gradients are given, each times the batch's number.
#[derive(Default)]
struct Given {
    specs: Vec<ParamSpec>,
    /// Gradient of every value of each of its parameters.
    own: Vec<f32>,
    /// Gradient of every gathered value of each leaf of the query, and of the first of the support.
    query: Vec<f32>,
    support: f32,
    scope: Scope,
    /// What it was given in each call.
    seen: Mutex<Vec<Seen>>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    codes: Vec<Vec<u32>>,
    support_codes: Vec<u32>,
    inputs: Vec<f32>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Given")
    }
}

/// More than any network here has.
const SITES: usize = 16;

/// Takes the score out of the loss: every site's output becomes 0.
fn silence<'a>() -> Modulation<'a> {
    let silent = || Effect::opaque(|_, y| y.clone() - y);
    (0..SITES).fold(Modulation::none(), |all, site| all.with(SiteId(site), silent()))
}

impl Adaptation for Given {
    fn params(&self) -> &[ParamSpec] {
        &self.specs
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn adapt<'a>(&'a self, _: &Bound, own: &Bound, context: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        let query = context.query;
        self.seen.lock().expect("no test panics in here").push(Seen {
            codes: (0..2).map(|field| query.codes(field).collect()).collect(),
            support_codes: context.support.iter().flat_map(|s| s.batch.categorical.clone()).collect(),
            inputs: context.inputs[0].clone().into_data().try_into_vec().expect("inputs are f32"),
        });
        let scale = query.numbers(0).next().expect("every batch has a row");
        let own = own.tensors().iter().zip(&self.own).map(|(p, &g)| p.clone().sum() * g);
        let rows = context.inputs.iter().zip(&self.query).map(|(x, &g)| x.clone().sum() * g);
        let support = context.support.iter().map(|s| s.inputs[0].clone().sum() * self.support);
        let sum = own.chain(rows).chain(support).reduce(|a, b| a + b);
        Ok(match sum {
            Some(sum) => silence().penalised(sum * scale),
            None => silence(),
        })
    }
}

/// A network of two features, `item` and `user`, with vectors of width 1 that all start at 1, in a table each.
fn base(objective: Objective) -> Base {
    let vocabulary = |name: &str| VocabularySchema { name: name.into(), rows: 6 };
    let field = |name: &str, i: u32| FieldSchema { name: name.into(), vocabulary: VocabularyIndex(i) };
    let schema = Schema {
        label: LabelKind::Click,
        domains: Vec::new(),
        vocabularies: vec![vocabulary("item"), vocabulary("user")],
        categorical: vec![field("item", 0), field("user", 1)],
        bags: Vec::new(),
        numeric: vec!["x".into()],
        sides: BTreeMap::new(),
    };
    let config = DnnConfig { embedding: 1, hidden: vec![2], without: vec!["x".into()], ..DnnConfig::default() };
    let mut base = Base::init(BaseSpec { backbone: BackboneConfig::Dnn(config), schema, objective }, 1).expect("a valid config");
    base.tables.iter_mut().for_each(|table| Arc::make_mut(table).values.fill(1.0));
    base
}

/// One group of rows with these items; the user is 5, the number `x`, the label 1.
fn rows(items: &[u32], x: f32) -> Batch {
    let n = items.len();
    Batch {
        groups: 1,
        rows: n,
        mask: vec![1.0; n],
        label: vec![1.0; n],
        row: vec![0; n],
        domain: vec![DomainIndex(0); n],
        fields: 2,
        categorical: items.iter().flat_map(|&item| [item, 5]).collect(),
        numbers: 1,
        numeric: vec![x; n],
        unknown: vec![0.0],
        ..Batch::default()
    }
}

/// The same batches in every epoch.
struct Fixed(Vec<Feeding>);

impl Fixed {
    fn new(queries: impl IntoIterator<Item = Batch>) -> Self {
        Self(queries.into_iter().map(|query| Feeding { query, support: None }).collect())
    }
}

impl Feed for Fixed {
    fn steps(&self, _: u64) -> usize {
        self.0.len()
    }

    fn batch(&self, _: u64, step: usize) -> Feeding {
        self.0[step].clone()
    }

    fn rows(&self) -> usize {
        self.0.iter().map(|f| f.query.len()).sum()
    }

    fn window(&self) -> Option<[i64; 2]> {
        None
    }
}

/// Everything that is reported.
#[derive(Default)]
struct Heard {
    steps: Vec<StepReport>,
    epochs: Vec<EpochReport>,
}

impl Observer for Heard {
    fn step(&mut self, report: &StepReport) {
        self.steps.push(*report);
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.epochs.push(*report);
    }
}

/// A run whose validation metric takes these values, epoch by epoch; none without any.
fn try_run(
    base: &Base,
    method: &dyn Adaptation,
    feed: &Fixed,
    config: &TrainConfig,
    metric: &[f64],
) -> Result<(Trained, Heard), TrainError> {
    let (mut heard, stop, mut values) = (Heard::default(), AtomicBool::new(false), metric.iter());
    let mut judge = |_: &Base, _: &Params| Ok(*values.next().expect("no epoch beyond the list"));
    let trained = train(Run {
        base,
        adaptation: method,
        feed,
        config,
        seed: 3,
        device: &Device::flex(),
        intercept: None,
        validate: if metric.is_empty() { None } else { Some(&mut judge) },
        observer: &mut heard,
        checkpoint: None,
        stop: &stop,
    })?;
    Ok((trained, heard))
}

fn run(base: &Base, method: &Given, feed: &Fixed, config: &TrainConfig) -> (Trained, Heard) {
    try_run(base, method, feed, config, &[]).expect("a sound run")
}

/// One epoch of plain descent at rate 1.
fn descent() -> TrainConfig {
    TrainConfig {
        epochs: 1,
        optimizer: OptimizerConfig { rule: Rule::Sgd, rate: 1.0, ..OptimizerConfig::default() },
        ..TrainConfig::default()
    }
}

fn with(change: impl FnOnce(&mut OptimizerConfig)) -> TrainConfig {
    let mut config = descent();
    change(&mut config.optimizer);
    config
}

/// A weight and a vector of one value each that start at 1.
fn weight_and_vector() -> Vec<ParamSpec> {
    vec![ParamSpec::weight("w", [1, 1, 1], Init::Constant(1.0)), ParamSpec::vector("b", 1, 1, 1.0)]
}

fn tables(of: &[usize]) -> Scope {
    Scope { params: Vec::new(), tables: of.to_vec() }
}

/// A method whose every gradient is 0.
fn still() -> Given {
    Given { query: vec![0.0], scope: tables(&[0]), ..Given::default() }
}

#[track_caller]
fn close(found: &[f32], expected: &[f32]) {
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6);
    assert!(same, "{found:?} instead of {expected:?}");
}

#[test]
fn layers_learn_at_rate_and_rows_at_row_rate_where_there_is_one() {
    let method =
        || Given { specs: weight_and_vector(), own: vec![2.0, -1.0], query: vec![0.5], scope: tables(&[0, 1]), ..Given::default() };
    let feed = Fixed::new([rows(&[2, 3, 3], 1.0)]);
    for (row_rate, of_rows) in [(None, 0.1), (Some(0.4), 0.4), (Some(0.0), 0.0)] {
        let (trained, _) = run(&base(Objective::Logistic), &method(), &feed, &with(|o| (o.rate, o.row_rate) = (0.1, row_rate)));
        close(&trained.own.values.concat(), &[0.8, 1.1]);
        // A row that occurs twice has twice the gradient, and a row that does not occur has none.
        close(&trained.base.tables[0].values, &[1.0, 1.0, 1.0 - 0.5 * of_rows, 1.0 - of_rows, 1.0, 1.0]);
        close(&trained.base.tables[1].values[5..], &[1.0 - 1.5 * of_rows]);
    }
}

#[test]
fn rows_of_support_sets_learn_as_those_of_queries_do() {
    let method = Given { query: vec![0.5], support: 2.0, scope: tables(&[0]), ..Given::default() };
    let feed = Fixed(vec![Feeding { query: rows(&[1, 2], 1.0), support: Some(rows(&[2, 4], 1.0)) }]);
    let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &descent());
    close(&trained.base.tables[0].values, &[1.0, 0.5, -1.5, 1.0, -1.0, 1.0]);
    // Tables beside the scope stay.
    close(&trained.base.tables[1].values, &[1.0; 6]);
}

#[test]
fn the_clipped_norm_is_that_of_layers_and_rows_together() {
    let method = Given { specs: weight_and_vector(), own: vec![3.0, 0.0], query: vec![4.0], scope: tables(&[0]), ..Given::default() };
    let feed = Fixed::new([rows(&[2], 1.0)]);
    // The norm is 5: a limit of 1 leaves a fifth of everything.
    for (limit, share) in [(None, 1.0), (Some(1.0), 0.2), (Some(4.5), 0.9), (Some(5.5), 1.0)] {
        let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &with(|o| o.clip_norm = limit));
        close(&trained.own.values[0], &[1.0 - 3.0 * share]);
        close(&trained.base.tables[0].values[2..3], &[1.0 - 4.0 * share]);
    }
}

#[test]
fn single_gradients_are_clipped_in_layers_and_in_rows_before_the_norm_is() {
    let method = Given { specs: weight_and_vector(), own: vec![3.0, -4.0], query: vec![-4.0], scope: tables(&[0]), ..Given::default() };
    let feed = Fixed::new([rows(&[2], 1.0)]);
    let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &with(|o| o.clip_value = Some(3.5)));
    close(&trained.own.values.concat(), &[-2.0, 4.5]);
    close(&trained.base.tables[0].values[2..3], &[4.5]);
    let both = with(|o| (o.clip_value, o.clip_norm) = (Some(1.0), Some(3.0_f64.sqrt() / 2.0)));
    let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &both);
    close(&trained.own.values.concat(), &[0.5, 1.5]);
}

#[test]
fn weights_decay_and_vectors_do_not_and_touched_rows_decay_on_their_own() {
    let method = || Given { specs: weight_and_vector(), own: vec![0.0, 0.0], query: vec![0.0], scope: tables(&[0]), ..Given::default() };
    let feed = Fixed::new([rows(&[2, 2, 4], 1.0)]);
    for rule in [Rule::Sgd, Rule::Adagrad, Rule::Adam] {
        let decayed = |weight_decay: f64, row_decay: f64| {
            let config = with(|o| *o = OptimizerConfig { rule, rate: 0.5, row_rate: Some(0.1), weight_decay, row_decay, ..*o });
            let trained = run(&base(Objective::Logistic), &method(), &feed, &config).0;
            (trained.own.values.concat(), trained.base.tables[0].values.clone())
        };
        let (own, rows) = decayed(0.2, 0.0);
        close(&own, &[0.9, 1.0]);
        close(&rows, &[1.0; 6]);
        // Once a step, however often a row occurs; rows that do not occur keep their values.
        let (own, rows) = decayed(0.0, 0.2);
        close(&own, &[1.0, 1.0]);
        close(&rows, &[1.0, 1.0, 0.98, 1.0, 0.98, 1.0]);
    }
}

#[test]
fn a_head_made_of_rows_learns_and_decays_as_layers_do() {
    let schema = Schema {
        label: LabelKind::Implicit,
        domains: Vec::new(),
        vocabularies: vec![VocabularySchema { name: "item".into(), rows: 4 }],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    };
    let backbone = BackboneConfig::NextItNet(NextItNetConfig { width: 2, dilations: vec![1], ..NextItNetConfig::default() });
    let mut base = Base::init(BaseSpec { backbone, schema, objective: Objective::Softmax }, 1).expect("a valid config");
    base.tables.iter_mut().for_each(|table| Arc::make_mut(table).values.fill(1.0));
    Arc::make_mut(&mut base.tables[0]).values[..2].fill(0.0);

    /// Every gradient is 0.
    #[derive(Debug)]
    struct Still(Scope);
    impl Adaptation for Still {
        fn scope(&self) -> &Scope {
            &self.0
        }
        fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
            Ok((0..SITES).fold(Modulation::none(), |all, site| all.with(SiteId(site), Effect::opaque_rows(|_, rows| rows * 0.0))))
        }
    }
    let query = Batch {
        groups: 1,
        rows: 2,
        mask: vec![1.0; 2],
        label: vec![0.0; 2],
        row: vec![0; 2],
        domain: vec![DomainIndex(0); 2],
        fields: 1,
        categorical: vec![1, 2],
        target: vec![2, 3],
        ..Batch::default()
    };
    let config = with(|o| *o = OptimizerConfig { rate: 0.5, row_rate: Some(0.1), weight_decay: 0.2, row_decay: 0.3, ..*o });
    let (trained, _) = try_run(&base, &Still(tables(&[0, 1])), &Fixed::new([query]), &config, &[]).expect("a sound run");
    close(&trained.base.tables[0].values, &[0.0, 0.0, 0.97, 0.97, 0.97, 0.97, 1.0, 1.0]);
    // The bias of a head's row is spared, as every bias is.
    close(&trained.base.tables[1].values, &[0.9, 0.9, 1.0].repeat(3));
}

#[test]
fn adam_takes_its_betas_and_epsilon_from_the_config() {
    let method = Given { specs: weight_and_vector(), own: vec![2.0, 2.0], query: vec![2.0], scope: tables(&[0]), ..Given::default() };
    // Gradients 2 and -4.
    let feed = Fixed::new([rows(&[2], 1.0), rows(&[2], -2.0)]);
    let optimizer = OptimizerConfig { rate: 0.1, beta1: 0.5, beta2: 0.75, epsilon: 0.5, ..OptimizerConfig::default() };
    let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &TrainConfig { epochs: 1, optimizer, ..TrainConfig::default() });
    // m = 1, -1.5 and v = 1, 4.75; corrected 2, -2 and 4, 10.857143.
    let expected = 1.0 - 0.1 * 2.0 / (2.0 + 0.5) + 0.1 * 2.0 / (10.857_143_f32.sqrt() + 0.5);
    close(&trained.own.values.concat(), &[expected, expected]);
    close(&trained.base.tables[0].values[2..3], &[expected]);
}

#[test]
fn accumulated_batches_are_averaged_whatever_their_rows() {
    let method = || Given { specs: weight_and_vector(), own: vec![1.0, 0.0], query: vec![1.0], scope: tables(&[0]), ..Given::default() };
    let feed = Fixed::new([rows(&[2], 1.0), rows(&[2, 3, 3, 3], 3.0), rows(&[4], 5.0)]);
    let config = TrainConfig { accumulate: 2, ..descent() };
    let (trained, heard) = run(&base(Objective::Logistic), &method(), &feed, &config);
    // (1 + 3) / 2 in the first step; the third batch is a step of its own.
    close(&trained.own.values[0], &[1.0 - 2.0 - 5.0]);
    close(&trained.base.tables[0].values, &[1.0, 1.0, 1.0 - (1.0 + 3.0) / 2.0, 1.0 - 9.0 / 2.0, 1.0 - 5.0, 1.0]);
    assert_eq!(heard.steps.iter().map(|s| (s.step, s.steps, s.rows)).collect::<Vec<_>>(), [(1, 2, 5), (2, 2, 1)]);
    // The limit on the norm holds for the average.
    let config = TrainConfig { accumulate: 2, steps: Some(1), ..with(|o| o.clip_norm = Some(10.0)) };
    close(&run(&base(Objective::Logistic), &method(), &feed, &config).0.own.values[0], &[-1.0]);
}

#[test]
fn epochs_and_steps_end_a_run() {
    let feed = Fixed::new((0..4).map(|_| rows(&[1], 1.0)));
    let ended = |epochs: u64, steps: Option<u64>| {
        let method = Given { specs: weight_and_vector(), own: vec![1.0, 0.0], ..Given::default() };
        let (trained, heard) = run(&base(Objective::Logistic), &method, &feed, &TrainConfig { epochs, steps, ..descent() });
        let Summary { epochs, steps, rows, .. } = trained.summary;
        assert_eq!(heard.steps.len() as u64, steps);
        assert!(heard.steps.iter().all(|s| s.steps == steps), "the number of steps is known from the start");
        close(&trained.own.values[0], &[1.0 - steps as f32]);
        (epochs, steps, rows)
    };
    assert_eq!(ended(1, None), (1, 4, 4));
    assert_eq!(ended(3, None), (3, 12, 12));
    assert_eq!(ended(3, Some(6)), (2, 6, 6));
    assert_eq!(ended(3, Some(8)), (2, 8, 8));
    assert_eq!(ended(3, Some(100)), (3, 12, 12));
}

#[test]
fn training_stops_after_as_many_epochs_without_a_better_metric_as_patience_says() {
    let feed = Fixed::new([rows(&[1], 1.0)]);
    let ended = |patience: u64, values: &[f64]| {
        let method = Given { specs: weight_and_vector(), own: vec![1.0, 0.0], ..Given::default() };
        let config = TrainConfig { epochs: 20, patience, ..descent() };
        let (trained, heard) = try_run(&base(Objective::Logistic), &method, &feed, &config, values).expect("a sound run");
        let summary = &trained.summary;
        assert_eq!(heard.epochs.iter().rfind(|e| e.best).map(|e| (e.epoch, e.validation)), Some((summary.best_epoch, summary.best)));
        // The values of the best epoch are the result: one step an epoch.
        close(&trained.own.values[0], &[-(summary.best_epoch as f32)]);
        (summary.epochs, summary.best_epoch)
    };
    assert_eq!(ended(1, &[0.5, 0.6, 0.6]), (3, 1));
    assert_eq!(ended(2, &[0.5, 0.6, 0.4, 0.7, 0.1, 0.7]), (6, 3));
    assert_eq!(ended(3, &[0.9, 0.8, 0.7, 0.6]), (4, 0));
    // Without patience the first epoch that is not better ends the run.
    assert_eq!(ended(0, &[0.5, 0.6, 0.5]), (3, 1));
}

#[test]
fn dropout_clears_its_share_of_the_inputs_and_of_their_gradients() {
    let items: Vec<u32> = (0..4000).map(|i| 1 + i % 2).collect();
    let feed = Fixed(vec![Feeding { query: rows(&items, 1.0), support: Some(rows(&items, 1.0)) }]);
    for rate in [0.0f32, 0.2, 0.9] {
        let method = Given { query: vec![1.0], support: 1.0, scope: tables(&[0, 1]), ..Given::default() };
        let config = TrainConfig { input_dropout: rate, ..descent() };
        let (trained, _) = run(&base(Objective::Logistic), &method, &feed, &config);
        let inputs = method.seen.lock().expect("no test panics in here")[0].inputs.clone();
        let kept = inputs.iter().filter(|&&x| x != 0.0).count();
        assert!((kept as f32 / 8000.0 - (1.0 - rate)).abs() < 0.02, "{kept} of 8000 values are left at rate {rate}");
        assert!(inputs.iter().all(|&x| x == 0.0 || (x - 1.0 / (1.0 - rate)).abs() < 1e-5), "what is left is scaled up");
        // The gradient of a value is the factor that it went in with: 1 on average, for the 8000 values of the query and those of the support.
        let sum: f32 = trained.base.tables.iter().flat_map(|t| &t.values).map(|x| 1.0 - x).sum();
        assert!((sum / 16_000.0 - 1.0).abs() < 0.1, "gradients sum to {sum} at rate {rate}");
    }
}

#[test]
fn dropout_leaves_no_gradient_where_it_cleared_a_value() {
    let items: Vec<u32> = (0..6).collect();
    let method = Given { query: vec![1.0], scope: tables(&[0]), ..Given::default() };
    let config = TrainConfig { input_dropout: 0.5, ..descent() };
    let (trained, _) = run(&base(Objective::Logistic), &method, &Fixed::new([rows(&items, 1.0)]), &config);
    let inputs = method.seen.lock().expect("no test panics in here")[0].inputs.clone();
    let of_items: Vec<f32> = inputs.iter().step_by(2).copied().collect();
    assert!(of_items.contains(&0.0) && of_items.contains(&2.0), "the seed shows both: {of_items:?}");
    close(&trained.base.tables[0].values, &of_items.iter().map(|x| 1.0 - x).collect::<Vec<_>>());
}

#[test]
fn a_feature_is_hidden_with_its_probability_in_query_and_support() {
    let items: Vec<u32> = (0..4000).map(|i| 1 + i % 5).collect();
    let feed = Fixed(vec![Feeding { query: rows(&items, 1.0), support: Some(rows(&items, 1.0)) }]);
    for probability in [0.0, 0.1, 0.9, 1.0] {
        let method = still();
        let hide = BTreeMap::from([("item".to_owned(), probability.into())]);
        run(&base(Objective::Logistic), &method, &feed, &TrainConfig { hide, ..descent() });
        let seen = method.seen.lock().expect("no test panics in here")[0].clone();
        let share = |codes: &[u32]| codes.iter().filter(|&&c| c == 0).count() as f64 / 4000.0;
        let support: Vec<u32> = seen.support_codes.iter().step_by(2).copied().collect();
        for (what, codes) in [("query", &seen.codes[0]), ("support", &support)] {
            assert!((share(codes) - probability).abs() < 0.02, "{} of the {what}'s items are hidden at {probability}", share(codes));
            assert!(codes.iter().zip(&items).all(|(&code, &item)| code == 0 || code == item), "what is not hidden stays");
        }
        assert!(seen.codes[1].iter().all(|&c| c == 5), "other features stay");
        assert!(probability == 0.0 || probability == 1.0 || seen.codes[0] != support, "rows are hidden one by one");
    }
}

#[test]
fn codes_are_hidden_the_more_often_the_fewer_rows_they_have() {
    // Items 1 to 4 in 200, 400, 1400 and 2000 rows of the query and as many of the support.
    let items: Vec<u32> = [(1, 200), (2, 400), (3, 1400), (4, 2000)].iter().flat_map(|&(item, rows)| vec![item; rows]).collect();
    let feed = Fixed(vec![Feeding { query: rows(&items, 1.0), support: Some(rows(&items, 1.0)) }]);
    let method = still();
    let hide = BTreeMap::from([("item".to_owned(), Hide::Rare(HideRare { count: 400.0 }))]);
    run(&base(Objective::Logistic), &method, &feed, &TrainConfig { hide, ..descent() });
    let seen = method.seen.lock().expect("no test panics in here")[0].clone();
    for (item, count) in [(1, 400.0), (2, 800.0), (3, 2800.0), (4, 4000.0)] {
        let of_item: Vec<u32> = items.iter().zip(&seen.codes[0]).filter(|(i, _)| **i == item).map(|(_, &code)| code).collect();
        let share = of_item.iter().filter(|&&code| code == 0).count() as f64 / of_item.len() as f64;
        assert!((share - 400.0 / (400.0 + count)).abs() < 0.07, "{share} of item {item} are hidden");
    }
    assert!(seen.codes[1].iter().all(|&c| c == 5), "other features stay");
    let none = BTreeMap::from([("item".to_owned(), Hide::Rare(HideRare { count: 0.0 }))]);
    let method = still();
    run(&base(Objective::Logistic), &method, &feed, &TrainConfig { hide: none, ..descent() });
    assert_eq!(method.seen.lock().expect("no test panics in here")[0].codes[0], items);
}

#[test]
fn the_schedule_scales_the_rates_of_layers_and_of_rows() {
    let feed = Fixed::new((0..4).map(|_| rows(&[2], 1.0)));
    let method = Given { specs: weight_and_vector(), own: vec![1.0, 0.0], query: vec![1.0], scope: tables(&[0]), ..Given::default() };
    // 1/2, 1, 1/2 of the way down and the end of the fall over four steps.
    let config = TrainConfig { schedule: Schedule::Linear { warmup: 0.5 }, ..with(|o| (o.rate, o.row_rate) = (0.1, Some(0.2))) };
    let (trained, heard) = run(&base(Objective::Logistic), &method, &feed, &config);
    let rates: Vec<f32> = heard.steps.iter().map(|s| s.rate as f32).collect();
    close(&rates, &[0.05, 0.1, 0.1, 0.05]);
    close(&trained.own.values[0], &[1.0 - 0.3]);
    close(&trained.base.tables[0].values[2..3], &[1.0 - 0.6]);
}

#[test]
fn the_intercept_is_fitted_only_where_it_is_asked_for() {
    let config = |intercept| TrainConfig { intercept, ..TrainConfig::default() };
    let decided = |given, objective, fresh| config(given).with_intercept_for(objective, fresh).intercept;
    assert_eq!(decided(None, Objective::SquaredError, true), Some(true));
    for (objective, fresh) in [(Objective::SquaredError, false), (Objective::Logistic, true), (Objective::Softmax, true)] {
        assert_eq!(decided(None, objective, fresh), Some(false));
        assert_eq!(decided(Some(true), objective, fresh), Some(true));
    }
    assert_eq!(decided(Some(false), Objective::SquaredError, true), Some(false));

    let base = base(Objective::Logistic);
    assert_eq!(run(&base, &still(), &Fixed::new([rows(&[1], 1.0)]), &descent()).0.base.params, base.params);
    let asked = TrainConfig { intercept: Some(true), ..descent() };
    let error = try_run(&base, &still(), &Fixed::new([rows(&[1], 1.0)]), &asked, &[]).err().expect("no rows to fit on");
    assert!(error.to_string().contains("labelled rows"), "{error}");
    let ranked = self::base(Objective::Bpr);
    let error = try_run(&ranked, &still(), &Fixed::new([rows(&[1], 1.0)]), &asked, &[]).err().expect("no exact intercept");
    assert!(error.to_string().contains("squared_error"), "{error}");
}

#[test]
fn the_intercept_takes_the_scores_to_the_maximum_of_the_likelihood() {
    let simulation = SimulatorConfig { users: 50, items: 50, rows: 600, cold_users: 5, cold_rows: 10, ..SimulatorConfig::default() };
    let dataset = simulation.simulate(1).expect("the settings fit together").dataset;
    let rows: Vec<u32> = (0..100).collect();
    for objective in [Objective::Logistic, Objective::SquaredError] {
        let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 2, embedding_std: 1.0, hidden: vec![4], ..DnnConfig::default() });
        let base = Base::init(BaseSpec { backbone, schema: dataset.schema(), objective }, 1).expect("a valid config");
        let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective };
        let adaptation = build_method("fine_tune", &toml::Table::new(), target).expect("a valid config");
        let trained = train(Run {
            base: &base,
            adaptation: adaptation.as_ref(),
            feed: &RowFeed::new(&dataset, &rows, 50, 1, Needs::default()).expect("there are rows"),
            config: &TrainConfig { intercept: Some(true), steps: Some(0), ..descent() },
            seed: 1,
            device: &Device::flex(),
            intercept: Some((&dataset, &rows)),
            validate: None,
            observer: &mut (),
            checkpoint: None,
            stop: &false.into(),
        })
        .expect("a sound run")
        .base;
        let head = base.params.find("head.bias").expect("a dnn has a head");
        let moved = f64::from(trained.params.values[head.0][0] - base.params.values[head.0][0]);
        let own = Params::init(&[], 0);
        let scores = Scorer::new(&trained, adaptation.as_ref(), &own, &Device::flex()).rows(&dataset, &rows).expect("plain rows");
        let residual = rows.iter().zip(scores).map(|(&r, s)| f64::from(dataset.log.label[r as usize] - objective.predict(s))).sum::<f64>();
        // Under a normal prior of sd 3 the residuals sum to a ninth of the movement.
        assert!(moved.abs() > 0.05 && (residual - moved / 9.0).abs() < 1e-3, "{objective:?}: {moved}, {residual}");
        let other = |i: usize| i != head.0 && base.params.values[i] != trained.params.values[i];
        assert!(!(0..base.params.len()).any(other) && base.tables == trained.tables, "nothing else moves");
    }
}

#[test]
fn a_config_out_of_range_is_refused_by_its_key() {
    let base = base(Objective::Logistic);
    let refused = |key: &str, change: &dyn Fn(&mut TrainConfig)| {
        let mut config = descent();
        change(&mut config);
        let error = try_run(&base, &still(), &Fixed::new([rows(&[1], 1.0)]), &config, &[]).err();
        let error = error.unwrap_or_else(|| panic!("`{key}` out of range is no error")).to_string();
        assert!(error.contains(&format!("`{key}")), "{key}: {error}");
    };
    refused("batch", &|c| c.batch = 0);
    refused("epochs", &|c| c.epochs = 0);
    refused("accumulate", &|c| c.accumulate = 0);
    refused("input_dropout", &|c| c.input_dropout = 1.0);
    refused("input_dropout", &|c| c.input_dropout = -0.1);
    refused("mask_share", &|c| c.mask_share = 0.0);
    refused("mask_share", &|c| c.mask_share = 1.1);
    refused("hide", &|c| c.hide = BTreeMap::from([("item".into(), 1.1.into())]));
    refused("hide", &|c| c.hide = BTreeMap::from([("colour".into(), 0.1.into())]));
    refused("hide", &|c| c.hide = BTreeMap::from([("item".into(), Hide::Rare(HideRare { count: -1.0 }))]));
    refused("schedule", &|c| c.schedule = Schedule::Linear { warmup: 1.1 });
    refused("schedule", &|c| c.schedule = Schedule::Cosine { warmup: 0.0, floor: -0.1 });
    refused("optimizer.rate", &|c| c.optimizer.rate = 0.0);
    refused("optimizer.row_rate", &|c| c.optimizer.row_rate = Some(-0.1));
    for beta in [1.0, -0.1] {
        refused("optimizer.beta1", &|c| c.optimizer.beta1 = beta);
        refused("optimizer.beta1", &|c| c.optimizer.beta2 = beta);
    }
    refused("optimizer.epsilon", &|c| c.optimizer.epsilon = 0.0);
    refused("optimizer.weight_decay", &|c| c.optimizer.weight_decay = -0.1);
    refused("optimizer.weight_decay", &|c| c.optimizer.row_decay = -0.1);
    refused("optimizer.clip_norm", &|c| c.optimizer.clip_norm = Some(0.0));
    refused("optimizer.clip_norm", &|c| c.optimizer.clip_value = Some(0.0));
}
