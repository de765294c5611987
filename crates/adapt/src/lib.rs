//! Adaptation methods, their inner loops and patches.

mod adaptation;
mod error;
mod fold;
pub mod inner;
pub mod method;
mod moments;
mod patch;
mod reading;
pub mod selection;

pub use adaptation::{
    Adaptation, Answered, Context, Declared, Dial, Groups, Hidden, InRequest, Needs, Scope, SourceRows, Stage, Staged, Stages, StandIn,
    Start, Support, Target, Unlabelled, input_of, norm_input,
};
pub use error::AdaptError;
pub use fold::fold;
pub use method::patch::intercept::logit_offset;
pub use method::{Kind, METHODS, Method, MethodConfig, build_method, find_method, resolve_config};
pub use moments::{Gauge, RowSums, WindowNorms};
pub use patch::{Counts, Manifest, NotPeft, Patch, PeftConfig, RowPatch, Serve, StageNote, Storage, TrainedOn};
pub use reading::{CodeRows, Paths, Reading};
