//! What modulations cost in scoring: a pass with each of them as a ratio to the plain pass of the same network on the same rows, plain and modulated in turns.
//!
//! `dnn` as on KRL-1 (20 fields, width 16, tower 320-128-64-32-1) on 2,048 rows: all of one domain, or of five in turn (one request, or five). `sasrec` (128 sequences of 50, width 64, 2 blocks)
//! alike. `request_set` also on one request of 200 rows. `prior_shift` is the offset that 10,000 unlabelled rows ask for.
//!
//! `pass` begins with gathered rows and holds what the method computes of its condition; `scored` is the scorer's whole answer, gathering included.

use std::hint::black_box;
use std::time::Instant;

use acclimate_adapt::{Adaptation, Context, Target, Unlabelled, build_method};
use acclimate_bench::{batch, peak_mib, report, run_fixed, schema, stream, time, use_threads};
use acclimate_data::{Batch, DomainIndex, LabelKind, RandomStream, Schema};
use acclimate_fit::shift::{PriorShift, ShiftSettings};
use acclimate_model::kernel::{leaf, to_vec};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Bound, DnnConfig, Modulation, Norm, Objective, Output, Params, Pass, SasRecConfig};
use acclimate_train::feed::Feeding;
use acclimate_train::{Scorer, TrainConfig};
use burn::tensor::{Device, Tensor};
use clap::Parser;
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIELDS: usize = 20;
const IDS: u64 = 10_000;
const DOMAINS: usize = 5;
const ROWS: usize = 2048;
const REQUEST: usize = 200;
const WINDOW: usize = 10_000;

#[derive(Parser)]
struct Arguments {
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Turns timed.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Turns before the clock counts.
    #[arg(long, default_value_t = 10)]
    warmup: usize,
    /// Steps of training on five domains in a batch, `dnn` only, in place of scoring.
    #[arg(long)]
    training: bool,
    /// Only cases whose name and setting, `film_mlp/mixed`, hold this.
    #[arg(long, default_value = "")]
    only: String,
}

/// What is measured: a name, the method with its keys, the network, and whether groups of a batch are domains or requests.
struct Case {
    name: &'static str,
    method: &'static str,
    keys: &'static str,
    network: Network,
    is_grouped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Dnn(Norm),
    SasRec,
}

const fn case(name: &'static str, method: &'static str, keys: &'static str, norm: Norm, is_grouped: bool) -> Case {
    Case { name, method, keys, network: Network::Dnn(norm), is_grouped }
}

const fn sasrec(name: &'static str, method: &'static str, keys: &'static str) -> Case {
    Case { name, method, keys, network: Network::SasRec, is_grouped: false }
}

const CASES: &[Case] = &[
    case("film_mlp", "film", "", Norm::None, false),
    case("film_linear", "film", "generator = 'linear'", Norm::None, false),
    case("film_table", "film", "generator = 'table'", Norm::None, false),
    case("gating_film", "gating_film", "", Norm::None, false),
    case("epnet", "epnet", "", Norm::None, false),
    case("ppnet", "ppnet", "", Norm::None, false),
    case("conditional_batch_norm", "conditional_batch_norm", "", Norm::Batch, false),
    case("conditional_batch_norm_moments", "conditional_batch_norm", "moments = 'per_condition'", Norm::Batch, false),
    case("partitioned_norm", "partitioned_norm", "", Norm::Batch, true),
    case("conditional_layer_norm", "conditional_layer_norm", "", Norm::Layer, false),
    case("dynamic_instance_norm", "dynamic_instance_norm", "", Norm::None, false),
    case("hyperformer", "hyperformer", "", Norm::None, true),
    case("hyperformer_layer_norm", "hyperformer", "", Norm::Layer, true),
    case("request_set", "request_set", "", Norm::None, true),
    case("request_norm", "request_norm", "", Norm::None, true),
    sasrec("sasrec_conditional_layer_norm", "conditional_layer_norm", ""),
    sasrec("sasrec_conditional_layer_norm_item", "conditional_layer_norm", "condition = 'field0'"),
    sasrec("sasrec_dynamic_instance_norm", "dynamic_instance_norm", ""),
];

fn spec(network: Network) -> BaseSpec {
    let domains = (0..DOMAINS).map(|domain| format!("domain{domain}")).collect();
    match network {
        Network::Dnn(norm) => BaseSpec {
            backbone: BackboneConfig::Dnn(DnnConfig { norm, ..DnnConfig::default() }),
            schema: Schema { domains, ..schema(LabelKind::Click, FIELDS, IDS as usize) },
            objective: Objective::Logistic,
        },
        Network::SasRec => BaseSpec {
            backbone: BackboneConfig::SasRec(SasRecConfig { heads: 2, ..SasRecConfig::default() }),
            schema: Schema { domains, ..schema(LabelKind::Implicit, 1, ITEMS as usize + 1) },
            objective: Objective::Softmax,
        },
    }
}

const ITEMS: u64 = 2000;

/// Rows in turn of `kinds` domains, in one group.
fn rows(network: Network, n: usize, kinds: usize, stream: &mut RandomStream) -> Batch {
    let mut all = match network {
        Network::Dnn(_) => batch(1, n, FIELDS, IDS, stream),
        Network::SasRec => {
            let mut sequences = batch(128, 50, 1, ITEMS, stream);
            sequences.categorical.iter_mut().for_each(|code| *code += 1);
            sequences
        }
    };
    let rows = if network == Network::SasRec { all.rows } else { 1 };
    all.domain.iter_mut().enumerate().for_each(|(i, domain)| *domain = DomainIndex((i / rows % kinds) as u32));
    all
}

/// The same rows, a group for each domain, padded to the longest.
fn grouped(all: &Batch, kinds: usize) -> Batch {
    let longest = all.rows.div_ceil(kinds);
    let places: Vec<Option<usize>> =
        (0..kinds).flat_map(|g| (0..longest).map(move |i| i * kinds + g)).map(|i| (i < all.rows).then_some(i)).collect();
    let of = |i: Option<usize>| i.unwrap_or(0);
    Batch {
        groups: kinds,
        rows: longest,
        mask: places.iter().map(|i| f32::from(u8::from(i.is_some()))).collect(),
        label: places.iter().map(|i| i.map_or(0.0, |i| all.label[i])).collect(),
        row: places.iter().map(|i| if i.is_some() { 0 } else { u32::MAX }).collect(),
        domain: (0..places.len()).map(|i| DomainIndex((i / longest) as u32)).collect(),
        categorical: places.iter().flat_map(|i| &all.categorical[of(*i) * all.fields..][..all.fields]).copied().collect(),
        ..all.clone()
    }
}

/// A method's values some way from where they start, as those of a trained one are.
fn moved(method: &str, adaptation: &dyn Adaptation, stream: &mut RandomStream) -> Params {
    let mut own = Params::init(adaptation.params(), 1);
    own.values.iter_mut().flatten().for_each(|value| *value += 0.1 * (stream.below(1000) as f32 / 1000.0 - 0.5));
    if method == "request_set" {
        // It has seen enough requests to hold a set against them, and these were like any.
        let at = |path: &str| own.find(path).expect("declared").0;
        let [mean, product, requests] = ["seen.mean", "seen.product", "seen.requests"].map(at);
        let n = own.values[mean].len();
        own.values[mean].fill(0.0);
        own.values[product] = (0..n * n).map(|i| if i / n == i % n { 100.0 } else { 0.0 }).collect();
        own.values[requests][0] = 1e6;
    }
    own
}

/// A network with a method, bound for scoring.
struct Bench<'a> {
    base: &'a Base,
    adaptation: &'a dyn Adaptation,
    bound: Bound,
    own: Bound,
    device: Device,
}

impl Bench<'_> {
    fn inputs(&self, batch: &Batch) -> Vec<Tensor<3>> {
        let gathered = self.base.backbone.gather(&self.base.tables, batch).into_iter();
        gathered.map(|g| leaf(g.values, g.shape, &self.device, false)).collect()
    }

    fn forward(&self, modulation: &Modulation<'_>, (batch, inputs): (&Batch, &[Tensor<3>])) -> Vec<f32> {
        match self.base.backbone.forward(&Pass::new(&self.bound, modulation), batch, inputs) {
            Output::Rows(scores) | Output::Candidates { scores, .. } => to_vec(scores),
            Output::Comparison(comparison) => to_vec(comparison.scores()),
        }
    }

    fn pass(&self, rows: (&Batch, &[Tensor<3>])) -> Vec<f32> {
        let context = Context { inputs: rows.1, ..Context::new(Unlabelled::new(rows.0)) };
        let modulation = self.adaptation.adapt(&self.bound, &self.own, &context).expect("the method has what it needs");
        self.forward(&modulation, rows)
    }
}

/// Seconds of `plain` and of `changed`, sorted, and their ratio: the median of those of neighbouring turns.
fn turns(warmup: usize, steps: usize, mut plain: impl FnMut(), mut changed: impl FnMut()) -> ([Vec<f64>; 2], f64) {
    let mut seconds = [Vec::new(), Vec::new()];
    let clock = |f: &mut dyn FnMut()| {
        let began = Instant::now();
        f();
        began.elapsed().as_secs_f64()
    };
    for i in 0..warmup + steps {
        // Who goes first takes turns as well.
        let (a, b) = if i % 2 == 0 {
            let a = clock(&mut plain);
            (a, clock(&mut changed))
        } else {
            let b = clock(&mut changed);
            (clock(&mut plain), b)
        };
        if i >= warmup {
            seconds[0].push(a);
            seconds[1].push(b);
        }
    }
    let mut ratios: Vec<f64> = seconds[0].iter().zip(&seconds[1]).map(|(a, b)| b / a).collect();
    ratios.sort_by(f64::total_cmp);
    seconds.iter_mut().for_each(|s| s.sort_by(f64::total_cmp));
    let ratio = ratios[ratios.len() / 2];
    (seconds, ratio)
}

fn measure(case: &Case, arguments: &Arguments) -> anyhow::Result<()> {
    let device = Device::flex();
    let base = Base::init(spec(case.network), 1)?;
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let adaptation = build_method(case.method, &case.keys.parse()?, target)?;
    let nothing = build_method("fine_tune_all", &toml::Table::new(), target)?;
    let mut stream = stream(1);
    let own = moved(case.method, adaptation.as_ref(), &mut stream);
    let bench = Bench {
        base: &base,
        adaptation: adaptation.as_ref(),
        bound: base.params.bind(&device, |_| false),
        own: own.bind(&device, |_| false),
        device: device.clone(),
    };
    let scorers = [(nothing.as_ref(), Params::init(nothing.params(), 1)), (adaptation.as_ref(), own)];
    let scorers = scorers.each_ref().map(|(adaptation, own)| Scorer::new(&base, *adaptation, own, &device));
    let mut settings = vec![("one", ROWS, 1), ("mixed", ROWS, DOMAINS)];
    if case.method == "request_set" {
        settings.push(("request", REQUEST, 1));
    }
    for (setting, n, kinds) in settings {
        if !format!("{}/{setting}", case.name).contains(&arguments.only) {
            continue;
        }
        let plain = rows(case.network, n, kinds, &mut stream);
        let changed = if case.is_grouped { grouped(&plain, kinds) } else { plain.clone() };
        let [plain_inputs, changed_inputs] = [&plain, &changed].map(|batch| bench.inputs(batch));
        let (pass, ratio) = turns(
            arguments.warmup,
            arguments.steps,
            || _ = black_box(bench.forward(&Modulation::none(), (&plain, &plain_inputs))),
            || _ = black_box(bench.pass((&changed, &changed_inputs))),
        );
        let score = |i: usize, batch: &Batch| _ = black_box(scorers[i].batch(batch, None).expect("the method has what it needs"));
        let (_, scored) = turns(arguments.warmup, arguments.steps, || score(0, &plain), || score(1, &changed));
        let median = |i: usize| 1e3 * pass[i][pass[i].len() / 2];
        let line = json!({
            "name": "modulation",
            "variant": case.name,
            "setting": setting,
            "rows": plain.len(),
            "ms_plain": median(0),
            "ms_pass": median(1),
            "ratio_pass": ratio,
            "ratio_pass_min": pass[1][0] / pass[0][0],
            "ratio_scored": scored,
            "threads": arguments.threads,
            "peak_rss_mib": peak_mib(),
        });
        println!("{line}");
    }
    Ok(())
}

/// A step of training on mixed rows.
fn train(case: &Case, arguments: &Arguments) -> anyhow::Result<()> {
    if case.network == Network::SasRec || !case.name.contains(&arguments.only) {
        return Ok(());
    }
    let mut stream = stream(1);
    let feedings = (0..arguments.warmup + arguments.steps).map(|_| {
        let rows = rows(case.network, ROWS, DOMAINS, &mut stream);
        Feeding { query: if case.is_grouped { grouped(&rows, DOMAINS) } else { rows }, support: None }
    });
    let feedings = feedings.collect();
    let config = TrainConfig { epochs: 1, batch: ROWS, ..TrainConfig::default() };
    let seconds = run_fixed(spec(case.network), case.method, case.keys, &config, feedings, arguments.warmup)?;
    report("modulation_training", case.name, arguments.threads, ROWS, &seconds);
    Ok(())
}

/// The offset that a window without labels asks for, of validation rows with a tenth of positives and a window with an eighth.
fn prior_shift(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stream = stream(2);
    let mut draw = |n: usize, share: f64| -> (Vec<f32>, Vec<f32>) {
        let uniform = |stream: &mut RandomStream| stream.below(1_000_000) as f64 / 1e6;
        let row = |_| {
            let positive = uniform(&mut stream) < share;
            let normal = (0..12).map(|_| uniform(&mut stream)).sum::<f64>() - 6.0;
            ((normal + if positive { -1.2 } else { -2.7 }) as f32, f32::from(u8::from(positive)))
        };
        (0..n).map(row).unzip()
    };
    let (logits, labels) = draw(4000, 0.1);
    let fitted = PriorShift::fit(&logits, &labels, ShiftSettings::default())?;
    let (window, _) = draw(WINDOW, 0.125);
    let seconds = time(arguments.warmup, arguments.steps, |_| _ = black_box(fitted.window(black_box(&window))));
    let verdict = fitted.window(&window);
    let line = json!({
        "name": "modulation",
        "variant": "prior_shift",
        "rows": WINDOW,
        "us": 1e6 * seconds[seconds.len() / 2],
        "us_min": 1e6 * seconds[0],
        "share": verdict.share,
        "abstains": verdict.abstains.map(|why| why.name()),
        "threads": arguments.threads,
        "peak_rss_mib": peak_mib(),
    });
    println!("{line}");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    use_threads(arguments.threads)?;
    for case in CASES {
        if arguments.training { train(case, &arguments)? } else { measure(case, &arguments)? }
    }
    if !arguments.training && "prior_shift".contains(&arguments.only) {
        prior_shift(&arguments)?;
    }
    Ok(())
}
