//! What a backbone consists of: parameters, sites, embedding tables and input slots, declared while it is built.

use crate::kernel::Taps;
use crate::layer::{Attention, BatchNorm, Conv, LayerNorm, Linear};
use crate::{Init, ParamId, ParamSpec, Role, Site, SiteId, SiteKind, Slot, TableSpec};

/// Parameters, sites, tables and slots of a backbone, in the order of computation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Architecture {
    /// Dense parameters.
    pub params: Vec<ParamSpec>,
    /// Places where the network can be changed.
    pub sites: Vec<Site>,
    /// Embedding tables.
    pub tables: Vec<TableSpec>,
    /// What its gathered row is made of, first column to last.
    pub slots: Vec<Slot>,
}

impl Architecture {
    /// Declares a dense parameter.
    pub fn param(&mut self, spec: ParamSpec) -> ParamId {
        self.params.push(spec);
        ParamId(self.params.len() - 1)
    }

    /// Declares a site.
    pub fn site(&mut self, path: impl Into<String>, kind: SiteKind, role: Role) -> SiteId {
        let d_x = match kind {
            SiteKind::Linear { d_in: d, .. } | SiteKind::Attention { d, .. } => d,
            SiteKind::Norm { d } | SiteKind::Hidden { d } | SiteKind::Rows { d } => d,
        };
        self.sites.push(Site { path: path.into(), kind, role, d_x });
        SiteId(self.sites.len() - 1)
    }

    /// Declares a linear layer `[d_in, d_out]` with a bias that starts as `bias`.
    pub fn linear(&mut self, path: &str, [d_in, d_out]: [usize; 2], init: Init, bias: Init, role: Role) -> Linear {
        let weight = self.param(ParamSpec::weight(format!("{path}.weight"), [1, d_in, d_out], init));
        let bias = self.param(ParamSpec { init: bias, ..ParamSpec::vector(format!("{path}.bias"), 1, d_out, 0.0) });
        let site = self.site(path, SiteKind::Linear { d_in, d_out }, role);
        Linear { site, weight, bias }
    }

    /// Declares a convolution of `k` taps from `c_in` to `c_out` channels, with a bias that starts at 0.
    pub fn conv(&mut self, path: &str, [k, c_in, c_out]: [usize; 3], taps: Taps, init: Init) -> Conv {
        let linear = self.linear(path, [k * c_in, c_out], init, Init::Constant(0.0), Role::Body);
        self.sites[linear.site.0].d_x = c_in;
        Conv { linear, taps }
    }

    /// Declares attention of `heads` heads and width `d` in all; biases start at 0.
    pub fn attention(&mut self, path: &str, d: usize, heads: usize, init: Init) -> Attention {
        let linear = |architecture: &mut Self, name: &str| {
            architecture.linear(&format!("{path}.{name}"), [d, d], init, Init::Constant(0.0), Role::Body)
        };
        let [query, key, value] = ["query", "key", "value"].map(|name| linear(self, name));
        let site = self.site(path, SiteKind::Attention { d, heads }, Role::Body);
        Attention { site, heads, query, key, value, output: linear(self, "output") }
    }

    /// Declares a layer norm of width `d`.
    pub fn layer_norm(&mut self, path: &str, d: usize, epsilon: f64) -> LayerNorm {
        let gain = self.param(ParamSpec::vector(format!("{path}.gain"), 1, d, 1.0));
        let shift = self.param(ParamSpec::vector(format!("{path}.shift"), 1, d, 0.0));
        let site = self.site(path, SiteKind::Norm { d }, Role::Body);
        LayerNorm { site, gain, shift, epsilon }
    }

    /// Declares a batch norm of width `d`.
    pub fn batch_norm(&mut self, path: &str, d: usize, epsilon: f64) -> BatchNorm {
        let gain = self.param(ParamSpec::vector(format!("{path}.gain"), 1, d, 1.0));
        let shift = self.param(ParamSpec::vector(format!("{path}.shift"), 1, d, 0.0));
        let mean = self.param(ParamSpec::moment(format!("{path}.mean"), d, 0.0));
        let variance = self.param(ParamSpec::moment(format!("{path}.variance"), d, 1.0));
        let site = self.site(path, SiteKind::Norm { d }, Role::Body);
        BatchNorm { site, gain, shift, mean, variance, epsilon }
    }

    /// Declares an embedding table and returns its position.
    pub fn table(&mut self, spec: TableSpec) -> usize {
        self.tables.push(spec);
        self.tables.len() - 1
    }

    /// Declares the next slot of the gathered row, `width` columns after those that are there.
    pub(crate) fn slot(&mut self, slot: Slot, width: usize) {
        let begin = self.slots.last().map_or(0, |last| last.columns.end);
        self.slots.push(Slot { columns: begin..begin + width, ..slot });
    }

    /// Tables that hold the head: those named like a [`SiteKind::Rows`] site of the head's role.
    pub fn head_tables(&self) -> impl Iterator<Item = usize> + '_ {
        let is_head =
            |name: &str| self.sites.iter().any(|s| s.role == Role::Head && s.path == name && matches!(s.kind, SiteKind::Rows { .. }));
        self.tables.iter().enumerate().filter(move |(_, t)| is_head(&t.name)).map(|(i, _)| i)
    }

    /// The site at `path`.
    #[must_use]
    pub fn find_site(&self, path: &str) -> Option<SiteId> {
        self.sites.iter().position(|s| s.path == path).map(SiteId)
    }

    /// Parameters that belong to a site: those whose path is the site's path and one more name.
    pub fn params_of(&self, site: SiteId) -> impl Iterator<Item = ParamId> + '_ {
        let prefix = &self.sites[site.0].path;
        let name = move |spec: &ParamSpec| spec.path.strip_prefix(prefix.as_str())?.strip_prefix('.').map(|name| !name.contains('.'));
        let owned = move |spec: &ParamSpec| name(spec) == Some(true);
        self.params.iter().enumerate().filter(move |(_, spec)| owned(spec)).map(|(i, _)| ParamId(i))
    }

    /// Linear sites with their widths, in the order of computation.
    pub fn linear_sites(&self) -> impl Iterator<Item = (SiteId, &Site, [usize; 2])> {
        self.sites.iter().enumerate().filter_map(|(i, site)| match site.kind {
            SiteKind::Linear { d_in, d_out } => Some((SiteId(i), site, [d_in, d_out])),
            _ => None,
        })
    }
}
