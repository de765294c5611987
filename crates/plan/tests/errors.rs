//! What is wrong with a network or with rows is an error that says what and where; nothing panics.

mod common;

use std::sync::Arc;

use acclimate_plan::{
    Activation, After, Branch, GoldenMismatch, Isa, Layer, Network, Norm, Options, Personal, Plan, PlanError, Query, Read, Rows, RowsError,
    Scale, Scratch, Slot, Source, Table,
};
use common::{Draw, reference};
use proptest::prelude::*;

/// Two tables, a slot of each source on each side, a layer with everything, a head.
fn network() -> Network {
    let mut draw = Draw(5);
    let tables = vec![Table::new(4, draw.numbers(12, 1.0)), Table::new(2, draw.numbers(6, 1.0))];
    let sources = [Source::Field { column: 0, table: 0 }, Source::Bag { column: 0, table: 1 }, Source::Number { column: 0 }];
    let slots = [true, false].into_iter().flat_map(|shared| sources.map(|source| Slot { source, shared })).collect();
    let after = vec![
        After::Scale(Scale { gain: Some(draw.gains(6)), shift: Some(draw.numbers(6, 1.0)) }),
        After::Branch(Branch {
            read: Read::Output,
            skip: true,
            activation: Activation::Gelu,
            down: draw.linear(6, 3),
            up: draw.linear(3, 6),
        }),
    ];
    let norm = Some(Norm::Layer { gain: draw.gains(6), shift: draw.numbers(6, 1.0), epsilon: 1e-3 });
    let layer = Layer { linear: draw.linear(14, 6), after, norm };
    Network { tables, slots, layers: vec![layer], head: draw.linear(6, 1), after: Vec::new(), unit: 1.0 }
}

fn problem(change: impl FnOnce(&mut Network)) -> PlanError {
    let mut network = network();
    change(&mut network);
    Plan::compile(&network, &Options::default()).expect_err("a network that is none")
}

fn scale(network: &mut Network) -> &mut Scale {
    match &mut network.layers[0].after[0] {
        After::Scale(scale) => scale,
        After::Branch(_) => unreachable!("the network begins with a scale"),
    }
}

fn branch(network: &mut Network) -> &mut Branch {
    match &mut network.layers[0].after[1] {
        After::Branch(branch) => branch,
        After::Scale(_) => unreachable!("the network ends with a branch"),
    }
}

fn size(what: &str, found: usize, needed: usize) -> PlanError {
    PlanError::Size { what: what.to_owned(), found, needed }
}

fn width(what: &str, found: usize, needed: usize) -> PlanError {
    PlanError::Width { what: what.to_owned(), found, needed }
}

fn shape(what: &str) -> PlanError {
    PlanError::Shape { what: what.to_owned() }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    assert_eq!(problem(|n| n.tables[1].d = 0), shape("table 1"));
    assert_eq!(problem(|n| n.tables[0].values = Arc::new(Vec::new())), shape("table 0"));
    assert_eq!(problem(|n| n.tables[0].d = 5), size("table 0", 12, 15));
    assert_eq!(problem(|n| n.slots[4].source = Source::Bag { column: 0, table: 2 }), PlanError::Table { slot: 4, table: 2, tables: 2 });
    assert_eq!(problem(|n| n.slots.clear()), shape("the input"));
    assert_eq!(problem(|n| n.slots.truncate(5)), width("layer 0, input", 14, 13));
    assert_eq!(problem(|n| n.layers[0].linear.d_out = 0), shape("layer 0, output"));
    assert_eq!(problem(|n| n.layers[0].linear.d_out = 7), size("layer 0, weight", 84, 98));
    assert_eq!(problem(|n| n.layers[0].linear.d_out = usize::MAX), shape("layer 0"));
    assert_eq!(problem(|n| n.layers[0].linear.bias = Arc::new(vec![0.0; 5])), size("layer 0, bias", 5, 6));
    assert_eq!(problem(|n| n.layers.clear()), width("the head, input", 6, 14));
    assert_eq!(problem(|n| n.head = Draw(1).linear(6, 2)), width("the head, output", 2, 1));
    assert_eq!(problem(|n| n.head = Draw(1).linear(5, 1)), width("the head, input", 5, 6));
    assert_eq!(problem(|n| scale(n).gain = Some(Arc::new(vec![1.0]))), size("layer 0, after 0, gain", 1, 6));
    assert_eq!(problem(|n| scale(n).shift = Some(Arc::new(vec![1.0; 7]))), size("layer 0, after 0, shift", 7, 6));
    assert_eq!(problem(|n| branch(n).down = Draw(1).linear(5, 3)), width("layer 0, after 1, down, input", 5, 6));
    assert_eq!(problem(|n| branch(n).up = Draw(1).linear(2, 6)), width("layer 0, after 1, up, input", 2, 3));
    assert_eq!(problem(|n| branch(n).up = Draw(1).linear(3, 5)), width("layer 0, after 1, up, output", 5, 6));
    assert_eq!(problem(|n| branch(n).read = Read::Input), width("layer 0, after 1, down, input", 6, 14));
    let skip = problem(|n| (branch(n).read, branch(n).down) = (Read::Input, Draw(1).linear(14, 3)));
    assert_eq!(skip, width("layer 0, after 1, what its skip adds", 14, 6));
    let gain = Arc::new(vec![1.0; 5]);
    let affine = problem(|n| n.layers[0].norm = Some(Norm::Affine { gain: gain.clone(), shift: gain.clone() }));
    assert_eq!(affine, size("layer 0, gain of the norm", 5, 6));
    let after = problem(|n| n.after = vec![After::Scale(Scale { gain: Some(gain), shift: None })]);
    assert_eq!(after, size("the head, after 0, gain", 5, 1));
}

#[test]
fn values_that_are_not_finite_are_named() {
    fn at(values: &mut Arc<Vec<f32>>, index: usize) {
        Arc::make_mut(values)[index] = f32::INFINITY;
    }
    let value = |what: &str, index| PlanError::Value { what: what.to_owned(), index, found: f32::INFINITY };
    assert_eq!(problem(|n| at(&mut n.tables[1].values, 3)), value("table 1", 3));
    assert_eq!(problem(|n| at(&mut n.layers[0].linear.weight, 83)), value("layer 0, weight", 83));
    assert_eq!(problem(|n| at(&mut n.layers[0].linear.bias, 0)), value("layer 0, bias", 0));
    assert_eq!(problem(|n| at(&mut n.head.weight, 5)), value("the head, weight", 5));
    assert_eq!(problem(|n| at(scale(n).gain.as_mut().unwrap(), 2)), value("layer 0, after 0, gain", 2));
    assert_eq!(problem(|n| at(&mut branch(n).up.bias, 4)), value("layer 0, after 1, up, bias", 4));
    assert_eq!(problem(|n| n.unit = f32::INFINITY), value("the unit", 0));
    for epsilon in [0.0, -1.0, f32::NAN] {
        let found = problem(|n| {
            let Some(Norm::Layer { epsilon: e, .. }) = &mut n.layers[0].norm else { unreachable!("the norm is one") };
            *e = epsilon;
        });
        assert!(matches!(&found, PlanError::Value { what, .. } if what == "layer 0, epsilon"), "{found}");
    }
    // A plan that is compiled like another looks at what it does not share.
    let mut network = network();
    let base = Plan::compile(&network, &Options::default()).unwrap();
    network.tables[0].values = Arc::new(vec![f32::NAN; 12]);
    let found = Plan::compile_like(&network, &Options::default(), &base).unwrap_err();
    assert!(matches!(&found, PlanError::Value { what, .. } if what == "table 0"), "{found}");
}

#[test]
fn instructions_that_are_not_there_are_refused() {
    for isa in Isa::ALL {
        let plan = Plan::compile(&network(), &Options { isa: Some(isa), ..Options::default() });
        match isa.is_here() {
            true => assert_eq!(plan.unwrap().isa(), isa),
            false => assert_eq!(plan.unwrap_err(), PlanError::Isa { wanted: isa.to_string() }),
        }
    }
}

fn rows_problem(change: impl FnOnce(&mut Rows)) -> RowsError {
    let network = network();
    let plan = Plan::compile(&network, &Options::default()).unwrap();
    let good = Draw(9).rows(&network, 5);
    let mut rows = good.clone();
    change(&mut rows);
    let query = |rows| Query { rows, personal: None };
    let mut out = vec![1.0];
    let found = plan.score(&mut Scratch::new(), &[query(&good), query(&rows)], &mut out).unwrap_err();
    assert!(out.is_empty(), "nothing is scored");
    let alone = plan.accepts(&query(&rows)).unwrap_err();
    match (found, alone) {
        (PlanError::Rows { query: 1, problem }, PlanError::Rows { query: 0, problem: same }) if problem == same => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_that_can_not_be_read_are_named() {
    let (part, kind) = ("own", "categorical");
    let code = RowsError::Code { row: 3, part, kind, column: 0, code: 3, rows: 3 };
    assert_eq!(rows_problem(|r| r.own.codes[3] = 3), code);
    let code = RowsError::Code { row: 0, part: "shared", kind, column: 0, code: u32::MAX, rows: 3 };
    assert_eq!(rows_problem(|r| r.shared.codes[0] = u32::MAX), code);
    assert_eq!(rows_problem(|r| r.own.codes.truncate(4)), RowsError::Size { part, kind, found: 4, needed: 5, rows: 5 });
    assert_eq!(rows_problem(|r| r.own.fields = 0), RowsError::Columns { part, kind, found: 0, needed: 1 });
    assert_eq!(rows_problem(|r| r.own.fields = usize::MAX), RowsError::Size { part, kind, found: 5, needed: usize::MAX, rows: 5 });
    let shared = RowsError::Columns { part: "shared", kind: "numeric", found: 0, needed: 1 };
    assert_eq!(rows_problem(|r| (r.shared.numbers, r.shared.numeric) = (0, Vec::new())), shared);
    let number = RowsError::Number { row: 2, part, column: 0, found: f32::INFINITY };
    assert_eq!(rows_problem(|r| r.own.numeric[2] = f32::INFINITY), number);
    let kind = "multi-valued";
    assert_eq!(rows_problem(|r| r.own.bags.clear()), RowsError::Columns { part, kind, found: 0, needed: 1 });
    let none = RowsError::Size { part, kind, found: 0, needed: 6, rows: 5 };
    assert_eq!(rows_problem(|r| r.own.bags[0].offsets.clear()), none);
    let list =
        |r: &mut Rows, offsets: [u32; 6], codes: &[u32]| (r.own.bags[0].offsets, r.own.bags[0].codes) = (offsets.to_vec(), codes.to_vec());
    let offset = |index, found| RowsError::Offset { part, column: 0, index, found };
    assert_eq!(rows_problem(|r| list(r, [1, 1, 1, 1, 2, 2], &[0, 0])), offset(0, 1));
    assert_eq!(rows_problem(|r| list(r, [0, 2, 1, 2, 2, 2], &[0, 0])), offset(2, 1));
    assert_eq!(rows_problem(|r| list(r, [0, 1, 1, 1, 2, 3], &[0, 0])), offset(5, 3));
    assert_eq!(rows_problem(|r| list(r, [0, 1, 1, 1, 1, 1], &[0, 0])), offset(5, 1));
    let code = RowsError::Code { row: 4, part, kind, column: 0, code: 7, rows: 3 };
    assert_eq!(rows_problem(|r| list(r, [0, 1, 1, 1, 1, 3], &[0, 7, 0])), code);
    assert!(matches!(rows_problem(|r| r.n = 6), RowsError::Size { needed: 6, rows: 6, .. }));
    let most = acclimate_plan::MOST_ROWS;
    assert_eq!(rows_problem(|r| r.n = most + 1), RowsError::Many { rows: most + 1, most });
}

#[test]
fn personal_weights_that_do_not_fit_are_named() {
    let network = network();
    let plan = Plan::compile(&network, &Options::default()).unwrap();
    let rows = Draw(9).rows(&network, 5);
    let problem = |personal: Personal| match plan.accepts(&Query { rows: &rows, personal: Some(&personal) }).unwrap_err() {
        PlanError::Personal { query: 0, problem } => *problem,
        other => panic!("{other:?}"),
    };
    let mut draw = Draw(1);
    let none = Personal::default();
    assert_eq!(problem(Personal { layers: vec![None, None], ..none.clone() }), size("the list of layers", 2, 1));
    assert_eq!(problem(Personal { scales: vec![None, None], ..none.clone() }), size("the list of scales", 2, 1));
    assert_eq!(problem(Personal { layers: vec![Some(draw.linear(14, 5))], ..none.clone() }), width("layer 0, output", 5, 6));
    assert_eq!(problem(Personal { head: Some(draw.linear(7, 1)), ..none.clone() }), width("the head, input", 7, 6));
    let scale = Scale { gain: None, shift: Some(draw.numbers(5, 1.0)) };
    assert_eq!(problem(Personal { scales: vec![Some(scale)], ..none }), size("layer 0, shift", 5, 6));
}

#[test]
fn no_rows_are_no_scores() {
    let network = network();
    let plan = Plan::compile(&network, &Options::default()).unwrap();
    let (none, some) = (Rows::default(), Draw(2).rows(&network, 3));
    let mut out = vec![1.0];
    plan.score(&mut Scratch::new(), &[], &mut out).unwrap();
    assert!(out.is_empty());
    let query = |rows| Query { rows, personal: None };
    plan.score(&mut Scratch::new(), &[query(&none), query(&some), query(&none)], &mut out).unwrap();
    assert_eq!(out.len(), 3);
}

#[test]
fn golden_scores_that_differ_are_found() {
    let network = network();
    let plan = Plan::compile(&network, &Options::default()).unwrap();
    let requests: Vec<Rows> = (1..4).map(|n| Draw(2).rows(&network, n)).collect();
    let said = requests.iter().flat_map(|rows| reference(&network, rows, None).scores);
    let mut expected: Vec<f32> = said.map(|score| score as f32).collect();
    let largest = plan.check(&requests, &expected, 1e-5).unwrap();
    assert!(largest <= 1e-5);
    assert_eq!(plan.check(&requests, &expected[1..], 1e-5), Err(GoldenMismatch::Count { expected: 5, found: 6 }));
    expected[4] += 1e-3;
    assert!(matches!(plan.check(&requests, &expected, 1e-5), Err(GoldenMismatch::Score { row: 4, .. })));
    assert!(plan.check(&requests, &expected, 2e-3).unwrap() > 1e-4);
    expected[4] = f32::NAN;
    assert!(matches!(plan.check(&requests, &expected, 1e9), Err(GoldenMismatch::Score { row: 4, .. })));
    let mut wrong = requests;
    wrong[2].own.codes[0] = 99;
    let rows = |found: &_| matches!(found, Err(GoldenMismatch::Plan(PlanError::Rows { query: 2, .. })));
    assert!(rows(&plan.check(&wrong, &expected, 1.0)));
}

/// Sets or removes a value, or changes a length.
fn spoil<T: Copy>(draw: &mut Draw, values: &mut Vec<T>, value: T) {
    match draw.below(3) {
        0 => values.push(value),
        1 => drop(values.pop()),
        _ if values.is_empty() => {}
        _ => {
            let at = draw.below(values.len());
            values[at] = value;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn spoilt_rows_are_scored_or_refused(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let network = draw.network();
        let plan = Plan::compile(&network, &Options { fold_rows: 8, ..Options::default() }).unwrap();
        let n = draw.below(60);
        let mut rows = draw.rows(&network, n);
        for _ in 0..1 + draw.below(3) {
            let number = [0, 1, 2, 7, 40, u32::MAX][draw.below(6)];
            let columns = if draw.flip() { &mut rows.shared } else { &mut rows.own };
            match draw.below(8) {
                0 => rows.n = number as usize,
                1 => columns.fields = number as usize,
                2 => columns.numbers = number as usize,
                3 => spoil(&mut draw, &mut columns.codes, number),
                4 => spoil(&mut draw, &mut columns.numeric, f32::NAN),
                5 => drop(columns.bags.pop()),
                kind => {
                    if let Some(bag) = columns.bags.first_mut() {
                        spoil(&mut draw, if kind == 6 { &mut bag.offsets } else { &mut bag.codes }, number);
                    }
                }
            }
        }
        let query = Query { rows: &rows, personal: None };
        let mut out = Vec::new();
        match plan.score(&mut Scratch::new(), &[query], &mut out) {
            Ok(()) => {
                prop_assert!(plan.accepts(&query).is_ok());
                prop_assert!(out.len() == rows.n && out.iter().all(|score| score.is_finite()));
            }
            // Compared as text, for a number that is none equals nothing.
            Err(problem) => prop_assert_eq!(plan.accepts(&query).unwrap_err().to_string(), problem.to_string()),
        }
    }

    #[test]
    fn spoilt_networks_are_compiled_or_refused(seed in any::<u64>()) {
        let mut draw = Draw(seed);
        let mut network = draw.network();
        let number = [0, 1, 2, 3, 5, 1000, usize::MAX][draw.below(7)];
        let value = [f32::NAN, f32::INFINITY, 0.0][draw.below(3)];
        let layers = network.layers.len();
        match draw.below(8) {
            0 => {
                let at = draw.below(network.tables.len());
                network.tables[at].d = number;
            }
            1 => drop(network.tables.pop()),
            2 => drop(network.slots.pop()),
            3 => network.head.d_in = number,
            4 => spoil(&mut draw, Arc::make_mut(&mut network.head.weight), value),
            5 if layers > 0 => network.layers[layers - 1].linear.d_out = number,
            6 if layers > 0 => spoil(&mut draw, Arc::make_mut(&mut network.layers[0].linear.bias), value),
            _ => spoil(&mut draw, Arc::make_mut(&mut network.tables[0].values), value),
        }
        if let Ok(plan) = Plan::compile(&network, &Options::default()) {
            let rows = draw.rows(&network, 3);
            let mut out = Vec::new();
            plan.score(&mut Scratch::new(), &[Query { rows: &rows, personal: None }], &mut out).unwrap();
            prop_assert!(out.len() == 3 && out.iter().all(|score| score.is_finite()));
        }
    }
}
