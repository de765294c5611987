//! Checkpoints: everything a run needs to go on as if it had never stopped.

use std::path::Path;
use std::sync::Arc;

use acclimate_model::{Base, Params, Table, TensorFile};
use serde::{Deserialize, Serialize};

use crate::{Summary, TrainError, Trainee};

/// Where a run stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) step: usize,
    /// Sum of the batch losses of the epoch so far.
    pub(crate) loss: f64,
    pub(crate) summary: Summary,
    pub(crate) stopped: bool,
    /// The best values so far, where there is validation.
    pub(crate) best: Option<(Base, Params)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    fingerprint: String,
    epoch: u64,
    step: usize,
    loss: f64,
    taken: u64,
    summary: Summary,
    stopped: bool,
    has_best: bool,
}

/// A checkpoint file of one run.
pub(crate) struct Checkpoint<'a> {
    pub(crate) path: &'a Path,
    pub(crate) fingerprint: &'a str,
}

impl Checkpoint<'_> {
    pub(crate) fn save(&self, trainee: &Trainee<'_>, place: &Place) -> Result<(), TrainError> {
        let mut file = TensorFile::new(&Manifest {
            fingerprint: self.fingerprint.to_owned(),
            epoch: place.epoch,
            step: place.step,
            loss: place.loss,
            taken: trainee.taken,
            summary: place.summary.clone(),
            stopped: place.stopped,
            has_best: place.best.is_some(),
        });
        put(&mut file, "now", &trainee.base, &trainee.own);
        if let Some((base, own)) = &place.best {
            put(&mut file, "best", base, own);
        }
        for (kind, list) in [("dense", &trainee.dense_moments), ("table", &trainee.table_moments)] {
            for (i, moments) in list.iter().enumerate() {
                file.put(format!("{kind}.{i}.first"), &[moments.first.len()], &moments.first);
                file.put(format!("{kind}.{i}.second"), &[moments.second.len()], &moments.second);
            }
        }
        Ok(file.write(self.path)?)
    }

    pub(crate) fn restore(&self, trainee: &mut Trainee<'_>) -> Result<Place, TrainError> {
        let mut file = TensorFile::read(self.path)?;
        let manifest: Manifest = file.manifest(self.path)?;
        if manifest.fingerprint != self.fingerprint {
            let mut parts = manifest.fingerprint.split('|').zip(self.fingerprint.split('|')).map(|(a, b)| a == b);
            let what = ["base", "training config", "seed", "training data", "method", "method's scope"];
            let what = what.into_iter().find(|_| !parts.next().unwrap_or(false)).unwrap_or("method");
            return Err(TrainError::OtherRun { path: self.path.into(), what });
        }
        take(&mut file, self.path, "now", &mut trainee.base, &mut trainee.own)?;
        let mut best = None;
        if manifest.has_best {
            let (mut base, mut own) = (trainee.base.clone(), trainee.own.clone());
            take(&mut file, self.path, "best", &mut base, &mut own)?;
            best = Some((base, own));
        }
        for (kind, list) in [("dense", &mut trainee.dense_moments), ("table", &mut trainee.table_moments)] {
            for (i, moments) in list.iter_mut().enumerate() {
                moments.first = file.take(self.path, &format!("{kind}.{i}.first"), &[moments.first.len()])?;
                moments.second = file.take(self.path, &format!("{kind}.{i}.second"), &[moments.second.len()])?;
            }
        }
        file.finish(self.path)?;
        trainee.taken = manifest.taken;
        let Manifest { epoch, step, loss, summary, stopped, .. } = manifest;
        Ok(Place { epoch, step, loss, summary, stopped, best })
    }
}

fn put(file: &mut TensorFile, prefix: &str, base: &Base, own: &Params) {
    for (kind, params) in [("param", &base.params), ("own", own)] {
        for (spec, values) in params.specs.iter().zip(&params.values) {
            file.put(format!("{prefix}.{kind}.{}", spec.path), &spec.shape, values);
        }
    }
    for (i, table) in base.tables.iter().enumerate() {
        file.put(format!("{prefix}.rows.{i}"), &[table.rows(), table.d], &table.values);
    }
}

fn take(file: &mut TensorFile, path: &Path, prefix: &str, base: &mut Base, own: &mut Params) -> Result<(), TrainError> {
    for (kind, params) in [("param", &mut base.params), ("own", own)] {
        for (spec, values) in params.specs.iter().zip(&mut params.values) {
            *values = file.take(path, &format!("{prefix}.{kind}.{}", spec.path), &spec.shape)?;
        }
    }
    for (i, table) in base.tables.iter_mut().enumerate() {
        let (rows, d) = (table.rows(), table.d);
        *table = Arc::new(Table { d, values: file.take(path, &format!("{prefix}.rows.{i}"), &[rows, d])? });
    }
    Ok(())
}
