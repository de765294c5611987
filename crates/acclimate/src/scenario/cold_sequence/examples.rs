//! Sequences, codes, training examples and queries of the scenario.

use acclimate_data::{
    CrossDomain, Dataset, DomainIndex, FieldSchema, ItemIndex, NextItem, Queries, Schema, Sequences,
    VocabularyIndex, VocabularySchema, hashed_negatives, rank_in_domain, sha256,
};
use acclimate_train::NextItemQuery;
use acclimate_train::feed::Sequence;

use super::{ColdSequence, Negatives};
use crate::source::digest;
use crate::{ExperimentError, Lab, Source};

/// Everything that the runs of the scenario share.
pub(super) struct Prepared<'a> {
    pub(super) config: &'a ColdSequence,
    pub(super) dataset: &'a Dataset,
    pub(super) pair: CrossDomain,
    /// All users.
    sequences: Sequences,
    /// Training users only: what floors may count.
    pub(super) train: Sequences,
    codes: Codes,
    pub(super) schema: Schema,
    /// Target items of training users, ascending, and their codes in the head.
    pub(super) catalogue: Vec<ItemIndex>,
    pub(super) candidates: Vec<u32>,
    /// Events of each item of a head, in the order of its rows.
    pub(super) source_counts: Vec<u32>,
    pub(super) target_counts: Vec<u32>,
    examples: Vec<NextItem>,
    pub(super) validation: Questions,
    pub(super) test: Questions,
    /// First and last time of what is learned from.
    pub(super) window: Option<[i64; 2]>,
    /// Digest of all data and settings that decide a result.
    pub(super) inputs: String,
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
pub(super) struct Questions {
    pub(super) queries: Vec<NextItem>,
    /// The same in codes.
    pub(super) coded: Vec<NextItemQuery>,
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
}

impl Codes {
    fn of(codes: &[u32], items: &[ItemIndex]) -> Vec<u32> {
        items.iter().map(|item| codes[item.at()]).collect()
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(config: &'a ColdSequence, lab: &Lab<'_>, source: &'a Source) -> Result<Self, ExperimentError> {
        let dataset = &source.dataset;
        let problem = |key: &str, problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
        let domain = |key: &str, name: &str| {
            let found = dataset.domains.iter().position(|d| d == name);
            found.map(|d| DomainIndex(d as u32)).ok_or_else(|| problem(key, format!("names no domain `{name}`; there are {}", dataset.domains.join(", "))))
        };
        let pair = CrossDomain { source: domain("source", &config.source)?, target: domain("target", &config.target)? };
        if pair.source == pair.target {
            return Err(problem("source", "must differ from `target`".into()));
        }
        for (key, cut) in [("examples", &config.examples), ("queries", &config.queries)] {
            if cut.length == 0 || cut.min_input == 0 || cut.max_per_user == 0 {
                return Err(problem(key, "needs `length`, `min_input` and `max_per_user` of at least 1".into()));
            }
        }
        let position = match &config.position {
            None => None,
            Some(name) => {
                let attribute = dataset.attribute(name).ok_or_else(|| problem("position", format!("names no attribute `{name}` of the data set")))?;
                Some(&attribute.values[..])
            }
        };
        let parts = ["train", "validation", "test"].map(|part| {
            let rows = source.part(part)?.into_iter().filter(|&r| [pair.source, pair.target].contains(&dataset.log.domain[r as usize]));
            Ok::<Vec<u32>, ExperimentError>(rows.collect())
        });
        let [train_rows, validation_rows, test_rows] = parts;
        let rows = [train_rows?, validation_rows?, test_rows?];
        let sequences = |rows: &[u32]| Sequences::new(&dataset.log, rows, position).map_err(|e| problem("position", e.to_string()));
        let all = sequences(&rows.concat())?;
        let [train, validation, test] = [sequences(&rows[0])?, sequences(&rows[1])?, sequences(&rows[2])?];
        let catalogue = pair.catalogue(&train, |_| true);
        let sources = CrossDomain { source: pair.target, target: pair.source }.catalogue(&all, |_| true);
        let codes = Codes::new(dataset.items.len(), &sources, &catalogue);
        let counts = |sequences: &Sequences, codes: &[u32], n: usize| {
            let mut counts = vec![0u32; n];
            let events = sequences.iter().flat_map(|(_, events)| events);
            events.filter_map(|e| codes[e.item.at()].checked_sub(1)).for_each(|row| counts[row as usize] += 1);
            counts
        };
        let examples = pair.examples(&train, |_| true, &config.examples);
        if examples.is_empty() || catalogue.is_empty() {
            return Err(problem("target", "has no training example: no training user has target events after enough input".into()));
        }
        if catalogue.len() == 1 {
            return Err(problem("target", "has one item in the training rows, so there is nothing to rank it among".into()));
        }
        let rank = rank_in_domain(&dataset.log, &dataset.items, pair.target);
        let question = |sequences: &Sequences| {
            let queries = Queries::covered(pair.examples(sequences, |_| true, &config.queries), &catalogue);
            let coded = queries.kept.iter().map(|q| {
                let seen = pair.seen(&all, q.user);
                let mut excluded: Vec<u32> = Codes::of(&codes.target, &q.input).into_iter().filter(|&c| c != 0).collect();
                excluded.sort_unstable();
                let Negatives { count, salt } = config.negatives;
                let negatives = hashed_negatives(salt, user_number(&dataset.users[q.user.at()]), &rank, &catalogue, &seen, count);
                let input = Codes::of(&codes.item, &q.input[q.input.len().saturating_sub(config.examples.length)..]);
                NextItemQuery { input, positive: codes.target[q.positive.at()], excluded, negatives: Codes::of(&codes.target, &negatives) }
            });
            let coded: Vec<NextItemQuery> = coded.collect();
            let complete = (0..coded.len()).filter(|&q| coded[q].negatives.len() == config.negatives.count).collect();
            Questions { coded, complete, all: queries.all, queries: queries.kept }
        };
        let (validation, test) = (question(&validation), question(&test));
        for (name, asked) in [("validation", &validation), ("test", &test)] {
            if asked.queries.is_empty() {
                return Err(problem("queries", format!("leaves no query in part `{name}`; lower `min_input` or change [split]")));
            }
        }
        let times = || all.iter().flat_map(|(_, events)| events).map(|e| e.time.div_euclid(acclimate_data::MICROS_PER_SECOND));
        let mut inputs = vec![serde_json::to_string(config).expect("configs are plain data")];
        inputs.extend(rows.iter().map(|rows| digest(dataset, rows)));
        Ok(Self {
            config,
            dataset,
            pair,
            schema: schema(dataset, sources.len(), catalogue.len()),
            candidates: Codes::of(&codes.target, &catalogue),
            source_counts: counts(&all, &codes.source, sources.len()),
            target_counts: counts(&train, &codes.target, catalogue.len()),
            window: times().min().zip(times().max()).map(|(a, b)| [a, b]),
            inputs: inputs.join("|"),
            sequences: all,
            train,
            codes,
            catalogue,
            examples,
            validation,
            test,
        })
    }

    /// The next source item at every position of every user's source sequence.
    pub(super) fn pretraining(&self) -> Vec<Sequence> {
        let length = self.config.examples.length;
        let sequences = self.sequences.in_domain(self.pair.source);
        sequences.map(|(_, items)| Sequence::everywhere(&Codes::of(&self.codes.item, &items), &Codes::of(&self.codes.source, &items), length)).collect()
    }

    /// One target after a history, from training users.
    pub(super) fn examples(&self) -> Vec<Sequence> {
        let example = |e: &NextItem| Sequence::last(&Codes::of(&self.codes.item, &e.input), self.codes.target[e.positive.at()], e.input.len());
        self.examples.iter().map(example).collect()
    }
}

impl Codes {
    /// Source items, then target items; each head has those of its own domain.
    fn new(items: usize, sources: &[ItemIndex], targets: &[ItemIndex]) -> Self {
        let mut codes = Self { item: vec![0; items], source: vec![0; items], target: vec![0; items] };
        for (i, item) in sources.iter().enumerate() {
            codes.source[item.at()] = i as u32 + 1;
            codes.item[item.at()] = i as u32 + 1;
        }
        for (i, item) in targets.iter().enumerate() {
            codes.target[item.at()] = i as u32 + 1;
            codes.item[item.at()] = (sources.len() + i) as u32 + 1;
        }
        codes
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
    }
}

/// A user's own number; where ids are no numbers, the first eight bytes of the id's SHA-256.
fn user_number(id: &str) -> u64 {
    id.parse().unwrap_or_else(|_| sha256(id)[..8].iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '%s' u7 | sha256sum` begins with the digits below.
    #[test]
    fn a_user_has_one_number_whatever_the_order_of_the_log() {
        assert_eq!((user_number("7"), user_number("007")), (7, 7));
        assert_eq!(user_number("u7"), 0xe818_0000_fa67_e824);
    }
}
