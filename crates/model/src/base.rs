//! A base: a backbone with its values, and the identity that patches refer to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use acclimate_data::Schema;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::tensors::{TensorFile, TensorFileError};
use crate::{Backbone, BackboneConfig, Gathered, ModelError, Objective, Params, Table};

/// Everything about a base but its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSpec {
    /// The network.
    pub backbone: BackboneConfig,
    /// The shape of the data it reads.
    pub schema: Schema,
    /// What it was trained for; decides how scores are read.
    pub objective: Objective,
}

impl BaseSpec {
    /// SHA-256 of the schema without sides, in hex: what a patch's data must agree with.
    #[must_use]
    pub fn schema_hash(&self) -> String {
        digest(&serde_json::to_vec(&self.schema.sideless()).expect("a schema is plain data"))
    }
}

/// A backbone with values. Adapting never changes it: every method takes `&Base`.
#[derive(Clone)]
pub struct Base {
    /// What it is.
    pub spec: BaseSpec,
    /// The network.
    pub backbone: Arc<dyn Backbone>,
    /// Dense parameters.
    pub params: Params,
    /// Embedding tables; shared, so that a patched copy costs only the tables it changes.
    pub tables: Vec<Arc<Table>>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("spec", &self.spec).field("parameters", &self.count()).finish_non_exhaustive()
    }
}

/// More values than this are a slip of the pen in a config; the system would end the program without a word.
const MOST_VALUES: f64 = 8e9;

impl Base {
    /// An untrained base.
    ///
    /// # Errors
    /// A config that does not fit the schema, or an objective that does not fit the network.
    pub fn init(spec: BaseSpec, seed: u64) -> Result<Self, ModelError> {
        let backbone = spec.backbone.build(&spec.schema)?;
        spec.objective.check(backbone.as_ref())?;
        let architecture = backbone.architecture();
        let dense: f64 = architecture.params.iter().map(|p| p.shape.iter().map(|&n| n as f64).product::<f64>()).sum();
        let values = dense + architecture.tables.iter().map(|t| t.rows as f64 * t.d as f64).sum::<f64>();
        if values > MOST_VALUES {
            let gib = values * 4.0 / f64::from(1 << 30);
            let problem = format!(
                "make {values:.1e} values ({gib:.0} GiB, three times that in training), more than a network of this program may have; make them smaller"
            );
            return Err(ModelError::config(backbone.name(), "widths", &problem));
        }
        let params = Params::init(&architecture.params, seed);
        let tables = architecture.tables.iter().map(|t| Arc::new(Table::init(t, seed))).collect();
        Ok(Self { spec, backbone, params, tables })
    }

    /// The same with a row for every id of a schema whose vocabularies have grown since. New rows are copies of the unknown one, so nothing is scored otherwise.
    #[must_use]
    pub fn grown(&self, schema: &Schema) -> Self {
        let mut grown = self.clone();
        for (spec, table) in self.backbone.architecture().tables.iter().zip(&mut grown.tables) {
            let rows = |schema: &Schema| schema.vocabularies.iter().find(|v| v.name == spec.name).map_or(0, |v| v.rows);
            let added = rows(schema).saturating_sub(rows(&self.spec.schema));
            if added > 0 {
                Arc::make_mut(table).grow(spec.rows + added);
            }
        }
        grown
    }

    /// Number of values, embedding rows included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.params.count() + self.tables.iter().map(|t| t.values.len()).sum::<usize>()
    }

    /// SHA-256 over spec and values, in hex: the identity that patches name.
    #[must_use]
    pub fn hash(&self) -> String {
        self.to_file().digest()
    }

    /// Writes the base to one safetensors file, replacing it only when complete.
    ///
    /// # Errors
    /// The file can not be written.
    pub fn save(&self, path: &Path) -> Result<(), TensorFileError> {
        self.to_file().write(path)
    }

    /// Reads a base.
    ///
    /// # Errors
    /// The file can not be read, is not a base, or a tensor has a shape that its own config does not explain.
    pub fn load(path: &Path) -> Result<Self, TensorFileError> {
        Self::of_file(TensorFile::read(path)?, path)
    }

    /// Reads the bytes of a base; `path` is named in errors.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, TensorFileError> {
        Self::of_file(TensorFile::parse(bytes, path)?, path)
    }

    fn of_file(mut file: TensorFile, path: &Path) -> Result<Self, TensorFileError> {
        let spec: BaseSpec = file.manifest(path)?;
        let mut base = Self::init(spec, 0).map_err(|source| TensorFileError::Spec { path: path.into(), source: Box::new(source) })?;
        for (spec, values) in base.params.specs.iter().zip(&mut base.params.values) {
            *values = file.take(path, &format!("param.{}", spec.path), &spec.shape)?;
        }
        for (spec, table) in base.backbone.architecture().tables.iter().zip(&mut base.tables) {
            let values = file.take(path, &format!("table.{}", spec.name), &[spec.rows, spec.d])?;
            *table = Arc::new(Table { d: spec.d, values });
        }
        file.finish(path)?;
        Ok(base)
    }

    /// Shape of every tensor of its file, by name.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let params = self.params.specs.iter().map(|spec| (format!("param.{}", spec.path), spec.shape.to_vec()));
        let tables = self.backbone.architecture().tables.iter().zip(&self.tables);
        params.chain(tables.map(|(spec, table)| (format!("table.{}", spec.name), vec![table.rows(), table.d]))).collect()
    }

    fn to_file(&self) -> TensorFile {
        let mut file = TensorFile::new(&self.spec);
        for (spec, values) in self.params.specs.iter().zip(&self.params.values) {
            file.put(format!("param.{}", spec.path), &spec.shape, values);
        }
        for (spec, table) in self.backbone.architecture().tables.iter().zip(&self.tables) {
            file.put(format!("table.{}", spec.name), &[table.rows(), table.d], &table.values);
        }
        file
    }
}

impl Gathered {
    /// The gathered rows as a tensor on `device`.
    #[must_use]
    pub fn into_tensor(self, device: &Device, tracked: bool) -> Tensor<3> {
        let tensor = Tensor::from_data(TensorData::new(self.values, self.shape), device);
        if tracked { tensor.require_grad() } else { tensor }
    }
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
