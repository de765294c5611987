//! What a report comes to: who beats the floors, who is better than its own base, and which method to serve where.
//!
//! Computed in one place and told in one text, so that the page, the terminal and the JSON say the same. Only paired intervals beyond 0 count as shown.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::Metric;
use crate::leaderboard::distinct;
use crate::record::{Absence, DifferenceRecord, Kind, Place, Report, ResultRecord, Verdict};
use crate::size::curves;

/// The verdicts of a report, by data set and scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// One entry for each data set and scenario, in report order.
    pub scenarios: Vec<ScenarioVerdict>,
}

/// What the results of one scenario come to, by its first metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScenarioVerdict {
    /// Data set.
    pub dataset: String,
    /// Scenario.
    pub scenario: String,
    /// The metric that decides.
    pub metric: Metric,
    /// All of this in words, a sentence or two a line.
    pub text: Vec<String>,
    /// Each setting, in report order.
    pub settings: Vec<SettingVerdict>,
    /// What to serve at each size of each curve; neighbouring sizes with the same answer are one range.
    pub serve: Vec<ServeRange>,
}

/// What the results of one setting come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingVerdict {
    /// The setting.
    pub setting: String,
    /// The floors that methods are judged against: one, unless methods read different features.
    pub best_floors: Vec<BestFloor>,
    /// Methods shown to be better than their best floor.
    pub beat_floor: Vec<Judged>,
    /// Methods of which neither is shown.
    pub floor_not_shown: Vec<Judged>,
    /// Methods shown to be worse than their best floor.
    pub below_floor: Vec<Judged>,
    /// Methods shown to be better than their own base.
    pub better_than_base: Vec<Judged>,
    /// Methods shown to be worse than their own base.
    pub worse_than_base: Vec<Judged>,
    /// What to serve here; null without a base.
    pub serve: Option<Served>,
    /// Domains that the metric, a macro mean, leaves out on all rows or in more than half of the draws.
    pub without_domains: Vec<String>,
}

/// A floor that methods are judged against.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestFloor {
    /// The floor.
    pub method: String,
    /// Its value.
    pub value: Option<f64>,
    /// The methods that it judges.
    pub judges: Vec<String>,
}

/// What a method is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Methods start from it.
    Base,
    /// Fine-tuning, training from scratch.
    Control,
    /// A method of adaptation.
    Adaptation,
}

/// A method that was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// The method.
    pub method: String,
    /// What it is.
    pub role: Role,
}

/// The method to serve in a setting: the best one that is shown to be better than its own base, otherwise the base.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// The method.
    pub method: String,
    /// What it is. A control stands for what it does: `fine_tune_all`, say, is a whole network and no patch.
    pub role: Role,
    /// Its value.
    pub value: f64,
    /// Its paired difference to its own base; null for a base.
    pub difference: Option<DifferenceRecord>,
}

/// Sizes of a curve at which the same method is to be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeRange {
    /// The curve: settings without their size; empty where there is nothing else.
    pub curve: String,
    /// The smallest size, such as `k=0`, or the first time, such as `day=05-10`.
    pub from: String,
    /// The largest size.
    pub to: String,
    /// The method.
    pub method: String,
    /// What it is.
    pub role: Role,
}

impl Verdicts {
    /// Judges a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let keys = distinct(report.results.iter().map(|result| (result.place.dataset.as_str(), result.place.scenario.as_str())));
        Self { scenarios: keys.into_iter().filter_map(|key| ScenarioVerdict::of(report, key)).collect() }
    }
}

impl ScenarioVerdict {
    fn of(report: &Report, (dataset, scenario): (&str, &str)) -> Option<Self> {
        let results: Vec<&ResultRecord> =
            report.results.iter().filter(|result| result.place.dataset == dataset && result.place.scenario == scenario).collect();
        let metric = results.first()?.metric.clone();
        let places = distinct(results.iter().map(|result| &result.place));
        let settings: Vec<SettingVerdict> =
            places.into_iter().map(|place| SettingVerdict::of(report, place, &metric)).filter(SettingVerdict::says_anything).collect();
        let serve = serve_ranges(&settings);
        let mut verdict = Self { dataset: dataset.to_owned(), scenario: scenario.to_owned(), metric, text: Vec::new(), settings, serve };
        verdict.text = verdict.in_words();
        Some(verdict)
    }

    /// What it is about: `movielens-1m / cold_start, by mae`.
    #[must_use]
    pub fn heading(&self) -> String {
        format!("{} / {}, by {}", self.dataset, self.scenario, self.metric)
    }

    fn in_words(&self) -> Vec<String> {
        let mut text = vec![self.floors_in_words()];
        text.extend(self.poor_bases_in_words());
        text.extend(self.bases_in_words());
        text.extend(self.losses_in_words());
        text.extend(self.serving_in_words());
        text.extend(self.absences_in_words());
        text
    }

    fn floors_in_words(&self) -> String {
        let with_adaptations: Vec<&SettingVerdict> = self.settings.iter().filter(|setting| setting.has(Role::Adaptation)).collect();
        let won = with_adaptations.iter().filter(|setting| setting.beat_floor.iter().any(|judged| judged.role == Role::Adaptation)).count();
        let beaten = match (with_adaptations.len(), won) {
            (0, _) => "No adaptation is measured.".to_owned(),
            (1, 0) => "No adaptation is shown to beat it.".to_owned(),
            (1, _) => format!("Shown to beat it: {}.", names(&with_adaptations[0].beat_floor, Role::Adaptation).join(", ")),
            (all, 0) => format!("No adaptation is shown to beat it in any of {all} settings."),
            (all, _) => format!("An adaptation is shown to beat it in {won} of {all} settings."),
        };
        let floors = match &self.settings[..] {
            [] => Vec::new(),
            [only] => {
                let many = only.best_floors.len() > 1;
                let floor = |floor: &BestFloor| {
                    let value = floor.value.map_or_else(String::new, |value| format!(" {value:.4}"));
                    let of = if many { format!(" for {}", floor.judges.join(", ")) } else { String::new() };
                    format!("{}{value}{of}", floor.method)
                };
                only.best_floors.iter().map(floor).collect()
            }
            all => {
                let floors = distinct(all.iter().flat_map(|setting| &setting.best_floors).map(|floor| floor.method.as_str()));
                let places = |name: &str| all.iter().filter(|s| s.best_floors.iter().any(|floor| floor.method == name)).count();
                floors.iter().map(|name| format!("{name} in {} of {} settings", places(name), all.len())).collect::<Vec<_>>()
            }
        };
        if floors.is_empty() {
            return format!("There is no floor. {}", if with_adaptations.is_empty() { beaten } else { String::new() })
                .trim_end()
                .to_owned();
        }
        format!("Best floor: {}. {beaten}", floors.join("; "))
    }

    /// Settings in which a base is worse than the best floor: what is said of it and of its patches is about something that a floor does better.
    fn poor_bases_in_words(&self) -> Option<String> {
        let poor: Vec<&SettingVerdict> =
            self.settings.iter().filter(|setting| !names(&setting.below_floor, Role::Base).is_empty()).collect();
        let bases = distinct(poor.iter().flat_map(|setting| names(&setting.below_floor, Role::Base))).join(", ");
        let place = match (poor.len(), self.settings.len()) {
            (0, _) => return None,
            (_, 1) => String::new(),
            (n, all) => format!(" in {n} of {all} settings"),
        };
        Some(format!("Shown to be worse than the best floor{place}: {bases}. Mend the base first, or serve the floor there."))
    }

    /// Who is better than its own base, or that nobody is.
    fn bases_in_words(&self) -> Option<String> {
        let all = self.settings.iter().filter(|setting| setting.is_contested()).count();
        if all == 0 {
            return None;
        }
        let better = |role: Role| {
            let judged = self.settings.iter().flat_map(|setting| &setting.better_than_base).filter(|judged| judged.role == role);
            let count = |name: &str| self.settings.iter().filter(|s| s.better_than_base.iter().any(|judged| judged.method == name)).count();
            let place = |name: &str| if all > 1 { format!("{name} in {} of {all} settings", count(name)) } else { name.to_owned() };
            distinct(judged.map(|judged| judged.method.as_str())).into_iter().map(place).collect::<Vec<_>>().join(", ")
        };
        let (adaptations, controls) = (better(Role::Adaptation), better(Role::Control));
        let measured = self.settings.iter().any(|setting| setting.has(Role::Adaptation));
        let of_controls = if controls.is_empty() { String::new() } else { format!(" Controls that are: {controls}.") };
        Some(match (measured, adaptations.is_empty(), controls.is_empty()) {
            (true, false, _) => format!("Shown to be better than its own base: {adaptations}.{of_controls}"),
            (true, true, true) if self.settings.iter().any(|setting| !names(&setting.below_floor, Role::Base).is_empty()) => {
                "No adaptation is shown to be better than its own base.".to_owned()
            }
            (true, true, true) => "No adaptation is shown to be better than its own base: serving the base is the right choice.".to_owned(),
            (true, true, false) => format!("No adaptation is shown to be better than its own base.{of_controls}"),
            (false, _, true) => "No control is shown to be better than its own base.".to_owned(),
            (false, _, false) => format!("Controls shown to be better than their own base: {controls}."),
        })
    }

    /// Adaptations that are worse than their own base, with the settings where they are.
    fn losses_in_words(&self) -> Vec<String> {
        const WORSE: &str = "Shown to be worse than its own base";
        let lost = |setting: &'_ SettingVerdict| names(&setting.worse_than_base, Role::Adaptation);
        let methods = distinct(self.settings.iter().flat_map(lost));
        if self.settings.len() == 1 {
            return if methods.is_empty() { Vec::new() } else { vec![format!("{WORSE}: {}.", methods.join(", "))] };
        }
        let line = |method: &String| {
            let places = self.settings.iter().filter(|setting| lost(setting).contains(method)).map(|setting| setting.setting.as_str());
            format!("{WORSE}: {method} in {}.", places.collect::<Vec<_>>().join("; "))
        };
        methods.iter().map(line).collect()
    }

    fn serving_in_words(&self) -> Vec<String> {
        let on_a_curve: Vec<&str> =
            curves(self.settings.iter().map(|s| s.setting.as_str())).into_iter().flatten().map(|size| size.setting).collect();
        let apart = self.settings.iter().filter(|setting| !on_a_curve.contains(&setting.setting.as_str()));
        let apart: Vec<(&SettingVerdict, &Served)> = apart.filter_map(|setting| Some((setting, setting.serve.as_ref()?))).collect();
        let mut text = Vec::new();
        let served = distinct(apart.iter().map(|(_, served)| (&served.method, served.role)));
        if let [(method, role)] = served[..] {
            let place = if self.settings.len() > 1 {
                format!(" in {}", apart.iter().map(|(setting, _)| setting.setting.as_str()).collect::<Vec<_>>().join(", "))
            } else {
                String::new()
            };
            text.push(format!("Serve{place}: {}.", self.called(method, role)));
        } else if !apart.is_empty() {
            let answer = |(setting, served): &(&SettingVerdict, &Served)| {
                format!("{} in {}", self.called(&served.method, served.role), setting.setting)
            };
            text.push(format!("Serve: {}.", apart.iter().map(answer).collect::<Vec<_>>().join("; ")));
        }
        for curve in distinct(self.serve.iter().map(|range| (&range.curve, letter(&range.from)))) {
            let ranges: Vec<&ServeRange> = self.serve.iter().filter(|range| (&range.curve, letter(&range.from)) == curve).collect();
            let last = ranges.len() - 1;
            let (what, each) = match curve.1 {
                "k" => ("support size", "size"),
                "day" => ("day", "day"),
                "week" => ("week", "week"),
                _ => ("target rows", "size"),
            };
            let is_time = ["day", "week"].contains(&curve.1);
            let range = |(at, range): (usize, &&ServeRange)| {
                let called = self.called(&range.method, range.role);
                // A date is read without its name.
                let said = |size: &str| size.strip_prefix(curve.1).filter(|_| is_time).map_or(size, |size| &size[1..]).to_owned();
                let (from, to) = (said(&range.from), said(&range.to));
                match at {
                    _ if last == 0 => format!("{called} at every {each} from {from} to {to}"),
                    0 if from == to => format!("{called} at {from}"),
                    0 => format!("{called} up to {to}"),
                    _ if at == last => format!("{called} from {from} on"),
                    _ if from == to => format!("{called} at {from}"),
                    _ => format!("{called} from {from} to {to}"),
                }
            };
            let name = if curve.0.is_empty() { String::new() } else { format!("{}, ", curve.0) };
            text.push(format!("Serve, {name}by {what}: {}.", ranges.iter().enumerate().map(range).collect::<Vec<_>>().join(", ")));
        }
        text
    }

    /// A method to serve, named as what it is.
    fn called(&self, method: &str, role: Role) -> String {
        let bases = distinct(self.settings.iter().flat_map(SettingVerdict::judged).filter(|j| j.role == Role::Base).map(|j| &j.method));
        match role {
            Role::Base if bases.len() > 1 => format!("{method} (a base)"),
            Role::Base => "the base".to_owned(),
            Role::Control => format!("{method} (a control)"),
            Role::Adaptation => method.to_owned(),
        }
    }

    fn absences_in_words(&self) -> Vec<String> {
        let one = self.settings.len() == 1;
        let absent = self.settings.iter().filter(|setting| !setting.without_domains.is_empty());
        let text = |setting: &SettingVerdict| {
            let place = if one { String::new() } else { format!(" in {}", setting.setting) };
            format!("{} is without{place}: {}.", self.metric, setting.without_domains.join(", "))
        };
        absent.map(text).collect()
    }
}

impl SettingVerdict {
    fn of(report: &Report, place: &Place, metric: &Metric) -> Self {
        let results: Vec<&ResultRecord> =
            report.results.iter().filter(|result| &result.place == place && &result.metric == metric).collect();
        let to_base: Vec<&DifferenceRecord> = report
            .differences
            .iter()
            .filter(|difference| &difference.place == place && &difference.metric == metric && difference.reference_is_own_base)
            .collect();
        let with = |chosen: &dyn Fn(&ResultRecord) -> bool| {
            let mut judged: Vec<Judged> = results.iter().filter(|result| chosen(result)).filter_map(|result| Judged::of(result)).collect();
            judged.sort_by_key(|judged| Reverse(judged.role));
            judged
        };
        let against_floor = |verdict: Verdict| with(&|result| result.beats_floor == verdict);
        let against_base = |verdict: Verdict| with(&|result| to_base.iter().any(|d| d.method == result.method && d.better == verdict));
        let absent = report.absences.iter().filter(|absence| &absence.place == place && &absence.metric == metric);
        Self {
            setting: place.setting.clone(),
            best_floors: best_floors(&results),
            beat_floor: against_floor(Verdict::Yes),
            floor_not_shown: against_floor(Verdict::NotShown),
            below_floor: against_floor(Verdict::No),
            better_than_base: against_base(Verdict::Yes),
            worse_than_base: against_base(Verdict::No),
            serve: served(&results, &to_base),
            without_domains: absent.filter_map(absence_in_words).collect(),
        }
    }

    fn says_anything(&self) -> bool {
        !self.best_floors.is_empty() || self.judged().next().is_some()
    }

    /// Every method that is judged.
    fn judged(&self) -> impl Iterator<Item = &Judged> {
        self.beat_floor.iter().chain(&self.floor_not_shown).chain(&self.below_floor)
    }

    fn has(&self, role: Role) -> bool {
        self.judged().any(|judged| judged.role == role)
    }

    /// Whether there is a base and something else to serve.
    fn is_contested(&self) -> bool {
        self.has(Role::Base) && (self.has(Role::Adaptation) || self.has(Role::Control))
    }
}

impl Judged {
    fn of(result: &ResultRecord) -> Option<Self> {
        let role = match result.kind {
            Kind::Floor | Kind::Ceiling => return None,
            Kind::Control if result.is_base => Role::Base,
            Kind::Control => Role::Control,
            Kind::Adaptation => Role::Adaptation,
        };
        Some(Self { method: result.method.clone(), role })
    }
}

fn badness(result: &ResultRecord) -> f64 {
    result.value.map_or(f64::INFINITY, |value| result.metric.goal().badness(value))
}

/// The result with the best value, the first of equals.
fn best<'a>(results: impl Iterator<Item = &'a ResultRecord>) -> Option<&'a ResultRecord> {
    results.filter(|result| result.value.is_some()).min_by(|a, b| badness(a).total_cmp(&badness(b)))
}

/// The floors that methods are judged against, with the methods; without any method the best floor of all.
fn best_floors(results: &[&ResultRecord]) -> Vec<BestFloor> {
    let value = |name: &str| results.iter().find(|result| result.method == name).and_then(|result| result.value);
    let floors = distinct(results.iter().filter_map(|result| result.floor.as_deref()));
    let judges = |name: &str| -> Vec<String> {
        results.iter().filter(|result| result.floor.as_deref() == Some(name)).map(|result| result.method.clone()).collect()
    };
    let mut best: Vec<BestFloor> =
        floors.into_iter().map(|name| BestFloor { method: name.to_owned(), value: value(name), judges: judges(name) }).collect();
    if best.is_empty() {
        let floor = self::best(results.iter().copied().filter(|result| result.kind == Kind::Floor));
        best.extend(floor.map(|floor| BestFloor { method: floor.method.clone(), value: floor.value, judges: Vec::new() }));
    }
    best
}

/// The best base that is shown to be one, and in its place the best method that is shown to be better than its own base and is ahead of that base too.
fn served(results: &[&ResultRecord], to_base: &[&DifferenceRecord]) -> Option<Served> {
    let shown = |result: &ResultRecord| to_base.iter().find(|d| d.method == result.method && d.better == Verdict::Yes);
    let mut bases = results.iter().copied().filter(|result| result.is_base);
    let first = bases.next().filter(|base| base.value.is_some())?;
    let base = best(std::iter::once(first).chain(bases.filter(|base| shown(base).is_some())))?;
    let rivals = results.iter().copied().filter(|result| !result.is_base && badness(result) < badness(base) && shown(result).is_some());
    let served = best(rivals).unwrap_or(base);
    let difference = if served.is_base { None } else { shown(served).map(|d| (**d).clone()) };
    let Judged { method, role } = Judged::of(served)?;
    Some(Served { method, role, value: served.value?, difference })
}

/// Runs of neighbouring sizes with the same answer, for each curve.
fn serve_ranges(settings: &[SettingVerdict]) -> Vec<ServeRange> {
    let mut ranges: Vec<ServeRange> = Vec::new();
    for sizes in curves(settings.iter().map(|setting| setting.setting.as_str())) {
        let mut open: Option<ServeRange> = None;
        for size in &sizes {
            let served = settings.iter().find(|setting| setting.setting == size.setting).and_then(|setting| setting.serve.as_ref());
            // Nothing is said across a size that has no answer.
            let Some(served) = served else {
                ranges.extend(open.take());
                continue;
            };
            match &mut open {
                Some(range) if (&range.method, range.role) == (&served.method, served.role) => range.to = size.named(),
                _ => {
                    let (method, role) = (served.method.clone(), served.role);
                    let range = ServeRange { curve: size.curve.clone(), from: size.named(), to: size.named(), method, role };
                    ranges.extend(open.replace(range));
                }
            }
        }
        ranges.extend(open);
    }
    ranges
}

fn letter(size: &str) -> &str {
    size.split('=').next().unwrap_or_default()
}

fn names(judged: &[Judged], role: Role) -> Vec<String> {
    judged.iter().filter(|judged| judged.role == role).map(|judged| judged.method.clone()).collect()
}

/// A domain that is absent enough to be named beside the verdict.
fn absence_in_words(absence: &Absence) -> Option<String> {
    match absence.on_sample {
        true => Some(format!("{} (undefined on all rows)", absence.domain)),
        false if absence.share() > 0.5 => Some(format!("{} (undefined in {:.0} % of the draws)", absence.domain, 100.0 * absence.share())),
        false => None,
    }
}
