//! Heads of many users, solved for beforehand.

use std::collections::BTreeMap;

use acclimate_adapt::Patch;
use acclimate_data::{Batch, Dataset};
use acclimate_plan::{BagColumn, Rows, Scratch};
use acclimate_serve::engine::{Change, Support, user_key};
use acclimate_serve::layout::Layout;

use super::loader::PublishedLoader;
use crate::ExperimentError;
use crate::open::{ALL, OpenBase};

/// A head for each user: keys, ascending, and `[w; b]` of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heads {
    /// Keys of users.
    pub keys: Vec<u64>,
    /// `[N, d + 1]`.
    pub values: Vec<f32>,
    /// Users for whom the patch is not applied: they have too few rows for it.
    pub without: usize,
}

/// The heads that a patch gives the users of an open base from their latest training rows, at most so many of each.
///
/// # Errors
/// The patch changes more of a user's network than the head, or can not be applied.
pub fn heads(open: &OpenBase, patch: &Patch, history: usize) -> Result<Heads, ExperimentError> {
    let wrong = |problem: String| ExperimentError::Artifact { path: "the patch".into(), problem };
    let opened = open.knowing(patch)?;
    let (saved, source) = opened.as_ref().map_or((&open.saved, &open.source), |opened| (&opened.saved, &opened.source));
    let dataset = &source.dataset;
    let loader = PublishedLoader::default();
    let (own, _) = loader.open(saved.base.clone(), saved.base.hash(), saved.encoder.clone()).map_err(|error| wrong(error.to_string()))?;
    let model = loader.model(&own, patch, None).map_err(|error| wrong(error.to_string()))?;
    let layout = Layout::of(&saved.encoder);
    let part = if open.has_parts() { "train" } else { ALL };
    let mut of_users: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for row in dataset.latest_rows(&source.part(part)?, history) {
        of_users.entry(dataset.log.user[row as usize].0).or_default().push(row);
    }
    let (mut found, mut heads, mut scratch) = (BTreeMap::new(), Heads::default(), Scratch::default());
    for (user, rows) in of_users {
        if !model.applies(rows.len()) {
            heads.without += 1;
            continue;
        }
        let adapted =
            model.adapt(&mut scratch, support(dataset, &layout, &rows), &mut |_| true).map_err(|error| wrong(error.to_string()))?;
        let head = match adapted.change {
            Change::Personal(personal) if personal.layers.iter().all(Option::is_none) && personal.scales.iter().all(Option::is_none) => {
                personal.head
            }
            _ => None,
        };
        let head = head.ok_or_else(|| {
            wrong("changes more than the head of a user, and heads are all that is kept; use `bayes_head` or `anil`".into())
        })?;
        let name = &dataset.users[user as usize];
        if found.insert(user_key(name), head.weight.iter().chain(head.bias.iter()).copied().collect::<Vec<f32>>()).is_some() {
            return Err(wrong(format!("the key of user `{name}` is another's as well; publish without one of them")));
        }
    }
    heads.keys = found.keys().copied().collect();
    heads.values = found.into_values().flatten().collect();
    Ok(heads)
}

fn support(dataset: &Dataset, layout: &Layout, rows: &[u32]) -> Support {
    let one = |&row: &u32| -> Rows {
        let batch = Batch::single(dataset, &[row]);
        let bags: Vec<BagColumn> = batch.bags.into_iter().map(|bag| BagColumn { offsets: bag.offsets, codes: bag.codes }).collect();
        layout.rows(1, &batch.categorical, &batch.numeric, &bags)
    };
    let unit = dataset.label.unit();
    Support {
        rows: rows.iter().map(one).collect(),
        domains: rows.iter().map(|&row| dataset.log.domain[row as usize].0).collect(),
        labels: rows.iter().map(|&row| dataset.log.label[row as usize] / unit).collect(),
    }
}
