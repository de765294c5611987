//! STAR training step: 5 domains of 77, 9, 6, 5 and 3 % of the rows, 10 categorical fields of 100,000 ids, width 16, tower
//! 160-256-128-64-1, auxiliary network of width 16, Adam. Batch 1024 without norm, batch 256 with partitioned normalisation
//! (`--norm`). Peer: `bench/peer/star.py`.
//!
//! `--batches single`, as training cuts a log for `star`: a batch is of one domain, and each domain has its share of the batches.
//! `--batches mixed`: every batch holds rows of all domains, a group each, padded to the longest; padding is computed, but not counted.

use acclimate_bench::{batch, report, run_fixed, schema, stream};
use acclimate_data::{Batch, DomainIndex, LabelKind, RandomStream, Schema};
use acclimate_model::{BackboneConfig, BaseSpec, DnnConfig, InputNorm, Objective};
use acclimate_train::TrainConfig;
use acclimate_train::feed::Feeding;
use clap::{Parser, ValueEnum};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FIELDS: usize = 10;
const IDS: usize = 100_000;

/// Rows of each domain, in per cent.
const SHARES: [usize; 5] = [77, 9, 6, 5, 3];

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
    /// Domains of a batch.
    #[arg(long, value_enum, default_value_t = Batches::Single)]
    batches: Batches,
    /// Partitioned normalisation of the input, and batch 256 instead of 1024.
    #[arg(long)]
    norm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Batches {
    /// One.
    Single,
    /// All.
    Mixed,
}

/// How many of `n` each domain has; the first has what rounding leaves.
fn shared_out(n: usize) -> [usize; 5] {
    let mut counts = SHARES.map(|share| (share * n + 50) / 100);
    counts[0] = n - counts[1..].iter().sum::<usize>();
    counts
}

/// The domain of each batch of one domain: all in turn before the clock counts, then spread evenly, batch j of a domain's n at the
/// place `(j + ½) / n`.
fn turns(warmup: usize, steps: usize) -> Vec<usize> {
    let places = |(domain, n): (usize, usize)| (0..n).map(move |j| ((j as f64 + 0.5) / n as f64, domain));
    let mut spread: Vec<(f64, usize)> = shared_out(steps).into_iter().enumerate().flat_map(places).collect();
    spread.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    (0..warmup).map(|step| step % SHARES.len()).chain(spread.into_iter().map(|(_, domain)| domain)).collect()
}

/// A batch of `(domain, rows)`, a group each, padded to the longest.
fn grouped(parts: &[(usize, usize)], stream: &mut RandomStream) -> Batch {
    let longest = parts.iter().map(|&(_, rows)| rows).max().unwrap_or(0);
    let mut all = batch(parts.len(), longest, FIELDS, IDS as u64, stream);
    for (g, &(domain, rows)) in parts.iter().enumerate() {
        let (first, end) = (g * longest, (g + 1) * longest);
        let padding = first + rows..end;
        all.domain[first..first + rows].fill(DomainIndex(domain as u32));
        all.mask[padding.clone()].fill(0.0);
        all.label[padding.clone()].fill(0.0);
        all.row[padding].fill(u32::MAX);
        all.categorical[(first + rows) * FIELDS..end * FIELDS].fill(0);
    }
    all
}

fn main() -> anyhow::Result<()> {
    let Arguments { threads, steps, warmup, batches, norm } = Arguments::parse();
    acclimate_bench::use_threads(threads)?;
    let rows = if norm { 256 } else { 1024 };
    let mixed: Vec<(usize, usize)> = shared_out(rows).into_iter().enumerate().collect();
    let mut stream = stream(1);
    let feedings = turns(warmup, steps).into_iter().map(|domain| {
        let query = match batches {
            Batches::Single => grouped(&[(domain, rows)], &mut stream),
            Batches::Mixed => grouped(&mixed, &mut stream),
        };
        Feeding { query, support: None }
    });
    let feedings = feedings.collect();
    let input_norm = if norm { InputNorm::Batch } else { InputNorm::None };
    let dnn = DnnConfig { hidden: vec![256, 128, 64], input_norm, ..DnnConfig::default() };
    let domains = (0..SHARES.len()).map(|domain| format!("domain{domain}")).collect();
    let schema = Schema { domains, ..schema(LabelKind::Click, FIELDS, IDS) };
    let spec = BaseSpec { backbone: BackboneConfig::Dnn(dnn), schema, objective: Objective::Logistic };
    let config = TrainConfig { epochs: 1, batch: rows, ..TrainConfig::default() };
    let seconds = run_fixed(spec, "star", "", &config, feedings, warmup)?;
    let kind = match batches {
        Batches::Single => "single",
        Batches::Mixed => "mixed",
    };
    let name = format!("star_{kind}{}", if norm { "_norm" } else { "" });
    report(&name, "acclimate", threads, rows, &seconds);
    Ok(())
}
