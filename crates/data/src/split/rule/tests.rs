use super::*;
use crate::Side;
use crate::hash::{hash64, sha256_order};
use crate::split::{Existing, LeaveLastOut, ShareOf};
use crate::{Attribute, DomainIndex, ItemIndex, Log, UserIndex};

struct Fixture {
    log: Log,
    users: Vec<String>,
    items: Vec<String>,
    domains: Vec<String>,
    attributes: Vec<Attribute>,
}

/// 12 rows: user = row mod 4, item = row mod 3, domain = row mod 2, times falling from 110 to 0 after 1,700,000,000.
fn fixture() -> Fixture {
    let n = 12u32;
    Fixture {
        log: Log {
            user: (0..n).map(|r| UserIndex(r % 4)).collect(),
            item: (0..n).map(|r| ItemIndex(r % 3)).collect(),
            domain: (0..n).map(|r| DomainIndex(r % 2)).collect(),
            time: (0..n).map(|r| (1_700_000_000 + i64::from(11 - r) * 10) * crate::MICROS_PER_SECOND).collect(),
            label: vec![1.0; n as usize],
            request: Vec::new(),
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
    fn view(&self) -> LogView<'_> {
        let Self { log, users, items, domains, attributes } = self;
        LogView { log, users, items, domains, zone: crate::Zone::UTC, attributes, files: &[] }
    }

    fn split(&self, toml: &str) -> Result<Split, SplitError> {
        let config: SplitConfig = toml::from_str(toml).expect("the test's config is valid");
        config.split(self.view())
    }
}

fn rows<'a>(split: &'a Split, part: &str) -> &'a [u32] {
    split.rows(part).unwrap()
}

#[test]
fn global_time_cuts_at_the_first_second() {
    let split = fixture().split("kind = 'global_time'\nvalidation_from = 1700000050\ntest_from = 1700000100").unwrap();
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
    let fixture = fixture();
    let view = LogView { users: &users, ..fixture.view() };
    for (validation, expected) in [(Existing::First, &order[..8]), (Existing::Last, &order[72..80])] {
        let rule = UserRule::Rank {
            prefix: "user:".into(),
            existing_percent: 80,
            validation_percent: 10,
            validation_of: ShareOf::Existing,
            validation,
        };
        let roles = rule.roles(view).unwrap();
        assert!(expected.iter().all(|&u| roles[u as usize] == VALIDATION));
        assert!(order[80..].iter().all(|&u| roles[u as usize] == TEST));
        assert_eq!(roles.iter().filter(|&&r| r == TRAIN).count(), 72);
    }
    let of_all = |validation_percent| UserRule::Rank {
        prefix: "user:".into(),
        existing_percent: 80,
        validation_percent,
        validation_of: ShareOf::All,
        validation: Existing::Last,
    };
    let roles = of_all(10).roles(view).unwrap();
    assert!(order[70..80].iter().all(|&u| roles[u as usize] == VALIDATION) && order[..70].iter().all(|&u| roles[u as usize] == TRAIN));
    assert!(matches!(of_all(81).roles(view), Err(SplitError::Setting { setting: "validation_percent", .. })));
}

#[test]
fn cold_users_can_be_kept_to_items_that_training_knows() {
    let text = "kind = 'cold_users'\nusers = { rule = 'rank', prefix = 'user:', existing_percent = 50, validation_percent = 0 }";
    let mut data = fixture();
    // An item of one test user alone.
    let stranger = sha256_order(4, |u| format!("user:{u}"))[3];
    data.items.push("d".into());
    data.log.item[stranger as usize] = ItemIndex(3);
    let (all, kept) = (data.split(text).unwrap(), data.split(&format!("{text}\nknown_items = true")).unwrap());
    assert_eq!(all.rows("train").unwrap(), kept.rows("train").unwrap());
    let items = |rows: &[u32]| rows.iter().map(|&row| data.log.item[row as usize].0).collect::<std::collections::BTreeSet<_>>();
    let known = items(all.rows("train").unwrap());
    let expected: Vec<u32> =
        all.rows("test").unwrap().iter().copied().filter(|&row| known.contains(&data.log.item[row as usize].0)).collect();
    assert_eq!(expected.len() + 1, all.rows("test").unwrap().len());
    assert_eq!((kept.rows("test").unwrap(), kept.left_out(), all.left_out()), (&expected[..], 1, 0));
    assert!(kept.notes()[0].contains("no training user has their item"), "{:?}", kept.notes());
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
    assert!(matches!(data.split(&text.replace("'year'", "'date'")), Err(SplitError::NotAnAttributeOf { side: Side::Item, .. })));
}

#[test]
fn cold_items_make_three_parts_that_share_no_item() {
    let text =
        "kind = 'cold_items'\nitems = { rule = 'rank', prefix = 'i', existing_percent = 70 }\nvalidation = { prefix = 'v', percent = 40 }";
    let fixture = fixture();
    let items: Vec<String> = (0..100).map(|i| i.to_string()).collect();
    let log = Log { item: (0..300).map(|row| ItemIndex(row % 100)).collect(), ..crate::Log::default() };
    let log = Log { user: vec![crate::UserIndex(0); 300], domain: vec![crate::DomainIndex(0); 300], label: vec![1.0; 300], ..log };
    let view = LogView { log: &log, items: &items, ..fixture.view() };
    let split = toml::from_str::<SplitConfig>(text).unwrap().split(view).unwrap();
    let (by_age, by_share) = (sha256_order(100, |i| format!("i{i}")), sha256_order(100, |i| format!("v{i}")));
    let held: Vec<u32> = by_share.into_iter().filter(|i| by_age[..70].contains(i)).take(28).collect();
    for (part, count) in [("train", 42), ("validation", 28), ("new_item", 30)] {
        assert_eq!(rows(&split, part).len(), 3 * count, "{part}");
        for &row in rows(&split, part) {
            let item = row % 100;
            let expected = if by_age[70..].contains(&item) {
                "new_item"
            } else if held.contains(&item) {
                "validation"
            } else {
                "train"
            };
            assert_eq!(part, expected, "item {item}");
        }
    }
    let too_much = toml::from_str::<SplitConfig>(&text.replace("40", "140")).unwrap().split(view).unwrap_err().to_string();
    assert!(too_much.contains("validation.percent") && too_much.contains("above 100"), "{too_much}");
}

#[test]
fn held_out_domain_keeps_the_inner_parts_apart() {
    let text =
        "kind = 'held_out_domain'\ndomains = ['right']\n[then]\nkind = 'global_time'\nvalidation_from = 1700000050\ntest_from = 1700000100";
    let split = fixture().split(text).unwrap();
    assert_eq!(split.names().collect::<Vec<_>>(), ["train", "validation", "test", "target_train", "target_validation", "target_test"]);
    assert_eq!((rows(&split, "train"), rows(&split, "target_train")), (&[8, 10][..], &[7, 9, 11][..]));
    assert!(matches!(fixture().split(&text.replace("right", "up")), Err(SplitError::UnknownDomain { .. })));
}

#[test]
fn the_last_row_of_each_user_is_test() {
    let split = fixture().split("kind = 'leave_last_out'").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[0, 1, 2, 3][..], &[4, 5, 6, 7][..]));
    assert!(split.notes().is_empty());
    let mut tied = fixture();
    tied.log.time.fill(5);
    let split = tied.split("kind = 'leave_last_out'").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[8, 9, 10, 11][..], &[4, 5, 6, 7][..]));
    assert!(split.notes()[0].starts_with("4 of 4 users have several rows at their last time"), "{:?}", split.notes());
    tied.log.time[8] = 6;
    assert!(tied.split("kind = 'leave_last_out'").unwrap().notes()[0].starts_with("3 of 4 users"));
    assert_eq!(rows(&tied.split("kind = 'leave_last_out'\nmin_rows = 4").unwrap(), "train").len(), 12);
}

#[test]
fn the_last_row_of_a_domain_is_test_and_later_rows_of_others_are_in_no_part() {
    let mut data = fixture();
    // Of user 0: rows 0, 4, 8. By position row 0 is first, row 8 last.
    data.attributes.push(Attribute { name: "pos".into(), side: Side::Row, values: (0..12).collect(), labels: None });
    let split = data.split("kind = 'leave_last_out'\nposition = 'pos'").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[8, 9, 10, 11][..], &[4, 5, 6, 7][..]));
    // Each user has a row of another domain at the end: what is left of it is input.
    for row in 0..12 {
        data.log.domain[row] = crate::DomainIndex(u32::from(row >= 8));
    }
    data.domains = vec!["a".into(), "b".into()];
    let split = data.split("kind = 'leave_last_out'\nposition = 'pos'\ndomains = ['a']\nmin_rows = 2").unwrap();
    assert_eq!((rows(&split, "test"), rows(&split, "validation")), (&[4, 5, 6, 7][..], &[0, 1, 2, 3][..]));
    assert_eq!((split.left_out(), rows(&split, "train").len()), (4, 0));
    assert!(data.split("kind = 'leave_last_out'\ndomains = ['c']").is_err());
    assert!(data.split("kind = 'leave_last_out'\nposition = 'year'").is_err(), "an attribute of items is no order of rows");
}

#[test]
fn unknown_keys_are_refused() {
    assert!(toml::from_str::<SplitConfig>("kind = 'leave_last_out'\nmin_row = 4").is_err());
    assert!(toml::from_str::<SplitConfig>("kind = 'global_time'\nvalidation_from = 50").is_err());
    let round =
        SplitConfig::HeldOutDomain { domains: vec!["a".into()], then: Box::new(SplitConfig::LeaveLastOut(LeaveLastOut::default())) };
    assert_eq!(toml::from_str::<SplitConfig>(&toml::to_string(&round).unwrap()).unwrap(), round);
}

#[test]
fn users_and_items_are_held_out_by_the_values_of_an_attribute() {
    let mut data = fixture();
    data.attributes.push(Attribute { name: "age".into(), side: Side::User, values: vec![18, 25, 25, 50], labels: None });
    let text = "kind = 'cold_users_items'\nusers = { rule = 'attribute', attribute = 'age', validation = [0, 18], test = ['50'] }
                items = { rule = 'attribute', attribute = 'year', new = ['1990', '1998'] }";
    let split = data.split(text).unwrap();
    let sizes = ["train", "validation", "new_user", "new_item", "both"].map(|part| rows(&split, part).len());
    // Twelve rows are every pair of four users and three items once; two of the items are new.
    assert_eq!((sizes, split.left_out()), ([2, 1, 1, 6, 2], 0));
    assert!(rows(&split, "both").iter().all(|&row| data.log.user[row as usize].0 == 3 && data.log.item[row as usize].0 != 1));
    let same = text.replace("new = ['1990', '1998']", "new = [1990, 1999]");
    assert_eq!(data.split(&same).unwrap(), split);
    for (from, to, expected) in [
        ("['50']", "[18, 50]", "`test`: shares a value"),
        ("['50']", "['18', '50']", "`test`: shares a value"),
        ("['50']", "['60']", "the value `60`, which attribute `age` never has; it has: 18, 25, 50"),
        ("['50']", "[]", "`test`: is an empty list"),
        ("['50']", "[60, 50]", "`test`: is a range that ends before it begins"),
        ("'age'", "'year'", "the user rule needs an attribute of users"),
        ("new = [", "new_from = 1998, new = [", "give one of them"),
    ] {
        let said = data.split(&text.replace(from, to)).unwrap_err().to_string();
        assert!(said.contains(expected), "{to}: {said}");
    }
    let mut texts = text.replace("[0, 18]", "['18']");
    data.attributes[2] = Attribute {
        name: "age".into(),
        side: Side::User,
        values: vec![0, 1, 1, 2],
        labels: Some(["18", "25", "50"].map(str::to_owned).to_vec()),
    };
    assert_eq!(data.split(&texts).unwrap(), split, "the same values as text");
    texts = texts.replace("['50']", "[50, 50]");
    assert!(data.split(&texts).unwrap_err().to_string().contains("`test`: is a range of numbers, but the attribute holds text"));
    assert!(toml::from_str::<SplitConfig>(&text.replace("['50']", "50")).unwrap_err().message().contains("values in quotes"));
    let config: SplitConfig = toml::from_str(text).unwrap();
    assert_eq!(toml::from_str::<SplitConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
}

#[test]
fn repeats_are_rows_whose_pair_stands_in_others() {
    let mut data = fixture();
    // Rows 0 and 11 are of user 0 and item 0.
    (data.log.user[11], data.log.item[11]) = (UserIndex(0), ItemIndex(0));
    let split = data.split("kind = 'global_time'\nvalidation_from = 1700000050\ntest_from = 1700000100").unwrap();
    let repeats = |part: &str| data.log.repeats(rows(&split, part), rows(&split, "train"));
    assert_eq!((repeats("test"), repeats("validation"), data.log.repeats(rows(&split, "test"), &[])), (1, 0, 0));
}

/// The rows of a log in another order, where they are as they were otherwise; `order[i]` is the old place of row i.
fn shuffled(data: &Fixture, order: &[usize]) -> Fixture {
    let Log { user, item, domain, time, label, .. } = &data.log;
    fn pick<T: Copy>(column: &[T], order: &[usize]) -> Vec<T> {
        order.iter().filter_map(|&row| column.get(row).copied()).collect()
    }
    let log = Log {
        user: pick(user, order),
        item: pick(item, order),
        domain: pick(domain, order),
        time: pick(time, order),
        label: pick(label, order),
        request: Vec::new(),
    };
    let attributes = data.attributes.iter().map(|attribute| match attribute.side {
        Side::Row => Attribute { values: pick(&attribute.values, order), ..attribute.clone() },
        _ => attribute.clone(),
    });
    Fixture { log, attributes: attributes.collect(), users: data.users.clone(), items: data.items.clone(), domains: data.domains.clone() }
}

const EVERY_KIND: [&str; 12] = [
    "kind = 'cold_users'\nknown_items = true\nusers = { rule = 'rank', prefix = 'u', existing_percent = 75, validation_percent = 25, validation_of = 'all' }",
    "kind = 'given'\ncolumn = 'year'\nparts = { train = ['1990'], late = ['1998'] }",
    "kind = 'global_time'\nvalidation_from = 1700000050\ntest_from = '2023-11-14 22:15:00'",
    "kind = 'global_time'\nvalidation = 0.2\ntest = 0.2",
    "kind = 'random'\nvalidation = 0.3\ntest = 0.3",
    "kind = 'random'\nby = 'user'\nvalidation = 0.3\ntest = 0.3\nsalt = 'a'",
    "kind = 'attribute_range'\nattribute = 'date'\ntrain = [0, 20220504]\nvalidation = ['20220505']\ntest = [20220507, 20220510]",
    "kind = 'cold_users'\nusers = { rule = 'rank', prefix = 'u', existing_percent = 75, validation_percent = 34 }",
    "kind = 'cold_users_items'\nusers = { rule = 'residue', salt = 1, modulus = 4, validation = [1, 1], test = [2, 2] }\nitems = { rule = 'rank', prefix = 'i', existing_percent = 50 }",
    "kind = 'cold_items'\nitems = { rule = 'rank', prefix = 'i', existing_percent = 70 }\nvalidation = { prefix = 'v', percent = 50 }",
    "kind = 'held_out_domain'\ndomains = ['left']\nthen = { kind = 'leave_last_out' }",
    "kind = 'leave_last_out'",
];

proptest::proptest! {
    /// Parts are disjoint and, with the rows left out, complete; where a row stands in the files decides nothing.
    #[test]
    fn every_kind_cuts_each_row_once_whatever_the_order(seed in proptest::prelude::any::<u64>(), has_time in proptest::prelude::any::<bool>()) {
        let mut data = fixture();
        if !has_time {
            data.log.time.clear();
        }
        let mut order: Vec<usize> = (0..12).collect();
        order.sort_by_key(|&row| hash64(seed, row as u64, 0));
        let other = shuffled(&data, &order);
        for text in EVERY_KIND {
            if !has_time && text.contains("global_time") {
                continue;
            }
            let (split, moved) = (data.split(text).unwrap(), other.split(text).unwrap());
            let again = Split::new(12, split.parts().map(|(name, rows)| (name.to_owned(), rows.to_vec())).collect());
            proptest::prop_assert_eq!(&again.unwrap().with_notes(split.notes()), &split, "{}", text);
            let inside: usize = split.parts().map(|(_, rows)| rows.len()).sum();
            proptest::prop_assert_eq!(inside + split.left_out(), 12);
            for (part, rows) in split.parts() {
                let mut back: Vec<u32> = moved.rows(part).unwrap().iter().map(|&row| order[row as usize] as u32).collect();
                back.sort_unstable();
                proptest::prop_assert_eq!(rows, back, "{} {}", text, part);
            }
        }
    }
}

#[test]
fn every_kind_comes_back_from_toml_and_json_and_fixed_it_cuts_alike() {
    let data = fixture();
    for text in EVERY_KIND {
        let config: SplitConfig = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<SplitConfig>(&toml::to_string(&config).unwrap()).unwrap(), config, "{text}");
        let fixed = config.fixed(data.view()).unwrap();
        let json = serde_json::to_string(&fixed).unwrap();
        let back: SplitConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(back, fixed, "{json}");
        assert_eq!(back.split(data.view()).unwrap(), config.split(data.view()).unwrap(), "{json}");
    }
}
