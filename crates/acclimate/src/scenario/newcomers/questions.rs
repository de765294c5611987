//! What is known of people, and what those who are held out are asked for.

use acclimate_fit::bridge::{Known, Pair};

use super::RowsWith;
use crate::lab::Measure;
use crate::source::digest_text;
use crate::{ExperimentError, Lab, Source};

/// People who are new to a target, with what is known of others.
pub(crate) struct Newcomers {
    /// What tables call it.
    pub(crate) name: String,
    /// What training people did; held-out people have no target rows in it. The source may be empty.
    pub(crate) pair: Pair,
    /// Whether each target item has a training row: only such items are ranked.
    pub(crate) is_candidate: Vec<bool>,
    pub(crate) validation: Vec<Held>,
    pub(crate) test: Vec<Held>,
    /// The tables.
    pub(crate) settings: Vec<Setting>,
    /// What validation people choose settings by.
    pub(crate) choosing: Vec<Setting>,
    /// What a reader must know.
    pub(crate) notes: Vec<String>,
    /// Stands for all of this.
    pub(crate) digest: String,
}

/// A person who is new to the target, with all target rows in the order in which they are shown.
pub(crate) struct Held {
    /// Row of the pair.
    pub(crate) person: usize,
    pub(crate) user: u32,
    pub(crate) rows: Vec<(u32, f32)>,
    /// The fixed candidates of sampled metrics, where there are any.
    pub(crate) sampled: Vec<u32>,
}

/// Which questions a table asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    /// What follows the name: nothing, or `,k=3`.
    pub(crate) suffix: String,
    /// Target rows that are shown, and those that no size shows: the rest is asked for.
    pub(crate) shown: Option<(usize, usize)>,
}

/// What one person is asked for.
pub(crate) struct Question<'a> {
    held: &'a Held,
    pair: &'a Pair,
    /// The user's number in the data set.
    pub(crate) user: u32,
    shown: (Vec<u32>, Vec<f64>),
    /// Target items that are asked for.
    pub(crate) asked: Vec<u32>,
    /// Their labels.
    pub(crate) labels: Vec<f32>,
    /// The fixed candidates of sampled metrics.
    pub(crate) sampled: &'a [u32],
}

impl Question<'_> {
    /// What is known of the person.
    pub(crate) fn known(&self) -> Known<'_> {
        Known { source: self.pair.source.row(self.held.person), revealed: (&self.shown.0, &self.shown.1) }
    }

    /// Whether the person has a target item, shown or asked for.
    pub(crate) fn owns(&self, item: u32) -> bool {
        self.held.rows.iter().any(|(own, _)| *own == item)
    }
}

impl Newcomers {
    /// What the people of the measured part are asked for.
    pub(crate) fn asked(&self, measure: Measure, setting: &Setting) -> Vec<Question<'_>> {
        let held = if measure == Measure::Test { &self.test } else { &self.validation };
        self.questions(held, setting)
    }

    /// What validation people are asked for.
    pub(crate) fn validation(&self) -> Vec<Question<'_>> {
        self.choosing.iter().flat_map(|setting| self.questions(&self.validation, setting)).collect()
    }

    fn questions<'a>(&'a self, held: &'a [Held], setting: &Setting) -> Vec<Question<'a>> {
        let question = |held: &'a Held| {
            let (k, most) = setting.shown.unwrap_or((0, 0));
            let (first, rest) = (&held.rows[..k.min(held.rows.len())], held.rows.get(most..).unwrap_or(&[]));
            Question {
                held,
                pair: &self.pair,
                user: held.user,
                shown: first.iter().map(|&(item, value)| (item, f64::from(value))).unzip(),
                asked: rest.iter().map(|(item, _)| *item).collect(),
                labels: rest.iter().map(|(_, label)| *label).collect(),
                sampled: &held.sampled,
            }
        };
        held.iter().map(question).filter(|q| !q.asked.is_empty()).collect()
    }
}

impl Held {
    /// What stands for what people of a part are known by and asked for.
    pub(crate) fn digest(held: &[Held]) -> String {
        digest_text(&format!("{:?}", held.iter().map(|h| (h.person, &h.rows)).collect::<Vec<_>>()))
    }
}

/// Which rows have some of the values of an attribute; none where nothing is named. `key` is where they are named.
pub(crate) fn rows_with(lab: &Lab<'_>, data: &Source, key: &str, named: Option<&RowsWith>) -> Result<Vec<bool>, ExperimentError> {
    let dataset = &data.dataset;
    let Some(held) = named else { return Ok(vec![false; dataset.log.len()]) };
    let problem = |problem: String| lab.experiment.problem(format!("[scenario] {key}"), problem);
    let attribute = dataset.attribute(&held.attribute).ok_or_else(|| {
        let known = dataset.attributes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        problem(format!(
            "names no attribute `{}` of the data set (it has: {known}); add an [[attribute]] to the data-set file",
            held.attribute
        ))
    })?;
    let number = |value: &String| match &attribute.labels {
        Some(labels) => labels.iter().position(|label| label == value).map(|at| at as i64),
        None => value.parse().ok(),
    };
    let mut numbers = Vec::new();
    for value in &held.values {
        let found = number(value).filter(|number| attribute.values.contains(number));
        numbers.push(found.ok_or_else(|| problem(format!("no row has the value `{value}` of `{}`", held.attribute)))?);
    }
    Ok((0..dataset.log.len()).map(|row| numbers.contains(&attribute.values[dataset.log.entity(attribute.side, row)])).collect())
}
