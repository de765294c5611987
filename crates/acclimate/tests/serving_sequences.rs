//! Bases of sequences behind a server: what `predict` recommends, a server scores the same, from its own feature state, from events, and from what a request brings.

#![allow(dead_code, reason = "shared modules hold more than one test binary uses")]

mod served;
mod shop;

use std::collections::BTreeMap;
use std::path::Path;

use acclimate::serving::PublishedLoader;
use acclimate_data::RawValue;
use acclimate_serve::api::{Answer, Choice, EventIn, Given, Refusal, ScoreAsk, Service, SupportRow, SupportSet};
use acclimate_serve::engine::Engine;
use served::{ask, caller, engine, engine_of, given, patch, score};
use shop::{fails, ok};

/// A circle of gadgets that goes on to one of creams, each user's events at times of their own.
fn write_circles(folder: &Path) {
    let mut log = String::from("user,item,day,shop\n");
    for user in 0..200_u64 {
        let start = user * 7 % 20;
        for step in 0..5 + user % 3 {
            log += &format!("{user},s{},{},gadgets\n", (start + step) % 20, 1_700_000_000 + step * 86_400 + user);
        }
        for step in 8..12 {
            // One item is sold in both.
            let item = if (start + step) % 20 == 3 { "s3".to_owned() } else { format!("t{}", (start + step) % 20) };
            log += &format!("{user},{item},{},creams\n", 1_700_000_000 + step * 86_400 + user);
        }
    }
    std::fs::write(folder.join("log.csv"), log).unwrap();
    std::fs::write(folder.join("data.toml"), DATA).unwrap();
}

const DATA: &str = r#"
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

const EXPERIMENT: &str = r#"
name = "circles"
dataset = "data.toml"
metrics = ["mrr[full]"]
bootstrap = { draws = 50 }
[split]
kind = "leave_last_out"
domains = ["creams"]
min_rows = 2
[scenario]
kind = "next_item"
source = "gadgets"
target = "creams"
examples = { length = 6 }
[base]
backbone = BACKBONE
train = { epochs = 2, batch = 32, optimizer = { rate = 1e-2 } }
"#;

const BACKBONES: [(&str, &str, &[&str]); 2] = [
    ("convolutions", "{ kind = \"nextitnet\", width = 16, dilations = [1, 2] }", &["adapter", "fine_tune_all"]),
    ("attention", "{ kind = \"sasrec\", width = 24, heads = 2, length = 10 }", &["prefix", "lora", "k_adapter"]),
];

/// A registry with a base of a backbone and its patches.
fn publish(at: &Path, backbone: &str, methods: &[&str]) {
    publish_as(at, EXPERIMENT, backbone, methods);
}

fn publish_as(at: &Path, experiment: &str, backbone: &str, methods: &[&str]) {
    write_circles(at);
    std::fs::write(at.join("experiment.toml"), experiment.replace("BACKBONE", backbone)).unwrap();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    ok(at, &["registry", "publish", "circles", "--base", "base"]);
    for method in methods {
        let (file, name) = (format!("{method}.safetensors"), method.replace('_', "-"));
        ok(at, &["adapt", method, "--base", "base", "--serve", "always", "--train", "epochs=1", "--out", &file, "--quiet"]);
        ok(at, &["registry", "publish", &name, "--base", "base", "--patch", &file]);
        ok(at, &["registry", "promote", &name, "--force", "--by", "a test", "--reason", "to be served"]);
    }
}

/// What `predict` recommends: items and scores by model and user.
fn recommended(at: &Path, methods: &[&str]) -> BTreeMap<(String, String), Vec<(String, f32)>> {
    let files: Vec<String> = methods.iter().map(|method| format!("{method}.safetensors")).collect();
    let patches = files.iter().flat_map(|file| ["--patch", file.as_str()]);
    let arguments: Vec<&str> = ["predict", "--base", "base"].into_iter().chain(patches).chain(["--top", "8", "--out", "top.csv"]).collect();
    ok(at, &arguments);
    let mut found: BTreeMap<(String, String), Vec<(String, f32)>> = BTreeMap::new();
    for line in std::fs::read_to_string(at.join("top.csv")).unwrap().lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [model, user, item, _, score] = cells[..] else { panic!("{line}") };
        found.entry((model.to_owned(), user.to_owned())).or_default().push((item.to_owned(), score.parse().unwrap()));
    }
    found
}

fn choice(model: &str) -> Choice {
    if model == "base" { Choice::Base } else { patch(&model.replace('_', "-")) }
}

fn items<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Given> {
    names.into_iter().map(|item| given(&[("item", item)])).collect()
}

/// Somebody who has bought some gadgets, the first at a moment.
fn support(names: &[&str], begin: i64) -> Vec<SupportRow> {
    let row = |(i, item): (usize, &&str)| {
        let mut columns = given(&[("item", item), ("domain", "gadgets")]);
        columns.insert("time".to_owned(), RawValue::Integer(begin + 60 * i as i64));
        SupportRow { given: columns, label: 1.0 }
    };
    names.iter().enumerate().map(row).collect()
}

fn bits(answer: &Answer) -> Vec<u32> {
    answer.scores.iter().map(|score| score.to_bits()).collect()
}

#[test]
fn a_server_says_of_sequences_what_predict_says() {
    for (name, backbone, methods) in BACKBONES {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        publish(at, backbone, methods);
        // A catalogue has nothing to add to ids.
        let engine = engine_of(at, 2, PublishedLoader { catalogue: Some(at.join("data.toml")), ..PublishedLoader::default() });
        let expected = recommended(at, methods);
        assert!(expected.len() > 100 * (1 + methods.len()), "{}", expected.len());
        let (mut all, mut differ) = (0, 0);
        for ((model, user), top) in expected.iter().filter(|((_, user), _)| user.ends_with('7')) {
            let shared = given(&[("user", user)]);
            let one = || ask(choice(model), shared.clone(), items(top.iter().map(|(item, _)| item.as_str())), None);
            let answer = score(&engine, one()).unwrap();
            assert_eq!(answer.served.kind, if model == "base" { "base" } else { "device" });
            assert!(answer.served.state.is_some());
            for (found, (item, said)) in answer.scores.iter().zip(top) {
                assert!((found - said).abs() <= 1e-5 * said.abs().max(1.0), "{name} {model} {user} {item}: {found} {said}");
                all += 1;
            }
            // Again, when its state is remembered, and one item alone: the same bits.
            assert_eq!(bits(&score(&engine, one()).unwrap()), bits(&answer));
            let alone = score(&engine, ask(choice(model), shared.clone(), items([top[3].0.as_str()]), None)).unwrap();
            assert_eq!(alone.scores[0].to_bits(), answer.scores[3].to_bits());
            let base = score(&engine, ask(Choice::Base, shared, items(top.iter().map(|(item, _)| item.as_str())), None)).unwrap();
            differ += usize::from(model != "base" && base.scores != answer.scores);
        }
        assert!(all > 300 && differ > 10 * methods.len(), "{name}: {all} scores, {differ} of patches");
    }
}

/// Histories of another domain than the one that is recommended in, cut to fewer items than must be there.
const CUT: &str = r#"
examples = { length = 2, input = "source", min_input = 1 }
queries = { input = "source", min_input = 3 }
[base]"#;

#[test]
fn histories_are_cut_after_they_are_counted_and_read_one_domain() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let experiment = EXPERIMENT.replace("examples = { length = 6 }\n[base]", &CUT[1..]);
    assert_ne!(experiment, EXPERIMENT);
    publish_as(at, &experiment, BACKBONES[1].1, &[]);
    let engine = engine(at, 1);
    let expected = recommended(at, &[]);
    let mut all = 0;
    for ((model, user), top) in expected.iter().filter(|((_, user), _)| user.ends_with('4')) {
        let answer = score(&engine, ask(choice(model), given(&[("user", user)]), items(top.iter().map(|(item, _)| item.as_str())), None));
        for (found, (item, said)) in answer.unwrap().scores.iter().zip(top) {
            assert!((found - said).abs() <= 1e-5 * said.abs().max(1.0), "{user} {item}: {found} {said}");
            all += 1;
        }
    }
    assert!(all > 100, "{all}");
    let one = |support| score(&engine, ask(Choice::Base, given(&[("user", "new")]), items(["t1"]), Some(support)));
    let Err(Refusal::Invalid { what, problem }) = one(support(&["s1", "s2"], 1_750_000_000)) else { panic!("two are enough") };
    assert!(what == "user" && problem.contains("needs 3 or more"), "{what}: {problem}");
    // What the base does not read is no history, and is said.
    let mut wrong = support(&["s1", "s2", "t4"], 1_750_000_000);
    wrong[2].given.insert("domain".into(), RawValue::Text("creams".into()));
    let Err(Refusal::Invalid { what, problem }) = one(wrong) else { panic!("creams are not read") };
    assert!(what == "support[2]" && problem.contains("domain `creams`, whose events the base does not read"), "{what}: {problem}");
}

fn event(id: &str, user: &str, row: &SupportRow) -> EventIn {
    let mut given = row.given.clone();
    let time = given.remove("time");
    given.insert("user".into(), RawValue::Text(user.into()));
    EventIn { id: id.into(), time, label: 1.0, given }
}

#[test]
fn what_a_new_user_did_comes_with_the_request_or_by_events() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (_, backbone, methods) = BACKBONES[0];
    publish(at, backbone, methods);
    let engine = engine(at, 2);
    let wanted = ["t7", "t8", "t9", "never-seen", "t10", "s4"];
    let asked =
        |model: &str, user: &str, support: Option<Vec<SupportRow>>| ask(choice(model), given(&[("user", user)]), items(wanted), support);
    // Nobody knows this user.
    let refused = |engine: &Engine<_>, ask: ScoreAsk| match score(engine, ask) {
        Err(Refusal::Invalid { what, problem }) => format!("{what}: {problem}"),
        other => panic!("{other:?}"),
    };
    let said = refused(&engine, asked("base", "new", None));
    assert!(said.contains("user: the base needs 1 or more earlier events of a user") && said.contains("/v1/events"), "{said}");
    let mine = support(&["s3", "s4", "s5", "s6"], 1_750_000_000);
    for model in ["base", "adapter"] {
        let answer = score(&engine, asked(model, "new", Some(mine.clone()))).unwrap();
        let adapted = answer.served.adapted.clone().unwrap();
        assert_eq!((adapted.form, adapted.rows), ("history", 4));
        // What the network was never taught to recommend has no score, and what nobody knows is counted.
        assert_eq!(answer.scores.iter().map(|score| score.is_finite()).collect::<Vec<_>>(), [true, true, true, false, true, false]);
        assert_eq!(answer.unknown.get("item"), Some(&2), "{:?}", answer.unknown);
        let other = score(&engine, asked(model, "new", Some(support(&["s3", "s4", "s5", "s7"], 1_750_000_000)))).unwrap();
        assert_ne!(bits(&other), bits(&answer));
    }
    // Kept under a key that names all of it, its last item too, though no head knows gadgets.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let adapt = |names: &[&str]| {
        let ask = ScoreAsk { items: Vec::new(), ..asked("adapter", "new", Some(support(names, 1_750_000_000))) };
        runtime.block_on(engine.adapt(&caller(), ask)).unwrap().adapted.unwrap().key.unwrap()
    };
    let (key, other) = (adapt(&["s3", "s4", "s5", "s6"]), adapt(&["s3", "s4", "s5", "s7"]));
    assert_ne!(key, other);
    let with = score(&engine, asked("adapter", "new", Some(mine.clone()))).unwrap();
    let by_key = ScoreAsk { support: Some(SupportSet::Kept(key)), ..asked("adapter", "new", None) };
    assert_eq!(bits(&score(&engine, by_key).unwrap()), bits(&with));
    // The same by events.
    let events = mine.iter().enumerate().map(|(i, row)| event(&format!("e{i}"), "new", row)).collect();
    assert_eq!(runtime.block_on(engine.record(&caller(), None, events)).unwrap().recorded, 4);
    for model in ["base", "adapter"] {
        let later = |support| score(&engine, asked(model, "new", support)).unwrap();
        let recorded = later(None);
        let sent = score(&engine, asked(model, "other", Some(mine.clone()))).unwrap();
        assert_eq!(bits(&recorded), bits(&sent), "{model}");
    }
    // What came later than the moment that is asked about is not known then.
    let mut early = asked("base", "new", None);
    early.shared.insert("time".into(), RawValue::Integer(1_750_000_061));
    let early = score(&engine, early).unwrap();
    let two = score(&engine, asked("base", "third", Some(support(&["s3", "s4"], 1_750_000_000)))).unwrap();
    assert_eq!(bits(&early), bits(&two));
    // Another domain than the one it recommends in, known or not.
    for domain in ["gadgets", "cremas"] {
        let mut elsewhere = asked("base", "new", None);
        elsewhere.shared.insert("domain".into(), RawValue::Text(domain.into()));
        let said = refused(&engine, elsewhere);
        assert!(said.contains("domain: the base recommends items of `creams`"), "{said}");
    }
    // Rows that can not be history.
    let said = refused(&engine, asked("base", "new", Some(support(&["s1", "s2"], 4_000_000_000))));
    assert!(said.contains("support[0]: its time does not lie before that of the request"), "{said}");
    let mut others = mine.clone();
    others[1].given.insert("user".into(), RawValue::Text("else".into()));
    let said = refused(&engine, asked("adapter", "new", Some(others)));
    assert!(said.contains("support[1]: it is of another user"), "{said}");
    let nothing = runtime.block_on(engine.adapt(&caller(), ScoreAsk { items: Vec::new(), ..asked("base", "new", Some(mine.clone())) }));
    assert!(matches!(&nothing, Err(Refusal::Invalid { problem, .. }) if problem.contains("keeps nothing of it")), "{nothing:?}");
    // A set without times is the same a moment later.
    let mut timeless = mine.clone();
    timeless.iter_mut().for_each(|row| _ = row.given.remove("time"));
    let again = || score(&engine, asked("adapter", "new", Some(timeless.clone()))).unwrap().served.adapted.unwrap();
    let (first, second) = (again(), again());
    assert!(!first.cached && second.cached && first.key == second.key, "{first:?} {second:?}");
}

#[test]
fn the_gate_judges_patches_of_sequences_by_ranks() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (_, backbone, methods) = BACKBONES[0];
    publish(at, backbone, methods);
    fn promote<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["registry", "promote", name, "--by", "a test", "--reason", "to see"], more].concat()
    }
    let said = ok(at, &promote("fine-tune-all", &["--most-gain", "0.9", "--slice", "item=t5", "--slice", "shop", "--least-users", "5"]));
    assert!(said.contains("mrr[full] on what followed in part `test` of `circles`") && said.contains("shop=creams"), "{said}");
    assert!(said.contains("points to v000001 (generation"), "{said}");
    // A patch that has learned nothing.
    let wild = ["--train", "epochs=1", "--train", "optimizer.rate=1e-6"];
    ok(at, &[&["adapt", "scratch", "--base", "base", "--serve", "always", "--out", "wild.safetensors", "--quiet"][..], &wild].concat());
    ok(at, &["registry", "publish", "wild", "--base", "base", "--patch", "wild.safetensors"]);
    let (code, said) = fails(at, &promote("wild", &[]));
    assert!(code == 1 && said.contains("the gate says `rejected`"), "{code} {said}");
    for (more, code, expected) in [
        (&["--part", "train"][..], 3, "training rows of the base"),
        (&["--metric", "auc"], 3, "rank among [full]"),
        (&["--domain", "gadgets"], 3, "recommends items of `creams`"),
        (&["--data", "data.toml"], 3, "is the data set that the base was trained on, all of it"),
    ] {
        let (found, said) = fails(at, &promote("wild", more));
        assert!(found == code && said.contains(expected), "{more:?}: {found} {said}");
    }
}

#[test]
fn what_a_server_can_not_do_with_sequences_is_said_when_it_is_published_or_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_circles(at);
    let fresh = "{ kind = \"nextitnet\", width = 16, dilations = [1], fresh_half_life_days = [7] }";
    std::fs::write(at.join("experiment.toml"), EXPERIMENT.replace("BACKBONE", fresh)).unwrap();
    ok(at, &["pretrain", "experiment.toml", "--out", "base", "--quiet"]);
    let (code, said) = fails(at, &["registry", "publish", "circles", "--base", "base"]);
    assert!(code == 3 && said.contains("fresh_half_life_days"), "{code} {said}");
    let data = DATA.replace("time = { column = \"day\", unit = \"s\" }\n", "") + "[[attribute]]\nname = \"day\"\n";
    std::fs::write(at.join("data.toml"), data).unwrap();
    let plain = EXPERIMENT
        .replace("BACKBONE", BACKBONES[0].1)
        .replace("min_rows = 2", "min_rows = 2\nposition = \"day\"")
        .replace("target = \"creams\"", "target = \"creams\"\nposition = \"day\"");
    std::fs::write(at.join("experiment.toml"), plain).unwrap();
    ok(at, &["pretrain", "experiment.toml", "--out", "untimed", "--quiet"]);
    let (code, said) = fails(at, &["registry", "publish", "untimed", "--base", "untimed"]);
    assert!(code == 3 && said.contains("needs a time column"), "{code} {said}");
}
