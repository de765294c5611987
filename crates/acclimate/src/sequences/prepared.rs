//! Sequences, codes, training examples and queries of a plan.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use acclimate_data::{
    CrossDomain, Dataset, DomainIndex, FieldSchema, ItemIndex, NextItem, Queries, RecentEvents, Schema, Sequences, VocabularyIndex,
    VocabularySchema, hashed_negatives, id_number, id_numbers, rank_in_domain,
};
use acclimate_train::feed::Sequence;
use acclimate_train::{Head, Histories, History, NextItemQuery};
use serde::{Deserialize, Serialize};

use super::{Learned, NegativeHash, Negatives, Plan, Rows};
use crate::source::{digest, digest_text};
use crate::state::StateMode;
use crate::{ExperimentError, Source, artifact};

/// Name of the file in a base's folder that says how sequences are read for it.
pub(crate) const SEQUENCES: &str = "sequences.json";

/// Which head examples of the source are of, and those of the target.
pub(super) const SOURCE_HEAD: usize = 0;
pub(super) const TARGET_HEAD: usize = 1;

/// How sequences are read for a base: the plan, and the items of its vocabularies in the order of their codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SequenceFile {
    /// What the scenario said.
    pub plan: Plan,
    /// Ids of the source's items.
    pub source: Vec<String>,
    /// Ids of the target's items: what is recommended.
    pub target: Vec<String>,
}

impl SequenceFile {
    /// The file of a base; `None` for a base of rows.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, ExperimentError> {
        let path = folder.join(SEQUENCES);
        if path.exists() { artifact::read_json(&path).map(Some) } else { Ok(None) }
    }

    /// Writes it beside a base.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), ExperimentError> {
        artifact::write_json(&folder.join(SEQUENCES), self)
    }

    /// The codes of some items in the input vocabulary; 0: none.
    pub(crate) fn input_codes(&self, items: &[String]) -> Vec<u32> {
        Codes::new(self, items).item
    }

    /// SHA-256 of what it says.
    pub(crate) fn digest(&self) -> String {
        digest_text(&serde_json::to_string(self).expect("a plan is plain data"))
    }
}

/// Says what is wrong with a key of the scenario.
pub(crate) type Complain<'a> = dyn Fn(&str, String) -> ExperimentError + 'a;

/// Everything that the runs on a log's sequences share.
pub(crate) struct Prepared {
    pub(super) plan: Plan,
    pub(super) dataset: Dataset,
    pub(super) pair: CrossDomain,
    /// All users that have a row in some part, with all their events.
    pub(super) all: Sequences,
    /// Training rows only: what floors may count.
    pub(super) train: Sequences,
    /// Events that fresh counts may read: training rows, or all of them where the state moves.
    pub(super) counted: Sequences,
    codes: Codes,
    /// Target items that the head has, ascending.
    pub(super) catalogue: Vec<ItemIndex>,
    /// Of each code of the head, its place in the catalogue; none for items that this data does not have.
    pub(super) places: Vec<Option<u32>>,
    /// What is learned and asked; [`SOURCE_HEAD`] and [`TARGET_HEAD`].
    pub(super) histories: Histories,
    /// Training examples of the target.
    pub(super) examples: Vec<u32>,
    /// Of each item what stands for it in the hash that chooses negatives.
    numbers: Vec<u64>,
    /// Digest of all data and settings that decide a result.
    pub(super) inputs: String,
    /// How the same is read again.
    pub(crate) file: SequenceFile,
}

/// Codes of each item; 0: none.
struct Codes {
    /// In the input vocabulary.
    item: Vec<u32>,
    /// In the head of the source.
    source: Vec<u32>,
    /// In the head of the target.
    target: Vec<u32>,
}

/// Queries with known answers.
pub(crate) struct Questions {
    pub(super) queries: Vec<NextItem>,
    /// Their numbers among the prepared examples.
    pub(super) examples: Vec<u32>,
    /// Those that have as many negatives as sampled metrics rank among.
    pub(super) complete: Vec<usize>,
    /// Their number before those with a positive outside the catalogue were left out.
    pub(super) all: usize,
}

impl Questions {
    /// The users of some queries.
    pub(super) fn users(&self, places: &[usize]) -> Vec<u32> {
        places.iter().map(|&place| self.queries[place].user.0).collect()
    }

    /// The user of each query, and the row that it asks for.
    pub(crate) fn owners(&self) -> (Vec<u32>, Vec<u32>) {
        self.queries.iter().map(|query| (query.user.0, query.row)).unzip()
    }

    /// All places.
    pub(super) fn places(&self) -> Vec<usize> {
        (0..self.queries.len()).collect()
    }
}

impl Codes {
    fn of(codes: &[u32], items: &[ItemIndex]) -> Vec<u32> {
        items.iter().map(|item| codes[item.at()]).collect()
    }

    /// Source items, then target items; each head has those of its own domain.
    fn new(file: &SequenceFile, items: &[String]) -> Self {
        let number: HashMap<&str, usize> = items.iter().map(String::as_str).zip(0..).collect();
        let mut codes = Self { item: vec![0; items.len()], source: vec![0; items.len()], target: vec![0; items.len()] };
        for (i, id) in file.source.iter().enumerate() {
            if let Some(&item) = number.get(id.as_str()) {
                (codes.source[item], codes.item[item]) = (i as u32 + 1, i as u32 + 1);
            }
        }
        for (i, id) in file.target.iter().enumerate() {
            if let Some(&item) = number.get(id.as_str()) {
                (codes.target[item], codes.item[item]) = (i as u32 + 1, (file.source.len() + i) as u32 + 1);
            }
        }
        codes
    }
}

impl Prepared {
    /// Reads the sequences of a source. The vocabularies are those of `known`; without it they are made of the training rows.
    ///
    /// # Errors
    /// A domain or attribute that is not there, no training example, or one item only.
    pub(crate) fn new(
        plan: &Plan,
        source: &Source,
        known: Option<&SequenceFile>,
        complain: &Complain<'_>,
    ) -> Result<Self, ExperimentError> {
        let dataset = &source.dataset;
        let domain = |key: &str, name: &String| {
            let found = dataset.domains.iter().position(|d| d == name);
            let unknown = || complain(key, format!("names no domain `{name}`; there are {}", dataset.domains.join(", ")));
            found.map(|d| DomainIndex(d as u32)).ok_or_else(unknown)
        };
        let beside = plan.source.as_ref().map(|name| domain("source", name)).transpose()?;
        let pair = CrossDomain { source: beside, target: domain("target", &plan.target)? };
        let position = match &plan.position {
            None => None,
            Some(name) => {
                let unknown = || complain("position", format!("names no attribute `{name}` of the data set"));
                Some(&dataset.attribute(name).ok_or_else(unknown)?.values[..])
            }
        };
        let log = &dataset.log;
        let is_read = |row: &u32| [pair.source, Some(pair.target)].contains(&Some(log.domain[*row as usize]));
        let mut has_part = vec![false; dataset.users.len()];
        source.split.parts().flat_map(|(_, rows)| rows).for_each(|&row| has_part[log.user[row as usize].at()] = true);
        let all: Vec<u32> = (0..log.len() as u32).filter(|row| has_part[log.user[*row as usize].at()] && is_read(row)).collect();
        let mut train = source.part("train").unwrap_or_else(|_| all.clone());
        train.retain(is_read);
        let every = if source.state == StateMode::Moving { (0..log.len() as u32).filter(is_read).collect() } else { train.clone() };
        let sequences = |rows: &[u32]| Sequences::new(log, rows, position).map_err(|e| complain("position", e.to_string()));
        let [all_events, train_events, counted] = [sequences(&all)?, sequences(&train)?, sequences(&every)?];
        let names = |items: &[ItemIndex]| items.iter().map(|item| dataset.items[item.at()].clone()).collect();
        let learned = if plan.pretraining.rows == Rows::All { &all_events } else { &train_events };
        let file = known.cloned().unwrap_or_else(|| {
            let of_source = pair.source.map(|source| CrossDomain { source: None, target: source }.catalogue(learned, |_| true));
            let target = pair.catalogue(&train_events, |_| true);
            SequenceFile { plan: plan.clone(), source: names(&of_source.unwrap_or_default()), target: names(&target) }
        });
        let codes = Codes::new(&file, &dataset.items);
        let catalogue: Vec<ItemIndex> =
            (0..dataset.items.len() as u32).map(ItemIndex).filter(|item| codes.target[item.at()] != 0).collect();
        let mut places = vec![None; file.target.len()];
        catalogue.iter().zip(0..).for_each(|(item, place)| places[codes.target[item.at()] as usize - 1] = Some(place));
        let counts = |sequences: &Sequences, codes: &[u32], n: usize| {
            let mut counts = vec![0u32; n];
            let events = sequences.iter().flat_map(|(_, events)| events);
            events.filter_map(|e| codes[e.item.at()].checked_sub(1)).for_each(|row| counts[row as usize] += 1);
            counts
        };
        let heads = vec![
            Head {
                counts: counts(learned, &codes.source, file.source.len()),
                negatives: plan.pretraining.training_negatives.or(plan.training_negatives),
            },
            Head { counts: counts(&train_events, &codes.target, file.target.len()), negatives: plan.training_negatives },
        ];
        let times = || all_events.iter().flat_map(|(_, events)| events).map(|e| e.time.div_euclid(acclimate_data::MICROS_PER_SECOND));
        let has_time = log.time.len() == log.len();
        let window = times().min().zip(times().max()).map(|(a, b)| [a, b]).filter(|_| has_time);
        let every_code = (1..=file.target.len() as u32).collect();
        let mut histories = Histories::new(schema(dataset, file.source.len(), file.target.len()), heads, every_code, window);
        if has_time {
            let dated =
                counted.iter().flat_map(|(_, events)| events).filter_map(|e| Some((e.time, codes.target[e.item.at()].checked_sub(1)?)));
            histories = histories.with_recent(RecentEvents::new(dataset.zone, file.target.len(), dated));
        }
        let examples = pair.examples(&train_events, |_, _| true, &plan.examples);
        let example = |e: &NextItem| {
            let sequence = Sequence::last(&Codes::of(&codes.item, &e.input), codes.target[e.positive.at()], e.input.len()).at(e.time);
            History { head: TARGET_HEAD, sequence, query: None }
        };
        let examples = histories.extend(examples.iter().map(example));
        let numbers = match plan.negatives.by {
            NegativeHash::Id => id_numbers(&dataset.items),
            NegativeHash::Rank => rank_in_domain(log, &dataset.items, pair.target),
        };
        let mut inputs = vec![serde_json::to_string(&file.plan).expect("configs are plain data"), format!("{:?}", source.state)];
        inputs.extend([&train, &all, &every].map(|rows| digest(dataset, rows)));
        Ok(Self {
            plan: plan.clone(),
            dataset: dataset.clone(),
            pair,
            places,
            all: all_events,
            train: train_events,
            counted,
            codes,
            catalogue,
            histories,
            examples,
            numbers,
            inputs: inputs.join("|"),
            file,
        })
    }

    /// Refuses a plan that leaves nothing to learn or to tell apart.
    pub(super) fn check_examples(&self, complain: &Complain<'_>) -> Result<(), ExperimentError> {
        if self.examples.is_empty() || self.catalogue.is_empty() {
            return Err(complain("target", "has no training example: no training user has target events after enough input".into()));
        }
        if self.catalogue.len() == 1 {
            return Err(complain("target", "has one item in the training rows, so there is nothing to rank it among".into()));
        }
        Ok(())
    }

    /// The questions of some rows: their target events after what came before. They become examples.
    pub(crate) fn questions(&mut self, rows: &[u32]) -> Questions {
        let mut is_asked = vec![false; self.dataset.log.len()];
        rows.iter().for_each(|&row| is_asked[row as usize] = true);
        let asked = self.pair.examples(&self.all, |_, event| is_asked[event.row as usize], &self.plan.queries);
        let Queries { kept, all } = Queries::covered(asked, &self.catalogue);
        let histories: Vec<History> = kept.iter().map(|query| self.question(query)).collect();
        let has_all = |h: &History| h.query.as_ref().is_some_and(|q| q.negatives.len() == self.plan.negatives.count);
        let complete = (0..kept.len()).filter(|&q| has_all(&histories[q])).collect();
        let examples = self.histories.extend(histories);
        Questions { examples, complete, all, queries: kept }
    }

    fn question(&self, q: &NextItem) -> History {
        let (codes, Negatives { count, salt, .. }) = (&self.codes, self.plan.negatives);
        let seen = self.pair.seen(&self.all, q.user);
        let mut excluded: Vec<u32> = Codes::of(&codes.target, &q.input).into_iter().filter(|&c| c != 0).collect();
        excluded.sort_unstable();
        let negatives = hashed_negatives(salt, user_number(&self.dataset.users[q.user.at()]), &self.numbers, &self.catalogue, &seen, count);
        let (input, positive) = self.coded(q);
        let sequence = Sequence::last(&input, positive, input.len()).at(q.time);
        let query = NextItemQuery { input, positive, excluded, negatives: Codes::of(&codes.target, &negatives), time: q.time };
        History { head: TARGET_HEAD, sequence, query: Some(query) }
    }

    /// Codes of the input, cut to its length, and of what followed.
    pub(super) fn coded(&self, q: &NextItem) -> (Vec<u32>, u32) {
        let cut = q.input.len().saturating_sub(self.plan.examples.length);
        (Codes::of(&self.codes.item, &q.input[cut..]), self.codes.target[q.positive.at()])
    }

    /// What each of these users may take next, after all that is known of them, at `time`.
    pub(super) fn open_question(&self, user: acclimate_data::UserIndex, time: i64) -> Option<NextItemQuery> {
        let reads = |e: &&acclimate_data::Event| {
            let input = self.plan.queries.input;
            let of_source = input != acclimate_data::InputEvents::Target && Some(e.domain) == self.pair.source;
            of_source || (input != acclimate_data::InputEvents::Source && e.domain == self.pair.target)
        };
        let events = self.all.of(user);
        let read: Vec<ItemIndex> = events.iter().filter(reads).map(|e| e.item).collect();
        if read.len() < self.plan.queries.min_input {
            return None;
        }
        let input = Codes::of(&self.codes.item, &read[read.len().saturating_sub(self.plan.examples.length)..]);
        let seen = self.pair.seen(&self.all, user);
        let mut excluded: Vec<u32> = Codes::of(&self.codes.target, &seen).into_iter().filter(|&c| c != 0).collect();
        excluded.sort_unstable();
        Some(NextItemQuery { input, positive: 0, excluded, negatives: Vec::new(), time })
    }

    /// What a base learns of the source: the next item at every position of every sequence that it may read.
    pub(super) fn pretraining(&mut self) -> Vec<u32> {
        let Some(source) = self.pair.source else { return Vec::new() };
        let (length, codes) = (self.plan.examples.length, &self.codes);
        let sequences = if self.plan.pretraining.rows == Rows::All { &self.all } else { &self.train };
        let everywhere = |(_, items): (_, Vec<ItemIndex>)| {
            let sequence = Sequence::everywhere(&Codes::of(&codes.item, &items), &Codes::of(&codes.source, &items), length);
            History { head: SOURCE_HEAD, sequence, query: None }
        };
        let learned: Vec<History> = sequences.in_domain(source).map(everywhere).collect();
        self.histories.extend(learned)
    }

    /// What tells when a base that learns the source from training rows stops: the last source item of each user among some rows.
    pub(super) fn source_questions(&mut self, rows: &[u32]) -> Vec<u32> {
        let Some(source) = self.pair.source.filter(|_| self.plan.pretraining.on == Learned::Source) else { return Vec::new() };
        let mut is_asked = vec![false; self.dataset.log.len()];
        rows.iter().for_each(|&row| is_asked[row as usize] = true);
        let codes = &self.codes;
        let last = |(user, events): (_, &[acclimate_data::Event])| {
            let _: acclimate_data::UserIndex = user;
            let events: Vec<_> = events.iter().filter(|e| e.domain == source).collect();
            let (asked, before) = events.split_last().filter(|(asked, before)| is_asked[asked.row as usize] && !before.is_empty())?;
            let positive = codes.source[asked.item.at()];
            let items: Vec<ItemIndex> = before.iter().map(|e| e.item).collect();
            let input = Codes::of(&codes.item, &items[items.len().saturating_sub(self.plan.examples.length)..]);
            let sequence = Sequence::last(&input, positive, input.len());
            let query = NextItemQuery { input, positive, excluded: Vec::new(), negatives: Vec::new(), time: asked.time };
            (positive != 0).then_some(History { head: SOURCE_HEAD, sequence, query: Some(query) })
        };
        let asked: Vec<History> = self.all.iter().filter_map(last).collect();
        self.histories.extend(asked)
    }
}

fn schema(dataset: &Dataset, sources: usize, targets: usize) -> Schema {
    let vocabulary = |name: &str, items: usize| VocabularySchema { name: name.into(), rows: items + 1 };
    Schema {
        label: dataset.label,
        // A sequence runs through the domains; its positions name none.
        domains: Vec::new(),
        vocabularies: vec![vocabulary("item", sources + targets), vocabulary("source_item", sources), vocabulary("target_item", targets)],
        categorical: vec![FieldSchema { name: "item".into(), vocabulary: VocabularyIndex(0) }],
        bags: Vec::new(),
        numeric: Vec::new(),
        sides: BTreeMap::new(),
    }
}

/// A user's own number; where ids are no numbers, the first eight bytes of the id's SHA-256.
fn user_number(id: &str) -> u64 {
    id.parse().unwrap_or_else(|_| id_number(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_one_number_whatever_the_order_of_the_log() {
        assert_eq!((user_number("7"), user_number("007")), (7, 7));
        assert_eq!(user_number("u7"), 0xe818_0000_fa67_e824);
    }
}
