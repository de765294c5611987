//! `acclimate registry` from outside: what is published, who points to it, and what is refused.

mod shop;

use std::path::Path;

use serde_json::Value;
use shop::{DATA, fails, ok, run, write_data};

#[test]
fn a_patch_is_published_promoted_routed_rolled_back_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["adapt", "film", "--base", "base", "--domain", "north", "--train", "epochs=1", "--out", "north.safetensors", "--quiet"]);
    let publish = |name: &str, patch: &[&str]| ok(at, &[&["registry", "publish", name, "--base", "base"], patch].concat());
    let (code, message) = fails(at, &["registry", "list"]);
    assert!(code == 3 && message.contains("registry"), "{message}");
    // A patch goes nowhere without its base.
    let (code, message) = fails(at, &["registry", "publish", "north", "--base", "base", "--patch", "north.safetensors"]);
    assert!(code == 3 && message.contains("base"), "{message}");
    assert!(publish("shop", &[]).contains("bases/shop/v000001 is published"));
    for number in ["v000001", "v000002"] {
        let said = publish("north", &["--patch", "north.safetensors"]);
        assert!(said.contains(&format!("patches/north/{number} is published")), "{said}");
    }
    // Any alias that does not serve is free; what serves is behind the gate, or forced.
    fn promote<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        [&["registry", "promote", "north", "--by", "ann", "--reason", "a trial"], rest].concat()
    }
    ok(at, &promote(&["--alias", "challenger", "--version", "1"]));
    assert!(ok(at, &promote(&["--version", "1", "--force"])).contains("north/champion points to v000001, by force"));
    ok(at, &promote(&["--version", "2", "--force"]));
    let back = ok(at, &["registry", "rollback", "north", "--by", "ann", "--reason", "worse"]);
    assert!(back.contains("points to v000001 again (generation 3)"), "{back}");
    ok(at, &["registry", "route", "north", "north", "--by", "ann", "--reason", "it is for it"]);
    let list = ok(at, &["registry", "list"]);
    for text in ["bases/shop/v000001  dnn", "patches/north/v000001  film", "challenger champion", "route north -> north/champion"] {
        assert!(list.contains(text), "{text} is not in\n{list}");
    }
    let shown: serde_json::Value = serde_json::from_str(&ok(at, &["registry", "show", "north", "--version", "2"])).unwrap();
    assert_eq!((&shown["kind"], &shown["methods"][0], &shown["parent"]), (&"patch".into(), &"film".into(), &"v000001".into()));
    assert!(ok(at, &["registry", "verify"]).contains("3 versions, all whole"));
    assert!(ok(at, &["registry", "gc", "--grace", "1s"]).contains("nothing to collect"), "the champion can go back to the second version");

    // One damaged byte is found, named, and never promoted.
    let file = at.join("registry/patches/north/v000002/adapter_model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, message) = fails(at, &["registry", "verify"]);
    assert!(code == 1 && message.contains("patches/north/v000002"), "{message}");
    let (code, _) = fails(at, &promote(&["--version", "2", "--force"]));
    assert_eq!(code, 3);
}

/// The same log with every label turned around, under another name.
fn write_flipped(folder: &Path) {
    let log = std::fs::read_to_string(folder.join("log.csv")).unwrap();
    let flip = |line: &str| {
        let (rest, label) = line.rsplit_once(',').unwrap();
        match label {
            "0" => format!("{rest},1\n"),
            "1" => format!("{rest},0\n"),
            header => format!("{rest},{header}\n"),
        }
    };
    std::fs::write(folder.join("flipped.csv"), log.lines().map(flip).collect::<String>()).unwrap();
    std::fs::write(folder.join("flipped.toml"), DATA.replace("log.csv", "flipped.csv").replace("\"shops\"", "\"flipped\"")).unwrap();
}

fn shown(at: &Path, name: &str) -> Value {
    serde_json::from_str(&ok(at, &["registry", "show", name])).unwrap()
}

#[test]
fn the_gate_lets_a_patch_serve_that_does_no_harm_and_stops_one_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    write_flipped(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = |data: &[&str], out: &str| {
        let words = ["adapt", "film", "--base", "base", "--train", "epochs=3", "--serve", "always", "--out", out, "--quiet"];
        ok(at, &[&words[..], data].concat());
    };
    adapt(&[], "good.safetensors");
    adapt(&["--data", "flipped.toml"], "bad.safetensors");
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    for name in ["good", "bad"] {
        ok(at, &["registry", "publish", name, "--base", "base", "--patch", &format!("{name}.safetensors")]);
    }
    // The gate reads the registry and no loose file.
    std::fs::remove_dir_all(at.join("base")).unwrap();
    let promote = |name: &'static str, rest: &[&'static str]| -> Vec<&'static str> {
        [&["registry", "promote", name, "--by", "ann", "--reason", "a trial"], rest].concat()
    };
    let said = ok(at, &promote("good", &["--margin", "0.05", "--slice", "shop", "--slice", "group=even", "--least-users", "20"]));
    for text in [
        "part `test` of `shops`",
        "shuffled labels do not win",
        "shop=north",
        "shop=south",
        "group=even",
        "good/champion points to v000001 (generation 1)",
    ] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    let good = shown(at, "good");
    let judged = &good["judged"][0];
    assert_eq!((&judged["report"]["verdict"], &judged["by"], &judged["digest"]), (&"promoted".into(), &"ann".into(), &good["digest"]));
    assert_eq!(judged["report"]["slices"].as_array().unwrap().len(), 4);
    // The same question has the same answer, figure by figure.
    ok(at, &promote("good", &["--margin", "0.05", "--slice", "shop", "--slice", "group=even", "--least-users", "20"]));
    assert_eq!(shown(at, "good")["judged"][1]["report"], judged["report"]);

    let output = run(at, &promote("bad", &[]));
    let (table, message) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.code() == Some(1) && table.contains("rejected"), "{table}\n{message}");
    assert!(message.contains("the gate says `rejected`") && message.contains("the gain may be as low as"), "{message}");
    assert_eq!(shown(at, "bad")["judged"][0]["report"]["verdict"], "rejected");
    assert!(!at.join("registry/patches/bad/aliases").exists(), "nothing points to it");
    // Force is recorded, and keeps what the gate said where it was asked.
    ok(at, &promote("bad", &["--force", "--seed", "9"]));
    let pointer: Value =
        serde_json::from_str(&std::fs::read_to_string(at.join("registry/patches/bad/aliases/champion.json")).unwrap()).unwrap();
    assert_eq!((&pointer["verdict"], &pointer["forced"]), (&"rejected".into(), &true.into()));
    // A gain that is too good is not believed, and neither is one on rows of few users.
    let (code, message) = fails(at, &promote("good", &["--most-gain", "1e-9", "--margin", "0.5"]));
    assert!(code == 1 && message.contains("the gate says `suspicious`"), "{message}");
    let (code, message) = fails(at, &promote("good", &["--least-users", "41"]));
    assert!(code == 1 && message.contains("ungated") && message.contains("at least 41 are asked for"), "{message}");
}

#[test]
fn the_gate_has_no_rows_that_somebody_has_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    write_flipped(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let adapt = |rest: &[&str]| {
        ok(at, &[&["adapt", "film", "--base", "base", "--train", "epochs=1", "--serve", "always", "--quiet"], rest].concat())
    };
    adapt(&["--out", "own.safetensors"]);
    adapt(&["--out", "later.safetensors", "--part", "test"]);
    adapt(&["--out", "other.safetensors", "--data", "flipped.toml"]);
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    for name in ["own", "later", "other"] {
        ok(at, &["registry", "publish", name, "--base", "base", "--patch", &format!("{name}.safetensors")]);
    }
    let refused = |name: &str, rest: &[&str], why: &str| {
        let (code, message) = fails(at, &[&["registry", "promote", name, "--reason", "a trial"], rest].concat());
        assert!(code == 3 && message.contains(why), "{name} {rest:?}: {message}");
    };
    refused("own", &["--data", "data.toml"], "leave --data out");
    refused("own", &["--part", "train"], "training rows of the base");
    refused("later", &[], "that the patch was trained on");
    refused("other", &["--data", "flipped.toml"], "the data set that the patch was trained on, `flipped`");
    refused("own", &["--slice", "colour"], "there is no column `colour`");
    refused("own", &["--slice", "shop=west"], "no held-out row is in `shop=west`");
    refused("own", &["--confidence", "2"], "confidence is 2");
    refused("own", &["--metric", "auc[shop=north]"], "needs a domain column");
    let (code, message) = fails(at, &["registry", "promote", "shop", "--reason", "x", "--seed", "1"]);
    assert!(code == 2 && message.contains("no patch"), "{message}");
    std::fs::remove_file(at.join("log.csv")).unwrap();
    refused("own", &[], "name a data-set file with --data");
    // Nobody was judged, so nothing is said of anybody.
    assert_eq!(shown(at, "own")["judged"], serde_json::json!([]));
}

#[test]
fn what_no_trusted_key_has_signed_is_refused_where_signatures_are_required() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let key = |file: &str| {
        let said = ok(at, &["registry", "keygen", "--out", file]);
        said.lines().nth(1).unwrap().to_owned()
    };
    let (ours, theirs) = (key("ours.key"), key("theirs.key"));
    let secret = std::fs::read_to_string(at.join("ours.key")).unwrap();
    let (code, message) = fails(at, &["registry", "keygen", "--out", "ours.key"]);
    assert!(code == 2 && message.contains("never written over") && !message.contains(secret.trim()), "{message}");
    let publish = |name: &'static str, rest: &[&'static str]| [&["registry", "publish", name, "--base", "base"], rest].concat();
    ok(at, &publish("open", &[]));
    assert!(ok(at, &publish("ours", &["--sign", "ours.key"])).contains(&format!("signed by {ours}")));
    ok(at, &publish("theirs", &["--sign", "theirs.key"]));
    let trust = |text: &str| std::fs::write(at.join("registry.toml"), text).unwrap();
    trust(&format!("trusted = [\"{ours}\"]"));
    // The file beside the registry asks for signatures, for every command that reads.
    let shown = |name: &'static str, rest: &[&'static str]| run(at, &[&["registry", "show", name], rest].concat());
    assert!(shown("ours", &[]).status.success());
    for name in ["open", "theirs"] {
        let (code, message) = fails(at, &["registry", "promote", name, "--reason", "x"]);
        assert!(code == 3 && message.contains("sign"), "{message}");
        assert!(!shown(name, &[]).status.success() && shown(name, &["--signatures", "warn"]).status.success());
        let said = ok(at, &["registry", "promote", name, "--reason", "x", "--signatures", "warn"]);
        assert!(said.contains("note:") && said.contains("sign"), "{said}");
    }
    let (code, message) = fails(at, &publish("again", &[]));
    assert!(code == 3 && message.contains("not signed"), "{message}");
    // A key that is revoked is trusted no more, wherever it stands.
    trust(&format!("trusted = [\"{ours}\", \"{theirs}\"]\nrevoked = [\"{ours}\"]"));
    let (_, message) = fails(at, &["registry", "show", "ours"]);
    assert!(message.contains("revoked"), "{message}");
    assert!(shown("theirs", &[]).status.success());
    std::fs::write(at.join("other.toml"), format!("signatures = \"warn\"\ntrusted = [\"{ours}\"]")).unwrap();
    assert!(shown("ours", &["--trust", "other.toml"]).status.success());
    for (text, why) in [("trusted = [\"abc\"]", "Ed25519"), ("keys = []", "keys"), ("signatures = \"maybe\"", "maybe")] {
        trust(text);
        let (code, message) = fails(at, &["registry", "list"]);
        assert!(code == 3 && message.contains(why), "{message}");
    }
    let (code, message) = fails(at, &["registry", "list", "--trust", "nowhere.toml"]);
    assert!(code == 3 && message.contains("nowhere.toml"), "{message}");
}

#[test]
fn the_audit_log_says_who_has_moved_what_and_that_nobody_has_changed_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    assert!(ok(at, &["registry", "audit"]).contains("nothing has moved yet"));
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    for version in ["1", "2"] {
        ok(at, &["registry", "promote", "shop", "--version", version, "--by", "ann", "--reason", "a trial"]);
    }
    ok(at, &["registry", "rollback", "shop", "--by", "bob", "--reason", "it was slower"]);
    let said = ok(at, &["registry", "audit"]);
    for text in [
        "ann moved bases/shop/champion from nothing to v000001",
        "bob rolled back bases/shop/champion from v000002 to v000001",
        "it was slower",
    ] {
        assert!(said.contains(text), "{text} is not in\n{said}");
    }
    assert_eq!((said.lines().count(), ok(at, &["registry", "audit", "--last", "1"]).lines().count()), (3, 1));
    assert!(ok(at, &["registry", "audit", "--verify"]).contains("3 lines, one chain"));
    let days: Vec<_> = std::fs::read_dir(at.join("registry/audit")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let day = days.iter().find(|path| path.extension().is_some_and(|extension| extension == "jsonl")).unwrap();
    let text = std::fs::read_to_string(day).unwrap();
    std::fs::write(day, text.replacen("ann", "eve", 1)).unwrap();
    let (code, message) = fails(at, &["registry", "audit", "--verify"]);
    assert!(code == 1 && message.contains("line 2"), "{message}");
}

#[test]
fn mistakes_are_named_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_data(at);
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    for name in ["../up", "Shop", "", "a/b"] {
        let (code, message) = fails(at, &["registry", "publish", name, "--base", "base"]);
        assert!(code == 3 && message.contains("name"), "{name}: {message}");
    }
    std::fs::write(at.join("empty.safetensors"), []).unwrap();
    for patch in ["log.csv", "empty.safetensors", "nowhere.safetensors"] {
        let (code, message) = fails(at, &["registry", "publish", "bad", "--base", "base", "--patch", patch]);
        assert!(code == 3 && message.contains(patch), "{patch}: {code} {message}");
    }
    assert!(!at.join("registry").exists(), "nothing was published, so nothing was made");
    ok(at, &["registry", "publish", "shop", "--base", "base"]);
    ok(at, &["adapt", "film", "--base", "base", "--train", "epochs=1", "--out", "p.safetensors", "--quiet"]);
    let (code, message) = fails(at, &["registry", "publish", "shop", "--base", "base", "--patch", "p.safetensors"]);
    assert!(code == 2 && message.contains("is a name in bases/ already"), "{message}");
    let (code, message) = fails(at, &["registry", "promote", "nobody", "--reason", "x"]);
    assert!(code == 2 && message.contains("nothing called `nobody` is published"), "{message}");
    let (code, message) = fails(at, &["registry", "rollback", "shop", "--reason", "x"]);
    assert!(code == 3 && message.contains("champion"), "{message}");
    let (code, message) = fails(at, &["registry", "publish", "other", "--base", "nowhere"]);
    assert!(code == 3 && message.contains("acclimate pretrain"), "{message}");
    assert!(ok(at, &["registry", "verify"]).contains("1 versions, all whole"));
}
