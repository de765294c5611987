//! What floors on content read of a data set, as sparse rows.

use acclimate_data::{Features, Side};
use acclimate_fit::{Ratings, Sparse};

use super::Labelled;

/// Rows of its vocabulary up to which a feature is narrow.
const NARROW: usize = 24;
/// Entities that a wide feature's code needs in the training rows.
const LEAST: usize = 3;

/// Features of items and users.
pub(super) struct Design {
    /// `[items of the data set, columns]`.
    pub(super) content: Sparse,
    narrow: usize,
    /// `[users of the data set, 1 + columns]`.
    pub(super) people: Sparse,
}

/// One feature of a side, as columns.
enum Source<'a> {
    /// Codes of an entity, each a column or none, and the value there.
    Codes(Box<dyn Fn(usize) -> &'a [u32] + 'a>, Vec<Option<u32>>, f64),
    /// A number, within bounds.
    Number(&'a [f32], [f32; 2], u32),
}

impl Design {
    pub(super) fn new(train: Labelled<'_>, without: &[String]) -> Self {
        let rows = train.rows();
        let [users, items, _] = rows.counts();
        let (mut known_users, mut known_items) = (vec![false; users], vec![false; items]);
        for i in 0..rows.len() {
            known_users[rows.user(i).at()] = true;
            known_items[rows.item(i).at()] = true;
        }
        let (content, narrow) = columns(rows.features(), Side::Item, &known_items, without, 0);
        let (people, _) = columns(rows.features(), Side::User, &known_users, without, 1);
        Self { content, narrow, people }
    }

    /// The training rows by user; users without one are left out.
    pub(super) fn ratings(&self, train: Labelled<'_>) -> Ratings {
        let rows = train.rows();
        let [users, items, _] = rows.counts();
        let mut of_user: Vec<Vec<(u32, f64)>> = vec![Vec::new(); users];
        (0..train.len()).for_each(|i| of_user[rows.user(i).at()].push((rows.item(i).0, train.label(i))));
        let (mut rated, mut people) = (Sparse::new(items), Sparse::new(self.people.width));
        for (user, of_user) in of_user.into_iter().enumerate().filter(|(_, rated)| !rated.is_empty()) {
            rated.push(of_user);
            let (columns, values) = self.people.row(user);
            people.push(columns.iter().copied().zip(values.iter().copied()));
        }
        Ratings { rated, content: self.content.clone(), narrow: self.narrow, people }
    }
}

/// The features of a side, narrow ones first, with the number of their columns; `ones` columns of 1 stand in front.
fn columns<'a>(features: &'a Features, side: Side, known: &[bool], without: &[String], ones: u32) -> (Sparse, usize) {
    let read = |name: &String, of: Side| of == side && !without.contains(name);
    let values = |v: acclimate_data::VocabularyIndex| features.vocabularies[v.at()].rows();
    let (mut next, mut narrow, mut sources): (_, _, Vec<Source<'a>>) = (ones, ones, Vec::new());
    for wide in [false, true] {
        let mut codes = |of: Box<dyn Fn(usize) -> &'a [u32] + 'a>, rows: usize| {
            let mut counts = vec![0; rows];
            let each = (0..known.len()).filter(|&e| known[e]);
            each.for_each(|e| of(e).iter().for_each(|&code| counts[code as usize] += 1));
            let mut place = |(code, &n): (usize, &usize)| {
                let taken = code > 0 && (n >= LEAST || !wide);
                next += u32::from(taken);
                taken.then(|| next - 1)
            };
            let places = counts.iter().enumerate().map(&mut place).collect();
            sources.push(Source::Codes(of, places, if wide { 0.5 } else { 1.0 }));
        };
        for feature in features.categorical.iter().filter(|f| read(&f.name, f.side) && (values(f.vocabulary) > NARROW) == wide) {
            codes(Box::new(|e| &feature.codes[e..=e]), values(feature.vocabulary));
        }
        for feature in features.bags.iter().filter(|f| read(&f.name, f.side) && (values(f.vocabulary) > NARROW) == wide) {
            codes(Box::new(|e| feature.lists.of(e)), values(feature.vocabulary));
        }
        for feature in features.numeric.iter().filter(|f| read(&f.name, f.side) && !wide) {
            let mut bounds = [f32::INFINITY, f32::NEG_INFINITY];
            for e in (0..known.len()).filter(|&e| known[e]) {
                bounds = [bounds[0].min(feature.values[e]), bounds[1].max(feature.values[e])];
            }
            sources.push(Source::Number(&feature.values, bounds, next));
            next += 1;
        }
        if !wide {
            narrow = next;
        }
    }
    let mut rows = Sparse::new(next as usize);
    for e in 0..known.len() {
        let of_source = |source: &Source<'_>| -> Vec<(u32, f64)> {
            match source {
                Source::Codes(of, places, value) => of(e).iter().filter_map(|&code| Some((places[code as usize]?, *value))).collect(),
                Source::Number(values, [least, most], column) => {
                    let value = values[e].max(*least).min(*most);
                    if value == 0.0 { Vec::new() } else { vec![(*column, f64::from(value))] }
                }
            }
        };
        rows.push((0..ones).map(|c| (c, 1.0)).chain(sources.iter().flat_map(of_source)));
    }
    (rows, (narrow - ones) as usize)
}
