//! What a registry promises, on a disk that nothing goes wrong with.

mod common;

use acclimate_registry::folder::Folder;
use acclimate_registry::{
    Collection, Content, Kind, RegistryError, Route, Settings, SignaturePolicy, Signer, TensorSpec, TensorType, Trust, Verdict,
};
use common::{base, get, in_memory, judgement, name, patch, put, to, version};

const BY: (&str, &str) = ("tests", "to see");

#[test]
fn what_is_published_is_read_again() {
    let (_, registry) = in_memory();
    let first = registry.publish(&patch("movies", 1), None).unwrap();
    let second = registry.publish(&patch("movies", 2), None).unwrap();
    assert_eq!((first.manifest.version, second.manifest.version), (version(1), version(2)));
    assert_eq!(registry.verify(Kind::Patch, &name("movies"), version(1)).unwrap(), first);
    assert_eq!(registry.versions(Kind::Patch, &name("movies")).unwrap(), [version(1), version(2)]);
    let bytes = registry.read(Kind::Patch, &name("movies"), version(2), &name("adapter_model.safetensors"), 1000).unwrap();
    assert_eq!(bytes, common::tensors(&[2.0, 0.5]));
    assert!(matches!(
        registry.read(Kind::Patch, &name("movies"), version(2), &name("adapter_model.safetensors"), 10),
        Err(RegistryError::TooLarge { .. })
    ));
    let unknown = registry.show(Kind::Patch, &name("movies"), version(3)).unwrap_err().to_string();
    assert!(unknown.contains("v000001, v000002"), "{unknown}");
    assert_eq!(registry.list().unwrap().len(), 3);
    assert!(registry.verify_all().unwrap().is_empty());
}

#[test]
fn the_same_in_a_real_folder_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("registry");
    assert!(registry_at(&path).is_err_and(|error| matches!(error, RegistryError::Io { .. })));
    let registry = acclimate_registry::Registry::init(&path, Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    // A file of the caller's, read while it is published.
    let file = root.path().join("weights");
    std::fs::write(&file, common::tensors(&[3.0; 600_000])).unwrap();
    let mut draft = patch("movies", 1);
    draft.files.insert(name("adapter_model.safetensors"), Content::File(file));
    let stored = registry.publish(&draft, None).unwrap();
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    let again = registry_at(&path).unwrap();
    assert_eq!(again.verify(Kind::Patch, &name("movies"), version(1)).unwrap(), stored);
    assert_eq!(again.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap().unwrap().target.digest, stored.digest);
    assert!(again.verify_all().unwrap().is_empty());
    assert!(registry_at(root.path()).is_err_and(|error| matches!(error, RegistryError::NoRegistry { .. })));
}

fn registry_at(path: &std::path::Path) -> Result<acclimate_registry::Registry, RegistryError> {
    acclimate_registry::Registry::open(path, Settings::default())
}

#[test]
fn a_bad_draft_publishes_nothing() {
    let (folder, registry) = in_memory();
    let refused = |change: &dyn Fn(&mut acclimate_registry::Draft)| {
        let mut draft = patch("movies", 1);
        change(&mut draft);
        registry.publish(&draft, None).unwrap_err()
    };
    let weights = || name("adapter_model.safetensors");
    assert!(matches!(refused(&|d| d.files.clear()), RegistryError::Draft { .. }));
    assert!(matches!(refused(&|d| drop(d.files.remove(&name("adapter_config.json")))), RegistryError::Draft { .. }));
    let nan = common::tensors(&[f32::NAN]);
    let with = |bytes: &[u8]| Content::Bytes(bytes.to_vec());
    assert!(matches!(refused(&|d| drop(d.files.insert(weights(), with(&nan)))), RegistryError::Tensors { .. }));
    assert!(matches!(refused(&|d| drop(d.files.insert(weights(), with(b"junk")))), RegistryError::Tensors { .. }));
    assert!(matches!(refused(&|d| drop(d.files.insert(name("patch.json"), with(b"{")))), RegistryError::Draft { .. }));
    assert!(matches!(refused(&|d| drop(d.files.insert(name("manifest.json"), with(b"{}")))), RegistryError::Draft { .. }));
    assert!(matches!(refused(&|d| d.files = [(weights(), Content::File("/nowhere/at/all".into()))].into()), RegistryError::Draft { .. }));
    let wrong = TensorSpec { kind: TensorType::F32, shape: vec![3] };
    let expected = [("own.weight".to_owned(), wrong)];
    assert!(matches!(refused(&|d| drop(d.expected.insert(weights(), expected.clone().into()))), RegistryError::Tensors { .. }));
    assert!(matches!(refused(&|d| d.about.base = acclimate_registry::Digest::of(b"another")), RegistryError::Refused { .. }));
    assert!(matches!(refused(&|d| d.about.parent = Some(version(1))), RegistryError::Draft { .. }));
    assert!(matches!(refused(&|d| d.about.metrics.get_mut("auc").unwrap().value = f64::NAN), RegistryError::Draft { .. }));
    assert!(registry.versions(Kind::Patch, &name("movies")).unwrap().is_empty());
    assert!(folder.list("patches/movies").unwrap().is_empty(), "what failed is cleared away");
}

#[test]
fn an_alias_moves_only_from_where_the_caller_has_seen_it() {
    let (_, registry) = in_memory();
    for seed in 1..=3 {
        registry.publish(&patch("movies", seed), None).unwrap();
    }
    let first = registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    assert_eq!((first.generation, first.earlier.len()), (1, 0));
    assert!(matches!(registry.move_alias(&to("movies", "champion", 2, 0)), Err(RegistryError::Stale { found: 1, .. })));
    registry.move_alias(&to("movies", "champion", 2, 1)).unwrap();
    registry.move_alias(&to("movies", "champion", 3, 2)).unwrap();
    assert!(registry.move_alias(&to("movies", "champion", 4, 3)).is_err(), "no such version");
    let back = |expected| registry.rollback(Kind::Patch, &name("movies"), &name("champion"), expected, BY);
    assert!(matches!(back(2), Err(RegistryError::Stale { .. })));
    let pointers: Vec<(u32, u64)> = (3..5).map(|seen| back(seen).unwrap()).map(|p| (p.target.version.number(), p.generation)).collect();
    assert_eq!(pointers, [(2, 4), (1, 5)]);
    assert!(matches!(back(5), Err(RegistryError::NothingEarlier { .. })));
}

#[test]
fn of_many_movers_each_generation_has_one() {
    let root = tempfile::tempdir().unwrap();
    let registry = acclimate_registry::Registry::init(root.path(), Settings::default()).unwrap();
    registry.publish(&base(1), None).unwrap();
    registry.publish(&patch("movies", 1), None).unwrap();
    let won = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let seen = registry.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap().map_or(0, |p| p.generation);
                    match registry.move_alias(&to("movies", "champion", 1, seen)) {
                        Ok(_) => drop(won.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                        Err(RegistryError::Stale { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    registry.publish(&patch("movies", 2), None).unwrap();
                }
            });
        }
    });
    let pointer = registry.alias(Kind::Patch, &name("movies"), &name("champion")).unwrap().unwrap();
    assert_eq!(pointer.generation, won.into_inner());
    assert_eq!(registry.versions(Kind::Patch, &name("movies")).unwrap().len(), 41);
    assert!(registry.verify_all().unwrap().is_empty());
}

#[test]
fn what_serves_has_passed_the_gate_or_says_that_it_was_forced() {
    let (_, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    let wish = |alias: &str, verdict, force| acclimate_registry::AliasMove { verdict, force, ..to("movies", alias, 1, 0) };
    let refused = |wish| matches!(registry.move_alias(&wish), Err(RegistryError::Refused { .. }));
    for verdict in [Verdict::Ungated, Verdict::Rejected, Verdict::Suspicious] {
        assert!(refused(wish("champion", verdict, false)));
    }
    // An alias that serves nobody may name anything; a route to it needs the gate again.
    registry.move_alias(&wish("challenger", Verdict::Ungated, false)).unwrap();
    let route = |alias: &str| Some(Route { patch: name("movies"), alias: name(alias) });
    assert!(matches!(registry.set_route("tab=1", route("challenger"), 0, BY), Err(RegistryError::Refused { .. })));
    assert!(matches!(registry.set_route("tab=1", route("champion"), 0, BY), Err(RegistryError::Refused { .. })), "it is not there");
    let forced = registry.move_alias(&wish("champion", Verdict::Rejected, true)).unwrap();
    assert_eq!((forced.target.verdict, forced.target.forced), (Verdict::Rejected, true));
    let routes = registry.set_route("tab=1", route("champion"), 0, BY).unwrap();
    assert_eq!(routes.generation, 1);
    let resolved = registry.resolve("tab=1").unwrap().unwrap();
    assert_eq!((resolved.patch, resolved.pointer.target.forced), (name("movies"), true));
    assert!(registry.resolve("tab=2").unwrap().is_none());
    assert!(matches!(registry.set_route("tab=2", route("champion"), 0, BY), Err(RegistryError::Stale { .. })));
    assert!(registry.set_route("tab=1", None, 1, BY).unwrap().domains.is_empty());
    // Of the force nothing is kept where the gate agrees.
    let fine = registry.move_alias(&acclimate_registry::AliasMove { force: true, ..to("movies", "champion", 1, 1) }).unwrap();
    assert!(!fine.target.forced);
}

#[test]
fn what_the_gate_said_is_kept_beside_the_version_and_goes_with_it() {
    let (folder, registry) = in_memory();
    let stored = registry.publish(&patch("movies", 1), None).unwrap();
    let (kind, of, first) = (Kind::Patch, name("movies"), version(1));
    assert!(registry.judged(kind, &of, first).unwrap().is_empty());
    for at in 1..=10 {
        registry.record(kind, &of, first, judgement(stored.digest, at)).unwrap();
    }
    let kept: Vec<i64> = registry.judged(kind, &of, first).unwrap().iter().map(|judgement| judgement.at).collect();
    assert_eq!(kept, (3..=10).collect::<Vec<_>>(), "the latest eight, in order");
    assert_eq!(registry.judged(kind, &of, first).unwrap()[7], judgement(stored.digest, 10));
    // What was said of something else is not taken.
    let other = judgement(acclimate_registry::Digest::of(b"another"), 11);
    assert!(matches!(registry.record(kind, &of, first, other), Err(RegistryError::Damaged { .. })));
    assert!(registry.record(kind, &of, version(2), judgement(stored.digest, 11)).is_err());
    let mut endless = judgement(stored.digest, 11);
    endless.report.slices[0].gain = Some(f64::NAN);
    assert!(matches!(registry.record(kind, &of, first, endless), Err(RegistryError::Draft { .. })));
    assert!(registry.verify_all().unwrap().is_empty());
    registry.publish(&patch("movies", 2), None).unwrap();
    registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
    assert!(folder.list("patches/movies/judged").unwrap().is_empty());
    // A damaged file is found.
    folder.create("patches/movies/judged/v000002.json").unwrap();
    assert_eq!(registry.verify_all().unwrap().len(), 1);
}

#[test]
fn a_base_is_found_by_its_identity() {
    let (_, registry) = in_memory();
    let identity = patch("movies", 1).about.base;
    registry.publish(&base(2), None).unwrap();
    assert_eq!(registry.base_of(identity).unwrap().unwrap().manifest.version, version(2), "the latest");
    assert!(registry.base_of(acclimate_registry::Digest::of(b"another")).unwrap().is_none());
}

#[test]
fn a_routed_alias_is_gated_under_any_name() {
    let (_, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.move_alias(&to("movies", "blue", 1, 0)).unwrap();
    registry.set_route("films", Some(Route { patch: name("movies"), alias: name("blue") }), 0, BY).unwrap();
    let ungated = acclimate_registry::AliasMove { verdict: Verdict::Ungated, ..to("movies", "blue", 1, 1) };
    assert!(matches!(registry.move_alias(&ungated), Err(RegistryError::Refused { .. })));
}

#[test]
fn every_changed_byte_is_found() {
    let (folder, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json", "manifest.json"] {
        let path = format!("patches/movies/v000001/{file}");
        let bytes = get(&folder, &path);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            put(&folder, &path, &damaged);
            assert!(!registry.verify_all().unwrap().is_empty(), "{file}, byte {at}");
        }
        put(&folder, &path, &bytes[..bytes.len() - 1]);
        assert!(!registry.verify_all().unwrap().is_empty(), "{file}, cut off");
        put(&folder, &path, &bytes);
    }
    folder.create("patches/movies/v000001/extra").unwrap();
    assert_eq!(registry.verify_all().unwrap().len(), 1);
    folder.remove("patches/movies/v000001/extra").unwrap();
    folder.remove("patches/movies/v000001/adapter_config.json").unwrap();
    assert!(matches!(registry.verify(Kind::Patch, &name("movies"), version(1)), Err(RegistryError::Files { .. })));
    assert!(registry.move_alias(&to("movies", "champion", 1, 1)).is_err());
}

#[test]
fn a_version_of_another_name_is_none_of_this_one() {
    let (folder, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.publish(&patch("books", 2), None).unwrap();
    put(&folder, "patches/movies/v000001/manifest.json", &get(&folder, "patches/books/v000001/manifest.json"));
    let error = registry.show(Kind::Patch, &name("movies"), version(1)).unwrap_err().to_string();
    assert!(error.contains("patches/books/v000001"), "{error}");
}

#[test]
fn what_is_needed_is_never_collected() {
    let (folder, registry) = in_memory();
    registry.publish(&base(2), None).unwrap();
    for seed in 1..=5 {
        registry.publish(&patch("movies", seed), None).unwrap();
    }
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    registry.move_alias(&to("movies", "champion", 3, 1)).unwrap();
    folder.create_folder("patches/movies/.tmp-1-1-1").unwrap();
    folder.create("patches/movies/.tmp-1-1-1/adapter_config.json").unwrap();
    let at = |now, dry_run| Collection { now, grace: 100, dry_run };
    let early = registry.collect(at(1_700_000_050, true)).unwrap();
    assert!(early.versions.is_empty(), "within the grace period");
    let wished = registry.collect(at(1_700_000_200, true)).unwrap();
    let done = registry.collect(at(1_700_000_200, false)).unwrap();
    assert_eq!(wished, done);
    let numbers: Vec<u32> = done.versions.iter().map(|(_, _, version)| version.number()).collect();
    assert_eq!(numbers, [2, 4], "named, gone back to, last");
    assert_eq!(done.leftovers, ["patches/movies/.tmp-1-1-1"]);
    assert!(registry.verify_all().unwrap().is_empty());
    assert_eq!(folder.list("patches/movies").unwrap().len(), 4);
    assert_eq!(registry.versions(Kind::Base, &name("tower")).unwrap().len(), 2, "both are the base of what is kept");
    registry.rollback(Kind::Patch, &name("movies"), &name("champion"), 2, BY).unwrap();
    assert_eq!(registry.publish(&patch("movies", 6), None).unwrap().manifest.version, version(6));
}

#[test]
fn a_base_goes_with_its_last_patch() {
    let (_, registry) = in_memory();
    let mut other = base(2);
    other.about.base = acclimate_registry::Digest::of(b"base 1");
    registry.publish(&other, None).unwrap();
    other.about.base = acclimate_registry::Digest::of(b"base 2");
    registry.publish(&other, None).unwrap();
    registry.publish(&patch("movies", 1), None).unwrap();
    let collected = registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
    let gone: Vec<u32> = collected.versions.iter().map(|(_, _, version)| version.number()).collect();
    assert_eq!(gone, [2], "the first has a patch, the third is the last of its name");
}

#[test]
fn a_damaged_version_is_left_for_somebody_to_look_at() {
    let (folder, registry) = in_memory();
    registry.publish(&patch("movies", 1), None).unwrap();
    registry.publish(&patch("movies", 2), None).unwrap();
    put(&folder, "patches/movies/v000001/manifest.json", b"{}");
    let collected = registry.collect(Collection { now: i64::MAX, grace: 0, dry_run: false }).unwrap();
    assert_eq!(collected.unreadable, [(Kind::Patch, name("movies"), version(1))]);
    assert!(collected.versions.is_empty());
    assert!(registry.list().unwrap().iter().any(|listed| listed.stored.is_err()));
}

#[test]
fn a_required_signature_is_required_everywhere() {
    let (folder, open) = in_memory();
    let signer = Signer::from_hex(&"07".repeat(32)).unwrap();
    let settings = Settings { policy: SignaturePolicy::Require, trusted: vec![signer.public()], ..Settings::default() };
    let strict = acclimate_registry::Registry::open_in(folder.clone(), settings).unwrap();
    open.publish(&patch("movies", 1), None).unwrap();
    assert!(matches!(strict.publish(&patch("movies", 2), None), Err(RegistryError::Unsigned { .. })));
    let signed = strict.publish(&patch("movies", 2), Some(&signer)).unwrap();
    assert_eq!((signed.manifest.version, signed.trust), (version(2), Trust::Signed(signer.public())));
    assert!(matches!(strict.move_alias(&to("movies", "champion", 1, 0)), Err(RegistryError::Unsigned { .. })));
    strict.move_alias(&to("movies", "champion", 2, 0)).unwrap();
    // Everything of a version is pinned: a signature of another one does not fit.
    let other = strict.publish(&patch("movies", 3), Some(&signer)).unwrap();
    assert_eq!(other.manifest.version, version(3));
    put(&folder, "patches/movies/v000003/manifest.sig", &get(&folder, "patches/movies/v000002/manifest.sig"));
    assert!(matches!(strict.verify(Kind::Patch, &name("movies"), version(3)), Err(RegistryError::Signature { .. })));
    assert!(matches!(open.verify(Kind::Patch, &name("movies"), version(3)).unwrap().trust, Trust::Doubtful(_)));
    assert_eq!(strict.collect(Collection { now: i64::MAX, grace: 0, dry_run: true }).unwrap().versions.len(), 1);
}
