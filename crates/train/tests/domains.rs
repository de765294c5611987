//! Groups of one domain: what a step reads and changes is in proportion to its domains, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use acclimate_adapt::{Adaptation, Groups, Needs, Target, build_method};
use acclimate_data::{Dataset, SimulatorConfig};
use acclimate_model::{BackboneConfig, Base, BaseSpec, DnnConfig, Objective, Params};
use acclimate_train::feed::{DomainSampling, Feed, RowFeed};
use acclimate_train::{Draw, Preparation, RowPreparation, Run, Scorer, TrainConfig, Trained, train};
use burn::tensor::Device;

/// A log of so many domains, the last of them with a third of the rows.
fn dataset(domains: usize) -> Dataset {
    let config = SimulatorConfig {
        users: 100,
        items: 200,
        domains,
        rows: 1500,
        cold_users: 10,
        cold_rows: 10,
        target_share: 0.3,
        target_rows: 300,
        ..SimulatorConfig::default()
    };
    config.simulate(1).expect("the settings fit together").dataset
}

fn base(dataset: &Dataset) -> Base {
    let backbone = BackboneConfig::Dnn(DnnConfig { embedding: 4, embedding_std: 1.0, hidden: vec![8], ..DnnConfig::default() });
    Base::init(BaseSpec { backbone, schema: dataset.schema(), objective: Objective::Logistic }, 1).expect("a valid config")
}

fn adapter(base: &Base) -> Box<dyn Adaptation> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    let config = "per_domain = true\nbottleneck = 2\nstd = 1.0".parse().expect("valid keys");
    build_method("adapter", &config, target).expect("a valid config")
}

#[test]
fn small_domains_share_batches_as_groups_of_their_own() {
    let (dataset, batch) = (dataset(90), 64);
    let rows: Vec<u32> = (0..dataset.log.len() as u32).step_by(2).collect();
    let mut sizes = BTreeMap::new();
    rows.iter().for_each(|&row| *sizes.entry(dataset.log.domain[row as usize]).or_insert(0) += 1);
    let large = |size: &usize| *size > batch / 2;
    assert!(sizes.values().any(large) && sizes.values().filter(|size| !large(size)).count() > 80, "{sizes:?}");
    let feed = RowFeed::new(&dataset, &rows, batch, 3, Needs { groups: Groups::Domain, ..Needs::default() }).expect("there are rows");
    let mut orders = Vec::new();
    let mut companies = Vec::new();
    for epoch in 0..2 {
        let mut read = Vec::new();
        for step in 0..feed.steps(epoch) {
            let query = feed.batch(epoch, step).query;
            assert_eq!(query, feed.batch(epoch, step).query);
            assert!(query.len() <= batch, "{} positions", query.len());
            for group in query.row.chunks(query.rows) {
                let real: Vec<u32> = group.iter().copied().filter(|&row| row != u32::MAX).collect();
                let domain = dataset.log.domain[real[0] as usize];
                assert!(real.iter().all(|&row| dataset.log.domain[row as usize] == domain), "a group of several domains");
                assert!(large(&sizes[&domain]) || real.len() == sizes[&domain], "a small domain is cut");
                read.extend(real);
            }
        }
        let together = |step| {
            let domains: BTreeSet<u32> = feed.batch(epoch, step).query.domain.iter().map(|domain| domain.0).collect();
            domains
        };
        companies.push((0..feed.steps(epoch)).map(together).filter(|domains| domains.len() > 2).collect::<BTreeSet<_>>());
        let order = read.clone();
        read.sort_unstable();
        assert_eq!(read, rows);
        orders.push(order);
    }
    assert_ne!(orders[0], orders[1]);
    assert_ne!(companies[0], companies[1], "small domains always meet in the same company");
    // A step for each domain would be several times as many.
    let least = rows.len().div_ceil(batch);
    assert!(feed.steps(0) < 2 * least, "{} steps where {least} could hold all rows", feed.steps(0));
}

#[test]
fn every_domain_is_scored_by_its_own_branch() {
    let dataset = dataset(90);
    let base = base(&dataset);
    let adaptation = adapter(&base);
    let mut own = Params::init(adaptation.params(), 1);
    own.values.iter_mut().flatten().zip(0..).for_each(|(value, i)| *value += ((i * 7919 % 1000) as f32 - 500.0) / 500.0);
    let device = Device::flex();
    let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &device);
    let rows: Vec<u32> = (0..dataset.log.len() as u32).rev().collect();
    let scores = scorer.rows(&dataset, &rows).expect("rows of one domain a group");
    for (&row, score) in rows.iter().zip(&scores).step_by(13) {
        let alone = scorer.rows(&dataset, &[row]).expect("one row")[0];
        assert!((score - alone).abs() < 1e-5, "row {row}: {score} against {alone}");
    }
}

fn trained(base: &Base, adaptation: &dyn Adaptation, dataset: &Dataset, rows: &[u32]) -> Trained {
    train(Run {
        base,
        adaptation,
        feed: &RowFeed::new(dataset, rows, 16, 1, Needs { groups: Groups::Domain, ..Needs::default() }).expect("there are rows"),
        config: &TrainConfig { epochs: 3, ..TrainConfig::default() },
        seed: 1,
        device: &Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &false.into(),
    })
    .expect("it trains")
}

#[test]
fn training_moves_the_branches_of_its_domains_alone() {
    let dataset = dataset(90);
    let base = base(&dataset);
    let adaptation = adapter(&base);
    let of_two: Vec<u32> = (0..dataset.log.len() as u32).filter(|&row| dataset.log.domain[row as usize].0 < 2).collect();
    let trained = trained(&base, adaptation.as_ref(), &dataset, &of_two);
    let start = Params::init(adaptation.params(), 1);
    for ((spec, before), after) in start.specs.iter().zip(&start.values).zip(&trained.own.values) {
        let moved: Vec<usize> = before
            .chunks(spec.block())
            .zip(after.chunks(spec.block()))
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(block, _)| block)
            .collect();
        assert_eq!(moved, [0, 1], "{}", spec.path);
    }
}

#[test]
fn an_annealed_run_reads_every_domain_ever_more_alike() {
    let dataset = dataset(4);
    let rows: Vec<u32> = (0..dataset.log.len() as u32).collect();
    let prepared = RowPreparation::new(std::borrow::Cow::Borrowed(&dataset), Objective::Logistic);
    for by_domain in [false, true] {
        let config = TrainConfig { domain_sampling: DomainSampling::Annealed, epochs: 5, batch: 64, ..TrainConfig::default() };
        let needs = Needs { groups: if by_domain { Groups::Domain } else { Groups::Any }, ..Needs::default() };
        let (feed, again) = (prepared.feed(&rows, Draw::new(&config, 3, needs)), prepared.feed(&rows, Draw::new(&config, 3, needs)));
        let (feed, again) = (feed.expect("there are rows"), again.expect("there are rows"));
        let mut spreads = Vec::new();
        for epoch in 0..5 {
            let mut times = vec![0; rows.len()];
            for step in 0..feed.steps(epoch) {
                let query = feed.batch(epoch, step).query;
                query.row.iter().filter(|&&row| row != u32::MAX).for_each(|&row| times[row as usize] += 1);
                // A run that goes on in the middle of an epoch reads the same.
                assert_eq!(again.batch(epoch, feed.steps(epoch) - 1 - step), feed.batch(epoch, feed.steps(epoch) - 1 - step));
            }
            assert_eq!(times.iter().sum::<usize>(), rows.len());
            let mut shares = BTreeMap::new();
            for (row, n) in times.iter().enumerate() {
                let (most, least, all) = shares.entry(dataset.log.domain[row]).or_insert((0, usize::MAX, 0));
                (*most, *least, *all) = ((*n).max(*most), (*n).min(*least), *all + n);
            }
            assert!(shares.values().all(|(most, least, _)| most - least <= 1), "{shares:?}");
            let sizes = || shares.values().map(|(.., all)| *all);
            spreads.push(sizes().max().expect("domains") - sizes().min().expect("domains"));
            if epoch == 0 {
                assert!(times.iter().all(|&n| n == 1), "the first epoch is the log's");
            }
        }
        assert!(spreads.windows(2).all(|pair| pair[1] < pair[0]), "{spreads:?}");
    }
}
