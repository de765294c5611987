//! What is saved of an adaptation: its own parameters, the base parameters it trained, and the embedding rows it touched.

mod file;
mod merge;
mod peft;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use acclimate_data::Schema;
use acclimate_model::{Base, Params, Table, TableSpec, TensorFile};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Adaptation, Start, Target, build_method};

pub use peft::{NotPeft, PeftConfig};

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
    /// What became of the stages of a method that has some, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageNote>,
    /// Ids that the base has never seen, by vocabulary: their codes follow those of the base, in this order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<String, Vec<String>>,
    /// How embedding rows are stored.
    #[serde(default, skip_serializing_if = "Storage::is_full")]
    pub storage: Storage,
    /// Sizes.
    pub counts: Counts,
}

/// What cross-fitting said of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageNote {
    /// Its name.
    pub name: String,
    /// Whether it was trained.
    pub kept: bool,
    /// For how many epochs, where cross-fitting has chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// By how much it changes the mean loss of rows that it has not seen; absent where nobody asked.
    pub change: Option<f64>,
    /// The standard error of that.
    pub error: Option<f64>,
}

/// How the embedding rows of a patch are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// As they are, 4 bytes a value.
    #[default]
    Full,
    /// What they differ by from the base's row, a byte a value and a scale a row: `base + scale * code`, code in -127..=127.
    Int8,
}

impl Storage {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
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
    /// Version of the patch format that is written; all from 1 on are read.
    pub const FORMAT: u32 = 2;
}

/// Trained rows of one table: they replace the base's.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RowPatch {
    /// Row numbers, ascending. Numbers from the base's size on are ids that the base has never seen; they follow on each other.
    pub rows: Vec<u32>,
    /// Values, `[rows, d]`.
    pub values: Vec<f32>,
    /// Scale of each row, where they are stored in bytes.
    pub scales: Vec<f32>,
}

impl RowPatch {
    /// The values of a row, where they are the patch's.
    #[must_use]
    pub fn row(&self, row: u32, d: usize) -> Option<&[f32]> {
        let place = self.rows.binary_search(&row).ok()?;
        self.values.get(place * d..(place + 1) * d)
    }
}

/// What a row is without a patch: the base's, or for an id that the base has never seen its unknown.
fn rest(table: &Table, row: u32) -> &[f32] {
    table.row(if (row as usize) < table.rows() { row } else { 0 })
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
        let schema = self.manifest.schema_of(base);
        build_method(&self.manifest.method, &self.manifest.config, target(base, &schema))
    }

    /// A copy of the base with the patch's dense parameters and rows in place. The base itself is not touched; unchanged tables are shared.
    ///
    /// # Errors
    /// [`AdaptError::WrongBase`] with both hashes, or a row beyond its table.
    pub fn apply(&self, base: &Base) -> Result<Base, AdaptError> {
        self.apply_onto(base, &base.hash())
    }

    /// The same for a base whose [hash](Base::hash) the caller knows: hashing takes longer than everything else.
    ///
    /// # Errors
    /// As there.
    pub fn apply_onto(&self, base: &Base, found: &str) -> Result<Base, AdaptError> {
        let mut patched = self.apply_dense(base, found)?;
        for ((table, patch), rows) in patched.tables.iter_mut().zip(&self.rows).zip(self.table_rows(base)) {
            if rows > table.rows() || !patch.rows.is_empty() {
                let table = Arc::make_mut(table);
                table.grow(rows);
                overwrite(table, patch);
            }
        }
        Ok(patched)
    }

    /// The dense parameters alone: tables are the base's, and shared with it. For whoever reads rows from [`rows`](Self::rows), of tables that have [`table_rows`](Self::table_rows).
    ///
    /// # Errors
    /// As [`apply_onto`](Self::apply_onto).
    pub fn apply_dense(&self, base: &Base, found: &str) -> Result<Base, AdaptError> {
        let expected = &self.manifest.base;
        if expected != found {
            return Err(AdaptError::WrongBase { expected: expected.clone(), found: found.to_owned() });
        }
        let mut patched = base.clone();
        for (i, values) in &self.dense {
            patched.params.values[*i].clone_from(values);
        }
        Ok(patched)
    }

    /// How many rows each table has with the patch. Ids that the base has never seen have one each, those without values of their own that of the unknown in the base.
    #[must_use]
    pub fn table_rows(&self, base: &Base) -> Vec<usize> {
        let vocabularies = &base.spec.schema.vocabularies;
        let rows = |((spec, table), patch): ((&TableSpec, &Arc<Table>), &RowPatch)| {
            let known = vocabularies.iter().any(|vocabulary| vocabulary.name == spec.name);
            let ids = self.manifest.ids.get(&spec.name).filter(|_| known).map_or(0, Vec::len);
            let grown = if ids > 0 { spec.rows + ids } else { 0 };
            let last = patch.rows.last().map_or(0, |&last| last as usize + 1);
            table.rows().max(grown).max(last)
        };
        base.backbone.architecture().tables.iter().zip(&base.tables).zip(&self.rows).map(rows).collect()
    }

    /// The same with embedding rows in bytes: each value is off by at most a 254th of the largest change in its row.
    #[must_use]
    pub fn in_bytes(mut self, base: &Base) -> Self {
        for (table, patch) in base.tables.iter().zip(&mut self.rows) {
            let d = table.d;
            patch.scales.clear();
            for (&row, values) in patch.rows.iter().zip(patch.values.chunks_exact_mut(d)) {
                let rest = rest(table, row);
                let largest = values.iter().zip(rest).fold(0.0_f32, |most, (x, b)| most.max((x - b).abs()));
                let scale = largest / 127.0;
                patch.scales.push(scale);
                values.iter_mut().zip(rest).for_each(|(x, b)| *x = file::decoded(*b, scale, file::encoded(*x, *b, scale)));
            }
        }
        self.manifest.storage = Storage::Int8;
        self
    }

    /// The same with no more than so many bytes: of the embedding rows those stay that training has changed most, by the squared length of the change. Rows of ids that the base has never
    /// seen all stay, for they have no other values.
    ///
    /// # Errors
    /// [`AdaptError::Budget`]: what is no such row is larger already; [`AdaptError::Config`]: a method that starts from fresh values.
    pub fn within(mut self, base: &Base, budget: usize) -> Result<Self, AdaptError> {
        let whole = self.bytes(base);
        if whole <= budget {
            return Ok(self);
        }
        if self.adaptation(base)?.start() == Start::Fresh {
            let problem =
                "starts from fresh values, so that rows which are left out would be those of another network; leave the budget out".into();
            return Err(AdaptError::Config { method: self.manifest.method, problem });
        }
        // Table, place among its rows, change; largest change first.
        let mut known = Vec::new();
        for (table, patch) in self.rows.iter().enumerate() {
            let of_base = &base.tables[table];
            for (place, (&row, values)) in patch.rows.iter().zip(patch.values.chunks_exact(of_base.d)).enumerate() {
                if (row as usize) < of_base.rows() {
                    let change: f64 = values.iter().zip(of_base.row(row)).map(|(x, b)| (f64::from(*x) - f64::from(*b)).powi(2)).sum();
                    known.push((table, place, change));
                }
            }
        }
        known.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
        let value = if self.manifest.storage == Storage::Full { 4 } else { 1 };
        let of_row = |table: usize| 4 + value * base.tables[table].d + if value == 1 { 4 } else { 0 };
        let mut bytes = whole - known.iter().map(|&(table, ..)| of_row(table)).sum::<usize>();
        if bytes > budget {
            return Err(AdaptError::Budget { budget, least: bytes });
        }
        let mut dropped = vec![std::collections::HashSet::new(); self.rows.len()];
        for (table, place, _) in known {
            if bytes + of_row(table) <= budget {
                bytes += of_row(table);
            } else {
                dropped[table].insert(place);
            }
        }
        for ((patch, dropped), table) in self.rows.iter_mut().zip(&dropped).zip(&base.tables) {
            let keep = |place: &usize| !dropped.contains(place);
            let places: Vec<usize> = (0..patch.rows.len()).filter(keep).collect();
            patch.values = places.iter().flat_map(|&place| &patch.values[place * table.d..][..table.d]).copied().collect();
            if !patch.scales.is_empty() {
                patch.scales = places.iter().map(|&place| patch.scales[place]).collect();
            }
            patch.rows = places.iter().map(|&place| patch.rows[place]).collect();
        }
        self.manifest.counts.rows = self.rows.iter().map(|patch| patch.values.len()).sum();
        Ok(self)
    }

    /// Size of the stored tensors in bytes.
    #[must_use]
    pub fn bytes(&self, base: &Base) -> usize {
        self.tensors(base).bytes()
    }

    /// What a file says of itself, if it is a patch, of whatever base.
    #[must_use]
    pub fn manifest_of(path: &Path) -> Option<Manifest> {
        TensorFile::read(path).and_then(|file| file.manifest::<Manifest>(path)).ok()
    }
}

impl Manifest {
    /// What the base reads, with the ids that the patch adds.
    fn schema_of(&self, base: &Base) -> Schema {
        let mut schema = base.spec.schema.clone();
        for vocabulary in &mut schema.vocabularies {
            vocabulary.rows += self.ids.get(&vocabulary.name).map_or(0, Vec::len);
        }
        schema
    }
}

/// What methods are built for.
fn target<'a>(base: &'a Base, schema: &'a Schema) -> Target<'a> {
    Target { backbone: base.backbone.as_ref(), schema, objective: base.spec.objective }
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
