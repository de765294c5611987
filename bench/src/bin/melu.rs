//! Meta-trains MeLU's network on protocol P-MeLU and reports quality and tasks per second.
//!
//! `ACCLIMATE_DATA=... cargo run --release -p acclimate-bench --bin melu -- --epochs 30`

use std::sync::atomic::AtomicBool;

use acclimate_adapt::{Adaptation, Target, build_method};
use acclimate_data::{Dataset, DatasetConfig, Existing, ItemRule, RawDataset, ShareOf, SplitConfig, Task, TaskConfig, TaskOrder, UserRule};
use acclimate_eval::LabelRange;
use acclimate_eval::metric::{mae, ndcg_at};
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective, Params};
use acclimate_train::feed::{SupportSize, TaskFeed};
use acclimate_train::{OptimizerConfig, Run, Scorer, TrainConfig, TrainError, train};
use burn::tensor::Device;
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1e-3)]
    rate: f64,
    #[arg(long, default_value_t = 1.0)]
    std: f32,
    #[arg(long, default_value = "")]
    keys: String,
    #[arg(long, default_value_t = 30)]
    epochs: u64,
    #[arg(long, default_value_t = 100)]
    patience: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long)]
    random_size: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    acclimate_bench::use_threads(arguments.threads)?;
    let (raw, _) = RawDataset::read(&DatasetConfig::load("examples/movielens.toml")?)?;
    let users = UserRule::Rank {
        prefix: "user:".into(),
        existing_percent: 80,
        validation_percent: 10,
        validation_of: ShareOf::Existing,
        validation: Existing::First,
    };
    let items = ItemRule::Attribute { attribute: "year".into(), new_from: Some(1998), new: None };
    let split = SplitConfig::ColdUsersItems { users, items }.split(raw.view())?;
    let dataset = raw.encode(split.rows("train")?)?;
    let config = TaskConfig { order: TaskOrder::Hash { prefix: "q:".into() }, ..TaskConfig::default() };
    let tasks = |part: &str| -> anyhow::Result<Vec<Task>> { Ok(config.tasks((&dataset).into(), split.rows(part)?)?.tasks) };
    let (training, validation) = (tasks("train")?, tasks("validation")?);
    println!("{} training tasks", training.len());
    let dnn: DnnConfig = format!("embedding = 32\nembedding_std = {}\nhidden = [64, 64]\nstart = 'fan_in'", arguments.std)
        .parse::<toml::Table>()?
        .try_into()?;
    let spec = BaseSpec { backbone: BackboneConfig::Dnn(dnn), schema: dataset.schema(), objective: Objective::SquaredError };
    let base = Base::init(spec, arguments.seed)?;
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let method = build_method("melu", &arguments.keys.parse()?, target)?;
    let device = Device::flex();
    let size = if arguments.random_size { SupportSize::Random } else { SupportSize::Full };
    let feed = TaskFeed::new(&dataset, &training, 32, true, size, arguments.seed)?;
    let optimizer = OptimizerConfig { rate: arguments.rate, clip_value: Some(10.0), ..OptimizerConfig::default() };
    let config = TrainConfig { epochs: arguments.epochs, patience: arguments.patience, optimizer, ..TrainConfig::default() };
    let mut judge = |base: &Base, own: &Params| {
        let (mae, _, ndcg) = quality(&dataset, base, own, method.as_ref(), &validation)?;
        println!("  validation mae {mae:.4} ndcg@3 {ndcg:.4}");
        Ok(-mae)
    };
    let trained = train(Run {
        base: &base,
        adaptation: method.as_ref(),
        feed: &feed,
        config: &config,
        seed: arguments.seed,
        device: &device,
        intercept: None,
        validate: Some(&mut judge),
        observer: &mut (),
        checkpoint: None,
        stop: &AtomicBool::new(false),
    })?;
    for part in ["new_user", "new_item", "both"] {
        let (mae, ndcg1, ndcg3) = quality(&dataset, &trained.base, &trained.own, method.as_ref(), &tasks(part)?)?;
        println!("{part}: mae {mae:.4} ndcg@1 {ndcg1:.4} ndcg@3 {ndcg3:.4}");
    }
    let s = &trained.summary;
    let tasks_per_s = s.epochs as f64 * training.len() as f64 / s.seconds;
    println!(
        "best epoch {} of {}; {:.1} s, {tasks_per_s:.0} tasks/s; peak {:.0} MiB",
        s.best_epoch + 1,
        s.epochs,
        s.seconds,
        acclimate_bench::peak_mib()
    );
    Ok(())
}

/// Mean over users of MAE, nDCG@1 and nDCG@3 (linear gain).
fn quality(dataset: &Dataset, base: &Base, own: &Params, method: &dyn Adaptation, tasks: &[Task]) -> Result<(f64, f64, f64), TrainError> {
    let pairs: Vec<_> = tasks.iter().map(|t| (&t.support, &t.query)).collect();
    let scores = Scorer::new(base, method, own, &Device::flex()).tasks(dataset, &pairs)?;
    let range = LabelRange { low: 1.0, high: 5.0 };
    let mut sums = [0.0; 3];
    for (task, scores) in tasks.iter().zip(&scores) {
        let labels: Vec<f32> = task.query.iter().map(|&r| dataset.log.label[r as usize]).collect();
        let gain = acclimate_eval::Gain::Linear;
        let values = [mae(&labels, scores, range), ndcg_at(1, gain, &labels, scores), ndcg_at(3, gain, &labels, scores)];
        sums.iter_mut().zip(values).for_each(|(s, v)| *s += v.unwrap_or(0.0));
    }
    let [a, b, c] = sums.map(|s| s / tasks.len() as f64);
    Ok((a, b, c))
}
