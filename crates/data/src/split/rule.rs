//! The rules by which a log is cut into parts, as data.

use serde::{Deserialize, Serialize};

use super::{LogView, Split, SplitError};
use crate::hash::{hash64, sha256_order};
use crate::{Attribute, Side};

const TRAIN: usize = 0;
const VALIDATION: usize = 1;
const TEST: usize = 2;
const THREE: [&str; 3] = ["train", "validation", "test"];

/// How a log is cut into parts. Every rule is deterministic: the same log gives the same parts on any machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum SplitConfig {
    /// Parts `train`, `validation`, `test` along one time line.
    GlobalTime {
        /// First second (since 1970, UTC) of validation; earlier rows are training rows.
        validation_from: i64,
        /// First second of test.
        test_from: i64,
    },
    /// Parts `train`, `validation`, `test` by an attribute; both ends of a range belong to it, rows in no range are left out.
    AttributeRange {
        /// Name of the attribute, of rows, users or items.
        attribute: String,
        /// Lowest and highest value of training rows.
        train: [i64; 2],
        /// Lowest and highest value of validation rows.
        validation: [i64; 2],
        /// Lowest and highest value of test rows.
        test: [i64; 2],
    },
    /// Parts `train`, `validation`, `test` with disjoint users.
    ColdUsers {
        /// Which users.
        users: UserRule,
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
    /// Splits by `then` and keeps some domains apart: a row of a held-out domain that `then` puts into `train` goes into `target_train`, and so on.
    HeldOutDomain {
        /// Names of the held-out domains.
        domains: Vec<String>,
        /// The split inside the domains.
        then: Box<SplitConfig>,
    },
    /// Parts `train`, `validation`, `test`: per user, in time order (equal times: row order; without time: row order), the last row is test, the last but one validation.
    LeaveLastOut {
        /// Users with fewer rows stay in training as a whole; the default 3 leaves every tested user a training row.
        #[serde(default = "three")]
        min_rows: usize,
    },
}

crate::tagged!(SplitConfig, "kind");

fn three() -> usize {
    3
}

/// Which users are held out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum UserRule {
    /// Users sorted by SHA-256 of `<prefix><id>`; of U users the first `floor(U * existing_percent / 100)` are existing, the rest are test users.
    Rank {
        /// Text before the id, such as `user:`.
        prefix: String,
        /// Share of existing users, in percent.
        existing_percent: u32,
        /// Share of the *existing* users that are validation users, in percent (rounded down).
        validation_percent: u32,
        /// Which end of the existing users they are.
        #[serde(default)]
        validation: Existing,
    },
    /// By `H(salt; id) mod modulus`, see [`hash64`]; ids must be whole numbers. Residues in neither range are training users.
    Residue {
        /// First argument of the hash.
        salt: u64,
        /// Number of classes.
        modulus: u64,
        /// Lowest and highest residue of validation users.
        validation: [u64; 2],
        /// Lowest and highest residue of test users.
        test: [u64; 2],
    },
}

crate::tagged!(UserRule, "rule");

/// One end of the ranking of existing users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// Validation users come first, then training users.
    #[default]
    First,
    /// Training users come first.
    Last,
}

/// Which items are new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum ItemRule {
    /// Items whose attribute is at least `new_from`, such as a year.
    Attribute {
        /// Name of an attribute of items.
        attribute: String,
        /// Smallest value of new items.
        new_from: i64,
    },
    /// Items sorted by SHA-256 of `<prefix><id>`; the first `existing_percent` (rounded down) are existing, the rest new.
    Rank {
        /// Text before the id, such as `item:`.
        prefix: String,
        /// Share of existing items, in percent.
        existing_percent: u32,
    },
}

crate::tagged!(ItemRule, "rule");

impl SplitConfig {
    /// Cuts a log into parts.
    ///
    /// # Errors
    /// A setting that contradicts itself, or an attribute, domain or time that the log does not have.
    pub fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        let (log, rows) = (view.log, view.log.len());
        match self {
            Self::GlobalTime { validation_from, test_from } => {
                if log.time.len() != rows {
                    return Err(SplitError::NoTime);
                }
                if validation_from > test_from {
                    return Err(SplitError::Setting { setting: "test_from", problem: "lies before validation_from; swap them" });
                }
                let part = |t: i64| usize::from(t >= *validation_from) + usize::from(t >= *test_from);
                Ok(Split::by_row(rows, &THREE, |row| Some(part(log.time[row]))))
            }
            Self::AttributeRange { attribute, train, validation, test } => {
                let ranges = [*train, *validation, *test];
                disjoint("train, validation, test", &ranges)?;
                let attribute = find(view, attribute)?;
                let inside = |value: i64| ranges.iter().position(|[low, high]| (*low..=*high).contains(&value));
                Ok(Split::by_row(rows, &THREE, |row| inside(value(view, attribute, row))))
            }
            Self::ColdUsers { users } => {
                let role = users.roles(view.users)?;
                Ok(Split::by_row(rows, &THREE, |row| Some(role[log.user[row].at()])))
            }
            Self::ColdUsersItems { users, items } => {
                let (role, new) = (users.roles(view.users)?, items.new_items(view)?);
                let names = ["train", "validation", "new_user", "new_item", "both"];
                Ok(Split::by_row(rows, &names, |row| {
                    Some(match (role[log.user[row].at()], new[log.item[row].at()]) {
                        (role, false) => role,
                        (TEST, true) => 4,
                        (_, true) => 3,
                    })
                }))
            }
            Self::HeldOutDomain { domains, then } => held_out(view, domains, &then.split(view)?),
            Self::LeaveLastOut { min_rows } => Ok(leave_last_out(view, *min_rows)),
        }
    }
}

impl UserRule {
    /// Role of each user: 0 training, 1 validation, 2 test.
    fn roles(&self, users: &[String]) -> Result<Vec<usize>, SplitError> {
        match self {
            Self::Rank { prefix, existing_percent, validation_percent, validation } => {
                percent("existing_percent", *existing_percent)?;
                percent("validation_percent", *validation_percent)?;
                let order = sha256_order(users.len(), |u| format!("{prefix}{}", users[u]));
                let existing = share(users.len(), *existing_percent);
                let held = share(existing, *validation_percent);
                let validation = match validation {
                    Existing::First => 0..held,
                    Existing::Last => existing - held..existing,
                };
                let mut role = vec![TRAIN; users.len()];
                for (rank, &user) in order.iter().enumerate() {
                    if rank >= existing {
                        role[user as usize] = TEST;
                    } else if validation.contains(&rank) {
                        role[user as usize] = VALIDATION;
                    }
                }
                Ok(role)
            }
            Self::Residue { salt, modulus, validation, test } => {
                if *modulus == 0 {
                    return Err(SplitError::Setting { setting: "modulus", problem: "is 0; use the number of classes, such as 10" });
                }
                disjoint("validation, test", &[*validation, *test])?;
                users
                    .iter()
                    .map(|id| {
                        let number = id.parse().map_err(|_| SplitError::NotANumber { entity: "user", id: id.clone() })?;
                        let residue = hash64(*salt, number, 0) % modulus;
                        let inside = |[low, high]: [u64; 2]| (low..=high).contains(&residue);
                        Ok(if inside(*test) {
                            TEST
                        } else if inside(*validation) {
                            VALIDATION
                        } else {
                            TRAIN
                        })
                    })
                    .collect()
            }
        }
    }
}

impl ItemRule {
    fn new_items(&self, view: LogView<'_>) -> Result<Vec<bool>, SplitError> {
        match self {
            Self::Attribute { attribute, new_from } => {
                let attribute = find(view, attribute)?;
                if attribute.side != Side::Item {
                    return Err(SplitError::NotAnItemAttribute { attribute: attribute.name.clone() });
                }
                Ok(attribute.values.iter().map(|v| v >= new_from).collect())
            }
            Self::Rank { prefix, existing_percent } => {
                percent("existing_percent", *existing_percent)?;
                let mut new = vec![false; view.items.len()];
                let order = sha256_order(view.items.len(), |i| format!("{prefix}{}", view.items[i]));
                order[share(new.len(), *existing_percent)..].iter().for_each(|&i| new[i as usize] = true);
                Ok(new)
            }
        }
    }
}

fn held_out(view: LogView<'_>, domains: &[String], inner: &Split) -> Result<Split, SplitError> {
    let mut held = vec![false; view.domains.len()];
    for domain in domains {
        let at = view
            .domains
            .iter()
            .position(|name| name == domain)
            .ok_or_else(|| SplitError::UnknownDomain { domain: domain.clone(), known: view.domains.to_vec() })?;
        held[at] = true;
    }
    let is_held = |row: &u32| held[view.log.domain[*row as usize].at()];
    let (mut source, mut target) = (Vec::new(), Vec::new());
    for (name, rows) in inner.parts() {
        let (there, here): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| is_held(row));
        source.push((name.to_owned(), here));
        target.push((format!("target_{name}"), there));
    }
    source.extend(target);
    Split::new(inner.total(), source)
}

fn leave_last_out(view: LogView<'_>, min_rows: usize) -> Split {
    let log = view.log;
    let mut order: Vec<u32> = (0..log.len() as u32).collect();
    let time = |row: u32| log.time.get(row as usize).copied().unwrap_or(0);
    order.sort_by_key(|&row| (log.user[row as usize], time(row)));
    let mut part = vec![TRAIN; log.len()];
    for rows in order.chunk_by(|&a, &b| log.user[a as usize] == log.user[b as usize]).filter(|rows| rows.len() >= min_rows.max(1)) {
        part[rows[rows.len() - 1] as usize] = TEST;
        if let Some(before) = rows.len().checked_sub(2) {
            part[rows[before] as usize] = VALIDATION;
        }
    }
    Split::by_row(log.len(), &THREE, |row| Some(part[row]))
}

fn find<'a>(view: LogView<'a>, name: &str) -> Result<&'a Attribute, SplitError> {
    view.attributes.iter().find(|a| a.name == name).ok_or_else(|| SplitError::UnknownAttribute {
        attribute: name.to_owned(),
        known: view.attributes.iter().map(|a| a.name.clone()).collect(),
    })
}

fn value(view: LogView<'_>, attribute: &Attribute, row: usize) -> i64 {
    attribute.values[match attribute.side {
        Side::Row => row,
        Side::User => view.log.user[row].at(),
        Side::Item => view.log.item[row].at(),
    }]
}

fn share(n: usize, percent: u32) -> usize {
    (n as u64 * u64::from(percent) / 100) as usize
}

fn percent(setting: &'static str, value: u32) -> Result<(), SplitError> {
    if value > 100 { Err(SplitError::Setting { setting, problem: "is above 100; give a share in percent" }) } else { Ok(()) }
}

fn disjoint<T: PartialOrd>(setting: &'static str, ranges: &[[T; 2]]) -> Result<(), SplitError> {
    for (i, [low, high]) in ranges.iter().enumerate() {
        if low > high {
            return Err(SplitError::Setting { setting, problem: "a range ends before it begins; write it as [lowest, highest]" });
        }
        if ranges[..i].iter().any(|[l, h]| low <= h && l <= high) {
            return Err(SplitError::Setting { setting, problem: "two ranges share a value; make them disjoint" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
