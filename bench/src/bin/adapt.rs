//! Adapts to a new domain of the real log of protocol KRL-1, with the one recipe or another method, and reports CPU seconds and rows per second.
//!
//! `ACCLIMATE_DATA=... cargo run --release -p acclimate-bench --bin adapt -- --tab 2 --method acclimate`

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use acclimate_adapt::{Adaptation, Target, build_method};
use acclimate_bench::cpu_seconds;
use acclimate_data::{DatasetConfig, RawDataset};
use acclimate_eval::metric::auc;
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective, Params};
use acclimate_train::feed::RowFeed;
use acclimate_train::{OptimizerConfig, Run, Scorer, TrainConfig, Trained, train};
use burn::tensor::Device;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    /// The domain that the base does not know.
    #[arg(long, default_value = "2")]
    tab: String,
    /// The method.
    #[arg(long, default_value = "acclimate")]
    method: String,
    /// Epochs of a method that brings no training of its own.
    #[arg(long, default_value_t = 2)]
    epochs: u64,
    /// Times it is adapted; the median is reported.
    #[arg(long, default_value_t = 5)]
    times: usize,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value = "examples/kuairand.toml")]
    dataset: std::path::PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    acclimate_bench::use_threads(arguments.threads)?;
    let (raw, _) = RawDataset::read(&DatasetConfig::load(&arguments.dataset)?)?;
    let date = raw.dataset().attribute("date").expect("the data-set file names the attribute").values.clone();
    let learned: Vec<u32> = (0..date.len() as u32).filter(|&r| date[r as usize] <= 20_220_504).collect();
    let later: Vec<u32> = (0..date.len() as u32).filter(|&r| date[r as usize] == 20_220_505).collect();
    let dataset = raw.encode(&learned)?;
    let target =
        dataset.domains.iter().position(|d| *d == arguments.tab).ok_or_else(|| anyhow::anyhow!("there is no tab {}", arguments.tab))?;
    let of_target = |row: &u32| dataset.log.domain[*row as usize].at() == target;
    let (own, others): (Vec<u32>, Vec<u32>) = learned.into_iter().partition(of_target);
    let later: Vec<u32> = later.into_iter().filter(of_target).collect();
    let dnn = DnnConfig { embedding_std: 0.01, ..DnnConfig::default() };
    let spec = BaseSpec { backbone: BackboneConfig::Dnn(dnn), schema: dataset.schema(), objective: Objective::Logistic };
    let device = Device::flex();
    let run = |base: &Base, adaptation: &dyn Adaptation, rows: &[u32], config: &TrainConfig| -> anyhow::Result<Trained> {
        let feed = RowFeed::new(&dataset, rows, config.batch, 1, adaptation.needs())?;
        let stop = AtomicBool::new(false);
        Ok(train(Run {
            base,
            adaptation,
            feed: &feed,
            config,
            seed: 1,
            device: &device,
            intercept: None,
            validate: None,
            observer: &mut (),
            checkpoint: None,
            stop: &stop,
        })?)
    };
    let build = |base: &Base, name: &str| {
        build_method(
            name,
            &toml::Table::new(),
            Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective },
        )
    };
    let start = Base::init(spec, 1)?;
    let optimizer = OptimizerConfig { rate: 3e-4, weight_decay: 1e-4, row_decay: 1e-4, ..OptimizerConfig::default() };
    let config = TrainConfig { epochs: 2, batch: 1024, optimizer, hide: [("tab".to_owned(), 0.1.into())].into(), ..TrainConfig::default() };
    let base = run(&start, build(&start, "fine_tune_all")?.as_ref(), &others, &config)?.base;
    let method = build(&base, &arguments.method)?;
    let config = TrainConfig { epochs: arguments.epochs, batch: 256, ..TrainConfig::default() };
    let labels: Vec<f32> = later.iter().map(|&r| dataset.log.label[r as usize]).collect();
    let judged = |base: &Base, adaptation: &dyn Adaptation, own: &Params| -> anyhow::Result<Option<f64>> {
        Ok(auc(&labels, &Scorer::new(base, adaptation, own, &device).rows(&dataset, &later)?))
    };
    let before = judged(&base, build(&base, "fine_tune_all")?.as_ref(), &Params::default())?;
    let (mut cpu, mut wall, mut after, mut steps) = (Vec::new(), Vec::new(), None, 0);
    for _ in 0..arguments.times.max(1) {
        let (began, used) = (Instant::now(), cpu_seconds());
        let trained = run(&base, method.as_ref(), &own, &config)?;
        cpu.push(cpu_seconds() - used);
        wall.push(began.elapsed().as_secs_f64());
        steps = trained.summary.steps;
        after = judged(&trained.base, method.as_ref(), &trained.own)?;
    }
    for list in [&mut cpu, &mut wall] {
        list.sort_by(f64::total_cmp);
    }
    let line = serde_json::json!({
        "name": "adapt",
        "variant": arguments.method,
        "tab": arguments.tab,
        "rows": own.len(),
        "cpu_seconds": cpu[cpu.len() / 2],
        "cpu_seconds_min": cpu[0],
        "seconds": wall[wall.len() / 2],
        "steps": steps,
        "validation_auc": [before, after],
        "threads": arguments.threads,
        "peak_rss_mib": acclimate_bench::peak_mib(),
    });
    println!("{line}");
    Ok(())
}
