//! Trains the shared `dnn` on the real log of protocol KRL-1 and reports rows per second, memory and quality.
//!
//! `ACCLIMATE_DATA=... cargo run --release -p acclimate-bench --bin krl1 -- --rate 3e-4`

use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Needs, Target, build_method};
use acclimate_data::{DatasetConfig, RawDataset};
use acclimate_eval::metric::{auc, log_loss, macro_auc};
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Norm, Objective};
use acclimate_train::feed::RowFeed;
use acclimate_train::{OptimizerConfig, Run, Scorer, TrainConfig, train};
use burn::tensor::Device;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 3e-4)]
    rate: f64,
    #[arg(long)]
    row_rate: Option<f64>,
    #[arg(long, default_value_t = 0.0)]
    row_decay: f64,
    #[arg(long, default_value_t = 0.0)]
    weight_decay: f64,
    #[arg(long, default_value_t = 0.0)]
    dropout: f32,
    #[arg(long, default_value_t = 0.01)]
    std: f32,
    #[arg(long, default_value_t = 1024)]
    batch: usize,
    #[arg(long, default_value_t = 8)]
    epochs: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    history: bool,
    #[arg(long)]
    layer_norm: bool,
    #[arg(long, default_value = "examples/kuairand.toml")]
    dataset: std::path::PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    acclimate_bench::use_threads(arguments.threads)?;
    let config = DatasetConfig::load(&arguments.dataset)?;
    let (raw, _) = RawDataset::read(&config)?;
    let date = raw.dataset().attribute("date").expect("the data-set file names the attribute").values.clone();
    let all: Vec<u32> = (0..date.len() as u32).collect();
    let train_all: Vec<u32> = all.iter().copied().filter(|&r| date[r as usize] <= 20_220_504).collect();
    let dataset = raw.encode(&train_all)?;
    let large: Vec<bool> = dataset.domains.iter().map(|d| ["0", "1", "2", "4", "6"].contains(&d.as_str())).collect();
    let keep = |low: i64, high: i64| -> Vec<u32> {
        all.iter().copied().filter(|&r| large[dataset.log.domain[r as usize].at()] && (low..=high).contains(&date[r as usize])).collect()
    };
    let (training, validation, test) = (keep(0, 20_220_504), keep(20_220_505, 20_220_505), keep(20_220_506, 20_220_508));
    println!("rows {} {} {}; {:.0} MiB after reading", training.len(), validation.len(), test.len(), acclimate_bench::peak_mib());
    let without = if arguments.history { vec![] } else { dataset.features.bags.iter().map(|b| b.name.clone()).collect() };
    let norm = if arguments.layer_norm { Norm::Layer } else { Norm::None };
    let dnn = DnnConfig { embedding_std: arguments.std, norm, without, ..DnnConfig::default() };
    let spec = BaseSpec { backbone: BackboneConfig::Dnn(dnn), schema: dataset.schema(), objective: Objective::Logistic };
    let base = Base::init(spec, arguments.seed)?;
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let everything = build_method("fine_tune_all", &Default::default(), target)?;
    let device = Device::flex();
    let feed = RowFeed::new(&dataset, &training, arguments.batch, arguments.seed, Needs::default())?;
    let optimizer = OptimizerConfig {
        rate: arguments.rate,
        row_rate: arguments.row_rate,
        row_decay: arguments.row_decay,
        weight_decay: arguments.weight_decay,
        ..OptimizerConfig::default()
    };
    let train_config = TrainConfig {
        epochs: arguments.epochs,
        batch: arguments.batch,
        input_dropout: arguments.dropout,
        optimizer,
        ..TrainConfig::default()
    };
    let labels = |rows: &[u32]| -> Vec<f32> { rows.iter().map(|&r| dataset.log.label[r as usize]).collect() };
    let domains = |rows: &[u32]| -> Vec<u32> { rows.iter().map(|&r| dataset.log.domain[r as usize].0).collect() };
    let (validation_labels, test_labels, test_domains) = (labels(&validation), labels(&test), domains(&test));
    let validation_domains = domains(&validation);
    let mut judge = |base: &Base, own: &_| {
        let scorer = Scorer::new(base, everything.as_ref(), own, &device);
        let scores = scorer.rows(&dataset, &validation)?;
        let pooled = auc(&validation_labels, &scores).unwrap_or(0.0);
        let testing = scorer.rows(&dataset, &test)?;
        let p: Vec<f32> = testing.iter().map(|&s| Objective::Logistic.predict(s)).collect();
        println!(
            "  validation auc {pooled:.4} macro {:.4} | test macro {:.4} log loss {:.4}",
            macro_auc(&validation_domains, &validation_labels, &scores).unwrap_or(0.0),
            macro_auc(&test_domains, &test_labels, &testing).unwrap_or(0.0),
            log_loss(&test_labels, &p).unwrap_or(0.0),
        );
        Ok(pooled)
    };
    let trained = train(Run {
        base: &base,
        adaptation: everything.as_ref(),
        feed: &feed,
        config: &train_config,
        seed: arguments.seed,
        device: &device,
        intercept: None,
        validate: Some(&mut judge),
        observer: &mut (),
        checkpoint: None,
        stop: &AtomicBool::new(false),
    })?;
    let summary = &trained.summary;
    let line = serde_json::json!({
        "name": "krl1",
        "variant": "acclimate",
        "rows_per_s": summary.rows as f64 / summary.seconds,
        "threads": arguments.threads,
        "best_validation_auc": summary.best,
        "best_epoch": summary.best_epoch + 1,
        "parameters": summary.trainable,
        "peak_rss_mib": acclimate_bench::peak_mib(),
    });
    println!("{line}");
    Ok(())
}
