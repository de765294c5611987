//! What is fitted in one direction: floors, the factorisation of both domains, and methods, each by its name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use acclimate_eval::floor::Chosen;
use acclimate_fit::bridge::{
    BiasBridge, Biases, Bridge as Fitted, Factors, FactorsConfig, ItemKnn, Known, Lesson, Map, Mapped, MappingConfig, Mixture, Observed,
    Popularity, RatingBridge, RidgeBridge, UserKnn, joint,
};
use serde::{Deserialize, Serialize};

use super::super::newcomers::{Bench, Newcomers, chosen, points};
use super::Bridge;
use crate::experiment::MethodEntry;
use crate::ExperimentError;
use crate::lab::Finished;

/// What every method has to beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    Popularity,
    SharedPopularity,
    ItemKnn,
    UserKnn,
    Ridge,
    GlobalMean,
    ItemBias,
    BiasBridge,
}

/// All of them.
pub(super) const FLOORS: [Floor; 8] = [
    Floor::Popularity,
    Floor::SharedPopularity,
    Floor::ItemKnn,
    Floor::UserKnn,
    Floor::Ridge,
    Floor::GlobalMean,
    Floor::ItemBias,
    Floor::BiasBridge,
];

impl Floor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::SharedPopularity => "shared_popularity",
            Self::ItemKnn => "item_knn",
            Self::UserKnn => "user_knn",
            Self::Ridge => "ridge_bridge",
            Self::GlobalMean => "global_mean",
            Self::ItemBias => "item_bias",
            Self::BiasBridge => "bias_bridge",
        }
    }

    /// Whether it predicts ratings; the others rank.
    pub(super) fn is_for(self, ratings: bool) -> bool {
        ratings == matches!(self, Self::GlobalMean | Self::ItemBias | Self::BiasBridge)
    }

    /// The settings that validation people choose from, by name.
    fn grid(self) -> Vec<(&'static str, Vec<f64>)> {
        match self {
            Self::ItemKnn => vec![("shrink", vec![2.0, 10.0, 50.0])],
            Self::Ridge => vec![("damping", vec![0.0, 0.25, 0.5]), ("ridge", vec![1.0, 5.0, 20.0])],
            Self::ItemBias | Self::BiasBridge => vec![("shrink_people", vec![1.0, 4.0, 10.0, 20.0]), ("shrink_items", vec![1.0, 3.0, 8.0])],
            _ => Vec::new(),
        }
    }

    fn fit(self, newcomers: &Newcomers, at: &[f64]) -> Box<dyn Fitted> {
        let pair = &newcomers.pair;
        match self {
            Self::Popularity => Box::new(Popularity::of_all(pair)),
            Self::SharedPopularity => Box::new(Popularity::of_shared(pair)),
            Self::ItemKnn => Box::new(ItemKnn::new(pair, at[0])),
            Self::UserKnn => Box::new(UserKnn::new(pair)),
            Self::Ridge => Box::new(RidgeBridge::new(pair, at[0], at[1])),
            Self::GlobalMean => Box::new(Levels(vec![Biases::fit(&pair.target, 1.0, 1.0).mean; pair.target.width])),
            Self::ItemBias => Box::new(Levels(Biases::fit(&pair.target, at[0], at[1]).levels())),
            Self::BiasBridge => Box::new(BiasBridge::new(pair, at[0], at[1])),
        }
    }
}

/// The same score for everybody.
struct Levels(Vec<f64>);

impl Fitted for Levels {
    fn score(&self, _: &Known<'_>, scores: &mut [f64]) {
        scores.copy_from_slice(&self.0);
    }

    fn parameters(&self) -> usize {
        self.0.len()
    }
}

/// The methods of this scenario with their keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum MethodConfig {
    /// A map from a person's vector in the source to the one in the target.
    Emcdr {
        #[serde(default)]
        map: MapKind,
        #[serde(default = "hidden")]
        hidden: usize,
        #[serde(default)]
        biases: bool,
        #[serde(default)]
        apart: bool,
        #[serde(default = "epochs")]
        epochs: usize,
        #[serde(default = "rate")]
        rate: f64,
    },
    /// The same, learned as two halves of the people would want it of each other, from target rows.
    Tmcdr {
        #[serde(default = "inner_rate")]
        inner_rate: f64,
        #[serde(default)]
        biases: bool,
        #[serde(default)]
        apart: bool,
        #[serde(default = "epochs")]
        epochs: usize,
        #[serde(default = "rate")]
        rate: f64,
    },
    /// A map of its own for each person.
    Ptupcdr {
        #[serde(default = "narrow")]
        hidden: usize,
        #[serde(default)]
        biases: bool,
        #[serde(default)]
        apart: bool,
        #[serde(default = "epochs")]
        epochs: usize,
        #[serde(default = "rate")]
        rate: f64,
    },
    /// Bridges weighed by people held out of them.
    AcclimateBridge {},
}

/// What a map stands on.
struct Stands {
    /// Whether ratings have biases; otherwise everything but the mean is in the factors.
    biases: bool,
    /// Whether each domain is factorised by itself, as in the papers; otherwise both are by one.
    apart: bool,
}

/// The form of EMCDR's map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MapKind {
    /// A matrix, by ridge regression.
    #[default]
    Linear,
    /// A network with one hidden layer.
    Network,
}

fn hidden() -> usize {
    128
}

fn narrow() -> usize {
    50
}

fn epochs() -> usize {
    40
}

fn rate() -> f64 {
    0.003
}

fn inner_rate() -> f64 {
    0.01
}

impl MethodConfig {
    /// The method of an entry with its keys.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn of(entry: &MethodEntry) -> Result<Self, String> {
        let known = ["emcdr", "tmcdr", "ptupcdr", "acclimate_bridge"];
        if !known.contains(&entry.name.as_str()) {
            return Err(format!("`{}` is no method of scenario `bridge`; there are {}", entry.name, known.join(", ")));
        }
        let mut keys = entry.config.clone();
        keys.insert("name".into(), entry.name.clone().into());
        let config: Self = keys.try_into().map_err(|e: toml::de::Error| format!("config of `{}`: {}", entry.name, e.to_string().trim_end()))?;
        let positive = |rate: f64| rate.is_finite() && rate > 0.0;
        let (hidden, epochs, rates) = match config {
            Self::Emcdr { hidden, epochs, rate, .. } | Self::Ptupcdr { hidden, epochs, rate, .. } => (hidden, epochs, [rate, 1.0]),
            Self::Tmcdr { inner_rate, epochs, rate, .. } => (1, epochs, [rate, inner_rate]),
            Self::AcclimateBridge {} => (1, 1, [1.0, 1.0]),
        };
        if hidden == 0 || epochs == 0 || !rates.into_iter().all(positive) {
            return Err(format!("config of `{}`: `hidden` and `epochs` must be at least 1, rates above 0", entry.name));
        }
        Ok(config)
    }

    fn mapping(&self, seed: u64) -> Option<(MappingConfig, Stands)> {
        let config = |map, lesson, inner_rate, epochs, rate| MappingConfig { map, lesson, inner_rate, epochs, rate, seed };
        Some(match *self {
            Self::Emcdr { map, hidden, biases, apart, epochs, rate } => {
                let map = if map == MapKind::Linear { Map::Linear } else { Map::Network(hidden) };
                (config(map, Lesson::Vectors, None, epochs, rate), Stands { biases, apart })
            }
            Self::Tmcdr { inner_rate, biases, apart, epochs, rate } => (config(Map::Linear, Lesson::Rows, Some(inner_rate), epochs, rate), Stands { biases, apart }),
            Self::Ptupcdr { hidden, biases, apart, epochs, rate } => (config(Map::Personal(hidden), Lesson::Rows, None, epochs, rate), Stands { biases, apart }),
            Self::AcclimateBridge {} => return None,
        })
    }
}

/// Factorisations of source and target, by seed, by whether they have biases and by whether each stands for itself.
type Kept = BTreeMap<(u64, bool, bool), Arc<[Factors; 2]>>;

/// Fits of one direction.
pub(super) struct Fits<'a> {
    bench: Bench<'a>,
    config: &'a Bridge,
    kept: Mutex<Kept>,
    chosen: Mutex<Option<(FactorsConfig, Vec<Chosen>)>>,
}

impl<'a> Fits<'a> {
    pub(super) fn new(bench: Bench<'a>, config: &'a Bridge) -> Self {
        Self { bench, config, kept: Mutex::default(), chosen: Mutex::default() }
    }

    /// A floor with the settings that validation people are best served by.
    pub(super) fn floor(&self, floor: Floor) -> Result<Finished, ExperimentError> {
        self.bench.finished(floor.name(), &format!("{floor:?}{:?}", floor.grid()), || {
            let grid = floor.grid();
            let points = points(&grid);
            let (best, fitted) = self.bench.best(points.len(), |at| Ok(floor.fit(self.bench.newcomers, &points[at])))?;
            Ok((fitted, chosen(&grid, &points[best])))
        })
    }

    /// One factorisation of both domains, into which newcomers are folded.
    pub(super) fn joint(&self, seed: u64) -> Result<Finished, ExperimentError> {
        self.bench.finished(&format!("{}-seed{seed}", super::MF), &format!("{:?}{seed}|{}", self.config.factors, self.choosing()), || {
            let (factors, settings) = self.factors()?;
            Ok((Box::new(self.fit_joint(FactorsConfig { seed, ..factors })) as Box<dyn Fitted>, settings))
        })
    }

    /// A method with a seed.
    pub(super) fn method(&self, label: &str, config: &MethodConfig, seed: u64) -> Result<Finished, ExperimentError> {
        self.bench.finished(&format!("{label}-seed{seed}"), &format!("{:?}{config:?}{seed}|{}", self.config.factors, self.choosing()), || {
            let (factors, settings) = self.factors()?;
            let factors = FactorsConfig { seed, ..factors };
            let pair = &self.bench.newcomers.pair;
            let fitted: Box<dyn Fitted> = match config.mapping(seed) {
                Some((mapping, Stands { biases, apart })) => {
                    let [source, target] = &*self.two(factors, biases, apart);
                    Box::new(Mapped::fit(pair, source, target, mapping))
                }
                None if self.bench.metrics.range.is_some() => {
                    let grid = Floor::BiasBridge.grid();
                    let points = points(&grid);
                    let (best, _) = self.bench.best(points.len(), |at| Ok(Floor::BiasBridge.fit(self.bench.newcomers, &points[at])))?;
                    Box::new(RatingBridge::fit(pair, [points[best][0], points[best][1]], factors, seed))
                }
                None => {
                    let mixture = Mixture::fit(pair, factors, seed);
                    for (shown, shares) in mixture.shares() {
                        let named = shares.iter().take(6).map(|s| format!("{}^{} {:.2}", s.expert, s.power, s.share));
                        let named = named.collect::<Vec<_>>().join(", ");
                        self.bench.lab.progress.say(&format!("{}: {label} with {shown} shown: {named}", self.bench.newcomers.name));
                    }
                    Box::new(mixture)
                }
            };
            Ok((fitted, settings))
        })
    }

    /// The factorisations of source and target of a seed: the halves of one of both, or each by itself.
    fn two(&self, factors: FactorsConfig, biases: bool, apart: bool) -> Arc<[Factors; 2]> {
        let key = (factors.seed, biases, apart);
        if let Some(kept) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return kept.clone();
        }
        let observed = if self.bench.metrics.range.is_some() { Observed::Ratings { biases } } else { factors.observed };
        let config = FactorsConfig { observed, ..factors };
        let pair = &self.bench.newcomers.pair;
        let made = Arc::new(if apart {
            rayon::join(|| Factors::fit(&pair.source, config).0, || Factors::fit(&pair.target, config).0).into()
        } else {
            self.fit_joint(config).split(pair.source.width)
        });
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        made
    }

    /// The seed by which settings of factorisations are chosen.
    fn choosing(&self) -> u64 {
        self.bench.lab.seeds[0]
    }

    /// How domains are factorised: what the factorisation of both serves validation people best with.
    fn factors(&self) -> Result<(FactorsConfig, Vec<Chosen>), ExperimentError> {
        let mut kept = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(kept.clone());
        }
        let (keys, ratings) = (&self.config.factors, self.bench.metrics.range.is_some());
        let or = |given: &[f64], default: &[f64]| if given.is_empty() { default.to_vec() } else { given.to_vec() };
        let ridges = or(&keys.ridge, if ratings { &[0.03, 0.1, 0.3] } else { &[0.003, 0.01] });
        let grid = if ratings { vec![("ridge", ridges)] } else { vec![("ridge", ridges), ("unobserved", or(&keys.unobserved, &[0.03, 0.1]))] };
        let points = points(&grid);
        let config = |at: usize| FactorsConfig {
            factors: keys.size.unwrap_or(if ratings { 16 } else { 64 }),
            ridge: points[at][0],
            sweeps: keys.sweeps,
            observed: if ratings { Observed::Ratings { biases: true } } else { Observed::Clicks { unobserved: points[at][1] } },
            seed: self.choosing(),
        };
        let (best, _) = self.bench.best(points.len(), |at| Ok(Box::new(self.fit_joint(config(at))) as Box<dyn Fitted>))?;
        let made = (config(best), chosen(&grid, &points[best]));
        *kept = Some(made.clone());
        Ok(made)
    }

    fn fit_joint(&self, config: FactorsConfig) -> Factors {
        Factors::fit(&joint(&self.bench.newcomers.pair), config).0
    }
}
