//! A table with changed rows is the table written out, to the bit, and costs its rows.

mod common;

use std::sync::Arc;

use acclimate_plan::{Changed, Isa, Network, Options, Personal, Plan, PlanError, Precision, Query, Rows, RowsError, Scratch, Table};
use common::Draw;
use proptest::prelude::*;

fn here() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_here())
}

/// Some rows of a table, from none to all, and new ones behind it, of which some are not changed.
fn changed(draw: &mut Draw, table: &Table) -> Changed {
    let own = table.values.len() / table.d;
    let total = own + [0, 0, 1, 5, 70][draw.below(5)];
    let one_in = [1, 2, 3, 1000][draw.below(4)];
    let rows: Vec<u32> = (0..total as u32).filter(|_| draw.below(one_in) == 0).collect();
    let values = draw.numbers(rows.len() * table.d, 1.0).to_vec();
    Changed { rows, values, total }
}

/// The table as a patch writes it out: grown by copies of its unknown, then row by row.
fn written_out(table: &Table) -> Table {
    let Some(changed) = &table.changed else { return table.clone() };
    let d = table.d;
    let mut values = table.values.to_vec();
    let unknown = values[..d].to_vec();
    while values.len() < changed.total * d {
        values.extend_from_slice(&unknown);
    }
    for (&row, from) in changed.rows.iter().zip(changed.values.chunks_exact(d)) {
        values[row as usize * d..][..d].copy_from_slice(from);
    }
    Table::new(d, Arc::new(values))
}

fn whole(network: &Network) -> Network {
    Network { tables: network.tables.iter().map(written_out).collect(), ..network.clone() }
}

fn requests(draw: &mut Draw, network: &Network) -> Vec<(Rows, Option<Personal>)> {
    (0..1 + draw.below(5))
        .map(|_| {
            let n = [0, 1, 3, 47, 48, 49, 100][draw.below(7)];
            (draw.rows(network, n), draw.flip().then(|| draw.personal(network)))
        })
        .collect()
}

fn queries(requests: &[(Rows, Option<Personal>)]) -> Vec<Query<'_>> {
    requests.iter().map(|(rows, personal)| Query { rows, personal: personal.as_ref() }).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Scores, what goes into the head, and what goes into the first layer.
fn said(plan: &Plan, queries: &[Query<'_>]) -> [Vec<u32>; 3] {
    let (mut scratch, mut out, mut inputs) = (Scratch::new(), Vec::new(), Vec::new());
    plan.score(&mut scratch, queries, &mut out).unwrap();
    let scores = bits(&out);
    plan.hidden(&mut scratch, queries, &mut out).unwrap();
    for query in queries {
        let mut one = Vec::new();
        plan.inputs(query.rows, &mut one).unwrap();
        inputs.extend(bits(&one));
    }
    [scores, bits(&out), inputs]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_table_with_changed_rows_is_the_table_written_out(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let base = draw.network();
        let mut patched = base.clone();
        for table in &mut patched.tables {
            if draw.below(4) > 0 {
                table.changed = Some(Arc::new(changed(&mut draw, table)));
            }
        }
        if let Some(layer) = patched.layers.first_mut() && draw.flip() {
            layer.linear = draw.linear(layer.linear.d_in, layer.linear.d_out);
        }
        let requests = requests(&mut draw, &patched);
        let queries = queries(&requests);
        for isa in here() {
            let precision = [Precision::F32, Precision::Bf16][draw.below(2)];
            let options = Options { fold_rows: [0, 8, 40, 1 << 20][draw.below(4)], isa: Some(isa), precision };
            let expected = said(&Plan::compile(&whole(&patched), &options).unwrap(), &queries);
            let alone = Plan::compile(&patched, &options).unwrap();
            prop_assert_eq!(&said(&alone, &queries), &expected, "{}", isa);
            let base = Plan::compile(&base, &options).unwrap();
            let like = Plan::compile_like(&patched, &options, &base).unwrap();
            prop_assert_eq!(&said(&like, &queries), &expected, "{} like its base", isa);
            prop_assert!(like.bytes() <= alone.bytes());
            let again = Plan::compile_like(&patched, &options, &like).unwrap();
            prop_assert_eq!(&said(&again, &queries), &expected, "{} like itself", isa);
            prop_assert!(again.bytes() <= like.bytes());
            for (query, all) in queries.iter().zip(expected_of(&queries, &expected[0])) {
                prop_assert_eq!(&said(&like, &[*query])[0][..], all, "{} in another batch", isa);
            }
            // Whoever is compiled like a patch has nothing of it.
            let back = Plan::compile_like(&whole(&patched), &options, &like).unwrap();
            prop_assert_eq!(&said(&back, &queries), &expected, "{} back", isa);
        }
    }
}

/// The scores of each query.
fn expected_of<'a>(queries: &[Query<'_>], scores: &'a [u32]) -> Vec<&'a [u32]> {
    let mut rest = scores;
    let one = |query: &Query<'_>| {
        let (own, others) = rest.split_at(query.rows.n);
        rest = others;
        own
    };
    queries.iter().map(one).collect()
}

/// A network of one folded and one large table with a tower.
fn network(draw: &mut Draw) -> Network {
    let slot = |table: usize| acclimate_plan::Slot { source: acclimate_plan::Source::Field { column: table, table }, shared: false };
    let layer = acclimate_plan::Layer { linear: draw.linear(32, 64), after: Vec::new(), norm: None };
    Network {
        tables: vec![Table::new(16, draw.numbers(1000 * 16, 1.0)), Table::new(16, draw.numbers(50_000 * 16, 1.0))],
        slots: vec![slot(0), slot(1)],
        layers: vec![layer],
        head: draw.linear(64, 1),
        after: Vec::new(),
        unit: 1.0,
    }
}

fn with_rows(draw: &mut Draw, network: &Network, table: usize, rows: Vec<u32>) -> Network {
    let mut patched = network.clone();
    let total = patched.tables[table].rows();
    let values = draw.numbers(rows.len() * 16, 1.0).to_vec();
    patched.tables[table].changed = Some(Arc::new(Changed { rows, values, total }));
    patched
}

#[test]
fn a_plan_keeps_its_changed_rows_and_no_other() {
    let mut draw = Draw(23);
    let network = network(&mut draw);
    let options = Options::default();
    let base = Plan::compile(&network, &options).unwrap();
    let none = Plan::compile_like(&network, &options, &base).unwrap().bytes();
    // A row takes its number, its values, at most two starts, and where it is folded its part of the first layer.
    for (table, values) in [(0, 16 + 64), (1, 16)] {
        let patched = with_rows(&mut draw, &network, table, (0..100).map(|row| row * 7).collect());
        let plan = Plan::compile_like(&patched, &options, &base).unwrap();
        let (least, most) = (none + 100 * 4 * (1 + values), none + 100 * 4 * (3 + values) + 256);
        assert!((least..=most).contains(&plan.bytes()), "table {table}: {} of {least} to {most}", plan.bytes());
        let again = Plan::compile_like(&patched, &options, &plan).unwrap();
        assert_eq!(again.bytes(), none, "what is made of the same changes is shared");
        // The same rows over another table, or over none that the base holds, are others.
        let other = Arc::new(vec![1.0; 16 * 10]);
        let mut moved = patched.clone();
        moved.tables[table].values = other;
        assert!(Plan::compile_like(&moved, &options, &plan).unwrap().bytes() > none + 640);
    }
    // Nothing that is changed costs nothing.
    let empty = with_rows(&mut draw, &network, 0, Vec::new());
    assert_eq!(Plan::compile_like(&empty, &options, &base).unwrap().bytes(), none);
}

#[test]
fn new_rows_are_known_and_no_more_of_them() {
    let mut draw = Draw(29);
    let mut network = network(&mut draw);
    network.tables[0].changed = Some(Arc::new(Changed { rows: vec![0, 1001], values: vec![0.5; 32], total: 1003 }));
    for fold_rows in [0, 2048] {
        let plan = Plan::compile(&network, &Options { fold_rows, ..Options::default() }).unwrap();
        let row = |code: u32| {
            let own = acclimate_plan::Columns { fields: 2, codes: vec![code, 7], ..Default::default() };
            let mut x = Vec::new();
            plan.inputs(&Rows { n: 1, own, ..Rows::default() }, &mut x).map(|()| x[..16].to_vec())
        };
        let unknown = &network.tables[0].values[..16];
        assert_eq!(row(1000).unwrap(), unknown, "the unknown as it was");
        assert_eq!(row(1002).unwrap(), unknown);
        assert_eq!((row(0).unwrap(), row(1001).unwrap()), (vec![0.5; 16], vec![0.5; 16]));
        assert_eq!(row(5).unwrap(), network.tables[0].values[5 * 16..6 * 16]);
        let beyond = RowsError::Code { row: 0, part: "own", kind: "categorical", column: 0, code: 1003, rows: 1003 };
        assert_eq!(row(1003).unwrap_err(), PlanError::Rows { query: 0, problem: beyond });
    }
}

#[test]
fn changes_that_can_not_be_are_named() {
    let mut draw = Draw(31);
    let network = network(&mut draw);
    let problem = |rows: Vec<u32>, values: Vec<f32>, total: usize| {
        let mut network = network.clone();
        network.tables[0].changed = Some(Arc::new(Changed { rows, values, total }));
        Plan::compile(&network, &Options::default()).expect_err("changes that are none")
    };
    let what = "table 0, changed rows".to_owned();
    let order = |found, before| PlanError::Order { what: what.clone(), found, before };
    assert_eq!(problem(vec![1, 2], vec![0.0; 31], 1000), PlanError::Size { what: what.clone(), found: 31, needed: 32 });
    assert_eq!(problem(vec![1, 1], vec![0.0; 32], 1000), order(1, 1));
    assert_eq!(problem(vec![3, 1], vec![0.0; 32], 1000), order(1, 3));
    assert_eq!(problem(vec![1, 1000], vec![0.0; 32], 1000), PlanError::Beyond { what: what.clone(), found: 1000, total: 1000 });
    assert_eq!(problem(vec![], vec![], 999), PlanError::Fewer { what: what.clone(), total: 999, kept: 1000 });
    let mut values = vec![0.0; 32];
    values[17] = f32::INFINITY;
    assert_eq!(problem(vec![1, 5], values, 1000), PlanError::Value { what, index: 17, found: f32::INFINITY });
}
