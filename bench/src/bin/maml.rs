//! Exact second-order MAML step: 32 tasks, 10 support and 10 query rows, tower 256-64-64-1. Peer: `bench/peer/maml.py`.
//! With `--alone` what it takes to serve: one user at a time is adapted by K steps on 28 support rows, and 10 query rows are scored.
//!
//! The peer is given its 256-wide inputs as tensors; here they are gathered from eight tables of width 32, and their gradients go back to the rows.

use acclimate_adapt::{Target, build_method};
use acclimate_bench::{batch, report, run_fixed, schema, stream, time};
use acclimate_data::LabelKind;
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective, Params};
use acclimate_train::feed::Feeding;
use acclimate_train::{Scorer, TrainConfig};
use burn::tensor::Device;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Steps timed.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Steps before the clock counts.
    #[arg(long, default_value_t = 20)]
    warmup: usize,
    /// Inner steps K.
    #[arg(long, default_value_t = 1)]
    inner_steps: usize,
    /// `first` or `second`.
    #[arg(long, default_value = "second")]
    order: String,
    /// Serves users one by one.
    #[arg(long)]
    alone: bool,
}

/// Users that are served in turn.
const USERS: usize = 64;
/// Support rows of each: the median of protocol P-MeLU.
const SHOWN: usize = 28;

fn main() -> anyhow::Result<()> {
    let Arguments { threads, steps, warmup, inner_steps, order, alone } = Arguments::parse();
    acclimate_bench::use_threads(threads)?;
    let mut stream = stream(1);
    let spec = BaseSpec {
        backbone: BackboneConfig::Dnn(DnnConfig { embedding: 32, hidden: vec![64, 64], ..DnnConfig::default() }),
        schema: schema(LabelKind::Rating { min: 0.0, max: 1.0 }, 8, 1000),
        objective: Objective::SquaredError,
    };
    let keys = format!("inner_steps = {inner_steps}\ninner_rate = 0.01\norder = '{order}'\nshrink = 0.0");
    if alone {
        let base = Base::init(spec, 1)?;
        let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
        let method = build_method("maml", &keys.parse()?, target)?;
        let own = Params::init(method.params(), 1);
        let scorer = Scorer::new(&base, method.as_ref(), &own, &Device::flex());
        let users: Vec<_> = (0..USERS).map(|_| [SHOWN, 10].map(|rows| batch(1, rows, 8, 1000, &mut stream))).collect();
        let seconds = time(warmup, steps, |step| {
            let [support, query] = &users[step % USERS];
            scorer.batch(query, Some(support)).expect("a support set");
        });
        report("maml", &format!("acclimate_alone_k{inner_steps}"), threads, SHOWN + 10, &seconds);
        return Ok(());
    }
    let mut tasks = || batch(32, 10, 8, 1000, &mut stream);
    let feedings = (0..steps + warmup).map(|_| Feeding { query: tasks(), support: Some(tasks()) }).collect();
    let config = TrainConfig { epochs: 1, ..TrainConfig::default() };
    let seconds = run_fixed(spec, "maml", &keys, &config, feedings, warmup)?;
    report("maml", &format!("acclimate_{order}_k{inner_steps}"), threads, 32 * 20, &seconds);
    Ok(())
}
