//! Bases of sequences from outside: comparisons, and the commands that train, adapt, measure and recommend.

mod shop;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use acclimate::Experiment;
use acclimate::scenario::ScenarioConfig;
use serde_json::Value;
use shop::{fails, ok};

/// Who buys s5, s6, .. around a circle of gadgets goes on to t10, t11, .. around a circle of creams.
fn write_sequences(folder: &Path) {
    let mut log = String::from("user,item,day,shop\n");
    for user in 0..400_u64 {
        let start = user * 7 % 20;
        for step in 0..5 {
            log += &format!("{user},s{},{},gadgets\n", (start + step) % 20, 1_700_000_000 + step * 86_400);
        }
        for step in 5..7 {
            log += &format!("{user},t{},{},creams\n", (start + step) % 20, 1_700_000_000 + step * 86_400);
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let data = r#"
        name = "circles"
        [interactions]
        files = ["log.csv"]
        user = "user"
        item = "item"
        time = { column = "day", unit = "s" }
        domain = { column = "shop" }
        label = { kind = "implicit" }
        [[feature]]
        name = "item"
        kind = "categorical"
    "#;
    std::fs::write(folder.join("data.toml"), data).unwrap();
    std::fs::write(folder.join("experiment.toml"), SEQUENCES).unwrap();
}

const SEQUENCES: &str = r#"
name = "circles"
dataset = "data.toml"
metrics = ["mrr[full]", "hr@1[sampled=9]"]
select = "mrr[full]"
bootstrap = { draws = 50 }
[split]
kind = "cold_users"
users = { rule = "residue", salt = 1, modulus = 10, validation = [7, 7], test = [8, 9] }
[scenario]
kind = "cold_sequence"
source = "gadgets"
target = "creams"
negatives = { count = 9 }
[base]
backbone = { kind = "nextitnet", width = 16, dilations = [1] }
train = { epochs = 6, batch = 32, optimizer = { rate = 1e-2 } }
[train]
epochs = 10
batch = 32
optimizer = { rate = 1e-2 }
[[method]]
name = "fine_tune_all"
[[method]]
name = "adapter"
"#;

fn acclimate_scenario(text: &str) -> ScenarioConfig {
    Experiment::parse(text, "experiment.toml").unwrap().scenario
}

#[test]
fn cold_users_are_ranked_for_by_what_they_did_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_sequences(at);
    let sampled = SEQUENCES.replace("negatives = { count = 9 }", "negatives = { count = 9 }\ntraining_negatives = { count = 8 }");
    std::fs::write(at.join("sampled.toml"), &sampled).unwrap();
    // Both of a user's targets are asked for after the same input, so 0.75 is the best there is.
    for (experiment, least) in [("experiment.toml", 0.74), ("sampled.toml", 0.6)] {
        let table = ok(at, &["compare", experiment, "--out", experiment.trim_end_matches(".toml"), "--json", "out.json", "--quiet"]);
        assert!(table.contains("recency_popularity") && table.contains("markov"), "{table}");
        let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
        let of = |method: &str, metric: &str| {
            let found = report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == metric);
            found.unwrap()["value"].as_f64().unwrap()
        };
        for method in ["fine_tune_all", "adapter"] {
            assert!(of(method, "mrr[full]") > least && of(method, "hr@1[sampled=9]") > least, "{experiment}: {table}");
        }
        assert!(of("popularity", "mrr[full]") < 0.4, "{table}");
    }
    std::fs::write(at.join("wrong.toml"), sampled.replace("training_negatives = { count = 8 }", "training_negatives = { count = 0 }"))
        .unwrap();
    let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
    assert!(code == 3 && message.contains("`count` must be at least 1"), "{message}");
    std::fs::write(at.join("wrong.toml"), SEQUENCES.replace("width = 16,", "width = 16, head = 3,")).unwrap();
    let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
    assert!(code == 3 && message.contains("wrong.toml"), "{message}");
    for (from, to, expected) in [
        ("negatives = { count = 9 }", "negatives = { count = 9 }\nqueries = { length = 0 }", "queries: needs `length`"),
        ("epochs = 10\n", "epochs = 10\nintercept = true\n", "`intercept` needs labelled rows"),
        ("[train]\n", "[floors]\nwithout_features = [\"item\"]\n[train]\n", "read none"),
        ("[train]\n", "[floors]\nbias = { item_shrink = 1 }\n[train]\n", "[floors] bias: is no floor of this scenario"),
        ("[train]\n", "[floors]\nonly = [\"bias\"]\n[train]\n", "names no floor `bias` of this scenario; there are popularity"),
    ] {
        assert!(SEQUENCES.contains(from));
        std::fs::write(at.join("wrong.toml"), SEQUENCES.replace(from, to)).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
        assert!(code == 3 && message.contains(expected), "{to}: {message}");
    }
    // Keys that are not given keep their defaults: three queries a user at most.
    let experiment =
        |queries: &str| SEQUENCES.replace("negatives = { count = 9 }", &format!("negatives = {{ count = 9 }}\nqueries = {queries}"));
    let queries = |text: String| match acclimate_scenario(&text) {
        ScenarioConfig::ColdSequence(scenario) => scenario.queries,
        _ => panic!("another scenario"),
    };
    let (given, all) = (queries(experiment("{ min_input = 2 }")), queries(SEQUENCES.to_owned()));
    assert_eq!((given.min_input, given.length, given.max_per_user), (2, all.length, all.max_per_user));
    let rows = SEQUENCES.split("[scenario]").next().unwrap().replace("mrr[full]", "auc").replace("hr@1[sampled=9]", "log_loss");
    let rows = rows + "[scenario]\nkind = \"multi_domain\"\n[base]\nbackbone = { kind = \"dnn\" }\n";
    std::fs::write(at.join("wrong.toml"), rows).unwrap();
    let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
    assert!(code == 3 && message.contains("holds positives only"), "{message}");
}

/// The value of a method's metric in a report file.
fn value(at: &Path, file: &str, method: &str, metric: &str) -> f64 {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join(file)).unwrap()).unwrap();
    let found = report["results"].as_array().unwrap().iter().find(|r| r["method"] == method && r["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {metric} of {method} in {file}"))["value"].as_f64().unwrap()
}

#[test]
fn a_base_of_sequences_is_pretrained_adapted_measured_and_recommends() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_sequences(at);
    let said = ok(at, &["pretrain", "experiment.toml", "--out", "base", "--json", "base.json", "--quiet"]);
    assert!(said.contains("acclimate adapt adapter --base base"), "{said}");
    let adapt = |out: &str| {
        let keys = ["--train", "epochs=10", "--train", "batch=32", "--train", "optimizer.rate=1e-2"];
        let whole = [&["adapt", "fine_tune_all", "--base", "base", "--out", out][..], &keys].concat();
        ok(at, &whole)
    };
    let said = adapt("all.safetensors");
    assert!(said.contains("Shown to be better than the base: it is applied."), "{said}");
    adapt("again.safetensors");
    assert_eq!(std::fs::read(at.join("all.safetensors")).unwrap(), std::fs::read(at.join("again.safetensors")).unwrap());
    let table = ok(at, &["evaluate", "--base", "base", "--patch", "all.safetensors", "--part", "validation", "--json", "validation.json"]);
    assert!(table.contains("recency_popularity") && table.contains("markov"), "{table}");
    // The same questions in the report of `pretrain`: the saved base says what it said there.
    assert_eq!(value(at, "validation.json", "base", "mrr[full]"), value(at, "base.json", "base", "mrr[full]"));
    ok(at, &["evaluate", "--base", "base", "--patch", "all.safetensors", "--json", "test.json"]);
    let (base, all) = (value(at, "test.json", "base", "mrr[full]"), value(at, "test.json", "all", "mrr[full]"));
    assert!(all > 0.7 && base < 0.5, "{base} {all}");

    ok(at, &["predict", "--base", "base", "--patch", "all.safetensors", "--top", "3", "--out", "top.csv"]);
    let text = std::fs::read_to_string(at.join("top.csv")).unwrap();
    let log = std::fs::read_to_string(at.join("log.csv")).unwrap();
    let mut bought: HashMap<&str, HashSet<&str>> = HashMap::new();
    for line in log.lines().skip(1) {
        let mut cells = line.split(',');
        bought.entry(cells.next().unwrap()).or_default().insert(cells.next().unwrap());
    }
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(text.lines().next(), Some("model,user,item,rank,score"));
    for run in rows.chunks(3) {
        let scores: Vec<f32> = run.iter().map(|row| row[4].parse().unwrap()).collect();
        assert!(run.iter().enumerate().all(|(i, row)| row[..2] == run[0][..2] && row[3] == (i + 1).to_string()), "{run:?}");
        assert!(scores.is_sorted_by(|a, b| a >= b), "{run:?}");
        assert!(run.iter().all(|row| row[2].starts_with('t') && !bought[row[1]].contains(row[2])), "{run:?}");
    }
    for (arguments, code, expected) in [
        (&["predict", "--base", "base", "--known", "data.toml"][..], 2, "leave --known and --context out"),
        (&["evaluate", "--base", "base", "--domain", "gadgets"], 3, "recommends items of `creams`"),
        (&["evaluate", "--base", "base", "--metric", "auc"], 3, "rank among [full]"),
        (&["adapt", "maml", "--base", "base"], 3, "maml"),
        (&["adapt", "adapter", "--base", "base", "--part", "test"], 2, "leave --part"),
    ] {
        let (found, message) = fails(at, arguments);
        assert!(found == code && message.contains(expected), "{arguments:?}: {found} {message}");
    }
    // Items in another order would be recommended under wrong names.
    let file = at.join("base/sequences.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let mut swapped: Value = serde_json::from_str(&whole).unwrap();
    swapped["target"].as_array_mut().unwrap().reverse();
    for text in [Some(swapped.to_string()), Some("{".to_owned()), None] {
        match text {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let (code, message) = fails(at, &["evaluate", "--base", "base"]);
        assert!(code == 3 && message.contains("sequences.json") && message.contains("make the base again"), "{code} {message}");
    }
    std::fs::write(&file, whole).unwrap();
    // A file of other users: all of it is asked for, and items that the base does not know are read as unknown.
    let later = "user,item,day,shop\nx,s3,1800000000,gadgets\nx,s4,1800086400,gadgets\nx,new,1800172800,gadgets\nx,t6,1800259200,creams\n";
    // Who bought the gadgets s0 to s4 goes on to the creams t5 and t6, as everybody before.
    let circle: String = (0..5).map(|step| format!("y,s{step},{},gadgets\n", 1_800_000_000 + step * 86_400)).collect();
    std::fs::write(at.join("later.csv"), format!("{later}{circle}")).unwrap();
    let data = std::fs::read_to_string(at.join("data.toml")).unwrap().replace("log.csv", "later.csv");
    std::fs::write(at.join("later.toml"), data).unwrap();
    let said = ok(at, &["evaluate", "--base", "base", "--data", "later.toml"]);
    assert!(said.contains("1 of 1 events asked for") && said.contains("no floor could be fitted"), "{said}");
    ok(at, &["predict", "--base", "base", "--patch", "all.safetensors", "--data", "later.toml", "--top", "2", "--out", "later-top.csv"]);
    let text = std::fs::read_to_string(at.join("later-top.csv")).unwrap();
    let mut items: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("all,y,")?.split(',').next()).collect();
    items.sort_unstable();
    assert_eq!(items, ["t5", "t6"], "{text}");
}

const NEXT: &str = r#"
name = "next"
dataset = "data.toml"
metrics = ["mrr[full]"]
bootstrap = { draws = 50 }
[split]
kind = "leave_last_out"
domains = ["creams"]
position = "step"
min_rows = 2
[scenario]
kind = "next_item"
source = "gadgets"
target = "creams"
position = "step"
[base]
backbone = { kind = "nextitnet", width = 16, dilations = [1] }
train = { epochs = 8, batch = 32, optimizer = { rate = 1e-2 } }
"#;

/// A circle of gadgets that goes on to one of creams, with as many steps as the user's number allows; a cream of the day that everybody takes on that day.
fn write_steps(folder: &Path, has_time: bool) {
    let mut log = String::from("user,item,step,day,shop\n");
    for user in 0..300_u64 {
        let start = user * 7 % 20;
        for step in 0..9 {
            let (kind, shop) = if step < 4 { ('s', "gadgets") } else { ('t', "creams") };
            log += &format!("{user},{kind}{},{step},{},{shop}\n", (start + step) % 20, 1_700_000_000 + (user / 10 + step) * 86_400);
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let time = if has_time { "time = { column = \"day\", unit = \"s\" }\n" } else { "" };
    let data = format!(
        "name = \"steps\"\n[interactions]\nfiles = [\"log.csv\"]\nuser = \"user\"\nitem = \"item\"\n{time}domain = {{ column = \"shop\" }}\nlabel = {{ kind = \"implicit\" }}\n\
         [[attribute]]\nname = \"step\"\n[[feature]]\nname = \"item\"\nkind = \"categorical\"\n"
    );
    std::fs::write(folder.join("data.toml"), data).unwrap();
}

#[test]
fn the_next_item_of_a_domain_is_learned_with_and_without_time() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for has_time in [true, false] {
        write_steps(at, has_time);
        std::fs::write(at.join("next.toml"), NEXT).unwrap();
        let out = format!("out-{has_time}");
        let table = ok(at, &["compare", "next.toml", "--out", &out, "--json", "next.json", "--quiet"]);
        assert_eq!(table.contains("recency_popularity"), has_time, "fresh counts need time: {table}");
        assert!(value(at, "next.json", "base", "mrr[full]") > 0.6, "{table}");
        assert!(value(at, "next.json", "popularity", "mrr[full]") < 0.4, "{table}");
    }
    // A base that learns the source alone does not know the target's items; what it adapts with does.
    write_steps(at, true);
    let source = NEXT
        .replace("position = \"step\"\n[base]", "position = \"step\"\npretraining = { on = \"source\", rows = \"train\" }\n[base]")
        + "[[method]]\nname = \"adapter\"\ntrain = { epochs = 8, batch = 32, optimizer = { rate = 1e-2 } }\n";
    std::fs::write(at.join("source.toml"), &source).unwrap();
    ok(at, &["compare", "source.toml", "--out", "source", "--json", "source.json", "--quiet"]);
    let (base, adapter) = (value(at, "source.json", "base", "mrr[full]"), value(at, "source.json", "adapter", "mrr[full]"));
    assert!(adapter > 0.6 && base < 0.4, "{base} {adapter}");
    // Negatives in place of all items, corrected for how often they are drawn.
    let drawn = source.replace("[base]", "training_negatives = { count = 8, log_q = true, draw = { kind = \"popularity\" } }\n[base]");
    std::fs::write(at.join("drawn.toml"), drawn).unwrap();
    ok(at, &["compare", "drawn.toml", "--out", "drawn", "--json", "drawn.json", "--quiet"]);
    assert!(value(at, "drawn.json", "adapter", "mrr[full]") > 0.5);
    for (from, to, expected) in [
        ("source = \"gadgets\"\n", "", "learns the source, but there is none"),
        ("source = \"gadgets\"", "source = \"creams\"", "must differ from `target`"),
        ("source = \"gadgets\"", "source = \"gems\"", "names no domain `gems`; there are"),
        ("position = \"step\"\npretraining", "position = \"steps\"\npretraining", "names no attribute `steps`"),
        ("[base]", "queries = \"lasst\"\n[base]", "expected \"first\", \"last\""),
        ("dilations = [1] }", "dilations = [1], fresh_half_life_days = [0.0] }", "must be numbers of days above 0"),
    ] {
        assert!(source.contains(from), "{from}");
        std::fs::write(at.join("wrong.toml"), source.replacen(from, to, 1)).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
        assert!(code == 3 && message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn self_attention_learns_the_next_item_and_its_methods_adapt_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_steps(at, true);
    let text = NEXT
        .replace("{ kind = \"nextitnet\", width = 16, dilations = [1] }", "{ kind = \"sasrec\", width = 16, heads = 2, length = 10 }")
        .replace("position = \"step\"\n[base]", "position = \"step\"\npretraining = { on = \"source\", rows = \"train\" }\n[base]");
    let names = ["adapter", "prefix", "pals", "k_adapter", "fpt"];
    let method =
        |name: &str| format!("[[method]]\nname = \"{name}\"\ntrain = {{ epochs = 8, batch = 32, optimizer = {{ rate = 1e-2 }} }}\n");
    std::fs::write(at.join("attention.toml"), text + &names.map(method).concat()).unwrap();
    let table = ok(at, &["compare", "attention.toml", "--out", "attention", "--json", "attention.json", "--quiet"]);
    let base = value(at, "attention.json", "base", "mrr[full]");
    for name in names {
        let found = value(at, "attention.json", name, "mrr[full]");
        assert!(found > 0.6 && base < 0.4, "{name}: {found} {base}\n{table}");
    }
}

#[test]
fn fresh_counts_follow_what_is_in_fashion() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_steps(at, true);
    let data = std::fs::read_to_string(at.join("data.toml")).unwrap().replace("[[attribute]]\nname = \"step\"\n", "");
    std::fs::write(at.join("data.toml"), data).unwrap();
    // Each three days have a cream of their own, whatever a user did before.
    let mut log = String::from("user,item,day,shop\n");
    for user in 0..300_u64 {
        let day = 1_700_000_000 + user / 3 * 86_400;
        log += &format!("{user},s{},{},gadgets\n{user},t{},{day},creams\n", user % 5, day - 86_400, user / 9);
    }
    std::fs::write(at.join("log.csv"), log).unwrap();
    let text = NEXT
        .replace("position = \"step\"\n", "")
        .replace("kind = \"leave_last_out\"\ndomains = [\"creams\"]\nmin_rows = 2", "kind = \"random\"\nby = \"user\"");
    let fresh = text
        + "[[variant]]\nname = \"fresh\"\nbackbone = { kind = \"nextitnet\", width = 16, dilations = [1], fresh_half_life_days = [1, 7] }\n";
    std::fs::write(at.join("fresh.toml"), fresh).unwrap();
    ok(at, &["compare", "fresh.toml", "--out", "fresh", "--json", "fresh.json", "--quiet"]);
    let (base, with) = (value(at, "fresh.json", "base", "mrr[full]"), value(at, "fresh.json", "fresh", "mrr[full]"));
    assert!(with > 0.4 && base < 0.2, "{base} {with}");
}

const PROFILE: &str = r#"
name = "profile"
dataset = "profile-data.toml"
metrics = ["accuracy", "macro_f1", "log_loss"]
bootstrap = { draws = 50 }
[split]
kind = "random"
by = "user"
validation = 0.2
test = 0.3
[scenario]
kind = "profile"
attribute = "taste"
sequence = "viewed"
merge_below = 10
sizes = [60, "all"]
[base]
backbone = { kind = "nextitnet", width = 16, dilations = [1] }
train = { epochs = 3, batch = 32, optimizer = { rate = 1e-2 } }
[train]
epochs = 20
batch = 16
optimizer = { rate = 1e-2 }
[[method]]
name = "fine_tune_head"
[[method]]
name = "fine_tune_all"
"#;

/// Users who look at even or at odd items, a few of a rare taste, and one without a sequence.
fn write_profiles(folder: &Path) {
    let (mut log, mut users) = (String::from("user,item,click\n"), String::from("user,taste,viewed\n"));
    for user in 0..300_u64 {
        log += &format!("{user},i{},{}\n", user % 12, user % 2);
        let taste = if user % 60 == 59 { "rare" } else { ["even", "odd"][user as usize % 2] };
        let viewed: Vec<String> = (0..6).map(|step| format!("i{}", (user % 2 + 2 * ((user * 5 + step * step) % 10)))).collect();
        users += &format!("{user},{taste},{}\n", if user == 7 { String::new() } else { viewed.join(" ") });
    }
    std::fs::write(folder.join("clicks.csv"), log).unwrap();
    std::fs::write(folder.join("users.csv"), users).unwrap();
    let data = r#"
        name = "profiles"
        [interactions]
        files = ["clicks.csv"]
        user = "user"
        item = "item"
        label = { column = "click", kind = "click" }
        [[users]]
        files = ["users.csv"]
        key = "user"
        [[attribute]]
        name = "taste"
        from = "users"
        kind = "text"
        [[feature]]
        name = "viewed"
        kind = "sequence"
        from = "users"
        separator = " "
        max_length = 10
    "#;
    std::fs::write(folder.join("profile-data.toml"), data).unwrap();
    std::fs::write(folder.join("profile.toml"), PROFILE).unwrap();
}

#[test]
fn an_attribute_of_users_is_told_from_their_sequences() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_profiles(at);
    let table = ok(at, &["compare", "profile.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    assert!(table.contains("1 users have no sequence") && table.contains("that are one here, `other`: rare ("), "{table}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(at.join("out.json")).unwrap()).unwrap();
    let of = |method: &str, metric: &str, setting: &str| {
        let is = |r: &&Value| r["method"] == method && r["metric"] == metric && r["setting"] == setting;
        report["results"].as_array().unwrap().iter().find(is).unwrap()["value"].as_f64().unwrap()
    };
    for (setting, least) in [("n=60", 0.8), ("n=all", 0.9)] {
        assert!(of("fine_tune_all", "accuracy", setting) > least, "{table}");
        assert!(of("majority", "accuracy", setting) < 0.7 && of("logistic_regression", "accuracy", setting) > least, "{table}");
        // The unadapted base knows how common the values are, and nothing else.
        assert!((of("base", "log_loss", setting) - of("majority", "log_loss", setting)).abs() < 0.05, "{table}");
    }
    assert_eq!(table, ok(at, &["compare", "profile.toml", "--out", "out", "--json", "out.json", "--quiet"]), "kept runs say the same");
    for (from, to, expected) in [
        ("attribute = \"taste\"", "attribute = \"mood\"", "names no attribute `mood` of users; there are: taste"),
        ("sequence = \"viewed\"", "sequence = \"seen\"", "names no feature `seen` of users"),
        ("sequence = \"viewed\"", "", "sequences need an order"),
        ("sizes = [60, \"all\"]", "sizes = [6000]", "there are only"),
        ("\"accuracy\", ", "\"auc\", ", "can not be measured here; use accuracy"),
        ("name = \"fine_tune_head\"", "name = \"maml\"", "maml"),
        ("name = \"fine_tune_head\"", "name = \"joint\"", "trains on labelled rows of the base's domains as well; use a network of rows"),
        ("[train]", "[floors]\nonly = [\"markov\"]\n[train]", "there are majority"),
        ("[train]", "[floors]\nmarkov = { back = 3 }\n[train]", "leave all but `only` out"),
    ] {
        assert!(PROFILE.contains(from));
        std::fs::write(at.join("wrong.toml"), PROFILE.replacen(from, to, 1)).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
        assert!(code == 3 && message.contains(expected), "{to}: {message}");
    }
    let (code, message) = fails(at, &["pretrain", "profile.toml", "--out", "base", "--quiet"]);
    assert!(code == 3 && message.contains("inside `acclimate compare`"), "{message}");
}

/// A text with its network made to see both sides.
fn of_both_sides(text: &str) -> String {
    assert!(text.contains("dilations = [1] }"));
    text.replace("dilations = [1] }", "dilations = [1], causal = false }")
}

#[test]
fn a_network_that_sees_both_sides_does_what_a_causal_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    // Cold users, with and without the task's own token.
    write_sequences(at);
    let methods = "[[method]]\nname = \"peterrec\"\nlabel = \"token\"\nconfig = { token = true }\n\
                   [[method]]\nname = \"peterrec\"\nlabel = \"causal_token\"\nbase = \"causal\"\nconfig = { token = true }\n";
    let causal = "[[variant]]\nname = \"causal\"\nbackbone = { kind = \"nextitnet\", width = 16, dilations = [1] }\n";
    std::fs::write(at.join("experiment.toml"), of_both_sides(SEQUENCES) + methods + causal).unwrap();
    let table = ok(at, &["compare", "experiment.toml", "--out", "cold", "--json", "cold.json", "--quiet"]);
    for method in ["fine_tune_all", "adapter", "token", "causal_token"] {
        assert!(value(at, "cold.json", method, "mrr[full]") > 0.7, "{table}");
    }
    // The commands on a saved base.
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--json", "base.json", "--quiet"]);
    let keys = ["--set", "token=true", "--train", "epochs=10", "--train", "batch=32", "--train", "optimizer.rate=1e-2"];
    ok(at, &[&["adapt", "peterrec", "--base", "base", "--out", "token.safetensors"][..], &keys].concat());
    ok(at, &["evaluate", "--base", "base", "--part", "validation", "--json", "validation.json"]);
    assert_eq!(value(at, "validation.json", "base", "mrr[full]"), value(at, "base.json", "base", "mrr[full]"));
    ok(at, &["evaluate", "--base", "base", "--patch", "token.safetensors", "--json", "test.json"]);
    assert!(value(at, "test.json", "token", "mrr[full]") > 0.7);
    ok(at, &["predict", "--base", "base", "--patch", "token.safetensors", "--top", "2", "--out", "top.csv"]);
    let top = std::fs::read_to_string(at.join("top.csv")).unwrap();
    assert!(top.lines().filter(|line| line.starts_with("token,")).count() > 100, "{top}");
    // A base that learns the target itself, and an attribute of users.
    write_steps(at, true);
    std::fs::write(at.join("next.toml"), of_both_sides(NEXT)).unwrap();
    ok(at, &["compare", "next.toml", "--out", "next", "--json", "next.json", "--quiet"]);
    assert!(value(at, "next.json", "base", "mrr[full]") > 0.6);
    write_profiles(at);
    std::fs::write(at.join("profile.toml"), of_both_sides(PROFILE).replace("sizes = [60, \"all\"]", "sizes = [\"all\"]")).unwrap();
    ok(at, &["compare", "profile.toml", "--out", "profile", "--json", "profile.json", "--quiet"]);
    assert!(value(at, "profile.json", "fine_tune_all", "accuracy") > 0.9);
    std::fs::write(at.join("wrong.toml"), of_both_sides(NEXT).replace("causal = false", "causal = false, kernel = 4")).unwrap();
    let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
    assert!(code == 3 && message.contains("`kernel` must be odd"), "{message}");
}
