//! The engine as a service.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use acclimate_registry::Name;

use super::{Base, Engine, LOCAL, Loader, said};
use crate::api::{Answer, At, Caller, ColumnInfo, EventIn, ModelInfo, PatchInfo, Readiness, Recorded, Refusal, ScoreAsk, Served, Service};

impl<L: Loader> Service for Engine<L> {
    async fn score(&self, caller: &Caller, ask: ScoreAsk) -> Result<Answer, Refusal> {
        let answer = self.submit(caller, ask, false).await;
        self.counted(answer)
    }

    async fn adapt(&self, caller: &Caller, ask: ScoreAsk) -> Result<Served, Refusal> {
        let answer = self.submit(caller, ask, true).await.map(|answer| answer.served);
        self.counted(answer)
    }

    async fn record(&self, caller: &Caller, base: Option<Name>, mut events: Vec<EventIn>) -> Result<Recorded, Refusal> {
        // Ids are a tenant's own: that of another is no repetition.
        if caller.tenant != LOCAL {
            events.iter_mut().for_each(|event| event.id = format!("{}/{}", caller.tenant, event.id));
        }
        let recorded = match self.shared.base(base.as_ref()) {
            Ok(base) => base.encoding.record(events).await,
            Err(refusal) => Err(refusal),
        };
        self.counted(recorded)
    }

    fn patches(&self, _: &Caller) -> Vec<PatchInfo> {
        let shared = &self.shared;
        shared.resident.names().iter().filter_map(|name| shared.info(name, &*shared.resident.peek(name)?)).collect()
    }

    async fn look_up(&self, _: &Caller, base: Name, patch: Name, at: At) -> Result<(), Refusal> {
        let base = self.shared.base(Some(&base))?;
        self.shared.find(&base, &patch, &at).await.map(|_| ())
    }

    fn models(&self) -> Vec<ModelInfo> {
        let columns = |base: &Base<L::Base>| -> Vec<ColumnInfo> { base.encoding.columns() };
        let info = |base: &Arc<Base<L::Base>>| ModelInfo {
            name: base.name.clone(),
            version: base.version,
            digest: base.digest,
            columns: columns(base),
            output: base.loaded.output,
        };
        self.shared.bases.load().values().map(info).collect()
    }

    fn readiness(&self) -> Readiness {
        let closing = self.shared.closing.load(Ordering::SeqCst);
        let mut reasons: Vec<String> = Vec::new();
        if closing {
            reasons.push("it is shutting down".into());
        }
        for (domain, route) in self.shared.routes.load().iter() {
            if self.shared.resident.peek(&route.patch).is_none_or(|patch| !patch.aliases.contains_key(&route.alias)) {
                reasons.push(format!(
                    "domain `{domain}` is sent to {}, which is not loaded",
                    said(&route.patch, &At::Alias(route.alias.clone()))
                ));
            }
        }
        reasons.sort_unstable();
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn metrics(&self, out: &mut String) {
        let shared = &self.shared;
        shared.metrics.write(out);
        shared.metrics.gauges(
            out,
            &[
                ("acclimate_queue_jobs", "Requests that wait.", shared.queue.waiting() as f64),
                ("acclimate_patches", "Patches in memory.", shared.resident.count() as f64),
                ("acclimate_patch_bytes", "Bytes of patches in memory.", shared.resident.bytes() as f64),
                (
                    "acclimate_patches_evicted",
                    "Patches that were let go because memory was short.",
                    shared.resident.evicted.load(Ordering::Relaxed) as f64,
                ),
            ],
        );
        shared.adaptations.write(out);
    }

    async fn refresh(&self) -> Vec<String> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || shared.refresh(usize::MAX)).await {
            Ok(problems) => problems,
            Err(error) => vec![format!("the refresh failed: {error}")],
        }
    }

    async fn load(&self, name: Name, at: Option<At>) -> Result<PatchInfo, Refusal> {
        let shared = self.shared.clone();
        let load = move || {
            shared.absent.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            let patch = shared.fetch_at(&name, at.as_ref())?;
            shared.info(&name, &patch).ok_or_else(|| Refusal::Unknown { what: format!("patch `{name}`") })
        };
        tokio::task::spawn_blocking(load).await.unwrap_or_else(|error| Err(Refusal::Failed { problem: error.to_string() }))
    }

    async fn unload(&self, name: Name) -> Result<(), Refusal> {
        match self.shared.resident.remove(&name) {
            true => Ok(()),
            false => Err(Refusal::Unknown { what: format!("patch `{name}`") }),
        }
    }
}
