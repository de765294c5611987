//! What a request means once it is resolved, and what requests were adapted to.

use std::sync::{Arc, Mutex, PoisonError};

use acclimate_data::RowEvent;
use acclimate_plan::ByteCache;
use acclimate_registry::{Digest, Name, PointerTarget};

use super::Base;
use super::metrics::sample;
use super::model::Adapted;
use super::resident::Loaded;
use crate::api::{Fallback, PatchSource, Source};

/// The base and patch of a request.
pub(crate) struct Target<B> {
    pub(crate) base: Arc<Base<B>>,
    pub(crate) patch: Option<Found>,
    /// Why it is not what was asked for.
    pub(crate) fallback: Option<Fallback>,
}

/// A version of a patch, and how it was asked for.
pub(crate) struct Found {
    pub(super) name: Name,
    pub(super) loaded: Arc<Loaded>,
    pub(super) alias: Option<Name>,
    pub(super) target: Option<PointerTarget>,
}

impl Found {
    pub(super) fn source(&self) -> PatchSource {
        let source = Source { name: self.name.clone(), version: self.loaded.version, digest: self.loaded.digest };
        let (verdict, forced) = self.target.as_ref().map_or((None, false), |target| (Some(target.verdict), target.forced));
        PatchSource { source, alias: self.alias.clone(), verdict, forced }
    }
}

/// About the bytes of an event of a support set.
const EVENT: usize = 256;

/// What was adapted, of which base and patch.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) base: Digest,
    pub(super) patch: Digest,
    pub(super) rows: usize,
    pub(super) adapted: Arc<Adapted>,
    /// What the support set told the feature state: later requests know it as well.
    pub(super) happened: Arc<Vec<RowEvent>>,
}

/// What requests were adapted to, by tenant and key, bounded by bytes.
pub(crate) struct Adaptations(Mutex<ByteCache<Digest, Kept>>);

impl Adaptations {
    /// A tenant holds at most half of it, so that none drives out all others.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Mutex::new(ByteCache::new(bytes, bytes / 2)))
    }

    pub(super) fn get(&self, tenant: &str, key: &Digest) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(tenant, key).cloned()
    }

    /// Keeps it; whether there was room.
    pub(super) fn put(&self, tenant: &str, key: Digest, kept: Kept) -> bool {
        let bytes = kept.adapted.bytes() + size_of::<Kept>() + kept.happened.len() * EVENT;
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = cache.insert(tenant, key, kept, bytes);
        let is_kept = cache.get(tenant, &key).is_some();
        // What had to go is freed without anybody waiting for it.
        drop(cache);
        drop(gone);
        is_kept
    }

    pub(super) fn write(&self, out: &mut String) {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sample(out, "acclimate_adapted_entries", "gauge", "Adapted states in memory.", cache.len() as f64);
        sample(out, "acclimate_adapted_bytes", "gauge", "Bytes of adapted states in memory.", cache.bytes() as f64);
        sample(
            out,
            "acclimate_adapted_evicted_total",
            "counter",
            "Adapted states that were let go because memory was short.",
            cache.counts().evicted as f64,
        );
    }
}
