//! What is measured: support and query rows of each task, and users with little and with much of something apart.

use acclimate_data::{Dataset, Task};

use crate::ExperimentError;
use crate::source::{digest, digest_text};
use crate::state::of_tasks;

/// One setting: support and query rows of each task.
pub(super) struct Setting {
    pub(super) name: String,
    /// The data as its tasks know it; none where features do not depend on that.
    pub(super) dataset: Option<Dataset>,
    pub(super) tasks: Vec<(Vec<u32>, Vec<u32>)>,
    /// Whether it is a point of a curve.
    pub(super) is_curve: bool,
}

/// Users of a setting with little of something, or with much.
pub(super) struct Half {
    pub(super) setting: String,
    /// Places among the query rows of the setting.
    pub(super) places: Vec<usize>,
}

/// The users of a setting up to the median of a number, and those above it.
struct Halves {
    median: usize,
    users: [usize; 2],
    places: [Vec<usize>; 2],
}

impl Setting {
    /// Users with as many support rows as the median or fewer, and those with more; empty where all have alike, with one sentence on how they are told apart.
    pub(super) fn halves(&self) -> (Vec<Half>, String) {
        let name = &self.name;
        let sizes: Vec<usize> = self.tasks.iter().map(|(support, _)| support.len()).collect();
        let Halves { median, users: [few, many], places } = self.halves_by(&sizes);
        if many == 0 {
            return (Vec::new(), format!("{name}: no user has more support rows than the median of {median}, so none are measured apart."));
        }
        let halves = [format!("{name},support<={median}"), format!("{name},support>{median}")].into_iter().zip(places);
        let note = format!("{name}: the median of support rows is {median}; {few} users have no more, {many} have more, and are also measured apart.");
        (halves.map(|(setting, places)| Half { setting, places }).collect(), note)
    }

    /// Minor and major users, by how many training users have the profile of each; empty where all have alike, with one sentence on how they are told apart.
    pub(super) fn minor_and_major(&self, alike: &[usize]) -> (Vec<Half>, String) {
        let name = &self.name;
        let Halves { median, users: [minor, major], places } = self.halves_by(alike);
        if major == 0 {
            return (Vec::new(), format!("{name}: no profile is that of more than {median} training users, the median, so none are measured apart."));
        }
        let halves = ["minor", "major"].into_iter().zip(places).map(|(half, places)| Half { setting: format!("{name},{half}"), places });
        let note = format!(
            "{name}: the profile of the median user is that of {median} training users; {minor} users have one that is no more common (minor), {major} one that is (major), and are also measured apart."
        );
        (halves.collect(), note)
    }

    /// The users up to the median of a number of each, and those above it.
    fn halves_by(&self, numbers: &[usize]) -> Halves {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        let median = sorted[(sorted.len() - 1) / 2];
        let few = sorted.partition_point(|&number| number <= median);
        let (mut places, mut first) = ([Vec::new(), Vec::new()], 0);
        for ((_, query), &number) in self.tasks.iter().zip(numbers) {
            places[usize::from(number > median)].extend(first..first + query.len());
            first += query.len();
        }
        Halves { median, users: [few, sorted.len() - few], places }
    }

    pub(super) fn new(name: String, tasks: Vec<(Vec<u32>, Vec<u32>)>, is_curve: bool, plain: &Dataset, train: &[u32]) -> Result<Self, ExperimentError> {
        let dataset = plain.has_state().then(|| of_tasks(plain, train, &tasks, 0)).transpose()?;
        Ok(Self { name, dataset, tasks, is_curve })
    }

    /// The data as its tasks know it.
    pub(super) fn dataset<'a>(&'a self, plain: &'a Dataset) -> &'a Dataset {
        self.dataset.as_ref().unwrap_or(plain)
    }

    /// The part that it measures.
    pub(super) fn part(&self) -> &str {
        self.name.split_once(",k=").map_or(&self.name, |(part, _)| part)
    }

    pub(super) fn is_without_support(&self) -> bool {
        self.tasks.iter().all(|(support, _)| support.is_empty())
    }

    pub(super) fn query(&self) -> Vec<u32> {
        self.tasks.iter().flat_map(|(_, query)| query).copied().collect()
    }

    /// Name and rows, as far as they decide what is predicted.
    pub(super) fn digest(&self, plain: &Dataset) -> String {
        let dataset = self.dataset(plain);
        let lengths: Vec<_> = self.tasks.iter().map(|(support, query)| (support.len(), query.len())).collect();
        let rows = [digest(dataset, &self.support()), digest(dataset, &self.query())].join("|");
        digest_text(&format!("{}|{lengths:?}|{rows}", self.name))
    }

    pub(super) fn support(&self) -> Vec<u32> {
        self.tasks.iter().flat_map(|(support, _)| support).copied().collect()
    }
}

/// The tasks with so many support rows.
pub(super) fn pairs<'a>(tasks: impl Iterator<Item = &'a Task>, k: usize) -> Vec<(Vec<u32>, Vec<u32>)> {
    tasks.map(|task| (task.support(k).to_vec(), task.query.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_hold_the_query_rows_of_their_users_once() {
        let task = |support: u32, query: u32| ((0..support).collect::<Vec<u32>>(), (0..query).collect::<Vec<u32>>());
        let setting = |tasks| Setting { name: "new_user".into(), dataset: None, tasks, is_curve: false };
        let (halves, note) = setting(vec![task(3, 2), task(9, 1), task(5, 3), task(3, 1)]).halves();
        let found: Vec<_> = halves.iter().map(|half| (half.setting.as_str(), &half.places[..])).collect();
        assert_eq!(found, [("new_user,support<=3", &[0, 1, 6][..]), ("new_user,support>3", &[2, 3, 4, 5][..])]);
        assert!(note.contains("2 users have no more, 2 have more"), "{note}");
        let (halves, note) = setting(vec![task(3, 2), task(3, 1)]).halves();
        assert!(halves.is_empty() && note.contains("no user has more"), "{note}");
        let (halves, note) = setting(vec![task(3, 2), task(3, 1), task(3, 1)]).minor_and_major(&[0, 7, 2]);
        let found: Vec<_> = halves.iter().map(|half| (half.setting.as_str(), &half.places[..])).collect();
        assert_eq!(found, [("new_user,minor", &[0, 1, 3][..]), ("new_user,major", &[2][..])]);
        assert!(note.contains("2 users have one that is no more common (minor), 1 one that is (major)"), "{note}");
    }
}
