//! What is fitted: floors and methods, each by its name.

use acclimate_fit::bridge::{Bridge as Fitted, ItemKnn, Popularity};
use acclimate_fit::fresh::{Ease, MetaCf, MetaCfConfig, Order};
use serde::{Deserialize, Serialize};

use super::super::newcomers::{Bench, chosen, points};
use crate::ExperimentError;
use crate::experiment::MethodEntry;
use crate::lab::Finished;

/// What every method has to beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    Popularity,
    ItemKnn,
    Ease,
}

/// All of them.
pub(super) const FLOORS: [Floor; 3] = [Floor::Popularity, Floor::ItemKnn, Floor::Ease];

impl Floor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::ItemKnn => "item_knn",
            Self::Ease => "ease",
        }
    }

    /// The settings that validation users choose from, by name.
    fn grid(self) -> Vec<(&'static str, Vec<f64>)> {
        match self {
            Self::Popularity => Vec::new(),
            Self::ItemKnn => vec![("shrink", vec![0.5, 2.0, 10.0, 50.0, 250.0])],
            Self::Ease => vec![("ridge", vec![10.0, 30.0, 100.0, 300.0, 1000.0])],
        }
    }

    /// With the settings that validation users are best served by.
    pub(super) fn finished(self, bench: Bench<'_>) -> Result<Finished, ExperimentError> {
        bench.finished(self.name(), &format!("{self:?}{:?}", self.grid()), || {
            let grid = self.grid();
            let points = points(&grid);
            let (best, fitted) = bench.best(points.len(), |at| self.fit(bench, &points[at]))?;
            Ok((fitted, chosen(&grid, &points[best])))
        })
    }

    fn fit(self, bench: Bench<'_>, at: &[f64]) -> Result<Box<dyn Fitted>, ExperimentError> {
        let pair = &bench.newcomers.pair;
        Ok(match self {
            Self::Popularity => Box::new(Popularity::of_all(pair)),
            Self::ItemKnn => Box::new(ItemKnn::new(pair, at[0])),
            Self::Ease => Box::new(Ease::new(&pair.target, at[0]).ok_or_else(|| {
                let problem = format!(
                    "has floor `ease`, which holds a matrix of items by items and takes {} items at most; name the other floors here: only = [\"popularity\", \"item_knn\"]",
                    Ease::MOST_ITEMS
                );
                bench.lab.experiment.problem("[floors]", problem)
            })?),
        })
    }
}

/// The methods of this scenario with their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum MethodConfig {
    /// A user made of items, moved by learned steps.
    Metacf {
        #[serde(default = "factors")]
        factors: usize,
        #[serde(default = "discount")]
        discount: f64,
        #[serde(default = "shots")]
        shots: usize,
        #[serde(default = "queries")]
        queries: usize,
        #[serde(default = "negatives")]
        negatives: usize,
        #[serde(default = "inner_steps")]
        inner_steps: usize,
        #[serde(default = "inner_rate")]
        inner_rate: f64,
        #[serde(default)]
        order: OrderKey,
        #[serde(default = "potential")]
        potential: usize,
        #[serde(default = "batch")]
        batch: usize,
        #[serde(default = "epochs")]
        epochs: usize,
        #[serde(default = "patience")]
        patience: usize,
        #[serde(default = "rate")]
        rate: f64,
        #[serde(default = "clamp")]
        clamp: f64,
    },
}

/// How the outer gradient is formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderKey {
    /// Through the steps.
    #[default]
    Second,
    /// As if steps had no curvature.
    First,
}

/// The defaults of the fit.
macro_rules! defaults {
    ($($key:ident: $kind:ty),*) => {
        $(fn $key() -> $kind {
            MetaCfConfig::default().$key
        })*
    };
}

defaults! {
    factors: usize, discount: f64, shots: usize, queries: usize, negatives: usize, inner_steps: usize, inner_rate: f64, potential: usize, batch: usize, epochs: usize,
    patience: usize, rate: f64, clamp: f64
}

impl MethodConfig {
    /// The method of an entry with its keys.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn of(entry: &MethodEntry) -> Result<Self, String> {
        if entry.name != "metacf" {
            return Err(format!("`{}` is no method of scenario `fresh_users`; there is metacf", entry.name));
        }
        let mut keys = entry.config.clone();
        keys.insert("name".into(), entry.name.clone().into());
        let config: Self = keys.try_into().map_err(|e: toml::de::Error| format!("config of `{}`: {}", entry.name, e.to_string().trim_end()))?;
        let MetaCfConfig { factors, discount, shots, queries, negatives, inner_rate, batch, epochs, patience, rate, clamp, .. } = config.fit(0);
        if [factors, shots, queries, negatives, batch, epochs, patience].contains(&0) {
            return Err("config of `metacf`: `factors`, `shots`, `queries`, `negatives`, `batch`, `epochs` and `patience` must be at least 1".into());
        }
        if ![inner_rate, rate, clamp].into_iter().all(|x| x.is_finite() && x > 0.0) || !(0.0..=1.0).contains(&discount) {
            return Err("config of `metacf`: `inner_rate`, `rate` and `clamp` must be above 0, `discount` from 0 to 1".into());
        }
        Ok(config)
    }

    fn fit(&self, seed: u64) -> MetaCfConfig {
        let Self::Metacf { factors, discount, shots, queries, negatives, inner_steps, inner_rate, order, potential, batch, epochs, patience, rate, clamp } = *self;
        let order = if order == OrderKey::First { Order::First } else { Order::Second };
        MetaCfConfig { factors, discount, shots, queries, negatives, inner_steps, inner_rate, order, potential, batch, epochs, patience, rate, clamp, seed }
    }

    /// With a seed, from the epoch that validation users are best served by.
    pub(super) fn finished(&self, bench: Bench<'_>, label: &str, seed: u64) -> Result<Finished, ExperimentError> {
        bench.finished(&format!("{label}-seed{seed}"), &format!("{self:?}{seed}"), || {
            let fitted = MetaCf::fit(&bench.newcomers.pair.target, self.fit(seed), |model| {
                bench.lab.check_stop()?;
                bench.quality(model)
            })?;
            Ok((Box::new(fitted) as Box<dyn Fitted>, Vec::new()))
        })
    }
}
