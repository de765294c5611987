//! `acclimate registry` from outside: what is published, who points to it, and what is refused.

mod shop;

use shop::{fails, ok, write_data};

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
    // What serves is behind the gate; any other alias is not.
    fn promote<'a>(rest: &[&'a str]) -> Vec<&'a str> {
        [&["registry", "promote", "north", "--by", "ann", "--reason", "a trial"], rest].concat()
    }
    let (code, message) = fails(at, &promote(&[]));
    assert!(code == 3 && message.contains("champion"), "{message}");
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
