//! What methods that solve for new items read of rows: who rated, what is known of them, and the content of items.

use std::collections::BTreeMap;

use acclimate_data::{Schema, Side};
use acclimate_fit::{Ratings, Sparse};

use super::columns::{Column, LEAST, columns, id_of, of_side, read, width};
use crate::AdaptError;
use crate::adaptation::Answered;

/// The features that are read.
#[derive(Debug)]
pub(crate) struct ItemRows {
    /// Place of the user's id among the categorical features, and its codes.
    pub(crate) user: (usize, usize),
    /// Content of items, narrow features first.
    pub(crate) content: Vec<Column>,
    /// How many columns of content are narrow.
    narrow: usize,
    /// Features of users, from column 1 on; column 0 is 1 for all.
    pub(crate) people: Vec<Column>,
}

impl ItemRows {
    /// Of a schema, with the names of the ids where they are given.
    pub(crate) fn new(method: &'static str, schema: &Schema, user: Option<&String>, item: Option<&String>) -> Result<Self, AdaptError> {
        for (key, name) in [("user", user), ("item", item)] {
            if let Some(name) = name.filter(|name| !schema.categorical.iter().any(|f| f.name == **name)) {
                return Err(AdaptError::Value { method, key, problem: format!("`{name}` is no categorical feature of the data") });
            }
        }
        let Some(user) = id_of(schema, Side::User, user) else {
            let problem = "the data has no categorical feature of users; add the user's id as a feature".into();
            return Err(AdaptError::Unsupported { method, problem });
        };
        let item = id_of(schema, Side::Item, item);
        let narrow = width(&columns(&of_side(schema, Side::Item, item, false), 0), 0);
        let content = columns(&[false, true].map(|wide| of_side(schema, Side::Item, item, wide)).concat(), 0);
        let people: Vec<_> = of_side(schema, Side::User, Some(user), false).into_iter().filter(|(_, is_bag, ..)| !is_bag).collect();
        let users = schema.vocabularies[schema.categorical[user].vocabulary.at()].rows;
        Ok(Self { user: (user, users), content, narrow, people: columns(&people, 1) })
    }

    /// The rows by user, as a model is fitted to them, with the codes of these users.
    pub(crate) fn ratings(&self, rows: &Answered<'_>) -> (Ratings, Vec<usize>) {
        let items = rows.tasks.iter().max().map_or(0, |last| *last as usize + 1);
        let mut first_row = vec![usize::MAX; items];
        let mut of_user: BTreeMap<usize, (usize, Vec<(u32, f64)>)> = BTreeMap::new();
        for (i, &item) in rows.tasks.iter().enumerate() {
            first_row[item as usize] = first_row[item as usize].min(i);
            // A row of an unknown user says nothing of any.
            let code = rows.codes[i * rows.fields + self.user.0] as usize;
            if code > 0 && code < self.user.1 {
                of_user.entry(code).or_insert_with(|| (i, Vec::new())).1.push((item, f64::from(rows.labels[i])));
            }
        }
        let mut content = Sparse::new(width(&self.content, 0));
        let mut counts = vec![0; content.width];
        let of_content: Vec<_> =
            first_row.iter().map(|&i| if i == usize::MAX { Vec::new() } else { read(rows, i, &self.content) }).collect();
        of_content.iter().flatten().for_each(|(column, _)| counts[*column as usize] += 1);
        for row in of_content {
            content.push(row.into_iter().filter(|(c, _)| (*c as usize) < self.narrow || counts[*c as usize] >= LEAST));
        }
        let (mut rated, mut people) = (Sparse::new(items), Sparse::new(width(&self.people, 1)));
        let mut codes = Vec::with_capacity(of_user.len());
        for (code, (first, of_user)) in of_user {
            codes.push(code);
            rated.push(of_user);
            people.push(std::iter::once((0, 1.0)).chain(read(rows, first, &self.people)));
        }
        (Ratings { rated, content, narrow: self.narrow, people }, codes)
    }
}
