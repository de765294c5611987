//! What is fitted in one direction: floors, the factorisation of both domains, and methods, each by its name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use acclimate_eval::floor::Chosen;
use acclimate_eval::{Cost, rank_of};
use acclimate_fit::bridge::{
    BiasBridge, Biases, Bridge as Fitted, Factors, FactorsConfig, ItemKnn, Known, Lesson, Map, Mapped, MappingConfig, Mixture, Observed,
    Popularity, RatingBridge, RidgeBridge, UserKnn, joint,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::questions::{Direction, Question};
use super::{Bridge, Wanted};
use crate::experiment::MethodEntry;
use crate::lab::{Finished, Prediction};
use crate::source::digest_text;
use crate::{ExperimentError, Lab};

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

    fn fit(self, direction: &Direction, at: &[f64]) -> Box<dyn Fitted> {
        let pair = &direction.pair;
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
    lab: &'a Lab<'a>,
    config: &'a Bridge,
    direction: &'a Direction,
    metrics: &'a Wanted,
    kept: Mutex<Kept>,
    chosen: Mutex<Option<(FactorsConfig, Vec<Chosen>)>>,
}

impl<'a> Fits<'a> {
    pub(super) fn new(lab: &'a Lab<'a>, config: &'a Bridge, direction: &'a Direction, metrics: &'a Wanted) -> Self {
        Self { lab, config, direction, metrics, kept: Mutex::default(), chosen: Mutex::default() }
    }

    /// A floor with the settings that validation people are best served by.
    pub(super) fn floor(&self, floor: Floor) -> Result<Finished, ExperimentError> {
        self.finished(floor.name(), &format!("{floor:?}{:?}", floor.grid()), || {
            let grid = floor.grid();
            let points = points(&grid);
            let (best, fitted) = self.best(points.len(), |at| Ok(floor.fit(self.direction, &points[at])))?;
            Ok((fitted, chosen(&grid, &points[best])))
        })
    }

    /// One factorisation of both domains, into which newcomers are folded.
    pub(super) fn joint(&self, seed: u64) -> Result<Finished, ExperimentError> {
        self.finished(&format!("{}-seed{seed}", super::MF), &format!("{:?}{seed}", self.config.factors), || {
            let (factors, settings) = self.factors()?;
            Ok((Box::new(self.fit_joint(FactorsConfig { seed, ..factors })) as Box<dyn Fitted>, settings))
        })
    }

    /// A method with a seed.
    pub(super) fn method(&self, label: &str, config: &MethodConfig, seed: u64) -> Result<Finished, ExperimentError> {
        self.finished(&format!("{label}-seed{seed}"), &format!("{:?}{config:?}{seed}", self.config.factors), || {
            let (factors, settings) = self.factors()?;
            let factors = FactorsConfig { seed, ..factors };
            let pair = &self.direction.pair;
            let fitted: Box<dyn Fitted> = match config.mapping(seed) {
                Some((mapping, Stands { biases, apart })) => {
                    let [source, target] = &*self.two(factors, biases, apart);
                    Box::new(Mapped::fit(pair, source, target, mapping))
                }
                None if self.metrics.range.is_some() => {
                    let grid = Floor::BiasBridge.grid();
                    let points = points(&grid);
                    let (best, _) = self.best(points.len(), |at| Ok(Floor::BiasBridge.fit(self.direction, &points[at])))?;
                    Box::new(RatingBridge::fit(pair, [points[best][0], points[best][1]], factors, seed))
                }
                None => {
                    let mixture = Mixture::fit(pair, factors, seed);
                    for (shown, shares) in mixture.shares() {
                        let named = shares.iter().take(6).map(|(name, power, share)| format!("{name}^{power} {share:.2}"));
                        let named = named.collect::<Vec<_>>().join(", ");
                        self.lab.progress.say(&format!("{}: {label} with {shown} shown: {named}", self.direction.name));
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
        let observed = if self.metrics.range.is_some() { Observed::Ratings { biases } } else { factors.observed };
        let config = FactorsConfig { observed, ..factors };
        let pair = &self.direction.pair;
        let made = Arc::new(if apart {
            rayon::join(|| Factors::fit(&pair.source, config).0, || Factors::fit(&pair.target, config).0).into()
        } else {
            self.fit_joint(config).split(pair.source.width)
        });
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        made
    }

    /// How domains are factorised: what the factorisation of both serves validation people best with.
    fn factors(&self) -> Result<(FactorsConfig, Vec<Chosen>), ExperimentError> {
        let mut kept = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*kept {
            return Ok(kept.clone());
        }
        let (keys, ratings) = (&self.config.factors, self.metrics.range.is_some());
        let or = |given: &[f64], default: &[f64]| if given.is_empty() { default.to_vec() } else { given.to_vec() };
        let ridges = or(&keys.ridge, if ratings { &[0.03, 0.1, 0.3] } else { &[0.003, 0.01] });
        let grid = if ratings { vec![("ridge", ridges)] } else { vec![("ridge", ridges), ("unobserved", or(&keys.unobserved, &[0.03, 0.1]))] };
        let points = points(&grid);
        let config = |at: usize| FactorsConfig {
            factors: keys.size.unwrap_or(if ratings { 16 } else { 64 }),
            ridge: points[at][0],
            sweeps: keys.sweeps,
            observed: if ratings { Observed::Ratings { biases: true } } else { Observed::Clicks { unobserved: points[at][1] } },
            seed: self.lab.seeds[0],
        };
        let (best, _) = self.best(points.len(), |at| Ok(Box::new(self.fit_joint(config(at))) as Box<dyn Fitted>))?;
        let made = (config(best), chosen(&grid, &points[best]));
        *kept = Some(made.clone());
        Ok(made)
    }

    fn fit_joint(&self, config: FactorsConfig) -> Factors {
        Factors::fit(&joint(&self.direction.pair), config).0
    }

    /// The fit that validation people are best served by; where there is one only, they are not asked.
    fn best(&self, points: usize, fit: impl Fn(usize) -> Result<Box<dyn Fitted>, ExperimentError>) -> Result<(usize, Box<dyn Fitted>), ExperimentError> {
        let questions = self.direction.validation();
        let asked: Vec<&Question<'_>> = questions.iter().collect();
        let mut best: Option<(f64, usize, Box<dyn Fitted>)> = None;
        for at in 0..points {
            self.lab.check_stop()?;
            let fitted = fit(at)?;
            let quality = if points == 1 { 0.0 } else { self.metrics.judge(self.lab, &asked, &self.said(fitted.as_ref(), &questions)[0])? };
            if best.as_ref().is_none_or(|(than, ..)| quality > *than) {
                best = Some((quality, at, fitted));
            }
        }
        let (_, at, fitted) = best.expect("some point");
        Ok((at, fitted))
    }

    /// What a fit says in every setting, or said before.
    fn finished(&self, name: &str, what: &str, fit: impl FnOnce() -> Result<(Box<dyn Fitted>, Vec<Chosen>), ExperimentError>) -> Result<Finished, ExperimentError> {
        let key = digest_text(&format!("{}|{what}|{}|{}|{:?}", env!("CARGO_PKG_VERSION"), self.direction.digest, self.metrics.select, self.lab.measure));
        self.lab.kept(&format!("{}/{name}", self.direction.name), &key, || {
            self.lab.progress.say(&format!("{}: {name}", self.direction.name));
            let began = Instant::now();
            let (fitted, settings) = fit()?;
            let cost = Cost {
                trainable_parameters: Some(fitted.parameters() as u64),
                train_seconds: Some(began.elapsed().as_secs_f64()),
                ..Cost::default()
            };
            let mut predictions = Vec::new();
            for setting in self.direction.settings() {
                let kinds: &[&str] = if self.metrics.range.is_some() { &["rating"] } else { &["full", "sampled"] };
                let said = self.said(fitted.as_ref(), &self.direction.asked(self.lab.measure, &setting));
                for (kind, values) in kinds.iter().zip(said) {
                    predictions.push(Prediction { setting: format!("{}{}|{kind}", self.direction.name, setting.suffix), values, spread: None });
                }
            }
            Ok(Finished { predictions, cost, settings })
        })
    }

    /// Predicted ratings; or ranks among all items, and among the sampled.
    fn said(&self, fitted: &dyn Fitted, questions: &[Question<'_>]) -> [Vec<f32>; 2] {
        let ratings = self.metrics.range.is_some();
        let each = |question: &Question<'_>| -> Vec<[f32; 2]> {
            let mut scores = vec![0.0; self.direction.pair.target.width];
            fitted.score(&question.known(), &mut scores);
            if ratings {
                return question.asked.iter().map(|&item| [scores[item as usize] as f32, 0.0]).collect();
            }
            let is_other = |item: &u32| self.direction.is_candidate[*item as usize] && !question.owns(*item);
            let others: Vec<f64> = (0..scores.len() as u32).filter(is_other).map(|item| scores[item as usize]).collect();
            let rank = |&item: &u32| {
                let own = scores[item as usize];
                let sampled = rank_of(own, question.sampled.iter().map(|&other| scores[other as usize]));
                [rank_of(own, others.iter().copied()) as f32, sampled as f32]
            };
            question.asked.iter().map(rank).collect()
        };
        let said: Vec<Vec<[f32; 2]>> = questions.par_iter().map(each).collect();
        [0, 1].map(|at| said.iter().flatten().map(|pair| pair[at]).collect())
    }
}

/// Every combination of a grid, the last setting changing first; one empty point for a grid without settings.
fn points(grid: &[(&'static str, Vec<f64>)]) -> Vec<Vec<f64>> {
    grid.iter().fold(vec![Vec::new()], |points, (_, values)| {
        points.iter().flat_map(|point| values.iter().map(|&value| [point.clone(), vec![value]].concat())).collect()
    })
}

fn chosen(grid: &[(&'static str, Vec<f64>)], point: &[f64]) -> Vec<Chosen> {
    let each = |((name, from), &value): (&(&'static str, Vec<f64>), &f64)| {
        let is_end = from.len() > 1 && (from.first() == Some(&value) || from.last() == Some(&value));
        // A damping of 0 is none at all: the scale ends there.
        let at_end = is_end && value != 0.0;
        Chosen { setting: (*name).to_owned(), value, from: from.clone(), at_end }
    };
    grid.iter().zip(point).map(each).collect()
}

/// Settings of a direction, by its name where a table holds several.
pub(super) fn told(direction: &Direction, directions: usize, settings: &[Chosen]) -> Vec<Chosen> {
    let named = |chosen: &Chosen| {
        let setting = if directions > 1 { format!("{} {}", direction.name, chosen.setting) } else { chosen.setting.clone() };
        Chosen { setting, ..chosen.clone() }
    };
    settings.iter().map(named).collect()
}

/// Mean parameters and seconds of runs.
pub(super) fn mean(costs: &[Cost]) -> Cost {
    let n = costs.len().max(1) as f64;
    Cost {
        trainable_parameters: costs.iter().map(|c| c.trainable_parameters).sum::<Option<u64>>().map(|sum| (sum as f64 / n).round() as u64),
        train_seconds: costs.iter().map(|c| c.train_seconds).sum::<Option<f64>>().map(|sum| sum / n),
        ..Cost::default()
    }
}
