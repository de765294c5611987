//! Patches as files: the first format is read for ever, and a patch carries ids that its base has never seen.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the program in a folder; what it printed.
fn acclimate(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_acclimate")).current_dir(folder).args(arguments).output().expect("the program starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

/// The columns of a file of scores, by their names.
fn column(text: &str, name: &str) -> Vec<f64> {
    let mut lines = text.lines();
    let at = lines.next().expect("a header").split(',').position(|column| column == name).expect("the column is there");
    lines.map(|line| line.split(',').nth(at).expect("a cell").parse().expect("a number")).collect()
}

#[test]
fn a_patch_of_the_first_format_scores_as_it_did() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/patch_format_1");
    let scores = folder("format-1").join("scores.csv");
    let out = scores.display().to_string();
    acclimate(&fixture, &["predict", "--base", "base", "--patch", "patch.safetensors", "--data", "log.toml", "--out", &out]);
    let read = |path: &Path| std::fs::read_to_string(path).expect("scores");
    let (expected, found) = (read(&fixture.join("scores.csv")), read(&scores));
    for name in ["base", "patch"] {
        let (expected, found) = (column(&expected, name), column(&found, name));
        assert_eq!(expected.len(), found.len());
        let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-6, "{name}: {apart}");
    }
}

/// Rows of some items: whether one is clicked depends on its number alone.
fn log(items: std::ops::Range<u32>, rows: u32, salt: u32) -> String {
    let row = |i: u32| {
        let n = i.wrapping_mul(2_654_435_761).wrapping_add(salt);
        let item = items.start + (n >> 8) % (items.end - items.start);
        let click = u32::from((n >> 16) % 10 < if item.is_multiple_of(2) { 9 } else { 1 });
        format!("u{},i{item},{},{click}\n", (n >> 4) % 40, 1_700_000_000 + i * 600)
    };
    "user,item,time,click\n".to_owned() + &(0..rows).map(row).collect::<String>()
}

const DATASET: &str = r#"
[interactions]
files = ["NAME.csv"]
user = "user"
item = "item"
time = { column = "time", unit = "s" }
label = { column = "click", kind = "click" }
[[feature]]
name = "user"
kind = "categorical"
[[feature]]
name = "item"
kind = "categorical"
"#;

#[test]
fn a_patch_knows_ids_that_its_base_has_never_seen() {
    let folder = folder("new-ids");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file of the test");
    for (name, items, rows, salt) in [("old", 0..20, 3000, 1), ("new", 100..120, 1500, 2), ("later", 100..120, 600, 3)] {
        write(&format!("{name}.csv"), &log(items, rows, salt));
        write(&format!("{name}.toml"), &format!("name = \"{name}\"{}", DATASET.replace("NAME", name)));
    }
    write(
        "old-experiment.toml",
        r#"
name = "old"
dataset = "old.toml"
metrics = ["auc"]
split = { kind = "random", by = "row", validation = 0.1, test = 0.1 }
scenario = { kind = "multi_domain" }
base = { backbone = { kind = "dnn", embedding = 8, hidden = [16] }, train = { epochs = 4, batch = 64, optimizer = { rate = 1e-2 } } }
"#,
    );
    acclimate(&folder, &["pretrain", "old-experiment.toml", "--out", "base"]);
    let said = acclimate(
        &folder,
        &[
            "adapt",
            "fine_tune_rows",
            "--base",
            "base",
            "--data",
            "new.toml",
            "--out",
            "rows.safetensors",
            "--train",
            "epochs=6",
            "--train",
            "optimizer.rate=1e-2",
        ],
    );
    assert!(said.contains("rows.safetensors"), "{said}");
    acclimate(&folder, &["adapt", "--base", "base", "--data", "new.toml", "--out", "acclimate.safetensors"]);
    acclimate(
        &folder,
        &[
            "adapt",
            "fine_tune_rows",
            "--base",
            "base",
            "--data",
            "new.toml",
            "--out",
            "compact.safetensors",
            "--compact",
            "--train",
            "epochs=6",
            "--train",
            "optimizer.rate=1e-2",
        ],
    );
    let size = |name: &str| std::fs::metadata(folder.join(name)).expect("a patch").len();
    assert!(size("compact.safetensors") < size("rows.safetensors"));
    let patches = ["--patch", "rows.safetensors", "--patch", "acclimate.safetensors", "--patch", "compact.safetensors"];
    acclimate(&folder, &[&["predict", "--base", "base", "--data", "later.toml", "--out", "scores.csv"][..], &patches].concat());
    let text = std::fs::read_to_string(folder.join("scores.csv")).expect("scores");
    let labels: Vec<bool> = log(100..120, 600, 3).lines().skip(1).map(|line| line.ends_with(",1")).collect();
    let auc = |scores: &[f64]| {
        let (mut above, mut pairs) = (0.0_f64, 0.0_f64);
        for (a, _) in scores.iter().zip(&labels).filter(|(_, label)| **label) {
            for (b, _) in scores.iter().zip(&labels).filter(|(_, label)| !**label) {
                above += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
                pairs += 1.0;
            }
        }
        above / pairs
    };
    let (base, rows, recipe) = (auc(&column(&text, "base")), auc(&column(&text, "rows")), auc(&column(&text, "acclimate")));
    assert!((base - 0.5).abs() < 0.1, "to the base these items are all the unknown: {base}");
    assert!(rows > 0.8, "rows of new ids: {rows}");
    assert!(recipe > 0.8, "the default method: {recipe}");
    // Bytes round what full values say, and nothing more.
    let (full, compact) = (column(&text, "rows"), column(&text, "compact"));
    let apart = full.iter().zip(&compact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart > 0.0 && apart < 0.02, "{apart}");
}

#[test]
fn a_domain_that_is_added_later_changes_no_other_patch() {
    let folder = folder("domains");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file of the test");
    let with_shop = |text: String, shop: &str| text.lines().skip(1).map(|line| format!("{line},{shop}\n")).collect::<String>();
    let header = "user,item,time,click,shop\n";
    let (a, b) = (with_shop(log(0..20, 1500, 1), "a"), with_shop(log(5..25, 1500, 2), "b"));
    let c = with_shop(log(100..120, 900, 3), "c");
    let dataset = DATASET.replace("label = ", "domain = { column = \"shop\" }\nlabel = ");
    for (name, rows) in [("old", format!("{header}{a}{b}")), ("now", format!("{header}{a}{b}{c}"))] {
        write(&format!("{name}.csv"), &rows);
        // One name: the manifest of a patch says where its rows come from.
        write(&format!("{name}.toml"), &format!("name = \"shops\"{}", dataset.replace("NAME", name)));
    }
    let experiment = |base: &str| {
        format!(
            r#"
name = "shops"
dataset = "old.toml"
metrics = ["auc"]
split = {{ kind = "random", by = "row", validation = 0.1, test = 0.2 }}
scenario = {{ kind = "multi_domain" }}
base = {{ backbone = {{ kind = "dnn", embedding = 8, hidden = [16] }}, train = {{ epochs = 2, batch = 64 }} }}
{base}
"#
        )
    };
    write("base.toml", &experiment(""));
    acclimate(&folder, &["pretrain", "base.toml", "--out", "base"]);
    let adapt = |data: &str, shop: &str| {
        let out = format!("{data}-{shop}.safetensors");
        acclimate(&folder, &["adapt", "--base", "base", "--data", &format!("{data}.toml"), "--domain", shop, "--out", &out]);
        std::fs::read(folder.join(out)).expect("a patch")
    };
    for shop in ["a", "b"] {
        assert!(adapt("old", shop) == adapt("now", shop), "the patch of {shop} is another one");
    }
    assert!(adapt("now", "c") != adapt("now", "a"));
    // A budget is kept, by leaving out the rows that changed least; one that nothing fits into is an error before anything is written.
    let tensors = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).expect("a patch");
        bytes.len() - 8 - u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize
    };
    let rows = ["adapt", "fine_tune_rows", "--base", "base", "--data", "now.toml", "--domain", "a", "--train", "epochs=3", "--out"];
    acclimate(&folder, &[&rows[..], &["whole.safetensors"]].concat());
    for (compact, row) in [(&[][..], 36), (&["--compact"], 16)] {
        for budget in [3 * row, 400, 1_000_000] {
            let (name, budget_text) = (format!("at-most-{budget}.safetensors"), budget.to_string());
            acclimate(&folder, &[&rows[..], &[&name, "--force", "--budget", &budget_text], compact].concat());
            let size = tensors(&name);
            assert!(size <= budget && (size + row > budget || budget > tensors("whole.safetensors")), "{budget}: {size}");
        }
    }
    let arguments = [&rows[..], &["none.safetensors", "--budget", "0"]].concat();
    let output = Command::new(env!("CARGO_BIN_EXE_acclimate")).current_dir(&folder).args(&arguments).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let arguments =
        ["adapt", "adapter", "--base", "base", "--data", "now.toml", "--domain", "a", "--budget", "10", "--out", "none.safetensors"];
    let output = Command::new(env!("CARGO_BIN_EXE_acclimate")).current_dir(&folder).args(arguments).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(3) && error.contains("can not be stored in 10 bytes") && !folder.join("none.safetensors").exists(),
        "{error}"
    );
    // The mean of two patches is a patch; one of another method is no part of it.
    let said = acclimate(
        &folder,
        &["merge", "--base", "base", "--patch", "now-a.safetensors", "--patch", "now-b.safetensors", "--out", "near.safetensors"],
    );
    assert!(said.contains("the mean of 2 patches of `acclimate`"), "{said}");
    acclimate(&folder, &["evaluate", "--base", "base", "--data", "now.toml", "--patch", "near.safetensors", "--domain", "c"]);
    acclimate(&folder, &["adapt", "adapter", "--base", "base", "--data", "now.toml", "--domain", "b", "--out", "other.safetensors"]);
    for (arguments, code, said) in [
        (&["--patch", "now-a.safetensors"][..], 2, "nothing to merge"),
        (&["--patch", "now-a.safetensors", "--patch", "other.safetensors"], 3, "merge patches of one method"),
        (&["--patch", "now-a.safetensors", "--patch", "now-b.safetensors", "--weight", "1"], 2, "--weight is given 1 times for 2 patches"),
        (&["--patch", "now-a.safetensors", "--patch", "now-b.safetensors", "--weight", "0", "--weight", "0"], 3, "not all 0"),
        (&["--patch", "now-a.safetensors", "--patch", "missing.safetensors"], 3, "missing.safetensors"),
        (&["--patch", "now-a.safetensors", "--patch", "now-b.safetensors", "--out", "near.safetensors"], 2, "exists"),
    ] {
        let arguments = [&["merge", "--base", "base"][..], arguments].concat();
        let output =
            Command::new(env!("CARGO_BIN_EXE_acclimate")).current_dir(&folder).args(&arguments).output().expect("the program starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && error.contains(said), "{arguments:?}: {:?} {error}", output.status.code());
        assert!(!folder.join("merged.safetensors").exists(), "{arguments:?} wrote something");
    }
    // In a comparison each domain's patch is a file of its own.
    write("each.toml", &experiment("[[method]]\nname = \"adapter\"\neach_domain = true\ntrain = { epochs = 2, batch = 64 }"));
    let said = acclimate(&folder, &["compare", "each.toml", "--out", "each"]);
    assert!(said.contains("adapter"), "{said}");
    let mut files: Vec<String> = std::fs::read_dir(folder.join("each/patches"))
        .expect("patches")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].contains("shop=a") && files[1].contains("shop=b"), "{files:?}");
}
