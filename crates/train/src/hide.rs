//! Training without some inputs: values replaced by the unknown; and methods that never read one.

use std::borrow::Cow;
use std::sync::Arc;

use acclimate_adapt::{Hidden, Needs, StandIn};
use acclimate_data::{BagColumn, Batch, RandomStream, Schema};
use acclimate_model::{Base, Table};

use crate::TrainConfig;

/// The batch as a method sees it: without a feature that it does not read.
pub(crate) fn seen(batch: &Batch, needs: Needs) -> Cow<'_, Batch> {
    match needs.hidden {
        None => Cow::Borrowed(batch),
        Some(hidden) => without(batch, &[hidden.field]),
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

/// Replaces values by the unknown, as `hide` and `hide_together` of a config ask: one draw for each feature or group, batch and row.
pub(crate) fn hide(schema: &Schema, config: &TrainConfig, batches: &mut [&mut Batch], stream: &mut RandomStream) {
    for (column, name) in columns(schema) {
        let Some(&probability) = config.hide.get(name) else { continue };
        for batch in batches.iter_mut() {
            draw(batch, &[column], probability, stream);
        }
    }
    for group in &config.hide_together {
        let members: Vec<Column> = columns(schema).filter(|(_, name)| group.features.iter().any(|f| f == name)).map(|(c, _)| c).collect();
        for batch in batches.iter_mut() {
            draw(batch, &members, group.probability, stream);
        }
    }
}

fn columns(schema: &Schema) -> impl Iterator<Item = (Column, &str)> {
    let categories = schema.categorical.iter().enumerate().map(|(i, f)| (Column::Category(i), f.name.as_str()));
    let lists = schema.bags.iter().enumerate().map(|(i, f)| (Column::List(i), f.name.as_str()));
    categories.chain(lists).chain(schema.numeric.iter().enumerate().map(|(i, name)| (Column::Number(i), name.as_str())))
}

/// Hides some columns in the rows that are drawn.
fn draw(batch: &mut Batch, columns: &[Column], probability: f64, stream: &mut RandomStream) {
    let hidden: Vec<bool> = (0..batch.len()).map(|_| stream.unit() < probability).collect();
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
        hide(&data.schema(), config, &mut [&mut batch], &mut RandomStream::new(1, 2, 3));
        (whole, batch)
    }

    fn list(batch: &Batch, row: usize) -> &[u32] {
        let bag = &batch.bags[0];
        &bag.codes[bag.offsets[row] as usize..bag.offsets[row + 1] as usize]
    }

    #[test]
    fn lists_and_numbers_are_hidden_as_categories_are() {
        let config = TrainConfig { hide: [("tags".to_owned(), 0.3), ("user_trait_0".to_owned(), 0.6)].into(), ..TrainConfig::default() };
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
