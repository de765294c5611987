//! Rows that are shown together, on a surface that no row names: what stands beside a row tells where it stands.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::SimulatorConfig;
use super::parts::{Draft, TARGET_FROM, Weighted};
use super::world::{DEVICE, World};
use crate::RandomStream;

/// Requests of several rows, each on one of two surfaces.
///
/// A surface prefers items of one side, and on it the utility of an item is higher or lower by `±size (1 + v_1) / 2`, v_1 the second number of the item's character. Which surface it is
/// hardly shows in one row and nearly always in ten. The feature `surface` names it, for networks that are to know; without it the best answer is a function of the row *and its request's set*.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Rows of a request; default 10.
    #[serde(default = "ten")]
    pub rows: usize,
    /// By how much a surface moves the utility, in logits; default 1.5.
    #[serde(default = "one_and_a_half")]
    pub size: f64,
    /// How strongly a surface prefers items of its side: the logit of being shown is this times the first number of the item's character; default 1.5. With 0 a set says nothing.
    #[serde(default = "one_and_a_half")]
    pub preference: f64,
}

fn ten() -> usize {
    10
}

fn one_and_a_half() -> f64 {
    1.5
}

impl Requests {
    /// Rows in time order, with the number of their request; the last `cold_users` users are cold, and a request never has two users.
    pub(super) fn draw_rows(self, config: &SimulatorConfig, world: &World, stream: &mut RandomStream) -> Vec<Draft> {
        let warm = config.users - config.cold_users;
        let sources = config.domains - 1;
        let active = Weighted::new(world.users[..warm].iter().map(|u| u.activity));
        let popular = Weighted::new(world.items.iter().map(|i| i.popularity));
        let mut seen: HashSet<(usize, usize)> = HashSet::with_capacity(config.rows);
        let mut drafts: Vec<Draft> = Vec::with_capacity(config.rows);
        let cold_rows = config.cold_users * config.cold_rows;
        let mut request = 0;
        while drafts.len() < config.rows {
            let (cold, begin) = (drafts.len() < cold_rows, drafts.len());
            let user = if cold { warm + begin / config.cold_rows } else { active.draw(stream) };
            // What is left of a cold user's rows, or of all.
            let left = if cold { config.cold_rows - begin % config.cold_rows } else { config.rows - begin };
            let target = !cold && stream.unit() < config.target_share;
            let domain = if target { sources } else { stream.position(sources) };
            let from = if target || cold { TARGET_FROM } else { 0.0 };
            let device = stream.position(DEVICE.len());
            let time = from + (1.0 - from) * stream.unit();
            let surface = stream.position(2);
            let sign = surface as f64 * 2.0 - 1.0;
            // A user who has seen nearly all of a surface's items gets a shorter request.
            for _ in 0..100 * self.rows {
                if drafts.len() - begin == self.rows.min(left) {
                    break;
                }
                let item = popular.draw(stream);
                let character = &world.items[item].character;
                let shown = stream.unit() < 1.0 / (1.0 + (-sign * self.preference * character[0]).exp());
                if !shown || !seen.insert((user, item)) {
                    continue;
                }
                let shift = sign * self.size * (1.0 + character[1 % character.len()]) / 2.0;
                drafts.push(Draft { user, item, domain, device, time, shift, request, surface });
            }
            request += 1;
        }
        drafts.sort_by(|a, b| a.time.total_cmp(&b.time));
        drafts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Simulation;

    fn simulated(preference: f64) -> Simulation {
        let requests = Requests { rows: 10, size: 1.5, preference };
        let config = SimulatorConfig {
            requests: Some(requests),
            users: 2000,
            rows: 40_000,
            cold_users: 30,
            domains: 2,
            target_share: 0.0,
            ..SimulatorConfig::default()
        };
        config.simulate(5).unwrap()
    }

    /// How often the side on which most of a request's items lie is that of its surface, by a number that rows show.
    fn told_by_its_set(simulation: &Simulation) -> f64 {
        let dataset = &simulation.dataset;
        let number = dataset.features.numeric.iter().find(|n| n.name == "item_trait_0").unwrap();
        let surface = dataset.features.categorical.iter().find(|c| c.name == "surface").unwrap();
        let names = &dataset.features.vocabularies[surface.vocabulary.0 as usize];
        let requests = *dataset.log.request.iter().max().unwrap() as usize + 1;
        let (mut sums, mut of) = (vec![0.0; requests], vec![0; requests]);
        for row in 0..dataset.log.len() {
            let request = dataset.log.request[row] as usize;
            sums[request] += number.values[dataset.log.item[row].at()];
            of[request] = usize::from(surface.codes[row] == names.row("surface_1"));
        }
        let right = sums.iter().zip(of).filter(|&(&sum, surface)| (sum > 0.0) == (surface == 1)).count();
        right as f64 / requests as f64
    }

    #[test]
    fn a_set_tells_the_surface_where_surfaces_prefer() {
        let (told, silent) = (told_by_its_set(&simulated(1.5)), told_by_its_set(&simulated(0.0)));
        assert!(told > 0.85, "{told}");
        assert!((silent - 0.5).abs() < 0.05, "{silent}");
    }

    #[test]
    fn a_request_has_one_user_one_moment_and_the_rows_it_may() {
        let simulation = simulated(1.5);
        let log = &simulation.dataset.log;
        let mut rows = std::collections::BTreeMap::<u32, Vec<usize>>::new();
        (0..log.len()).for_each(|row| rows.entry(log.request[row]).or_default().push(row));
        assert!(rows.values().all(|rows| rows.len() <= 10));
        assert!(rows.values().all(|rows| rows.iter().all(|&row| (log.user[row], log.time[row]) == (log.user[rows[0]], log.time[rows[0]]))));
        assert!(rows.values().filter(|rows| rows.len() == 10).count() * 10 > rows.len() * 8);
        // Labels are those of the truth that is kept.
        let clicks = log.label.iter().map(|&y| f64::from(y)).sum::<f64>() / log.len() as f64;
        let truth = simulation.probability.iter().map(|&p| f64::from(p)).sum::<f64>() / log.len() as f64;
        assert!((clicks - truth).abs() < 0.01);
    }
}
