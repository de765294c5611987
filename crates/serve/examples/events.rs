//! Records events from several threads, each request durable before it is answered, and says how many there were in a second.
//!
//! `cargo run --release -p acclimate-serve --example events -- [FOLDER] [THREADS] [EVENTS OF A REQUEST]`: the folder says which disk; default one of the system's temporary folders, 4, 100.

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acclimate_data::{DatasetConfig, Encoder, FeatureState, Known, RawDataset, RawValue, RowEncoder};
use acclimate_registry::folder::LocalFolder;
use acclimate_serve::api::{EventIn, Given};
use acclimate_serve::events::{EventConfig, StateStore};

const EVENTS: usize = 200_000;

const CONFIG: &str = r#"
name = "clicks"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
label = { column = "click", kind = "click" }
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "seen"
kind = "history"
column = "item"
max_length = 20
vocabulary = "item"
[[feature]]
name = "visits"
kind = "statistic"
value = "count"
by = ["user"]
window = "7d"
[[feature]]
name = "rate"
kind = "statistic"
value = "rate"
by = ["item"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let place = arguments.first().map_or_else(std::env::temp_dir, Into::into);
    let threads: usize = arguments.get(1).map_or(Ok(4), |threads| threads.parse())?;
    let batch: usize = arguments.get(2).map_or(Ok(100), |batch| batch.parse())?;
    let folder = place.join(format!("acclimate-events-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(&folder, threads, batch);
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &std::path::Path, threads: usize, batch: usize) -> Result<(), Box<dyn Error>> {
    let mut log = "user,item,time,click\n".to_owned();
    for i in 0..20_000 {
        writeln!(log, "u{},i{},{},{}", i % 3000, i * 7 % 2000, 1_650_000_000 + i, i % 5 / 4)?;
    }
    std::fs::write(folder.join("log.csv"), log)?;
    let (raw, _) = RawDataset::read(&DatasetConfig::parse(CONFIG, folder.join("clicks.toml"))?)?;
    let encoder = Arc::new(Encoder::fit(&raw, &(0..20_000).collect::<Vec<_>>())?);
    let base = FeatureState::after(&encoder, &raw, &Known::all())?;
    let open = || StateStore::open(Arc::new(LocalFolder::new(folder)?), encoder.clone(), || Ok(base.clone()), EventConfig::default());

    let (store, _) = open()?;
    let begin = Instant::now();
    let of_each = EVENTS / threads;
    std::thread::scope(|scope| {
        let record = |thread: usize| {
            let store = &store;
            move || (0..of_each).step_by(batch).try_for_each(|first| store.record_blocking(events(thread, first, batch)).map(drop))
        };
        let all: Vec<_> = (0..threads).map(|thread| scope.spawn(record(thread))).collect();
        all.into_iter().try_for_each(|one| one.join().expect("a recorder does not panic"))
    })?;
    let took = begin.elapsed();
    let count = store.position().position;
    println!("{count} events from {threads} threads, {batch} a request, each durable: {:.0} events/s", count as f64 / took.as_secs_f64());

    let shared: Given = [("user".to_owned(), RawValue::Text("u17".to_owned()))].into();
    let items: Vec<Given> = (0..200).map(|i| [("item".to_owned(), RawValue::Text(format!("i{}", i * 9)))].into()).collect();
    let rows = RowEncoder::new(encoder.clone());
    let once = || -> Result<Duration, Box<dyn Error>> {
        let begin = Instant::now();
        let columns = rows.columns(&shared, items.iter())?;
        let (made, _) = store.features(&rows.asked(&columns, 1_660_000_000_000_000)?);
        let took = begin.elapsed();
        if made.rows == items.len() { Ok(took) } else { Err("a row has no features".into()) }
    };
    let mut times = (0..2000).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    println!("3 features of earlier rows for 200 items of one user: {:?}", times[times.len() / 2]);

    let begin = Instant::now();
    store.snapshot()?;
    println!("a snapshot: {:?}", begin.elapsed());
    drop(store);
    let begin = Instant::now();
    let (_, opened) = open()?;
    println!("opened again in {:?}, {} events behind the snapshot", begin.elapsed(), opened.replayed);
    Ok(())
}

fn events(thread: usize, first: usize, batch: usize) -> Vec<EventIn> {
    let event = |number: usize| {
        let text = |text: String| RawValue::Text(text);
        let given = [("user", text(format!("u{}", number * 13 % 5000))), ("item", text(format!("i{}", number * 7 % 2000)))];
        EventIn {
            id: format!("{thread}-{number}"),
            time: Some(RawValue::Integer(1_650_100_000 + number as i64 / 10)),
            label: f64::from(u8::from(number % 5 == 4)),
            given: given.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    };
    (first..first + batch).map(event).collect()
}
