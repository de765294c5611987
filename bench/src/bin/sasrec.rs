//! SASRec training step: batch 128, length 50, 64 channels, 2 heads, 2 blocks, 100 shared negatives of 20,000 items. Peer: `bench/peer/sasrec.py`.

use acclimate_bench::{batch, report, run_fixed, schema, stream};
use acclimate_data::LabelKind;
use acclimate_model::{BackboneConfig, BaseSpec, Objective, SasRecConfig};
use acclimate_train::TrainConfig;
use acclimate_train::feed::Feeding;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ITEMS: u64 = 20_000;

#[derive(Parser)]
struct Arguments {
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Steps timed.
    #[arg(long, default_value_t = 30)]
    steps: usize,
    /// Steps before the clock counts.
    #[arg(long, default_value_t = 5)]
    warmup: usize,
}

fn main() -> anyhow::Result<()> {
    let Arguments { threads, steps, warmup } = Arguments::parse();
    acclimate_bench::use_threads(threads)?;
    let mut stream = stream(1);
    let feedings = (0..steps + warmup).map(|_| {
        let mut query = batch(128, 50, 1, ITEMS, &mut stream);
        query.categorical.iter_mut().for_each(|code| *code += 1);
        query.target = (0..query.len()).map(|_| 1 + stream.below(ITEMS) as u32).collect();
        query.negatives = (0..100).map(|_| 1 + stream.below(ITEMS) as u32).collect();
        Feeding { query, support: None }
    });
    let feedings = feedings.collect();
    let spec = BaseSpec {
        backbone: BackboneConfig::SasRec(SasRecConfig { heads: 2, ..SasRecConfig::default() }),
        schema: schema(LabelKind::Implicit, 1, ITEMS as usize + 1),
        objective: Objective::Softmax,
    };
    let config = TrainConfig { epochs: 1, ..TrainConfig::default() };
    let seconds = run_fixed(spec, "fine_tune_all", "", &config, feedings, warmup)?;
    report("sasrec", "acclimate", threads, 128 * 50, &seconds);
    Ok(())
}
