//! From a finished run to the patch that is stored.

use std::collections::BTreeMap;

use acclimate_adapt::{Adaptation, Counts, Manifest, Patch, RowPatch, Serve, TrainedOn, resolve_config};
use acclimate_model::{Base, Table};

use crate::Trained;

/// What a patch's manifest says beside what the run knows itself.
#[derive(Clone, Debug, Default)]
pub struct PatchNotes {
    /// Method or preset.
    pub method: String,
    /// Its config keys.
    pub config: toml::Table,
    /// First and last time of the training rows.
    pub window: Option<[i64; 2]>,
    /// Number of training rows.
    pub rows: usize,
    /// Where they come from.
    pub trained_on: Option<TrainedOn>,
    /// Seed.
    pub seed: u64,
    /// Measured metrics.
    pub metrics: BTreeMap<String, f64>,
}

impl Trained {
    /// The patch: the method's own parameters, the scope's dense parameters, and the rows that differ from the base.
    #[must_use]
    pub fn patch(&self, base: &Base, adaptation: &dyn Adaptation, notes: PatchNotes) -> Patch {
        let scope = adaptation.scope();
        let dense: Vec<_> = scope.params.iter().map(|id| (id.0, self.base.params.values[id.0].clone())).collect();
        let rows: Vec<_> = base.tables.iter().zip(&self.base.tables).map(|(old, new)| changed(old, new)).collect();
        let counts = Counts {
            own: self.own.count(),
            unfrozen: dense.iter().map(|(_, v)| v.len()).sum(),
            rows: rows.iter().map(|r| r.values.len()).sum(),
            base_dense: base.params.count(),
            base_rows: base.tables.iter().map(|t| t.values.len()).sum(),
        };
        let PatchNotes { method, config, window, rows: trained_rows, trained_on, seed, metrics } = notes;
        // A method of another crate has no defaults here.
        let config = resolve_config(&method, &config).unwrap_or(config);
        let (base, schema) = (base.hash(), base.spec.schema_hash());
        let (format, serve) = (Manifest::FORMAT, Serve::default());
        let manifest = Manifest { format, method, config, base, schema, window, seed, trained_rows, trained_on, metrics, serve, counts };
        Patch { manifest, own: self.own.clone(), dense, rows }
    }
}

fn changed(old: &Table, new: &Table) -> RowPatch {
    let mut patch = RowPatch::default();
    for row in 0..new.rows() as u32 {
        let values = new.row(row);
        let same = (row as usize) < old.rows() && old.row(row).iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            patch.rows.push(row);
            patch.values.extend_from_slice(values);
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_the_rows_that_differ_and_no_others() {
        let old = Table { d: 2, values: vec![0.0, 0.0, 1.0, 2.0, 3.0, 4.0] };
        // Row 1 stays, row 2 becomes what the unknown is, row 3 is new and all 0 as well.
        let new = Table { d: 2, values: vec![0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0] };
        let patch = changed(&old, &new);
        assert_eq!((patch.rows, patch.values), (vec![2, 3], vec![0.0; 4]));
        assert!(changed(&old, &old).rows.is_empty());
    }
}
