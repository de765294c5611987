//! People who are new to a domain, from outside: `acclimate compare` with scenario `bridge`.

mod shop;

use std::path::Path;

use serde_json::Value;
use shop::{fails, ok};

/// Who reads books of a shelf listens to records of the same shelf, and rates high what lies in the middle of it. Of 300 readers the first 200 also listen.
fn write(folder: &Path, held_out: bool) {
    let mut log = String::from("user,item,shop,stars,part\n");
    for user in 0..300_u32 {
        let shelf = user % 5;
        for step in 0..6 {
            let item = shelf * 8 + (user / 5 + step * 3) % 8;
            log += &format!("u{user},{item},books,{},train\n", 1 + (item + user) % 5);
        }
        if user < 200 {
            for step in 0..5 {
                let item = shelf * 6 + (user / 7 + step) % 6;
                let part = if held_out && user % 4 == 0 { "later" } else { "train" };
                log += &format!("u{user},{item},records,{},{part}\n", 1 + (item + user) % 5);
            }
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let data = |label: &str| {
        format!(
            "name = 'shelves'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\nitem_scope = 'domain'\n\
             domain = {{ column = 'shop' }}\nlabel = {label}\n[[attribute]]\nname = 'part'\nkind = 'text'\n"
        )
    };
    std::fs::write(folder.join("data.toml"), data("{ kind = 'implicit' }")).unwrap();
    std::fs::write(folder.join("ratings.toml"), data("{ column = 'stars', kind = 'rating', min = 1, max = 5 }")).unwrap();
}

const CLICKS: &str = r#"
name = "shelves"
dataset = "data.toml"
metrics = ["mrr[full]", "hr@1[sampled=9]"]
references = ["ridge_bridge"]
bootstrap = { draws = 50 }
[split]
kind = "cold_users"
users = { rule = "residue", prefix = "u", salt = 1, modulus = 10, validation = [0, 1], test = [2, 4] }
[scenario]
kind = "bridge"
domains = ["books", "records"]
negatives = { count = 9 }
reveal = [1, 3]
factors = { size = 8, sweeps = 4 }
[[method]]
name = "emcdr"
[[method]]
name = "emcdr"
label = "network"
config = { map = "network", hidden = 8, epochs = 3, apart = true }
[[method]]
name = "tmcdr"
config = { epochs = 3 }
[[method]]
name = "ptupcdr"
config = { epochs = 3, hidden = 4 }
[[method]]
name = "acclimate_bridge"
"#;

fn value(report: &Value, setting: &str, method: &str, metric: &str) -> f64 {
    let found =
        report["results"].as_array().unwrap().iter().find(|r| r["setting"] == setting && r["method"] == method && r["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {metric} of {method} in {setting}"))["value"].as_f64().unwrap()
}

fn report(folder: &Path, experiment: &str, name: &str) -> Value {
    std::fs::write(folder.join("experiment.toml"), experiment).unwrap();
    let json = format!("{name}.json");
    ok(folder, &["compare", "experiment.toml", "--out", name, "--json", &json]);
    serde_json::from_str(&std::fs::read_to_string(folder.join(json)).unwrap()).unwrap()
}

#[test]
fn people_who_are_new_to_a_domain_are_ranked_for_by_what_they_did_in_another() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), false);
    let report_of = |name| report(folder.path(), CLICKS, name);
    let found = report_of("run");
    for setting in ["books->records", "records->books", "both"] {
        // Popularity knows no shelf; who does finds the records among six of thirty.
        let level = value(&found, setting, "popularity", "mrr[full]");
        for method in ["item_knn", "user_knn", "ridge_bridge", "acclimate_bridge"] {
            let quality = value(&found, setting, method, "mrr[full]");
            assert!(quality > 2.0 * level, "{setting}: {method} has {quality}, popularity {level}");
        }
        value(&found, setting, "mf", "hr@1[sampled=9]");
    }
    // Every size asks for the same rows, and floors that know no person say the same of them.
    let sizes = ["books->records,k=0", "books->records,k=1", "books->records,k=3"].map(|s| value(&found, s, "popularity", "mrr[full]"));
    assert!(sizes.iter().all(|v| *v == sizes[0]), "{sizes:?}");
    // What was done is kept, and a fresh run says the same to the last bit.
    let [again, fresh] = [report_of("run"), report_of("fresh")];
    assert_eq!(again["results"], found["results"]);
    for result in found["results"].as_array().unwrap() {
        let [setting, method, metric] = ["setting", "method", "metric"].map(|key| result[key].as_str().unwrap());
        assert_eq!(
            value(&fresh, setting, method, metric).to_bits(),
            value(&found, setting, method, metric).to_bits(),
            "{setting} {method} {metric}"
        );
    }
}

#[test]
fn a_log_that_holds_people_out_itself_and_ratings() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), true);
    let held = CLICKS.replace(
        "domains = [\"books\", \"records\"]",
        "source = 'books'\ntarget = 'records'\nheld_out = { attribute = 'part', values = ['later'] }",
    );
    let found = report(folder.path(), &held, "held");
    let notes = found["notes"].to_string();
    assert!(notes.contains("150 people teach"), "every fourth of 200 is held out: {notes}");
    assert!(found["results"].as_array().unwrap().iter().all(|r| r["setting"].as_str().unwrap().starts_with("books->records")));

    let ratings = CLICKS
        .replace("data.toml", "ratings.toml")
        .replace("metrics = [\"mrr[full]\", \"hr@1[sampled=9]\"]", "metrics = ['rmse', 'mae[pooled]']")
        .replace("ridge_bridge", "bias_bridge");
    let found = report(folder.path(), &ratings, "ratings");
    let rmse = |method| value(&found, "both", method, "rmse");
    assert!(rmse("acclimate_bridge") <= rmse("bias_bridge") + 0.05, "{} {}", rmse("acclimate_bridge"), rmse("bias_bridge"));
    value(&found, "records->books,k=3", "mf", "mae[pooled]");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), false);
    let at = folder.path();
    let says = |from: &str, to: &str, expected: &str| {
        assert!(CLICKS.contains(from), "{from}");
        std::fs::write(at.join("experiment.toml"), CLICKS.replace(from, to)).unwrap();
        let (code, said) = fails(at, &["compare", "experiment.toml", "--out", "out"]);
        assert!(code == 3 && said.contains(expected), "{code}: {said}");
    };
    says("\"records\"]", "\"tapes\"]", "names no domain `tapes`; the log has books, records");
    says("\"records\"]", "\"books\"]", "must be two different ones");
    says("domains = [\"books\", \"records\"]", "source = 'books'", "name the two domains");
    says(
        "kind = \"cold_users\"\nusers = { rule = \"residue\", prefix = \"u\", salt = 1, modulus = 10, validation = [0, 1], test = [2, 4] }",
        "kind = 'random'\nby = 'row'",
        "must put all rows of a user into one part",
    );
    says("reveal = [1, 3]", "reveal = [3, 1]", "ascending numbers of rows");
    says("reveal = [1, 3]", "reveal = [1, 30]", "no measured person has more than 30 target rows");
    says("reveal = [1, 3]", "held_out = { attribute = 'part', values = ['never'] }", "no row has the value `never`");
    says("reveal = [1, 3]", "held_out = { attribute = 'page', values = ['x'] }", "names no attribute `page`");
    says("size = 8", "size = 1", "`size` from 2 to 512");
    says("name = \"tmcdr\"", "name = \"adapter\"", "`adapter` is no method of scenario `bridge`; there are emcdr, tmcdr");
    says("[scenario]", "[[entrant]]\nname = 'production'\n[scenario]", "stands in no table of this scenario");
    says("hidden = 8", "hiden = 8", "unknown field `hiden`");
    says("hidden = 8", "hidden = 0", "must be at least 1");
    says("\"mrr[full]\"", "\"auc\"", "`auc` can not be measured here");
    says("sampled=9", "sampled=8", "[sampled=9]");
    says("[[method]]\nname = \"acclimate_bridge\"", "[base]\nbackbone = { kind = 'dnn' }", "start from no network; remove it");
    says("[[method]]\nname = \"acclimate_bridge\"", "[floors]\nonly = ['bias']", "names no floor `bias` of this scenario");
    says("negatives = { count = 9 }\nreveal = [1, 3]", "negatives = { count = 40 }", "[sampled=40]");
    says("prefix = \"u\", ", "", "whole number");
}
