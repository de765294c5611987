//! The rules by which a log is cut into parts, as data.

use serde::{Deserialize, Serialize};

use super::given::entity;
use super::values::{find, places};
use super::{Given, ItemRule, ItemShare, LeaveLastOut, LogView, Random, Split, SplitError, TimeCut, UserRule, Values};

pub(super) const TRAIN: usize = 0;
pub(super) const VALIDATION: usize = 1;
pub(super) const TEST: usize = 2;
pub(super) const THREE: [&str; 3] = ["train", "validation", "test"];

/// How a log is cut into parts. Every rule is deterministic: the same log gives the same parts on any machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitConfig {
    /// Parts `train`, `validation`, `test` along one time line.
    GlobalTime(TimeCut),
    /// Parts `train`, `validation`, `test` by a hash of each row or user.
    Random(Random),
    /// Parts of any names, as a column or the files of the log give them.
    Given(Given),
    /// Parts `train`, `validation`, `test` by the values of an attribute; rows with other values are left out.
    AttributeRange {
        /// Name of the attribute, of rows, users or items.
        attribute: String,
        /// Values of training rows.
        train: Values,
        /// Values of validation rows.
        validation: Values,
        /// Values of test rows.
        test: Values,
    },
    /// Parts `train`, `validation`, `test` with disjoint users.
    ColdUsers {
        /// Which users.
        users: UserRule,
        /// Leaves out the rows of validation and test users on items without a training row, and counts them.
        #[serde(default)]
        known_items: bool,
    },
    /// Parts `train`, `validation`, `new_user`, `new_item`, `both`.
    ///
    /// `train` and `validation` = training and validation users on existing items, `new_user` = held-out users on existing items,
    /// `new_item` = training and validation users on new items, `both` = held-out users on new items.
    ColdUsersItems {
        /// Which users are new.
        users: UserRule,
        /// Which items are new.
        items: ItemRule,
    },
    /// Parts `train`, `validation`, `new_item` with disjoint items: existing items, some of them held out as if they were new, and new items. Users are the same in all.
    ColdItems {
        /// Which items are new.
        items: ItemRule,
        /// Which of the others choose models.
        validation: ItemShare,
    },
    /// Splits by `then` and keeps some domains apart: a row of a held-out domain that `then` puts into `train` goes into `target_train`, and so on.
    HeldOutDomain {
        /// Names of the held-out domains.
        domains: Vec<String>,
        /// The split inside the domains.
        then: Box<SplitConfig>,
    },
    /// Parts `train`, `validation`, `test`: per user, in order of time or position (equal ones: row order; without either: by a hash of user and item), the
    /// last row is test, the last but one validation.
    LeaveLastOut(LeaveLastOut),
}

crate::tagged!(SplitConfig, "kind");

impl SplitConfig {
    /// The same split with bounds that no other row can move: what is saved with a base, so that a log which has grown is cut in the same places.
    ///
    /// # Errors
    /// Bounds that can not be told from the log.
    pub fn fixed(&self, view: LogView<'_>) -> Result<Self, SplitError> {
        Ok(match self {
            Self::GlobalTime(cut) => Self::GlobalTime(cut.fixed(view)?),
            Self::HeldOutDomain { domains, then } => Self::HeldOutDomain { domains: domains.clone(), then: Box::new(then.fixed(view)?) },
            other => other.clone(),
        })
    }

    /// Cuts a log into parts.
    ///
    /// # Errors
    /// A setting that contradicts itself, or an attribute, domain or time that the log does not have.
    pub fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        let (log, rows) = (view.log, view.log.len());
        match self {
            Self::GlobalTime(cut) => cut.split(view),
            Self::AttributeRange { attribute, train, validation, test } => {
                let attribute = find(view, attribute)?;
                let place = places(attribute, &[("train", train), ("validation", validation), ("test", test)])?;
                let mut split = Split::by_row(rows, &THREE, |row| place[entity(view, attribute, row)]);
                if split.left_out() > 0 {
                    let (out, name) = (split.left_out(), &attribute.name);
                    split
                        .notes
                        .push(format!("{out} of {rows} rows are left out, for the value of their `{name}` is in no part of the split."));
                }
                Ok(split)
            }
            Self::Random(random) => random.split(view),
            Self::Given(given) => given.split(view),
            Self::ColdUsers { users, known_items } => {
                let role = users.roles(view)?;
                let mut known = vec![!known_items; view.items.len()];
                let trains = |row: usize| role[log.user[row].at()] == TRAIN;
                (0..rows).filter(|&row| trains(row)).for_each(|row| known[log.item[row].at()] = true);
                let mut split = Split::by_row(rows, &THREE, |row| known[log.item[row].at()].then(|| role[log.user[row].at()]));
                if *known_items {
                    let out = split.left_out();
                    split
                        .notes
                        .push(format!("{out} of {rows} rows are left out: their users do not train, and no training user has their item."));
                }
                Ok(split)
            }
            Self::ColdUsersItems { users, items } => {
                let (role, new) = (users.roles(view)?, items.new_items(view)?);
                let names = ["train", "validation", "new_user", "new_item", "both"];
                Ok(Split::by_row(rows, &names, |row| {
                    Some(match (role[log.user[row].at()], new[log.item[row].at()]) {
                        (role, false) => role,
                        (TEST, true) => 4,
                        (_, true) => 3,
                    })
                }))
            }
            Self::ColdItems { items, validation } => {
                let role = validation.roles(view, &items.new_items(view)?)?;
                Ok(Split::by_row(rows, &["train", "validation", "new_item"], |row| Some(role[log.item[row].at()])))
            }
            Self::HeldOutDomain { domains, then } => held_out(view, domains, &then.split(view)?),
            Self::LeaveLastOut(rule) => rule.split(view),
        }
    }
}

fn held_out(view: LogView<'_>, domains: &[String], inner: &Split) -> Result<Split, SplitError> {
    let held = if domains.is_empty() { vec![false; view.domains.len()] } else { view.marked(domains)? };
    let is_held = |row: &u32| held[view.log.domain[*row as usize].at()];
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for (name, rows) in inner.parts() {
        let (there, here): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| is_held(row));
        source.push((name.to_owned(), here));
        target.push((format!("target_{name}"), there));
    }
    source.extend(target);
    Ok(Split::new(inner.total(), source)?.with_notes(inner.notes()))
}

#[cfg(test)]
mod tests;
