//! Known users and items: whoever names one by its id need not say its features.

use std::borrow::Cow;
use std::collections::HashMap;

use acclimate_data::{Dataset, EncodedRows, Encoding, FeatureEncoder, RawValue, Side};
use acclimate_plan::BagColumn;

use crate::api::Given;

/// The features of the users and items of a data set, as its base reads them.
#[derive(Debug)]
pub struct Catalogue {
    ids: [hashbrown::HashMap<String, u32>; 2],
    columns: HashMap<String, Column>,
}

#[derive(Debug)]
struct Column {
    side: Side,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Codes(Vec<u32>),
    Numbers(Vec<f32>),
    Lists(BagColumn),
}

/// An id as text.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    match value {
        RawValue::Text(text) => Some(text.into()),
        RawValue::Integer(number) => Some(number.to_string().into()),
        RawValue::Unsigned(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// The column of an entity's id.
fn id(side: Side) -> Option<(usize, &'static str)> {
    match side {
        Side::User => Some((0, "user")),
        Side::Item => Some((1, "item")),
        Side::Row => None,
    }
}

impl Catalogue {
    /// The users and items of a data set that was encoded as the base's.
    #[must_use]
    pub fn new(dataset: &Dataset) -> Self {
        let ids = |names: &[String]| names.iter().cloned().zip(0..).collect();
        let features = &dataset.features;
        let mut columns = HashMap::new();
        let mut add = |name: &String, side: Side, values: Values| {
            if side != Side::Row {
                columns.insert(name.clone(), Column { side, values });
            }
        };
        for feature in &features.categorical {
            add(&feature.name, feature.side, Values::Codes(if feature.side == Side::Row { Vec::new() } else { feature.codes.clone() }));
        }
        for feature in &features.numeric {
            add(&feature.name, feature.side, Values::Numbers(if feature.side == Side::Row { Vec::new() } else { feature.values.clone() }));
        }
        for feature in &features.bags {
            let entities = match feature.side {
                Side::User => dataset.users.len(),
                Side::Item => dataset.items.len(),
                Side::Row => 0,
            };
            let mut bag = BagColumn { offsets: vec![0], codes: Vec::new() };
            for entity in 0..entities {
                bag.codes.extend_from_slice(feature.lists.of(entity));
                bag.offsets.push(bag.codes.len() as u32);
            }
            add(&feature.name, feature.side, Values::Lists(bag));
        }
        Self { ids: [ids(&dataset.users), ids(&dataset.items)], columns }
    }

    /// Number of users and of items.
    #[must_use]
    pub fn sizes(&self) -> [usize; 2] {
        [self.ids[0].len(), self.ids[1].len()]
    }

    fn entity(&self, side: Side, shared: &Given, row: Option<&Given>) -> Option<usize> {
        let (kind, column) = id(side)?;
        let id = row.and_then(|row| row.get(column)).or_else(|| shared.get(column))?;
        let id = text(id)?;
        let ids = &self.ids[kind];
        // Where an item means one inside its domain only, it is named with it.
        let inside = || ids.get(&format!("{}/{id}", text(shared.get("domain")?)?));
        ids.get(id.as_ref()).or_else(inside).map(|&entity| entity as usize)
    }

    /// Fills in what rows do not say of users and items that are known. `features` are those that were encoded, in their order; `rows` are the rows as they were given, none for what all share.
    pub(crate) fn fill<'f>(
        &self,
        features: impl Iterator<Item = &'f FeatureEncoder>,
        shared: &Given,
        rows: Option<&[Given]>,
        out: &mut EncodedRows,
    ) {
        let (mut field, mut number, mut bag) = (0, 0, 0);
        // Each id is looked up once, whatever the number of features; one that all rows share, once for all.
        let mut of_sides: [Option<Vec<Option<usize>>>; 2] = [None, None];
        let count = out.rows;
        let entities = |side: Side, column: &str| -> Vec<Option<usize>> {
            let each = rows.filter(|rows| rows.iter().any(|row| row.contains_key(column)));
            match each {
                Some(rows) => rows.iter().map(|row| self.entity(side, shared, Some(row))).collect(),
                None => vec![self.entity(side, shared, None); count],
            }
        };
        // Rows that are named by their id and nothing else give no feature.
        let are_named = rows.is_some_and(|rows| rows.iter().all(|row| row.len() == 1 && row.contains_key("item")));
        for feature in features {
            let next = |count: &mut usize| std::mem::replace(count, *count + 1);
            let place = match feature.encoding {
                Encoding::Categorical(_) => next(&mut field),
                Encoding::Numeric(_) => next(&mut number),
                Encoding::Bag(_) => next(&mut bag),
            };
            let Some(column) = self.columns.get(&feature.name).filter(|column| column.side == feature.side) else { continue };
            // Given by its own name, or by that of the column that it repeats.
            let repeated = feature.repeats().filter(|name| !["user", "item", "domain", "time"].contains(name));
            let gives = |given: &Given| given.contains_key(&feature.name) || repeated.is_some_and(|name| given.contains_key(name));
            if gives(shared) {
                continue;
            }
            let Some((side, name)) = id(column.side) else { continue };
            let known = &*of_sides[side].get_or_insert_with(|| entities(column.side, name));
            let gives_none = are_named && feature.name != "item" && repeated != Some("item");
            let of_row = |row: usize| known[row].filter(|_| gives_none || rows.is_none_or(|rows| !gives(&rows[row])));
            match &column.values {
                Values::Codes(codes) => {
                    // What the row itself gives, an id by its own, stays.
                    for row in 0..out.rows {
                        let cell = row * out.fields + place;
                        if let Some(&code) = of_row(row).filter(|_| out.codes[cell] == 0).and_then(|entity| codes.get(entity)) {
                            out.codes[cell] = code;
                        }
                    }
                }
                Values::Numbers(numbers) => {
                    for row in 0..out.rows {
                        if let Some(&value) = of_row(row).and_then(|entity| numbers.get(entity)) {
                            out.numeric[row * out.numbers + place] = value;
                        }
                    }
                }
                Values::Lists(lists) => {
                    let own = std::mem::take(&mut out.bags[place]);
                    let filled = &mut out.bags[place];
                    filled.offsets.push(0);
                    let part = |offsets: &[u32], at: usize| offsets[at] as usize..offsets[at + 1] as usize;
                    for row in 0..out.rows {
                        match of_row(row).filter(|entity| entity + 1 < lists.offsets.len()) {
                            Some(entity) => filled.codes.extend_from_slice(&lists.codes[part(&lists.offsets, entity)]),
                            None => filled.codes.extend_from_slice(&own.codes[part(&own.offsets, row)]),
                        }
                        filled.offsets.push(filled.codes.len() as u32);
                    }
                }
            }
        }
    }
}
