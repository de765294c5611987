//! Which rows are one request: shown together, and answered in one go.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{Log, Span, Zone};

/// What says which rows are one request: a column, or a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of a column, or a rule such as `{ by = [\"user\", \"domain\"], gap = \"10m\" }`")]
pub enum RequestConfig {
    /// The column that holds the request's id.
    Column(String),
    /// Rows that agree in these, one after the other.
    Rule(RequestRule),
}

/// Rows that agree in some things and follow each other closely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRule {
    /// What the rows of a request have in common.
    pub by: Vec<RequestKey>,
    /// A longer time between two rows begins another request; default none is too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Span>,
}

/// What rows can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKey {
    /// Their user.
    User,
    /// Their domain.
    Domain,
    /// Their day, in the data set's zone.
    Day,
}

impl RequestRule {
    /// Whether it reads times.
    pub(crate) fn needs_time(&self) -> bool {
        self.gap.is_some() || self.by.contains(&RequestKey::Day)
    }

    /// The request of each row, numbered in the order of their first rows in the log.
    pub(crate) fn assign(&self, log: &Log, zone: Zone) -> Vec<u32> {
        let key = |row: usize| -> [i64; 3] {
            let part = |wanted: RequestKey, value: &dyn Fn() -> i64| if self.by.contains(&wanted) { value() } else { 0 };
            [
                part(RequestKey::User, &|| i64::from(log.user[row].0)),
                part(RequestKey::Domain, &|| i64::from(log.domain[row].0)),
                part(RequestKey::Day, &|| zone.day(log.time[row])),
            ]
        };
        let time = |row: usize| log.time.get(row).copied().unwrap_or(0);
        let keys: Vec<[i64; 3]> = (0..log.len()).map(key).collect();
        let mut order: Vec<usize> = (0..log.len()).collect();
        order.sort_by_key(|&row| (keys[row], time(row), row));
        let gap = self.gap.map(Span::micros);
        let mut found = vec![0_usize; log.len()];
        let mut requests = 0;
        for (at, &row) in order.iter().enumerate() {
            let follows = at > 0 && {
                let before = order[at - 1];
                keys[before] == keys[row] && gap.is_none_or(|gap| time(row) - time(before) <= gap)
            };
            requests += usize::from(!follows);
            found[row] = requests - 1;
        }
        let mut numbers = HashMap::with_capacity(requests);
        found
            .into_iter()
            .map(|request| {
                let next = numbers.len() as u32;
                *numbers.entry(request).or_insert(next)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DomainIndex, ItemIndex, MICROS_PER_SECOND, UserIndex};

    fn log(rows: &[(u32, u32, i64)]) -> Log {
        Log {
            user: rows.iter().map(|r| UserIndex(r.0)).collect(),
            item: rows.iter().map(|_| ItemIndex(0)).collect(),
            domain: rows.iter().map(|r| DomainIndex(r.1)).collect(),
            time: rows.iter().map(|r| r.2 * MICROS_PER_SECOND).collect(),
            label: vec![0.0; rows.len()],
            request: Vec::new(),
        }
    }

    fn assigned(rule: &str, rows: &[(u32, u32, i64)]) -> Vec<u32> {
        #[derive(serde::Deserialize)]
        struct Holder {
            request: RequestConfig,
        }
        let holder: Holder = toml::from_str(&format!("request = {rule}")).unwrap();
        let RequestConfig::Rule(rule) = holder.request else { panic!("a rule") };
        rule.assign(&log(rows), Zone::UTC)
    }

    #[test]
    fn a_longer_pause_begins_another_request() {
        // User 0 pauses for more than ten minutes after the first two rows; the rows of user 1 lie between.
        let rows = [(0, 0, 0), (1, 0, 5), (0, 0, 600), (0, 0, 1300), (1, 0, 100), (0, 1, 1301)];
        assert_eq!(assigned("{ by = ['user'], gap = '10m' }", &rows), [0, 1, 0, 2, 1, 2]);
        assert_eq!(assigned("{ by = ['user', 'domain'], gap = '10m' }", &rows), [0, 1, 0, 2, 1, 3]);
        assert_eq!(assigned("{ by = ['user'] }", &rows), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn days_are_requests_whatever_the_order_of_the_log() {
        let rows = [(0, 0, 90_000), (0, 0, 10), (0, 0, 86_399), (0, 0, 86_400)];
        assert_eq!(assigned("{ by = ['user', 'day'] }", &rows), [0, 1, 1, 0]);
    }

    #[test]
    fn a_column_is_a_text() {
        assert_eq!(
            toml::from_str::<std::collections::BTreeMap<String, RequestConfig>>("request = 'impression'").unwrap()["request"],
            RequestConfig::Column("impression".into())
        );
        let error = toml::from_str::<std::collections::BTreeMap<String, RequestConfig>>("request = 3").unwrap_err().to_string();
        assert!(error.contains("name of a column"), "{error}");
    }
}
