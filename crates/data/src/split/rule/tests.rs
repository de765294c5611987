use super::*;
use crate::{DomainIndex, ItemIndex, Log, UserIndex};

struct Fixture {
    log: Log,
    users: Vec<String>,
    items: Vec<String>,
    domains: Vec<String>,
    attributes: Vec<Attribute>,
}

/// 12 rows: user = row mod 4, item = row mod 3, domain = row mod 2, times falling from 110 to 0.
fn fixture() -> Fixture {
    let n = 12u32;
    Fixture {
        log: Log {
            user: (0..n).map(|r| UserIndex(r % 4)).collect(),
            item: (0..n).map(|r| ItemIndex(r % 3)).collect(),
            domain: (0..n).map(|r| DomainIndex(r % 2)).collect(),
            time: (0..n).map(|r| i64::from(11 - r) * 10 * crate::MICROS_PER_SECOND).collect(),
            label: vec![1.0; n as usize],
        },
        users: (0..4).map(|u| u.to_string()).collect(),
        items: ["a", "b", "c"].map(str::to_owned).to_vec(),
        domains: ["left", "right"].map(str::to_owned).to_vec(),
        attributes: vec![
            Attribute { name: "date".into(), side: Side::Row, values: (0..i64::from(n)).map(|r| 20_220_501 + r).collect(), labels: None },
            Attribute { name: "year".into(), side: Side::Item, values: vec![1990, 2000, 1998], labels: None },
        ],
    }
}

impl Fixture {
    fn split(&self, toml: &str) -> Result<Split, SplitError> {
        let config: SplitConfig = toml::from_str(toml).expect("the test's config is valid");
        config.split(LogView {
            log: &self.log,
            users: &self.users,
            items: &self.items,
            domains: &self.domains,
            zone: crate::Zone::UTC,
            attributes: &self.attributes,
            files: &[],
        })
    }
}

fn rows<'a>(split: &'a Split, part: &str) -> &'a [u32] {
    split.rows(part).unwrap()
}

#[test]
fn global_time_cuts_at_the_first_second() {
    let split = fixture().split("kind = 'global_time'\nvalidation_from = 50\ntest_from = 100").unwrap();
    assert_eq!(rows(&split, "train"), [7, 8, 9, 10, 11]);
    assert_eq!(rows(&split, "validation"), [2, 3, 4, 5, 6]);
    assert_eq!(rows(&split, "test"), [0, 1]);
    let mut timeless = fixture();
    timeless.log.time.clear();
    assert_eq!(timeless.split("kind = 'global_time'\nvalidation_from = 5\ntest_from = 6"), Err(SplitError::NoTime));
}

#[test]
fn attribute_ranges_hold_both_ends_and_leave_the_rest_out() {
    let text = "kind = 'attribute_range'\nattribute = 'date'\ntrain = [0, 20220504]\nvalidation = [20220505, 20220505]\ntest = [20220507, 20220510]";
    let split = fixture().split(text).unwrap();
    assert_eq!((rows(&split, "train"), rows(&split, "validation"), rows(&split, "test")), (&[0, 1, 2, 3][..], &[4][..], &[6, 7, 8, 9][..]));
    assert_eq!(split.left_out(), 3);
    let overlap = text.replace("[20220505, 20220505]", "[20220504, 20220505]");
    assert!(matches!(fixture().split(&overlap), Err(SplitError::Setting { .. })));
    let error = fixture().split(&text.replace("'date'", "'day'")).unwrap_err();
    assert!(error.to_string().contains("`day`") && error.to_string().contains("date, year"), "{error}");
}

#[test]
fn cold_users_by_residue_are_disjoint_and_follow_the_hash() {
    let text = "kind = 'cold_users'\nusers = { rule = 'residue', salt = 21, modulus = 10, validation = [7, 7], test = [8, 9] }";
    let mut data = fixture();
    data.users = ["1736", "5", "6", "7"].map(str::to_owned).to_vec();
    let split = data.split(text).unwrap();
    for (part, range) in [("train", 0..7), ("validation", 7..8), ("test", 8..10)] {
        for &row in rows(&split, part) {
            let id: u64 = data.users[data.log.user[row as usize].at()].parse().unwrap();
            assert!(range.contains(&(hash64(21, id, 0) % 10)), "user {id} in {part}");
        }
    }
    assert_eq!(split.left_out(), 0);
    data.users[2] = "u6".into();
    assert_eq!(data.split(text), Err(SplitError::NotANumber { entity: "user", id: "u6".into() }));
}

#[test]
fn both_ends_of_the_ranking_can_validate() {
    let users: Vec<String> = (0..100).map(|u| u.to_string()).collect();
    let order = sha256_order(100, |u| format!("user:{u}"));
    for (validation, expected) in [(Existing::First, &order[..8]), (Existing::Last, &order[72..80])] {
        let rule = UserRule::Rank { prefix: "user:".into(), existing_percent: 80, validation_percent: 10, validation };
        let roles = rule.roles(&users).unwrap();
        assert!(expected.iter().all(|&u| roles[u as usize] == VALIDATION));
        assert!(order[80..].iter().all(|&u| roles[u as usize] == TEST));
        assert_eq!(roles.iter().filter(|&&r| r == TRAIN).count(), 72);
    }
}

#[test]
fn cold_users_and_items_make_five_parts() {
    let text = "kind = 'cold_users_items'\nusers = { rule = 'rank', prefix = 'user:', existing_percent = 75, validation_percent = 34 }
                items = { rule = 'attribute', attribute = 'year', new_from = 1998 }";
    let data = fixture();
    let split = data.split(text).unwrap();
    let order = sha256_order(4, |u| format!("user:{u}"));
    for (part, users, new) in [
        ("train", &order[1..3], false),
        ("validation", &order[..1], false),
        ("new_user", &order[3..], false),
        ("new_item", &order[..3], true),
        ("both", &order[3..], true),
    ] {
        assert!(!rows(&split, part).is_empty(), "{part}");
        for &row in rows(&split, part) {
            assert!(users.contains(&data.log.user[row as usize].0), "{part} row {row}");
            assert_eq!(data.log.item[row as usize].0 != 0, new, "{part} row {row}");
        }
    }
    assert_eq!(split.left_out(), 0);
    assert!(matches!(data.split(&text.replace("'year'", "'date'")), Err(SplitError::NotAnItemAttribute { .. })));
}

#[test]
fn held_out_domain_keeps_the_inner_parts_apart() {
    let text = "kind = 'held_out_domain'\ndomains = ['right']\n[then]\nkind = 'global_time'\nvalidation_from = 50\ntest_from = 100";
    let split = fixture().split(text).unwrap();
    assert_eq!(split.names().collect::<Vec<_>>(), ["train", "validation", "test", "target_train", "target_validation", "target_test"]);
    assert_eq!((rows(&split, "train"), rows(&split, "target_train")), (&[8, 10][..], &[7, 9, 11][..]));
    assert!(matches!(fixture().split(&text.replace("right", "up")), Err(SplitError::UnknownDomain { .. })));
}

#[test]
fn the_last_row_of_each_user_is_test() {
    let split = fixture().split("kind = 'leave_last_out'").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[0, 1, 2, 3][..], &[4, 5, 6, 7][..]));
    let mut tied = fixture();
    tied.log.time.fill(5);
    let split = tied.split("kind = 'leave_last_out'").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[8, 9, 10, 11][..], &[4, 5, 6, 7][..]));
    assert_eq!(rows(&tied.split("kind = 'leave_last_out'\nmin_rows = 4").unwrap(), "train").len(), 12);
}

#[test]
fn unknown_keys_are_refused() {
    assert!(toml::from_str::<SplitConfig>("kind = 'leave_last_out'\nmin_row = 4").is_err());
    assert!(toml::from_str::<SplitConfig>("kind = 'global_time'\nvalidation_from = 50").is_err());
    let round = SplitConfig::HeldOutDomain { domains: vec!["a".into()], then: Box::new(SplitConfig::LeaveLastOut { min_rows: 3 }) };
    assert_eq!(toml::from_str::<SplitConfig>(&toml::to_string(&round).unwrap()).unwrap(), round);
}
