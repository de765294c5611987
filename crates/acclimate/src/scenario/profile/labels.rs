//! Users with their sequences and the values of the attribute.

use std::collections::BTreeMap;

use acclimate_data::{Dataset, FieldSchema, Schema, Sequences, Side, UserIndex, VocabularyIndex, VocabularySchema};
use acclimate_eval::EvaluationClasses;
use acclimate_train::feed::Sequence;
use acclimate_train::{Head, Histories, History, NextItemQuery};

use super::{CLASSES, HEADS, ITEMS, Profile};
use crate::sequences::Rows;
use crate::source::digest_text;
use crate::{ExperimentError, Lab, Source};

/// The value that rare ones become.
const OTHER: &str = "other";

/// Everything that the runs share. Labelled users are numbers of examples.
pub(super) struct Labelled {
    /// What is learned: sequences of items, and labelled users.
    pub(super) histories: Histories,
    /// Sequences of which every next item is learned.
    pub(super) unlabelled: Vec<u32>,
    /// Labelled users, by part.
    pub(super) train: Vec<u32>,
    pub(super) validation: Vec<u32>,
    pub(super) test: Vec<u32>,
    /// Values of the attribute.
    pub(super) names: Vec<String>,
    /// By example.
    users: Vec<UserIndex>,
    /// Digest of all data and settings that decide a result.
    pub(super) inputs: String,
    /// What a reader must know.
    pub(super) notes: Vec<String>,
}

impl Labelled {
    pub(super) fn new(config: &Profile, lab: &Lab<'_>, source: &Source) -> Result<Self, ExperimentError> {
        let dataset = &source.dataset;
        let problem = |key: &str, problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
        let attribute = dataset.attribute(&config.attribute).filter(|a| a.side == Side::User);
        let attribute = attribute.ok_or_else(|| {
            let known: Vec<&str> = dataset.attributes.iter().filter(|a| a.side == Side::User).map(|a| a.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            problem("attribute", format!("names no attribute `{}` of users; there are: {known}", config.attribute))
        })?;
        let (sequences, items) = sequences(config, source, &problem)?;
        let part = parts(lab, source)?;
        let value = |user: usize| attribute.labels.as_ref().map_or_else(|| attribute.values[user].to_string(), |l| l[attribute.values[user] as usize].clone());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let in_part = |wanted: usize, user: usize| part[user] == Some(wanted) && !sequences[user].is_empty();
        let of_part = |wanted| (0..part.len()).filter(|&user| in_part(wanted, user)).collect::<Vec<usize>>();
        let [train, validation, test] = [of_part(0), of_part(1), of_part(2)];
        train.iter().for_each(|&user| *counts.entry(value(user)).or_default() += 1);
        let is_rare = |name: &str| counts.get(name).is_none_or(|&n| n < config.merge_below);
        let mut names: Vec<String> = counts.keys().filter(|name| !is_rare(name)).cloned().collect();
        let rare: Vec<&String> = counts.keys().filter(|name| is_rare(name)).collect();
        let unmet = validation.iter().chain(&test).any(|&user| !counts.contains_key(&value(user)));
        let mut notes = Vec::new();
        if !rare.is_empty() || unmet {
            let list = rare.iter().map(|name| format!("{name} ({})", counts[*name])).collect::<Vec<_>>().join(", ");
            notes.push(format!("Values of `{}` that are one here, `{OTHER}`: {list}, and those that no training user has.", config.attribute));
            names.push(OTHER.to_owned());
        }
        if names.len() < 2 {
            return Err(problem("attribute", format!("`{}` has one value among the training users, so there is nothing to tell apart", config.attribute)));
        }
        let without = part.iter().enumerate().filter(|(user, part)| part.is_some() && sequences[*user].is_empty()).count();
        if without > 0 {
            notes.push(format!("{without} users have no sequence and are left out."));
        }
        for (name, users) in [("train", &train), ("validation", &validation), ("test", &test)] {
            if users.is_empty() {
                return Err(lab.experiment.problem("[split]", format!("part `{name}` has no user with a sequence; move the bounds of the split")));
            }
        }
        let class = |user: usize| {
            let value = value(user);
            names.iter().position(|name| *name == value && !is_rare(name)).unwrap_or(names.len() - 1) as u32
        };
        let mut of_items = vec![0; items];
        let read: Vec<usize> = match config.pretraining {
            Rows::All => (0..sequences.len()).collect(),
            Rows::Train => train.clone(),
        };
        read.iter().flat_map(|&user| &sequences[user]).for_each(|&code| of_items[code as usize - 1] += 1);
        let mut of_classes = vec![0; names.len()];
        train.iter().for_each(|&user| of_classes[class(user) as usize] += 1);
        let head = |counts| Head { counts, negatives: None };
        let catalogue = (1..=names.len() as u32).collect();
        let mut histories = Histories::new(schema(dataset, items, names.len()), vec![head(of_items), head(of_classes)], catalogue, None);
        let mut users = Vec::new();
        let mut label = |wanted: &[usize]| {
            users.extend(wanted.iter().map(|&user| UserIndex(user as u32)));
            histories.extend(wanted.iter().map(|&user| {
                let sequence = Sequence::last(&sequences[user], class(user) + 1, config.length);
                History { head: CLASSES, sequence, query: None }
            }))
        };
        let [train, validation, test] = [label(&train), label(&validation), label(&test)];
        let unlabelled = read.into_iter().filter(|&user| sequences[user].len() > 1);
        let unlabelled = unlabelled.map(|user| History { head: ITEMS, sequence: Sequence::everywhere(&sequences[user], &sequences[user], config.length), query: None });
        let unlabelled = unlabelled.collect::<Vec<_>>();
        let unlabelled = histories.extend(unlabelled);
        let sizes: Vec<String> = names.iter().zip(&histories.head(CLASSES).counts).map(|(name, n)| format!("{name} {n}")).collect();
        notes.push(format!(
            "{} training, {} validation and {} test users; of the training users: {}.",
            train.len(),
            validation.len(),
            test.len(),
            sizes.join(", ")
        ));
        let whole: Vec<(u32, &History)> = (0..users.len() as u32).map(|example| (example, histories.get(example))).collect();
        let decisive = Profile { sizes: Vec::new(), ..config.clone() };
        let inputs = digest_text(&format!("{decisive:?}|{names:?}|{whole:?}|{sequences:?}"));
        Ok(Self { histories, unlabelled, train, validation, test, names, users, inputs, notes })
    }

    /// The class of each of some users, from 0.
    pub(super) fn classes(&self, users: &[u32]) -> Vec<u32> {
        let class = |&user: &u32| self.histories.get(user).sequence.target.last().map_or(0, |code| code - 1);
        users.iter().map(class).collect()
    }

    /// The items of each of some users.
    pub(super) fn bags(&self, users: &[u32]) -> Vec<Vec<u32>> {
        users.iter().map(|&user| self.histories.get(user).sequence.input.clone()).collect()
    }

    /// What is asked of a user.
    pub(super) fn question(&self, user: u32) -> NextItemQuery {
        NextItemQuery { input: self.histories.get(user).sequence.input.clone(), ..NextItemQuery::default() }
    }

    /// The true classes of some users.
    pub(super) fn judged(&self, users: &[u32]) -> Result<EvaluationClasses, ExperimentError> {
        let numbers: Vec<u32> = users.iter().map(|&user| self.users[user as usize].0).collect();
        Ok(EvaluationClasses::new(&numbers, &self.classes(users), &self.names)?)
    }

    /// Mean of `-ln p` of the true classes.
    pub(super) fn log_loss(&self, said: &[f32], users: &[u32]) -> f64 {
        let classes = self.classes(users);
        let of_row = |(row, &class): (&[f32], &u32)| -f64::from(row[class as usize]).max(1e-15).ln();
        said.chunks_exact(self.names.len()).zip(&classes).map(of_row).sum::<f64>() / classes.len() as f64
    }
}

/// The items of each user in codes, oldest first, and how many items there are.
fn sequences(
    config: &Profile,
    source: &Source,
    problem: &dyn Fn(&str, String) -> ExperimentError,
) -> Result<(Vec<Vec<u32>>, usize), ExperimentError> {
    let dataset = &source.dataset;
    if let Some(name) = &config.sequence {
        if config.position.is_some() {
            return Err(problem("position", "orders events of the log, but the sequence is a column; remove one".into()));
        }
        let bag = dataset.features.bags.iter().find(|bag| bag.name == *name && bag.side == Side::User);
        let bag = bag.ok_or_else(|| problem("sequence", format!("names no feature `{name}` of users with `kind = \"sequence\"`")))?;
        let items = dataset.schema().vocabularies[bag.vocabulary.0 as usize].rows - 1;
        return Ok(((0..dataset.users.len()).map(|user| bag.lists.of(user).to_vec()).collect(), items));
    }
    let position = match &config.position {
        None => None,
        Some(name) => Some(&dataset.attribute(name).ok_or_else(|| problem("position", format!("names no attribute `{name}` of the data set")))?.values[..]),
    };
    let rows: Vec<u32> = (0..dataset.log.len() as u32).collect();
    let events = Sequences::new(&dataset.log, &rows, position).map_err(|e| problem("position", e.to_string()))?;
    let mut sequences = vec![Vec::new(); dataset.users.len()];
    events.iter().for_each(|(user, events)| sequences[user.at()] = events.iter().map(|e| e.item.0 + 1).collect());
    Ok((sequences, dataset.items.len()))
}

/// The part of each user: 0 train, 1 validation, 2 test.
fn parts(lab: &Lab<'_>, source: &Source) -> Result<Vec<Option<usize>>, ExperimentError> {
    let dataset = &source.dataset;
    let mut part = vec![None; dataset.users.len()];
    for (at, name) in ["train", "validation", "test"].into_iter().enumerate() {
        for row in source.part(name)? {
            let own = &mut part[dataset.log.user[row as usize].at()];
            if own.is_some_and(|other| other != at) {
                let user = &dataset.users[dataset.log.user[row as usize].at()];
                let problem = format!("puts rows of user `{user}` into several parts, but here users are learned from or measured; split by user (`cold_users`, or `random` with `by = \"user\"`)");
                return Err(lab.experiment.problem("[split]", problem));
            }
            *own = Some(at);
        }
    }
    Ok(part)
}

fn schema(dataset: &Dataset, items: usize, classes: usize) -> Schema {
    let vocabulary = |name: &str, items: usize| VocabularySchema { name: name.into(), rows: items + 1 };
    Schema {
        label: dataset.label,
        domains: Vec::new(),
        vocabularies: vec![vocabulary(HEADS[ITEMS], items), vocabulary(HEADS[CLASSES], classes)],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}
