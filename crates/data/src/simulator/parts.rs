//! Who sees what when, and which part it belongs to.

use std::collections::HashSet;

use super::SimulatorConfig;
use super::world::{DEVICE, World};
use crate::{DomainIndex, ItemIndex, Log, RandomStream, Split, UserIndex};

/// 2024-01-01, and 60 days from there.
const START: i64 = 1_704_067_200;
const SECONDS: f64 = 60.0 * 86_400.0;
/// Source rows before this share of time are training rows.
const TRAIN_UNTIL: f64 = 0.7;
/// Source rows between the two are validation rows.
const VALIDATION_UNTIL: f64 = 0.8;
/// The target domain opens and cold users arrive only now.
pub(super) const TARGET_FROM: f64 = 0.6;
/// Share of the rows after the labelled target rows that is validation.
const TARGET_VALIDATION: f64 = 0.15;

/// A row before its label is drawn.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) user: usize,
    pub(super) item: usize,
    pub(super) domain: usize,
    pub(super) device: usize,
    /// Share of the whole time span, in `[0, 1)`.
    pub(super) time: f64,
    /// Added to the utility.
    pub(super) shift: f64,
    /// Where there are requests: its own, and the surface that is on.
    pub(super) request: usize,
    pub(super) surface: usize,
}

/// Draws a position in proportion to weights.
pub(super) struct Weighted(Vec<f64>);

impl Weighted {
    pub(super) fn new(weights: impl Iterator<Item = f64>) -> Self {
        Self(
            weights
                .scan(0.0, |sum, w| {
                    *sum += w;
                    Some(*sum)
                })
                .collect(),
        )
    }

    pub(super) fn draw(&self, stream: &mut RandomStream) -> usize {
        let total = self.0.last().copied().unwrap_or(0.0);
        let at = stream.unit() * total;
        self.0.partition_point(|&sum| sum <= at).min(self.0.len() - 1)
    }
}

/// Rows in time order; the last `cold_users` users are cold.
pub(super) fn draw_rows(config: &SimulatorConfig, world: &World, stream: &mut RandomStream) -> Vec<Draft> {
    if let Some(requests) = config.requests {
        return requests.draw_rows(config, world, stream);
    }
    let warm = config.users - config.cold_users;
    let sources = config.domains - 1;
    let active = Weighted::new(world.users[..warm].iter().map(|u| u.activity));
    let popular = Weighted::new(world.items.iter().map(|i| i.popularity));
    let mut seen: HashSet<(usize, usize)> = HashSet::with_capacity(config.rows);
    let mut drafts = Vec::with_capacity(config.rows);
    while drafts.len() < config.rows {
        let cold = drafts.len() < config.cold_users * config.cold_rows;
        let user = if cold { warm + drafts.len() / config.cold_rows } else { active.draw(stream) };
        let item = popular.draw(stream);
        if seen.contains(&(user, item)) {
            continue;
        }
        let target = !cold && stream.unit() < config.target_share;
        let domain = if target { sources } else { stream.position(sources) };
        let from = if target || cold { TARGET_FROM } else { 0.0 };
        let device = stream.position(DEVICE.len());
        let time = from + (1.0 - from) * stream.unit();
        let draft = Draft { user, item, domain, device, time, shift: 0.0, request: 0, surface: 0 };
        let Some(draft) = config.shift.map_or(Some(draft.clone()), |shift| shift.applied(world, draft, stream)) else { continue };
        seen.insert((user, item));
        drafts.push(draft);
    }
    drafts.sort_by(|a, b| a.time.total_cmp(&b.time));
    drafts
}

pub(super) fn log(drafts: &[Draft], label: Vec<f32>, has_requests: bool) -> Log {
    Log {
        user: drafts.iter().map(|d| UserIndex(d.user as u32)).collect(),
        item: drafts.iter().map(|d| ItemIndex(d.item as u32)).collect(),
        domain: drafts.iter().map(|d| DomainIndex(d.domain as u32)).collect(),
        time: drafts.iter().map(|d| (START + (d.time * SECONDS) as i64) * crate::MICROS_PER_SECOND).collect(),
        label,
        request: if has_requests { drafts.iter().map(|d| d.request as u32).collect() } else { Vec::new() },
    }
}

pub(super) fn split(config: &SimulatorConfig, drafts: &[Draft]) -> Split {
    let warm = config.users - config.cold_users;
    let choosing = config.users - config.cold_users / 3;
    let target: Vec<u32> = (0..drafts.len() as u32).filter(|&r| drafts[r as usize].domain == config.domains - 1).collect();
    let (labelled, rest) = target.split_at(config.target_rows.min(target.len()));
    let (validation, test) = rest.split_at((rest.len() as f64 * TARGET_VALIDATION) as usize);
    let source = |keep: &dyn Fn(&Draft) -> bool| -> Vec<u32> {
        (0..drafts.len() as u32).filter(|&r| drafts[r as usize].domain + 1 < config.domains && keep(&drafts[r as usize])).collect()
    };
    let parts = [
        ("train", source(&|d| d.user < warm && d.time < TRAIN_UNTIL)),
        ("validation", source(&|d| d.user < warm && (TRAIN_UNTIL..VALIDATION_UNTIL).contains(&d.time))),
        ("test", source(&|d| d.user < warm && d.time >= VALIDATION_UNTIL)),
        ("target_train", labelled.to_vec()),
        ("target_validation", validation.to_vec()),
        ("target_test", test.to_vec()),
        ("cold_validation", source(&|d| d.user >= choosing)),
        ("cold_test", source(&|d| (warm..choosing).contains(&d.user))),
    ];
    Split::new(drafts.len(), parts.map(|(name, rows)| (name.to_owned(), rows)).to_vec()).expect("the simulator's parts are disjoint")
}
