//! Training without some inputs: values replaced by the unknown; and methods that never read one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use acclimate_adapt::{Hidden, Needs, Reading, StandIn};
use acclimate_data::{BagColumn, Batch, FieldSchema, RandomStream, Schema};
use acclimate_model::{Base, Table};

use crate::config::{Hide, HideRare};
use crate::feed::{Feed, Feeding};
use crate::{TrainConfig, TrainError};

/// The batch as a method sees it: without a feature that it does not read, and without codes that its reading leaves out.
pub(crate) fn seen<'b>(batch: &'b Batch, needs: Needs, reading: Option<&Reading>) -> Cow<'b, Batch> {
    let batch = match needs.hidden {
        None => Cow::Borrowed(batch),
        Some(hidden) => without(batch, &[hidden.field]),
    };
    match (reading, batch) {
        (None, batch) => batch,
        (Some(reading), Cow::Borrowed(batch)) => reading.read(batch),
        (Some(reading), Cow::Owned(batch)) => Cow::Owned(reading.read(&batch).into_owned()),
    }
}

/// The batch with some features unknown.
pub(crate) fn without<'b>(batch: &'b Batch, features: &[usize]) -> Cow<'b, Batch> {
    if features.is_empty() || batch.is_empty() {
        return Cow::Borrowed(batch);
    }
    let mut batch = batch.clone();
    for row in batch.categorical.chunks_exact_mut(batch.fields) {
        features.iter().for_each(|&feature| row[feature] = 0);
    }
    Cow::Owned(batch)
}

/// The tables as a method sees them: where it asks for that, the row of the unknown id is the mean of all others.
pub(crate) fn tables(base: &Base, needs: Needs) -> Cow<'_, [Arc<Table>]> {
    let Some(Hidden { field, stand_in: StandIn::Mean }) = needs.hidden else { return Cow::Borrowed(&base.tables) };
    let name = &base.spec.schema.categorical[field].name;
    let slot = base.backbone.architecture().slots.iter().find(|slot| slot.feature == *name);
    let Some(at) = slot.and_then(|slot| slot.table) else { return Cow::Borrowed(&base.tables) };
    let mut tables = base.tables.clone();
    let table = Arc::make_mut(&mut tables[at]);
    let d = table.d.max(1);
    let (unknown, known) = table.values.split_at_mut(d);
    for (k, value) in unknown.iter_mut().enumerate() {
        let sum: f64 = known.iter().skip(k).step_by(d).map(|x| f64::from(*x)).sum();
        *value = (sum / (known.len() / d).max(1) as f64) as f32;
    }
    Cow::Owned(tables)
}

/// Columns of one kind in a batch.
#[derive(Clone, Copy, Debug)]
enum Column {
    Category(usize),
    List(usize),
    Number(usize),
}

/// Training rows of each code, of the categorical features that are hidden by them.
#[derive(Debug, Default)]
pub(crate) struct CodeCounts(BTreeMap<usize, Vec<u32>>);

impl CodeCounts {
    /// Counts the rows of a feed's first epoch, of query and support, where a config asks for that.
    ///
    /// # Errors
    /// An interruption.
    pub(crate) fn of(schema: &Schema, config: &TrainConfig, feed: &dyn Feed, stop: &AtomicBool) -> Result<Self, TrainError> {
        let is_counted = |name: &str| config.hide.get(name).is_some_and(|hide| hide.counts());
        let counted = schema.categorical.iter().enumerate().filter(|(_, feature)| is_counted(&feature.name));
        let none = |feature: &FieldSchema| vec![0; schema.vocabularies[feature.vocabulary.at()].rows];
        let mut counts: BTreeMap<usize, Vec<u32>> = counted.map(|(field, feature)| (field, none(feature))).collect();
        let steps = if counts.is_empty() { 0 } else { feed.steps(0) };
        for step in 0..steps {
            let Feeding { query, support } = feed.batch(0, step);
            for batch in std::iter::once(&query).chain(&support) {
                let real = || batch.categorical.chunks_exact(batch.fields).zip(&batch.mask).filter(|(_, mask)| **mask != 0.0);
                counts.iter_mut().for_each(|(&field, of_codes)| real().for_each(|(codes, _)| of_codes[codes[field] as usize] += 1));
            }
            if stop.load(Ordering::Relaxed) {
                return Err(TrainError::Interrupted { epoch: 0, step: step as u64 });
            }
        }
        Ok(Self(counts))
    }

    fn rows(&self, field: usize, code: u32) -> f64 {
        self.0.get(&field).map_or(0.0, |of_codes| f64::from(of_codes[code as usize]))
    }
}

/// Replaces values by the unknown, as `hide` and `hide_together` of a config ask: one draw for each feature or group, batch and row.
pub(crate) fn hide(schema: &Schema, config: &TrainConfig, counts: &CodeCounts, batches: &mut [&mut Batch], stream: &mut RandomStream) {
    for (column, name) in columns(schema) {
        let Some(&hide) = config.hide.get(name) else { continue };
        for batch in batches.iter_mut() {
            match (hide, column) {
                (Hide::Always(probability), _) => draw(batch, &[column], |_| probability, stream),
                (Hide::Rare(HideRare { count }), Column::Category(field)) => {
                    // No count at all hides nothing.
                    let probability = |code: u32| count / (count + counts.rows(field, code)).max(f64::MIN_POSITIVE);
                    let of_row: Vec<f64> = batch.categorical.chunks_exact(batch.fields).map(|codes| probability(codes[field])).collect();
                    draw(batch, &[column], |row| of_row[row], stream);
                }
                (Hide::Rare(_), Column::List(_) | Column::Number(_)) => unreachable!("a config that counts other features is refused"),
            }
        }
    }
    for group in &config.hide_together {
        let members: Vec<Column> = columns(schema).filter(|(_, name)| group.features.iter().any(|f| f == name)).map(|(c, _)| c).collect();
        for batch in batches.iter_mut() {
            draw(batch, &members, |_| group.probability, stream);
        }
    }
}

fn columns(schema: &Schema) -> impl Iterator<Item = (Column, &str)> {
    let categories = schema.categorical.iter().enumerate().map(|(i, f)| (Column::Category(i), f.name.as_str()));
    let lists = schema.bags.iter().enumerate().map(|(i, f)| (Column::List(i), f.name.as_str()));
    categories.chain(lists).chain(schema.numeric.iter().enumerate().map(|(i, name)| (Column::Number(i), name.as_str())))
}

/// Hides some columns in the rows that are drawn, each with its probability.
fn draw(batch: &mut Batch, columns: &[Column], probability: impl Fn(usize) -> f64, stream: &mut RandomStream) {
    let hidden: Vec<bool> = (0..batch.len()).map(|row| stream.unit() < probability(row)).collect();
    let rows = || hidden.iter().enumerate().filter(|(_, hidden)| **hidden).map(|(row, _)| row);
    for &column in columns {
        match column {
            Column::Category(field) => rows().for_each(|row| batch.categorical[row * batch.fields + field] = 0),
            Column::Number(number) => rows().for_each(|row| batch.numeric[row * batch.numbers + number] = batch.unknown[number]),
            Column::List(bag) => empty(&mut batch.bags[bag], &hidden),
        }
    }
}

/// Empties the lists of some rows.
fn empty(bag: &mut BagColumn, hidden: &[bool]) {
    let (mut kept, mut begin) = (0, 0);
    for (row, &hidden) in hidden.iter().enumerate() {
        let end = bag.offsets[row + 1] as usize;
        if !hidden {
            bag.codes.copy_within(begin..end, kept);
            kept += end - begin;
        }
        begin = end;
        bag.offsets[row + 1] = u32::try_from(kept).expect("a batch holds fewer than 2^32 codes");
    }
    bag.codes.truncate(kept);
}

#[cfg(test)]
mod tests {
    use acclimate_data::SimulatorConfig;

    use super::*;
    use crate::HideTogether;

    fn hidden(config: &TrainConfig) -> (Batch, Batch) {
        let simulation = SimulatorConfig { users: 200, items: 200, rows: 2000, cold_users: 5, cold_rows: 5, ..SimulatorConfig::default() };
        let data = simulation.simulate(1).expect("the settings fit together").dataset;
        let whole = Batch::single(&data, &(0..1000).collect::<Vec<_>>());
        let mut batch = whole.clone();
        hide(&data.schema(), config, &CodeCounts::default(), &mut [&mut batch], &mut RandomStream::new(1, 2, 3));
        (whole, batch)
    }

    fn list(batch: &Batch, row: usize) -> &[u32] {
        let bag = &batch.bags[0];
        &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
    }

    #[test]
    fn lists_and_numbers_are_hidden_as_categories_are() {
        let config = TrainConfig {
            hide: [("tags".to_owned(), 0.3.into()), ("user_trait_0".to_owned(), 0.6.into())].into(),
            ..TrainConfig::default()
        };
        let (whole, batch) = hidden(&config);
        let numbers = batch.numbers;
        let (mut lists, mut values) = (0, 0);
        for row in 0..1000 {
            assert!(list(&batch, row).is_empty() || list(&batch, row) == list(&whole, row));
            lists += usize::from(list(&batch, row).is_empty() && !list(&whole, row).is_empty());
            let (before, after) = (&whole.numeric[row * numbers..][..numbers], &batch.numeric[row * numbers..][..numbers]);
            assert!(after[0] == before[0] || after[0] == batch.unknown[0]);
            values += usize::from(after[0] != before[0]);
            assert_eq!(before[1..], after[1..]);
        }
        assert_eq!(whole.categorical, batch.categorical);
        assert!((200..400).contains(&lists) && (500..700).contains(&values), "{lists} {values}");
    }

    #[test]
    fn features_of_a_group_are_hidden_in_the_same_rows() {
        let features = ["domain", "tags", "user_trait_0"].map(str::to_owned).to_vec();
        let config = TrainConfig { hide_together: vec![HideTogether { features, probability: 0.5 }], ..TrainConfig::default() };
        let (whole, batch) = hidden(&config);
        let domain = |batch: &Batch, row: usize| batch.categorical[(row + 1) * batch.fields - 1];
        let rows = (0..1000).filter(|&row| domain(&whole, row) != 0);
        let mut together = 0;
        for row in rows {
            let is_hidden = domain(&batch, row) == 0;
            together += usize::from(is_hidden);
            assert_eq!(list(&batch, row).is_empty(), is_hidden || list(&whole, row).is_empty());
            assert_eq!(batch.numeric[row * batch.numbers] == batch.unknown[0], is_hidden);
        }
        assert!((400..600).contains(&together), "{together}");
    }
}
