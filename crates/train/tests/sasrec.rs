//! Laws of `sasrec`: causality, padding, positions, sizes, and what the methods train of it.

use acclimate_adapt::{Target, build_method};
use acclimate_data::{Batch, DomainIndex, FieldSchema, LabelKind, Schema, VocabularyIndex, VocabularySchema};
use acclimate_model::{BackboneConfig, Base, BaseSpec, Objective, SasRec, SasRecConfig};
use acclimate_train::{Scorer, Trainee};
use burn::tensor::Device;

fn base(config: SasRecConfig, items: usize, targets: usize) -> Base {
    let vocabulary = |name: &str, rows| VocabularySchema { name: name.into(), rows };
    let schema = Schema {
        label: LabelKind::Implicit,
        domains: vec!["all".into()],
        vocabularies: vec![vocabulary("item", items + 1), vocabulary("target", targets + 1)],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: std::collections::BTreeMap::new(),
    };
    let backbone = BackboneConfig::SasRec(config).with_items("item", "target");
    Base::init(BaseSpec { backbone, schema, objective: Objective::Softmax }, 5).unwrap()
}

/// Loud weights, so that little is lost in rounding.
fn small() -> SasRecConfig {
    SasRecConfig { width: 8, heads: 2, length: 6, std: 0.5, head_std: 0.5, ..SasRecConfig::default() }
}

fn build(base: &Base, name: &str) -> Box<dyn acclimate_adapt::Adaptation> {
    let target = Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective };
    build_method(name, &toml::Table::new(), target).unwrap()
}

/// Scores `[positions, items]` at every real position of sequences with padding before and after them.
fn scores(base: &Base, [before, after]: [usize; 2], sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let longest = sequences.iter().map(Vec::len).max().unwrap();
    let mut batch = Batch { groups: sequences.len(), rows: before + longest + after, fields: 1, ..Batch::default() };
    for sequence in sequences {
        let pad = before + longest - sequence.len();
        let codes = || std::iter::repeat_n(0, pad).chain(sequence.iter().copied()).chain(std::iter::repeat_n(0, after));
        batch.mask.extend(codes().map(|code| f32::from(u8::from(code != 0))));
        batch.target.extend(codes().map(|code| u32::from(code != 0)));
        batch.categorical.extend(codes());
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
    let base = base(small(), 20, 6);
    let before: Vec<u32> = (1..=12).collect();
    let expected = scores(&base, [0, 0], std::slice::from_ref(&before));
    for changed in 0..12 {
        let mut after = before.clone();
        after[changed] = 20;
        let found = scores(&base, [0, 0], &[after]);
        assert_eq!(found[..changed], expected[..changed], "position {changed}");
        for seeing in changed..12 {
            assert!(!close(&found[seeing], &expected[seeing]), "position {seeing} sees position {changed}");
        }
    }
}

#[test]
fn padding_and_company_change_nothing() {
    let base = base(small(), 20, 6);
    let sequences = [vec![3, 1, 4, 1, 5, 9, 2, 6], vec![2, 7], vec![1, 8, 2, 8]];
    let alone: Vec<_> = sequences.iter().flat_map(|s| scores(&base, [0, 0], std::slice::from_ref(s))).collect();
    for padding in [[0, 0], [3, 0], [0, 2], [2, 3]] {
        let together = scores(&base, padding, &sequences);
        assert_eq!(together.len(), alone.len());
        together.iter().zip(&alone).enumerate().for_each(|(i, (a, b))| assert!(close(a, b), "{padding:?}, position {i}: {a:?} {b:?}"));
    }
}

#[test]
fn positions_are_counted_from_the_end_and_the_oldest_share_a_row() {
    let mut base = base(SasRecConfig { blocks: 0, ..small() }, 20, 6);
    let of = |base: &Base| scores(base, [0, 0], &[vec![7; 9]]);
    // Without blocks a score depends on the item and its position alone.
    let found = of(&base);
    assert!(found[..4].iter().all(|score| *score == found[0]), "the first four of nine share the row of the sixth from the end");
    (4..9).for_each(|i| assert!(!close(&found[i], &found[i - 1]), "position {i} has a row of its own"));
    let positions = base.params.find("input.positions").unwrap();
    base.params.values[positions.0][..8].fill(3.0);
    let moved = of(&base);
    assert!(moved[..8] == found[..8] && moved[8] != found[8], "the first row is that of the last position");
}

#[test]
fn an_item_earlier_in_a_sequence_counts_by_its_place() {
    let base = base(small(), 20, 6);
    let last = |history: &[u32]| scores(&base, [0, 0], &[history.to_vec()]).pop().unwrap();
    assert!(!close(&last(&[3, 5, 7]), &last(&[5, 3, 7])), "the order of items counts");
}

#[test]
fn sizes_are_those_of_the_formulas() {
    let base = base(SasRecConfig { width: 50, length: 200, ..SasRecConfig::default() }, 3_416, 3_416);
    let (d, blocks) = (50, 2);
    let block = 6 * (d * d + d) + 4 * d;
    let dense = 200 * d + blocks * block + 2 * d;
    assert_eq!(base.count(), dense + 3_417 * d + 3_416 * (d + 1));
    let wide = SasRec::new(&SasRecConfig { width: 50, feed_forward: Some(200), ..SasRecConfig::default() }, &base.spec.schema).unwrap();
    let widths = acclimate_model::Backbone::architecture(&wide).linear_sites().map(|(.., widths)| widths);
    assert_eq!(widths.filter(|widths| *widths == [50, 200]).count(), 2);
}

#[test]
fn a_width_that_heads_do_not_divide_is_refused() {
    let base = base(small(), 4, 3);
    for (config, key) in [
        (SasRecConfig { heads: 3, ..small() }, "heads"),
        (SasRecConfig { length: 0, ..small() }, "length"),
        (SasRecConfig { feed_forward: Some(0), ..small() }, "feed_forward"),
        (SasRecConfig { head: Some("artist".into()), ..small() }, "head"),
    ] {
        let error = SasRec::new(&config, &base.spec.schema).unwrap_err().to_string();
        assert!(error.contains("sasrec") && error.contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn a_fresh_start_keeps_what_is_counted() {
    let mut base = base(small(), 20, 6);
    acclimate_model::start_biases(std::sync::Arc::make_mut(&mut base.tables[1]), &[0, 9, 4, 1, 1, 2]);
    let scratch = build(&base, "scratch");
    let fresh = Trainee::new(&base, scratch.as_ref(), 77, &Device::flex()).unwrap();
    for row in 0..6 {
        assert_eq!(base.tables[1].row(row)[8], fresh.base.tables[1].row(row)[8], "the bias of item {row}");
    }
}
