//! Sites with the places of their vectors in one vector for all sites.

use std::ops::Range;

use acclimate_model::{Backbone, SiteId};
use burn::tensor::Tensor;

use crate::AdaptError;
use crate::selection::{NormSite, linear_sites};

/// Sites, each with where its columns begin among those of all, and their number d.
#[derive(Debug)]
pub(crate) struct Widths(Vec<(SiteId, Range<usize>)>);

impl Widths {
    /// Outputs of the body's linear layers whose path matches one of `patterns`.
    ///
    /// # Errors
    /// [`AdaptError::Value`] for the key `sites` where none does.
    pub(crate) fn of_body(method: &'static str, patterns: &[String], backbone: &dyn Backbone) -> Result<Self, AdaptError> {
        let sites: Vec<_> = linear_sites(patterns, backbone).into_iter().map(|(site, _, [_, d])| (site, d)).collect();
        if sites.is_empty() {
            return Err(AdaptError::Value { method, key: "sites", problem: "matches no linear layer of the backbone's body".into() });
        }
        Ok(Self::side_by_side(sites))
    }

    /// These sites, each with its width.
    pub(crate) fn side_by_side(sites: impl IntoIterator<Item = (SiteId, usize)>) -> Self {
        let mut end = 0;
        let place = |(site, d): (SiteId, usize)| {
            end += d;
            (site, end - d..end)
        };
        Self(sites.into_iter().map(place).collect())
    }

    /// Norms.
    pub(crate) fn of_norms(norms: &[NormSite]) -> Self {
        let mut end = 0;
        let place = |norm: &NormSite| {
            end += norm.d;
            (norm.site, end - norm.d..end)
        };
        Self(norms.iter().map(place).collect())
    }

    /// `Σ d`.
    pub(crate) fn sum(&self) -> usize {
        self.0.last().map_or(0, |(_, columns)| columns.end)
    }

    /// Each site with its parts of `x [G, N, k Σ d]`, in which k vectors of a site stand side by side: `[G, N, d]` of the one that is asked for.
    pub(crate) fn parts<'x>(&'x self, x: &'x Tensor<3>, k: usize) -> impl Iterator<Item = (SiteId, impl Fn(usize) -> Tensor<3> + 'x)> {
        let [g, n, _] = x.dims();
        self.0.iter().map(move |(site, columns)| {
            let (first, d) = (k * columns.start, columns.len());
            (*site, move |i: usize| x.clone().slice([0..g, 0..n, first + i * d..first + (i + 1) * d]))
        })
    }
}
