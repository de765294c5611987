//! `rare_ids`: ids that training has hardly met are read as the unknown one.
//!
//! ```text
//! c_f(v)  = training rows in which feature f has the code v                counted, no gradient
//! filter:   v is read as the unknown code of f where c_f(v) < τ
//! paths:    of what is read then, for rows with u > θ                      u in Paths
//!           K passes, f read as the unknown one with probability ρ exp(-c_f / c1)
//!           z = Σ_k w_k z_k / Σ_k w_k,  w_k = exp(-|z_k - median z| / s)
//! ```
//!
//! An embedding of three rows is its random start and a little noise; the row of the unknown id, where training has hidden ids now and then, is the mean of what is known of them. So the base must have been trained with
//! `hide = { user_id = { count = n } }` or the like: where the unknown row was never trained, this reads noise in the place of noise. Labels are not looked at, and the network stays as it is; before rows are counted nothing
//! is rare. No folding holds it: a base without its patch reads every code.
//!
//! # References
//! This project's reduction of MATT-CTR (2025) and UTTSI (2026), which mask or average over combinations of features that training has rarely seen; neither has published code.

use std::collections::BTreeSet;

use acclimate_data::{Schema, Side};
use acclimate_model::{Architecture, Bound, Modulation, ParamSpec, Pooling};
use serde::{Deserialize, Serialize};

use crate::adaptation::{Answered, Stage};
use crate::method::scored_rows;
use crate::reading::{CodeRows, Paths, Reading};
use crate::{AdaptError, Adaptation, Context, Kind, Method, MethodConfig, Scope, Target};

/// The list entry.
pub const METHOD: Method = Method::new::<RareIdsConfig>("rare_ids", Kind::Adaptation, "ids that training has hardly met are read as the unknown one")
    .tested_with(&["features = ['domain']", "features = ['domain', 'item_id']\nleast = 40", "least = 3\npaths = 4\nthreshold = 0.1\ndrop = 1.0"]);

/// Largest number of passes.
const MOST_PATHS: u32 = 8;

/// Configuration of [`RareIds`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RareIdsConfig {
    /// Categorical features whose codes are counted; default the ids: of users and of items the one with the most values, where the network reads it.
    pub features: Vec<String>,
    /// τ: training rows that a code needs to be read; default 5. More trusts the unknown row more, 0 reads every code.
    pub least: u32,
    /// K: passes for rows of rare codes, at most 8; default 0, none.
    pub paths: u32,
    /// θ: how rare the codes of a row must be to take them, from 0, where a row of any code that is not well known does, to 1; default 0.5.
    pub threshold: f64,
    /// c0: training rows from which on a code is well known; default 100.
    pub known: f64,
    /// ρ: how often a path leaves out a code without training rows; default 0.5.
    pub drop: f64,
    /// c1: a code of so many training rows is left out 2.7 times less often; default 20.
    pub fade: f64,
    /// s: a path whose logit is so far from the median counts 2.7 times less; default 0.5.
    pub spread: f64,
}

impl Default for RareIdsConfig {
    fn default() -> Self {
        Self { features: Vec::new(), least: 5, paths: 0, threshold: 0.5, known: 100.0, drop: 0.5, fade: 20.0, spread: 0.5 }
    }
}

/// The method `rare_ids`.
#[derive(Debug)]
pub struct RareIds {
    scope: Scope,
    /// Rows that were counted, then the rows of each code of each feature.
    params: Vec<ParamSpec>,
    /// Places of the features among the categorical ones.
    fields: Vec<usize>,
    least: f32,
    paths: Option<Paths>,
}

impl MethodConfig for RareIdsConfig {
    fn build(self, target: Target<'_>) -> Result<Box<dyn Adaptation>, AdaptError> {
        let value = |key, problem: String| AdaptError::Value { method: METHOD.name, key, problem };
        scored_rows(METHOD.name, target.backbone, "counts the codes of single rows")?;
        let (schema, architecture) = (target.schema, target.backbone.architecture());
        let place = |name: &String| {
            let known = || schema.categorical.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
            let place = schema.categorical.iter().position(|field| field.name == *name);
            let place = place.ok_or_else(|| value("features", format!("names no categorical feature `{name}`; there are {}", known())))?;
            match is_read(architecture, name) {
                true => Ok(place),
                false => Err(value("features", format!("names `{name}`, which the network does not read; leave it out"))),
            }
        };
        let fields = if self.features.is_empty() { ids(schema, architecture) } else { self.features.iter().map(place).collect::<Result<_, _>>()? };
        if fields.is_empty() {
            let problem = "it reads no id of users or items; name what is to be counted as `features`".into();
            return Err(AdaptError::Unsupported { method: METHOD.name, problem });
        }
        if fields.iter().collect::<BTreeSet<_>>().len() < fields.len() {
            return Err(value("features", "names a feature twice; leave one out".into()));
        }
        if self.paths > MOST_PATHS {
            return Err(value("paths", format!("must be at most {MOST_PATHS}")));
        }
        for (key, share) in [("threshold", self.threshold), ("drop", self.drop)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(value(key, "must be from 0 to 1".into()));
            }
        }
        for (key, number) in [("known", self.known), ("fade", self.fade), ("spread", self.spread)] {
            if !(number > 0.0 && number.is_finite()) {
                return Err(value(key, "must be a number above 0".into()));
            }
        }
        let Self { threshold, known, drop, fade, spread, .. } = self;
        let paths = (self.paths > 0).then_some(Paths { count: self.paths, threshold, known, drop, fade, spread });
        let counts = |&field: &usize| {
            let feature = &schema.categorical[field];
            ParamSpec::vector(format!("counts.{}", feature.name), 1, schema.vocabularies[feature.vocabulary.at()].rows, 0.0).solved()
        };
        let params = std::iter::once(ParamSpec::vector("counted", 1, 1, 0.0).solved()).chain(fields.iter().map(counts)).collect();
        Ok(Box::new(RareIds { scope: Scope::default(), params, fields, least: self.least as f32, paths }))
    }
}

/// Whether the network reads a feature as a row of a table.
fn is_read(architecture: &Architecture, name: &str) -> bool {
    architecture.slots.iter().any(|slot| slot.feature == name && slot.pooling == Pooling::One)
}

/// Of users and of items the categorical feature with the most values, the first one of several, where the network reads it.
fn ids(schema: &Schema, architecture: &Architecture) -> Vec<usize> {
    let values = |field: &usize| schema.vocabularies[schema.categorical[*field].vocabulary.at()].rows;
    let of_side = |side: Side| {
        let name = |field: &usize| schema.categorical[*field].name.as_str();
        let of_side = (0..schema.categorical.len()).filter(|field| schema.side(name(field)) == side);
        of_side.rev().max_by_key(values).filter(|field| is_read(architecture, name(field)))
    };
    [Side::User, Side::Item].into_iter().filter_map(of_side).collect()
}

impl Adaptation for RareIds {
    fn params(&self) -> &[ParamSpec] {
        &self.params
    }

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn solves(&self) -> bool {
        true
    }

    fn learns(&self) -> bool {
        false
    }

    fn solve(&self, own: &mut [Vec<f32>], rows: &mut Answered<'_>, _: Stage) {
        own.iter_mut().for_each(|values| values.fill(0.0));
        for codes in rows.codes.chunks_exact(rows.fields.max(1)) {
            own[0][0] += 1.0;
            self.fields.iter().zip(&mut own[1..]).for_each(|(&field, counts)| counts[codes[field] as usize] += 1.0);
        }
    }

    fn reading(&self, own: &[Vec<f32>]) -> Option<Reading> {
        let counted = self.fields.iter().zip(&own[1..]).map(|(&field, rows)| CodeRows { field, rows: rows.clone() }).collect();
        // Where nothing was counted nothing is known to be rare.
        Some(match own[0][0] > 0.0 {
            true => Reading { counted, least: self.least, paths: self.paths.clone() },
            false => Reading { counted, least: 0.0, paths: None },
        })
    }

    fn adapt<'a>(&'a self, _: &Bound, _: &Bound, _: &Context<'_>) -> Result<Modulation<'a>, AdaptError> {
        Ok(Modulation::none())
    }
}
