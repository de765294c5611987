//! What the benchmark programs share: timing, memory and one JSON line a program.

use std::collections::BTreeMap;
use std::time::Instant;

/// Computes on this many threads, the calling one among them.
///
/// # Errors
/// The pool was set up before.
pub fn use_threads(threads: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread().build_global()
}

/// Peak resident memory of this process in MiB; 0 where the system does not tell.
#[must_use]
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// CPU seconds of this process so far, all threads, user and system, in hundredths; 0 where the system does not tell.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets, which may hold spaces: fields 14 and 15, in ticks of 1/100 s.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    [11, 12].iter().filter_map(|&i| fields.get(i)?.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Seconds of `step` in each of `steps` runs after `warmup` runs that are not counted, sorted.
pub fn time(warmup: usize, steps: usize, mut step: impl FnMut(usize)) -> Vec<f64> {
    (0..warmup).for_each(&mut step);
    let mut seconds: Vec<f64> = (0..steps)
        .map(|i| {
            let began = Instant::now();
            step(warmup + i);
            began.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Prints one JSON line in the form of the PyTorch peers.
pub fn report(name: &str, variant: &str, threads: usize, rows: usize, seconds: &[f64]) {
    let median = seconds[seconds.len() / 2];
    let line = serde_json::json!({
        "name": name,
        "variant": variant,
        "steps_per_s": 1.0 / median,
        "rows_per_s": rows as f64 / median,
        "ms_per_step": 1e3 * median,
        "ms_per_step_min": 1e3 * seconds[0],
        "threads": threads,
        "peak_rss_mib": peak_mib(),
    });
    println!("{line}");
}

/// Pre-made batches, served in turn: what the peers do, so that making batches is not what is timed.
pub struct Fixed(pub Vec<acclimate_train::feed::Feeding>);

impl acclimate_train::feed::Feed for Fixed {
    fn steps(&self, _: u64) -> usize {
        self.0.len()
    }

    fn batch(&self, _: u64, step: usize) -> acclimate_train::feed::Feeding {
        self.0[step % self.0.len()].clone()
    }

    fn rows(&self) -> usize {
        self.0.iter().map(|f| f.query.len()).sum()
    }

    fn window(&self) -> Option<[i64; 2]> {
        None
    }
}

/// Seconds of each optimiser step of a run, the first `warmup` left out.
#[derive(Debug)]
pub struct StepTimes {
    warmup: usize,
    last: Instant,
    /// Seconds of each step.
    pub seconds: Vec<f64>,
}

impl StepTimes {
    /// Starts the clock.
    #[must_use]
    pub fn new(warmup: usize) -> Self {
        Self { warmup, last: Instant::now(), seconds: Vec::new() }
    }

    /// The steps after the warm-up, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<f64> {
        let mut seconds = self.seconds[self.warmup.min(self.seconds.len())..].to_vec();
        seconds.sort_by(f64::total_cmp);
        seconds
    }
}

impl acclimate_train::Observer for StepTimes {
    fn step(&mut self, _: &acclimate_train::StepReport) {
        self.seconds.push(self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }
}

/// Uniform numbers from a fixed stream.
#[must_use]
pub fn stream(seed: u64) -> acclimate_data::RandomStream {
    acclimate_data::RandomStream::new(seed, 0, 0)
}

/// A schema of `fields` categorical features of `rows` rows each, all with a vocabulary of their own.
#[must_use]
pub fn schema(label: acclimate_data::LabelKind, fields: usize, rows: usize) -> acclimate_data::Schema {
    use acclimate_data::{FieldSchema, Schema, VocabularyIndex, VocabularySchema};
    let name = |i: usize| format!("field{i}");
    Schema {
        label,
        domains: vec!["all".into()],
        vocabularies: (0..fields).map(|i| VocabularySchema { name: name(i), rows }).collect(),
        categorical: (0..fields).map(|i| FieldSchema { name: name(i), vocabulary: VocabularyIndex(i as u32) }).collect(),
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}

/// A batch `[groups, rows]` of uniform codes and coin-flip labels.
#[must_use]
pub fn batch(groups: usize, rows: usize, fields: usize, codes: u64, stream: &mut acclimate_data::RandomStream) -> acclimate_data::Batch {
    let n = groups * rows;
    acclimate_data::Batch {
        groups,
        rows,
        mask: vec![1.0; n],
        label: (0..n).map(|_| stream.below(2) as f32).collect(),
        row: vec![0; n],
        domain: vec![acclimate_data::DomainIndex(0); n],
        fields,
        categorical: (0..n * fields).map(|_| stream.below(codes) as u32).collect(),
        ..acclimate_data::Batch::default()
    }
}

/// Trains `method` on fixed batches through the product's own `train` and returns the step times.
///
/// # Errors
/// A config that does not fit, or a run that fails.
pub fn run_fixed(
    spec: acclimate_model::BaseSpec,
    method: &str,
    keys: &str,
    config: &acclimate_train::TrainConfig,
    feedings: Vec<acclimate_train::feed::Feeding>,
    warmup: usize,
) -> anyhow::Result<Vec<f64>> {
    let base = acclimate_model::Base::init(spec, 1)?;
    let target = acclimate_adapt::Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let adaptation = acclimate_adapt::build_method(method, &keys.parse()?, target)?;
    let mut times = StepTimes::new(warmup);
    acclimate_train::train(acclimate_train::Run {
        base: &base,
        adaptation: adaptation.as_ref(),
        feed: &Fixed(feedings),
        config,
        seed: 1,
        device: &burn::tensor::Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut times,
        checkpoint: None,
        stop: &std::sync::atomic::AtomicBool::new(false),
    })?;
    Ok(times.sorted())
}
