//! What is saved of an adaptation: its own parameters, the base parameters it trained, and the embedding rows it touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use acclimate_model::{Base, ParamSpec, Params, Table, TableSpec, TensorFile};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Adaptation, Target, build_method};

/// Sizes of a patch, in values (4 bytes each).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// New parameters of the method.
    pub own: usize,
    /// Dense parameters of the base that were trained.
    pub unfrozen: usize,
    /// Embedding values that were trained.
    pub rows: usize,
    /// Dense parameters of the base.
    pub base_dense: usize,
    /// Embedding values of the base.
    pub base_rows: usize,
}

impl Counts {
    /// Values stored in the patch.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.own + self.unfrozen + self.rows
    }

    /// Dense values of the patch against dense values of the base, embeddings left out on both sides.
    #[must_use]
    pub fn dense_ratio(&self) -> f64 {
        (self.own + self.unfrozen) as f64 / self.base_dense.max(1) as f64
    }
}

/// What a patch is, for whom, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the patch format, [`FORMAT`](Self::FORMAT).
    pub format: u32,
    /// Name of the method or preset.
    pub method: String,
    /// Its config, every key.
    pub config: toml::Table,
    /// SHA-256 of the base.
    pub base: String,
    /// SHA-256 of the schema.
    pub schema: String,
    /// First and last time (Unix seconds) of the rows it was trained on; absent for data without time.
    pub window: Option<[i64; 2]>,
    /// Seed of its training.
    pub seed: u64,
    /// Training rows.
    pub trained_rows: usize,
    /// Where they come from; absent where the caller did not say.
    #[serde(default)]
    pub trained_on: Option<TrainedOn>,
    /// For whom it is applied; everybody where nothing is said.
    #[serde(default)]
    pub serve: Serve,
    /// Measured metrics, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Sizes.
    pub counts: Counts,
}

/// For whom a patch is applied. Everybody else is served by the base, so that nobody is served worse than by it as far as could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serve {
    /// Everybody: it was not judged, or whoever made it wanted it so.
    #[default]
    Always,
    /// Whoever has at least so many rows to adapt from: from there on it was shown to be better than its base. 0 for a patch that needs no rows.
    From(usize),
    /// Nobody: it was not shown to be better than its base.
    Never,
}

impl Serve {
    /// Whether the patch is applied for somebody with so many rows to adapt from.
    #[must_use]
    pub fn applies(self, support_rows: usize) -> bool {
        match self {
            Self::Always => true,
            Self::From(least) => support_rows >= least,
            Self::Never => false,
        }
    }
}

/// Where training rows come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// Name of the data set.
    pub dataset: String,
    /// Part of its split; `all` for data without parts.
    pub part: String,
    /// The only domain, if one was chosen.
    pub domain: Option<String>,
}

impl Manifest {
    /// Version of the patch format that is written and read.
    pub const FORMAT: u32 = 1;
}

/// Trained rows of one table: they replace the base's.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RowPatch {
    /// Row numbers, ascending. Numbers from the base's size on are ids that the base has never seen; they follow on each other.
    pub rows: Vec<u32>,
    /// Values, `[rows, d]`.
    pub values: Vec<f32>,
}

/// An adaptation as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// What it is.
    pub manifest: Manifest,
    /// The method's own parameters.
    pub own: Params,
    /// Trained dense parameters of the base: position and values.
    pub dense: Vec<(usize, Vec<f32>)>,
    /// Trained rows, one entry per table of the base.
    pub rows: Vec<RowPatch>,
}

impl Patch {
    /// The method, ready to be applied to `base`.
    ///
    /// # Errors
    /// The patch belongs to another base, or its config does not fit.
    pub fn adaptation(&self, base: &Base) -> Result<Box<dyn Adaptation>, AdaptError> {
        build_method(&self.manifest.method, &self.manifest.config, target(base))
    }

    /// A copy of the base with the patch's dense parameters and rows in place. The base itself is not touched; unchanged tables are shared.
    ///
    /// # Errors
    /// [`AdaptError::WrongBase`] with both hashes, or a row beyond its table.
    pub fn apply(&self, base: &Base) -> Result<Base, AdaptError> {
        let (expected, found) = (&self.manifest.base, base.hash());
        if *expected != found {
            return Err(AdaptError::WrongBase { expected: expected.clone(), found });
        }
        let mut patched = base.clone();
        for (i, values) in &self.dense {
            patched.params.values[*i].clone_from(values);
        }
        for (table, patch) in patched.tables.iter_mut().zip(&self.rows) {
            if let Some(&last) = patch.rows.last() {
                let table = Arc::make_mut(table);
                table.grow(last as usize + 1);
                overwrite(table, patch);
            }
        }
        Ok(patched)
    }

    /// Size of the stored tensors in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        4 * (self.manifest.counts.stored() + self.rows.iter().map(|r| r.rows.len()).sum::<usize>())
    }

    /// What a file says of itself, if it is a patch, of whatever base.
    #[must_use]
    pub fn manifest_of(path: &Path) -> Option<Manifest> {
        TensorFile::read(path).and_then(|file| file.manifest::<Manifest>(path)).ok()
    }

    /// Writes the patch to one safetensors file.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self, base: &Base, path: &Path) -> Result<(), AdaptError> {
        let mut file = TensorFile::new(&self.manifest);
        for (spec, values) in self.own.specs.iter().zip(&self.own.values) {
            file.put(format!("own.{}", spec.path), &spec.shape, values);
        }
        for (i, values) in &self.dense {
            let spec = &base.params.specs[*i];
            file.put(format!("param.{}", spec.path), &spec.shape, values);
        }
        for (spec, patch) in base.backbone.architecture().tables.iter().zip(&self.rows) {
            if !patch.rows.is_empty() {
                file.put_indices(format!("rows.{}", spec.name), &patch.rows);
                file.put(format!("table.{}", spec.name), &[patch.rows.len(), spec.d], &patch.values);
            }
        }
        Ok(file.write(path)?)
    }

    /// Reads a patch for `base`.
    ///
    /// # Errors
    /// A damaged file, another base or schema, or tensors that do not fit the method's declaration.
    pub fn load(base: &Base, path: &Path) -> Result<Self, AdaptError> {
        let mut file = TensorFile::read(path)?;
        let manifest: Manifest = file.manifest(path)?;
        if manifest.format != Manifest::FORMAT {
            return Err(AdaptError::Format { found: manifest.format, known: Manifest::FORMAT });
        }
        let found = base.hash();
        if manifest.base != found {
            return Err(AdaptError::WrongBase { expected: manifest.base, found });
        }
        let schema = base.spec.schema_hash();
        if manifest.schema != schema {
            return Err(AdaptError::WrongSchema { expected: manifest.schema, found: schema });
        }
        let adaptation = build_method(&manifest.method, &manifest.config, target(base))?;
        let take = |file: &mut TensorFile, prefix: &str, spec: &ParamSpec| file.take(path, &format!("{prefix}.{}", spec.path), &spec.shape);
        let specs = adaptation.params().to_vec();
        let values = specs.iter().map(|spec| take(&mut file, "own", spec)).collect::<Result<_, _>>()?;
        let dense = adaptation.scope().params.iter().map(|id| Ok((id.0, take(&mut file, "param", &base.params.specs[id.0])?)));
        let dense = dense.collect::<Result<_, AdaptError>>()?;
        let mut rows = Vec::new();
        for spec in &base.backbone.architecture().tables {
            let numbers = file.take_indices(&format!("rows.{}", spec.name)).unwrap_or_default();
            check_rows(&numbers, spec)?;
            let values = match numbers.is_empty() {
                true => Vec::new(),
                false => file.take(path, &format!("table.{}", spec.name), &[numbers.len(), spec.d])?,
            };
            rows.push(RowPatch { rows: numbers, values });
        }
        file.finish(path)?;
        Ok(Self { manifest, own: Params { specs, values }, dense, rows })
    }
}

/// Rows ascend, and rows for new ids leave no gap: a table never grows by more than the patch holds.
fn check_rows(numbers: &[u32], spec: &TableSpec) -> Result<(), AdaptError> {
    let mut smallest = 0;
    for &row in numbers {
        if row < smallest || row > smallest.max(spec.rows as u32) {
            return Err(AdaptError::Row { table: spec.name.clone(), row, rows: spec.rows });
        }
        smallest = row + 1;
    }
    Ok(())
}

/// What methods are built for.
fn target(base: &Base) -> Target<'_> {
    Target { backbone: base.backbone.as_ref(), schema: &base.spec.schema, objective: base.spec.objective }
}

fn overwrite(table: &mut Table, patch: &RowPatch) {
    let d = table.d;
    for (&row, values) in patch.rows.iter().zip(patch.values.chunks_exact(d)) {
        table.values[row as usize * d..][..d].copy_from_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_applied_from_the_size_on_at_which_it_was_better() {
        let applied = |serve: Serve| [0, 4, 5, 6].map(|rows| serve.applies(rows));
        assert_eq!(applied(Serve::From(5)), [false, false, true, true]);
        assert_eq!(applied(Serve::From(0)), [true; 4]);
        assert_eq!((applied(Serve::Always), applied(Serve::Never)), ([true; 4], [false; 4]));
    }
}
