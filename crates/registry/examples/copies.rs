//! Publishes copies of patches under names of their own, each at `champion`, as many as `cargo xtask bench serve` wants to have in memory.
//!
//! `copies ROOT COUNT PATCH...` takes the first version of each patch in turn and prints the names of the copies. Those that are there stay.

use std::collections::BTreeMap;
use std::path::Path;

use acclimate_registry::{About, AliasMove, Content, Draft, Kind, Name, Registry, RegistryError, Settings, Stored, Verdict, Version};

/// Most bytes of a file that is copied.
const LARGEST: u64 = 64 << 20;

/// The first version of a patch with its files.
fn published(registry: &Registry, name: &Name) -> Result<(Stored, BTreeMap<Name, Content>), RegistryError> {
    let stored = registry.show(Kind::Patch, name, Version::FIRST)?;
    let mut files = BTreeMap::new();
    for file in stored.manifest.files.keys() {
        files.insert(file.clone(), Content::Bytes(registry.read(Kind::Patch, name, Version::FIRST, file, LARGEST)?));
    }
    Ok((stored, files))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, count, patches @ ..] = &arguments[..] else { return Err("copies ROOT COUNT PATCH...".into()) };
    let registry = Registry::open(Path::new(root), Settings::default())?;
    let patches = patches.iter().map(|name| published(&registry, &name.parse()?)).collect::<Result<Vec<_>, _>>()?;
    if patches.is_empty() {
        return Err("name a patch to copy".into());
    }
    let alias: Name = "champion".parse()?;
    for copy in 0..count.parse()? {
        let (stored, files) = &patches[copy % patches.len()];
        let name: Name = format!("{}-{copy:06}", stored.manifest.name).parse()?;
        println!("{name}");
        if registry.alias(Kind::Patch, &name, &alias)?.is_some() {
            continue;
        }
        let about = About { parent: None, ..stored.manifest.about.clone() };
        registry.publish(&Draft { kind: Kind::Patch, name: name.clone(), about, files: files.clone(), expected: BTreeMap::new() }, None)?;
        let (by, reason) = ("cargo xtask bench".to_owned(), "benchmark".to_owned());
        let (version, verdict) = (Version::FIRST, Verdict::Ungated);
        registry.move_alias(&AliasMove {
            kind: Kind::Patch,
            name,
            alias: alias.clone(),
            version,
            expected: 0,
            by,
            reason,
            verdict,
            force: true,
        })?;
    }
    Ok(())
}
