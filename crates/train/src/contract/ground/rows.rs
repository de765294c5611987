//! Labelled rows of the simulator.

use std::borrow::Cow;
use std::sync::Arc;

use acclimate_adapt::Groups;
use acclimate_data::{Bag, Batch, Dataset, Lists, Owner, Side, Simulation, SimulatorConfig, Task, TasksOf};
use acclimate_model::Objective;

use super::{Judged, Material, ROWS, SEED};
use crate::RowPreparation;
use crate::feed::{Feeding, SupportSize};

/// Tasks in a training batch.
const TASKS: usize = 16;
/// Entries of a user's list of clicked items.
const CLICKED: usize = 4;

/// The simulator's source domains and its shifted target domain. Methods that adapt to a support set are trained on tasks of users there. With a name for it there
/// is one more feature, for networks that weigh the entries of a list: the items that the user clicked in the sources.
pub(super) fn simulate(clicked: Option<&str>) -> Material {
    let Simulation { mut dataset, split, .. } = simulation();
    Arc::make_mut(&mut dataset.log).request = requests(&dataset);
    let part = |name: &str| split.rows(name).expect("a part of the simulator's split").to_vec();
    let (sources, target, later) = (part("train"), part("target_train"), part("target_test"));
    if let Some(name) = clicked {
        dataset.features.bags.push(Arc::new(clicked_items(&dataset, name, &sources)));
    }
    let everywhere = [sources.as_slice(), &target].concat();
    let groups = |tasks: &[Task]| {
        let (support, query): (Vec<_>, Vec<_>) = tasks.iter().map(|t| (&t.support, &t.query)).unzip();
        Feeding { query: Batch::gather(&dataset, &query), support: Some(Batch::gather(&dataset, &support)) }
    };
    // Later rows of the target, some users (or new items) in a group each, and groups of several domains; rows of one group share user (or item) and domain.
    let judged = |of: Groups| {
        let [later, of_sources] = [&later, &everywhere].map(|rows| tasks(of, Half::Judged, &dataset, rows));
        let picked = of_sources.iter().step_by((of_sources.len() / 5).max(1)).take(5).chain(later.iter().take(3));
        (later.chunks(64).map(groups).collect(), groups(&picked.cloned().collect::<Vec<_>>()))
    };
    let [(held_out, probe), (of_items, probe_of_items)] = [Groups::User, Groups::Item].map(judged);
    let (held_out, probe) = ([held_out, of_items], Box::new([probe, probe_of_items]));
    let rows_of = |tasks: &[Task]| tasks.iter().flat_map(|t| [t.support.as_slice(), &t.query].concat()).collect();
    let few = |of: Groups| rows_of(&tasks(of, Half::Trained, &dataset, &target)[..40]);
    let few = [target[..300].to_vec(), few(Groups::User), few(Groups::Item)];
    // The target is a domain that the base does not know.
    let mut schema = dataset.schema();
    schema.domains.pop();
    let preparation = |size| {
        let plain = RowPreparation::new(Cow::Owned(dataset.clone()), Objective::Logistic);
        Box::new(plain.with_tasks(Box::new(|of, dataset, rows| tasks(of, Half::Trained, dataset, rows)), size))
    };
    Material {
        objective: Objective::Logistic,
        few_sources: sources[..300].to_vec(),
        preparation: preparation(SupportSize::Full),
        varied: preparation(SupportSize::Random),
        sources,
        target,
        everywhere,
        few,
        batch: [[ROWS, 40], [TASKS, 6]],
        schema,
        judged: Judged::Batches { held_out, probe },
    }
}

/// What a user sees in a domain, eight rows at a time.
fn requests(dataset: &Dataset) -> Vec<u32> {
    let mut seen = std::collections::HashMap::new();
    let mut next = 0;
    let mut of_row = |row: usize| {
        let (rows, request) = seen.entry((dataset.log.user[row], dataset.log.domain[row])).or_insert((0, 0));
        if *rows % 8 == 0 {
            (*request, next) = (next, next + 1);
        }
        *rows += 1;
        *request
    };
    (0..dataset.log.len()).map(&mut of_row).collect()
}

/// Codes of the first few items that each user clicked in some rows.
fn clicked_items(dataset: &Dataset, name: &str, rows: &[u32]) -> Bag {
    let item = dataset.features.categorical.iter().find(|feature| feature.name == "item_id").expect("the simulator gives items");
    let mut lists: Vec<Vec<u32>> = vec![Vec::new(); dataset.users.len()];
    for &row in rows {
        let row = row as usize;
        let (list, code) = (&mut lists[dataset.log.user[row].at()], item.codes[dataset.log.item[row].at()]);
        if dataset.log.label[row] > 0.0 && code != 0 && list.len() < CLICKED {
            list.push(code);
        }
    }
    let ends = lists.iter().scan(0, |end, list| {
        *end += list.len() as u32;
        Some(*end)
    });
    let lists = Lists::Own { offsets: std::iter::once(0).chain(ends).collect(), codes: lists.concat() };
    Bag { name: name.into(), side: Side::User, vocabulary: item.vocabulary, lists }
}

/// Small, and half of it in the target.
fn simulation() -> Simulation {
    let config = SimulatorConfig {
        users: 200,
        items: 200,
        domains: 3,
        rows: 8000,
        cold_users: 20,
        cold_rows: 20,
        target_share: 0.5,
        target_rows: 2500,
        ..SimulatorConfig::default()
    };
    config.simulate(SEED).expect("the settings fit together")
}

/// What tasks are for. An item is trained on or judges, by its index, so that items are new where they judge; users do both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Trained,
    Judged,
}

impl Half {
    fn has(self, owner: Owner) -> bool {
        match owner {
            Owner::User(_) => true,
            Owner::Item(item) => (item.0 % 2 == 1) == (self == Self::Judged),
        }
    }
}

/// A task for each user (or item of this half) and domain with at least four of the rows; the first half of them, rounded up, is support.
fn tasks(of: Groups, half: Half, dataset: &Dataset, rows: &[u32]) -> Vec<Task> {
    let of = if of == Groups::Item { TasksOf::Items } else { TasksOf::Users };
    let key = |row: u32| (dataset.log.domain[row as usize], of.of_row(&dataset.log, row));
    let mut rows = rows.to_vec();
    rows.sort_by_key(|&row| (key(row), row));
    let groups = rows.chunk_by(|&a, &b| key(a) == key(b)).filter(|rows| rows.len() >= 4);
    groups
        .map(|rows| {
            let (support, query) = rows.split_at(rows.len().div_ceil(2));
            Task { owner: of.owner(of.of_row(&dataset.log, rows[0])), support: support.to_vec(), query: query.to_vec() }
        })
        .filter(|task| half.has(task.owner))
        .collect()
}
