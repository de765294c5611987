//! How fast a plan scores: a tower 160-256-128-64-1 over ten fields of 16, six of them the user's; one thread.
//!
//! `cargo run --release -p acclimate-plan --example speed [repetitions]` prints, for each set of instructions, the median time of one request of 200
//! candidates and the rows per second of 64 such requests: as a plan is (fields of few values folded, the user's part once per request), without
//! folding, with nothing shared either, as it is with weights of half the bits, and with a patch that changes a hundredth of all rows. Forms take turns, so that a busy machine slows all of them.
//!
//! `speed --answer FOLDER [isa]` is our side of `bench/serve/peers.py`: it reads weights and codes that lie there, and answers the lines `scores`, `one`
//! and `many` with scores or with the seconds that one request or all of them took.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use acclimate_plan::{Changed, Columns, Isa, Layer, Linear, Network, Options, Plan, Precision, Query, Rows, Scratch, Slot, Source, Table};

const D: usize = 16;
const TOWER: [usize; 4] = [160, 256, 128, 64];
const TABLES: [usize; 10] = [100_000, 100_000, 100_000, 100_000, 100_000, 100_000, 200, 2_000, 100_000, 100_000];
const SHARED: usize = 6;
const CANDIDATES: usize = 200;
const REQUESTS: usize = 64;

/// Numbers of a linear congruence, -1 to 1: speed does not depend on them.
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn numbers(&mut self, n: usize, scale: f32) -> Arc<Vec<f32>> {
        Arc::new((0..n).map(|_| scale * (self.bits() as f32 / (1_u64 << 30) as f32 - 1.0)).collect())
    }

    fn linear(&mut self, d_in: usize, d_out: usize) -> Linear {
        Linear { d_in, d_out, weight: self.numbers(d_in * d_out, (3.0 / d_in as f32).sqrt()), bias: self.numbers(d_out, 0.1) }
    }
}

fn network(draw: &mut Draw, shared: usize) -> Network {
    let tables = TABLES.map(|rows| Table::new(D, draw.numbers(rows * D, 1.0))).to_vec();
    let slot = |table: usize| {
        let column = if table < shared { table } else { table - shared };
        Slot { source: Source::Field { column, table }, shared: table < shared }
    };
    let layers = TOWER.windows(2).map(|d| Layer { linear: draw.linear(d[0], d[1]), after: Vec::new(), norm: None }).collect();
    Network { tables, slots: (0..TABLES.len()).map(slot).collect(), layers, head: draw.linear(64, 1), after: Vec::new(), unit: 1.0 }
}

/// Changes a row in a hundred of each table.
fn changed(draw: &mut Draw, network: &mut Network) {
    for table in &mut network.tables {
        let total = table.rows();
        let rows: Vec<u32> = (0..total as u32).filter(|_| draw.bits().is_multiple_of(100)).collect();
        let values = draw.numbers(rows.len() * D, 1.0).to_vec();
        table.changed = Some(Arc::new(Changed { rows, values, total }));
    }
}

/// The same codes, with the user's fields shared or repeated in each row.
fn rows(draw: &mut Draw, shared: usize) -> Rows {
    let code = |draw: &mut Draw, table: usize| (draw.bits() as usize % TABLES[table]) as u32;
    let user: Vec<u32> = (0..SHARED).map(|table| code(draw, table)).collect();
    let columns = |fields: usize, codes: Vec<u32>| Columns { fields, codes, ..Columns::default() };
    let mut own = Vec::new();
    for _ in 0..CANDIDATES {
        own.extend_from_slice(&user[shared..]);
        own.extend((SHARED..TABLES.len()).map(|table| code(draw, table)));
    }
    Rows { n: CANDIDATES, shared: columns(shared, user[..shared].to_vec()), own: columns(TABLES.len() - shared, own) }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Values of a file, little-endian.
fn words(path: &Path) -> std::io::Result<Vec<[u8; 4]>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.to_vec())
}

/// Answers `bench/serve/peers.py`.
fn answer(folder: &Path, isa: Option<Isa>) -> Result<(), Box<dyn std::error::Error>> {
    let mut values = words(&folder.join("weights.f32"))?.into_iter().map(f32::from_le_bytes);
    let mut take = |n: usize| Arc::new(values.by_ref().take(n).collect::<Vec<f32>>());
    let mut network = network(&mut Draw(1), SHARED);
    network.tables.iter_mut().for_each(|table| table.values = take(table.values.len()));
    let linears = network.layers.iter_mut().map(|layer| &mut layer.linear).chain([&mut network.head]);
    linears.for_each(|linear| (linear.weight, linear.bias) = (take(linear.d_in * linear.d_out), take(linear.d_out)));
    let codes: Vec<u32> = words(&folder.join("codes.u32"))?.into_iter().map(u32::from_le_bytes).collect();
    let columns = |fields: usize, codes: Vec<u32>| Columns { fields, codes, ..Columns::default() };
    let requests: Vec<Rows> = codes
        .chunks(CANDIDATES * TABLES.len())
        .map(|codes| {
            let own = codes.chunks(TABLES.len()).flat_map(|row| row[SHARED..].to_vec()).collect();
            Rows { n: CANDIDATES, shared: columns(SHARED, codes[..SHARED].to_vec()), own: columns(TABLES.len() - SHARED, own) }
        })
        .collect();
    let queries: Vec<Query<'_>> = requests.iter().map(|rows| Query { rows, personal: None }).collect();
    let plan = Plan::compile(&network, &Options { isa, ..Options::default() })?;
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let asked = match line?.as_str() {
            "one" => &queries[..1],
            "many" => &queries[..],
            "scores" => {
                plan.score(&mut scratch, &queries, &mut out)?;
                let text: Vec<String> = out.iter().map(f32::to_string).collect();
                println!("{}", text.join(" "));
                continue;
            }
            other => return Err(format!("`{other}` is not asked here; ask scores, one or many").into()),
        };
        plan.score(&mut scratch, asked, &mut out)?;
        let start = Instant::now();
        plan.score(&mut scratch, asked, &mut out)?;
        println!("{}", start.elapsed().as_secs_f64());
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, folder, rest @ ..] = &arguments[..]
        && flag == "--answer"
    {
        let isa = rest.first().and_then(|name| Isa::ALL.into_iter().find(|isa| isa.to_string() == *name));
        return answer(Path::new(folder), isa);
    }
    let repetitions: usize = arguments.get(1).map_or(Ok(100), |text| text.parse())?;
    let fold_rows = Options::default().fold_rows;
    let forms = [
        ("folded and shared", SHARED, fold_rows, Precision::F32, false),
        ("shared", SHARED, 0, Precision::F32, false),
        ("neither", 0, 0, Precision::F32, false),
        ("half the bits", SHARED, fold_rows, Precision::Bf16, false),
        ("changed rows", SHARED, fold_rows, Precision::F32, true),
    ];
    let mut cases = Vec::new();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
        for (name, shared, fold_rows, precision, is_changed) in forms {
            let (mut network, options) = (network(&mut Draw(1), shared), Options { fold_rows, isa: Some(isa), precision });
            let mut plan = Plan::compile(&network, &options)?;
            if is_changed {
                changed(&mut Draw(3), &mut network);
                let start = Instant::now();
                plan = Plan::compile_like(&network, &options, &plan)?;
                println!(
                    "{isa}: a patch of rows was compiled in {:.0} µs and takes {} bytes",
                    1e6 * start.elapsed().as_secs_f64(),
                    plan.bytes()
                );
            }
            let mut draw = Draw(2);
            let requests: Vec<Rows> = (0..REQUESTS).map(|_| rows(&mut draw, shared)).collect();
            cases.push((isa, name, plan, requests, Scratch::new(), Vec::new(), Vec::new()));
        }
    }
    let mut out = Vec::new();
    for repetition in 0..repetitions {
        for (_, _, plan, requests, scratch, one, many) in &mut cases {
            let queries: Vec<Query<'_>> = requests.iter().map(|rows| Query { rows, personal: None }).collect();
            let request = repetition % REQUESTS;
            plan.score(scratch, &queries[..1], &mut out)?;
            let start = Instant::now();
            plan.score(scratch, &queries[request..=request], &mut out)?;
            one.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            plan.score(scratch, &queries, &mut out)?;
            many.push(start.elapsed().as_secs_f64());
        }
    }
    println!("isa      form                1 x {CANDIDATES}, µs   {REQUESTS} x {CANDIDATES}, rows/s");
    for (isa, name, _, _, _, one, many) in cases {
        let rate = (REQUESTS * CANDIDATES) as f64 / median(many);
        println!("{:<8} {name:<18} {:>12.1} {rate:>22.0}", isa.to_string(), 1e6 * median(one));
    }
    Ok(())
}
