//! Fresh users, from outside: `acclimate compare` with scenario `fresh_users`.

mod shop;

use std::path::Path;

use serde_json::Value;
use shop::{fails, ok};

/// Who reads a book reads others of the same shelf, and one of any.
fn write(folder: &Path) {
    let mut log = String::from("user,item,shop,part\n");
    for user in 0..300_u32 {
        for step in 0..7 {
            let item = if step < 6 { user % 5 * 8 + (user / 5 + step * 3) % 8 } else { user * 7 % 40 };
            log += &format!("u{user},i{item},books,{}\n", if step == 5 { "late" } else { "early" });
        }
    }
    log += "u1,x1,records,early\n";
    std::fs::write(folder.join("log.csv"), log).unwrap();
    let data = "name = 'shelves'\n[interactions]\nfiles = ['log.csv']\nuser = 'user'\nitem = 'item'\nitem_scope = 'domain'\n\
                domain = { column = 'shop' }\nlabel = { kind = 'implicit' }\n[[attribute]]\nname = 'part'\nkind = 'text'\n";
    std::fs::write(folder.join("data.toml"), data).unwrap();
}

const EXPERIMENT: &str = r#"
name = "shelves"
dataset = "data.toml"
metrics = ["mrr[full]", "hr@1[full]"]
bootstrap = { draws = 50 }
split = { kind = "random", by = "user", validation = 0.2, test = 0.3 }
[scenario]
kind = "fresh_users"
domain = "books"
reveal = [1, 3]
[[method]]
name = "metacf"
config = { rate = 0.02, epochs = 8, factors = 8 }
"#;

fn value(report: &Value, setting: &str, method: &str) -> f64 {
    let is_it = |r: &&Value| r["setting"] == setting && r["method"] == method && r["metric"] == "mrr[full]";
    let found = report["results"].as_array().unwrap().iter().find(is_it);
    found.unwrap_or_else(|| panic!("nothing of {method} in {setting}"))["value"].as_f64().unwrap()
}

fn report(folder: &Path, experiment: &str, name: &str) -> Value {
    std::fs::write(folder.join("experiment.toml"), experiment).unwrap();
    let json = format!("{name}.json");
    ok(folder, &["compare", "experiment.toml", "--out", name, "--json", &json]);
    serde_json::from_str(&std::fs::read_to_string(folder.join(json)).unwrap()).unwrap()
}

#[test]
fn a_few_books_say_which_shelf_somebody_reads() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let found = report(folder.path(), EXPERIMENT, "run");
    for setting in ["books,k=1", "books,k=3"] {
        let level = value(&found, setting, "popularity");
        for method in ["item_knn", "ease", "metacf"] {
            let quality = value(&found, setting, method);
            assert!(quality > 2.0 * level, "{setting}: {method} has {quality}, popularity {level}");
        }
    }
    // Every size asks for the same rows.
    assert_eq!(value(&found, "books,k=1", "popularity").to_bits(), value(&found, "books,k=3", "popularity").to_bits());
    // What was done is kept, and a fresh run says the same to the last bit.
    assert_eq!(report(folder.path(), EXPERIMENT, "run")["results"], found["results"]);
    let fresh = report(folder.path(), EXPERIMENT, "fresh");
    assert_eq!(value(&fresh, "books,k=3", "metacf").to_bits(), value(&found, "books,k=3", "metacf").to_bits());
    // Without some of the rows it is another question.
    let early = EXPERIMENT.replace("domain = \"books\"", "domain = \"books\"\nrows = { attribute = \"part\", values = [\"early\"] }");
    let early = report(folder.path(), &early, "early");
    assert_ne!(value(&early, "books,k=3", "item_knn").to_bits(), value(&found, "books,k=3", "item_knn").to_bits());
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let at = folder.path();
    let says = |from: &str, to: &str, expected: &str| {
        assert!(EXPERIMENT.contains(from), "{from}");
        std::fs::write(at.join("experiment.toml"), EXPERIMENT.replace(from, to)).unwrap();
        let (code, said) = fails(at, &["compare", "experiment.toml", "--out", "out"]);
        assert!(code == 3 && said.contains(expected), "{code}: {said}");
    };
    says("domain = \"books\"", "", "name one of books, records");
    says("\"books\"", "\"tapes\"", "names no domain `tapes`; the log has books, records");
    says("[1, 3]", "[3, 1]", "ascending numbers of rows");
    says("[1, 3]", "[1, 30]", "nobody of part `validation` has more than that");
    says("by = \"user\", ", "", "must put all rows of a user into one part");
    says("\"metacf\"", "\"maml\"", "`maml` is no method of scenario `fresh_users`; there is metacf");
    says("factors", "width", "unknown field `width`");
    says("factors = 8", "factors = 0", "must be at least 1");
    says("rate = 0.02", "rate = -1", "must be above 0");
    says("\"hr@1[full]\"", "\"hr@1[sampled=9]\"", "can not be measured here");
    says(
        "[[method]]",
        "[floors]\nonly = [\"bias\"]\n[[method]]",
        "names no floor `bias` of this scenario; there are popularity, item_knn, ease",
    );
    says("[[method]]", "[base]\nbackbone = { kind = \"dnn\" }\n[[method]]", "start from no network; remove it");
    says("config", "train = { epochs = 3 }\nconfig", "is fitted without a network");
}
