//! Partitioned normalisation: moments, gain and shift of each domain at a batch norm.
//!
//! `(γ ⊙ γ_p) (z - μ_p) / sqrt(v_p + ε) + β + β_p` for a row of domain p. `γ_p` starts at 1, `β_p` at 0. The running `μ_p` and `v_p` are kept as differences to the base's, 0 at start; each
//! training step normalises a domain's rows by their own moments and moves the running ones by a tenth of the way. A domain with fewer than 16 rows in a batch takes the running ones and moves
//! nothing.

use acclimate_model::{Bound, Effect, Modulation, Moments, NormChange, OwnMoments, ParamId, ParamSpec};

use super::Sets;
use super::sets::Chosen;
use crate::selection::NormSite;

/// Rows of a domain below which their moments say too little.
const LEAST: usize = 16;

/// A batch norm with parameters of each domain, declared.
#[derive(Debug)]
pub(crate) struct PartitionedNorm {
    norm: NormSite,
    /// `γ`, `β`, and the differences of `μ` and `v`, of the domains, in this order.
    first: usize,
}

impl PartitionedNorm {
    /// Declares `PATH.PREFIX_gain`, `_shift`, `_mean` and `_variance`.
    pub(crate) fn declare(params: &mut Vec<ParamSpec>, sets: Sets, norm: NormSite, prefix: &str) -> Self {
        let (first, blocks, d) = (params.len(), sets.len(), norm.d);
        let path = |name: &str| format!("{}.{prefix}_{name}", norm.path);
        let of_domains = |spec: ParamSpec| sets.declare(ParamSpec { shape: [blocks, 1, d], ..spec });
        params.extend([
            of_domains(ParamSpec::vector(path("gain"), blocks, d, 1.0)),
            of_domains(ParamSpec::vector(path("shift"), blocks, d, 0.0)),
            of_domains(ParamSpec::moment(path("mean"), d, 0.0)),
            of_domains(ParamSpec::moment(path("variance"), d, 0.0)),
        ]);
        Self { norm, first }
    }

    /// A modulation and, after it, what becomes of the norm for these groups.
    pub(crate) fn after<'a>(&self, all: Modulation<'a>, base: &Bound, own: &Bound, chosen: &Chosen) -> Modulation<'a> {
        let [gain, shift, mean, variance] = [0, 1, 2, 3].map(|i| chosen.pick(own, ParamId(self.first + i))); // [G, 1, d]
        // Moments that moved far and back may round to a variance below 0.
        let moments = Moments { mean: base.get(self.norm.mean) + mean, variance: (base.get(self.norm.variance) + variance).clamp_min(0.0) };
        let place = |i: usize| own.place(ParamId(self.first + i));
        let own = OwnMoments { mean: place(2), variance: place(3), blocks: chosen.sets(), least: LEAST };
        let change = NormChange { times: Some(gain), shift: Some(shift), moments: Some(moments), own: Some(own), ..NormChange::default() };
        all.with(self.norm.site, Effect::Norm(change))
    }
}
