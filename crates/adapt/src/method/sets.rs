//! Own parameters of which everybody has the same set, or each domain one of its own.

use acclimate_data::Schema;
use acclimate_model::{Bound, Grouping, ParamId, ParamSpec};
use burn::tensor::Tensor;

use crate::selection::heads;
use crate::{AdaptError, Context, Groups, Needs, Target};

/// Who shares a set of parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sets {
    method: &'static str,
    /// Number of domains that the base knows, where each has a set; those that it does not know share one more.
    domains: Option<usize>,
}

/// The sets of a batch's groups.
pub(crate) struct Chosen(Option<Vec<u32>>);

impl Sets {
    /// One set for all, or with `per_domain` one a domain.
    pub(crate) fn new(method: &'static str, per_domain: bool, schema: &Schema) -> Result<Self, AdaptError> {
        if per_domain && schema.domains.is_empty() {
            let problem = "it has parameters of each domain, but the data names no domain".into();
            return Err(AdaptError::Unsupported { method, problem });
        }
        Ok(Self { method, domains: per_domain.then_some(schema.domains.len()) })
    }

    /// The same for parameters of each domain at sites of the network, which then must be shared: at a tower of one domain those of the others would never be used.
    pub(crate) fn at_sites(method: &'static str, per_domain: bool, target: Target<'_>) -> Result<Self, AdaptError> {
        if per_domain && heads(target.backbone).len() > 1 {
            let problem = "it has parameters of each domain, and so has the network, whose towers are of one domain each; use `dnn`".into();
            return Err(AdaptError::Unsupported { method, problem });
        }
        Self::new(method, per_domain, target.schema)
    }

    /// How many there are.
    pub(crate) fn len(self) -> usize {
        self.domains.map_or(1, |domains| domains + 1)
    }

    /// A parameter with a block for each set.
    pub(crate) fn declare(self, spec: ParamSpec) -> ParamSpec {
        if self.domains.is_some() { spec.grouped(Grouping::Domain) } else { spec }
    }

    /// What they need of a context.
    pub(crate) fn needs(self) -> Needs {
        Needs { groups: if self.domains.is_some() { Groups::Domain } else { Groups::Any }, ..Needs::default() }
    }

    /// The set of a domain.
    pub(crate) fn of(self, domain: u32) -> usize {
        self.domains.map_or(0, |known| (domain as usize).min(known))
    }

    /// The sets of a batch's groups: that of the domain of a group's real rows; a group of padding takes that of the batch's first real row.
    ///
    /// # Errors
    /// [`AdaptError::MissingContext`] for a group with rows of several domains.
    pub(crate) fn choose(self, context: &Context<'_>) -> Result<Chosen, AdaptError> {
        if self.domains.is_none() {
            return Ok(Chosen(None));
        }
        let [_, n] = context.query.shape();
        let missing = AdaptError::MissingContext { method: self.method, missing: "groups with rows of one domain each" };
        let (mask, domains) = (context.query.mask(), context.query.domains());
        let of_real = |mask: &[f32], at: usize| {
            (0..mask.len()).filter(|&i| mask[i] != 0.0).map(|i| self.of(domains[at + i].0) as u32).collect::<Vec<u32>>()
        };
        let first = mask.iter().zip(domains).find(|&(&m, _)| m != 0.0).map_or(0, |(_, d)| self.of(d.0) as u32);
        let mut groups = Vec::new();
        for (g, mask) in mask.chunks_exact(n.max(1)).enumerate() {
            let real = of_real(mask, g * n);
            let own = real.first().copied().unwrap_or(first);
            if real.iter().any(|&set| set != own) {
                return Err(missing);
            }
            groups.push(own);
        }
        Ok(Chosen(Some(groups)))
    }
}

impl Chosen {
    /// The set of each group; of none where everybody has the same.
    pub(crate) fn sets(&self) -> Vec<u32> {
        self.0.clone().unwrap_or_default()
    }

    /// A parameter for these groups, `[G|1, ..]`.
    pub(crate) fn pick(&self, own: &Bound, id: ParamId) -> Tensor<3> {
        match &self.0 {
            None => own.get(id),
            Some(groups) => own.blocks(id, groups),
        }
    }
}
