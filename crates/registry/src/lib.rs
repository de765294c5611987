//! The registry: bases and patches as versions that never change, aliases that point to them, routes from domains to aliases, and the gate before what serves.
//!
//! Start with [`Registry`]: [`publish`](Registry::publish) a [`Draft`], let [`GateConfig::judge`] compare it with its base, [`move_alias`](Registry::move_alias)
//! to it, [`rollback`](Registry::rollback) if it was wrong. Whatever happens in between, every alias names a complete version: publishing is a sequence of the
//! operations of a [`Folder`](folder::Folder) with one renaming at its end.

mod adapter;
mod alias;
mod audit;
mod digest;
mod error;
pub mod folder;
mod gate;
mod invariant;
mod json;
mod judgement;
mod manifest;
mod name;
mod registry;
mod route;
mod segment;
mod signature;
mod tensors;
mod version;

pub use adapter::AdapterConfig;
pub use alias::{AliasMove, Pointer, PointerTarget};
pub use audit::{AliasStep, AuditEvent, AuditLine, AuditReport};
pub use digest::Digest;
pub use error::RegistryError;
pub use gate::{GateConfig, GateReport, Paired, SliceReport, Verdict};
pub use judgement::Judgement;
pub use manifest::{About, FileEntry, Floor, Manifest, Measured};
pub use name::Name;
pub use registry::{Collected, Collection, Content, Draft, Finding, Listed, Registry, Resolved, Settings, Stored};
pub use route::{Route, Routes};
pub use segment::{SegmentEntry, SegmentIndex, SegmentStore, check_segment, segment_files};
pub use signature::{PublicKey, SignatureFile, SignaturePolicy, Signer, Trust};
pub use tensors::{TensorLimits, TensorPlace, TensorProblem, TensorSpec, TensorType, check_tensors};
pub use version::{Kind, Version};
