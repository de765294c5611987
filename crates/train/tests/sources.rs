//! Rows of the domains that a base was trained on: who gets them, in which batches, and where they are refused.

use std::borrow::Cow;
use std::collections::BTreeMap;

use acclimate_adapt::{Groups, Needs, SourceRows};
use acclimate_data::{Dataset, LabelKind, Schema, SimulatorConfig};
use acclimate_model::Objective;
use acclimate_train::feed::{Feed, Feeding, Sequence, SupportSize};
use acclimate_train::{Draw, Head, Histories, History, Preparation, RowPreparation, TrainConfig, TrainError};

fn dataset() -> Dataset {
    let config = SimulatorConfig { users: 100, items: 200, rows: 3000, cold_users: 10, cold_rows: 10, ..SimulatorConfig::default() };
    config.simulate(1).expect("the settings fit together").dataset
}

fn prepared(dataset: &Dataset, objective: Objective) -> RowPreparation<'_> {
    RowPreparation::new(Cow::Borrowed(dataset), objective)
}

fn batches(batch: usize) -> TrainConfig {
    TrainConfig { batch, ..TrainConfig::default() }
}

fn needing(source: SourceRows) -> Needs {
    Needs { source, ..Needs::default() }
}

/// The real rows of each group of an epoch's batches.
fn shown(feed: &dyn Feed) -> Vec<Vec<Vec<u32>>> {
    let of_batch = |Feeding { query, .. }: Feeding| {
        let real = |group: &[u32]| group.iter().copied().filter(|&row| row != u32::MAX).collect();
        query.row.chunks(query.rows).map(real).collect()
    };
    (0..feed.steps(0)).map(|step| of_batch(feed.batch(0, step))).collect()
}

const SOURCE: std::ops::Range<u32> = 0..300;
const TARGET: std::ops::Range<u32> = 1000..1050;

fn lists() -> [Vec<u32>; 2] {
    [SOURCE.collect(), TARGET.collect()]
}

#[test]
fn only_a_method_that_asks_for_them_gets_rows_of_the_source() {
    let (data, [source, target]) = (dataset(), lists());
    let rows = prepared(&data, Objective::Logistic);
    let draw = |source_rows| Draw::new(&batches(32), 5, needing(source_rows)).with_sources(&source);
    let sorted = |feed: &dyn Feed| {
        let mut rows = shown(feed).concat().concat();
        rows.sort_unstable();
        rows
    };
    let plain = rows.feed(&target, draw(SourceRows::None)).expect("rows of the target");
    assert_eq!((sorted(plain.as_ref()), plain.rows()), (target.clone(), 50));
    let pooled = rows.feed(&target, draw(SourceRows::Pooled)).expect("rows of both");
    assert_eq!((sorted(pooled.as_ref()), pooled.rows()), ([source.clone(), target.clone()].concat(), 350));
    // One list: nearly every batch mixes rows of both.
    let mixed =
        shown(pooled.as_ref()).iter().filter(|groups| groups.len() == 1 && groups[0].iter().any(|row| TARGET.contains(row))).count();
    assert!(mixed >= 9, "{mixed} of 11 batches hold rows of the target");
    let beside = rows.feed(&target, draw(SourceRows::Beside)).expect("rows of both");
    for groups in shown(beside.as_ref()) {
        let [of_source, of_target] = &groups[..] else { panic!("{} groups", groups.len()) };
        assert_eq!(of_source.len(), of_target.len());
        assert!(of_source.iter().all(|row| SOURCE.contains(row)) && of_target.iter().all(|row| TARGET.contains(row)));
    }
}

#[test]
fn pairs_of_both_lists_are_drawn_for_joint_training_and_never_beside_each_other() {
    let (data, [source, target]) = (dataset(), lists());
    let rows = prepared(&data, Objective::Bpr);
    let draw = |source_rows| Draw::new(&batches(32), 5, needing(source_rows)).with_sources(&source);
    let pooled = rows.feed(&target, draw(SourceRows::Pooled)).expect("pairs of both");
    assert!(pooled.is_paired() && shown(pooled.as_ref()).concat().iter().any(|pair| SOURCE.contains(&pair[0])));
    let refused = rows.feed(&target, draw(SourceRows::Beside)).err().expect("groups can not be pairs and lists").to_string();
    assert!(refused.contains("does not go together with pairs of rows"), "{refused}");
}

#[test]
fn what_can_not_be_met_is_an_error() {
    let (data, [source, target]) = (dataset(), lists());
    for kind in [SourceRows::Pooled, SourceRows::Beside] {
        let rows = prepared(&data, Objective::Logistic);
        let missing = rows.feed(&target, Draw::new(&batches(32), 5, needing(kind)));
        assert!(matches!(missing.err(), Some(TrainError::Nothing { what: "row of the base's domains" })));
        let rows = rows.with_tasks(Box::new(|_, _, _| Vec::new()), SupportSize::Full);
        let both = Needs { groups: Groups::Task, ..needing(kind) };
        let refused =
            rows.feed(&target, Draw::new(&batches(32), 5, both).with_sources(&source)).err().expect("two rules for a batch").to_string();
        assert!(refused.contains("does not go together with a support set"), "{refused}");
    }
    let grouped = Needs { groups: Groups::Domain, ..needing(SourceRows::Beside) };
    let rows = prepared(&data, Objective::Logistic);
    let refused = rows.feed(&target, Draw::new(&batches(32), 5, grouped).with_sources(&source));
    let refused = refused.err().expect("two rules for a batch").to_string();
    assert!(refused.contains("groups of one domain"), "{refused}");
}

#[test]
fn sequences_have_no_rows_of_a_source() {
    let (categorical, bags, numeric, vocabularies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let schema =
        Schema { label: LabelKind::Implicit, domains: Vec::new(), vocabularies, categorical, bags, numeric, sides: BTreeMap::new() };
    let mut histories = Histories::new(schema, vec![Head { counts: vec![1; 5], negatives: None }], vec![1, 2, 3, 4, 5], None);
    let sequence = Sequence::everywhere(&[1, 2, 3], &[1, 2, 3], 4);
    let examples = histories.extend([History { head: 0, sequence, query: None }]);
    assert!(histories.feed(&examples, Draw::new(&batches(1), 5, Needs::default())).is_ok());
    for kind in [SourceRows::Pooled, SourceRows::Beside] {
        let refused = histories.feed(&examples, Draw::new(&batches(1), 5, needing(kind)).with_sources(&examples)).err();
        let refused = refused.expect("sequences are no labelled rows").to_string();
        assert!(refused.contains("use it with a network of rows"), "{refused}");
    }
}
