//! Splits, measured parts and groups from outside: what an experiment file says, and what the program says of it.

use std::path::Path;
use std::process::{Command, Output};

use acclimate::open::OpenBase;
use acclimate::{Experiment, Source};
use serde_json::Value;

/// Clicks of 40 users on 12 items in two shops, a row a minute; `part` and `news` say things that no feature reads.
fn write_data(folder: &Path) {
    let mut log = String::from("user,item,time,shop,click,part\n");
    let mut state = 7_u64;
    let mut draw = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..2000_u64 {
        let (user, item, shop) = (draw(40), draw(12), if draw(3) == 0 { "north" } else { "south" });
        let click = u64::from(draw(10) < if user % 2 == item % 2 { 8 } else { 2 });
        let part = match (row % 10, shop) {
            (0, _) => "held",
            (1, "north") => "test_north",
            (1, _) => "test_south",
            (2, _) => "spare",
            _ => "learn",
        };
        log += &format!("{user},{item},{},{shop},{click},{part}\n", START + row * 60);
    }
    let users: String = (0..40).map(|u| format!("{u},{},{}\n", if u % 4 < 2 { "F" } else { "M" }, u % 7)).collect();
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("users.csv"), format!("user,gender,week\n{users}")).unwrap();
    std::fs::write(folder.join("data.toml"), DATA).unwrap();
}

/// 2023-11-14 22:13:20.
const START: u64 = 1_700_000_000;

const DATA: &str = r#"
name = "shops"
[interactions]
files = ["log.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
domain = { column = "shop" }
label = { column = "click", kind = "click" }
[[users]]
files = ["users.csv"]
key = "user"
[[attribute]]
name = "gender"
kind = "text"
from = "users"
[[attribute]]
name = "week"
from = "users"
[[feature]]
name = "user"
kind = "categorical"
[[feature]]
name = "item"
kind = "categorical"
[[feature]]
name = "shop"
kind = "domain"
"#;

/// An experiment with this split and scenario.
fn experiment(split: &str, scenario: &str) -> String {
    format!(
        r#"
name = "shops"
dataset = "data.toml"
metrics = ["auc", "log_loss"]
bootstrap = {{ draws = 50 }}
[split]
{split}
[scenario]
{scenario}
[base]
backbone = {{ kind = "dnn", embedding = 4, embedding_std = 0.1, hidden = [8] }}
train = {{ epochs = 2, batch = 64, hide = {{ shop = 0.1 }}, optimizer = {{ rate = 1e-2 }} }}
[train]
epochs = 1
batch = 64
[[method]]
name = "fine_tune_last"
"#
    )
}

const TIME: &str = "kind = \"global_time\"\nvalidation_from = \"2023-11-15 15:00\"\ntest_from = \"2023-11-15 23:00\"";
const GIVEN: &str = "kind = \"given\"\ncolumn = \"part\"\nparts = { train = [\"learn\"], validation = [\"held\"], test_north = [\"test_north\"], test_south = [\"test_south\"] }";
const ALL_DOMAINS: &str = "kind = \"multi_domain\"";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acclimate"));
    command.current_dir(folder).args(arguments).args(["--threads", "1"]).env_remove("ACCLIMATE_DATA").output().unwrap()
}

fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The report of an experiment.
fn compare(folder: &Path, text: &str, more: &[&str]) -> Value {
    std::fs::write(folder.join("experiment.toml"), text).unwrap();
    ok(folder, &[&["compare", "experiment.toml", "--out", "out", "--quiet", "--json", "out.json"], more].concat());
    serde_json::from_str(&std::fs::read_to_string(folder.join("out.json")).unwrap()).unwrap()
}

/// What is said of an experiment that must be refused before anything is trained.
fn refused(folder: &Path, text: &str) -> String {
    std::fs::write(folder.join("wrong.toml"), text).unwrap();
    let output = run(folder, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && !folder.join("wrong/bases").exists(), "{said}");
    said
}

/// Settings in the order of the report.
fn settings(report: &Value) -> Vec<String> {
    let mut names: Vec<String> = report["results"].as_array().unwrap().iter().map(|r| r["setting"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names
}

fn value(report: &Value, setting: &str, method: &str, metric: &str) -> f64 {
    let wanted = |r: &&Value| r["setting"] == setting && r["method"] == method && r["metric"] == metric;
    let found = report["results"].as_array().unwrap().iter().find(wanted);
    found.and_then(|r| r["value"].as_f64()).unwrap_or_else(|| panic!("{metric} of {method} in {setting}: {found:?}"))
}

fn notes(report: &Value) -> String {
    report["notes"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned() + "\n").collect()
}

fn sizes(folder: &Path, split: &str) -> Vec<(String, usize)> {
    let experiment = Experiment::parse(&experiment(split, ALL_DOMAINS), folder.join("e.toml")).unwrap();
    Source::load(&experiment).unwrap().split.parts().map(|(name, rows)| (name.to_owned(), rows.len())).collect()
}

/// 15:00 comes 1,006.67 minutes after the first row, 23:00 comes 1,486.67.
#[test]
fn a_bound_in_time_may_be_written_in_any_way() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let expected = [("train".to_owned(), 1007), ("validation".to_owned(), 480), ("test".to_owned(), 513)];
    assert_eq!(sizes(at, TIME), expected);
    for [validation, test] in
        [["2023-11-15T15:00:00Z", "2023-11-15 23:00:00"], ["1700060400", "1700089200"], ["1700060400000", "\"2023-11-15T23:00:00+00:00\""]]
    {
        assert_eq!(sizes(at, &format!("kind = \"global_time\"\nvalidation_from = {validation}\ntest_from = {test}")), expected);
    }
    for (split, said) in [
        (
            "validation_from = \"2023-11-15\"\ntest_from = \"2023-12-01\"",
            "[split]: part `test` has no rows: validation begins at 2023-11-15 00:00 and test at 2023-12-01 00:00, and the log goes from 2023-11-14 22:13 to 2023-11-16 07:32 (UTC)",
        ),
        ("validation_from = 5\ntest_from = \"2023-11-15\"", "split setting `validation_from` = 5 is a date in none of the units"),
        ("validation_from = \"2023-11-15\"\ntest_from = \"tomorrow\"", "split setting `test_from` = \"tomorrow\" is no moment"),
        ("validation_from = \"2023-11-15\"", "split setting `test_from`: is missing"),
    ] {
        let message = refused(at, &experiment(&format!("kind = \"global_time\"\n{split}"), ALL_DOMAINS));
        assert!(message.contains(said) && message.contains("wrong.toml"), "{message}");
    }
}

#[test]
fn a_base_keeps_the_moments_of_its_split_when_the_log_grows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let parts = || {
        let source = OpenBase::open(&at.join("base"), None).unwrap().source;
        source.split.parts().map(|(_, rows)| rows.to_vec()).collect::<Vec<_>>()
    };
    for split in ["kind = \"global_time\"\nvalidation = 0.2\ntest = 0.3", TIME, GIVEN, "kind = \"random\""] {
        write_data(at);
        std::fs::write(at.join("experiment.toml"), experiment(split, ALL_DOMAINS)).unwrap();
        ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
        let trained = Source::load(&Experiment::load(at.join("experiment.toml")).unwrap()).unwrap().split;
        let before = parts();
        assert_eq!(before, trained.parts().map(|(_, rows)| rows.to_vec()).collect::<Vec<_>>(), "{split}");
        let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
        let later: String =
            (0..500).map(|row| format!("{},{},{},south,1,learn\n", row % 40, row % 12, START + (3000 + row) * 60)).collect();
        std::fs::write(at.join("log.csv"), log + &later).unwrap();
        for (before, after) in before.iter().zip(parts()) {
            let known: Vec<u32> = after.into_iter().filter(|&row| row < 2000).collect();
            assert_eq!(before, &known, "{split}");
        }
    }
}

#[test]
fn parts_that_a_column_gives_are_settings_and_have_groups() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let scenario = "kind = \"multi_domain\"\nsettings = [\"test_south\", \"test_north\"]\nby = \"gender\"";
    let report = compare(at, &experiment(GIVEN, scenario), &[]);
    let expected = ["test_south", "test_south,gender=F", "test_north", "test_north,gender=F"];
    let found: Vec<String> = settings(&report).into_iter().filter(|s| !s.ends_with("gender=M")).collect();
    assert_eq!(found, expected);
    let said = notes(&report);
    assert!(said.contains("200 rows are left out, for these values of `part` are in no part of the split: `spare` (200)."), "{said}");
    assert!(said.contains("test_south by gender: F "), "{said}");
    // Measured alone, a part has the numbers that it has beside another.
    let alone = compare(at, &experiment(GIVEN, "kind = \"multi_domain\"\nsettings = [\"test_north\"]"), &[]);
    for method in ["base", "fine_tune_last", "item_mean", "bias"] {
        for metric in ["auc", "log_loss"] {
            let [a, b] = [&report, &alone].map(|report| value(report, "test_north", method, metric));
            assert!((a - b).abs() < 1e-12, "{method} {metric}: {a} {b}");
        }
    }
    // Log loss is a mean over rows: that of all lies where the groups put it.
    let whole = value(&report, "test_south", "base", "log_loss");
    let women = value(&report, "test_south,gender=F", "base", "log_loss");
    let men = value(&report, "test_south,gender=M", "base", "log_loss");
    let rows = |gender: &str| {
        let size = said.split("test_south by gender: ").nth(1).unwrap().split(&format!("{gender} ")).nth(1).unwrap();
        size.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let (f, m) = (rows("F"), rows("M"));
    assert!((whole - (f * women + m * men) / (f + m)).abs() < 1e-6, "{whole} {women} {men}");
    for (text, expected) in [
        (
            experiment(GIVEN, "kind = \"multi_domain\""),
            "the split has no part `test`; its parts are: train, validation, test_north, test_south",
        ),
        (experiment(GIVEN, "kind = \"multi_domain\"\nsettings = []"), "settings: is empty"),
        (experiment(GIVEN, "kind = \"multi_domain\"\nsettings = [\"test_north\", \"test_north\"]"), "names `test_north` twice"),
        (experiment(TIME, "kind = \"multi_domain\"\nby = \"sex\""), "by: names no attribute `sex` of the data set (it has: gender, week)"),
        (
            experiment(&GIVEN.replace("[\"held\"]", "[\"helt\"]"), "kind = \"multi_domain\""),
            "the value `helt`, which attribute `part` never has",
        ),
    ] {
        let message = refused(at, &text);
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn groups_that_are_too_small_are_said_and_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // Weeks 0 to 4 have six users, weeks 5 and 6 five: none has ten.
    let report = compare(at, &experiment(TIME, "kind = \"multi_domain\"\nby = \"week\""), &[]);
    assert_eq!(settings(&report), ["test"]);
    assert!(
        notes(&report).contains("test by week: no group is large enough; not measured, with fewer than 10 users: 0 "),
        "{}",
        notes(&report)
    );
    let validation = compare(at, &experiment(TIME, "kind = \"multi_domain\"\nby = \"gender\"\nsettings = [\"later\"]"), &["--validation"]);
    assert_eq!(settings(&validation), ["validation", "validation,gender=F", "validation,gender=M"]);
}

#[test]
fn a_new_domain_is_measured_in_several_parts_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let split = "kind = \"given\"\ncolumn = \"part\"\nparts = { train = [\"learn\"], validation = [\"held\"], test = [\"test_north\", \"test_south\"], spare = [\"spare\"] }";
    let scenario = "kind = \"new_domain\"\ntargets = [\"north\"]\nsizes = [0, 50]\nsettings = [\"test\", \"spare\"]\nby = \"gender\"";
    let report = compare(at, &experiment(split, scenario), &[]);
    let all = settings(&report);
    for name in ["n=0", "n=0,spare", "n=50", "n=50,gender=F", "n=50,spare"] {
        assert!(all.iter().any(|s| s == name), "{name}: {all:?}");
    }
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    // Rows that end in the text are changed, or left out.
    let change = |end: &str, to: &dyn Fn(&str) -> Option<String>| {
        let lines = log.lines().filter_map(|line| if line.ends_with(end) { to(line) } else { Some(line.to_owned()) });
        std::fs::write(at.join("log.csv"), lines.map(|line| line + "\n").collect::<String>()).unwrap();
    };
    // The last target is never clicked in the test part, or has no row to learn from: said before the first is trained for.
    let both = "kind = \"new_domain\"\ntargets = [\"south\", \"north\"]\nsizes = [\"all\"]";
    change(",north,1,test_north", &|line| Some(line.replace(",north,1,", ",north,0,")));
    let message = refused(at, &experiment(split, both));
    assert!(
        message.contains("`auc` has no value on part `test` of shop=north: the labels of its") && message.contains("are all 0"),
        "{message}"
    );
    // A metric that needs no second label is measured.
    compare(at, &experiment(split, both).replace("\"auc\", ", ""), &[]);
    let north = both.replace("\"south\", ", "");
    change(",learn", &|line| (!line.contains(",north,")).then(|| line.to_owned()));
    let message = refused(at, &experiment(split, &north));
    assert!(message.contains("part `train` has no rows of shop=north"), "{message}");
    // Other domains with one label teach a base nothing; a target with one label is said.
    change(",south,1,learn", &|line| Some(line.replace(",1,learn", ",0,learn")));
    let message = refused(at, &experiment(split, &north));
    assert!(message.contains("part `train` has rows of one label only of domains other than shop=north"), "{message}");
    change(",north,1,learn", &|line| Some(line.replace(",1,learn", ",0,learn")));
    let said = notes(&compare(at, &experiment(split, &north), &[]));
    assert!(said.contains("shop=north: the labels of its ") && said.contains(" training rows are all 0"), "{said}");
}

#[test]
fn validation_rows_of_one_label_can_not_choose_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    std::fs::write(at.join("log.csv"), log.replace(",1,held", ",0,held")).unwrap();
    let scenario = "kind = \"multi_domain\"\nsettings = [\"test_south\"]";
    let message = refused(at, &experiment(GIVEN, scenario));
    assert!(message.contains("select: `auc` has no value on part `validation`: the labels of its 200 rows are all 0"), "{message}");
    let text = experiment(GIVEN, scenario).replace("bootstrap", "select = \"log_loss\"\nbootstrap");
    compare(at, &text, &[]);
}

#[test]
fn parts_of_cold_users_have_bounds_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let split = "kind = \"cold_users\"\nusers = { rule = \"attribute\", attribute = \"week\", validation = [5, 5], test = [\"6\"] }";
    let scenario = |bounds: &str| {
        format!("kind = \"cold_start\"\nsettings = [\"test\"]\ntasks = {{ query = 5, min_rows = 8, support_sizes = [0, 2] }}\n{bounds}")
    };
    let all = notes(&compare(at, &experiment(split, &scenario("")), &[]));
    assert!(all.contains("test: 5 users are measured") && all.contains("0 with fewer than 8 rows and 0 with more than 100"), "{all}");
    let some = notes(&compare(at, &experiment(split, &scenario("[scenario.bounds.test]\nmax_rows = 50")), &[]));
    assert!(some.contains("with fewer than 8 rows and ") && some.contains("with more than 50 are left out"), "{some}");
    let count = |said: &str| said.split("test: ").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(count(&some) < 5, "{some}");
    for (bounds, expected) in [
        (
            "[scenario.bounds.tests]\nmax_rows = 50",
            "[scenario.bounds.tests]: is of no part that is used here; there are train, validation, test",
        ),
        ("[scenario.bounds.test]\nmin_rows = 3", "[scenario.bounds.test]: task setting `min_rows` = 3 must be at least `query` = 5"),
        ("[scenario.bounds.test]\nmin_rows = 99", "leave part `test` without a user to measure: no user has 99 to 100 rows there"),
        ("[scenario.bounds.test]\nleast = 3", "unknown field `least`"),
    ] {
        let message = refused(at, &experiment(split, &scenario(bounds)));
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

/// Users look at five gadgets and buy three of `creams` creams each; the first `greedy` users have bought every one.
fn write_sequences(folder: &Path, creams: u64, greedy: u64) {
    let mut log = String::from("user,item,day,shop\n");
    for user in 0..100_u64 {
        let mut time = 1_700_000_000 + user;
        let mut row = |item: String, shop: &str| {
            time += 1000;
            log += &format!("u{user},{item},{time},{shop}\n");
        };
        (0..5).for_each(|step| row(format!("g{}", (user * 7 + step) % 20), "gadgets"));
        let bought = if user < greedy { creams } else { 3 };
        (0..bought).for_each(|step| row(format!("c{}", (user * 3 + step) % creams), "creams"));
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let data = "name = 'circles'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\ntime = { column = 'day', unit = 's' }\n\
                domain = { column = 'shop' }\nlabel = { kind = 'implicit' }\n";
    std::fs::write(folder.join("data.toml"), data).unwrap();
}

fn sequences(metrics: &str, count: usize) -> String {
    format!(
        "name = 'circles'\ndataset = 'data.toml'\nmetrics = [{metrics}]\nbootstrap = {{ draws = 50 }}\n\
         split = {{ kind = 'cold_users', users = {{ rule = 'rank', prefix = 'u:', existing_percent = 60, validation_percent = 30 }} }}\n\
         scenario = {{ kind = 'cold_sequence', source = 'gadgets', target = 'creams', negatives = {{ count = {count} }} }}\n\
         base = {{ backbone = {{ kind = 'nextitnet', width = 8, dilations = [1] }}, train = {{ epochs = 1, batch = 32 }} }}\n\
         train = {{ epochs = 1, batch = 32 }}\nmethod = [{{ name = 'scratch' }}]\n"
    )
}

#[test]
fn a_sampled_metric_never_ranks_fewer_items_than_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_sequences(at, 30, 0);
    let whole = notes(&compare(at, &sequences("'mrr[full]', 'hr@1[sampled=27]'", 27), &[]));
    assert!(!whole.contains("leave out"), "every user has 27 others: {whole}");
    let message = refused(at, &sequences("'mrr[full]', 'hr@1[sampled=28]'", 28));
    assert!(
        message.contains("[scenario] negatives: `count` = 28 is more than there are") && message.contains("half of them 27 or more"),
        "{message}"
    );
    compare(at, &sequences("'mrr[full]'", 28), &[]);
    let chosen = sequences("'mrr[full]'", 28).replace("bootstrap", "select = 'mrr[sampled=28]'\nbootstrap");
    assert!(refused(at, &chosen).contains("queries of part `validation`"));
    // A third of the users have every item: no negatives are left for them, and they count in full metrics only.
    write_sequences(at, 30, 33);
    let report = compare(at, &sequences("'mrr[full]', 'hr@1[sampled=27]', 'mrr[sampled=27]'", 27), &[]);
    let said = notes(&report);
    let note = said.lines().find(|line| line.starts_with("Metrics of [sampled=27] leave out ")).unwrap_or_else(|| panic!("{said}"));
    let left: usize = note.split(' ').nth(5).unwrap().parse().unwrap();
    assert!(left > 0 && left.is_multiple_of(3), "{note}");
    // A query without negatives would have rank 1 whatever is said; those that are left have 28 places.
    assert!(value(&report, "new_user", "popularity", "hr@1[sampled=27]") < 0.5, "{report}");
    write_sequences(at, 1, 0);
    assert!(refused(at, &sequences("'mrr[full]'", 1)).contains("nothing to rank"));
}

#[test]
fn rows_that_repeat_training_rows_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    // User 0 has had item 0 before, all others take a new item last.
    let mut log = String::from("user,item,time,shop,click,part\n");
    for user in 0..40 {
        for step in 0..4 {
            let item = if step == 3 && user > 0 { 11 } else { step % 3 };
            log += &format!("{user},{item},{},south,{},learn\n", START + user * 100 + step, (user + step) % 2);
        }
    }
    std::fs::write(at.join("log.csv"), log).unwrap();
    let report = compare(at, &experiment("kind = \"leave_last_out\"", ALL_DOMAINS), &[]);
    let expected = "The same user and item stand in training rows as well for 1 of 40 rows of `test`.";
    assert!(notes(&report).contains(expected), "{}", notes(&report));
    let said = ok(at, &["inspect", "data.toml", "--json", "inspect.json"]);
    for line in [
        "The last rows in time are of users without earlier rows",
        "kind = \"leave_last_out\"",
        "It makes 80 rows of `train`, 40 rows of `validation`, 40 rows of `test`.",
        expected,
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let json: Value = serde_json::from_str(&std::fs::read_to_string(at.join("inspect.json")).unwrap()).unwrap();
    assert!(json["split"]["toml"].as_str().unwrap().starts_with("[split]\nkind = \"leave_last_out\"") && json["rows"] == 160, "{json}");
    ok(at, &["pretrain", "data.toml", "--out", "base", "--quiet"]);
    let record: Value = serde_json::from_str(&std::fs::read_to_string(at.join("base/run.json")).unwrap()).unwrap();
    assert_eq!(record["split"]["kind"], "leave_last_out", "a base without an experiment takes the split that is proposed");
}
