//! Registries of every format since the first are opened for ever.

mod common;

use std::path::{Path, PathBuf};

use acclimate_registry::{Digest, Kind, Registry, Route, SegmentStore, Settings, SignaturePolicy, Signer, Trust, Verdict, segment_files};
use common::{about, base, name, patch, to, version};

fn folder(format: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/format-{format}"))
}

fn signer() -> Signer {
    Signer::from_hex(&"11".repeat(32)).unwrap()
}

/// What a fixture holds.
fn fill(registry: &Registry) {
    registry.publish(&base(1), Some(&signer())).unwrap();
    let mut second = patch("movies", 2);
    second.about.parent = Some(version(1));
    registry.publish(&patch("movies", 1), Some(&signer())).unwrap();
    registry.publish(&second, Some(&signer())).unwrap();
    let forced = acclimate_registry::AliasMove { verdict: Verdict::Rejected, force: true, ..to("movies", "champion", 2, 1) };
    registry.move_alias(&to("movies", "champion", 1, 0)).unwrap();
    registry.move_alias(&forced).unwrap();
    let route = Route { patch: name("movies"), alias: name("champion") };
    registry.set_route("tab=1", Some(route), 0, ("tests", "a fixture")).unwrap();
    let files = segment_files(&[3, 5, u64::MAX], &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2).unwrap();
    let users =
        acclimate_registry::Draft { kind: Kind::Segments, name: name("users"), about: about(0, 1_700_000_000), files, expected: [].into() };
    registry.publish(&users, Some(&signer())).unwrap();
}

/// Run once for a new format: `cargo test --release -p acclimate-registry --test fixtures -- --ignored`.
#[test]
#[ignore = "writes the fixture of the present format; those of earlier formats stay as they are"]
fn write() {
    let path = folder(1);
    assert!(!path.exists(), "a fixture is written once");
    fill(&Registry::init(&path, Settings::default()).unwrap());
    std::fs::remove_file(path.join(".lock")).unwrap();
}

#[test]
fn the_first_format_is_read() {
    let settings = Settings { policy: SignaturePolicy::Require, trusted: vec![signer().public()], ..Settings::default() };
    let registry = Registry::open(&folder(1), settings).unwrap();
    let findings = registry.verify_all().unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let resolved = registry.resolve("tab=1").unwrap().unwrap();
    assert_eq!((resolved.pointer.target.version, resolved.pointer.target.forced, resolved.pointer.generation), (version(2), true, 2));
    let stored = registry.show(Kind::Patch, &name("movies"), version(2)).unwrap();
    assert_eq!((stored.digest, stored.trust), (resolved.pointer.target.digest, Trust::Signed(signer().public())));
    assert_eq!(stored.manifest.about.base, Digest::of(b"base 0"));
    assert_eq!(stored.manifest.about.metrics["auc"].value, 0.7314);
    let store = SegmentStore::open(&registry, &name("users"), version(1)).unwrap();
    assert_eq!(store.get(5).unwrap(), Some(vec![0.3, 0.4]));
    assert!(!store.index_was_rebuilt());
}

#[test]
fn the_same_calls_write_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    fill(&Registry::init(root.path(), Settings::default()).unwrap());
    let mut folders = vec![PathBuf::new()];
    let mut files = 0;
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(folder(1).join(&inner)).unwrap() {
            let path = inner.join(entry.unwrap().file_name());
            if folder(1).join(&path).is_dir() {
                folders.push(path);
            } else {
                let read = |root: &Path| std::fs::read(root.join(&path)).unwrap();
                assert_eq!(read(&folder(1)), read(root.path()), "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 15, "{files}");
}
