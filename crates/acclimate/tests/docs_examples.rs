//! Every example of the docs is run: files are saved as a reader would save them, data is made that fits their columns, commands are typed in order.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use acclimate::Experiment;
use acclimate::scenario::ScenarioConfig;
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;

/// What is done with a fenced block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Use {
    /// Saved under this name, for commands of the page.
    Saved(&'static str),
    /// A data-set file: saved and inspected.
    Inspected(&'static str),
    /// An experiment file: saved and compared.
    Compared(&'static str),
    /// Lines of a shell: run in order.
    Shell,
    /// No example of the program, for this reason.
    Not(&'static str),
}

/// Every fenced block of the docs: page, first line, what is done with it.
const BLOCKS: &[(&str, &str, Use)] = &[
    ("README.md", "cargo run --release --bin acclimate -- demo", Use::Shell),
    ("README.md", "cargo run --release --bin acclimate -- init clicks.csv", Use::Not("init has tests of its own")),
    ("README.md", "name = \"shop\"", Use::Saved("shop.toml")),
    ("README.md", "cargo run --release --bin acclimate -- inspect shop.toml", Use::Shell),
    ("README.md", "name = \"shop-games\"", Use::Saved("compare.toml")),
    ("README.md", "cargo run --release --bin acclimate -- compare compare.toml", Use::Shell),
    ("README.md", "cargo run --release --bin acclimate -- pretrain compare.toml", Use::Shell),
    ("docs/serving-limits.md", "[[key]]", Use::Not("a file of keys; they are tested in the crate that reads them")),
    ("docs/serving.md", "cd my-demo/data", Use::Not("the page is followed in serving_page.rs")),
    ("docs/serving.md", "acclimate registry publish films", Use::Not("as above")),
    ("docs/serving.md", "acclimate registry promote films-target", Use::Not("as above")),
    ("docs/serving.md", "acclimate serve", Use::Not("as above")),
    ("docs/serving.md", "curl -s localhost:8787/v1/score -d '{\"user\"", Use::Not("as above")),
    ("docs/serving.md", "curl -s localhost:8787/v1/score -d '{\"patch\"", Use::Not("as above")),
    ("docs/serving.md", "curl -s localhost:8787/v1/events", Use::Not("as above")),
    ("docs/serving.md", "acclimate adapt lora", Use::Not("as above")),
    ("docs/data-sets.md", "name = \"films\"", Use::Inspected("films.toml")),
    ("docs/data-sets.md", "acclimate inspect films.toml", Use::Shell),
    ("docs/data-sets.md", "name = \"shops\"", Use::Inspected("shops.toml")),
    ("docs/experiments.md", "name = \"shops-all\"", Use::Compared("shops-all.toml")),
    ("docs/experiments.md", "name = \"shops-games\"", Use::Compared("shops-games.toml")),
    ("docs/experiments.md", "name = \"films-cold\"", Use::Compared("films-cold.toml")),
    ("docs/experiments.md", "name = \"gadgets-to-creams\"", Use::Compared("gadgets-to-creams.toml")),
    ("docs/experiments.md", "name = \"next-cream\"", Use::Compared("next-cream.toml")),
    ("docs/experiments.md", "name = \"creams-and-gadgets\"", Use::Compared("creams-and-gadgets.toml")),
    ("docs/experiments.md", "name = \"who-authors\"", Use::Compared("who-authors.toml")),
    ("docs/experiments.md", "name = \"shops-daily\"", Use::Compared("shops-daily.toml")),
    ("docs/data-sets.md", "[[feature]]\nname = \"clicked\"", Use::Not("features, not a file; they are tested in state.rs")),
    ("docs/data-sets.md", "acclimate init ml-1m/ratings.dat", Use::Not("needs the files of MovieLens; init has tests of its own")),
    ("docs/experiments.md", "users = { rule = \"attribute\"", Use::Not("a rule of a split; splits are tested in splits.rs")),
    (
        "docs/experiments.md",
        "[split]                                 # shares of",
        Use::Not("a table, not a file; splits are tested in splits.rs"),
    ),
    (
        "docs/experiments.md",
        "[split]                                 # the published split",
        Use::Not("a table, not a file; splits are tested in splits.rs"),
    ),
    (
        "docs/experiments.md",
        "[split]                                 # files for",
        Use::Not("a table, not a file; splits are tested in splits.rs"),
    ),
    ("docs/experiments.md", "[floors]", Use::Not("a table, not a file; settings of floors are tested in command_line.rs")),
    ("docs/experiments.md", "[[entrant]]", Use::Not("an entry, not a file; entrants are tested in workflow.rs")),
    ("ARCHITECTURE.md", "data ──> model", Use::Not("a picture")),
    ("bench/peer/README.md", "python3 -m venv .venv", Use::Not("needs Python with PyTorch")),
    ("reference/README.md", "python3 -m venv .venv", Use::Not("needs Python with PyTorch")),
];

/// Lines of shells that are not run, and why.
const SKIPPED: &[(&str, &str)] = &[("cargo test --release --workspace", "this is one of these tests")];

/// What comes before a command's arguments.
const PROGRAM: [&str; 2] = ["cargo run --release --bin acclimate -- ", "acclimate "];

struct Block {
    page: String,
    line: usize,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages of the project, by their path from the root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    let crates =
        fs::read_dir(root().join("crates")).unwrap().map(|entry| format!("crates/{}", entry.unwrap().file_name().to_str().unwrap()));
    let folders = ["", "docs", "docs/decisions", "bench", "bench/peer", "reference", "examples", "xtask"].map(str::to_owned);
    for folder in folders.into_iter().chain(crates) {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                pages.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
            }
        }
    }
    pages.sort();
    pages
}

/// The fenced blocks of a page, in order, and the text between them.
fn cut(page: &str) -> (Vec<Block>, String) {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().starts_with("```")) {
            (None, true) => open = Some(Block { page: page.to_owned(), line: at + 1, text: String::new() }),
            (Some(_), true) => blocks.extend(open.take()),
            (Some(block), false) => block.text += &format!("{line}\n"),
            (None, false) => prose += &format!("{line}\n"),
        }
    }
    assert!(open.is_none(), "{page}: a fenced block does not end");
    (blocks, prose)
}

fn use_of(block: &Block) -> Option<(usize, Use)> {
    let fits = |(page, start, _): &(&str, &str, Use)| *page == block.page && block.text.starts_with(start);
    BLOCKS.iter().position(fits).map(|at| (at, BLOCKS[at].2))
}

fn acclimate(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acclimate"));
    let output = command.current_dir(folder).args(arguments).args(["--quiet", "--threads", "1"]).env_remove("ACCLIMATE_DATA").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Does what a reader of the pages would do, in a folder that holds the data.
fn follow(pages: &[&str], folder: &Path) {
    for block in pages.iter().flat_map(|page| cut(page).0) {
        let (_, what) = use_of(&block).unwrap_or_else(|| panic!("{}:{}: unknown block", block.page, block.line));
        let save = |file: &str| fs::write(folder.join(file), &block.text).unwrap();
        match what {
            Use::Saved(file) => save(file),
            Use::Inspected(file) => {
                save(file);
                let said = acclimate(folder, &["inspect", file]);
                assert!(said.contains(" rows, ") && said.contains(" users, "), "{file}: {said}");
            }
            Use::Compared(file) => {
                save(file);
                let table = acclimate(folder, &["compare", file]);
                let experiment = Experiment::load(folder.join(file)).unwrap();
                let start = if experiment.scenario.scenario().needs_base() { "base" } else { "mf" };
                let methods = experiment.methods.iter().map(|method| method.label().to_owned());
                let shown: Vec<String> = match &experiment.scenario {
                    ScenarioConfig::Online(online) => online.modes.iter().map(|mode| mode.label()).collect(),
                    _ => methods.chain([start.to_owned()]).collect(),
                };
                for method in shown {
                    assert!(table.contains(&format!("  {method} ")), "{file}: {method} is not in\n{table}");
                }
                assert!(folder.join("runs").join(&experiment.name).join("report.html").exists());
            }
            Use::Shell => block.text.lines().for_each(|line| type_line(folder, line)),
            Use::Not(reason) => eprintln!("{}:{}: not run: {reason}", block.page, block.line),
        }
    }
}

/// Runs one line of a shell.
fn type_line(folder: &Path, line: &str) {
    let line = line.split("  #").next().unwrap_or_default().trim();
    if let Some((_, reason)) = SKIPPED.iter().find(|(skipped, _)| *skipped == line) {
        eprintln!("not run: {line}: {reason}");
        return;
    }
    let arguments = PROGRAM.iter().find_map(|program| line.strip_prefix(program));
    let arguments = arguments.unwrap_or_else(|| panic!("`{line}` is no command of the program; skip it by name if that is meant"));
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    // The whole demo is a matter of seconds; a tenth of its data shows that the command is right.
    if arguments == ["demo"] {
        arguments.push("--small");
    }
    acclimate(folder, &arguments);
}

/// Numbers without a pattern.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn choice<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A click that item and shop explain in part.
fn click(draw: &mut Draw, item: u64, shop: &str) -> u64 {
    let liked = (item.is_multiple_of(3)) != (shop == "games" && item.is_multiple_of(2));
    u64::from(draw.below(10) < if liked { 7 } else { 3 })
}

const SHOPS: [&str; 3] = ["books", "music", "games"];
const START: u64 = 1_700_000_000;
/// Rows of a click log, one a minute: they go beyond the times at which the examples cut.
const CLICKS: u64 = 2600;

/// `clicks.csv` and `items.csv`, with the columns that the page names.
fn write_shop(folder: &Path) {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let columns = ["user,item,shop,time,clicked", "item,category,price"];
    columns.iter().for_each(|columns| assert!(page.contains(&format!("`{columns}`")), "README.md does not say `{columns}`"));
    let mut draw = Draw(1);
    let mut clicks = format!("{}\n", columns[0]);
    for row in 0..CLICKS {
        let (user, item, shop) = (draw.below(80), draw.below(30), draw.choice(&SHOPS));
        clicks += &format!("u{user},i{item},{shop},{},{}\n", START + row * 60, click(&mut draw, item, shop));
    }
    let mut items = format!("{}\n", columns[1]);
    for item in 0..30 {
        items += &format!("i{item},c{},{}.99\n", item % 4, 5 + item);
    }
    fs::write(folder.join("clicks.csv"), clicks).unwrap();
    fs::write(folder.join("items.csv"), items).unwrap();
}

/// The tables of the data-set file `films`.
fn write_films(folder: &Path) {
    let mut draw = Draw(2);
    let (users, films) = (120, 60);
    let mut ratings = String::from("user,film,rated_on,stars\n");
    for user in 0..users {
        for film in (0..films).filter(|film| (film + user) % 2 == 0) {
            let stars = 1 + (film % 3) + (user % 2) + draw.below(2);
            ratings += &format!("{user},{film},202401{:02},{stars}\n", 1 + draw.below(31));
        }
    }
    // Some have told nothing.
    let users: String = (0..users).filter(|user| user % 7 != 0).map(|user| format!("{user},{}\n", 18 + user % 50)).collect();
    let films: String = (0..films)
        .map(|film| {
            let genres = if film % 2 == 0 { "drama|old" } else { "war|long" };
            format!("{film},{genres},{},{}\n", 80 + film, 1980 + film / 2)
        })
        .collect();
    fs::write(folder.join("ratings.csv"), ratings).unwrap();
    fs::write(folder.join("users.csv"), format!("user,age\n{users}")).unwrap();
    fs::write(folder.join("films.csv"), format!("film,genres,minutes,year\n{films}")).unwrap();
}

/// The tables of the data-set file `shops`: two compressed logs, histories, and items as Parquet.
fn write_shops(folder: &Path) {
    let mut draw = Draw(3);
    for (file, rows) in [("clicks-1.csv.gz", 0..CLICKS / 2), ("clicks-2.csv.gz", CLICKS / 2..CLICKS)] {
        let mut log = String::from("user,item,shown_ms,shop,clicked\n");
        for row in rows {
            let (user, item, shop) = (draw.below(80), draw.below(30), draw.choice(&SHOPS));
            log += &format!("{user},{item},{},{shop},{}\n", (START + row * 60) * 1000, click(&mut draw, item, shop));
        }
        let mut gzip = GzEncoder::new(File::create(folder.join(file)).unwrap(), Compression::fast());
        gzip.write_all(log.as_bytes()).unwrap();
        gzip.finish().unwrap();
    }
    let histories: String = (0..70).map(|user| format!("{user},{} {} {}\n", user % 30, (user + 7) % 30, (user + 9) % 30)).collect();
    fs::write(folder.join("histories.csv"), format!("user,viewed\n{histories}")).unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("item", Arc::new(Int64Array::from_iter_values(0..30))),
        ("category", Arc::new(StringArray::from_iter_values((0..30).map(|item| format!("c{}", item % 4))))),
        ("price", Arc::new(Float64Array::from_iter_values((0..30).map(|item| f64::from(item) + 0.5)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(folder.join("items.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A data set of positives with times and domains, as the example of `cold_sequence` asks for: who buys around a circle of gadgets goes on with creams.
fn write_purchases(folder: &Path) {
    let mut log = String::from("user,item,day,shop\n");
    for user in 0..200_u64 {
        let start = user * 7 % 20;
        for step in 0..9 {
            let (letter, shop) = if step < 5 { ('s', "gadgets") } else { ('t', "creams") };
            log += &format!("{user},{letter}{},{},{shop}\n", (start + step) % 20, START + step * 86_400);
        }
    }
    fs::write(folder.join("purchases.csv"), log).unwrap();
    let dataset = r#"
        name = "purchases"
        feature = [{ name = "item", kind = "categorical" }]
        [interactions]
        files = ["purchases.csv"]
        user = "user"
        item = "item"
        time = { column = "day", unit = "s" }
        domain = { column = "shop" }
        label = { kind = "implicit" }
    "#;
    fs::write(folder.join("purchases.toml"), dataset).unwrap();
}

/// Users with sequences and a group that follows from them, as the example of `profile` asks for.
fn write_profiles(folder: &Path) {
    let (mut log, mut users) = (String::from("user,item,click\n"), String::from("user,group,viewed\n"));
    for user in 0..200_u64 {
        log += &format!("{user},i{},{}\n", user % 7, user % 2);
        users += &format!("{user},{},i{} i{}\n", ["a", "b"][user as usize % 2], user % 2, 2 + user % 2);
    }
    fs::write(folder.join("profile-clicks.csv"), log).unwrap();
    fs::write(folder.join("profile-users.csv"), users).unwrap();
    let dataset = r#"
        name = "profiles"
        attribute = [{ name = "group", from = "users", kind = "text" }]
        feature = [{ name = "viewed", kind = "sequence", from = "users", separator = " ", max_length = 10 }]
        [interactions]
        files = ["profile-clicks.csv"]
        user = "user"
        item = "item"
        label = { column = "click", kind = "click" }
        [[users]]
        files = ["profile-users.csv"]
        key = "user"
    "#;
    fs::write(folder.join("profiles.toml"), dataset).unwrap();
}

#[test]
fn every_fenced_block_of_the_docs_is_known() {
    let all: Vec<Block> = pages().iter().flat_map(|page| cut(page).0).collect();
    let mut seen = vec![0; BLOCKS.len()];
    for block in &all {
        let first = block.text.lines().next().unwrap_or_default();
        let found = use_of(block);
        let (at, _) = found.unwrap_or_else(|| panic!("{}:{}: `{first}` is not in BLOCKS: say how it is run", block.page, block.line));
        seen[at] += 1;
    }
    for (block, count) in BLOCKS.iter().zip(seen) {
        assert_eq!(count, 1, "{block:?} stands in the docs so many times");
    }
}

#[test]
fn the_readme_can_be_followed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_shop(at);
    follow(&["README.md"], at);
    // What the page says of the files that are left.
    for file in
        ["acclimate-demo/report.html", "runs/shop-games/report.html", "base/base.safetensors", "games.safetensors", "games-run/logs"]
    {
        assert!(at.join(file).exists(), "{file}");
    }
    let size = |file: &str| fs::metadata(at.join(file)).unwrap().len();
    assert!(size("games.safetensors") < size("base/base.safetensors"), "a patch stores only what differs");
    let record: serde_json::Value = serde_json::from_str(&fs::read_to_string(at.join("base/run.json")).unwrap()).unwrap();
    assert_eq!(record["unseen"][0], "games");
}

#[test]
fn the_examples_of_the_key_tables_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_films(at);
    write_shops(at);
    write_purchases(at);
    write_profiles(at);
    follow(&["docs/data-sets.md", "docs/experiments.md"], at);
    assert!(at.join("films.json").exists());
}

/// Commands inside sentences: their files exist, and the program knows their arguments.
#[test]
fn commands_in_prose_name_files_and_arguments_that_exist() {
    let mut checked = 0;
    for page in pages() {
        for span in cut(&page).1.split('`').skip(1).step_by(2) {
            let Some(arguments) = PROGRAM.iter().find_map(|program| span.strip_prefix(program)) else { continue };
            let words: Vec<&str> = arguments.split_whitespace().collect();
            let mut help = acclimate(&root(), &[words[0], "--help"]);
            // A command of commands says what each of them takes.
            if let Some(command) = words.get(1).filter(|_| help.contains("Commands:")) {
                help += &acclimate(&root(), &[words[0], command, "--help"]);
            }
            for word in &words[1..] {
                let known = if word.starts_with("--") { help.contains(word) } else { !word.contains('/') || root().join(word).exists() };
                assert!(known, "{page}: `{span}`: there is no {word}");
            }
            checked += 1;
        }
    }
    assert!(checked > 10, "{checked}");
}
