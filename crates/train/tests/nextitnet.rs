//! Laws of `nextitnet`: causality, receptive field, padding, sizes, and what the methods train of it.

use acclimate_adapt::{Needs, Target, build_method};
use acclimate_data::{
    Batch, DomainIndex, FieldSchema, LabelKind, MICROS_PER_DAY, RecentEvents, Schema, VocabularyIndex, VocabularySchema, Zone,
};
use acclimate_model::{BackboneConfig, Base, BaseSpec, NextItNet, NextItNetConfig, Objective};
use acclimate_train::feed::{Asking, Feed, Sequence, SequenceFeed};
use acclimate_train::{
    FittedMemory, Gate, Kernel, Memory, MemoryConfig, NextItemQuery, OptimizerConfig, Run, Scorer, TrainConfig, Trained, Trainee, train,
};
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn base(config: NextItNetConfig, items: usize, targets: usize) -> Base {
    let vocabulary = |name: &str, rows| VocabularySchema { name: name.into(), rows };
    let schema = Schema {
        label: LabelKind::Implicit,
        domains: vec!["all".into()],
        vocabularies: vec![vocabulary("item", items + 1), vocabulary("target", targets + 1)],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    };
    let backbone = BackboneConfig::NextItNet(NextItNetConfig { head: Some("target".into()), ..config });
    Base::init(BaseSpec { backbone, schema, objective: Objective::Softmax }, 5).unwrap()
}

/// Loud weights: with the usual small start distant positions would vanish in rounding.
fn small(dilations: &[usize]) -> NextItNetConfig {
    NextItNetConfig { width: 8, dilations: dilations.to_vec(), std: 0.5, head_std: 0.5, ..NextItNetConfig::default() }
}

fn build(base: &Base, name: &str) -> Box<dyn acclimate_adapt::Adaptation> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    build_method(name, &toml::Table::new(), target).unwrap()
}

/// Scores `[positions, items]` at every real position of padded sequences.
fn scores(base: &Base, padding: usize, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let rows = sequences.iter().map(Vec::len).max().unwrap() + padding;
    let mut batch = Batch { groups: sequences.len(), rows, fields: 1, ..Batch::default() };
    for sequence in sequences {
        let pad = rows - sequence.len();
        batch.mask.extend((0..rows).map(|i| f32::from(u8::from(i >= pad))));
        batch.categorical.extend(std::iter::repeat_n(0, pad).chain(sequence.iter().copied()));
        batch.target.extend((0..rows).map(|i| u32::from(i >= pad)));
    }
    batch.domain = vec![DomainIndex(0); batch.len()];
    let adaptation = build(base, "fine_tune_all");
    let found = Scorer::new(base, adaptation.as_ref(), &Default::default(), &Device::flex()).batch(&batch, None).unwrap();
    let items = base.tables[1].rows();
    found.chunks_exact(items).map(<[f32]>::to_vec).collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
}

#[test]
fn later_items_never_change_earlier_scores() {
    let base = base(small(&[1, 4]), 20, 6);
    let before: Vec<u32> = (1..=12).collect();
    let expected = scores(&base, 0, std::slice::from_ref(&before));
    for changed in 0..12 {
        let mut after = before.clone();
        after[changed] = 20;
        let found = scores(&base, 0, &[after]);
        assert_eq!(found[..changed], expected[..changed], "position {changed}");
        assert!(!close(&found[changed], &expected[changed]), "position {changed} sees itself");
    }
}

#[test]
fn the_receptive_field_is_what_the_dilations_say() {
    assert_eq!(NextItNetConfig::default().receptive_field(), 121);
    // Over more blocks the far end's share falls below the rounding of f32, so the law is tried on two.
    for (dilations, field) in [(vec![3], 19), (vec![1, 4], 31)] {
        let config = small(&dilations);
        assert_eq!(config.receptive_field(), field);
        let mut base = base(config, 9, 5);
        // With every ReLU open the far end is not lost on the way.
        let params = &mut base.params;
        params.specs.iter().zip(&mut params.values).filter(|(s, _)| s.path.ends_with("shift")).for_each(|(_, v)| v.fill(4.0));
        let history: Vec<u32> = (0..70).map(|i| 1 + i % 8).collect();
        let last = |h: &Vec<u32>| scores(&base, 0, std::slice::from_ref(h)).pop().unwrap();
        let expected = last(&history);
        let changed = |back: usize| {
            let mut h = history.clone();
            h[69 - back] = 9;
            last(&h)
        };
        assert_eq!(changed(field), expected);
        assert_ne!(changed(field - 1), expected);
    }
}

#[test]
fn without_causal_a_position_sees_both_sides_as_far_as_it_reaches() {
    // One block with dilations 1 and 2: three positions to each side.
    let base = base(NextItNetConfig { causal: false, ..small(&[1]) }, 20, 6);
    let before: Vec<u32> = (1..=12).collect();
    let expected = scores(&base, 0, std::slice::from_ref(&before));
    for changed in 0..12 {
        let mut after = before.clone();
        after[changed] = 20;
        let found = scores(&base, 0, &[after]);
        for position in 0..12usize {
            let is_seen = position.abs_diff(changed) <= 3;
            assert_eq!(found[position] != expected[position], is_seen, "item {changed} at position {position}");
        }
    }
}

#[test]
fn padding_and_company_change_nothing() {
    for causal in [true, false] {
        let base = base(NextItNetConfig { causal, ..small(&[1, 4]) }, 20, 6);
        let sequences = [vec![3, 1, 4, 1, 5, 9, 2, 6], vec![2, 7], vec![1, 8, 2, 8]];
        let together = scores(&base, 3, &sequences);
        let alone: Vec<_> = sequences.iter().flat_map(|s| scores(&base, 0, std::slice::from_ref(s))).collect();
        assert_eq!(together.len(), alone.len());
        together.iter().zip(&alone).enumerate().for_each(|(i, (a, b))| assert!(close(a, b), "position {i}: {a:?} {b:?}"));
    }
}

#[test]
fn sizes_are_those_of_the_formulas() {
    let config = NextItNetConfig { dilations: vec![1, 4], ..NextItNetConfig::default() };
    let base = base(config, 24_567, 10_379);
    assert_eq!(base.count(), 2_296_907);
    let sizes = |name: &str| {
        let adaptation = build(&base, name);
        let own: usize = adaptation.params().iter().map(|p| p.len()).sum();
        let dense: usize = adaptation.scope().params.iter().map(|p| base.params.values[p.0].len()).sum();
        let rows: usize = adaptation.scope().tables.iter().map(|&t| base.tables[t].values.len()).sum();
        [own + dense, rows]
    };
    assert_eq!(sizes("fine_tune_head"), [0, 674_635]);
    // One convolution is 3 * 64 * 64 + 64 values, its norm 128.
    assert_eq!(sizes("fine_last1"), [12_480, 674_635]);
    assert_eq!(sizes("fine_last2"), [24_960, 674_635]);
    // Four patches of 2 * 64 * 8 + 8 + 64 values, and two norms.
    assert_eq!(sizes("peterrec"), [4_640, 674_635]);
    assert_eq!(sizes("adapter"), [9_024, 674_635]);
    assert_eq!(sizes("fine_tune_all"), [49_920, 24_568 * 64 + 674_635]);
}

#[test]
fn an_unknown_vocabulary_names_those_that_exist() {
    let base = base(small(&[1]), 4, 3);
    let config = NextItNetConfig { head: Some("artist".into()), ..small(&[1]) };
    let error = NextItNet::new(&config, &base.spec.schema).unwrap_err().to_string();
    assert!(error.contains("`head`") && error.contains("item, target"), "{error}");
}

/// After item c comes c + 1, around a circle of 10.
fn circle(length: usize) -> Vec<Sequence> {
    (0..60)
        .map(|i| (0..=length).map(|t| 1 + ((i + t) % 10) as u32).collect::<Vec<_>>())
        .map(|s| Sequence::everywhere(&s, &s, length))
        .collect()
}

fn trained(base: &Base, name: &str, feed: &SequenceFeed, epochs: u64) -> Trained {
    let adaptation = build(base, name);
    let optimizer = OptimizerConfig { rate: 1e-2, ..OptimizerConfig::default() };
    let config = TrainConfig { epochs, batch: 16, optimizer, ..TrainConfig::default() };
    train(Run {
        base,
        adaptation: adaptation.as_ref(),
        feed,
        config: &config,
        seed: 3,
        device: &Device::flex(),
        intercept: None,
        validate: None,
        observer: &mut (),
        checkpoint: None,
        stop: &AtomicBool::new(false),
    })
    .unwrap()
}

fn hits(base: &Base, trained: &Trained, name: &str) -> f64 {
    let queries: Vec<_> = (0..10u32)
        .map(|i| NextItemQuery { input: vec![1 + (i + 9) % 10, 1 + i], positive: 1 + (i + 1) % 10, ..NextItemQuery::default() })
        .collect();
    let adaptation = build(base, name);
    let scorer = Scorer::new(&trained.base, adaptation.as_ref(), &trained.own, &Device::flex());
    let ranks = scorer.next_items(&(1..=10).collect::<Vec<_>>(), &queries, None).unwrap();
    ranks.iter().filter(|r| r.full == 1.0).count() as f64 / 10.0
}

#[test]
fn it_learns_what_follows_with_full_and_with_sampled_softmax() {
    let base = base(NextItNetConfig { std: 0.02, head_std: 0.02, ..small(&[1]) }, 10, 10);
    let sampler = acclimate_data::NegativeSampler::new(Default::default(), (1..=10).collect(), &[], 1).unwrap();
    let full = SequenceFeed::new(circle(5), 16, 1, None).unwrap();
    let sampled = SequenceFeed::new(circle(5), 16, 1, None).unwrap().with_negatives(sampler, 4, false);
    for feed in [full, sampled] {
        let result = trained(&base, "fine_tune_all", &feed, 40);
        assert_eq!(hits(&base, &result, "fine_tune_all"), 1.0);
    }
}

#[test]
fn trained_to_name_hidden_items_it_knows_what_follows() {
    let base = base(NextItNetConfig { causal: false, std: 0.02, head_std: 0.02, ..small(&[1]) }, 10, 10);
    assert_eq!(base.tables[0].rows(), 12, "padding, ten items and the mask token");
    let asking = Asking::of(base.backbone.as_ref(), Needs::default(), 0.3);
    let feed = SequenceFeed::new(circle(5), 16, 1, None).unwrap().with_asking(asking);
    let result = trained(&base, "fine_tune_all", &feed, 60);
    assert_eq!(hits(&base, &result, "fine_tune_all"), 1.0);
    assert_ne!(result.base.tables[0].row(11), base.tables[0].row(11), "the mask token has a row of its own");
}

#[test]
fn the_head_alone_is_trained_and_the_padding_stays_zero() {
    let base = base(small(&[1]), 10, 10);
    let feed = SequenceFeed::new(circle(5), 16, 1, None).unwrap();
    let head = trained(&base, "fine_tune_head", &feed, 1).base;
    assert_eq!((&head.params, &head.tables[0]), (&base.params, &base.tables[0]));
    assert_ne!(head.tables[1], base.tables[1]);
    let all = trained(&base, "fine_tune_all", &feed, 1).base;
    assert!(all.params != base.params && all.tables[0] != base.tables[0]);
    assert_eq!(all.tables[0].row(0), [0.0; 8]);
}

#[test]
fn fresh_counts_are_added_with_their_weights() {
    let day = MICROS_PER_DAY;
    let fresh_half_life_days = vec![1.0, 4.0];
    let mut base = base(NextItNetConfig { fresh_half_life_days, ..small(&[1]) }, 3, 3);
    let weight = base.params.specs.iter().position(|spec| spec.path == "head.fresh").unwrap();
    assert_eq!(base.params.values[weight], [0.5, 0.5]);
    base.params.values[weight] = vec![0.25, 2.0];
    // Item 0 two days before, item 2 one day before and on the day itself, which does not count.
    let recent = Arc::new(RecentEvents::new(Zone::UTC, 3, [(3 * day, 0), (4 * day, 2), (5 * day, 2)]));
    let query = NextItemQuery { input: vec![1, 2], time: 5 * day + 9, ..NextItemQuery::default() };
    let adaptation = build(&base, "fine_tune_all");
    let own = Default::default();
    let scorer = Scorer::new(&base, adaptation.as_ref(), &own, &Device::flex());
    let top = |recent| scorer.top_items(&[1, 2, 3], std::slice::from_ref(&query), recent, 3).unwrap().pop().unwrap();
    let (mut plain, mut fresh) = (top(None), top(Some(&recent)));
    plain.sort_by_key(|&(code, _)| code);
    fresh.sort_by_key(|&(code, _)| code);
    for (item, ((_, without), (_, with))) in plain.iter().zip(&fresh).enumerate() {
        let added = [(1.0f64, 0.25f64), (4.0, 2.0)].map(|(half_life, weight)| {
            let counts = [0.5f64.powf(2.0 / half_life), 0.0, 0.5f64.powf(1.0 / half_life)];
            weight * ((counts[item] / counts.iter().sum::<f64>() + 1e-5) / (1.0 / 3.0 + 1e-5)).ln()
        });
        let expected = f64::from(*without) + added.iter().sum::<f64>();
        assert!((f64::from(*with) - expected).abs() < 1e-4, "item {item}: {with} against {expected}");
    }
}

/// With negatives drawn at chances q, K of them, the corrected scores are `s - ln(K q)`: their sum of exponentials is on average that of all items.
/// Each history is followed by an item of its own, which the untrained network knows nothing of and the memory has seen once.
#[test]
fn a_memory_gives_each_question_what_followed_its_own_history() {
    let base = base(small(&[1, 2]), 10, 10);
    let adaptation = build(&base, "fine_tune_all");
    let scorer = Scorer::new(&base, adaptation.as_ref(), &Default::default(), &Device::flex());
    // Histories of every length, the longest first, so that neither order is that in which they are scored.
    let asked = |i: u32, day: i64| NextItemQuery {
        input: (0..10 - i).map(|k| (i + 3 * k) % 10 + 1).collect(),
        positive: i + 1,
        time: day * MICROS_PER_DAY,
        ..NextItemQuery::default()
    };
    let events = |day: i64| (0..10).map(|i| asked(i, day)).collect::<Vec<_>>();
    let memory = Memory::new(&scorer, events(1), 10).unwrap();
    let catalogue: Vec<u32> = (1..=10).collect();
    let open =
        FittedMemory { kernel: Kernel { neighbours: 1, temperature: 0.1, half_life_days: 0.0 }, gate: Gate { a: 0.0, b: 0.0, c: 40.0 } };
    let ranks = |asked: &[NextItemQuery], fitted| {
        let found = scorer.next_items_with(&catalogue, asked, None, (&memory, fitted)).unwrap();
        found.into_iter().map(|ranks| ranks.full).collect::<Vec<_>>()
    };
    let mut questions = events(2);
    assert_eq!(ranks(&questions, open), [1.0; 10]);
    questions.reverse();
    assert_eq!(ranks(&questions, open), [1.0; 10]);
    // Shut, or before the first event, only the network speaks.
    let alone = |asked: &[NextItemQuery]| scorer.next_items(&catalogue, asked, None).unwrap().iter().map(|r| r.full).collect::<Vec<_>>();
    assert_ne!(alone(&questions), [1.0; 10]);
    assert_eq!(ranks(&questions, FittedMemory { gate: Gate { c: -60.0, ..open.gate }, ..open }), alone(&questions));
    assert_eq!(ranks(&events(1), open), alone(&events(1)), "an event does not see itself");
    // Left to choose, it finds out that the memory is right.
    let fitted = memory.fit(&MemoryConfig::default(), &scorer, &catalogue, &questions, None).unwrap();
    assert_eq!(ranks(&questions, fitted), [1.0; 10], "{fitted:?}");
}

#[test]
fn drawn_negatives_are_corrected_for_how_often_they_are_drawn() {
    let popularity = acclimate_data::NegativeConfig::Popularity { power: 1.0 };
    let counts = [1, 2, 3, 4, 5, 5, 4, 3, 2, 1];
    let sampler = acclimate_data::NegativeSampler::new(popularity, (1..=10).collect(), &counts, 1).unwrap();
    let query = SequenceFeed::new(circle(5), 16, 1, None).unwrap().with_negatives(sampler, 4, true).batch(0, 0).query;
    assert_eq!((query.negatives.len(), query.log_q.len()), (4, 4));
    for (&code, &correction) in query.negatives.iter().zip(&query.log_q) {
        let expected = -(4.0 * counts[code as usize - 1] as f32 / 30.0).ln();
        assert!((correction - expected).abs() < 1e-5, "{correction} against {expected}");
    }
    let base = base(small(&[1]), 10, 10);
    let adaptation = build(&base, "fine_tune_all");
    let scorer = |batch: &Batch| Scorer::new(&base, adaptation.as_ref(), &Default::default(), &Device::flex()).batch(batch, None).unwrap();
    let (with, without) = (scorer(&query), scorer(&Batch { log_q: Vec::new(), ..query.clone() }));
    for (at, (with, without)) in with.iter().zip(&without).enumerate() {
        assert!((with - without - query.log_q[at % 4]).abs() < 1e-4, "score {at}: {with} against {without}");
    }
}

#[test]
fn biases_start_at_popularity() {
    let mut base = base(NextItNetConfig { head_std: 1e-6, ..small(&[1]) }, 3, 3);
    acclimate_model::start_biases(Arc::make_mut(&mut base.tables[1]), &[0, 9, 4]);
    let found = scores(&base, 0, &[vec![1, 2]]).pop().unwrap();
    assert!(close(&found, &[0.0, 10f32.ln(), 5f32.ln()]), "{found:?}");
}

#[test]
fn a_fresh_start_keeps_what_is_counted() {
    let mut base = base(small(&[1]), 20, 6);
    let d = base.tables[1].d;
    Arc::make_mut(&mut base.tables[1]).values.iter_mut().skip(d - 1).step_by(d).zip(1..).for_each(|(bias, i)| *bias = i as f32);
    let scratch = build(&base, "scratch");
    let fresh = Trainee::new(&base, scratch.as_ref(), 77, &Device::flex()).unwrap();
    for row in 0..6 {
        let (old, new) = (base.tables[1].row(row), fresh.base.tables[1].row(row));
        assert_eq!(old[d - 1], new[d - 1], "the bias of item {row}");
        assert_ne!(old[..d - 1], new[..d - 1], "the vector of item {row}");
    }
}

#[test]
fn sequences_keep_the_latest_events() {
    let s = Sequence::everywhere(&[1, 2, 3, 4], &[11, 12, 13, 14], 2);
    assert_eq!(s, Sequence { input: vec![2, 3], target: vec![13, 14], time: Vec::new(), after: Some(4) });
    let s = Sequence::last(&[1, 2, 3], 14, 2);
    assert_eq!(s, Sequence { input: vec![2, 3], target: vec![0, 14], time: Vec::new(), after: None });
    assert_eq!(Sequence::everywhere(&[1], &[11], 2), Sequence::default());
}

#[test]
fn batches_depend_on_epoch_and_step_only() {
    let (a, b) = (SequenceFeed::new(circle(4), 7, 1, None).unwrap(), SequenceFeed::new(circle(4), 7, 1, None).unwrap());
    let _ = a.batch(0, 0);
    assert_eq!(a.batch(2, 3), b.batch(2, 3));
    assert_ne!(a.batch(2, 3), a.batch(3, 3));
    assert_eq!((a.rows(), a.steps(0)), (240, 9));
}
