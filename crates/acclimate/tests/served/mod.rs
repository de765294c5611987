//! A registry with a base and patches of every path, made once, and an engine on it.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use acclimate::serving::PublishedLoader;
use acclimate_data::RawValue;
use acclimate_registry::{Registry, Settings};
use acclimate_serve::api::{Answer, At, Caller, Choice, Given, Refusal, Roles, ScoreAsk, Service, SupportRow, SupportSet};
use acclimate_serve::engine::{Engine, EngineConfig};

use crate::shop::{ok, write_data};

/// Features of earlier rows, so that the state counts.
pub(crate) const STATE: &str = r#"
[[feature]]
name = "clicked"
kind = "history"
column = "item"
vocabulary = "item"
where = "= 1"
max_length = 5
[[feature]]
name = "rate"
kind = "statistic"
value = "rate"
by = ["item"]
"#;

/// Patches: name, method and what else `adapt` is told, and how a server computes them.
pub(crate) const PATCHES: &[(&str, &[&str], &str)] = &[
    ("low", &["lora", "--domain", "north", "--train", "epochs=1"], "merged"),
    ("last", &["fine_tune_last", "--domain", "north", "--train", "epochs=1"], "merged"),
    ("neck", &["adapter", "--domain", "north", "--set", "bottleneck=2", "--train", "epochs=1"], "epilogue"),
    ("film", &["film", "--train", "epochs=1"], "merged"),
    ("heads", &["bayes_head"], "personal"),
    ("steps", &["maml", "--set", "inner_steps=3", "--set", "inner_rate=0.1", "--set", "shrink=2.0", "--train", "epochs=1"], "personal"),
    ("context", &["cavia", "--set", "width=4", "--train", "epochs=1"], "personal"),
    ("rates", &["paml", "--set", "inner_steps=2", "--set", "inner_rate=0.1", "--train", "epochs=1"], "personal"),
    ("people", &["acclimate_user"], "device"),
];

/// Rows of a user that are adapted from.
pub(crate) const HISTORY: usize = 20;

/// A folder with a registry of a base and all patches, made once.
pub(crate) fn world() -> &'static Path {
    static WORLD: OnceLock<PathBuf> = OnceLock::new();
    WORLD.get_or_init(|| {
        let at = tempfile::tempdir().unwrap().keep();
        write_data(&at);
        let data = std::fs::read_to_string(at.join("data.toml")).unwrap();
        std::fs::write(at.join("data.toml"), data + STATE).unwrap();
        ok(&at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
        ok(&at, &["registry", "publish", "shop", "--base", "base"]);
        for (name, arguments, _) in PATCHES {
            let file = format!("{name}.safetensors");
            ok(&at, &[&["adapt"], *arguments, &["--base", "base", "--serve", "always", "--out", &file, "--quiet"]].concat());
            ok(&at, &["registry", "publish", name, "--base", "base", "--patch", &file]);
            ok(&at, &["registry", "promote", name, "--force", "--by", "a test", "--reason", "to be served"]);
        }
        ok(&at, &["registry", "users", "heads", "--base", "base", "--history", "20"]);
        ok(&at, &["registry", "promote", "heads.users", "--force", "--by", "a test", "--reason", "to be served"]);
        ok(&at, &["registry", "route", "north", "low", "--by", "a test", "--reason", "it was made there"]);
        at
    })
}

pub(crate) fn engine(at: &Path, executors: usize) -> Engine<PublishedLoader> {
    engine_of(at, executors, PublishedLoader::default())
}

pub(crate) fn engine_of(at: &Path, executors: usize, loader: PublishedLoader) -> Engine<PublishedLoader> {
    let registry = Registry::open(&at.join("registry"), Settings::default()).unwrap();
    let state = tempfile::tempdir().unwrap().keep();
    let config = EngineConfig { executors, state, queue: 100_000, queued_rows: usize::MAX, ..EngineConfig::default() };
    Engine::start(registry, loader, config).unwrap()
}

pub(crate) fn caller() -> Caller {
    Caller { tenant: "one".into(), roles: Roles { score: true, adapt: true, admin: false } }
}

pub(crate) fn patch(name: &str) -> Choice {
    Choice::Patch { name: name.parse().unwrap(), at: At::Alias("champion".parse().unwrap()) }
}

pub(crate) fn text(value: &str) -> RawValue {
    RawValue::Text(value.to_owned())
}

pub(crate) fn given(values: &[(&str, &str)]) -> Given {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), if *name == "time" { RawValue::Integer(value.parse().unwrap()) } else { text(value) }))
        .collect()
}

/// A row of the log with what the tables say of its user and item.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) user: String,
    pub(crate) item: String,
    pub(crate) time: String,
    pub(crate) domain: String,
    pub(crate) click: f32,
    pub(crate) tags: String,
    pub(crate) group: String,
}

pub(crate) fn table(file: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

pub(crate) fn log(at: &Path) -> Vec<Row> {
    let pairs =
        |file: &str| -> HashMap<String, String> { table(&at.join(file)).into_iter().map(|row| (row[0].clone(), row[1].clone())).collect() };
    let (groups, tags) = (pairs("users.csv"), pairs("items.csv"));
    let row = |row: Vec<String>| Row {
        group: groups[&row[0]].clone(),
        tags: tags[&row[1]].clone(),
        click: row[4].parse().unwrap(),
        user: row[0].clone(),
        item: row[1].clone(),
        time: row[2].clone(),
        domain: row[3].clone(),
    };
    table(&at.join("log.csv")).into_iter().map(row).collect()
}

impl Row {
    pub(crate) fn shared(&self) -> Given {
        given(&[("user", &self.user), ("time", &self.time), ("domain", &self.domain), ("group", &self.group)])
    }

    pub(crate) fn item(&self) -> Given {
        given(&[("item", &self.item), ("tags", &self.tags)])
    }

    pub(crate) fn support(&self) -> SupportRow {
        SupportRow { given: self.shared().into_iter().chain(self.item()).collect(), label: self.click }
    }
}

pub(crate) fn ask(choice: Choice, shared: Given, items: Vec<Given>, support: Option<Vec<SupportRow>>) -> ScoreAsk {
    ScoreAsk { base: None, choice, ladder: false, shared, items, support: support.map(SupportSet::Rows), deadline: None }
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

pub(crate) fn score(engine: &Engine<PublishedLoader>, ask: ScoreAsk) -> Result<Answer, Refusal> {
    // Loading needs a runtime with threads.
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap().block_on(engine.score(&caller(), ask))
}

/// The latest training rows of a user.
pub(crate) fn known(log: &[Row], user: &str) -> Vec<SupportRow> {
    let rows: Vec<&Row> = log.iter().filter(|row| row.user == user && row.time.parse::<u64>().unwrap() < 1_700_100_000).collect();
    rows[rows.len().saturating_sub(HISTORY)..].iter().map(|row| row.support()).collect()
}
