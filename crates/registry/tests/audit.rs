//! The audit log: one chain, whoever writes; and what was changed in it is found.

mod common;

use std::sync::Arc;

use acclimate_registry::folder::{Folder, MemoryFolder};
use acclimate_registry::{AliasMove, AuditEvent, AuditLine, AuditReport, Kind, Registry, RegistryError, Route, Settings, Verdict};
use common::{base, get, in_memory, judgement, name, patch, put, to, version};

const BY: (&str, &str) = ("tests", "to see");

/// A registry with a line of every kind.
fn filled() -> (Arc<MemoryFolder>, Registry) {
    let (folder, registry) = in_memory();
    let stored = registry.publish(&patch("movies", 1), None).unwrap();
    registry.publish(&patch("movies", 2), None).unwrap();
    registry.record(Kind::Patch, &name("movies"), version(1), judgement(stored.digest, 1)).unwrap();
    let rejected = AliasMove { verdict: Verdict::Rejected, ..to("movies", "champion", 1, 0) };
    assert!(matches!(registry.move_alias(&rejected), Err(RegistryError::Refused { .. })));
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    registry.move_alias(&to("movies", "champion", 2, 1)).unwrap();
    registry.rollback(Kind::Patch, &name("movies"), &name("champion"), 2, BY).unwrap();
    let route = |alias: &str| Some(Route { patch: name("movies"), alias: name(alias) });
    registry.set_route("tab=1", route("champion"), 0, BY).unwrap();
    assert!(registry.set_route("tab=2", route("nobody"), 1, BY).is_err());
    registry.set_route("tab=1", None, 1, BY).unwrap();
    (folder, registry)
}

fn lines(registry: &Registry) -> (Vec<AuditLine>, AuditReport) {
    let mut lines = Vec::new();
    let report = registry.audit(&mut |line| lines.push(line.clone())).unwrap();
    (lines, report)
}

/// The one file of a log that was begun just now; two at midnight.
fn file(folder: &MemoryFolder) -> String {
    let entries = folder.list("audit").unwrap();
    let mut days = entries.iter().filter(|entry| entry.name.ends_with(".jsonl"));
    format!("audit/{}", days.next().unwrap().name)
}

#[test]
fn every_move_rollback_route_judgement_and_refusal_has_its_line() {
    let (_, registry) = filled();
    let (lines, report) = lines(&registry);
    assert_eq!((report.lines, report.undone.len(), report.unlogged.len(), report.cut_off), (8, 0, 0, None));
    let what: Vec<String> = lines.iter().map(|line| serde_json::to_value(line).unwrap()["what"].as_str().unwrap().to_owned()).collect();
    assert_eq!(what, ["judged", "refused", "moved", "moved", "rolled_back", "routed", "refused", "routed"]);
    assert!(lines.iter().zip(1..).all(|(line, number)| line.number == number && line.by == "tests"));
    let AuditEvent::Moved(step) = &lines[3].event else { panic!("{:?}", lines[3]) };
    assert_eq!((step.from, step.to, step.old, step.new, step.forced), (1, 2, Some(version(1)), version(2), false));
    let AuditEvent::RolledBack(step) = &lines[4].event else { panic!("{:?}", lines[4]) };
    assert_eq!((step.from, step.to, step.old, step.new), (2, 3, Some(version(2)), version(1)));
    let AuditEvent::Refused { subject, problem } = &lines[1].event else { panic!("{:?}", lines[1]) };
    assert!(subject == "patches/movies/champion to v000001" && problem.contains("rejected"), "{subject}: {problem}");
    // Somebody who was too late has done nothing and leaves nothing.
    assert!(matches!(registry.move_alias(&to("movies", "champion", 1, 9)), Err(RegistryError::Stale { .. })));
    assert_eq!(registry.audit(&mut |_| {}).unwrap().lines, 8);
}

#[test]
fn a_changed_removed_added_or_reordered_line_is_found() {
    let (folder, registry) = filled();
    let path = file(&folder);
    let whole = get(&folder, &path);
    let found = |bytes: &[u8]| {
        put(&folder, &path, bytes);
        registry.audit(&mut |_| {}).is_err()
    };
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(found(&changed), "byte {at}");
    }
    let all: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
    for at in 0..all.len() {
        let without = [&all[..at], &all[at + 1..]].concat();
        assert!(found(&without.concat()), "without line {at}");
        let twice = [&all[..=at], &all[at..]].concat();
        assert!(found(&twice.concat()), "line {at} twice");
        let (mut swapped, next) = (all.clone(), (at + 1) % all.len());
        swapped.swap(at, next);
        assert!(found(&swapped.concat()), "line {at} and the next");
    }
    for length in 0..whole.len() {
        assert!(found(&whole[..length]), "{length} bytes");
    }
    assert!(!found(&whole));
    // Nobody goes on with a log that was cut, or whose file has gone.
    put(&folder, &path, &whole[..whole.len() - 1]);
    assert!(matches!(registry.move_alias(&to("movies", "blue", 1, 0)), Err(RegistryError::Audit { .. })));
    folder.remove(&path).unwrap();
    assert!(registry.audit(&mut |_| {}).is_err());
    assert!(matches!(registry.move_alias(&to("movies", "blue", 1, 0)), Err(RegistryError::Audit { .. })));
}

#[test]
fn a_changed_head_is_found() {
    let (folder, registry) = filled();
    let head = get(&folder, "audit/head.json");
    for at in 0..head.len() {
        let mut changed = head.clone();
        changed[at] ^= 1;
        put(&folder, "audit/head.json", &changed);
        assert!(registry.audit(&mut |_| {}).is_err(), "byte {at}");
    }
}

#[test]
fn an_alias_that_moved_without_a_line_is_found() {
    let (folder, registry) = filled();
    let pointer = "patches/movies/aliases/champion.json";
    let text = String::from_utf8(get(&folder, pointer)).unwrap();
    put(&folder, pointer, text.replace("\"generation\": 3", "\"generation\": 4").as_bytes());
    let unlogged = registry.audit(&mut |_| {}).unwrap().unlogged;
    assert!(unlogged.len() == 1 && unlogged[0].contains("champion"), "{unlogged:?}");
    registry.move_alias(&to("movies", "champion", 2, 4)).unwrap();
    assert_eq!(registry.audit(&mut |_| {}).unwrap().unlogged.len(), 1, "it stays found");
}

/// By hand, with the generation as it was: to another version, under another word of the gate, to a patch that nothing was moved to, and a route.
#[test]
fn what_was_edited_without_a_line_is_found() {
    let finds = |path: &str, from: &str, to: &str, says: &str| {
        let (folder, registry) = filled();
        let text = String::from_utf8(get(&folder, path)).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        put(&folder, path, text.replace(from, to).as_bytes());
        let unlogged = registry.audit(&mut |_| {}).unwrap().unlogged;
        assert!(unlogged.len() == 1 && unlogged[0].contains(says), "{unlogged:?}");
    };
    let pointer = "patches/movies/aliases/champion.json";
    let (folder, registry) = filled();
    assert!(registry.audit(&mut |_| {}).unwrap().unlogged.is_empty());
    let text = String::from_utf8(get(&folder, pointer)).unwrap();
    let target: serde_json::Value = serde_json::from_str(&text).unwrap();
    finds(pointer, target["version"].as_str().unwrap(), &version(2).to_string(), "the log leads to");
    finds(pointer, target["digest"].as_str().unwrap(), &"0".repeat(64), "and it names");
    let forced = target["forced"].as_bool().unwrap();
    finds(pointer, &format!("\"forced\": {forced}"), &format!("\"forced\": {}", !forced), "and it names");
    folder.create("patches/movies/aliases/green.json").unwrap();
    folder.append("patches/movies/aliases/green.json", text.as_bytes()).unwrap();
    let unlogged = registry.audit(&mut |_| {}).unwrap().unlogged;
    assert!(unlogged.len() == 1 && unlogged[0].contains("alias `green` of `movies`: no line tells of it"), "{unlogged:?}");
    finds(pointer, "\"reason\": \"", "\"reason\": \"not ", "and it names");
    // A move that follows does not hide it.
    let (folder, registry) = filled();
    let there = registry.show(Kind::Patch, &name("movies"), version(2)).unwrap().digest.to_string();
    let edited = text.replacen(target["version"].as_str().unwrap(), &version(2).to_string(), 1);
    put(&folder, pointer, edited.replacen(target["digest"].as_str().unwrap(), &there, 1).as_bytes());
    registry.move_alias(&to("movies", "champion", 1, 3)).unwrap();
    let unlogged = registry.audit(&mut |_| {}).unwrap().unlogged;
    assert!(unlogged.len() == 1 && unlogged[0].contains("begins at v000002"), "{unlogged:?}");
    // One that names what is not there can be moved away from there, and so can another.
    let (folder, registry) = filled();
    let nowhere = "0".repeat(64);
    put(&folder, pointer, text.replacen(target["digest"].as_str().unwrap(), &nowhere, 1).as_bytes());
    registry.move_alias(&to("movies", "blue", 1, 0)).unwrap();
    let moved = registry.move_alias(&to("movies", "champion", 2, 3)).unwrap();
    assert!(moved.earlier.iter().all(|target| target.digest.to_string() != nowhere));
    finds(
        "routes.json",
        "\"domains\": {}",
        "\"domains\": {\n    \"tab=9\": {\n      \"patch\": \"movies\",\n      \"alias\": \"champion\"\n    }\n  }",
        "the route of `tab=9`",
    );
}

#[test]
fn a_writer_that_died_leaves_a_line_or_a_part_of_one_and_the_next_goes_on() {
    let (folder, registry) = filled();
    let path = file(&folder);
    let before = (get(&folder, &path), get(&folder, "audit/head.json"), get(&folder, "patches/movies/aliases/champion.json"));
    registry.move_alias(&to("movies", "champion", 2, 3)).unwrap();
    let after = get(&folder, &path);
    // The alias and the head are as they were; of the line there is a part.
    for length in before.0.len()..=after.len() {
        put(&folder, &path, &after[..length]);
        put(&folder, "audit/head.json", &before.1);
        put(&folder, "patches/movies/aliases/champion.json", &before.2);
        let report = registry.audit(&mut |_| {}).unwrap();
        let whole = length == after.len();
        assert_eq!((report.cut_off.is_some(), report.undone), (length > before.0.len() && !whole, if whole { vec![9] } else { vec![] }));
        registry.move_alias(&to("movies", "champion", 1, 3)).unwrap();
        let report = registry.audit(&mut |_| {}).unwrap();
        assert_eq!((report.lines, report.cut_off, report.undone), if whole { (10, None, vec![9]) } else { (9, None, vec![]) });
        assert!(report.unlogged.is_empty());
    }
}

#[test]
fn the_chain_goes_on_from_day_to_day() {
    let (folder, registry) = filled();
    let (path, lines_before) = (file(&folder), lines(&registry).0);
    let head = String::from_utf8(get(&folder, "audit/head.json")).unwrap();
    let name_of = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    folder.rename(&path, "audit/2020-02-29.jsonl").unwrap();
    put(&folder, "audit/head.json", head.replace(&name_of(&path), "2020-02-29.jsonl").as_bytes());
    registry.move_alias(&to("movies", "champion", 2, 3)).unwrap();
    let (lines, report) = lines(&registry);
    assert_eq!((report.lines, &lines[..8]), (9, &lines_before[..]));
    assert_eq!(folder.list("audit").unwrap().len(), 3, "two days and the head");
    // A day that has gone is found, the first as well as the last.
    let whole = get(&folder, "audit/2020-02-29.jsonl");
    folder.remove("audit/2020-02-29.jsonl").unwrap();
    assert!(registry.audit(&mut |_| {}).is_err());
    folder.create("audit/2020-02-29.jsonl").unwrap();
    folder.append("audit/2020-02-29.jsonl", &whole).unwrap();
    assert_eq!(registry.audit(&mut |_| {}).unwrap().lines, 9);
    // A clock that has gone back: the last day goes on.
    folder.rename(&file_after(&folder), "audit/9999-01-01.jsonl").unwrap();
    let head = String::from_utf8(get(&folder, "audit/head.json")).unwrap();
    put(&folder, "audit/head.json", head.replace(&name_of(&path), "9999-01-01.jsonl").as_bytes());
    registry.move_alias(&to("movies", "champion", 1, 4)).unwrap();
    assert_eq!(registry.audit(&mut |_| {}).unwrap().lines, 10);
    assert_eq!(folder.list("audit").unwrap().len(), 3);
}

fn file_after(folder: &MemoryFolder) -> String {
    let entries = folder.list("audit").unwrap();
    let last = entries.iter().rfind(|entry| entry.name.ends_with(".jsonl")).unwrap();
    format!("audit/{}", last.name)
}

#[test]
fn writers_at_once_keep_one_chain() {
    const EACH: usize = 20;
    let root = tempfile::tempdir().unwrap();
    let registry = Registry::init(root.path(), Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    registry.publish(&patch("movies", 1), None).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            // Each has opened the folder for itself, as processes do.
            let registry = Registry::open(root.path(), Settings::default()).unwrap();
            scope.spawn(move || {
                let alias = format!("alias-{writer}");
                for seen in 0..EACH as u64 {
                    registry.move_alias(&to("movies", &alias, 1, seen)).unwrap();
                }
            });
        }
    });
    let (lines, report) = lines(&registry);
    assert_eq!((lines.len(), report.lines), (4 * EACH, 4 * EACH as u64));
    assert!(report.undone.is_empty() && report.unlogged.is_empty());
}
