//! Sites, site-aware layers, embedding tables and backbones.
//!
//! A backbone is a pure function: it declares its parameters, sites and tables once ([`Architecture`]) and computes scores from values that are passed in.

mod architecture;
mod backbone;
mod base;
mod error;
pub mod kernel;
pub mod layer;
mod modulation;
mod objective;
mod param;
mod site;
mod table;
mod tensors;

pub use architecture::Architecture;
pub use backbone::{
    Backbone, BackboneConfig, Comparison, Dnn, DnnConfig, Gathered, NextItNet, NextItNetConfig, Norm, Output, Tower, TowerNorm,
};
pub use base::{Base, BaseSpec};
pub use error::ModelError;
pub use layer::{Activation, BatchNorm, Conv, Estimate, LayerNorm, Linear, Pass};
pub use modulation::{Affine, Branch, BranchActivation, Effect, Ids, Modulation, Moments, NormChange, Opaque, Read, Scale, Weights};
pub use objective::{Objective, mask};
pub use param::{Bound, Grouping, Init, ParamId, ParamSpec, Params, stream};
pub use site::{Role, Site, SiteId, SiteKind};
pub use table::{RowGradients, Table, TableSpec};
pub use tensors::{TensorFile, TensorFileError};
