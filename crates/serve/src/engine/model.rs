//! What scores: a base, or a base with a patch, as whoever knows its files has made it.

use std::sync::Arc;

use acclimate_data::Encoder;
use acclimate_plan::{Personal, Rows, Scratch};
use acclimate_registry::{Kind, Registry, Stored};

use crate::catalogue::Catalogue;
use crate::layout::Layout;

/// A base, or a base with a patch, ready to score. A row's score depends on it and the row, never on what else is scored with it.
pub trait Model: Send + Sync {
    /// How it scores: `base`, `merged`, `epilogue`, `personal` or `device`. It follows from the kind of the patch and its store alone.
    fn kind(&self) -> &'static str;

    /// Bytes that it takes beside its base.
    fn bytes(&self) -> usize;

    /// Whether it adapts to a support set.
    fn adapts(&self) -> bool;

    /// Whether it is applied for somebody with so many rows to adapt from; else the base answers.
    fn applies(&self, support_rows: usize) -> bool;

    /// Whether it can score some rows of the domain that the request names, by its index; beyond the base's domains for one that it does not know.
    ///
    /// # Errors
    /// What to do where it can not.
    fn accepts(&self, _rows: &Rows, _domain: Option<u32>) -> Result<(), Unfit> {
        Ok(())
    }

    /// Whether rows of several requests are scored faster together, in microseconds: a compiled plan. Of another each request is answered as soon as it is scored.
    fn is_quick(&self) -> bool {
        false
    }

    /// Whether it adapts by reading the support set as what its user did before, and gives no score to what it was never taught.
    fn reads_histories(&self) -> bool {
        false
    }

    /// Adapts to a support set. `go_on` is asked before each step with the number of steps that were taken; where it says no, the model is left as it is then.
    ///
    /// # Errors
    /// What can not be adapted to.
    fn adapt(&self, scratch: &mut Scratch, support: Support, go_on: &mut dyn FnMut(u32) -> bool) -> Result<Adapted, ModelError>;

    /// Predictions for the rows of several requests, one after the other: probabilities for a logistic objective, values of the label else. A row that has none, such as an item that the model was
    /// never taught, gets `f32::NEG_INFINITY`.
    ///
    /// # Errors
    /// Rows that do not fit.
    fn score(&self, scratch: &mut Scratch, asks: &[Ask<'_>], out: &mut Vec<f32>) -> Result<(), ModelError>;
}

/// Rows of one request, and what it was adapted to.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The rows.
    pub rows: &'a Rows,
    /// The index of their domain; beyond the base's domains for one that it does not know.
    pub domain: u32,
    /// What adapting has given; none for a request without a support set.
    pub adapted: Option<&'a Adapted>,
}

/// Labelled rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Support {
    /// The rows, one each: what the rows of a request share may differ between these, such as what is known at their times.
    pub rows: Vec<Rows>,
    /// Their domains, `[N]`.
    pub domains: Vec<u32>,
    /// Labels in units of the label, `[N]`.
    pub labels: Vec<f32>,
}

/// What adapting to a support set has given.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// The change.
    pub change: Change,
    /// `closed_form`, `inner_steps`, `amortised`, `history`, `kept` (a head that was published), `device` or `none`.
    pub form: &'static str,
    /// Steps taken.
    pub steps: u32,
}

/// What is different for one user.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing.
    None,
    /// Weights.
    Personal(Personal),
    /// The support itself, which the model reads beside the rows.
    Support(Support),
}

impl Adapted {
    /// Its size, for a cache that is bounded by bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let columns = |columns: &acclimate_plan::Columns| {
            let bags: usize = columns.bags.iter().map(|bag| bag.codes.len() + bag.offsets.len()).sum();
            4 * (columns.codes.len() + columns.numeric.len() + bags)
        };
        size_of::<Self>()
            + match &self.change {
                Change::None => 0,
                Change::Personal(personal) => personal.bytes(),
                Change::Support(Support { rows, domains, labels }) => {
                    let rows: usize = rows.iter().map(|rows| size_of::<Rows>() + columns(&rows.shared) + columns(&rows.own)).sum();
                    rows + 4 * (domains.len() + labels.len())
                }
            }
    }
}

/// Why a model does not score some rows: what of the request is wrong, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Unfit {
    /// `domain`, `user` or whatever it is.
    pub what: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a model gives nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ModelError(pub String);

/// A base as it was loaded.
pub struct LoadedBase<B> {
    /// What patches are loaded onto.
    pub own: B,
    /// The base as it is.
    pub model: Arc<dyn Model>,
    /// How rows are encoded.
    pub encoder: Encoder,
    /// Where columns stand.
    pub layout: Layout,
    /// What its scores are: `probability` or `value`.
    pub output: &'static str,
    /// What labels are divided by.
    pub unit: f32,
    /// Known users and items, if there are some.
    pub catalogue: Option<Arc<Catalogue>>,
}

/// A patch as it was loaded.
pub struct LoadedPatch {
    /// The base with it.
    pub model: Arc<dyn Model>,
    /// Its own encoder, where it knows ids that the base has never seen.
    pub encoder: Option<Encoder>,
    /// Known users and items as that one reads them.
    pub catalogue: Option<Arc<Catalogue>>,
}

/// Makes models of the files of versions. It knows the formats of what is in them; the engine does not.
///
/// Whatever it loads has been hashed against its manifest.
pub trait Loader: Send + Sync + 'static {
    /// A base as this loader knows it.
    type Base: Send + Sync + 'static;

    /// Loads a base.
    ///
    /// # Errors
    /// Files that can not be read, or that do not give the scores which were published with them.
    fn base(&self, files: &Files<'_>) -> Result<LoadedBase<Self::Base>, ModelError>;

    /// Loads a patch onto a base.
    ///
    /// # Errors
    /// As there.
    fn patch(&self, base: &LoadedBase<Self::Base>, files: &Files<'_>) -> Result<LoadedPatch, ModelError>;
}

/// The files of a version.
pub struct Files<'a> {
    /// Where they are.
    pub registry: &'a Registry,
    /// What they are.
    pub kind: Kind,
    /// Their manifest.
    pub stored: &'a Stored,
}

impl Files<'_> {
    /// A whole file, hashed; none if the version has no such file.
    ///
    /// # Errors
    /// It is damaged, or the system refuses.
    pub fn read(&self, file: &str) -> Result<Option<Vec<u8>>, ModelError> {
        let name = file.parse().map_err(|error| ModelError(format!("{error}")))?;
        let manifest = &self.stored.manifest;
        if !manifest.files.contains_key(&name) {
            return Ok(None);
        }
        let read = self.registry.read(self.kind, &manifest.name, manifest.version, &name, u64::MAX);
        read.map(Some).map_err(|error| ModelError(error.to_string()))
    }

    /// A file that every such version has.
    ///
    /// # Errors
    /// It is not there, as [`read`](Self::read).
    pub fn required(&self, file: &str) -> Result<Vec<u8>, ModelError> {
        self.read(file)?.ok_or_else(|| ModelError(format!("`{file}` is not among its files; publish it again")))
    }
}
