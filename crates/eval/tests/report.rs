//! Records, verdicts and the files that a run leaves.

use acclimate_eval::{
    Bootstrap, Cost, Entrant, EvalError, EvaluationQueries, EvaluationRows, Input, Kind, Leaderboard, Metric, Outcome, Paint, Panel, Place,
    Report, Role, Statistic, Verdict, Verdicts, gains, to_html,
};

fn place(setting: &str) -> Place {
    Place { dataset: "toy".to_owned(), scenario: "new_domain".to_owned(), setting: setting.to_owned() }
}

const USERS: u32 = 60;

fn labels() -> Vec<f32> {
    (0..USERS * 4).map(|row| if row % 4 < 2 { 1.0 } else { 0.0 }).collect()
}

fn rows() -> EvaluationRows {
    let users: Vec<u32> = (0..USERS * 4).map(|row| row / 4).collect();
    EvaluationRows::new(&users, &labels()).unwrap()
}

/// Predictions that are right except for the last row of every `n`-th user.
fn wrong_every(n: u32) -> Vec<f32> {
    let wrong = |row: u32| row % 4 == 3 && (row / 4).is_multiple_of(n);
    (0..USERS * 4).zip(labels()).map(|(row, label)| if wrong(row) { 0.9 } else { 0.2 + 0.5 * label }).collect()
}

fn panel() -> Panel<f32> {
    let cost = Cost {
        trainable_parameters: Some(960),
        patch_bytes: Some(4096),
        train_seconds: Some(1.5),
        rows_per_second: Some(150_000.0),
        adapt_one_seconds: Some(2e-3),
        adapt_thousand_seconds: Some(1.25),
        day_seconds: Some(4.0),
        request_seconds: Some(9e-6),
        newest_event_hours: Some(11.5),
    };
    Panel::new(place("n=all"), Bootstrap::default())
        .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; USERS as usize * 4]))
        .enter(Entrant::deterministic("rate", Kind::Floor, wrong_every(3)))
        .enter(Entrant::deterministic("base", Kind::Control, wrong_every(3)))
        .enter(Entrant::deterministic("scratch", Kind::Control, wrong_every(1)))
        .enter(Entrant::trained("film", Kind::Adaptation, vec![(1, wrong_every(9)), (2, wrong_every(8))], cost))
        .enter(Entrant::deterministic("bayes", Kind::Ceiling, labels()))
}

fn outcome() -> Outcome {
    let metrics: Vec<Metric> = ["auc", "log_loss"].map(|name| name.parse().unwrap()).to_vec();
    panel().on_rows(&rows(), &metrics).unwrap()
}

fn report(outcome: Outcome) -> Report {
    let mut report = Report { title: "a <title> & more".to_owned(), command: "acclimate compare \"x\"".to_owned(), ..Report::default() };
    report.extend(outcome);
    report
}

#[test]
fn verdicts_follow_the_paired_interval_and_the_direction_of_the_metric() {
    let outcome = outcome();
    for metric in ["auc", "log_loss"] {
        let verdict = |method: &str| {
            let found = outcome.results.iter().find(|result| result.method == method && result.metric.to_string() == metric);
            found.unwrap().beats_floor
        };
        assert_eq!(verdict("film"), Verdict::Yes, "{metric}");
        assert_eq!(verdict("base"), Verdict::NotShown, "{metric}: equal to the best floor");
        assert_eq!(verdict("scratch"), Verdict::No, "{metric}");
    }
}

#[test]
fn differences_name_the_best_floor_and_the_base() {
    let outcome = outcome();
    let of_film: Vec<_> = outcome.differences.iter().filter(|difference| difference.method == "film").collect();
    let references: Vec<_> = of_film.iter().map(|difference| (difference.reference.as_str(), difference.reference_is_best_floor)).collect();
    assert_eq!(references, [("rate", true), ("base", false), ("rate", true), ("base", false)]);
    assert!(outcome.differences.iter().all(|difference| difference.method != "rate" && difference.method != "bayes"));
}

#[test]
fn what_adaptation_took_away_is_said() {
    let cells = USERS as usize * 4;
    let panel = Panel::new(place("n=all"), Bootstrap::default())
        .with_references(&["base", "wide"])
        .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; cells]))
        .enter(Entrant::deterministic("base", Kind::Control, wrong_every(3)))
        .enter(Entrant::deterministic("wide", Kind::Control, wrong_every(9)))
        .enter(Entrant::deterministic("film", Kind::Adaptation, wrong_every(1)))
        .enter(Entrant::deterministic("adapter", Kind::Adaptation, wrong_every(3)).on("wide"));
    let mut report = report(panel.on_rows(&rows(), &["auc".parse().unwrap()]).unwrap());
    let own: Vec<_> = report.differences.iter().filter(|d| d.reference_is_own_base).collect();
    let pairs: Vec<_> = own.iter().map(|d| (d.method.as_str(), d.reference.as_str(), d.better)).collect();
    assert_eq!(pairs, [("wide", "base", Verdict::Yes), ("film", "base", Verdict::No), ("adapter", "wide", Verdict::No)]);
    report.notes.push("two rows are missing".into());
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    for text in [
        "difference to base\n",
        "difference to wide\n",
        "  Shown to be worse than its own base: film, adapter.",
        "  - two rows are missing",
    ] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    let film = table.lines().skip_while(|l| *l != "difference to base").find(|l| l.contains("film")).unwrap();
    assert!(film.contains(" -0.") && film.ends_with("worse"), "{film}");
    let page = to_html(&report);
    assert!(page.contains("<li>Shown to be worse than its own base: film, adapter.</li>"));
    assert!(page.contains("Paired difference to <em>its base</em>"));
    // Scenarios are judged apart.
    let mut other = report.clone();
    other.results.iter_mut().for_each(|result| result.place.scenario = "elsewhere".into());
    other.differences.iter_mut().for_each(|difference| difference.place.scenario = "elsewhere".into());
    report.join(other);
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    assert_eq!(table.matches("worse than its own base: film").count(), 2, "{table}");
    assert!(table.contains("Verdict: toy / elsewhere, by auc"), "{table}");
}

/// Days are days, and not rows to adapt from.
#[test]
fn a_stream_is_served_by_days() {
    let mut report = curve(&[("day=20220510", None, None), ("day=20220511", Some(40), None), ("day=20220512", Some(40), None)]);
    report.title = "a stream".into();
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    assert!(table.contains("Serve, by day: the base at 05-10, film from 05-11 on."), "{table}");
}

/// Where nothing starts from a network, what is compared with first may be a floor, or another method.
#[test]
fn a_reference_that_is_no_base_is_nobodys_own() {
    for (name, kind) in [("popularity", Kind::Floor), ("metacf", Kind::Adaptation)] {
        let panel = Panel::new(place("n=all"), Bootstrap::default())
            .with_references(&[name])
            .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; USERS as usize * 4]))
            .enter(Entrant::deterministic(name, kind, wrong_every(3)))
            .enter(Entrant::deterministic("film", Kind::Adaptation, wrong_every(1)));
        let outcome = panel.on_rows(&rows(), &["auc".parse().unwrap()]).unwrap();
        assert!(outcome.differences.iter().any(|d| d.method == "film" && d.reference == name));
        assert!(outcome.differences.iter().all(|d| !d.reference_is_own_base), "{:?}", outcome.differences);
        assert!(outcome.results.iter().all(|result| result.base.is_none()));
    }
}

/// A base and two adaptations at some support sizes; an adaptation is right in all but the last row of every `n`-th user. `None`: as the base.
fn curve(sizes: &[(&str, Option<u32>, Option<u32>)]) -> Report {
    let mut report = report(Outcome::default());
    for &(setting, film, melu) in sizes {
        let panel = Panel::new(place(setting), Bootstrap::default())
            .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; USERS as usize * 4]))
            .enter(Entrant::deterministic("base", Kind::Control, wrong_every(3)))
            .enter(Entrant::deterministic("film", Kind::Adaptation, wrong_every(film.unwrap_or(3))))
            .enter(Entrant::deterministic("melu", Kind::Adaptation, wrong_every(melu.unwrap_or(3))));
        report.extend(panel.on_rows(&rows(), &["auc".parse().unwrap(), "log_loss".parse().unwrap()]).unwrap());
    }
    report
}

#[test]
fn the_base_is_served_until_an_adaptation_is_shown_to_be_better() {
    let report = curve(&[
        ("new_user", None, Some(9)),
        ("new_user,k=5", Some(6), Some(9)),
        ("new_user,k=0", Some(1), Some(1)),
        ("new_user,k=1", None, None),
        ("new_user,k=10", Some(30), Some(9)),
        ("new_user,k=20", Some(30), Some(9)),
    ]);
    let [verdict] = &report.verdicts().scenarios[..] else { panic!("one scenario") };
    let ranges: Vec<_> = verdict.serve.iter().map(|r| (r.curve.as_str(), r.from.as_str(), r.to.as_str(), r.method.as_str())).collect();
    let expected = [("new_user", "k=0", "k=1", "base"), ("new_user", "k=5", "k=5", "melu"), ("new_user", "k=10", "k=20", "film")];
    assert_eq!(ranges, expected);
    let text = verdict.text.join("\n");
    for line in [
        "Best floor: constant in 6 of 6 settings. An adaptation is shown to beat it in 5 of 6 settings.",
        "Shown to be better than its own base: melu in 4 of 6 settings, film in 3 of 6 settings.",
        "Shown to be worse than its own base: film in new_user,k=0.",
        "Shown to be worse than its own base: melu in new_user,k=0.",
        "Serve in new_user: melu.",
        "Serve, new_user, by support size: the base up to k=1, melu at k=5, film from k=10 on.",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let served = verdict.settings.iter().find(|s| s.setting == "new_user,k=10").unwrap().serve.as_ref().unwrap();
    let difference = served.difference.as_ref().unwrap();
    assert_eq!((served.role, difference.reference.as_str(), difference.better), (Role::Adaptation, "base", Verdict::Yes));
    assert!(difference.ci_low > Some(0.0));
}

#[test]
fn nothing_is_claimed_that_is_not_shown() {
    let verdict = |report: &Report| report.verdicts().scenarios[0].clone();
    let even = verdict(&curve(&[("n=all", None, None)]));
    assert!(even.text.contains(&"No adaptation is shown to be better than its own base: serving the base is the right choice.".to_owned()));
    assert!(even.text.contains(&"Serve: the base.".to_owned()), "{:?}", even.text);
    // Ahead in value, but with one user there is no interval.
    let rows = EvaluationRows::new(&[0, 0, 0], &[1.0, 0.0, 0.0]).unwrap();
    let ahead = Panel::new(place("one"), Bootstrap::default())
        .enter(Entrant::deterministic("base", Kind::Control, vec![0.5, 0.6, 0.1]))
        .enter(Entrant::deterministic("film", Kind::Adaptation, vec![0.9, 0.1, 0.1]));
    let ahead = verdict(&report(ahead.on_rows(&rows, &["auc".parse().unwrap()]).unwrap()));
    assert_eq!(ahead.settings[0].serve.as_ref().unwrap().method, "base");
    // A control is named as one, and a further base as one.
    let cells = USERS as usize * 4;
    let panel = |wide: u32| {
        let panel = Panel::new(place("n=all"), Bootstrap::default())
            .with_references(&["base", "wide"])
            .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; cells]))
            .enter(Entrant::deterministic("base", Kind::Control, wrong_every(3)))
            .enter(Entrant::deterministic("wide", Kind::Control, wrong_every(wide)))
            .enter(Entrant::deterministic("scratch", Kind::Control, wrong_every(9)))
            .enter(Entrant::deterministic("film", Kind::Adaptation, wrong_every(wide)).on("wide"));
        verdict(&report(panel.on_rows(&self::rows(), &["auc".parse().unwrap()]).unwrap()))
    };
    let text = panel(3).text.join("\n");
    assert!(text.contains("its own base. Controls that are: scratch.") && text.contains("Serve: scratch (a control)."), "{text}");
    // A base that is ahead of every method that is better than its own base is served itself.
    let wide = panel(30);
    assert_eq!(wide.settings[0].serve.as_ref().map(|s| (s.method.as_str(), s.role)), Some(("wide", Role::Base)));
    assert!(wide.text.contains(&"Serve: wide (a base).".to_owned()), "{:?}", wide.text);
}

#[test]
fn a_base_below_the_floor_is_not_called_the_right_choice() {
    let inverted: Vec<f32> = labels().iter().map(|label| 0.7 - 0.5 * label).collect();
    let panel = Panel::new(place("n=all"), Bootstrap::default())
        .with_references(&["base"])
        .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; USERS as usize * 4]))
        .enter(Entrant::deterministic("base", Kind::Control, inverted.clone()))
        .enter(Entrant::deterministic("film", Kind::Adaptation, inverted));
    let report = report(panel.on_rows(&rows(), &["auc".parse().unwrap()]).unwrap());
    let text = report.verdicts().scenarios[0].text.join("\n");
    assert!(text.contains("Shown to be worse than the best floor: base. Mend the base first, or serve the floor there."), "{text}");
    assert!(text.contains("No adaptation is shown to be better than its own base.") && !text.contains("right choice"), "{text}");
}

#[test]
fn page_terminal_and_json_say_the_same() {
    let report = curve(&[("both,k=0", Some(1), None), ("both,k=10", None, Some(9)), ("new_user", None, None)]);
    let verdicts = report.verdicts();
    let folder = tempfile_folder("verdicts");
    report.write_json(&folder.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(folder.join("report.json")).unwrap()).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(serde_json::from_value::<Verdicts>(json["verdicts"].clone()).unwrap(), verdicts);
    let page = to_html(&report);
    let terminal = Leaderboard::new(&report, Paint::Plain).to_string();
    let (first, _) = terminal.split_once("method").unwrap();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let verdict = &verdicts.scenarios[0];
    assert!(first.starts_with(&format!("Verdict: {}\n", verdict.heading())), "{first}");
    assert!(verdict.text.len() >= 4);
    for line in &verdict.text {
        assert!(words(first).contains(&words(line)), "{line} is not in\n{first}");
        assert!(page.contains(&format!("<li>{}</li>", line.replace('\'', "&#39;"))), "{line}");
    }
}

#[test]
fn a_method_is_judged_by_floors_that_read_no_more_than_it_does() {
    let cells = USERS as usize * 4;
    let reads = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let (few, all) = (reads(&["item"]), reads(&["history", "item"]));
    let panel = Panel::new(place("all"), Bootstrap::default())
        .with_references(&["base", "wide"])
        .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; cells]))
        .enter(Entrant::deterministic("regression", Kind::Floor, wrong_every(2)).reading(few.clone()))
        .enter(Entrant::deterministic("regression[wide]", Kind::Floor, wrong_every(30)).reading(all.clone()))
        .enter(Entrant::deterministic("base", Kind::Control, wrong_every(5)).reading(few.clone()))
        .enter(Entrant::deterministic("wide", Kind::Control, wrong_every(5)).reading(all))
        .enter(Entrant::deterministic("film", Kind::Adaptation, wrong_every(5)).reading(few))
        .enter(Entrant::deterministic("other", Kind::Adaptation, wrong_every(5)).reading(reads(&["user"])));
    let report = report(panel.on_rows(&rows(), &["auc".parse().unwrap()]).unwrap());
    let floor = |method: &str| {
        let result = report.results.iter().find(|result| result.method == method).unwrap();
        (result.floor.as_deref(), result.beats_floor)
    };
    assert_eq!(floor("base"), (Some("regression"), Verdict::Yes));
    assert_eq!(floor("film"), (Some("regression"), Verdict::Yes));
    assert_eq!(floor("wide"), (Some("regression[wide]"), Verdict::No));
    assert_eq!(floor("other"), (Some("constant"), Verdict::Yes));
    assert_eq!(floor("regression"), (None, Verdict::NotShown));
    for difference in report.differences.iter().filter(|difference| difference.reference_is_best_floor) {
        assert_eq!(Some(difference.reference.as_str()), floor(&difference.method).0, "{}", difference.method);
    }
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    let words = table.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("vs floor, auc: base, film against regression; wide against regression[wide]; other against constant."),
        "{table}"
    );
    assert!(
        words.contains("Best floor: regression 0.7500 for base, film; regression[wide] 0.9833 for wide; constant 0.5000 for other."),
        "{table}"
    );
    let page = to_html(&report);
    for text in [
        r#"<span class="tag">best floor of base, film</span>"#,
        r#"<span class="tag">best floor of wide</span>"#,
        "Paired difference to <em>its best floor</em>",
        r#"<span class="to"> to regression[wide]</span>"#,
    ] {
        assert!(page.contains(text), "{text}");
    }
    // One floor for all: nothing to tell apart.
    let table = Leaderboard::new(&self::report(outcome()), Paint::Plain).to_string();
    assert!(!table.contains("vs floor, auc:"), "{table}");
}

#[test]
fn support_curves_are_printed_with_marks() {
    let report = curve(&[("new_user", None, None), ("new_user,k=0", Some(1), None), ("new_user,k=10", None, Some(9))]);
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    let (_, curve) = table.split_once("new_user by support size k, auc\n").unwrap();
    let line = |start: &str| curve.lines().find(|line| line.trim_start().starts_with(start)).unwrap();
    assert_eq!(line("method").split_whitespace().collect::<Vec<_>>(), ["method", "k=0", "k=10"]);
    assert!(!line("base").contains(['\u{25b2}', '\u{25bc}']));
    let film: Vec<&str> = line("film").split_whitespace().collect();
    let melu: Vec<&str> = line("melu").split_whitespace().collect();
    assert!(film[1].ends_with('\u{25bc}') && !film[2].ends_with(['\u{25b2}', '\u{25bc}']), "{film:?}");
    assert!(!melu[1].ends_with(['\u{25b2}', '\u{25bc}']) && melu[2].ends_with('\u{25b2}'), "{melu:?}");
    assert!(!table.contains("new_user,k=0\n"), "sizes have no table of their own: {table}");
    assert!(!curve.contains("log_loss"), "{curve}");
}

#[test]
fn a_domain_that_macro_means_lack_is_named() {
    // Domain 2 has one positive row, of one user among 40; domain 3 has none at all.
    let users: Vec<u32> = (0..160).map(|row| row / 4).collect();
    let domains: Vec<u32> = (0..160).map(|row| row % 4).collect();
    let labels: Vec<f32> = (0..160u32).map(|row| f32::from(u8::from(if row % 4 < 2 { row % 8 < 4 } else { row == 2 }))).collect();
    let names = ["a", "b", "rare", "none", "empty"].map(str::to_owned);
    let rows = EvaluationRows::new(&users, &labels).unwrap().with_domains("shop", &domains, &names).unwrap();
    let guess: Vec<f32> = (0..160).map(|row| ((row * 37) % 101) as f32 / 101.0).collect();
    let panel = Panel::new(place("all"), Bootstrap::default())
        .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5; 160]))
        .enter(Entrant::deterministic("base", Kind::Control, guess.clone()))
        .enter(Entrant::deterministic("film", Kind::Adaptation, labels.clone()));
    let metrics: Vec<Metric> = ["macro_auc", "auc"].map(|name| name.parse().unwrap()).to_vec();
    let report = report(panel.on_rows(&rows, &metrics).unwrap());
    let found: Vec<_> = report.absences.iter().map(|a| (a.domain.as_str(), a.on_sample, a.share() > 0.3, a.share() > 0.45)).collect();
    // The user with the positive is in none of 40 draws with replacement in (39/40)^40 = 36 % of the draws.
    assert_eq!(found, [("shop=rare", false, true, false), ("shop=none", true, true, true)]);
    assert!(report.results.iter().all(|result| result.value.is_some() && result.ci_low.is_some()));
    let note = report.notes.iter().find(|note| note.contains("macro_auc is the mean over the domains")).unwrap();
    assert!(
        note.contains("shop=rare (") && note.contains("of 1000 draws)") && note.contains("shop=none (undefined on all rows)"),
        "{note}"
    );
    let verdict = &report.verdicts().scenarios[0];
    assert_eq!(verdict.settings[0].without_domains, ["shop=none (undefined on all rows)"]);
    assert!(verdict.text.contains(&"macro_auc is without: shop=none (undefined on all rows).".to_owned()), "{:?}", verdict.text);
    // Rows, users and positives by hand.
    let sizes: Vec<_> = report.domains.iter().map(|d| (d.size.domain.as_str(), d.size.rows, d.size.users, d.size.positives)).collect();
    let expected =
        [("shop=a", 40, 40, Some(20)), ("shop=b", 40, 40, Some(20)), ("shop=rare", 40, 40, Some(1)), ("shop=none", 40, 40, Some(0))];
    assert_eq!(sizes, expected);
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    assert!(table.contains("  shop=rare  40 rows of 40 users, 1 positive\n"), "{table}");
    assert!(to_html(&report).contains("Measured rows of each domain"));
}

#[test]
fn the_terminal_lists_the_largest_of_many_domains() {
    // Domain d has d + 1 rows.
    let domains: Vec<u32> = (0..30).flat_map(|domain| vec![domain; domain as usize + 1]).collect();
    let users: Vec<u32> = (0..domains.len() as u32).map(|row| row % 40).collect();
    let labels: Vec<f32> = (0..domains.len()).map(|row| (row % 2) as f32).collect();
    let names: Vec<String> = (0..30).map(|domain| format!("d{domain}")).collect();
    let rows = EvaluationRows::new(&users, &labels).unwrap().with_domains("shop", &domains, &names).unwrap();
    let panel = Panel::new(place("all"), Bootstrap { draws: 20, ..Bootstrap::default() }).enter(Entrant::deterministic(
        "constant",
        Kind::Floor,
        vec![0.5; domains.len()],
    ));
    let report = report(panel.on_rows(&rows, &["auc".parse().unwrap()]).unwrap());
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    let listed: Vec<&str> = table.lines().filter(|line| line.contains(" rows of ")).map(str::trim_start).collect();
    assert_eq!(listed.len(), 20, "{table}");
    assert!(listed[0].starts_with("shop=d29  30 rows") && listed[19].starts_with("shop=d10  11 rows"), "{table}");
    assert!(table.contains("  10 more domains, none of them larger, are in the report\n") && report.domains.len() == 30, "{table}");
}

/// A folder of this test run.
fn tempfile_folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("acclimate-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn gains_are_paired_and_stand_in_the_report() {
    let [none, five] = ["new_user,k=0", "new_user,k=5"].map(place);
    let [without, with] = [[wrong_every(1), wrong_every(3)], [wrong_every(9), wrong_every(3)]]
        .map(|[film, base]| [Entrant::deterministic("film", Kind::Adaptation, film), Entrant::deterministic("base", Kind::Control, base)]);
    let auc: Metric = "auc".parse().unwrap();
    let found = gains(Bootstrap::default(), &rows(), std::slice::from_ref(&auc), [(&none, &without[..]), (&five, &with[..])]).unwrap();
    let value = |predictions: &[f32]| Statistic::of_rows(&auc, &rows(), "film", predictions).unwrap().value().unwrap();
    assert_eq!((found[0].method.as_str(), found[0].from.as_str(), &found[0].place), ("film", "new_user,k=0", &five));
    assert!((found[0].value - (value(&wrong_every(9)) - value(&wrong_every(1)))).abs() < 1e-12);
    assert!(found[0].ci_low.unwrap() > 0.0 && found[0].better == Verdict::Yes);
    // What says the same with and without support rows gains nothing, in no draw.
    assert_eq!((found[1].value, found[1].ci_low, found[1].ci_high, found[1].better), (0.0, Some(0.0), Some(0.0), Verdict::NotShown));
    let mut report = Report::default();
    for (place, entrants) in [(&none, without), (&five, with)] {
        let panel = entrants.into_iter().fold(Panel::new(place.clone(), Bootstrap::default()), Panel::enter);
        report.extend(panel.on_rows(&rows(), std::slice::from_ref(&auc)).unwrap());
    }
    assert!(!to_html(&report).contains("adaptation gain"));
    report.extend(Outcome { gains: found, ..Outcome::default() });
    let page = to_html(&report);
    assert!(page.contains("new_user: adaptation gain") && page.contains("above 0 is better") && page.contains("+0.0000"), "{page}");
}

#[test]
fn records_have_the_agreed_fields() {
    let json = serde_json::to_value(&outcome().results).unwrap();
    let film = json.as_array().unwrap().iter().find(|record| record["method"] == "film").unwrap();
    let fields = "dataset scenario setting method kind metric value ci_low ci_high seeds trainable_parameters patch_bytes train_seconds \
                  rows_per_second adapt_one_seconds adapt_thousand_seconds day_seconds request_seconds newest_event_hours \
                  is_base base floor beats_floor";
    for field in fields.split_whitespace() {
        assert!(film.get(field).is_some(), "no field {field}");
    }
    assert_eq!(film["kind"], "adaptation");
    assert_eq!(film["metric"], "auc");
    assert_eq!(film["seeds"], 2);
    assert_eq!(film["beats_floor"], "yes");
    assert_eq!((&film["base"], &film["floor"], &film["is_base"]), (&"base".into(), &"rate".into(), &false.into()));
    let base = json.as_array().unwrap().iter().find(|record| record["method"] == "base").unwrap();
    assert_eq!(base["beats_floor"], "not shown");
    assert!(base["patch_bytes"].is_null() && base["base"].is_null() && base["is_base"] == true);
}

#[test]
fn a_report_survives_its_file() {
    let folder = tempfile_folder("report");
    let path = folder.join("report.json");
    let report = report(outcome());
    report.write_json(&path).unwrap();
    assert_eq!(Report::read_json(&path).unwrap(), report);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
    std::fs::remove_dir_all(&folder).unwrap();
    let error = report.write_json(&folder.join("report.json")).unwrap_err();
    assert!(matches!(error, EvalError::File { .. }) && error.to_string().contains("report.json"), "{error}");
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let mut report = report(outcome());
    report.inputs.push(Input { file: "<a>.toml".to_owned(), sha256: "0123".to_owned() });
    report.environment.peak_memory_mib = Some(612.0);
    let page = to_html(&report);
    for outside in ["http://", "https://", "<script", "<link", "@import", "url(", "src="] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("a &lt;title&gt; &amp; more") && !page.contains("a <title>"));
    assert!(page.contains("acclimate compare &quot;x&quot;"));
    assert!(page.contains("SHA-256 of &lt;a&gt;.toml</dt><dd>0123</dd>") && page.contains("Peak memory</dt><dd>612 MiB</dd>"));
    for (open, close) in
        [("<table", "</table>"), ("<tbody", "</tbody>"), ("<tr", "</tr>"), ("<svg", "</svg>"), ("<div", "</div>"), ("<g", "</g>")]
    {
        let opened = page.matches(&format!("{open} ")).count() + page.matches(&format!("{open}>")).count();
        assert_eq!(opened, page.matches(close).count(), "{open}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf%"));
}

#[test]
fn hostile_names_stay_text() {
    let panel = Panel::new(place("n=<i>"), Bootstrap::default())
        .enter(Entrant::deterministic("<script>alert(1)</script>", Kind::Floor, wrong_every(2)))
        .enter(Entrant::deterministic("\" onload=\"x", Kind::Adaptation, wrong_every(5)));
    let users: Vec<u32> = (0..USERS * 4).map(|row| row / 4).collect();
    let domains: Vec<u32> = (0..USERS * 4).map(|row| row % 4 % 2).collect();
    let rows = EvaluationRows::new(&users, &labels()).unwrap();
    let rows = rows.with_domains("tab", &domains, &["<b>".to_owned(), "'&".to_owned()]).unwrap();
    let metrics: Vec<Metric> = ["auc", "auc[tab=<b>]", "auc[tab='&]"].map(|name| name.parse().unwrap()).to_vec();
    let page = to_html(&report(panel.on_rows(&rows, &metrics).unwrap()));
    assert!(!page.contains("<script") && !page.contains("<i>") && !page.contains("<b>") && !page.contains("\" onload"));
}

#[test]
fn the_terminal_table_fits_its_width_and_is_plain_when_asked() {
    let report = report(outcome());
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    assert!(!table.contains('\x1b'));
    assert!(table.lines().all(|line| line.chars().count() <= 100 || line.starts_with("Brackets")), "{table}");
    assert!(table.contains("not shown") && table.contains("film") && table.contains("toy / new_domain / n=all"));
    assert!(Leaderboard::new(&report, Paint::Ansi).to_string().contains('\x1b'));
    let first_only = Leaderboard::new(&report, Paint::Plain).with_most_metrics(1).to_string();
    assert!(first_only.contains("Metrics in the report only: log_loss") && !first_only.contains("0.6"));
}

#[test]
fn bad_input_is_named() {
    let auc: Metric = "auc".parse().unwrap();
    let error = |panel: Panel<f32>, metric: &Metric| panel.on_rows(&rows(), std::slice::from_ref(metric)).unwrap_err().to_string();
    let mut diverged = wrong_every(2);
    diverged[17] = f32::NAN;
    let found = error(panel().enter(Entrant::deterministic("broken", Kind::Control, diverged)), &auc);
    assert!(found.contains("broken, row 17: NaN"), "{found}");
    let found = error(panel().enter(Entrant::deterministic("short", Kind::Control, vec![0.5; 3])), &auc);
    assert!(found.contains("short has 3 entries but the evaluation has 240"), "{found}");
    let found = error(panel().enter(Entrant::deterministic("film", Kind::Control, wrong_every(2))), &auc);
    assert!(found.contains("`film` was entered twice in toy / new_domain / n=all"), "{found}");
    let found = error(panel(), &"mrr[full]".parse().unwrap());
    assert!(found.contains("`mrr[full]` needs ranks of positives"), "{found}");
    let found = error(panel(), &"auc[tab=2]".parse().unwrap());
    assert!(found.contains("needs a domain column"), "{found}");
    let queries = EvaluationQueries::new(&[0, 1]).unwrap();
    let ranks = Panel::new(place("full"), Bootstrap::default()).enter(Entrant::deterministic("zero", Kind::Floor, vec![1.0, 0.0]));
    let found = ranks.on_ranks(&queries, &["mrr[full]".parse().unwrap()]).unwrap_err().to_string();
    assert!(found.contains("zero, query 1: 0 is not a rank"), "{found}");
    assert!(matches!(EvaluationRows::new(&[], &[]), Err(EvalError::Empty { .. })));
}

#[test]
fn draws_without_a_class_are_left_out_and_noted() {
    let panel = Panel::new(place("rare"), Bootstrap::default()).enter(Entrant::deterministic("rate", Kind::Floor, vec![0.9_f32, 0.1, 0.2]));
    let rows = EvaluationRows::new(&[0, 1, 2], &[1.0, 0.0, 0.0]).unwrap();
    let outcome = panel.on_rows(&rows, &["auc".parse().unwrap()]).unwrap();
    assert_eq!((outcome.results[0].value, outcome.results[0].ci_low), (Some(1.0), Some(1.0)));
    assert!(outcome.notes[0].contains("auc was undefined on") && outcome.notes[0].contains("toy / new_domain / rare"));
}

#[test]
fn ranks_average_inside_a_user_first() {
    let queries = EvaluationQueries::new(&[3, 3, 8]).unwrap();
    let panel =
        Panel::new(place("full"), Bootstrap::default()).enter(Entrant::deterministic("popularity", Kind::Floor, vec![1.0, 2.0, 4.0]));
    let metrics: Vec<Metric> = ["mrr[full]", "hr@1[full]"].map(|name| name.parse().unwrap()).to_vec();
    let values: Vec<_> = panel.on_ranks(&queries, &metrics).unwrap().results.iter().map(|result| result.value.unwrap()).collect();
    assert_eq!(values, [(0.75 + 0.25) / 2.0, 0.25]);
}
