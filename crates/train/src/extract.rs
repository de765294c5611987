//! From a finished run to the patch that is stored.

use std::collections::BTreeMap;

use acclimate_adapt::{Adaptation, Counts, Manifest, Patch, RowPatch, Serve, Storage, TrainedOn, resolve_config};
use acclimate_model::{Base, Grouping, ParamSpec, Params, Table};

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
    /// Ids that the base has never seen, by vocabulary.
    pub ids: BTreeMap<String, Vec<String>>,
}

impl Trained {
    /// The patch: the method's own parameters, the scope's dense parameters, and the rows that differ from the base.
    #[must_use]
    pub fn patch(&self, base: &Base, adaptation: &dyn Adaptation, notes: PatchNotes) -> Patch {
        let scope = adaptation.scope();
        let dense: Vec<_> = scope.params.iter().map(|id| (id.0, self.base.params.values[id.0].clone())).collect();
        let rows: Vec<_> = base.tables.iter().zip(&self.base.tables).map(|(old, new)| changed(old, new)).collect();
        let counts = Counts {
            own: own_values(&self.own, notes.seed),
            unfrozen: dense.iter().map(|(_, v)| v.len()).sum(),
            rows: rows.iter().map(|r| r.values.len()).sum(),
            base_dense: base.params.count(),
            base_rows: base.tables.iter().map(|t| t.values.len()).sum(),
        };
        let PatchNotes { method, config, window, rows: trained_rows, trained_on, seed, metrics, ids } = notes;
        // A method of another crate has no defaults here.
        let config = resolve_config(&method, &config).unwrap_or(config);
        let (base_of, base, schema) = (base, base.hash(), base.spec.schema_hash());
        let (format, serve, storage) = (Manifest::FORMAT, Serve::default(), Storage::default());
        let stages = self.summary.stages.clone();
        let ids = if knows_new(base_of, &self.own, seed, &rows) { ids } else { BTreeMap::new() };
        let manifest = Manifest {
            format,
            method,
            config,
            base,
            schema,
            window,
            seed,
            trained_rows,
            trained_on,
            metrics,
            stages,
            ids,
            storage,
            serve,
            counts,
        };
        Patch { manifest, own: self.own.clone(), dense, rows }
    }
}

/// Whether anything was learned of ids that the base has never seen.
fn knows_new(base: &Base, own: &Params, seed: u64, rows: &[RowPatch]) -> bool {
    let in_tables = rows.iter().zip(&base.tables).any(|(patch, table)| patch.rows.last().is_some_and(|&row| row as usize >= table.rows()));
    let (start, schema) = (Params::init(&own.specs, seed), &base.spec.schema);
    let known = |spec: &ParamSpec| match spec.grouping {
        Some(Grouping::Code(place)) => schema.categorical.get(place).map(|field| schema.vocabularies[field.vocabulary.at()].rows),
        _ => None,
    };
    let mut tables =
        own.specs.iter().zip(own.values.iter().zip(&start.values)).filter_map(|(spec, values)| Some((known(spec)? * spec.block(), values)));
    in_tables || tables.any(|(known, (values, start))| values.iter().zip(start).skip(known).any(|(a, b)| a != b))
}

/// Values of own parameters, of tables only the blocks that differ from their start.
fn own_values(own: &Params, seed: u64) -> usize {
    let start = Params::init(&own.specs, seed);
    let values = own.specs.iter().zip(own.values.iter().zip(&start.values));
    let count = |(spec, (values, start)): (&ParamSpec, (&Vec<f32>, &Vec<f32>))| {
        if !spec.is_table() {
            return values.len();
        }
        let blocks = values.chunks_exact(spec.block().max(1)).zip(start.chunks_exact(spec.block().max(1)));
        blocks.filter(|(a, b)| a != b).count() * spec.block()
    };
    values.map(count).sum()
}

fn changed(old: &Table, new: &Table) -> RowPatch {
    let mut patch = RowPatch::default();
    let unmoved = (old.rows()..new.rows()).all(|row| bits(old.row(0)).eq(bits(new.row(row as u32))));
    for row in 0..new.rows() as u32 {
        let values = new.row(row);
        let same = match (row as usize) < old.rows() {
            true => bits(old.row(row)).eq(bits(values)),
            // Ids that the base has never seen follow on each other: all are stored, or none.
            false => unmoved,
        };
        if !same {
            patch.rows.push(row);
            patch.values.extend_from_slice(values);
        }
    }
    patch
}

fn bits(values: &[f32]) -> impl Iterator<Item = u32> + '_ {
    values.iter().map(|x| x.to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_holds_the_rows_that_differ_and_no_others() {
        let old = Table { d: 2, values: vec![0.0, 0.0, 1.0, 2.0, 3.0, 4.0] };
        // Row 1 stays, row 2 becomes what the unknown is; row 3 is new and all 0 as well, row 4 is not, and new rows follow on each other.
        let new = |last: f32| Table { d: 2, values: vec![0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, last, 0.0] };
        let patch = changed(&old, &new(0.5));
        assert_eq!((patch.rows, patch.values), (vec![2, 3, 4], vec![0.0, 0.0, 0.0, 0.0, 0.5, 0.0]));
        // Ids of which nothing was learned are not stored.
        assert_eq!(changed(&old, &new(0.0)).rows, [2]);
        assert!(changed(&old, &old).rows.is_empty());
    }
}
