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
mod slot;
mod table;
mod tensors;

pub use architecture::Architecture;
pub use backbone::{
    Backbone, BackboneConfig, Comparison, CrossForm, Dnn, DnnConfig, DomainNetwork, Gathered, InputNorm, Interaction, MmoeConfig,
    NextItNet, NextItNetConfig, Norm, Output, PerDomainConfig, PleConfig, SasRec, SasRecConfig, SharedBottomConfig, Tower, TowerNorm,
    start_biases,
};
pub use base::{Base, BaseSpec};
pub use error::ModelError;
pub use layer::{Activation, Attention, BatchNorm, Conv, Estimate, LayerNorm, Linear, Pass, Watch};
pub use modulation::{
    Added, Affine, AfterPass, Branch, BranchActivation, Effect, Ids, Modulation, Moments, Moved, NormChange, Opaque, OwnMoments, Prefix,
    Read, Scale, Weights,
};
pub use objective::{Objective, column, labels, mask, shares};
pub use param::{Bound, Grouping, Init, ParamId, ParamSpec, Params, stream};
pub use site::{Role, Sight, Site, SiteId, SiteKind};
pub use slot::{Pooling, Slot};
pub use table::{RowGradients, Table, TableSpec};
pub use tensors::{ArrayKind, TensorFile, TensorFileError};
