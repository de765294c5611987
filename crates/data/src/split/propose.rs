//! A split for a log that has none.

use std::collections::HashSet;

use serde::Serialize;

use super::{LeaveLastOut, LogView, Random, Split, SplitConfig, TimeCut, UserRule};
use crate::{DomainIndex, LabelKind};

/// Smallest and largest share of a log that validation and test rows may be where a tenth is wanted: equal times move the bounds.
const NEAR_A_TENTH: std::ops::RangeInclusive<f64> = 0.03..=0.3;

/// Smallest share of test rows that users with training rows must have.
const KNOWN: f64 = 0.2;

/// A split that suits a log, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The split.
    pub config: SplitConfig,
    /// Its parts.
    pub split: Split,
    /// One sentence.
    pub why: String,
}

impl Proposal {
    /// The first of these that leaves no part empty and, where labels are clicks, both kinds of them in every part: the last rows in time as test, where
    /// times are fine enough and some of their users known by then; the last row of each user, where most users have three; the last rows in time all the
    /// same; a hash of user and item. Where every row is a positive, users. `None` for a log that is too small for any.
    #[must_use]
    pub fn of(view: LogView<'_>, label: LabelKind) -> Option<Self> {
        let accept = |config: SplitConfig, good: &dyn Fn(&Split) -> bool| {
            let split = config.split(view).ok()?;
            (tells_apart(view, &split, label) && good(&split)).then_some((config, split))
        };
        let proposal = |(config, split): (SplitConfig, Split), why: String| Some(Self { config, split, why });
        if label == LabelKind::Implicit {
            let users = UserRule::Rank {
                prefix: "user:".into(),
                existing_percent: 80,
                validation_percent: 10,
                validation_of: Default::default(),
                validation: Default::default(),
            };
            let found = accept(SplitConfig::ColdUsers { users, known_items: false }, &|_| true)?;
            return proposal(found, "Every row is a positive, so whole users are held out: their rows are asked for.".into());
        }
        let near =
            |split: &Split| split.parts().skip(1).all(|(_, rows)| NEAR_A_TENTH.contains(&(rows.len() as f64 / split.total() as f64)));
        let by_time = accept(SplitConfig::GlobalTime(TimeCut::Shares { validation: 0.1, test: 0.1 }), &near);
        let reason = match &by_time {
            Some((_, split)) if known_share(view, split) >= KNOWN => None,
            Some(_) => Some("The last rows in time are of users without earlier rows"),
            None if view.log.time.is_empty() => Some("The log has no times"),
            None => Some("The times do not cut the log into parts of some size and of both labels"),
        };
        if let Some(reason) = reason {
            let users = view.log.user.iter().collect::<HashSet<_>>().len();
            let most = |split: &Split| split.rows("test").is_ok_and(|rows| 2 * rows.len() >= users) && split.notes().is_empty();
            if let Some(found) = accept(SplitConfig::LeaveLastOut(LeaveLastOut::default()), &most) {
                return proposal(
                    found,
                    format!("{reason}, but most users have three rows: the last row of each is test, the one before it validation."),
                );
            }
            if by_time.is_none() {
                let found = accept(SplitConfig::Random(Random::default()), &|_| true)?;
                return proposal(
                    found,
                    format!("{reason}, so a hash of user and item draws a tenth of the rows for test and a tenth for validation."),
                );
            }
        }
        let found = by_time?;
        let why = "The log has times, so the last tenth of the rows is test and the tenth before it validation: models are judged on what comes later";
        let why = format!("{why}{}.", without_test(view, &found.1));
        proposal(found, why)
    }

    /// The table `[split]` of an experiment file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            split: &'a SplitConfig,
        }
        toml::to_string(&File { split: &self.config }).expect("a config is plain data")
    }
}

/// Whether every part has rows and, for clicks, rows of both labels.
fn tells_apart(view: LogView<'_>, split: &Split, label: LabelKind) -> bool {
    let labels = |rows: &[u32]| rows.iter().map(|&row| view.log.label[row as usize].to_bits()).collect::<HashSet<_>>().len();
    let least = if label == LabelKind::Click { 2 } else { 1 };
    split.parts().all(|(_, rows)| labels(rows) >= least)
}

/// The share of test rows whose user has training rows.
fn known_share(view: LogView<'_>, split: &Split) -> f64 {
    let users = |part: &str| split.rows(part).unwrap_or_default().iter().map(|&row| view.log.user[row as usize]);
    let known: HashSet<_> = users("train").collect();
    users("test").filter(|user| known.contains(user)).count() as f64 / users("test").count().max(1) as f64
}

/// Says how many domains have no row to be measured on.
fn without_test(view: LogView<'_>, split: &Split) -> String {
    let domains =
        |rows: &mut dyn Iterator<Item = u32>| rows.map(|row| view.log.domain[row as usize]).collect::<HashSet<DomainIndex>>().len();
    let all = domains(&mut (0..view.log.len() as u32));
    let tested = domains(&mut split.rows("test").unwrap_or_default().iter().copied());
    if tested == all { String::new() } else { format!(" ({} of {all} domains have no test rows then)", all - tested) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ItemIndex, Log, UserIndex, Zone};

    /// 300 rows of 30 users: row r is of user r mod 30, its label alternates for each user, and its domain is `domain`.
    fn log(time: impl Fn(i64) -> Option<i64>) -> Log {
        Log {
            user: (0..300).map(|r| UserIndex(r % 30)).collect(),
            item: (0..300).map(|r| ItemIndex(r / 3)).collect(),
            domain: vec![DomainIndex(0); 300],
            time: (0..300).filter_map(time).collect(),
            label: (0..300).map(|r| ((r + r / 30) % 2) as f32).collect(),
            request: Vec::new(),
        }
    }

    fn propose(log: &Log, label: LabelKind) -> Option<Proposal> {
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let (users, items) = (names(30), names(100));
        let proposal =
            Proposal::of(LogView { log, users: &users, items: &items, domains: &[], zone: Zone::UTC, attributes: &[], files: &[] }, label)?;
        // What is proposed reads as an experiment's table and cuts as it says.
        let file: toml::Table = proposal.to_toml().parse().unwrap();
        assert_eq!(file["split"].clone().try_into::<SplitConfig>().unwrap(), proposal.config, "{}", proposal.to_toml());
        assert!(proposal.split.parts().all(|(_, rows)| !rows.is_empty()) && proposal.why.ends_with('.'));
        Some(proposal)
    }

    fn kind(log: &Log, label: LabelKind) -> String {
        let proposal = propose(log, label).unwrap();
        let file: toml::Table = proposal.to_toml().parse().unwrap();
        file["split"]["kind"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_a_log_has_decides() {
        let rating = LabelKind::Rating { min: 0.0, max: 1.0 };
        let fine = log(|r| Some(r + 5));
        assert_eq!(kind(&fine, rating), "global_time");
        assert_eq!(propose(&fine, rating).unwrap().to_toml(), "[split]\nkind = \"global_time\"\nvalidation = 0.1\ntest = 0.1\n");
        let coarse = log(|r| Some(r / 100));
        assert_eq!(kind(&coarse, rating), "random", "a third of the rows at the last time, several of each user");
        let late = log(|r| Some(if r < 150 { r } else { 1000 + i64::from(r >= 270) }));
        assert_eq!(kind(&late, rating), "leave_last_out", "two fifths of the rows at the last time but one, one row of each user after it");
        assert_eq!(kind(&log(|_| None), rating), "random");
        assert_eq!(kind(&fine, LabelKind::Implicit), "cold_users");
        // One user after the other.
        let mut sessions = log(|r| Some(r + 5));
        sessions.user = (0..300).map(|r| UserIndex(r / 10)).collect();
        assert_eq!(kind(&sessions, rating), "leave_last_out");
        sessions.user = (0..300).map(|r| UserIndex(if r < 240 { 0 } else { r / 10 })).collect();
        sessions.time = (0..300).map(|r| 1000 + r / 10 * 10).collect();
        assert_eq!(kind(&sessions, rating), "global_time", "the last rows of a user have one time");
    }

    #[test]
    fn clicks_of_one_kind_can_not_be_a_part() {
        let mut one_sided = log(|r| Some(r + 5));
        one_sided.label[270..].fill(0.0);
        assert_eq!(kind(&one_sided, LabelKind::Click), "random");
        assert_eq!(kind(&one_sided, LabelKind::Rating { min: 0.0, max: 1.0 }), "global_time");
        one_sided.label.fill(0.0);
        assert_eq!(propose(&one_sided, LabelKind::Click), None);
    }

    #[test]
    fn domains_without_test_rows_are_counted() {
        let mut gone = log(|r| Some(r + 5));
        (0..200).for_each(|r| gone.domain[r] = DomainIndex(1 + r as u32 % 2));
        assert!(propose(&gone, LabelKind::Click).unwrap().why.contains("(2 of 3 domains have no test rows then)"));
        assert_eq!(propose(&Log::default(), LabelKind::Click), None);
    }
}
