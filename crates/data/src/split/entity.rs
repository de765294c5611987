//! Which users and which items are held out.

use serde::{Deserialize, Serialize};

use super::rule::{TEST, TRAIN, VALIDATION};
use super::values::{Values, find_of, places};
use super::{LogView, SplitError};
use crate::Side;
use crate::hash::{hash64, sha256_order};

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
        /// Share of the users that `validation_of` names that are validation users, in percent (rounded down).
        validation_percent: u32,
        /// What `validation_percent` is a share of.
        #[serde(default)]
        validation_of: ShareOf,
        /// Which end of the existing users they are.
        #[serde(default)]
        validation: Existing,
    },
    /// By `H(salt; id) mod modulus`, see [`hash64`]; ids must be whole numbers, after `prefix` where there is one. Residues in neither range are training users.
    Residue {
        /// First argument of the hash.
        salt: u64,
        /// Number of classes.
        modulus: u64,
        /// Text before the number in ids, as the `c` of `c1736`; users without it are training users. Default none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
        /// Lowest and highest residue of validation users.
        validation: [u64; 2],
        /// Lowest and highest residue of test users.
        test: [u64; 2],
    },
    /// By an attribute of users; those with other values are training users.
    Attribute {
        /// Name of the attribute.
        attribute: String,
        /// Values of validation users.
        validation: Values,
        /// Values of test users.
        test: Values,
    },
}

crate::tagged!(UserRule, "rule");

/// What a share of users is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareOf {
    /// The existing users.
    #[default]
    Existing,
    /// All users, so that 70, 10 and 20 percent can be said as such.
    All,
}

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
    /// By an attribute of items, such as a year; exactly one of the other keys says which are new.
    Attribute {
        /// Name of the attribute.
        attribute: String,
        /// Smallest value of new items.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new_from: Option<i64>,
        /// Values of new items.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        new: Option<Values>,
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

/// A share of the existing items, held out as if they were new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemShare {
    /// Text before the id, such as `item:`: existing items are sorted by SHA-256 of `<prefix><id>`, and the first ones are taken.
    pub prefix: String,
    /// How many of them, in percent (rounded down).
    pub percent: u32,
}

impl ItemShare {
    /// Role of each item: 0 training, 1 validation, 2 new.
    pub(super) fn roles(&self, view: LogView<'_>, new: &[bool]) -> Result<Vec<usize>, SplitError> {
        percent("validation.percent", self.percent)?;
        let mut role: Vec<usize> = new.iter().map(|&new| if new { TEST } else { TRAIN }).collect();
        let order = sha256_order(new.len(), |i| format!("{}{}", self.prefix, view.items[i]));
        let existing: Vec<u32> = order.into_iter().filter(|&i| !new[i as usize]).collect();
        existing[..share(existing.len(), self.percent)].iter().for_each(|&i| role[i as usize] = VALIDATION);
        Ok(role)
    }
}

impl UserRule {
    /// Role of each user: 0 training, 1 validation, 2 test.
    pub(super) fn roles(&self, view: LogView<'_>) -> Result<Vec<usize>, SplitError> {
        let users = view.users;
        match self {
            Self::Rank { prefix, existing_percent, validation_percent, validation_of, validation } => {
                percent("existing_percent", *existing_percent)?;
                percent("validation_percent", *validation_percent)?;
                let order = sha256_order(users.len(), |u| format!("{prefix}{}", users[u]));
                let existing = share(users.len(), *existing_percent);
                let held = match validation_of {
                    ShareOf::Existing => share(existing, *validation_percent),
                    ShareOf::All => share(users.len(), *validation_percent),
                };
                if held > existing {
                    let problem = "is a larger share of all users than `existing_percent`, which it is a part of; lower it";
                    return Err(SplitError::Setting { setting: "validation_percent", problem });
                }
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
            Self::Residue { salt, modulus, prefix, validation, test } => {
                if *modulus == 0 {
                    return Err(SplitError::Setting { setting: "modulus", problem: "is 0; use the number of classes, such as 10" });
                }
                disjoint(*validation, *test)?;
                users
                    .iter()
                    .map(|id| {
                        let Some(number) = id.strip_prefix(prefix.as_deref().unwrap_or("")) else { return Ok(TRAIN) };
                        let number = number.parse().map_err(|_| SplitError::NotANumber { entity: "user", id: id.clone() })?;
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
            Self::Attribute { attribute, validation, test } => {
                let attribute = find_of(view, attribute, Side::User)?;
                let place = places(attribute, &[("validation", validation), ("test", test)])?;
                Ok(place.into_iter().map(|place| place.map_or(TRAIN, |at| [VALIDATION, TEST][at])).collect())
            }
        }
    }
}

impl ItemRule {
    /// Whether each item is new.
    pub(super) fn new_items(&self, view: LogView<'_>) -> Result<Vec<bool>, SplitError> {
        match self {
            Self::Attribute { attribute, new_from, new } => {
                let values = match (new_from, new) {
                    (Some(from), None) => &Values::Range([*from, i64::MAX]),
                    (None, Some(values)) => values,
                    _ => {
                        return Err(SplitError::Setting {
                            setting: "new",
                            problem: "or `new_from` says which items are new; give one of them",
                        });
                    }
                };
                let attribute = find_of(view, attribute, Side::Item)?;
                Ok(places(attribute, &[("new", values)])?.into_iter().map(|place| place.is_some()).collect())
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

fn share(n: usize, percent: u32) -> usize {
    (n as u64 * u64::from(percent) / 100) as usize
}

fn percent(setting: &'static str, value: u32) -> Result<(), SplitError> {
    if value > 100 { Err(SplitError::Setting { setting, problem: "is above 100; give a share in percent" }) } else { Ok(()) }
}

fn disjoint(validation: [u64; 2], test: [u64; 2]) -> Result<(), SplitError> {
    for (setting, [low, high]) in [("validation", validation), ("test", test)] {
        if low > high {
            return Err(SplitError::Setting { setting, problem: "is a range that ends before it begins; write it as [lowest, highest]" });
        }
    }
    if validation[0] <= test[1] && test[0] <= validation[1] {
        return Err(SplitError::Setting { setting: "test", problem: "shares a value with another part; make them disjoint" });
    }
    Ok(())
}
