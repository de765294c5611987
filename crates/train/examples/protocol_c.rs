//! Protocol C (electronics to cold users of beauty) with `key=value` arguments.
#![allow(missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use acclimate_adapt::{Target, build_method};
use acclimate_data::{
    CrossDomain, DatasetConfig, DomainIndex, ExampleConfig, FieldSchema, InputEvents, ItemIndex, LabelKind, NegativeConfig,
    NegativeSampler, NextItem, Queries, RawDataset, Schema, Sequences, UserIndex, VocabularyIndex, VocabularySchema, hash64,
    hashed_negatives, rank_in_domain,
};
use acclimate_model::{BackboneConfig, Base, BaseSpec, NextItNet, NextItNetConfig, Objective, Params};
use acclimate_train::feed::{Sequence, SequenceFeed};
use acclimate_train::{EpochReport, NextItemQuery, NextItemRanks, Observer, OptimizerConfig, Run, Scorer, TrainConfig, TrainError, train};
use burn::tensor::Device;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

struct Log(String, Instant);

impl Observer for Log {
    fn epoch(&mut self, r: &EpochReport) {
        let (name, t) = (&self.0, self.1.elapsed().as_secs_f64());
        println!(
            "  {name} epoch {} loss {:.4} validation {:.5} rows/s {:.0} t {t:.0}s cpu {:.0}s",
            r.epoch,
            r.loss,
            r.validation.unwrap_or(0.0),
            r.rows_per_second,
            cpu()
        );
    }
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields.get(11).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0) / 100.0
}

fn mean_by_user(queries: &[NextItem], values: impl Fn(usize) -> f64) -> f64 {
    let mut by_user: BTreeMap<UserIndex, (f64, f64)> = BTreeMap::new();
    for (i, q) in queries.iter().enumerate() {
        let e = by_user.entry(q.user).or_default();
        e.0 += values(i);
        e.1 += 1.0;
    }
    by_user.values().map(|(s, n)| s / n).sum::<f64>() / by_user.len() as f64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: HashMap<String, String> =
        std::env::args().skip(1).filter_map(|a| a.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let get = |k: &str, d: &str| args.get(k).cloned().unwrap_or_else(|| d.to_owned());
    let num = |k: &str, d: f64| args.get(k).map_or(d, |v| v.parse().expect("a number"));
    rayon::ThreadPoolBuilder::new().num_threads(num("threads", 1.0) as usize).build_global()?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/amazon-4domain.toml");
    let (raw, _) = RawDataset::read(&DatasetConfig::load(example)?)?;
    let data = raw.dataset();
    let domain = |name: &str| DomainIndex(data.domains.iter().position(|d| d == name).unwrap() as u32);
    let pair = CrossDomain { source: domain("electronics"), target: domain("beauty") };
    let rows: Vec<u32> =
        (0..data.log.len() as u32).filter(|&r| [pair.source, pair.target].contains(&data.log.domain[r as usize])).collect();
    let position = Some(&data.attribute("pos").unwrap().values[..]);
    let sequences = Sequences::new(&data.log, &rows, position)?;
    let id = |user: UserIndex| data.users[user.at()].parse::<u64>().unwrap();
    let class = |user: UserIndex| hash64(21, id(user), 0) % 10;
    let catalogue = pair.catalogue(&sequences, |u| class(u) < 7);
    let cold = ExampleConfig::cold_queries();
    let validation = Queries::covered(pair.examples(&sequences, |u| class(u) == 7, &cold), &catalogue).kept;
    let test = Queries::covered(pair.examples(&sequences, |u| class(u) >= 8, &cold), &catalogue).kept;

    // Codes: source items first, then target items; the heads have their own.
    let (rank_s, rank_t) = (rank_in_domain(&data.log, &data.items, pair.source), rank_in_domain(&data.log, &data.items, pair.target));
    let count = |ranks: &[u32]| ranks.iter().filter(|&&r| r != u32::MAX).count();
    let (sources, targets) = (count(&rank_s), count(&rank_t));
    let head_s = |i: ItemIndex| rank_s[i.at()].wrapping_add(1);
    let head_t = |i: ItemIndex| rank_t[i.at()].wrapping_add(1);
    let code = |i: ItemIndex| if head_s(i) != 0 { head_s(i) } else { head_t(i) + sources as u32 };
    let codes = |items: &[ItemIndex]| items.iter().map(|&i| code(i)).collect::<Vec<_>>();

    let length = num("length", 30.0) as usize;
    let input = if get("input", "source") == "both" { InputEvents::Both } else { InputEvents::Source };
    let config = ExampleConfig { input, length, min_input: num("min_input", 3.0) as usize, ..ExampleConfig::default() };
    let train_examples = pair.examples(&sequences, |u| class(u) < 7, &config);
    println!(
        "{} examples, mean input {:.1}, catalogue {}, validation {}, test {}",
        train_examples.len(),
        train_examples.iter().map(|e| e.input.len()).sum::<usize>() as f64 / train_examples.len() as f64,
        catalogue.len(),
        validation.len(),
        test.len()
    );

    let vocabulary = |name: &str, rows: usize| VocabularySchema { name: name.into(), rows };
    let schema = Schema {
        label: LabelKind::Implicit,
        domains: vec!["electronics".into(), "beauty".into()],
        vocabularies: vec![
            vocabulary("item", sources + targets + 1),
            vocabulary("source_item", sources + 1),
            vocabulary("target_item", targets + 1),
        ],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: vec![],
        numeric: vec![],
    };
    let net = |head: &str| BaseSpec {
        backbone: BackboneConfig::NextItNet(NextItNetConfig {
            dilations: get("dilations", "1,4").split(',').map(|d| d.parse().unwrap()).collect(),
            head: Some(head.into()),
            std: num("std", 0.02) as f32,
            head_std: num("head_std", 0.02) as f32,
            ..NextItNetConfig::default()
        }),
        schema: schema.clone(),
        objective: Objective::Softmax,
    };
    let counts = |domain: DomainIndex, n: usize, rank: &[u32], wanted: &dyn Fn(UserIndex) -> bool| {
        let mut counts = vec![0u32; n];
        for (user, events) in sequences.iter() {
            for e in events.iter().filter(|e| e.domain == domain && wanted(user)) {
                counts[rank[e.item.at()] as usize] += 1;
            }
        }
        counts
    };
    let seed = num("seed", 0.0) as u64;
    let device = Device::flex();
    let stop = AtomicBool::new(false);
    let train_config = |rate: f64, epochs: f64| TrainConfig {
        epochs: epochs as u64,
        batch: num("batch", 128.0) as usize,
        patience: num("patience", 2.0) as u64,
        input_dropout: num("dropout", 0.2) as f32,
        optimizer: OptimizerConfig {
            rate,
            row_rate: args.get("row_rate").map(|r| r.parse().unwrap()),
            weight_decay: num("decay", 0.0),
            ..OptimizerConfig::default()
        },
        ..TrainConfig::default()
    };

    // Queries in codes.
    let rank = &rank_t;
    let asked = |queries: &[NextItem]| -> Vec<NextItemQuery> {
        queries
            .iter()
            .map(|q| NextItemQuery {
                input: codes(&q.input[q.input.len().saturating_sub(length)..]),
                positive: head_t(q.positive),
                excluded: Vec::new(),
                negatives: hashed_negatives(22, id(q.user), rank, &catalogue, &pair.seen(&sequences, q.user), 99)
                    .into_iter()
                    .map(head_t)
                    .collect(),
            })
            .collect()
    };
    let candidates: Vec<u32> = catalogue.iter().map(|&i| head_t(i)).collect();
    let (validation_asked, test_asked) = (asked(&validation), asked(&test));

    // Pre-training.
    let mut pretrained = Base::init(net("source_item"), seed)?;
    let pre_epochs = num("pre_epochs", 5.0);
    let methods = get("methods", "scratch,fine_tune_head,adapter,fine_tune_all");
    let all = |base: &Base| {
        build_method(
            "fine_tune_all",
            &toml::Table::new(),
            Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective },
        )
    };
    let begun = Instant::now();
    if methods.split(',').any(|m| m != "scratch") && pre_epochs > 0.0 {
        let source_counts = counts(pair.source, sources, &rank_s, &|_| true);
        NextItNet::start_biases(Arc::make_mut(&mut pretrained.tables[1]), &source_counts);
        let list = sequences.in_domain(pair.source).map(|(_, items)| {
            let heads: Vec<u32> = items.iter().map(|&i| head_s(i)).collect();
            Sequence::everywhere(&codes(&items), &heads, length)
        });
        let mut feed = SequenceFeed::new(list.collect(), num("pre_batch", 128.0) as usize, seed, None)?;
        let negatives = num("pre_negatives", 0.0) as usize;
        if negatives > 0 {
            let sampler = NegativeSampler::new(
                NegativeConfig::Popularity { power: 0.75 },
                (1..=sources as u32).collect(),
                &source_counts.iter().map(|&c| u64::from(c)).collect::<Vec<_>>(),
                seed,
            )?;
            feed = feed.with_negatives(sampler, negatives);
        }
        let config = train_config(num("pre_rate", num("rate", 2e-3)), pre_epochs);
        let adaptation = all(&pretrained)?;
        pretrained = train(Run {
            base: &pretrained.clone(),
            adaptation: adaptation.as_ref(),
            feed: &feed,
            config: &config,
            seed,
            device: &device,
            intercept: None,
            validate: None,
            observer: &mut Log("pretrain".into(), begun),
            checkpoint: None,
            stop: &stop,
        })?
        .base;
    }

    let train_counts = counts(pair.target, targets, &rank_t, &|u| class(u) < 7);
    for method in methods.split(',') {
        let begun = (Instant::now(), cpu());
        let mut base = Base::init(net("target_item"), seed + 100)?;
        if method != "scratch" {
            base.params = pretrained.params.clone();
            base.tables[0] = pretrained.tables[0].clone();
        }
        NextItNet::start_biases(Arc::make_mut(&mut base.tables[1]), &train_counts);
        let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
        let name = if method == "scratch" { "fine_tune_all" } else { method };
        let mut table = toml::Table::new();
        if name == "adapter" {
            table.insert("gelu".into(), "tanh".into());
            table.insert("std".into(), num("adapter_std", 0.01).into());
        }
        let adaptation = build_method(name, &table, target)?;
        let feed = SequenceFeed::new(
            train_examples.iter().map(|e| Sequence::last(&codes(&e.input), head_t(e.positive), length)).collect(),
            num("batch", 128.0) as usize,
            seed,
            None,
        )?;
        let rate = if method == "fine_tune_all" { num("all_rate", 1e-3) } else { num("rate", 2e-3) };
        let config = train_config(rate, num("epochs", 8.0));
        let mut judge = |base: &Base, own: &Params| -> Result<f64, TrainError> {
            let ranks = Scorer::new(base, adaptation.as_ref(), own, &device).next_items(&candidates, &validation_asked)?;
            Ok(mean_by_user(&validation, |i| 1.0 / ranks[i].full))
        };
        let trained = train(Run {
            base: &base,
            adaptation: adaptation.as_ref(),
            feed: &feed,
            config: &config,
            seed,
            device: &device,
            intercept: None,
            validate: Some(&mut judge),
            observer: &mut Log(method.into(), begun.0),
            checkpoint: None,
            stop: &stop,
        })?;
        let cost = cpu() - begun.1;
        let print = |part: &str, queries: &[NextItem], asked: &[NextItemQuery]| -> Result<(), TrainError> {
            let ranks: Vec<NextItemRanks> =
                Scorer::new(&trained.base, adaptation.as_ref(), &trained.own, &device).next_items(&candidates, asked)?;
            let mean =
                |f: &dyn Fn(f64) -> f64, full: bool| mean_by_user(queries, |i| f(if full { ranks[i].full } else { ranks[i].sampled }));
            let at = |k: f64, r: f64| if r <= k { 1.0 } else { 0.0 };
            println!(
                "{part} {method} seed {seed}: mrr {:.4} mrr@5 {:.4} hr@5 {:.4} ndcg@10 {:.4} | 99: mrr@5 {:.4} hr@5 {:.4} | trained {} epochs {} best {} cpu {cost:.0}s",
                mean(&|r| 1.0 / r, true),
                mean(&|r| at(5.0, r) / r, true),
                mean(&|r| at(5.0, r), true),
                mean(&|r| at(10.0, r) / (r + 1.0).log2(), true),
                mean(&|r| at(5.0, r) / r, false),
                mean(&|r| at(5.0, r), false),
                trained.summary.trainable,
                trained.summary.epochs,
                trained.summary.best_epoch
            );
            Ok(())
        };
        print("validation", &validation, &validation_asked)?;
        if num("test", 0.0) > 0.0 {
            print("test", &test, &test_asked)?;
        }
    }
    Ok(())
}
