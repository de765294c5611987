//! What a model may see of the truth: ids, noisy classes, tags and numbers.

use std::sync::Arc;

use super::SimulatorConfig;
use super::parts::Draft;
use super::world::World;
use crate::{Bag, Categorical, Features, Lists, Numeric, RandomStream, Side, Vocabulary, VocabularyIndex};

/// Users with fewer training rows share row 0, so that the row of cold users is trained.
const MIN_USER_ROWS: usize = 3;
const TAGS: usize = 24;
const MAX_TAGS: usize = 4;
/// Noise of a user's numeric feature or band, relative to what it shows: people are hard to see.
const USER_NOISE: f64 = 1.0;
/// The same of an item: its description says most.
const ITEM_NOISE: f64 = 0.6;
/// Chance that a segment or category is recorded wrongly.
const MISTAKE: f64 = 0.05;

struct Encoder<'a> {
    features: Features,
    drafts: &'a [Draft],
    train: &'a [u32],
}

/// All features, with vocabularies and scales from the rows of `train`.
pub(super) fn encode(config: &SimulatorConfig, world: &World, drafts: &[Draft], train: &[u32], stream: &mut RandomStream) -> Features {
    let segment = classes(world.users.iter().map(|u| u.segment), super::world::SEGMENTS, stream);
    let category = classes(world.items.iter().map(|i| i.category), super::world::CATEGORIES, stream);
    let age = bands(world.users.iter().map(|u| u.taste[1 % config.dimension]), USER_NOISE, stream);
    let brand = bands(world.items.iter().map(|i| i.character[1 % config.dimension]), ITEM_NOISE, stream);
    let tags = draw_tags(config, world, stream);

    let mut out = Encoder { features: Features::default(), drafts, train };
    let ids = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    out.categorical("user_id", Side::User, &ids("u", config.users), MIN_USER_ROWS);
    out.categorical("item_id", Side::Item, &ids("i", config.items), 1);
    out.categorical("segment", Side::User, &named("segment_", &segment), 1);
    out.categorical("age_band", Side::User, &named("age_", &age), 1);
    out.categorical("category", Side::Item, &named("category_", &category), 1);
    out.categorical("brand", Side::Item, &named("brand_", &brand), 1);
    out.categorical("device", Side::Row, &named("device_", &drafts.iter().map(|d| d.device).collect::<Vec<_>>()), 1);
    out.categorical("domain", Side::Row, &named("domain_", &drafts.iter().map(|d| d.domain).collect::<Vec<_>>()), 1);
    if config.requests.is_some() {
        out.categorical("surface", Side::Row, &named("surface_", &drafts.iter().map(|d| d.surface).collect::<Vec<_>>()), 1);
    }
    out.bag("tags", &tags);
    for j in [0, 2].map(|j| j % config.dimension) {
        out.numeric(&format!("user_trait_{j}"), Side::User, &noisy(world.users.iter().map(|u| u.taste[j]), USER_NOISE, stream));
    }
    for j in 0..config.dimension.min(4) {
        out.numeric(&format!("item_trait_{j}"), Side::Item, &noisy(world.items.iter().map(|i| i.character[j]), ITEM_NOISE, stream));
    }
    out.features
}

impl Encoder<'_> {
    fn owner(&self, side: Side, row: u32) -> usize {
        match side {
            Side::Row => row as usize,
            Side::User => self.drafts[row as usize].user,
            Side::Item => self.drafts[row as usize].item,
        }
    }

    /// Values that occur in at least `min_rows` training rows, in the order of first occurrence.
    fn categorical(&mut self, name: &str, side: Side, values: &[String], min_rows: usize) {
        let mut count = std::collections::HashMap::new();
        for &row in self.train {
            *count.entry(values[self.owner(side, row)].as_str()).or_insert(0usize) += 1;
        }
        let known = self.train.iter().map(|&row| &values[self.owner(side, row)]).filter(|value| count[value.as_str()] >= min_rows);
        let vocabulary = Vocabulary::new(name, known.cloned());
        let codes = values.iter().map(|value| vocabulary.row(value)).collect();
        let index = VocabularyIndex(self.features.vocabularies.len() as u32);
        Arc::make_mut(&mut self.features.vocabularies).push(vocabulary);
        self.features.categorical.push(Arc::new(Categorical { name: name.into(), side, vocabulary: index, codes }));
    }

    /// Several values per item.
    fn bag(&mut self, name: &str, values: &[Vec<String>]) {
        let known = self.train.iter().flat_map(|&row| &values[self.owner(Side::Item, row)]);
        let vocabulary = Vocabulary::new(name, known.cloned());
        let (mut offsets, mut codes) = (vec![0], Vec::new());
        for list in values {
            codes.extend(list.iter().map(|value| vocabulary.row(value)).filter(|&code| code != 0));
            offsets.push(codes.len() as u32);
        }
        let index = VocabularyIndex(self.features.vocabularies.len() as u32);
        Arc::make_mut(&mut self.features.vocabularies).push(vocabulary);
        self.features.bags.push(Arc::new(Bag {
            name: name.into(),
            side: Side::Item,
            vocabulary: index,
            lists: Lists::Own { offsets, codes },
        }));
    }

    /// Scaled to mean 0 and variance 1 over the training rows.
    fn numeric(&mut self, name: &str, side: Side, values: &[f64]) {
        let n = self.train.len().max(1) as f64;
        let at = |&row: &u32| values[self.owner(side, row)];
        let mean = self.train.iter().map(at).sum::<f64>() / n;
        let variance = self.train.iter().map(|row| (at(row) - mean).powi(2)).sum::<f64>() / n;
        let scale = if variance > 0.0 { variance.sqrt() } else { 1.0 };
        let values = values.iter().map(|v| ((v - mean) / scale) as f32).collect();
        self.features.numeric.push(Arc::new(Numeric { name: name.into(), side, values, unknown: 0.0 }));
    }
}

fn named(prefix: &str, values: &[usize]) -> Vec<String> {
    values.iter().map(|v| format!("{prefix}{v}")).collect()
}

fn classes(truth: impl Iterator<Item = usize>, n: usize, stream: &mut RandomStream) -> Vec<usize> {
    truth.map(|class| if stream.unit() < MISTAKE { stream.position(n) } else { class }).collect()
}

fn noisy(truth: impl Iterator<Item = f64>, noise: f64, stream: &mut RandomStream) -> Vec<f64> {
    let truth: Vec<f64> = truth.collect();
    let spread = (truth.iter().map(|x| x * x).sum::<f64>() / truth.len().max(1) as f64).sqrt();
    truth.iter().map(|x| x + noise * spread * stream.normal()).collect()
}

/// Five equally wide bands of a noisy view.
fn bands(truth: impl Iterator<Item = f64>, noise: f64, stream: &mut RandomStream) -> Vec<usize> {
    let seen = noisy(truth, noise, stream);
    let spread = (seen.iter().map(|x| x * x).sum::<f64>() / seen.len().max(1) as f64).sqrt().max(f64::MIN_POSITIVE);
    seen.iter().map(|x| (x / spread + 2.5).clamp(0.0, 4.0) as usize).collect()
}

/// Tags point in random directions; an item carries those that its character is closest to, by chance in proportion to `exp(direction . v)`.
fn draw_tags(config: &SimulatorConfig, world: &World, stream: &mut RandomStream) -> Vec<Vec<String>> {
    let d = config.dimension;
    let directions: Vec<f64> = (0..TAGS * d).map(|_| stream.normal() / (d as f64).sqrt() * 1.5).collect();
    world
        .items
        .iter()
        .map(|item| {
            // The largest of score + Gumbel noise are a draw without replacement.
            let mut scored: Vec<(f64, usize)> = directions
                .chunks(d)
                .enumerate()
                .map(|(tag, way)| {
                    let score: f64 = way.iter().zip(&item.character).map(|(a, b)| a * b).sum();
                    (score - (-(1.0 - stream.unit()).ln()).ln(), tag)
                })
                .collect();
            scored.sort_by(|a, b| b.0.total_cmp(&a.0));
            scored[..1 + stream.position(MAX_TAGS)].iter().map(|(_, tag)| format!("tag_{tag}")).collect()
        })
        .collect()
}
