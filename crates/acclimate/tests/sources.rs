//! Methods that train on rows of the base's domains as well: where there are such rows they get them, elsewhere they are refused before anything is trained.

mod shop;

use std::path::Path;

use acclimate::Patch;
use serde_json::Value;
use shop::{EXPERIMENT, fails, ok, results, write_data};

const METHODS: &str = r#"
[[method]]
name = "joint"
train = { epochs = 6, optimizer = { rate = 1e-2 } }
[[method]]
name = "coral"
[[method]]
name = "distillation"
[[method]]
name = "fine_tune_all"
"#;

/// A new shop, of which 60 rows or all are known.
fn new_shop() -> String {
    let scenario = "kind = \"new_domain\"\ntargets = [\"north\"]\nsizes = [60, \"all\"]";
    let (head, _) = EXPERIMENT.split_once("[[variant]]").unwrap();
    let head = head.replace("kind = \"multi_domain\"", scenario).replace("metrics = [\"macro_auc\", ", "metrics = [");
    head + "[train]\nepochs = 3\nbatch = 64\nintercept = true\n" + METHODS
}

/// Epochs that a run took, by its log.
fn epochs(log: &Path) -> usize {
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains("\"validation\":0.")).count()
}

#[test]
fn a_new_domain_comparison_gives_them_the_rows_that_the_base_was_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    std::fs::write(at.join("new.toml"), new_shop()).unwrap();
    ok(at, &["compare", "new.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    let report = results(&at.join("out.json"));
    for setting in ["n=60", "n=all"] {
        for method in ["joint", "coral", "distillation"] {
            let found = report[0]
                .as_array()
                .unwrap()
                .iter()
                .find(|r| r["method"] == method && r["setting"] == setting && r["metric"] == "log_loss");
            let found = found.unwrap_or_else(|| panic!("{method} {setting}"));
            assert!(found["value"].as_f64().is_some_and(|loss| loss < 0.8) && found["kind"] == "control", "{found}");
        }
    }
    // 1,666 training rows, of which 60 or all of the new shop are learned from.
    let rows = |method: &str, setting: &str| {
        let patch = at.join(format!("out/patches/shop=north,{setting},{method}-seed1.safetensors"));
        Patch::manifest_of(&patch).unwrap_or_else(|| panic!("{}", patch.display())).trained_rows
    };
    let of_source = rows("joint", "n=60") - 60;
    assert_eq!(of_source + rows("fine_tune_all", "n=all"), 1667);
    assert_eq!(rows("joint", "n=all"), 1667);
    assert_eq!((rows("coral", "n=60"), rows("coral", "n=all")), (of_source + 60, 1667));
    assert_eq!((rows("distillation", "n=60"), rows("fine_tune_all", "n=60")), (60, 60));
    // What is trained as a base is, is judged by the base's validation rows; nothing else is.
    let judged = |method: &str| epochs(&at.join(format!("out/logs/shop=north,n=60,{method}-seed1.jsonl")));
    assert!(judged("joint") > 0, "no epoch of `joint` was judged");
    assert_eq!((judged("coral"), judged("distillation")), (0, 0));
    // The same in another folder.
    ok(at, &["compare", "new.toml", "--out", "again", "--json", "again.json", "--quiet"]);
    assert_eq!(report, results(&at.join("again.json")));
}

#[test]
fn rows_of_the_base_that_change_train_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let one = |name: &str| format!("[[method]]\nname = \"{name}\"\n");
    let text = new_shop().replace(METHODS, &(one("coral") + &one("fine_tune_all"))).replace("sizes = [60, \"all\"]", "sizes = [60]");
    std::fs::write(at.join("new.toml"), &text).unwrap();
    ok(at, &["compare", "new.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    let record = |method: &str| {
        let text = std::fs::read_to_string(at.join(format!("out/patches/shop=north,n=60,{method}-seed1.json"))).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["key"].as_str().unwrap().to_owned()
    };
    let before = record("coral");
    assert_ne!(before, record("fine_tune_all"));
    ok(at, &["compare", "new.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    assert_eq!(before, record("coral"));
}

#[test]
fn where_there_are_no_such_rows_they_are_refused_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let (head, _) = EXPERIMENT.split_once("[[variant]]").unwrap();
    let users = "kind = \"cold_users\"\nusers = { rule = \"residue\", salt = 1, modulus = 10, validation = [7, 7], test = [8, 9] }\n";
    let (before, after) = head.split_once("[split]").unwrap();
    let (_, after) = after.split_once("[scenario]").unwrap();
    let cold = format!("{before}[split]\n{users}[scenario]{after}")
        .replace("kind = \"multi_domain\"", "kind = \"cold_start\"\ntasks = { query = 5, min_rows = 8, support_sizes = [0, 3] }");
    for method in ["joint", "coral"] {
        for (scenario, text) in [("multi_domain", head.to_owned()), ("cold_start", cold.clone())] {
            std::fs::write(at.join("wrong.toml"), format!("{text}[[method]]\nname = \"{method}\"\n")).unwrap();
            let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
            let expected = format!("method `{method}`: trains on rows of the base's domains");
            let is_clear = message.contains(&expected) && message.contains("use it in scenario `new_domain`");
            assert!(code == 3 && is_clear && !at.join("wrong/bases").exists(), "{scenario}: {code}: {message}");
        }
    }
    // A saved base does not bring its rows.
    std::fs::write(at.join("base.toml"), head).unwrap();
    ok(at, &["pretrain", "base.toml", "--out", "base", "--quiet"]);
    for method in ["joint", "coral"] {
        let (code, message) = fails(at, &["adapt", method, "--base", "base", "--domain", "north", "--out", "patch.safetensors", "--quiet"]);
        let is_clear = message.contains(&format!("`{method}` trains on those as well")) && message.contains("scenario `new_domain`");
        assert!(code == 3 && is_clear && !at.join("patch.safetensors").exists(), "{code}: {message}");
    }
    ok(at, &["adapt", "distillation", "--base", "base", "--domain", "north", "--out", "patch.safetensors", "--quiet"]);
}

#[test]
fn patches_of_other_domains_are_merged_as_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    let entry =
        |merge: &str| format!("[[method]]\nname = \"adapter\"\nconfig = {{ unfreeze = [\"norms\", \"head\", \"rows\"] }}\n{merge}\n");
    let merged = format!("{}label = \"merged\"\n", entry("merge = \"all\""));
    let text = |entries: &str| new_shop().replace(METHODS, entries).replace("sizes = [60, \"all\"]", "sizes = [0, 60]");
    std::fs::write(at.join("new.toml"), text(&(entry("") + &merged))).unwrap();
    ok(at, &["compare", "new.toml", "--out", "out", "--json", "out.json", "--quiet"]);
    let report = results(&at.join("out.json"));
    let value = |method: &str, setting: &str| {
        let mut of =
            report[0].as_array().unwrap().iter().filter(|r| r["method"] == method && r["setting"] == setting && r["metric"] == "log_loss");
        of.next().and_then(|r| r["value"].as_f64())
    };
    // Without rows only what is merged has something to say, and it is not the base.
    assert_eq!(value("adapter", "n=0"), None);
    let (mean, base) = (value("merged", "n=0").expect("a value"), value("base", "n=0").expect("a value"));
    assert_ne!(mean, base);
    // With rows, training goes on from the mean: neither the mean nor what starts from the base.
    let after = value("merged", "n=60").expect("a value");
    assert!(after != mean && Some(after) != value("adapter", "n=60"));
    // One patch a domain that the base knows, which is trained once for both sizes.
    let patches: Vec<String> =
        std::fs::read_dir(at.join("out/patches")).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    let of_domains = patches.iter().filter(|name| name.starts_with("shop=north,merged,shop=") && name.ends_with(".safetensors"));
    assert!(of_domains.count() >= 1 && !patches.iter().any(|name| name.contains("merged,shop=north")), "{patches:?}");
    for (merge, said) in [
        ("merge = [\"nowhere\"]", "`merge` names no domain `nowhere`"),
        ("merge = [\"north\"]", "leaves no domain with rows to learn from"),
        ("merge = \"some\"", "expected a list of domains, or \"all\""),
    ] {
        std::fs::write(at.join("wrong.toml"), text(&entry(merge))).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "wrong", "--quiet"]);
        assert!(code == 3 && message.contains(said), "{merge}: {code}: {message}");
    }
    // Said before the base is trained, as is a method whose rows are not those of one domain.
    for entries in [entry("merge = [\"nowhere\"]"), "[[method]]\nname = \"coral\"\nmerge = \"all\"\n".to_owned()] {
        std::fs::write(at.join("wrong.toml"), text(&entries)).unwrap();
        let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "early", "--quiet"]);
        assert!(code == 3 && message.contains("merge`") && !at.join("early/bases").exists(), "{code}: {message}");
    }
    // A budget holds for the mean itself.
    let small = entry("merge = \"all\"\nlabel = \"small\"\ncompact = true\nbudget = 4000");
    std::fs::write(at.join("small.toml"), text(&small).replace("sizes = [0, 60]", "sizes = [0]")).unwrap();
    ok(at, &["compare", "small.toml", "--out", "small", "--json", "small.json", "--quiet"]);
    let report = results(&at.join("small.json"));
    let found = report[0].as_array().unwrap().iter().find(|r| r["method"] == "small").unwrap();
    assert!(found["patch_bytes"].as_u64().is_some_and(|bytes| bytes <= 4000), "{found}");
    let staged = "[[method]]\nname = \"acclimate\"\nmerge = \"all\"\n";
    std::fs::write(at.join("wrong.toml"), text(staged)).unwrap();
    let (code, message) = fails(at, &["compare", "wrong.toml", "--out", "staged", "--quiet"]);
    assert!(code == 3 && message.contains("what is merged must start from the base's values"), "{code}: {message}");
}
