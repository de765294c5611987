//! CTR training step: batch 4096, 10 categorical fields of 100,000 ids, width 16, tower 160-256-128-64-1, Adam. Peer: `bench/peer/ctr.py`.

use acclimate_bench::{batch, report, run_fixed, schema, stream};
use acclimate_data::LabelKind;
use acclimate_model::{BackboneConfig, BaseSpec, DnnConfig, Objective};
use acclimate_train::TrainConfig;
use acclimate_train::feed::Feeding;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Steps timed.
    #[arg(long, default_value_t = 40)]
    steps: usize,
    /// Steps before the clock counts.
    #[arg(long, default_value_t = 10)]
    warmup: usize,
}

fn main() -> anyhow::Result<()> {
    let Arguments { threads, steps, warmup } = Arguments::parse();
    acclimate_bench::use_threads(threads)?;
    let mut stream = stream(1);
    let feedings = (0..steps + warmup).map(|_| Feeding { query: batch(1, 4096, 10, 100_000, &mut stream), support: None }).collect();
    let dnn = DnnConfig { hidden: vec![256, 128, 64], ..DnnConfig::default() };
    let spec =
        BaseSpec { backbone: BackboneConfig::Dnn(dnn), schema: schema(LabelKind::Click, 10, 100_000), objective: Objective::Logistic };
    let config = TrainConfig { epochs: 1, batch: 4096, ..TrainConfig::default() };
    let seconds = run_fixed(spec, "fine_tune_all", "", &config, feedings, warmup)?;
    report("ctr", "acclimate", threads, 4096, &seconds);
    Ok(())
}
