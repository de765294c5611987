//! Encodes the 200 rows of a request, 10 features each, again and again, and says how long one request takes.
//!
//! `cargo run --release -p acclimate-data --example encode_rows`

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acclimate_data::{DatasetConfig, EncodedRows, Encoder, RawDataset, RawValue, RowEncoder};

const ROWS: usize = 200;
const ITEMS: usize = 5000;

const CONFIG: &str = r#"
name = "rows"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
label = { kind = "implicit" }
[[items]]
files = ["items.csv"]
key = "item"
[[feature]]
name = "user"
kind = "categorical"
[[feature]]
name = "device"
kind = "categorical"
[[feature]]
name = "hour"
kind = "timestamp"
column = "time"
unit = "s"
part = "hour"
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "author"
from = "items"
kind = "categorical"
[[feature]]
name = "area"
from = "items"
column = "place"
kind = "categorical"
transform = { first = "-" }
[[feature]]
name = "tags"
from = "items"
kind = "multi"
separator = "|"
[[feature]]
name = "length"
from = "items"
kind = "numeric"
transform = "log1p"
scale = "standard"
[[feature]]
name = "price"
from = "items"
kind = "numeric"
scale = "min_max"
[[feature]]
name = "loud"
from = "items"
kind = "categorical"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("acclimate-encode-rows-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let encoder = encoder(&folder);
    std::fs::remove_dir_all(&folder)?;
    let encoder = RowEncoder::new(Arc::new(encoder?));

    let text = |text: String| RawValue::Text(text);
    let shared: BTreeMap<String, RawValue> = [
        ("user".to_owned(), text("user 17".to_owned())),
        ("device".to_owned(), text("device 2".to_owned())),
        ("time".to_owned(), text("2024-05-01T12:00:00Z".to_owned())),
    ]
    .into();
    let row = |i: usize| -> BTreeMap<String, RawValue> {
        let item = i * 37 % ITEMS;
        [
            ("item".to_owned(), text(format!("item {item}"))),
            ("author".to_owned(), text(format!("author {}", item % 700))),
            ("area".to_owned(), text(format!("area {}-{item}", item % 30))),
            ("tags".to_owned(), RawValue::List(vec![text(format!("tag {}", item % 40)), text(format!("tag {}", item % 11))])),
            ("length".to_owned(), RawValue::Integer(item as i64)),
            ("price".to_owned(), RawValue::Number(item as f64 / 7.0)),
            ("loud".to_owned(), RawValue::Bool(item.is_multiple_of(3))),
        ]
        .into()
    };
    let rows: Vec<BTreeMap<String, RawValue>> = (0..ROWS).map(row).collect();

    let mut out = EncodedRows::default();
    let mut once = || -> Result<Duration, Box<dyn Error>> {
        let begin = Instant::now();
        let columns = encoder.columns(&shared, rows.iter())?;
        encoder.encode(&columns, &mut out)?;
        Ok(begin.elapsed())
    };
    let mut times = (0..5000).map(|_| once()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("{ROWS} rows of {} features: {median:?}, {:.0} rows/s", encoder.features().len(), ROWS as f64 / median.as_secs_f64());
    println!("unknown values: {:?}", encoder.unknown(&out));
    Ok(())
}

/// An encoder of some rows of random features.
fn encoder(folder: &std::path::Path) -> Result<Encoder, Box<dyn Error>> {
    let (mut log, mut items) = ("user,item,time,device\n".to_owned(), "item,author,place,tags,length,price,loud\n".to_owned());
    for i in 0..3 * ITEMS {
        writeln!(log, "user {},item {},{},device {}", i % 900, i % ITEMS, 1_700_000_000 + i * 60, i % 5)?;
    }
    for i in 0..ITEMS {
        writeln!(items, "item {i},author {},area {}-{i},tag {}|tag {},{i},{},{}", i % 700, i % 30, i % 40, i % 11, i / 7, i % 3 == 0)?;
    }
    std::fs::write(folder.join("log.csv"), log)?;
    std::fs::write(folder.join("items.csv"), items)?;
    let (raw, _) = RawDataset::read(&DatasetConfig::parse(CONFIG, folder.join("rows.toml"))?)?;
    let train: Vec<u32> = (0..raw.dataset().log.len() as u32).collect();
    Ok(Encoder::fit(&raw, &train)?)
}
