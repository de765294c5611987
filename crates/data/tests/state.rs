//! Laws of the features that are made of earlier rows: each equals its definition, none sees what it must not, and the order of a file does not show.

use acclimate_data::{
    Dataset, DatasetConfig, Encoder, FeatureState, Known, MICROS_PER_DAY, MICROS_PER_SECOND, RandomStream, RawDataset, StateEvent,
    StateFeatures, sha256_hex,
};

const DAY: i64 = 86_400;

/// A row of a log: user, item, domain, seconds, click, watch time.
#[derive(Clone, Copy, Debug)]
struct Row {
    user: u64,
    item: u64,
    domain: u64,
    time: i64,
    click: bool,
    watch: f64,
}

/// Few users, items and moments, so that every key has many rows and many rows have the same time.
fn rows(seed: u64, n: usize) -> Vec<Row> {
    let mut stream = RandomStream::new(seed, 0, 0);
    (0..n)
        .map(|_| Row {
            user: stream.below(6),
            item: stream.below(8),
            domain: stream.below(3),
            time: 1_650_000_000 + stream.below(40) as i64 * 9000,
            click: stream.below(3) == 0,
            // No sum of these is exact, so that the order of adding shows.
            watch: stream.below(1000) as f64 / 7.0,
        })
        .collect()
}

const FEATURES: &str = r#"
[[feature]]
name = "item"
kind = "categorical"

[[feature]]
name = "kind"
kind = "categorical"
column = "item"
transform = { divide = 3 }

[[feature]]
name = "seen"
kind = "history"
column = "item"
max_length = 4
vocabulary = "item"

[[feature]]
name = "clicked_here"
kind = "history"
column = "item"
max_length = 3
where = "= 1"
domains = "same"
lag = "3h"

[[feature]]
name = "clicked_there"
kind = "history"
column = "item"
max_length = 5
where = "= 1"
domains = "other"
max_age = "2d"

[[feature]]
name = "count"
kind = "statistic"
value = "count"
by = ["user", "kind"]
transform = "log1p"

[[feature]]
name = "rate"
kind = "statistic"
value = "rate"
by = ["item", "domain"]
transform = "logit"
strength = 3.0
lag = "day"

[[feature]]
name = "rate_elsewhere"
kind = "statistic"
value = "rate"
by = ["item"]
domains = "other"
strength = 2.0

[[feature]]
name = "watched"
kind = "statistic"
value = "mean"
column = "watch"
by = ["user"]
half_life = "12h"
strength = 1.5
scale = "standard"

[[feature]]
name = "recent"
kind = "statistic"
value = "count"
by = ["item"]
window = "24h"
where = "= 1"

[[feature]]
name = "different"
kind = "statistic"
value = "distinct"
column = "item"
by = ["user"]
domains = ["0", "2"]

[[feature]]
name = "age"
kind = "statistic"
value = "age"
by = ["item", "user"]

[[feature]]
name = "born"
kind = "statistic"
value = "age"
since = "first"
by = ["item"]
domains = "same"
"#;

fn config(folder: &std::path::Path, features: &str) -> DatasetConfig {
    let text = "name = \"log\"\n[interactions]\nfiles = [\"log.csv\"]\nuser = \"user\"\nitem = \"item\"\ntime = { column = \"time\", unit = \"s\", zone = \"+08:00\" }\ndomain = { column = \"domain\", order = [\"0\", \"1\", \"2\"] }\nlabel = { column = \"click\", kind = \"click\" }\n";
    DatasetConfig::parse(&(text.to_owned() + features), folder.join("data.toml")).unwrap()
}

fn read(rows: &[Row]) -> RawDataset {
    read_as(rows, FEATURES)
}

fn read_as(rows: &[Row], features: &str) -> RawDataset {
    let folder = tempfile::tempdir().unwrap();
    let line = |r: &Row| format!("{},{},{},{},{},{}\n", r.user, r.item, r.domain, r.time, u8::from(r.click), r.watch);
    let log: String = rows.iter().map(line).collect();
    std::fs::write(folder.path().join("log.csv"), "user,item,domain,time,click,watch\n".to_owned() + &log).unwrap();
    RawDataset::read(&config(folder.path(), features)).unwrap().0
}

fn history<'a>(data: &'a Dataset, name: &str, row: usize) -> Vec<&'a str> {
    let bag = data.features.bags.iter().find(|bag| bag.name == name).unwrap();
    let vocabulary = &data.features.vocabularies[bag.vocabulary.at()];
    bag.lists.of(row).iter().map(|&code| vocabulary.value(code).unwrap()).collect()
}

fn number(data: &Dataset, name: &str, row: usize) -> f64 {
    data.features.numeric.iter().find(|column| column.name == name).unwrap().values[row].into()
}

/// Midnight of the zone, in seconds.
fn midnight(time: i64) -> i64 {
    (time + 8 * 3600).div_euclid(DAY) * DAY - 8 * 3600
}

/// Every feature of a row from its definition, looking at every other row.
struct Reference<'a> {
    rows: &'a [Row],
    known: Vec<bool>,
    of: &'a Row,
}

impl Reference<'_> {
    fn before(&self, cutoff: i64, keep: impl Fn(&Row) -> bool) -> Vec<Row> {
        let kept = self.rows.iter().zip(&self.known).filter(|(row, known)| **known && row.time < cutoff && keep(row));
        let mut kept: Vec<Row> = kept.map(|(row, _)| *row).collect();
        kept.sort_by_key(|row| (row.time, row.item));
        kept
    }

    fn items(rows: &[Row], most: usize) -> Vec<String> {
        rows[rows.len().saturating_sub(most)..].iter().map(|row| row.item.to_string()).collect()
    }

    fn shrunk(rows: &[Row], strength: f64, parent: f64) -> f64 {
        let clicks = rows.iter().filter(|row| row.click).count() as f64;
        (clicks + strength * parent) / (rows.len() as f64 + strength)
    }

    fn check(&self, data: &Dataset, at: usize, train: &[usize]) {
        let Self { rows, of, .. } = self;
        let user = |row: &Row| row.user == of.user;
        let say = |name: &str| format!("`{name}` of row {at}, {of:?}");
        assert_eq!(history(data, "seen", at), Self::items(&self.before(of.time, user), 4), "{}", say("seen"));
        let here = self.before(of.time - 3 * 3600, |row| user(row) && row.click && row.domain == of.domain);
        assert_eq!(history(data, "clicked_here", at), Self::items(&here, 3), "{}", say("clicked_here"));
        let there = self.before(of.time, |row| user(row) && row.click && row.domain != of.domain && row.time >= of.time - 2 * DAY);
        assert_eq!(history(data, "clicked_there", at), Self::items(&there, 5), "{}", say("clicked_there"));

        let near = |name: &str, expected: f64| {
            let found = number(data, name, at);
            assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{}: {found}, not {expected}", say(name));
        };
        near("count", (self.before(of.time, |row| user(row) && row.item / 3 == of.item / 3).len() as f64).ln_1p());
        let mean = train.iter().filter(|&&row| rows[row].click).count() as f64 / train.len() as f64;
        let day = midnight(of.time);
        let global = Self::shrunk(&self.before(day, |_| true), 1.0, mean);
        let of_item = Self::shrunk(&self.before(day, |row| row.item == of.item), 3.0, global);
        let p = Self::shrunk(&self.before(day, |row| row.item == of.item && row.domain == of.domain), 3.0, of_item);
        near("rate", (p / (1.0 - p)).ln());
        let elsewhere = Self::shrunk(&self.before(of.time, |row| row.domain != of.domain), 1.0, mean);
        near("rate_elsewhere", Self::shrunk(&self.before(of.time, |row| row.item == of.item && row.domain != of.domain), 2.0, elsewhere));
        let hour = |time: i64| time.div_euclid(3600);
        // The window ends in the step of the moment before the row.
        let recent = self.before(of.time, |row| {
            row.item == of.item && row.click && hour(row.time) > (of.time * 1_000_000 - 1).div_euclid(3_600_000_000) - 24
        });
        near("recent", recent.len() as f64);
        let different: std::collections::HashSet<u64> =
            self.before(of.time, |row| user(row) && row.domain != 1).iter().map(|row| row.item).collect();
        near("different", different.len() as f64);
        let pair = self.before(of.time, |row| user(row) && row.item == of.item);
        if let Some(last) = pair.last() {
            near("age", (of.time - last.time) as f64 / DAY as f64);
        }
        let same = self.before(of.time, |row| row.item == of.item && row.domain == of.domain);
        if let Some(first) = same.first() {
            near("born", (of.time - first.time) as f64 / DAY as f64);
        }
    }

    /// The decayed mean before scaling.
    fn watched(&self, train: &[usize]) -> f64 {
        let half = |row: &Row| (-((self.of.time - row.time) as f64) / 43_200.0).exp2();
        let mean = train.iter().map(|&row| self.rows[row].watch).sum::<f64>() / train.len() as f64;
        let shrunk = |rows: &[Row], strength: f64, parent: f64| {
            let (n, sum) = rows.iter().fold((0.0, 0.0), |(n, sum), row| (n + half(row), sum + half(row) * row.watch));
            (sum + strength * parent) / (n + strength)
        };
        let global = shrunk(&self.before(self.of.time, |_| true), 1.0, mean);
        shrunk(&self.before(self.of.time, |row| row.user == self.of.user), 1.5, global)
    }
}

#[test]
fn every_feature_is_what_its_definition_says() {
    for seed in 0..4 {
        let rows = rows(seed, 300);
        let mut by_time: Vec<usize> = (0..rows.len()).collect();
        by_time.sort_by_key(|&row| rows[row].time);
        let train: Vec<u32> = by_time[..200].iter().map(|&row| row as u32).collect();
        for known in [Known::all(), Known::only(&train, rows.len())] {
            let raw = read(&rows);
            let encoder = Encoder::fit_knowing(&raw, &train, &known).unwrap();
            let data = raw.encode_knowing(&encoder, &known).unwrap();
            let is_known = |row: usize| known == Known::all() || train.contains(&(row as u32));
            let mask: Vec<bool> = (0..rows.len()).map(is_known).collect();
            let train: Vec<usize> = by_time[..200].to_vec();
            let watched = |row: usize| Reference { rows: &rows, known: mask.clone(), of: &rows[row] }.watched(&train);
            let of_train: Vec<f64> = train.iter().map(|&row| watched(row)).collect();
            let mean = of_train.iter().sum::<f64>() / 200.0;
            let deviation = (of_train.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200.0).sqrt();
            for (at, of) in rows.iter().enumerate() {
                Reference { rows: &rows, known: mask.clone(), of }.check(&data, at, &train);
                let expected = (watched(at) - mean) / deviation;
                assert!((number(&data, "watched", at) - expected).abs() < 1e-4, "{at}: {expected}");
            }
        }
    }
}

#[test]
fn an_encoder_and_its_columns_come_at_once_as_they_do_one_by_one() {
    let rows = rows(16, 300);
    let train: Vec<u32> = (0..300).step_by(2).collect();
    let raw = read(&rows);
    for known in [Known::all(), Known::only(&train, 300), Known::all().stale(300, [(7, MICROS_PER_DAY), (8, 5)])] {
        let encoder = Encoder::fit_knowing(&raw, &train, &known).unwrap();
        let data = raw.clone().encode_knowing(&encoder, &known).unwrap();
        assert_eq!(raw.clone().fit_encode(&train, &known).unwrap(), (encoder, data));
    }
}

#[test]
fn many_threads_make_the_bits_of_one() {
    // Two users with more rows than go to a thread at a time.
    let rows: Vec<Row> =
        rows(17, 200_000).into_iter().map(|row| Row { user: row.user / 3, time: row.time + row.watch as i64, ..row }).collect();
    let raw = read(&rows);
    let train: Vec<u32> = (0..100_000).collect();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| raw.clone().fit_encode(&train, &Known::all()).unwrap())
    };
    assert_eq!(on(1), on(3));
}

/// The made features of every row.
fn made(data: &Dataset, row: usize) -> (Vec<Vec<u32>>, Vec<u32>) {
    let lists = data.features.bags.iter().map(|bag| bag.lists.of(row).to_vec()).collect();
    (lists, data.features.numeric.iter().map(|column| column.values[row].to_bits()).collect())
}

#[test]
fn what_happens_at_or_after_a_row_changes_no_bit_of_it() {
    let rows = rows(9, 300);
    let all: Vec<u32> = (0..300).collect();
    let raw = read(&rows);
    let encoder = Encoder::fit(&raw, &all).unwrap();
    let data = raw.encode_with(&encoder).unwrap();
    for at in (0..300).step_by(17) {
        let mut stream = RandomStream::new(1, at as u64, 0);
        let other = |row: &Row| match row.time >= rows[at].time {
            true => Row { click: stream.below(2) == 0, watch: stream.below(100) as f64, ..*row },
            false => *row,
        };
        let mut changed: Vec<Row> = rows.iter().map(other).collect();
        // Rows that come at the same moment or later do not show either.
        let later = Row { item: 3, ..rows[at] };
        changed.extend([later, Row { time: later.time + DAY, ..later }]);
        let changed = read(&changed).encode_with(&encoder).unwrap();
        for row in (0..300).filter(|&row| rows[row].time <= rows[at].time) {
            assert_eq!(made(&data, row), made(&changed, row), "row {row}, changed from row {at} on");
        }
    }
}

/// Rows of a request are asked for together: none may know what came of another, though the log has them at different moments.
#[test]
fn rows_of_a_request_know_nothing_of_each_other() {
    let rows = rows(11, 300);
    let with = |rule: &str| {
        let folder = tempfile::tempdir().unwrap();
        let line = |r: &Row| format!("{},{},{},{},{},{}\n", r.user, r.item, r.domain, r.time, u8::from(r.click), r.watch);
        let read = |rows: &[Row]| {
            let log: String = rows.iter().map(line).collect();
            std::fs::write(folder.path().join("log.csv"), "user,item,domain,time,click,watch\n".to_owned() + &log).unwrap();
            RawDataset::read(&config(folder.path(), &(rule.to_owned() + FEATURES))).unwrap().0
        };
        let raw = read(&rows);
        let encoder = Encoder::fit(&raw, &(0..300).collect::<Vec<u32>>()).unwrap();
        let data = raw.encode_with(&encoder).unwrap();
        let request = |row: usize| (rows[row].user, midnight(rows[row].time));
        // Every outcome inside one request turned round.
        (0..300).step_by(23).any(|at| {
            let turn = |(row, r): (usize, &Row)| {
                if request(row) == request(at) { Row { click: !r.click, watch: r.watch + 50.0, ..*r } } else { *r }
            };
            let changed: Vec<Row> = rows.iter().enumerate().map(turn).collect();
            let changed = read(&changed).encode_with(&encoder).unwrap();
            (0..300).filter(|&row| request(row) == request(at)).any(|row| made(&data, row) != made(&changed, row))
        })
    };
    assert!(!with("request = { by = [\"user\", \"day\"] }\n"), "a row of a request knows an outcome of the same request");
    assert!(with(""), "without requests a row knows what came before it");
}

#[test]
fn the_order_of_a_file_does_not_show() {
    let rows = rows(11, 300);
    let all: Vec<u32> = (0..300).collect();
    let raw = read(&rows);
    let encoder = Encoder::fit(&raw, &all).unwrap();
    let data = raw.encode_with(&encoder).unwrap();
    let mut order: Vec<usize> = (0..300).collect();
    RandomStream::new(2, 0, 0).shuffle(&mut order);
    let shuffled: Vec<Row> = order.iter().map(|&row| rows[row]).collect();
    let raw = read(&shuffled);
    let shuffled = raw.encode_with(&encoder).unwrap();
    for (at, &row) in order.iter().enumerate() {
        assert_eq!(made(&data, row), made(&shuffled, at), "row {row}");
    }
}

/// A task of each of some users: its support comes before its query, whatever the times, and nothing else of these users is known to them.
#[test]
fn of_a_user_with_a_task_the_support_is_known_and_nothing_of_the_query() {
    let rows = rows(13, 300);
    let of_users =
        |wanted: std::ops::Range<u64>| (0..300).filter(|&row: &u32| wanted.contains(&rows[row as usize].user)).collect::<Vec<u32>>();
    let (train, raw) = (of_users(2..6), read(&rows));
    let encoder = Encoder::fit(&raw, &train).unwrap();
    let data = raw.encode_with(&encoder).unwrap();
    let tasks = |most: usize| {
        let task = |user: u64| {
            let (mut support, query): (Vec<u32>, Vec<u32>) = of_users(user..user + 1).into_iter().partition(|row| row % 2 == 0);
            support.truncate(most);
            (support, query)
        };
        [task(0), task(1)]
    };
    let known = Known::only(&train, 300);
    let (plain, none, whole) = (data.knowing(&known).unwrap(), tasks(0), tasks(usize::MAX));
    let view = |data: &Dataset, tasks: &[(Vec<u32>, Vec<u32>)]| data.knowing(&known.clone().with_tasks(&data.log, tasks)).unwrap();
    let (without, with) = (view(&data, &none), view(&data, &whole));
    for (support, query) in &whole {
        let mut events: Vec<(i64, &str)> =
            support.iter().map(|&row| (rows[row as usize].time, data.items[data.log.item[row as usize].at()].as_str())).collect();
        // Equal times stand in the order of codes.
        let vocabulary = &data.features.vocabularies[data.features.bags[0].vocabulary.at()];
        let code = |item: &str| (0..9).find(|&code| vocabulary.value(code) == Some(item));
        events.sort_by_key(|&(time, item)| (time, code(item)));
        let latest: Vec<&str> = events[events.len().saturating_sub(4)..].iter().map(|&(_, item)| item).collect();
        for &row in query {
            assert_eq!(history(&with, "seen", row as usize), latest, "row {row}");
            assert_eq!(history(&without, "seen", row as usize), Vec::<&str>::new(), "row {row}");
        }
    }
    // Other answers to the queries change no bit of these users' rows, with one support set or another.
    let is_query = |row: usize| whole.iter().any(|(_, query)| query.contains(&(row as u32)));
    let other = |(row, of): (usize, &Row)| if is_query(row) { Row { click: !of.click, watch: of.watch + 1.0, ..*of } } else { *of };
    let changed: Vec<Row> = rows.iter().enumerate().map(other).collect();
    let changed = read(&changed).encode_with(&encoder).unwrap();
    for (tasks, before) in [(&none, &without), (&whole, &with)] {
        let after = view(&changed, tasks);
        assert!((0..300).all(|row| made(before, row) == made(&after, row)));
    }
    // Nobody else sees that there are tasks.
    assert!(train.iter().all(|&row| made(&plain, row as usize) == made(&with, row as usize)));
}

#[test]
fn other_rows_can_become_known_without_reading_the_log_again() {
    let rows = rows(12, 300);
    let some: Vec<u32> = (0..300).step_by(3).collect();
    let raw = read(&rows);
    let encoder = Encoder::fit(&raw, &some).unwrap();
    let data = raw.clone().encode_with(&encoder).unwrap();
    let few = Known::only(&some, 300);
    let viewed = data.knowing(&few).unwrap();
    assert_eq!(viewed, raw.encode_knowing(&encoder, &few).unwrap());
    assert_ne!(viewed, data);
    assert!(
        std::sync::Arc::ptr_eq(&viewed.log, &data.log)
            && std::sync::Arc::ptr_eq(&viewed.features.categorical[0], &data.features.categorical[0])
    );
    // As old as if each row came a day earlier.
    let stale = data.knowing(&Known::all().stale(300, (0..300).map(|row| (row, MICROS_PER_DAY)))).unwrap();
    for (at, of) in rows.iter().enumerate() {
        let earlier = Reference { rows: &rows, known: vec![true; 300], of: &Row { time: of.time - DAY, ..*of } };
        let seen = earlier.before(of.time - DAY, |row| row.user == of.user);
        assert_eq!(history(&stale, "seen", at), Reference::items(&seen, 4), "{at}");
    }
    assert_eq!(MICROS_PER_DAY, DAY * MICROS_PER_SECOND);
}

/// A row as an event, with its texts spelled out.
struct Happened(Row, [String; 4]);

impl Happened {
    fn new(row: Row) -> Self {
        Self(row, [row.user.to_string(), row.item.to_string(), row.domain.to_string(), (row.item / 3).to_string()])
    }
}

impl StateEvent for Happened {
    fn time(&self) -> i64 {
        self.0.time * MICROS_PER_SECOND
    }

    fn label(&self) -> f64 {
        f64::from(u8::from(self.0.click))
    }

    fn text(&self, column: &str) -> Option<&str> {
        let [user, item, domain, kind] = &self.1;
        Some(match column {
            "user" => user,
            "item" | "seen" | "clicked_here" | "clicked_there" | "different" => item,
            "domain" => domain,
            "kind" => kind,
            other => panic!("nobody reads `{other}`"),
        })
    }

    fn number(&self, feature: &str) -> f64 {
        assert_eq!(feature, "watched");
        self.0.watch
    }
}

/// The made features of a row of a data set, as a state gives them.
fn expected(data: &Dataset, row: usize) -> StateFeatures {
    let lists = data.features.bags.iter().map(|bag| bag.lists.of(row).to_vec()).collect();
    StateFeatures { lists, numbers: data.features.numeric.iter().map(|column| column.values[row]).collect() }
}

#[test]
fn a_shuffled_late_log_run_through_the_state_gives_the_bits_of_the_data_set() {
    let rows = rows(13, 400);
    let all: Vec<u32> = (0..400).collect();
    let raw = read(&rows);
    let encoder = Encoder::fit(&raw, &all).unwrap();
    let data = raw.encode_with(&encoder).unwrap();
    let events: Vec<Happened> = rows.iter().map(|&row| Happened::new(row)).collect();
    for lateness in [0, 3600, 30_000] {
        // Each event comes up to `lateness` after its time; what is asked at a moment is asked when all before it must have come.
        let mut stream = RandomStream::new(3, lateness as u64, 0);
        let mut order: Vec<(i64, usize)> =
            rows.iter().enumerate().map(|(i, row)| (row.time + stream.below(lateness as u64 + 1) as i64, i)).collect();
        stream.shuffle(&mut order);
        order.sort_by_key(|&(arrival, _)| arrival);
        let mut asked: Vec<usize> = (0..rows.len()).collect();
        asked.sort_by_key(|&row| rows[row].time);
        let span = (lateness > 0).then(|| format!("{lateness}s").parse().unwrap());
        let mut state = FeatureState::new(&encoder, "+08:00".parse().unwrap(), span);
        let mut next = 0;
        for (arrival, i) in order.iter().copied().chain([(i64::MAX, 0)]) {
            while next < asked.len() && rows[asked[next]].time.saturating_add(lateness) < arrival {
                let row = asked[next];
                assert_eq!(state.features(&events[row], &[] as &[Happened]), expected(&data, row), "lateness {lateness}, row {row}");
                next += 1;
            }
            if arrival < i64::MAX {
                state.update(&events[i]);
            }
        }
        assert_eq!((next, state.late()), (400, 0));
        let newest = rows.iter().map(|row| row.time).max().unwrap();
        assert_eq!(state.newest(), Some(newest * MICROS_PER_SECOND));
        state.update(&Happened::new(Row { time: newest - lateness - 1, ..rows[0] }));
        assert_eq!(state.late(), 1, "left out and counted");
    }
}

#[test]
fn an_overlay_is_as_good_as_having_happened() {
    let rows = rows(14, 300);
    let all: Vec<u32> = (0..300).collect();
    let raw = read(&rows);
    let encoder = Encoder::fit(&raw, &all).unwrap();
    let events: Vec<Happened> = rows.iter().map(|&row| Happened::new(row)).collect();
    let zone = "+08:00".parse().unwrap();
    let mut order: Vec<usize> = (0..300).collect();
    order.sort_by_key(|&row| rows[row].time);
    let (mut with, mut without) = (FeatureState::new(&encoder, zone, None), FeatureState::new(&encoder, zone, None));
    let user = 2;
    for &row in &order {
        with.update(&events[row]);
        if rows[row].user != user {
            without.update(&events[row]);
        }
    }
    let before = format!("{without:?}");
    let end = rows.iter().map(|row| row.time).max().unwrap() + 7200;
    let overlay: Vec<Happened> = rows.iter().filter(|row| row.user == user).map(|&row| Happened::new(row)).collect();
    for item in 0..8 {
        let row = Happened::new(Row { user, item, domain: item % 3, time: end, click: false, watch: 0.0 });
        let (there, laid_over) = (with.features(&row, &[] as &[Happened]), without.features(&row, &overlay));
        assert_eq!(there.lists, laid_over.lists);
        let near = there.numbers.iter().zip(&laid_over.numbers).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near, "{there:?} {laid_over:?}");
        assert_ne!(there.lists, without.features(&row, &[] as &[Happened]).lists);
    }
    assert_eq!(before, format!("{without:?}"), "the state is not changed");
}

#[test]
fn a_state_goes_on_where_a_log_ends_also_from_its_file() {
    // A request ends with its day, so that it lies on one side of a midnight.
    for (rule, part) in [("", (|time| time) as fn(i64) -> i64), ("request = { by = [\"user\", \"day\"] }\n", midnight)] {
        goes_on(&(rule.to_owned() + FEATURES), part);
    }
}

fn goes_on(features: &str, part: fn(i64) -> i64) {
    let rows = rows(15, 400);
    let read = |rows: &[Row]| read_as(rows, features);
    let mut order: Vec<usize> = (0..400).collect();
    order.sort_by_key(|&row| rows[row].time);
    let sorted: Vec<Row> = order.iter().map(|&row| rows[row]).collect();
    let cut = (200..400).find(|&i| part(sorted[i].time) != part(sorted[i - 1].time)).unwrap();
    let (before, after) = (read(&sorted[..cut]), read(&sorted[cut..]));
    let encoder = Encoder::fit(&before, &(0..cut as u32).collect::<Vec<_>>()).unwrap();
    let whole = read(&sorted).encode_with(&encoder).unwrap();
    let frozen = read(&sorted).encode_knowing(&encoder, &Known::only(&(0..cut as u32).collect::<Vec<_>>(), 400)).unwrap();
    let mut state = FeatureState::after(&encoder, &before, &Known::all()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.zst");
    state.save(&encoder, &file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let mut read_back = FeatureState::load(&encoder, &file).unwrap();
    for (learns, expected) in [(false, &frozen), (true, &whole)] {
        for state in [&mut state, &mut read_back] {
            let followed = state.follow(&encoder, &after, learns).unwrap();
            let data = after.clone().encode_following(&encoder, followed).unwrap();
            for row in 0..400 - cut {
                assert_eq!(made(&data, row), made(expected, cut + row), "row {row}, learns: {learns}");
            }
            assert!(!data.has_state());
        }
    }
    // What is not a state of this encoder is refused.
    let other = Encoder::fit(&before, &[0, 1, 2]).unwrap();
    let error = FeatureState::load(&other, &file).unwrap_err().to_string();
    assert!(error.contains("belongs to another base"), "{error}");
    for (bytes, problem) in
        [(&bytes[1..], "is no state"), (&bytes[..bytes.len() - 5], "is damaged"), (&[&bytes[..30], &[7; 40]].concat(), "is damaged")]
    {
        std::fs::write(&file, bytes).unwrap();
        let error = FeatureState::load(&encoder, &file).unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("state.zst"), "{error}");
    }
}

#[test]
fn a_state_is_written_as_it_was_from_the_first_version_on() {
    let text = FEATURES.replace("half_life = \"12h\"\n", "");
    let rows = rows(18, 400);
    let raw = read_as(&rows, &text);
    let encoder = Encoder::fit(&raw, &(0..400).collect::<Vec<_>>()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.zst");
    FeatureState::after(&encoder, &raw, &Known::all()).unwrap().save(&encoder, &file).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let unpacked = zstd::decode_all(&bytes[8..]).unwrap();
    // A length and 64 digits of the encoder's hash come first.
    let kept: String = unpacked[65..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&bytes[..8], kept.len()), (&b"ACLSTAT1"[..], 33_512));
    assert_eq!(sha256_hex(&kept), "8d8dfe16a9c0ce4438a78fff1d97afb5f36cd7ea853d7c0bf5a82006c71d29ad");
}

#[test]
fn numbers_of_one_moment_are_added_in_an_order_of_their_own() {
    // (1e17 + 1) - 1e17 is 0, (1e17 - 1e17) + 1 is 1.
    let row = |watch: f64| Row { user: 0, item: 1, domain: 0, time: 1_650_000_000, click: watch > 0.0, watch };
    let later = Row { time: 1_650_000_500, ..row(0.0) };
    let tied = [1e17, 1.0, -1e17, 3.0];
    let number_of = |order: [usize; 4]| {
        let rows: Vec<Row> = order.iter().map(|&i| row(tied[i])).chain([later]).collect();
        let raw = read(&rows);
        let encoder = Encoder::fit(&raw, &[4]).unwrap();
        let data = raw.encode_with(&encoder).unwrap();
        let scale = encoder.features().iter().find(|feature| feature.name == "watched").unwrap().encoding;
        (number(&data, "watched", 4).to_bits(), format!("{scale:?}"))
    };
    for order in [[1, 0, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0], [2, 3, 0, 1]] {
        assert_eq!(number_of([0, 1, 2, 3]), number_of(order), "{order:?}");
    }
}
