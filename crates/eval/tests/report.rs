//! Records, verdicts and the files that a run leaves.

use acclimate_eval::{
    Bootstrap, Cost, Entrant, EvalError, EvaluationQueries, EvaluationRows, Input, Kind, Leaderboard, Metric, Outcome, Paint, Panel, Place,
    Report, Verdict, to_html,
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
    let cost =
        Cost { trainable_parameters: Some(960), patch_bytes: Some(4096), train_seconds: Some(1.5), rows_per_second: Some(150_000.0) };
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
        "Worse than base: film in n=all",
        "Worse than wide: adapter",
        "  - two rows are missing",
    ] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    let film = table.lines().skip_while(|l| *l != "difference to base").find(|l| l.contains("film")).unwrap();
    assert!(film.contains(" -0.") && film.ends_with("worse"), "{film}");
    let page = to_html(&report);
    assert!(page.contains("<strong>film</strong> is worse than <em>base</em> in 1 of the settings: n=all."));
    assert!(page.contains("Paired difference to <em>its base</em>"));
    // Settings of two scenarios are told apart.
    let mut other = report.clone();
    other.results.iter_mut().for_each(|result| result.place.scenario = "elsewhere".into());
    other.differences.iter_mut().for_each(|difference| difference.place.scenario = "elsewhere".into());
    report.results.extend(other.results);
    report.differences.extend(other.differences);
    let table = Leaderboard::new(&report, Paint::Plain).to_string();
    assert!(table.contains("Worse than base: film in new_domain n=all; elsewhere n=all"), "{table}");
}

#[test]
fn records_have_the_agreed_fields() {
    let json = serde_json::to_value(&outcome().results).unwrap();
    let film = json.as_array().unwrap().iter().find(|record| record["method"] == "film").unwrap();
    let fields = "dataset scenario setting method kind metric value ci_low ci_high seeds trainable_parameters patch_bytes train_seconds \
                  rows_per_second beats_floor";
    for field in fields.split_whitespace() {
        assert!(film.get(field).is_some(), "no field {field}");
    }
    assert_eq!(film["kind"], "adaptation");
    assert_eq!(film["metric"], "auc");
    assert_eq!(film["seeds"], 2);
    assert_eq!(film["beats_floor"], "yes");
    let base = json.as_array().unwrap().iter().find(|record| record["method"] == "base").unwrap();
    assert_eq!(base["beats_floor"], "not shown");
    assert!(base["patch_bytes"].is_null());
}

#[test]
fn a_report_survives_its_file() {
    let folder = std::env::temp_dir().join(format!("acclimate-report-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
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
