//! From published files to what a server scores with: compiled plans where the plan knows what a patch does, the plain device else.

mod compile;
mod device;
mod golden;
mod loader;
mod planned;
mod probe;
mod sequences;
mod users;

use std::collections::BTreeMap;
use std::path::Path;

use acclimate_adapt::Patch;
use acclimate_data::FeatureState;
pub use golden::{GOLDEN, golden};
pub use loader::{OnDevice, PublishedLoader};
pub use sequences::REQUESTS;
pub use users::{Heads, heads};

use crate::artifact::SavedBase;
use crate::sequences::OpenSequences;
use crate::{ExperimentError, state};

/// The files that a server needs beside those of a base, or of a patch of it: golden rows, and for a base of sequences how requests are read and what is known of everybody.
///
/// # Errors
/// The patch belongs to another base, or the data that a base of sequences was trained on can not be read or has no time.
pub fn files(folder: &Path, saved: &SavedBase, patch: Option<&Patch>) -> Result<BTreeMap<&'static str, Vec<u8>>, ExperimentError> {
    let Some(file) = &saved.sequences else {
        return Ok([(GOLDEN, golden(&saved.base, &saved.encoder, patch)?)].into());
    };
    let requests = sequences::requests(file, &saved.encoder);
    let mut files = BTreeMap::from([(GOLDEN, sequences::golden(&saved.base, file, &requests, patch)?)]);
    if patch.is_none() {
        sequences::check_network(&saved.base, file).map_err(|problem| ExperimentError::Artifact { path: folder.into(), problem })?;
        let lacks = |problem: &str| ExperimentError::Artifact { path: folder.into(), problem: problem.to_owned() };
        let open = OpenSequences::open(folder, None)?.ok_or_else(|| lacks("does not read sequences"))?;
        let known = open.state(&requests).ok_or_else(|| {
            lacks("reads a log without time, by position; a server orders what users did by time, and needs a time column")
        })?;
        let bytes = known.to_bytes(&FeatureState::spec(&requests)).map_err(|source| ExperimentError::Io { path: folder.into(), source })?;
        files.insert(state::FILE, bytes);
        files.insert(REQUESTS, serde_json::to_vec_pretty(&requests).expect("an encoder is plain data"));
    }
    Ok(files)
}
