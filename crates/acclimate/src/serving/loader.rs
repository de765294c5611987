//! Loading published versions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acclimate_adapt::{Adaptation, Patch, Serve};
use acclimate_data::{DatasetConfig, Encoder, Known, RawDataset};
use acclimate_model::{Base, Modulation, Params};
use acclimate_plan::{Network, Options, Plan, Slot, Table};
use acclimate_serve::catalogue::Catalogue;
use acclimate_serve::engine::{Files, LoadedBase, LoadedPatch, Loader, Model, ModelError};
use acclimate_serve::layout::Layout;
use acclimate_train::Bindings;
use burn::tensor::Device;

use super::compile::{self, Dependence};
use super::device::DeviceModel;
use super::golden::{self, GOLDEN};
use super::planned::{Adapter, PlannedModel};
use super::sequences::{self, REQUESTS, Reads, SequenceModel};
use crate::lab::pretraining;
use crate::sequences::{SEQUENCES, SequenceFile};

/// Loads bases and patches as `acclimate registry publish` writes them.
#[derive(Clone, Debug, Default)]
pub struct PublishedLoader {
    /// How plans are compiled.
    pub options: Options,
    /// Whether everything is scored on the plain device, plans or not: what a plan is compared with.
    pub on_device: bool,
    /// A data-set file whose users and items need not be described in requests.
    pub catalogue: Option<PathBuf>,
}

/// A base with what its patches are loaded onto.
pub struct OnDevice {
    base: Arc<Base>,
    /// Its identity, hashed once.
    hash: String,
    encoder: Encoder,
    layout: Layout,
    /// What plans of its patches share; none for a network that no plan knows.
    planned: Option<Planned>,
    /// How its histories are read, if it reads sequences.
    sequences: Option<Arc<Reads>>,
}

/// The plan of a base, and what it is made of.
struct Planned {
    plan: Arc<Plan>,
    network: Network,
    tables: Vec<Table>,
    slots: Vec<Slot>,
}

fn wrong(error: impl std::fmt::Display) -> ModelError {
    ModelError(error.to_string())
}

impl OnDevice {
    /// Golden rows are part of what was published: a version without them can not be checked, and does not serve.
    fn check(&self, files: &Files<'_>, model: &dyn Model) -> Result<(), ModelError> {
        let bytes = files.required(GOLDEN)?;
        match &self.sequences {
            Some(_) => sequences::check(&bytes, model),
            None => golden::check(&bytes, model, &self.base, &self.layout),
        }
    }
}

impl Loader for PublishedLoader {
    type Base = OnDevice;

    fn base(&self, files: &Files<'_>) -> Result<LoadedBase<OnDevice>, ModelError> {
        let base = Base::parse(&files.required("model.safetensors")?, Path::new("model.safetensors")).map_err(wrong)?;
        let encoder: Encoder =
            serde_json::from_slice(&files.required("encoder.json")?).map_err(|error| wrong(format!("encoder.json: {error}")))?;
        let (hash, named) = (base.hash(), files.stored.manifest.about.base.to_string());
        if hash != named {
            return Err(wrong(format!("its manifest names {named}, and model.safetensors is {hash}; publish it again")));
        }
        let (own, model) = match files.read(SEQUENCES)? {
            Some(bytes) => {
                let file = serde_json::from_slice(&bytes).map_err(|error| wrong(format!("{SEQUENCES}: {error}")))?;
                let requests = files.required(REQUESTS)?;
                let requests = serde_json::from_slice(&requests).map_err(|error| wrong(format!("{REQUESTS}: {error}")))?;
                of_sequences(base, hash, &file, requests)?
            }
            None => self.open(base, hash, encoder)?,
        };
        own.check(files, model.as_ref())?;
        let OnDevice { base, encoder, layout, .. } = &own;
        let output = if base.spec.objective == acclimate_model::Objective::Logistic { "probability" } else { "value" };
        let unit = base.spec.schema.label.unit();
        // What a base of sequences reads is named by ids alone.
        let described = self.catalogue.as_ref().filter(|_| own.sequences.is_none());
        let catalogue = described.map(|file| catalogue(file, encoder)).transpose()?;
        let (encoder, layout) = (encoder.clone(), layout.clone());
        Ok(LoadedBase { own, model, encoder, layout, output, unit, catalogue })
    }

    fn patch(&self, loaded: &LoadedBase<OnDevice>, files: &Files<'_>) -> Result<LoadedPatch, ModelError> {
        let OnDevice { base, hash, encoder, .. } = &loaded.own;
        let file = "adapter_model.safetensors";
        let patch = Patch::parse((base, hash), &files.required(file)?, Path::new(file)).map_err(wrong)?;
        let encoder = (!patch.manifest.ids.is_empty()).then(|| encoder.with_values(&patch.manifest.ids));
        let model = self.model(&loaded.own, &patch, encoder.as_ref())?;
        loaded.own.check(files, model.as_ref())?;
        let catalogue = match (&encoder, &self.catalogue) {
            (Some(encoder), Some(file)) => Some(catalogue(file, encoder)?),
            _ => None,
        };
        Ok(LoadedPatch { model, encoder, catalogue })
    }
}

impl PublishedLoader {
    /// A base with what its patches are loaded onto, and what scores it as it is. `hash` is its identity.
    pub(super) fn open(&self, base: Base, hash: String, encoder: Encoder) -> Result<(OnDevice, Arc<dyn Model>), ModelError> {
        let layout = Layout::of(&encoder);
        let base = Arc::new(base);
        let device = Device::flex();
        let adaptation = pretraining(&base).map_err(wrong)?;
        let bindings = Bindings::new(&base, adaptation.as_ref(), &Params::default(), &device);
        let slots = if self.on_device { None } else { compile::slots(&base, &layout) };
        let planned = match slots {
            Some(slots) => {
                let tables = compile::tables(&base);
                let (network, _) = compile::network((&base, bindings.values()[0]), (tables.clone(), slots.clone()), &Modulation::none(), 0)
                    .ok_or_else(|| wrong("its tower can not be compiled"))?;
                Some(Planned { plan: Arc::new(Plan::compile(&network, &self.options).map_err(wrong)?), network, tables, slots })
            }
            None => None,
        };
        let model: Arc<dyn Model> = match &planned {
            Some(planned) => Arc::new(PlannedModel {
                plans: vec![planned.plan.clone()],
                objective: base.spec.objective,
                kind: "base",
                serve: Serve::Always,
                bytes: planned.plan.bytes(),
                adapter: None,
            }),
            None => {
                let bytes = 4 * base.count();
                let (bindings, layout) = (Arc::new(bindings), layout.clone());
                Arc::new(DeviceModel { base: base.clone(), adaptation, bindings, layout, serve: Serve::Always, bytes, is_base: true })
            }
        };
        Ok((OnDevice { base, hash, encoder, layout, planned, sequences: None }, model))
    }

    pub(super) fn model(&self, own: &OnDevice, patch: &Patch, encoder: Option<&Encoder>) -> Result<Arc<dyn Model>, ModelError> {
        let OnDevice { base, hash, layout, planned, sequences, .. } = own;
        let encoder = encoder.unwrap_or(&own.encoder);
        let device = Device::flex();
        let adaptation = patch.adaptation(base).map_err(wrong)?;
        if let Some(planned) = planned {
            let dense = patch.apply_dense(base, hash).map_err(wrong)?;
            let bindings = Bindings::new(&dense, adaptation.as_ref(), &patch.own, &device);
            if let Some(model) = self.planned(planned, (patch, &dense), (adaptation.as_ref(), &bindings), encoder)? {
                return Ok(Arc::new(model));
            }
        }
        let patched = Arc::new(patch.apply_onto(base, hash).map_err(wrong)?);
        let bindings = Bindings::new(&patched, adaptation.as_ref(), &patch.own, &device);
        // Its dense values twice, as the network and as bound to the device; its own; and the tables that are not the base's.
        let tables =
            patched.tables.iter().zip(&base.tables).filter(|(now, before)| !Arc::ptr_eq(now, before)).map(|(now, _)| now.values.len());
        let bytes = 4 * (2 * patched.params.count() + 2 * patch.own.count() + tables.sum::<usize>());
        let (serve, layout) = (patch.manifest.serve, layout.clone());
        if let Some(reads) = sequences {
            let on_device = (adaptation, Arc::new(bindings));
            return Ok(Arc::new(SequenceModel::new(patched, on_device, reads.clone(), Some(serve), bytes)?));
        }
        Ok(Arc::new(DeviceModel { base: patched, adaptation, bindings: Arc::new(bindings), layout, serve, bytes, is_base: false }))
    }

    /// The patch as a plan, or one for each domain; `None` where a plan does not know what it does. `dense` is the base with its dense parameters: its rows stay beside those of the base.
    fn planned(
        &self,
        planned: &Planned,
        (patch, dense): (&Patch, &Base),
        (adaptation, bindings): (&dyn Adaptation, &Bindings),
        encoder: &Encoder,
    ) -> Result<Option<PlannedModel>, ModelError> {
        if adaptation.reading(&patch.own.values).is_some() {
            return Ok(None);
        }
        let in_request = if adaptation.needs().groups.are_tasks() { adaptation.in_request(bindings.values()[1]) } else { None };
        let (dependence, modulation) = match &in_request {
            // What it does to everybody is what it does to nobody: nothing.
            Some(_) => (Dependence::Nothing, Some(Modulation::none())),
            None => compile::dependence((dense, &patch.rows), adaptation, bindings, encoder, &Device::flex()).map_err(wrong)?,
        };
        let Some(modulation) = modulation else { return Ok(None) };
        let groups = match dependence {
            Dependence::Nothing => 1,
            Dependence::Domain => dense.spec.schema.domains.len(),
            Dependence::Rows => return Ok(None),
        };
        let tables = compile::changed(dense, patch, &planned.tables);
        let (mut plans, mut merged, mut adapter) = (Vec::new(), true, None);
        for group in 0..groups {
            let parts = (tables.clone(), planned.slots.clone());
            let Some((mut network, is_merged)) = compile::network((dense, bindings.values()[0]), parts, &modulation, group) else {
                return Ok(None);
            };
            merged &= is_merged;
            compile::share(&mut network, &planned.network);
            // Tables that are kept multiplied with the first layer are shared with the base; a patch with a first layer of its own would hold them all once more.
            let own = network.layers.first().map_or(&network.head, |layer| &layer.linear).weight.clone();
            let of_base = &planned.network.layers.first().map_or(&planned.network.head, |layer| &layer.linear).weight;
            let options =
                Options { fold_rows: if Arc::ptr_eq(&own, of_base) { self.options.fold_rows } else { 0 }, ..self.options.clone() };
            if let Some(method) = &in_request {
                adapter = Some(Adapter::new(method.clone(), &network, dense.spec.objective).map_err(wrong)?);
            }
            plans.push(Arc::new(Plan::compile_like(&network, &options, &planned.plan).map_err(wrong)?));
        }
        let bytes =
            plans.iter().map(|plan| plan.bytes()).sum::<usize>() + adapter.as_ref().map_or(0, |adapter| adapter.bytes(&planned.network));
        let kind = match (&adapter, merged) {
            (Some(_), _) => "personal",
            (None, true) => "merged",
            (None, false) => "epilogue",
        };
        Ok(Some(PlannedModel { plans, objective: dense.spec.objective, kind, serve: patch.manifest.serve, bytes, adapter }))
    }
}

/// A base of sequences; `requests` says how requests for it are encoded.
fn of_sequences(base: Base, hash: String, file: &SequenceFile, requests: Encoder) -> Result<(OnDevice, Arc<dyn Model>), ModelError> {
    let layout = Layout::of(&requests);
    let base = Arc::new(base);
    let adaptation = pretraining(&base).map_err(wrong)?;
    let bindings = Bindings::new(&base, adaptation.as_ref(), &Params::default(), &Device::flex());
    let reads = Arc::new(Reads::new(file, &requests));
    let model = SequenceModel::new(base.clone(), (adaptation, Arc::new(bindings)), reads.clone(), None, 4 * base.count())?;
    Ok((OnDevice { base, hash, encoder: requests, layout, planned: None, sequences: Some(reads) }, Arc::new(model)))
}

/// The users and items of a data-set file as a base reads them.
fn catalogue(file: &Path, encoder: &Encoder) -> Result<Arc<Catalogue>, ModelError> {
    let config = DatasetConfig::load(file).map_err(wrong)?;
    let (raw, _) = RawDataset::read(&config).map_err(wrong)?;
    // What is made of earlier rows is no feature of an item: nothing need be known for it.
    let nothing = Known::only(&[], raw.dataset().log.len());
    let dataset = raw.encode_knowing(encoder, &nothing).map_err(wrong)?;
    Ok(Arc::new(Catalogue::new(&dataset)))
}
