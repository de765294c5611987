//! A cut by chance: the hash of a row or of its user decides.

use serde::{Deserialize, Serialize};

use super::rule::{THREE, TRAIN};
use super::{LogView, Split, SplitError};
use crate::hash::sha256;

/// Parts `train`, `validation`, `test` by SHA-256 of what a row says: neither its place in the files nor what else is in the log matters, so that rows
/// which are added later move no other. Shares are met up to chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// What stays together. Default: rows of one user and item.
    #[serde(default)]
    pub by: Unit,
    /// Share of validation, default 0.1.
    #[serde(default = "tenth")]
    pub validation: f64,
    /// Share of test, default 0.1.
    #[serde(default = "tenth")]
    pub test: f64,
    /// Text before the hashed ids, default `split`: another text is another draw.
    #[serde(default = "salt")]
    pub salt: String,
}

fn tenth() -> f64 {
    0.1
}

fn salt() -> String {
    "split".into()
}

impl Default for Random {
    fn default() -> Self {
        Self { by: Unit::default(), validation: tenth(), test: tenth(), salt: salt() }
    }
}

/// What stays together in one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// All rows of one user and item, by SHA-256 of `<salt>:<user>:<item>`: a repeated interaction is never in two parts.
    #[default]
    Row,
    /// All rows of a user, by SHA-256 of `<salt>:<user>`.
    User,
}

impl Random {
    pub(super) fn split(&self, view: LogView<'_>) -> Result<Split, SplitError> {
        let Self { by, validation, test, salt } = self;
        for (setting, share) in [("validation", *validation), ("test", *test)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(SplitError::Setting { setting, problem: "is a share of the rows: a number above 0 and below 1, such as 0.1" });
            }
        }
        if validation + test >= 1.0 {
            return Err(SplitError::Setting {
                setting: "test",
                problem: "together with `validation` it leaves no training rows; their sum must be below 1",
            });
        }
        let part = |text: &str| match fraction(text) {
            low if low < *test => 2,
            low if low < test + validation => 1,
            _ => TRAIN,
        };
        let user = |row: usize| &view.users[view.log.user[row].at()];
        let split = match by {
            Unit::Row => {
                let of_row = |row: usize| part(&format!("{salt}:{}:{}", user(row), view.items[view.log.item[row].at()]));
                Split::by_row(view.log.len(), &THREE, |row| Some(of_row(row)))
            }
            Unit::User => {
                let of_user: Vec<usize> = view.users.iter().map(|id| part(&format!("{salt}:{id}"))).collect();
                Split::by_row(view.log.len(), &THREE, |row| Some(of_user[view.log.user[row].at()]))
            }
        };
        if let Some((part, _)) = split.parts().find(|(_, rows)| rows.is_empty()) {
            return Err(SplitError::EmptyShare { part: part.to_owned(), rows: view.log.len() });
        }
        Ok(split)
    }
}

/// The first 53 bits of a SHA-256 as a number from 0 to 1.
fn fraction(text: &str) -> f64 {
    let digest = sha256(text);
    let bits = digest[..8].iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, Log, UserIndex, Zone};
    use proptest::prelude::*;

    /// The part of each (user, item) row.
    fn parts(config: &Random, rows: &[(u32, u32)]) -> Result<Vec<String>, SplitError> {
        let n = rows.len();
        let log = Log {
            user: rows.iter().map(|r| UserIndex(r.0)).collect(),
            item: rows.iter().map(|r| ItemIndex(r.1)).collect(),
            domain: vec![DomainIndex(0); n],
            time: Vec::new(),
            label: vec![1.0; n],
            request: Vec::new(),
        };
        let names = |letter: &str| (0..100).map(|i| format!("{letter}{i}")).collect::<Vec<_>>();
        let (users, items) = (names("u"), names("i"));
        let split = config.split(LogView {
            log: &log,
            users: &users,
            items: &items,
            domains: &[],
            zone: Zone::UTC,
            attributes: &[],
            files: &[],
        })?;
        assert_eq!(split.left_out(), 0);
        let mut of_row = vec![String::new(); n];
        for (part, rows) in split.parts() {
            rows.iter().for_each(|&row| of_row[row as usize] = part.to_owned());
        }
        Ok(of_row)
    }

    fn grid() -> Vec<(u32, u32)> {
        (0..100).flat_map(|u| (0..100).map(move |i| (u, i))).collect()
    }

    /// `printf '%s' split:u0:i0 | sha256sum` begins with the digits below; divided by 2^32.
    #[test]
    fn fractions_are_those_of_sha256sum() {
        for (text, digits) in [("split:u0:i0", 0xb584_35ce_u32), ("split:u7", 0xc2ef_2c2a)] {
            assert!((fraction(text) - f64::from(digits) / 2f64.powi(32)).abs() < 1e-9, "{text}: {}", fraction(text));
        }
    }

    #[test]
    fn shares_are_met_up_to_chance_and_the_salt_draws_anew() {
        let config = Random { validation: 0.2, test: 0.3, ..Random::default() };
        let all = parts(&config, &grid()).unwrap();
        let share = |part: &str| all.iter().filter(|p| *p == part).count() as f64 / all.len() as f64;
        // Three standard errors of 10,000 rows.
        assert!((share("validation") - 0.2).abs() < 0.012 && (share("test") - 0.3).abs() < 0.014);
        let other = parts(&Random { salt: "again".into(), ..config }, &grid()).unwrap();
        let moved = all.iter().zip(&other).filter(|(a, b)| a != b).count() as f64 / all.len() as f64;
        assert!((moved - (1.0 - 0.25 - 0.04 - 0.09)).abs() < 0.02, "{moved}");
    }

    #[test]
    fn users_stay_whole() {
        let all = parts(&Random { by: Unit::User, ..Random::default() }, &grid()).unwrap();
        assert!(all.chunks(100).all(|rows| rows.iter().all(|part| *part == rows[0])));
    }

    #[test]
    fn shares_that_leave_nothing_are_refused() {
        let said = |config: Random| parts(&config, &[(0, 0), (1, 1), (2, 2)]).unwrap_err().to_string();
        assert!(said(Random { test: 1.0, ..Random::default() }).contains("`test`: is a share"));
        assert!(said(Random { validation: f64::NAN, ..Random::default() }).contains("`validation`: is a share"));
        assert!(said(Random { validation: 0.5, test: 0.5, ..Random::default() }).contains("leaves no training rows"));
        assert!(said(Random { validation: 1e-9, test: 1e-9, ..Random::default() }).contains("part `validation` has no rows"));
        assert_eq!(toml::from_str::<Random>("").unwrap(), Random::default());
        assert!(toml::from_str::<Random>("share = 0.1").is_err());
    }

    proptest! {
        /// What a row says decides, whatever stands before it or after it, and however often.
        #[test]
        fn neither_order_nor_other_rows_matter(seed in any::<u64>(), by_user in any::<bool>(), kept in 200usize..2000) {
            let config = Random { by: if by_user { Unit::User } else { Unit::Row }, salt: format!("{seed}"), validation: 0.3, test: 0.3 };
            let grid = grid();
            let Ok(all) = parts(&config, &grid) else { return Ok(()) };
            let part: std::collections::BTreeMap<_, _> = grid.iter().zip(&all).collect();
            let mut some: Vec<(u32, u32)> = grid.clone();
            some.sort_by_key(|&(u, i)| crate::hash64(seed, u.into(), i.into()));
            some.truncate(kept);
            some.extend_from_within(..kept / 4);
            for (row, found) in some.iter().zip(parts(&config, &some).unwrap()) {
                prop_assert_eq!(part[row], &found);
            }
        }
    }
}
