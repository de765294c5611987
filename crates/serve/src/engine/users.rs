//! Users who were adapted to beforehand: a head for each, in segments beside the patch.
//!
//! The segments of patch `NAME` are published as `NAME.users`. Their manifest names the digest of the patch's version that they were made with: with another one they mean nothing, and are left alone.
//! A row of a segment is a head, `[w; b]` of width `d + 1`.

use std::sync::Arc;

use acclimate_plan::{Linear, Personal};
use acclimate_registry::{Digest, Kind, Name, PointerTarget, Registry, SegmentStore};

use crate::api::{PatchSource, Source};

use super::model::{Adapted, Change};

/// What the manifest of segments says of the patch that they belong to.
pub const PATCH: &str = "patch";

/// The name of a patch's segments.
#[must_use]
pub fn segments_of(patch: &Name) -> Option<Name> {
    format!("{patch}.users").parse().ok()
}

/// The key of a user in segments: the first eight bytes of the SHA-256 of the id, the lowest first.
#[must_use]
pub fn user_key(user: &str) -> u64 {
    let bytes = acclimate_data::sha256(user);
    u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))
}

/// The heads of a patch's users.
pub(super) struct Users {
    store: SegmentStore,
    /// Which they are, and what the gate said of them.
    pub(super) source: PatchSource,
}

impl Users {
    /// The segments that `champion` names, if they were made with this version of a patch.
    pub(super) fn open(registry: &Registry, patch: &Name, digest: Digest) -> Result<Option<Self>, String> {
        let said = |error: acclimate_registry::RegistryError| error.to_string();
        let Some((name, target)) = Self::target(registry, patch)? else { return Ok(None) };
        let stored = registry.verify(Kind::Segments, &name, target.version).map_err(said)?;
        if stored.digest != target.digest || stored.manifest.about.config.get(PATCH).and_then(|of| of.as_str()) != Some(&digest.to_string())
        {
            return Ok(None);
        }
        let store = SegmentStore::open(registry, &name, target.version).map_err(said)?;
        if store.index_was_rebuilt() {
            tracing::warn!(
                "the index of `{name}` {} was not there, or not as it was written; it was made again from the segments",
                target.version
            );
        }
        let source = Source { name, version: target.version, digest: stored.digest };
        let source = PatchSource { source, alias: Some(super::champion()), verdict: Some(target.verdict), forced: target.forced };
        Ok(Some(Self { store, source }))
    }

    /// Where `champion` of a patch's segments points, if it may serve.
    pub(super) fn target(registry: &Registry, patch: &Name) -> Result<Option<(Name, PointerTarget)>, String> {
        let Some(name) = segments_of(patch) else { return Ok(None) };
        let pointer = registry.alias(Kind::Segments, &name, &super::champion()).map_err(|error| error.to_string())?;
        Ok(pointer.map(|pointer| pointer.target).filter(super::may_serve).map(|target| (name, target)))
    }

    /// The head of a user; none for one who has none.
    pub(super) fn head(&self, user: &str) -> Result<Option<Arc<Adapted>>, String> {
        let values = self.store.get(user_key(user)).map_err(|error| error.to_string())?;
        Ok(values.and_then(|mut weight| {
            let bias = weight.pop()?;
            let head = Linear { d_in: weight.len(), d_out: 1, weight: Arc::new(weight), bias: Arc::new(vec![bias]) };
            let personal = Personal { head: Some(head), ..Personal::default() };
            Some(Arc::new(Adapted { change: Change::Personal(personal), form: "kept", steps: 0 }))
        }))
    }
}
