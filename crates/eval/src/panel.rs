//! All methods of one place, measured on the same rows and judged against the best floor that reads no more than they do.

use std::collections::BTreeSet;

use crate::floor::Chosen;
use crate::metric::{Goal, Metric, Real};
use crate::record::{Absence, Cost, DifferenceRecord, DomainRecord, FloorRecord, Kind, Place, ResultRecord, Verdict};
use crate::significance::{
    Bootstrap, Comparison, Difference, EvaluationClasses, EvaluationQueries, EvaluationRows, Said, Sample, Statistic,
};
use crate::{EvalError, Spread};

/// One method with what it said about each row (a prediction, or a probability for each class) or each query (the rank of the positive).
#[derive(Clone, Debug)]
pub struct Entrant<P> {
    /// Name of the method; unique inside the panel.
    pub method: String,
    /// Its role.
    pub kind: Kind,
    /// Training seeds, one for each entry of `outputs`; empty for a deterministic method, which has one entry.
    pub seeds: Vec<u64>,
    /// `[seed][row]` predictions, `[seed][query]` ranks, or `[seed][row x class]` probabilities.
    pub outputs: Vec<Vec<P>>,
    /// Parameters, bytes and time.
    pub cost: Cost,
    /// The base it starts from, by its name in the panel; `None`: the first of the panel's references.
    pub base: Option<String>,
    /// The features that it reads, by name. A floor judges those methods that read all that it reads: `None` stands for a floor that reads none, and for a
    /// method that may read everything.
    pub reads: Option<BTreeSet<String>>,
    /// Settings of a floor, one list for each entry of `outputs`; empty where it has none.
    pub settings: Vec<Vec<Chosen>>,
    /// The spread of what it expects of each row, one for each entry of `outputs`; empty where it says none.
    pub spreads: Vec<Spread>,
    /// What `mae[offset]` adds to each entry of `outputs`; empty where its predictions for validation users are not known.
    pub offsets: Vec<f64>,
}

impl<P> Entrant<P> {
    /// A method without training seeds and cost, as floors and ceilings are.
    pub fn deterministic(method: impl Into<String>, kind: Kind, output: Vec<P>) -> Self {
        Self {
            method: method.into(),
            kind,
            seeds: Vec::new(),
            outputs: vec![output],
            cost: Cost::default(),
            base: None,
            reads: None,
            settings: Vec::new(),
            spreads: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// A trained method with the output of each seed.
    pub fn trained(method: impl Into<String>, kind: Kind, runs: Vec<(u64, Vec<P>)>, cost: Cost) -> Self {
        let (seeds, outputs) = runs.into_iter().unzip();
        let method = method.into();
        Self { method, kind, seeds, outputs, cost, base: None, reads: None, settings: Vec::new(), spreads: Vec::new(), offsets: Vec::new() }
    }

    /// Names the base it starts from, where there are several.
    #[must_use]
    pub fn on(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into());
        self
    }

    /// Names the features that it reads, where some methods of the panel read others.
    #[must_use]
    pub fn reading(mut self, features: impl IntoIterator<Item = String>) -> Self {
        self.reads = Some(features.into_iter().collect());
        self
    }

    /// Names the settings of a floor, for each of its outputs.
    #[must_use]
    pub fn with_settings(mut self, settings: Vec<Vec<Chosen>>) -> Self {
        self.settings = settings;
        self
    }

    /// Gives the spread of each of its outputs, unless one of them has none.
    #[must_use]
    pub fn with_spreads(mut self, spreads: impl IntoIterator<Item = Option<Spread>>) -> Self {
        self.spreads = spreads.into_iter().collect::<Option<_>>().unwrap_or_default();
        self
    }

    /// Gives the constant that `mae[offset]` adds to each of its outputs.
    #[must_use]
    pub fn with_offsets(mut self, offsets: Vec<f64>) -> Self {
        self.offsets = offsets;
        self
    }

    /// Whether it is measured by the median of what it expects in absolute errors, and by the mean in all others.
    #[must_use]
    pub fn has_median(&self) -> bool {
        self.spreads.iter().any(|spread| !spread.grid.is_empty())
    }

    /// Whether it has what a metric needs.
    fn has(&self, metric: &Metric) -> bool {
        !(metric.needs_spread() && self.spreads.is_empty() || *metric == Metric::MaeOffset && self.offsets.is_empty())
    }
}

impl<P: Real> Entrant<P> {
    /// A metric over labelled rows of one of its outputs.
    pub(crate) fn of_rows(&self, metric: &Metric, rows: &EvaluationRows, at: usize) -> Result<Statistic, EvalError> {
        let said = Said { predictions: &self.outputs[at], spread: self.spreads.get(at), offset: self.offsets.get(at).copied() };
        Statistic::of_said(metric, rows, &self.method, said)
    }

    /// A metric of each of its outputs.
    pub(crate) fn sample(&self, metric: &Metric, rows: &EvaluationRows) -> Result<Sample, EvalError> {
        let seeds = (0..self.outputs.len()).map(|at| self.of_rows(metric, rows, at)).collect::<Result<_, _>>()?;
        Ok(Sample { method: self.method.clone(), seeds })
    }
}

/// The methods of one data set, scenario and setting.
///
/// ```
/// use acclimate_eval::{Bootstrap, Entrant, EvaluationRows, Kind, Metric, Panel, Place};
/// let place = Place { dataset: "toy".into(), scenario: "demo".into(), setting: "n=3".into() };
/// let panel = Panel::new(place, Bootstrap::default())
///     .enter(Entrant::deterministic("constant", Kind::Floor, vec![0.5_f32; 3]))
///     .enter(Entrant::deterministic("base", Kind::Control, vec![0.9, 0.2, 0.1]));
/// let rows = EvaluationRows::new(&[0, 1, 2], &[1.0, 0.0, 0.0])?;
/// let outcome = panel.on_rows(&rows, &["auc".parse::<Metric>()?])?;
/// assert_eq!(outcome.results[0].value, Some(0.5));
/// assert_eq!(outcome.results[1].value, Some(1.0));
/// # Ok::<(), acclimate_eval::EvalError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Panel<P> {
    place: Place,
    bootstrap: Bootstrap,
    references: Vec<String>,
    entrants: Vec<Entrant<P>>,
}

/// What a panel found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// One record for each metric and method: metrics in the order asked, methods in the order entered.
    pub results: Vec<ResultRecord>,
    /// Paired differences to the best floor and to the references.
    pub differences: Vec<DifferenceRecord>,
    /// Settings of floors and methods.
    pub floor_settings: Vec<FloorRecord>,
    /// What each domain holds.
    pub domains: Vec<DomainRecord>,
    /// Domains that macro means left out.
    pub absences: Vec<Absence>,
    /// What a reader must know, for example how many draws were undefined.
    pub notes: Vec<String>,
    /// What support rows are worth to each method; a panel itself, which has one setting, finds nothing.
    pub gains: Vec<crate::GainRecord>,
    /// What was checked of the base; a panel itself checks nothing.
    pub preflight: Option<crate::Preflight>,
}

impl<P: Real> Panel<P> {
    /// A panel without methods, which compares with the best floor and with `base`.
    #[must_use]
    pub fn new(place: Place, bootstrap: Bootstrap) -> Self {
        Self { place, bootstrap, references: vec!["base".to_owned()], entrants: Vec::new() }
    }

    /// Replaces the methods that differences are taken to besides the best floor; names that are not entered are ignored.
    #[must_use]
    pub fn with_references(mut self, references: &[&str]) -> Self {
        self.references = references.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Adds a method.
    #[must_use]
    pub fn enter(mut self, entrant: Entrant<P>) -> Self {
        self.entrants.push(entrant);
        self
    }

    /// Measures all methods on labelled rows; outputs are predictions.
    ///
    /// # Errors
    /// See [`Statistic::of_rows`] and [`Bootstrap::compare`]; [`EvalError::DuplicateMethod`] when a name is entered twice.
    pub fn on_rows(&self, rows: &EvaluationRows, metrics: &[Metric]) -> Result<Outcome, EvalError> {
        let mut outcome = self.measure(metrics, |at| rows.domain_name(at), |metric, entrant, at| entrant.of_rows(metric, rows, at))?;
        let record = |size| DomainRecord { place: self.place.clone(), size };
        outcome.domains = rows.domain_sizes().into_iter().map(record).collect();
        Ok(outcome)
    }

    /// Measures all methods on queries; outputs are ranks of the positives.
    ///
    /// # Errors
    /// See [`Statistic::of_ranks`] and [`Bootstrap::compare`]; [`EvalError::DuplicateMethod`] when a name is entered twice.
    pub fn on_ranks(&self, queries: &EvaluationQueries, metrics: &[Metric]) -> Result<Outcome, EvalError> {
        let no_domain = |_| String::new();
        self.measure(metrics, no_domain, |metric, entrant, at| Statistic::of_ranks(metric, queries, &entrant.method, &entrant.outputs[at]))
    }

    /// Measures all methods on rows with classes; outputs are probabilities, `[R x C]` with the classes of a row side by side.
    ///
    /// ```
    /// use acclimate_eval::{Bootstrap, Entrant, EvaluationClasses, Kind, Metric, Panel, Place};
    /// let place = Place { dataset: "toy".into(), scenario: "demo".into(), setting: "age".into() };
    /// let panel = Panel::new(place, Bootstrap::default())
    ///     .enter(Entrant::deterministic("majority", Kind::Floor, [0.6_f32, 0.4].repeat(3)))
    ///     .enter(Entrant::deterministic("base", Kind::Control, vec![0.7, 0.3, 0.2, 0.8, 0.9, 0.1]));
    /// let rows = EvaluationClasses::new(&[0, 1, 2], &[0, 1, 0], &["young".to_owned(), "old".to_owned()])?;
    /// let outcome = panel.on_classes(&rows, &[Metric::Accuracy, Metric::MacroF1])?;
    /// let values: Vec<_> = outcome.results.iter().map(|result| result.value.unwrap()).collect();
    /// assert_eq!(values, [2.0 / 3.0, 1.0, 0.4, 1.0]);
    /// # Ok::<(), acclimate_eval::EvalError>(())
    /// ```
    ///
    /// # Errors
    /// See [`Statistic::of_classes`] and [`Bootstrap::compare`]; [`EvalError::DuplicateMethod`] when a name is entered twice.
    pub fn on_classes(&self, rows: &EvaluationClasses, metrics: &[Metric]) -> Result<Outcome, EvalError> {
        let no_domain = |_| String::new();
        self.measure(metrics, no_domain, |metric, entrant, at| Statistic::of_classes(metric, rows, &entrant.method, &entrant.outputs[at]))
    }

    fn measure(
        &self,
        metrics: &[Metric],
        domain_name: impl Fn(usize) -> String,
        statistic: impl Fn(&Metric, &Entrant<P>, usize) -> Result<Statistic, EvalError>,
    ) -> Result<Outcome, EvalError> {
        self.check_entrants()?;
        let mut outcome = Outcome { floor_settings: self.floor_records(), ..Outcome::default() };
        for metric in metrics {
            let samples = self
                .entrants
                .iter()
                .map(|entrant| {
                    let seeds = (0..entrant.outputs.len()).map(|at| statistic(metric, entrant, at)).collect::<Result<_, _>>()?;
                    Ok(Sample { method: entrant.method.clone(), seeds })
                })
                .collect::<Result<Vec<_>, EvalError>>()?;
            let comparison = self.bootstrap.compare(&samples)?;
            self.record(metric, &comparison, &mut outcome);
            let absent = comparison.left_out.iter().map(|&(domain, on_sample, draws)| Absence {
                place: self.place.clone(),
                metric: metric.clone(),
                domain: domain_name(domain),
                on_sample,
                draws,
                of: self.bootstrap.draws,
            });
            let absent: Vec<Absence> = absent.collect();
            outcome.notes.extend(self.note_of(metric, &absent));
            outcome.absences.extend(absent);
        }
        Ok(outcome)
    }

    fn check_entrants(&self) -> Result<(), EvalError> {
        let mut names = BTreeSet::new();
        for entrant in &self.entrants {
            if !names.insert(&entrant.method) {
                return Err(EvalError::DuplicateMethod { method: entrant.method.clone(), place: self.place.to_string() });
            }
            let expected = entrant.seeds.len().max(1);
            if entrant.outputs.len() != expected {
                return Err(EvalError::Length { what: format!("outputs of `{}`", entrant.method), expected, found: entrant.outputs.len() });
            }
            for (what, found) in [("spreads", entrant.spreads.len()), ("offsets", entrant.offsets.len())] {
                if found > 0 && found != expected {
                    return Err(EvalError::Length { what: format!("{what} of `{}`", entrant.method), expected, found });
                }
            }
        }
        Ok(())
    }

    /// Says which domains a macro mean left out in more than a few draws.
    fn note_of(&self, metric: &Metric, absent: &[Absence]) -> Option<String> {
        let domain = |absence: &Absence| match absence.on_sample {
            true => format!("{} (undefined on all rows)", absence.domain),
            false => format!("{} ({} of {} draws)", absence.domain, absence.draws, absence.of),
        };
        let said: Vec<String> = absent.iter().filter(|absence| absence.on_sample || absence.share() > SAID_FROM).map(domain).collect();
        (!said.is_empty()).then(|| {
            format!("{}: {metric} is the mean over the domains in which it is defined; it leaves out {}.", self.place, said.join(", "))
        })
    }

    fn floor_records(&self) -> Vec<FloorRecord> {
        let record = |entrant: &Entrant<P>, at: usize, settings: &Vec<Chosen>| FloorRecord {
            place: self.place.clone(),
            method: entrant.method.clone(),
            seed: entrant.seeds.get(at).copied(),
            settings: settings.clone(),
        };
        let filled = |entrant: &'_ Entrant<P>| {
            entrant.settings.iter().enumerate().filter(|(_, s)| !s.is_empty()).map(|(at, s)| record(entrant, at, s)).collect::<Vec<_>>()
        };
        self.entrants.iter().flat_map(filled).collect()
    }

    fn record(&self, metric: &Metric, comparison: &Comparison, outcome: &mut Outcome) {
        let goal = metric.goal();
        for (at, (entrant, estimate)) in self.entrants.iter().zip(&comparison.estimates).enumerate() {
            let is_judged = matches!(entrant.kind, Kind::Control | Kind::Adaptation);
            let best_floor = if is_judged { self.best_floor(entrant, comparison, goal) } else { None };
            let against_floor = best_floor.and_then(|floor| comparison.difference(at, floor, goal));
            outcome.results.push(ResultRecord {
                place: self.place.clone(),
                method: entrant.method.clone(),
                kind: entrant.kind,
                metric: metric.clone(),
                value: estimate.value,
                ci_low: estimate.ci_low,
                ci_high: estimate.ci_high,
                seeds: entrant.outputs.len(),
                per_seed: estimate.per_seed.clone(),
                cost: entrant.cost,
                is_base: self.is_base(entrant),
                base: self.base_of(entrant).cloned(),
                floor: best_floor.map(|floor| self.entrants[floor].method.clone()),
                beats_floor: against_floor.map_or(Verdict::NotShown, |difference| verdict(&difference, goal)),
            });
            for (reference, is_best_floor) in self.references_of(at, best_floor) {
                if let Some(difference) = comparison.difference(at, reference, goal) {
                    outcome.differences.push(self.difference_record(metric, [at, reference], is_best_floor, &difference));
                }
            }
        }
        // Who has not what the metric needs is undefined in every draw.
        let measured = self.entrants.iter().zip(&comparison.estimates).filter(|(entrant, _)| entrant.has(metric));
        let undefined = measured.map(|(_, estimate)| estimate.undefined_draws).max().unwrap_or(0);
        if undefined > 0 {
            outcome.notes.push(format!(
                "{}: {metric} was undefined on {undefined} of {} bootstrap draws, which its intervals leave out.",
                self.place, self.bootstrap.draws
            ));
        }
    }

    /// Whether methods of this panel start from it.
    fn is_base(&self, entrant: &Entrant<P>) -> bool {
        entrant.kind == Kind::Control && self.references.contains(&entrant.method)
    }

    /// The base that a method starts from; for a further base, the first. `None` for those that start from nothing in this panel.
    fn base_of<'a>(&'a self, entrant: &'a Entrant<P>) -> Option<&'a String> {
        if !matches!(entrant.kind, Kind::Control | Kind::Adaptation) {
            return None;
        }
        let base = entrant.base.as_ref().or(self.references.first())?;
        // A floor, or another method, that a panel compares with first is nobody's base.
        let is_there = self.entrants.iter().any(|other| other.method == *base && other.kind == Kind::Control);
        (*base != entrant.method && is_there).then_some(base)
    }

    /// The floor with the best value among those that read nothing that the method does not read; the first entered among equals.
    fn best_floor(&self, method: &Entrant<P>, comparison: &Comparison, goal: Goal) -> Option<usize> {
        let judges = |floor: &Entrant<P>| match (&floor.reads, &method.reads) {
            (Some(floor), Some(method)) => floor.is_subset(method),
            _ => true,
        };
        let floors = self.entrants.iter().zip(&comparison.estimates).enumerate();
        floors
            .filter(|(_, (entrant, _))| entrant.kind == Kind::Floor && judges(entrant))
            .filter_map(|(at, (_, estimate))| Some((at, goal.badness(estimate.value?))))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(at, _)| at)
    }

    /// Whom a method is compared with, and whether that is the best floor; floors and ceilings are compared with nobody.
    fn references_of(&self, method: usize, best_floor: Option<usize>) -> Vec<(usize, bool)> {
        if !matches!(self.entrants[method].kind, Kind::Control | Kind::Adaptation) {
            return Vec::new();
        }
        let named = self.references.iter().filter_map(|name| self.entrants.iter().position(|entrant| &entrant.method == name));
        let named = named.filter(|&at| at != method && Some(at) != best_floor).map(|at| (at, false));
        best_floor.map(|at| (at, true)).into_iter().chain(named).collect()
    }

    fn difference_record(&self, metric: &Metric, pair: [usize; 2], is_best_floor: bool, difference: &Difference) -> DifferenceRecord {
        DifferenceRecord {
            place: self.place.clone(),
            metric: metric.clone(),
            method: self.entrants[pair[0]].method.clone(),
            reference: self.entrants[pair[1]].method.clone(),
            reference_is_best_floor: is_best_floor,
            reference_is_own_base: !is_best_floor && self.base_of(&self.entrants[pair[0]]) == Some(&self.entrants[pair[1]].method),
            value: difference.value,
            ci_low: difference.ci_low,
            ci_high: difference.ci_high,
            better: verdict(difference, metric.goal()),
        }
    }
}

/// Share of the draws from which on a note says that a domain was left out.
const SAID_FROM: f64 = 0.05;

/// Beyond 0 on the good side, on the bad side, or neither.
pub(crate) fn verdict(difference: &Difference, goal: Goal) -> Verdict {
    let (Some(low), Some(high)) = (difference.ci_low, difference.ci_high) else {
        return Verdict::NotShown;
    };
    let higher_is_better = goal == Goal::Higher;
    if low > 0.0 {
        if higher_is_better { Verdict::Yes } else { Verdict::No }
    } else if high < 0.0 {
        if higher_is_better { Verdict::No } else { Verdict::Yes }
    } else {
        Verdict::NotShown
    }
}
