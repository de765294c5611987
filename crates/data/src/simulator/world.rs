//! The latent truth: tastes, characters, domains.

use super::SimulatorConfig;
use super::parts::Draft;
use crate::RandomStream;

pub(super) const SEGMENTS: usize = 8;
pub(super) const CATEGORIES: usize = 12;
/// Effect of each device, in logits.
pub(super) const DEVICE: [f64; 3] = [-0.3, 0.0, 0.3];
/// Standard deviation of a user's own click propensity, in logits.
const USER_BIAS: f64 = 0.5;
/// Length of a domain's common taste, in logits.
const COMMON: f64 = 0.7;
/// Share of an item's character that its category explains.
const CATEGORY_SHARE: f64 = 0.6;
/// Each taste is this much weaker than the one before: a few strong tastes, which some support rows can reveal.
const DECAY: f64 = 0.75;

#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) segment: usize,
    /// z, with the spectrum of tastes in it.
    pub(super) taste: Vec<f64>,
    pub(super) bias: f64,
    /// Weight in the draw of warm rows.
    pub(super) activity: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) category: usize,
    /// v, unit variance in each dimension.
    pub(super) character: Vec<f64>,
    /// Weight in the draw of rows.
    pub(super) popularity: f64,
}

#[derive(Clone, Debug)]
pub(super) struct Place {
    base: f64,
    /// M, row-major.
    map: Vec<f64>,
    /// g.
    common: Vec<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) users: Vec<Person>,
    pub(super) items: Vec<Thing>,
    pub(super) domains: Vec<Place>,
    /// drift * delta.
    drift: Vec<f64>,
}

impl World {
    pub(super) fn draw(config: &SimulatorConfig, stream: &mut RandomStream) -> Self {
        let d = config.dimension;
        let spectrum = spectrum(d, config.taste);
        let segments = draw_centres(SEGMENTS, d, stream);
        let categories = draw_centres(CATEGORIES, d, stream);
        let users = (0..config.users)
            .map(|_| {
                let segment = stream.position(SEGMENTS);
                let mut taste = blend(&segments[segment], config.segment_share, stream);
                taste.iter_mut().zip(&spectrum).for_each(|(z, s)| *z *= s);
                Person { segment, taste, bias: USER_BIAS * stream.normal(), activity: (0.8 * stream.normal()).exp() }
            })
            .collect();
        let items = (0..config.items)
            .map(|_| {
                let category = stream.position(CATEGORIES);
                let character = blend(&categories[category], CATEGORY_SHARE, stream);
                Thing { category, character, popularity: (0.7 * stream.normal()).exp() }
            })
            .collect();
        let common = scaled(&normals(d, stream), COMMON);
        let domains = (0..config.domains).map(|k| place(config, k, &common, stream)).collect();
        let drift = scaled(&normals(d, stream), config.drift);
        Self { users, items, domains, drift }
    }

    /// True click probability of a row, had it happened in `domain`.
    pub(super) fn probability(&self, row: &Draft, domain: usize) -> f64 {
        let (user, item, place) = (&self.users[row.user], &self.items[row.item], &self.domains[domain]);
        let d = user.taste.len();
        let liking = (0..d)
            .map(|j| {
                let personal: f64 = place.map[j * d..(j + 1) * d].iter().zip(&user.taste).map(|(m, z)| m * z).sum();
                (personal + place.common[j] + row.time * self.drift[j]) * item.character[j]
            })
            .sum::<f64>();
        1.0 / (1.0 + (-(place.base + user.bias + DEVICE[row.device] + liking + row.shift)).exp())
    }
}

fn place(config: &SimulatorConfig, k: usize, common: &[f64], stream: &mut RandomStream) -> Place {
    let d = config.dimension;
    let own = scaled(&normals(d, stream), COMMON);
    if k + 1 < config.domains {
        // Sources resemble each other: a slight turn of taste, a fifth of a common taste of their own, base rates apart.
        let common = common.iter().zip(&own).map(|(c, o)| c + 0.2 * o).collect();
        let map = turned(&vec![1.0; d], 0.15 * (k as f64 - 1.0));
        return Place { base: -0.9 + 0.5 * (k % 3) as f64, map, common };
    }
    let shift = config.taste_shift;
    // Every second taste is reversed, the others are stronger.
    let weights: Vec<f64> = (0..d).map(|j| if j % 2 == 1 { 1.0 - 1.8 * shift } else { 1.0 + 0.1 * shift }).collect();
    let common = common.iter().zip(&own).map(|(c, o)| (1.0 - shift).max(0.0) * c + shift * o).collect();
    Place { base: 0.6 * shift - 0.4, map: turned(&weights, 0.3 * shift), common }
}

/// `diag(weights)` after a rotation by `angle` in each plane of two neighbouring dimensions; row-major.
fn turned(weights: &[f64], angle: f64) -> Vec<f64> {
    let d = weights.len();
    let mut map = vec![0.0; d * d];
    for j in 0..d {
        let partner = j ^ 1;
        if partner >= d {
            map[j * d + j] = weights[j];
        } else {
            map[j * d + j] = weights[j] * angle.cos();
            map[j * d + partner] = weights[j] * angle.sin() * if j < partner { -1.0 } else { 1.0 };
        }
    }
    map
}

/// Standard deviation of each taste: geometric, with squares that sum to `total^2`.
fn spectrum(d: usize, total: f64) -> Vec<f64> {
    let raw: Vec<f64> = (0..d).map(|j| DECAY.powi(j as i32)).collect();
    scaled(&raw, total)
}

fn scaled(values: &[f64], length: f64) -> Vec<f64> {
    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    values.iter().map(|v| v * length / norm).collect()
}

fn normals(n: usize, stream: &mut RandomStream) -> Vec<f64> {
    (0..n).map(|_| stream.normal()).collect()
}

/// Centres with mean 0 and variance 1 in each dimension, so that few of them still explain the share they are meant to.
fn draw_centres(n: usize, d: usize, stream: &mut RandomStream) -> Vec<Vec<f64>> {
    let mut centres: Vec<Vec<f64>> = (0..n).map(|_| normals(d, stream)).collect();
    for j in 0..d {
        let mean = centres.iter().map(|c| c[j]).sum::<f64>() / n as f64;
        let variance = centres.iter().map(|c| (c[j] - mean).powi(2)).sum::<f64>() / n as f64;
        centres.iter_mut().for_each(|c| c[j] = (c[j] - mean) / variance.sqrt());
    }
    centres
}

fn blend(centre: &[f64], share: f64, stream: &mut RandomStream) -> Vec<f64> {
    centre.iter().map(|c| share.sqrt() * c + (1.0 - share).sqrt() * stream.normal()).collect()
}
