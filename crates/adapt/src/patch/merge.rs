//! Several patches of one base as one: their weighted mean.
//!
//! `θ = Σ_k w_k θ_k / Σ_k w_k`, parameter by parameter and row by row; a row that a patch does not hold is the base's in it. Of a near domain's patches this is a start for a domain without
//! rows of its own. After M. Wortsman et al., *Model soups*, ICML 2022, for whole networks, and S. Zhang et al., *Composing Parameter-Efficient Modules with Arithmetic Operations*, NeurIPS 2023, for patches.

use std::collections::BTreeMap;

use acclimate_model::{Base, Params};

use super::{Counts, Manifest, Patch, RowPatch, Serve, Storage, TrainedOn, rest};
use crate::{AdaptError, Start};

impl Patch {
    /// The mean of patches of one method and one base, each with its weight.
    ///
    /// # Errors
    /// [`AdaptError::Merge`]: no patch, weights that are none, patches of other methods, configs or bases, with ids of their own, or with own parameters drawn from other seeds, whose means
    /// mean nothing.
    pub fn merged(base: &Base, parts: &[(Self, f64)]) -> Result<Self, AdaptError> {
        let problem = |problem: String| Err(AdaptError::Merge { problem });
        let Some((first, _)) = parts.first() else { return problem("there is no patch to merge".into()) };
        let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
        if parts.iter().any(|(_, weight)| weight.is_nan() || *weight < 0.0) || total == 0.0 || !total.is_finite() {
            return problem("weights must be 0 or more and not all 0".into());
        }
        let one = &first.manifest;
        if first.adaptation(base)?.start() == Start::Fresh {
            return problem(format!(
                "`{}` starts from fresh values, not from the base's; merge patches of a method that adapts the base",
                one.method
            ));
        }
        for (number, Manifest { method, config, base: of, ids, seed, .. }) in
            parts.iter().map(|(patch, _)| &patch.manifest).enumerate().map(|(i, m)| (i + 1, m))
        {
            if *of != base.hash() {
                return Err(AdaptError::WrongBase { expected: of.clone(), found: base.hash() });
            }
            if *method != one.method || *config != one.config {
                return problem(format!(
                    "patch 1 is of `{}`, patch {number} of `{method}` or of another config; merge patches of one method",
                    one.method
                ));
            }
            if !ids.is_empty() {
                return problem(format!(
                    "patch {number} holds ids that the base has never seen, which other patches number otherwise; merge patches without such ids"
                ));
            }
            if *seed != one.seed && !first.own.specs.is_empty() {
                return problem(format!(
                    "patch 1 has seed {}, patch {number} seed {seed}: their own parameters start from other values; train them with one seed",
                    one.seed
                ));
            }
        }
        let shares: Vec<f64> = parts.iter().map(|(_, weight)| weight / total).collect();
        let mean = |of: &dyn Fn(&Self) -> &[f32]| {
            let mut sum = vec![0.0_f64; of(first).len()];
            for ((patch, _), share) in parts.iter().zip(&shares) {
                sum.iter_mut().zip(of(patch)).for_each(|(s, &x)| *s += share * f64::from(x));
            }
            sum.into_iter().map(|x| x as f32).collect::<Vec<f32>>()
        };
        let own = Params {
            specs: first.own.specs.clone(),
            values: (0..first.own.values.len()).map(|i| mean(&|p: &Self| &p.own.values[i])).collect(),
        };
        let dense: Vec<_> = (0..first.dense.len()).map(|i| (first.dense[i].0, mean(&|p: &Self| &p.dense[i].1))).collect();
        let rows: Vec<_> = (0..base.tables.len()).map(|table| mean_rows(base, table, parts, &shares)).collect();
        let counts = Counts { rows: rows.iter().map(|r| r.values.len()).sum(), ..one.counts };
        let windows = parts.iter().filter_map(|(patch, _)| patch.manifest.window);
        let manifest = Manifest {
            format: Manifest::FORMAT,
            window: windows.reduce(|[a, b], [c, d]| [a.min(c), b.max(d)]),
            trained_rows: parts.iter().map(|(patch, _)| patch.manifest.trained_rows).sum(),
            trained_on: together(parts),
            serve: Serve::default(),
            metrics: BTreeMap::new(),
            stages: Vec::new(),
            storage: Storage::Full,
            counts,
            ..one.clone()
        };
        Ok(Self { manifest, own, dense, rows })
    }
}

/// The data that all parts learned from, if they are of one data set and one part of it; without a domain where these differ.
fn together(parts: &[(Patch, f64)]) -> Option<TrainedOn> {
    let mut all = parts.iter().map(|(patch, _)| patch.manifest.trained_on.as_ref());
    let mut on = all.next()??.clone();
    for other in all {
        let other = other?;
        if (&other.dataset, &other.part) != (&on.dataset, &on.part) {
            return None;
        }
        if other.domain != on.domain {
            on.domain = None;
        }
    }
    Some(on)
}

/// Rows that some patch holds, each the mean over all patches.
fn mean_rows(base: &Base, table: usize, parts: &[(Patch, f64)], shares: &[f64]) -> RowPatch {
    let d = base.tables[table].d;
    let mut sums: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for ((patch, _), share) in parts.iter().zip(shares) {
        let RowPatch { rows, values, .. } = &patch.rows[table];
        for (&row, values) in rows.iter().zip(values.chunks_exact(d)) {
            let rest = rest(&base.tables[table], row);
            let sum = sums.entry(row).or_insert_with(|| rest.iter().map(|&x| f64::from(x)).collect());
            sum.iter_mut().zip(values.iter().zip(rest)).for_each(|(s, (&x, &b))| *s += share * (f64::from(x) - f64::from(b)));
        }
    }
    let values = sums.values().flatten().map(|&x| x as f32).collect();
    RowPatch { rows: sums.into_keys().collect(), values, scales: Vec::new() }
}
