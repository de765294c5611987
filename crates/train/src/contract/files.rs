//! Laws of patch files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use acclimate_adapt::{AdaptError, Manifest, Patch, Start};

use super::scores::Scored;
use super::{Case, Finding, require, text};
use crate::{PatchNotes, Summary, Trained};

/// A folder of this process that goes when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Result<Self, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("acclimate-contract-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(text)?;
        Ok(Self(path))
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn patch(case: &Case<'_>, trained: &Trained) -> Patch {
    let notes = PatchNotes { method: case.method.clone(), config: case.config.clone(), ..PatchNotes::default() };
    trained.patch(&case.ground.base, case.adaptation.as_ref(), notes)
}

/// The patch file that a result becomes.
pub(super) fn bytes(case: &Case<'_>, trained: &Trained) -> Result<Vec<u8>, String> {
    let folder = Folder::new()?;
    let path = folder.file("patch.safetensors");
    patch(case, trained).save(&case.ground.base, &path).map_err(text)?;
    std::fs::read(&path).map_err(text)
}

/// Saved, loaded and built again from its manifest, the patch gives the same bits.
pub(super) fn saved(case: &Case<'_>) -> Finding {
    let (trained, base, folder) = (case.trained()?, &case.ground.base, Folder::new()?);
    let path = folder.file("patch.safetensors");
    let patch = patch(case, trained);
    patch.save(base, &path).map_err(text)?;
    let loaded = Patch::load(base, &path).map_err(text)?;
    require(loaded == patch, || "the loaded patch is not the saved one".into())?;
    let (adaptation, patched) = (loaded.adaptation(base).map_err(text)?, loaded.apply(base).map_err(text)?);
    let probe = case.probe();
    let live = Scored { base: &trained.base, own: &trained.own, adaptation: case.adaptation.as_ref() }.scores(&probe)?;
    let again = Scored { base: &patched, own: &loaded.own, adaptation: adaptation.as_ref() }.scores(&probe)?;
    let far = live.iter().zip(&again).find(|(a, b)| a.to_bits() != b.to_bits());
    require(far.is_none() && live.len() == again.len(), || format!("a score is {far:?} (before, after)"))
}

/// Neither loading nor applying accepts another base.
pub(super) fn wrong_base(case: &Case<'_>) -> Finding {
    let (base, other, folder) = (&case.ground.base, &case.ground.other, Folder::new()?);
    let path = folder.file("patch.safetensors");
    let patch = patch(case, case.trained()?);
    patch.save(base, &path).map_err(text)?;
    for (what, error) in [("loading", Patch::load(other, &path).err()), ("applying", patch.apply(other).err())] {
        let Some(error) = error else { return Err(format!("{what} it for another base is no error")) };
        let said = error.to_string();
        let named = matches!(error, AdaptError::WrongBase { .. }) && said.contains(&base.hash()) && said.contains(&other.hash());
        require(named, || format!("{what} it for another base says: {said}"))?;
    }
    Ok(())
}

/// Merged with itself a patch is itself, merged with what it started from it is half-way between; networks that start from fresh values have no mean.
pub(super) fn merged(case: &Case<'_>) -> Finding {
    let (base, trained, start) = (&case.ground.base, case.trained()?, case.untrained()?);
    let start = Trained { base: start.base, own: start.own, summary: Summary::default() };
    let (full, none) = (patch(case, trained), patch(case, &start));
    if case.adaptation.start() == Start::Fresh {
        let refused = Patch::merged(base, &[(full.clone(), 1.0), (full, 1.0)]);
        return require(matches!(refused, Err(AdaptError::Merge { .. })), || "patches of fresh starts are merged".into());
    }
    let merge = |parts: &[(Patch, f64)]| {
        let merged = Patch::merged(base, parts).map_err(text)?;
        Ok::<_, String>((merged.apply(base).map_err(text)?, merged.own))
    };
    let close = |what: &str, found: &[f32], wanted: &dyn Fn(usize) -> f32| {
        let far = found.iter().enumerate().find(|(i, x)| (**x - wanted(*i)).abs() > 1e-6 * wanted(*i).abs().max(1.0));
        require(far.is_none(), || format!("{what}: value {far:?}"))
    };
    for (parts, share) in [([(full.clone(), 3.0), (full.clone(), 1.0)], 1.0_f32), ([(full, 1.0), (none, 1.0)], 0.5)] {
        let (merged, own) = merge(&parts)?;
        let between = |a: f32, b: f32| share * a + (1.0 - share) * b;
        for (i, found) in own.values.iter().enumerate() {
            close(&own.specs[i].path, found, &|at| between(trained.own.values[i][at], start.own.values[i][at]))?;
        }
        for (i, found) in merged.params.values.iter().enumerate() {
            close(&merged.params.specs[i].path, found, &|at| between(trained.base.params.values[i][at], start.base.params.values[i][at]))?;
        }
        for (i, found) in merged.tables.iter().enumerate() {
            close("rows", &found.values, &|at| between(trained.base.tables[i].values[at], start.base.tables[i].values[at]))?;
        }
    }
    Ok(())
}

/// Every damage gives an error and no panic; the file as it was still loads.
pub(super) fn damaged(case: &Case<'_>) -> Finding {
    let (base, folder) = (&case.ground.base, Folder::new()?);
    let path = folder.file("patch.safetensors");
    let whole = bytes(case, case.trained()?)?;
    let refuse = |what: &str, bytes: &[u8]| {
        std::fs::write(&path, bytes).map_err(text)?;
        require(loads(base, &path)?.is_err(), || format!("{what} is no error"))
    };
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("eight bytes")) as usize;
    for end in [0, 1, 8, header / 2, header, (header + whole.len()) / 2, whole.len() - 1] {
        refuse(&format!("a file cut after {end} of {} bytes", whole.len()), &whole[..end])?;
    }
    refuse("text", b"this is not a patch")?;
    refuse("a file with bytes after its end", &[&whole[..], &[0; 8]].concat())?;
    let broken = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&whole[8..header]).replacen(from, to, 1);
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &whole[header..]].concat()
    };
    refuse("another kind of number", &broken("\"F32\"", "\"I32\""))?;
    refuse("a manifest that is no JSON", &broken("{\\\"format\\\"", "[\\\"format\\\""))?;
    refuse("a manifest that was edited", &broken("\\\"seed\\\":0", "\\\"seed\\\":1"))?;
    refuse("a file without check sum", &broken("sha256", "sha255"))?;
    for (what, change) in [
        ("another format version", (|m| m.format += 1) as fn(&mut Manifest)),
        ("an unknown method", |m| m.method.insert_str(0, "no_")),
        ("an unknown config key", |m| drop(m.config.insert("no_such_key".into(), true.into()))),
    ] {
        let mut odd = patch(case, case.trained()?);
        change(&mut odd.manifest);
        odd.save(base, &path).map_err(text)?;
        require(loads(base, &path)?.is_err(), || format!("{what} is no error"))?;
    }
    if whole.len() > header {
        let nan = [&whole[..header], &f32::NAN.to_le_bytes(), &whole[header + 4..]].concat();
        refuse("a value that is no number", &nan)?;
        let mut flipped = whole.clone();
        *flipped.last_mut().expect("longer than its header") ^= 1;
        refuse("a flipped bit", &flipped)?;
    }
    for (table, rows) in patch(case, case.trained()?).rows.iter().enumerate().filter(|(_, r)| r.rows.len() > 1) {
        for numbers in [[rows.rows[1], rows.rows[0]], [rows.rows[0], u32::MAX]] {
            let mut odd = patch(case, case.trained()?);
            odd.rows[table].rows[..2].copy_from_slice(&numbers);
            odd.save(base, &path).map_err(text)?;
            require(loads(base, &path)?.is_err(), || format!("rows {numbers:?} of table {table} are no error"))?;
        }
    }
    let stranger = folder.file("base.safetensors");
    base.save(&stranger).map_err(text)?;
    require(loads(base, &stranger)?.is_err(), || "a base taken for a patch is no error".into())?;
    require(loads(base, &folder.file("missing"))?.is_err(), || "a missing file is no error".into())?;
    std::fs::write(&path, &whole).map_err(text)?;
    loads(base, &path)?.map_err(|e| format!("the undamaged file does not load: {e}"))
}

/// Loads and applies; the outer error is a panic.
fn loads(base: &acclimate_model::Base, path: &Path) -> Result<Result<(), AdaptError>, String> {
    let attempt = std::panic::AssertUnwindSafe(|| Patch::load(base, path)?.apply(base).map(drop));
    std::panic::catch_unwind(attempt).map_err(|panic| format!("a damaged file panics: {}", super::said(&panic)))
}
