//! What is applied at the sites during one forward pass: effects, as data.
//!
//! A method says what it does at each site by values of one closed set, [`Effect`]. The pass, folding into the weights, the composition of methods and the
//! sizes of what is applied are derived from them here, once.

mod effect;
mod prefix;
mod term;
mod weights;

use burn::tensor::Tensor;

use crate::{ParamId, Site, SiteId};
pub use effect::{Branch, BranchActivation, Effect, NormChange, Opaque, Read, Scale};
pub use prefix::Prefix;
use term::Term;
pub use term::{Added, AfterPass, Moved};
pub use weights::Weights;

/// What a norm subtracts and divides by (its root), both `[G|1, N|1, d]`.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Mean.
    pub mean: Tensor<3>,
    /// Variance.
    pub variance: Tensor<3>,
}

/// `gain * x + shift` after normalisation, both `[G|1, N|1, d]`.
#[derive(Clone, Debug)]
pub struct Affine {
    /// Factor, 1 at rest.
    pub gain: Tensor<3>,
    /// Offset, 0 at rest.
    pub shift: Tensor<3>,
    /// Running moments of a norm that has some (batch norm); a method that keeps moments of its own, one a domain say, replaces them.
    pub moments: Option<Moments>,
    /// Where a method keeps those, so that training moves them.
    pub own: Option<OwnMoments>,
}

/// Running moments of a method's own, a block a group: parameters that hold the differences to the network's running moments, which so are 0 at start.
///
/// A training pass normalises each group by the moments of its real rows and moves the group's block by a tenth of the way to them; groups of few rows are normalised by
/// the running ones and move nothing. The network's own running moments stay as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMoments {
    /// Differences of the means, `[blocks, 1, d]`: its place among the method's parameters ([`Bound::place`](crate::Bound::place)).
    pub mean: ParamId,
    /// Differences of the variances, alike.
    pub variance: ParamId,
    /// The block of each group of the batch.
    pub blocks: Vec<u32>,
    /// Real rows below which a group is one of few rows.
    pub least: usize,
}

/// Which embedding rows were gathered at a rows site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids<'a> {
    /// Codes of a batch, `[G * N, fields]`, in the schema's order of categorical features. The backbone says which of them it reads, and where in a
    /// gathered row each stands.
    Codes {
        /// The codes.
        codes: &'a [u32],
        /// Fields of each row.
        fields: usize,
    },
    /// These rows of the head's table.
    Head(&'a [u32]),
    /// Every row of the head's table.
    WholeHead,
}

/// What an adaptation does to one forward pass: effects at sites, in the order in which they are applied. Without any it is the plain backbone.
#[derive(Debug, Default)]
pub struct Modulation<'a> {
    effects: Vec<(SiteId, Effect<'a>)>,
    penalty: Option<Tensor<1>>,
    terms: Vec<Term<'a>>,
}

static NOTHING: Modulation<'static> = Modulation { effects: Vec::new(), penalty: None, terms: Vec::new() };

impl<'a> Modulation<'a> {
    /// Changes nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Changes nothing, for ever.
    pub(crate) fn nothing() -> &'static Modulation<'static> {
        &NOTHING
    }

    /// The same with one more effect, after those that are there.
    #[must_use]
    pub fn with(mut self, site: SiteId, effect: Effect<'a>) -> Self {
        self.effects.push((site, effect));
        self
    }

    /// The same with a term `[1]` added to the training loss.
    #[must_use]
    pub fn penalised(self, penalty: Tensor<1>) -> Self {
        let penalty = Some(match self.penalty {
            Some(other) => other + penalty,
            None => penalty,
        });
        Self { penalty, ..self }
    }

    /// The same with a term of the training loss that is known after the pass; `None` from it adds nothing. What it reads of hidden states, an
    /// [`Effect::Opaque`] of the same modulation has kept for it.
    #[must_use]
    pub fn with_term(mut self, term: impl Fn(&AfterPass<'_>) -> Option<Added> + Send + Sync + 'a) -> Self {
        self.terms.push(Term::new(term));
        self
    }

    /// First this, then the other: one modulation of both.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.effects.extend(other.effects);
        self.terms.extend(other.terms);
        match other.penalty {
            Some(penalty) => self.penalised(penalty),
            None => self,
        }
    }

    /// The effects at a site, in their order.
    pub fn at(&self, site: SiteId) -> impl Iterator<Item = &Effect<'a>> + '_ {
        self.effects.iter().filter(move |(at, _)| *at == site).map(|(_, effect)| effect)
    }

    /// All effects with their sites, in their order.
    #[must_use]
    pub fn effects(&self) -> &[(SiteId, Effect<'a>)] {
        &self.effects
    }

    /// The term added to the training loss that is known before the pass.
    #[must_use]
    pub fn penalty(&self) -> Option<Tensor<1>> {
        self.penalty.clone()
    }

    /// What the terms that are known after the pass add to the training loss and move, in their order. Training asks once, after the pass through this modulation.
    #[must_use]
    pub fn added(&self, after: &AfterPass<'_>) -> Vec<Added> {
        self.terms.iter().filter_map(|term| term.of(after)).collect()
    }

    /// Number of values that it takes to apply it, without those behind an [`Effect::Opaque`].
    #[must_use]
    pub fn values(&self) -> usize {
        self.effects.iter().map(|(_, effect)| effect.values()).sum()
    }

    /// Whether the whole effect can be written into the weights: the same for every row, and nothing but an affine change at each site.
    #[must_use]
    pub fn is_foldable(&self, sites: &[Site]) -> bool {
        self.effects.iter().all(|(at, effect)| effect.is_foldable(&sites[at.0]))
    }

    /// The first effect that says nothing at its site, such as other weights of a norm.
    #[must_use]
    pub fn misplaced(&self, sites: &[Site]) -> Option<(SiteId, &Effect<'a>)> {
        self.effects.iter().find(|(at, effect)| !effect.fits(sites[at.0].kind)).map(|(at, effect)| (*at, effect))
    }

    /// The weights of a linear site.
    #[must_use]
    pub fn weights(&self, site: SiteId, base: Weights) -> Weights {
        self.at(site).fold(base, |weights, effect| effect.on_weights(weights))
    }

    /// The input of a linear site.
    #[must_use]
    pub fn input(&self, site: SiteId, x: Tensor<3>) -> Tensor<3> {
        self.at(site).fold(x, |x, effect| effect.on_input(x))
    }

    /// Whether something changes what comes out of a site, after its weights and before norm and activation. Where nothing does, a layer fuses its activation.
    #[must_use]
    pub fn changes_output(&self, site: SiteId) -> bool {
        self.at(site).any(Effect::is_on_output)
    }

    /// What changes the output of a site, if it is one scale and shift and nothing else: a layer takes it into the pass over its rows.
    pub(crate) fn scale(&self, site: SiteId) -> Option<&Scale> {
        let mut changes = self.at(site).filter(|effect| effect.is_on_output());
        match (changes.next(), changes.next()) {
            (Some(Effect::Output(scale)), None) => Some(scale),
            _ => None,
        }
    }

    /// What comes out of a site: `x [G, N, d_in]` went in, `y [G, N, d_out]` came out.
    #[must_use]
    pub fn output(&self, site: SiteId, x: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        self.at(site).fold(y, |y, effect| effect.on_output(x, y))
    }

    /// What the heads of an attention site give: `query` `[G, N, d]` asked, `y` `[G, N, d]` came out.
    #[must_use]
    pub fn attended(&self, site: SiteId, query: &Tensor<3>, y: Tensor<3>) -> Tensor<3> {
        self.at(site).fold(y, |y, effect| effect.on_attention(query, y))
    }

    /// Gain, shift and moments of a norm site.
    #[must_use]
    pub fn norm(&self, site: SiteId, base: Affine) -> Affine {
        self.at(site).fold(base, |affine, effect| effect.on_norm(affine))
    }

    /// Gathered embedding rows `[G, N, d]`, before they are used; `ids` says which rows of which table they are.
    #[must_use]
    pub fn rows(&self, site: SiteId, ids: Ids<'_>, base: Tensor<3>) -> Tensor<3> {
        self.at(site).fold(base, |rows, effect| effect.on_rows(ids, rows))
    }

    /// The weights of a linear site with everything that is applied there, for a modulation that [is foldable](Self::is_foldable).
    #[must_use]
    pub fn folded(&self, site: SiteId, base: Weights) -> Weights {
        let weights = self.at(site).fold(self.weights(site, base), |weights, effect| effect.input_on_weights(weights));
        self.at(site).fold(weights, |weights, effect| effect.output_on_weights(weights))
    }
}
