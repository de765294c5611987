//! Loading a large log: writes one as CSV.gz, reads and encodes it, and prints rows per second and peak resident memory.
//!
//! `load [ROWS] [state]`, by default 10,000,000 rows of 20 columns, about 760 MB compressed in the folder for temporary files. The log is written by a child process, so that the peak is the loader's own.
//! With `state`, the log is loaded once plainly by another child; then one history and five statistics of earlier rows are made as well, and a state runs event by
//! event through a million rows: the features of each, then the row itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use acclimate_bench::peak_mib;
use acclimate_data::{DatasetConfig, Encoder, FeatureState, Known, RandomStream, RawDataset, Zone};
use flate2::Compression;
use flate2::write::GzEncoder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distinct values of the twelve categorical columns: from a yes/no to an id.
const CATEGORIES: [u64; 12] = [2, 3, 5, 10, 24, 50, 100, 1_000, 5_000, 20_000, 100_000, 500_000];
const NUMBERS: usize = 3;
/// Events of the state that runs event by event.
const EVENTS: u64 = 1_000_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rows: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let with_state = match (arguments.next().as_deref(), arguments.next()) {
        (Some("write"), Some(path)) => return write_log(Path::new(&path), rows),
        (Some("read"), Some(path)) => return load(path.into(), None),
        (Some("state"), None) => true,
        (None, None) => false,
        _ => anyhow::bail!("usage: load [ROWS] [state]"),
    };
    let folder = tempfile::tempdir()?;
    let (log, config) = (folder.path().join("log.csv.gz"), folder.path().join("log.toml"));
    child(rows, "write", &log)?;
    if !with_state {
        return load(config, None);
    }
    let plain = child(rows, "read", &config)?;
    print!("{plain}");
    let plain: serde_json::Value = serde_json::from_str(&plain)?;
    load(config.clone(), plain["peak_rss_mib"].as_f64())?;
    if rows > EVENTS {
        child(EVENTS, "write", &log)?;
    }
    follow(config)
}

/// Does one part of the work in a process of its own, whose memory is its own; gives what it prints.
fn child(rows: u64, part: &str, path: &Path) -> anyhow::Result<String> {
    let output =
        Command::new(std::env::current_exe()?).arg(rows.to_string()).arg(part).arg(path).stderr(std::process::Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "`load {rows} {part}` failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Event by event: the features of each row, then the row itself.
fn follow(path: PathBuf) -> anyhow::Result<()> {
    let (raw, report) = RawDataset::read(&DatasetConfig::parse(&config(true), path)?)?;
    let train: Vec<u32> = (0..report.rows as u32).collect();
    let encoder = Encoder::fit(&raw, &train)?;
    let mut state = FeatureState::new(&encoder, Zone::UTC, None);
    let start = Instant::now();
    state.follow(&encoder, &raw, true)?;
    let line = serde_json::json!({
        "name": "state, event by event",
        "events": report.rows,
        "microseconds_per_event": start.elapsed().as_secs_f64() * 1e6 / report.rows as f64,
    });
    println!("{line}");
    Ok(())
}

/// With a state where the peak of a plain load is given.
fn load(path: PathBuf, plain_peak: Option<f64>) -> anyhow::Result<()> {
    let config = DatasetConfig::parse(&config(plain_peak.is_some()), path)?;
    let start = Instant::now();
    let (raw, report) = RawDataset::read(&config)?;
    let (read, read_peak) = (start.elapsed().as_secs_f64(), peak_mib());
    let start = Instant::now();
    let train: Vec<u32> = (0..report.rows as u32 / 10 * 9).collect();
    let (_, data) = raw.fit_encode(&train, &Known::all())?;
    let (encoded, peak) = (start.elapsed().as_secs_f64(), peak_mib());
    let line = serde_json::json!({
        "name": if plain_peak.is_some() { "load, one history and five statistics" } else { "load" },
        "rows": data.log.len(),
        "columns": 5 + CATEGORIES.len() + NUMBERS,
        "read_s": read,
        "rows_per_s": report.rows as f64 / read,
        "encode_s": encoded,
        "read_peak_rss_mib": read_peak,
        "peak_rss_mib": peak,
        "peak_of_plain": plain_peak.map(|plain| peak / plain),
    });
    println!("{line}");
    Ok(())
}

/// One history and five statistics.
const STATE: &str = r#"
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "clicked"
kind = "history"
column = "item"
where = "= 1"
max_length = 50
vocabulary = "item"
[[feature]]
name = "item_rate"
kind = "statistic"
value = "rate"
by = ["item", "domain"]
[[feature]]
name = "user_mean"
kind = "statistic"
value = "mean"
column = "n0"
by = ["user"]
half_life = "1d"
[[feature]]
name = "user_count"
kind = "statistic"
value = "count"
by = ["user"]
window = "1d"
[[feature]]
name = "user_distinct"
kind = "statistic"
value = "distinct"
column = "item"
by = ["user"]
[[feature]]
name = "pair_age"
kind = "statistic"
value = "age"
by = ["user", "c8"]
"#;

fn config(with_state: bool) -> String {
    let mut text = "name = \"load\"\n[interactions]\nfiles = [\"log.csv.gz\"]\nuser = \"user\"\nitem = \"item\"\n\
                    time = { column = \"time\", unit = \"ms\" }\ndomain = { column = \"domain\" }\nlabel = { column = \"click\", kind = \"click\" }\n"
        .to_owned();
    for i in 0..CATEGORIES.len() {
        write!(text, "[[feature]]\nname = \"c{i}\"\nkind = \"categorical\"\n").expect("writing to a String can not fail");
    }
    for i in 0..NUMBERS {
        write!(text, "[[feature]]\nname = \"n{i}\"\nkind = \"numeric\"\nscale = \"standard\"\n").expect("writing to a String can not fail");
    }
    if with_state { text + STATE } else { text }
}

fn write_log(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut out = BufWriter::new(GzEncoder::new(File::create(path)?, Compression::fast()));
    write!(out, "user,item,time,domain,click")?;
    (0..CATEGORIES.len()).try_for_each(|i| write!(out, ",c{i}"))?;
    (0..NUMBERS).try_for_each(|i| write!(out, ",n{i}"))?;
    writeln!(out)?;
    let mut random = RandomStream::new(1, 0, 0);
    for row in 0..rows {
        let (user, item) = (random.below(1_000_000), random.below(200_000));
        write!(out, "u{user},item-{item},{},{},{}", 1_650_000_000_000 + row * 37, random.below(8), random.below(2))?;
        for &size in &CATEGORIES {
            write!(out, ",v{}", random.below(size))?;
        }
        for _ in 0..NUMBERS {
            write!(out, ",{}.{:03}", random.below(10_000), random.below(1_000))?;
        }
        writeln!(out)?;
    }
    out.into_inner()?.finish()?;
    Ok(())
}
