//! What features say of users, by which minor and major users are told apart.

use std::collections::{BTreeSet, HashMap};

use acclimate_data::{Categorical, Dataset, Side, TasksOf};

use super::ColdStart;
use crate::{ExperimentError, Lab};

/// What features say of users, and how many training users have the same.
pub(super) struct Profiles<'a> {
    features: Vec<&'a Categorical>,
    counts: HashMap<Vec<u32>, usize>,
}

impl<'a> Profiles<'a> {
    /// Counts the users of some rows.
    fn new(features: Vec<&'a Categorical>, dataset: &Dataset, rows: &[u32]) -> Self {
        let users: BTreeSet<usize> = rows.iter().map(|&row| dataset.log.user[row as usize].at()).collect();
        let mut profiles = Self { features, counts: HashMap::new() };
        for user in users {
            *profiles.counts.entry(profiles.of(user)).or_default() += 1;
        }
        profiles
    }

    fn of(&self, user: usize) -> Vec<u32> {
        self.features.iter().map(|feature| feature.codes[user]).collect()
    }

    /// How many of them have the profile of a user.
    pub(super) fn alike(&self, user: usize) -> usize {
        self.counts.get(&self.of(user)).copied().unwrap_or(0)
    }
}

impl ColdStart {
    /// The profiles of training users, where users are to be told apart by them.
    pub(super) fn profiles<'a>(&self, lab: &Lab<'_>, dataset: &'a Dataset, train: &[u32]) -> Result<Option<Profiles<'a>>, ExperimentError> {
        if self.by_profile.is_empty() {
            return Ok(None);
        }
        let problem = |problem: String| lab.experiment.problem("[scenario] by_profile", problem);
        if self.tasks.of == TasksOf::Items {
            return Err(problem("tells users apart, but tasks are items; remove it, or set `tasks.of = \"users\"`".into()));
        }
        let of_users = || dataset.features.categorical.iter().map(AsRef::as_ref).filter(|feature| feature.side == Side::User);
        let find = |name: &String| {
            let unknown = || problem(format!("names no categorical feature `{name}` of users; there are {}", of_users().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ")));
            of_users().find(|feature| feature.name == *name).ok_or_else(unknown)
        };
        let features = self.by_profile.iter().map(find).collect::<Result<_, _>>()?;
        Ok(Some(Profiles::new(features, dataset, train)))
    }

}
