//! A stream served day by day, from outside: `acclimate compare` with scenario `online`.

mod shop;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use shop::{fails, ok, results};

/// Days of the log; the last four are the stream.
const DAYS: u64 = 12;
const ROWS: u64 = 200;

/// A click log in two shops: an item that is even is clicked by who is even. From the ninth day on people come who were not there before. Labels of one day are `turned` round, or of none.
fn write(folder: &Path, turned: Option<u64>) {
    let mut log = String::from("user,item,time,shop,click,stars\n");
    let mut state = 99_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for day in 0..DAYS {
        for row in 0..ROWS {
            let user = if day >= 8 && draw(3) == 0 { 100 + draw(6) } else { draw(30) };
            let (item, shop) = (draw(12), if draw(4) == 0 { "north" } else { "south" });
            let click = u64::from(draw(10) < if user % 2 == item % 2 { 8 } else { 2 });
            let click = if turned == Some(day) { 1 - click } else { click };
            let time = 1_700_006_400 + day * 86_400 + row * 400;
            log += &format!("{user},{item},{time},{shop},{click},{}\n", 1 + item % 4 + draw(2));
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let data = |label: &str, features: &str| {
        format!(
            "name = 'shops'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\ntime = {{ column = 'time', unit = 's' }}\n\
             domain = {{ column = 'shop' }}\nlabel = {label}\n[[feature]]\nname = 'user'\nkind = 'categorical'\n[[feature]]\nname = 'item'\n\
             kind = 'categorical'\n[[feature]]\nname = 'shop'\nkind = 'domain'\n{features}"
        )
    };
    let clicks = "{ column = 'click', kind = 'click' }";
    let history = "[[feature]]\nname = 'clicked'\nkind = 'history'\ncolumn = 'item'\nwhere = '= 1'\nmax_length = 5\nvocabulary = 'item'\n";
    std::fs::write(folder.join("data.toml"), data(clicks, "")).unwrap();
    std::fs::write(folder.join("history.toml"), data(clicks, history)).unwrap();
    std::fs::write(folder.join("ratings.toml"), data("{ column = 'stars', kind = 'rating', min = 1, max = 5 }", "")).unwrap();
}

const EXPERIMENT: &str = r#"
name = "shops"
dataset = "data.toml"
metrics = ["log_loss", "auc"]
bootstrap = { draws = 30 }
[split]
kind = "global_time"
validation_from = "2023-11-21"
test_from = "2023-11-23"
[scenario]
kind = "online"
[[scenario.mode]]
kind = "frozen"
[[scenario.mode]]
kind = "per_window"
correction = { kind = "prior_shift" }
window = "1d"
every = "6h"
[[scenario.mode]]
kind = "per_window"
label = "entropy"
correction = { kind = "entropy" }
[[scenario.mode]]
kind = "per_request"
method = "film"
guarded = false
[[scenario.mode]]
kind = "refit_daily"
method = "rows"
last = "2d"
[[scenario.mode]]
kind = "refit_daily"
label = "refit_late"
method = "rows"
delay = "1d"
[[scenario.mode]]
kind = "incremental"
[[scenario.mode]]
kind = "retrain_daily"
[base]
backbone = { kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [8] }
train = { epochs = 6, batch = 64, hide = { user = 0.1 }, optimizer = { rate = 1e-2 } }
[train]
epochs = 2
batch = 64
[[method]]
name = "film"
[[method]]
name = "fine_tune_rows"
label = "rows"
[floors]
only = ["global_mean", "bias"]
"#;

const MODES: [&str; 8] = ["frozen", "per_window", "entropy", "per_request", "refit_daily", "refit_late", "incremental", "retrain_daily"];

fn compare(folder: &Path, experiment: &str, name: &str) -> Value {
    std::fs::write(folder.join("experiment.toml"), experiment).unwrap();
    let json = format!("{name}.json");
    ok(folder, &["compare", "experiment.toml", "--out", name, "--json", &json]);
    serde_json::from_str(&std::fs::read_to_string(folder.join(json)).unwrap()).unwrap()
}

fn refused(folder: &Path, experiment: &str) -> String {
    std::fs::write(folder.join("experiment.toml"), experiment).unwrap();
    let (code, message) = fails(folder, &["compare", "experiment.toml", "--out", "refused"]);
    assert_eq!(code, 3, "{message}");
    message
}

/// What was said of each day, by the name of the file without its key.
fn said(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder.join("finished")).unwrap().map(|entry| entry.unwrap().path());
    let days = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("day="));
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().rsplit_once('-').unwrap().0.to_owned();
        let bytes = std::fs::read(path).unwrap();
        let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        (name, bytes[8 + header..].to_vec())
    };
    days.map(read).collect()
}

#[test]
fn every_mode_serves_every_day() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    let report = compare(folder.path(), EXPERIMENT, "out");
    let found = report["results"].as_array().unwrap();
    let value = |setting: &str, method: &str| {
        let of = |r: &&Value| r["setting"] == setting && r["method"] == method && r["metric"] == "log_loss";
        found.iter().find(of).unwrap_or_else(|| panic!("no {method} in {setting}"))["value"].as_f64().unwrap()
    };
    for setting in ["all", "day=20231123", "day=20231126"] {
        assert!(MODES.iter().all(|mode| value(setting, mode) > 0.0));
    }
    assert!(!found.iter().any(|r| r["setting"] == "day=20231127"), "the log ends before");
    // Who came with the stream has a row in what learns.
    assert!(value("day=20231126", "retrain_daily") < value("day=20231126", "frozen"));
    assert!(value("all", "incremental") < value("all", "frozen"));
    let notes = report["notes"].to_string();
    assert!(notes.contains("800 rows on 4 days") && notes.contains("6 of `user`"), "{notes}");
    assert!(notes.contains("`per_window`: of "), "{notes}");
    let cost = |method: &str| found.iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap().clone();
    assert!(cost("refit_daily")["day_seconds"].as_f64().unwrap() > 0.0 && cost("frozen")["day_seconds"].is_null());
    let age = |method: &str| cost(method)["newest_event_hours"].as_f64().unwrap();
    assert!(age("refit_daily") < 24.0 && age("refit_late") > 24.0 && age("frozen") > age("refit_late"), "{}", age("refit_late"));
}

/// The last day's labels are the only difference, and nobody can have seen them: neither where the test days are the stream, nor where the two validation days are, and the days before them choose.
#[test]
fn nothing_that_is_said_depends_on_labels_to_come() {
    for (options, last, days) in [(&[][..], DAYS - 1, 4), (&["--validation"], 7, 2)] {
        let folders = [None, Some(last)].map(|turned| {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), turned);
            std::fs::write(folder.path().join("experiment.toml"), EXPERIMENT).unwrap();
            ok(folder.path(), &[&["compare", "experiment.toml", "--out", "out"], options].concat());
            folder
        });
        let [plain, turned] = folders.each_ref().map(|folder| said(&folder.path().join("out")));
        assert_eq!(plain.len(), days * MODES.len(), "{options:?}");
        for (name, values) in &plain {
            assert!(turned.get(name) == Some(values), "{name} has changed with labels that came later, {options:?}");
        }
    }
}

/// The days that were served before an interruption are read, and what follows is what it would have been.
#[test]
fn it_goes_on_with_the_day_that_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    compare(folder.path(), EXPERIMENT, "out");
    let first = results(&folder.path().join("out.json"));
    for path in std::fs::read_dir(folder.path().join("out/finished")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("day=20231125") || name.starts_with("day=20231126") {
            std::fs::remove_file(path).unwrap();
        }
    }
    std::fs::remove_dir_all(folder.path().join("out/bases/day=20231125,incremental-seed1")).unwrap();
    compare(folder.path(), EXPERIMENT, "out");
    assert_eq!(results(&folder.path().join("out.json")), first);
}

#[test]
fn ratings_are_learned_per_event() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    let experiment = EXPERIMENT.replace("data.toml", "ratings.toml").replace("\"log_loss\", \"auc\"", "\"rmse[pooled]\", \"mae\"");
    let message = refused(folder.path(), &experiment);
    assert!(message.contains("labels here are ratings"), "{message}");
    let begin = experiment.find("[[scenario.mode]]\nkind = \"per_window\"").unwrap();
    let end = experiment.find("[[scenario.mode]]\nkind = \"per_request\"").unwrap();
    let modes = "[[scenario.mode]]\nkind = \"per_event\"\n";
    let floors = "only = [\"global_mean\", \"bias\", \"bias_per_event\"]";
    let experiment = format!("{}{modes}{}", &experiment[..begin], &experiment[end..]).replace("only = [\"global_mean\", \"bias\"]", floors);
    let report = compare(folder.path(), &experiment, "out");
    let of = |method: &str| {
        report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap().clone()
    };
    assert!(of("per_event")["value"].as_f64().unwrap() < of("global_mean")["value"].as_f64().unwrap());
    assert_eq!(of("bias_per_event")["kind"], "floor");
    assert!(of("per_event")["newest_event_hours"].as_f64().unwrap() < 1.0);
}

#[test]
fn a_state_that_ends_with_training_is_told_from_one_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    let only = |state: &str| {
        let begin = EXPERIMENT.find("[[scenario.mode]]\nkind = \"per_window\"").unwrap();
        let end = EXPERIMENT.find("[base]").unwrap();
        let modes =
            "[[scenario.mode]]\nkind = \"frozen\"\nstate = \"frozen\"\n[[scenario.mode]]\nkind = \"incremental\"\nstate = \"frozen\"\n";
        format!("{}{modes}{}", &EXPERIMENT[..begin], &EXPERIMENT[end..]).replace("dataset = \"data.toml\"", state)
    };
    let message = refused(folder.path(), &only("dataset = \"data.toml\""));
    assert!(message.contains("no features of earlier rows"), "{message}");
    let message = refused(folder.path(), &only("dataset = \"history.toml\""));
    assert!(message.contains("must be \"moving\""), "{message}");
    let report = compare(folder.path(), &only("dataset = \"history.toml\"\nstate = \"moving\""), "out");
    let of = |method: &str| {
        report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap().clone()
    };
    let age = |method: &str| of(method)["newest_event_hours"].as_f64().unwrap();
    assert!(age("frozen") < 1.0 && age("frozen[state=frozen]") > 24.0);
    assert_ne!(of("frozen")["value"], of("frozen[state=frozen]")["value"]);
    assert!(of("incremental[state=frozen]")["value"].as_f64().is_some());
}

/// Of a base without batch norms no window moves a score; of one with some, windows that are long enough do, behind the guard of labels that have come in.
#[test]
fn moments_of_a_window_move_batch_norms_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    let from = EXPERIMENT.find("[[scenario.mode]]\nkind = \"per_window\"").unwrap();
    let until = EXPERIMENT.find("[base]").unwrap();
    let mode = |keys: &str| {
        format!("[[scenario.mode]]\nkind = \"per_window\"\ncorrection = {{ kind = \"moments\"{keys} }}\nwindow = \"2d\"\nevery = \"12h\"\n")
    };
    let with = |keys: &str, hidden: &str| {
        let text = format!("{}{}{}", &EXPERIMENT[..from], mode(keys), &EXPERIMENT[until..]);
        text.replace("hidden = [8]", hidden)
    };
    let notes = |report: &Value| report.to_string();
    let value = |report: &Value, method: &str| {
        report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap()["value"].clone()
    };
    let plain = compare(folder.path(), &with("", "hidden = [8]"), "plain");
    assert_eq!(value(&plain, "per_window"), value(&plain, "frozen"));
    assert!(notes(&plain).contains("abstained by test: no batch norm"));
    let norms = "hidden = [8], norm = \"batch\"";
    let waits = compare(folder.path(), &with(", least = 20, pseudo_count = 16.0", norms), "waits");
    assert!(notes(&waits).contains("replay"), "the first day has no label that could show a gain");
    let moved = compare(folder.path(), &with(", least = 20, pseudo_count = 16.0, guarded = false", norms), "moved");
    assert_ne!(value(&moved, "per_window"), value(&moved, "frozen"));
    let few = compare(folder.path(), &with(", least = 100000", norms), "few");
    assert_eq!(value(&few, "per_window"), value(&few, "frozen"));
    assert!(notes(&few).contains("abstained by test: rows"));
    let message = refused(folder.path(), &with(", pseudo_count = -1.0", norms));
    assert!(message.contains("set `pseudo_count` to a number of at least 0"), "{message}");
}

/// A method that nothing before the stream speaks for is not served: the base answers, to the bit.
#[test]
fn a_method_answers_without_labels_only_where_it_was_shown_better() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    // A head that is trained to nonsense can not be shown better.
    let text = EXPERIMENT
        .replace("guarded = false\n", "")
        .replace("name = \"film\"\n", "name = \"film\"\ntrain = { optimizer = { rate = 3.0 } }\n");
    let report = compare(folder.path(), &text, "guarded");
    let value = |method: &str| {
        report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap()["value"].clone()
    };
    assert_eq!(value("per_request"), value("frozen"));
    assert!(report.to_string().contains("`per_request` with methods of sets no: nothing says which rows are one request"));
    assert!(report.to_string().contains("`per_request` abstains, and the base answers: on rows before the stream"));
    let unguarded = compare(folder.path(), &text.replace("method = \"film\"\n", "method = \"film\"\nguarded = false\n"), "unguarded");
    let of = |method: &str| {
        unguarded["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["setting"] == "all").unwrap()["value"].clone()
    };
    assert_ne!(of("per_request"), of("frozen"));
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), None);
    let wrong = |from: &str, to: &str, says: &str| {
        assert!(EXPERIMENT.contains(from), "{from}");
        let message = refused(folder.path(), &EXPERIMENT.replacen(from, to, 1));
        assert!(message.contains(says), "{message}");
    };
    wrong("[[scenario.mode]]\nkind = \"frozen\"\n", "", "has no `kind = \"frozen\"`");
    wrong("label = \"entropy\"\n", "", "stands there twice");
    wrong("[floors]", "[[entrant]]\nname = \"frozen\"\ncolumn = \"stars\"\n[floors]", "has the name of an [[entrant]]");
    wrong("method = \"film\"", "method = \"fil\"", "names no method `fil`; there are film, rows");
    wrong("method = \"film\"", "", "names no `method`");
    wrong("kind = \"incremental\"", "kind = \"incremental\"\nmethod = \"rows\"", "only `refit_daily` and `per_request` have");
    wrong("kind = \"incremental\"", "kind = \"incremental\"\ntrain = { epoch = 2 }", "unknown field `epoch`");
    wrong("kind = \"incremental\"", "kind = \"incremental\"\nlast = \"1d\"", "has `last`");
    wrong("correction = { kind = \"prior_shift\" }\n", "", "says not what it corrects");
    wrong("kind = \"retrain_daily\"", "kind = \"per_event\"", "the labels here are clicks");
    wrong("kind = \"retrain_daily\"", "kind = \"retrain_daily\"\nbase = \"big\"", "names no base `big`");
    wrong("delay = \"1d\"", "delay = \"soon\"", "soon");
    wrong("kind = \"incremental\"", "kind = \"incremental\"\nguarded = true", "has `guarded`, which only `per_request` has");
    wrong("[[method]]\nname = \"film\"", "[[method]]\nname = \"request_set\"\nlabel = \"film\"", "nothing says which rows are one request");
    wrong(
        "kind = \"global_time\"\nvalidation_from = \"2023-11-21\"\ntest_from = \"2023-11-23\"",
        "kind = \"random\"\nvalidation = 0.1\ntest = 0.3",
        "cut the log by time",
    );
}
