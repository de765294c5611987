//! A metric of one method and one seed, prepared so that its value under new user weights is cheap.

use super::classes::{Confusion, EvaluationClasses};
use super::rows::{CompactUsers, Domains, EvaluationQueries, EvaluationRows, check_finite, check_length};
use crate::metric::{
    Average, Metric, RankedRows, Real, Scope, answer, auc_by_group, covers, hit_rate_at, mae, multiset_precision_at, ndcg_at,
    ndcg_from_rank, negative_log_density, precision_at, precision_from_rank, reciprocal_rank, reciprocal_rank_at, rmse, row_class_log_loss,
    row_log_loss,
};
use crate::{EvalError, Ordinal, Spread};

/// What a method says of labelled rows: a prediction for each, and what may stand beside it.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a, P> {
    /// One a row.
    pub predictions: &'a [P],
    /// The spread around them. Absolute errors are then of the median of what is expected, all else of the predictions, which are its mean.
    pub spread: Option<&'a Spread>,
    /// What `mae[offset]` adds to the predictions.
    pub offset: Option<f64>,
}

/// A metric as a function of how often each user counts.
///
/// An evaluation costs as much as there are users with rows in each part, of an AUC or F1 rows: the sorting and counting is done once, here.
#[derive(Clone, Debug)]
pub struct Statistic {
    users: usize,
    parts: Vec<Part>,
    /// The domain of each part of a macro mean, by its position in the names of the rows; empty otherwise.
    domains: Vec<usize>,
}

/// A statistic is the mean of those of its parts that are defined; only macro means have several. Whether a part is defined depends on labels and weights,
/// never on predictions, so that all methods are averaged over the same parts.
#[derive(Clone, Debug)]
enum Part {
    /// `Σ w a / Σ w b` over users.
    Ratio(Sums),
    /// The root of that.
    RootRatio(Sums),
    Auc(RankedRows),
    MacroF1(Confusion),
}

/// `a` and `b` of each user that has some, by user: a domain of a macro mean has few of them.
#[derive(Clone, Debug)]
struct Sums(Vec<(u32, [f64; 2])>);

impl Part {
    /// Of no user.
    fn nothing() -> Self {
        Self::Ratio(Sums(Vec::new()))
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        match self {
            Self::Ratio(sums) => ratio(sums, weights),
            Self::RootRatio(sums) => ratio(sums, weights).map(f64::sqrt),
            Self::Auc(rows) => rows.auc(weights),
            Self::MacroF1(confusion) => confusion.macro_f1(weights),
        }
    }
}

fn ratio(sums: &Sums, weights: &[u32]) -> Option<f64> {
    let (mut above, mut below) = (0.0, 0.0);
    for &(user, [a, b]) in &sums.0 {
        let weight = f64::from(weights[user as usize]);
        above += weight * a;
        below += weight * b;
    }
    (below > 0.0).then(|| above / below)
}

impl Statistic {
    /// A metric over labelled rows. `method` is named in errors.
    ///
    /// # Errors
    /// [`EvalError::MetricNeeds`] when the metric needs ranks, classes or domains, [`EvalError::UnknownDomain`] for a wrong column or value,
    /// [`EvalError::Length`] and [`EvalError::NotFinite`] for unfit predictions.
    pub fn of_rows<P: Real>(metric: &Metric, rows: &EvaluationRows, method: &str, predictions: &[P]) -> Result<Self, EvalError> {
        Self::of_said(metric, rows, method, Said { predictions, spread: None, offset: None })
    }

    /// A metric over labelled rows of a method that may say more than predictions. Without what the metric needs it has no value.
    ///
    /// # Errors
    /// As [`of_rows`](Self::of_rows), and [`EvalError::NotADeviation`] for an unfit spread.
    pub fn of_said<P: Real>(metric: &Metric, rows: &EvaluationRows, method: &str, said: Said<'_, P>) -> Result<Self, EvalError> {
        let Said { predictions, spread, .. } = said;
        check_length(method, rows.len(), predictions.len())?;
        check_finite(method, predictions.iter().map(|&p| p.into()))?;
        if let Some(Spread { deviations, .. }) = spread {
            check_length(&format!("the spread of {method}"), rows.len(), deviations.len())?;
            if let Some((row, &value)) = deviations.iter().enumerate().find(|(_, sd)| !(sd.is_finite() && **sd > 0.0)) {
                return Err(EvalError::NotADeviation { method: method.to_owned(), row, value: value.into() });
            }
        }
        // What is measured by its median is measured as another method that says it.
        if let (Metric::Mae(_), Some(ordinal)) = (metric, spread.and_then(Spread::ordinal)) {
            let medians: Vec<f64> = predictions.iter().map(|&p| ordinal.median(p.into())).collect();
            return Self::of_said(metric, rows, method, Said { predictions: &medians, spread: None, offset: None });
        }
        let scored = Scored { metric, rows, predictions, spread, offset: said.offset };
        let domains = if metric.scope() == Some(&Scope::Macro) { rows.domains_with_rows() } else { Vec::new() };
        Ok(Self { users: rows.users(), parts: scored.parts()?, domains })
    }

    /// A metric over ranks of positives, one a query: mean inside each user, then over users. `method` is named in errors.
    ///
    /// # Errors
    /// [`EvalError::MetricNeeds`] when the metric needs labelled rows or classes, [`EvalError::Length`] and [`EvalError::NotARank`] for unfit ranks.
    pub fn of_ranks<P: Real>(metric: &Metric, queries: &EvaluationQueries, method: &str, ranks: &[P]) -> Result<Self, EvalError> {
        check_length(method, queries.len(), ranks.len())?;
        if let Some((query, value)) =
            ranks.iter().map(|&rank| rank.into()).enumerate().find(|&(_, rank)| !(rank >= 1.0 && rank.is_finite()))
        {
            return Err(EvalError::NotARank { method: method.to_owned(), query, value });
        }
        let of_rank = |rank: f64| match *metric {
            Metric::Ndcg { k, .. } => Some(ndcg_from_rank(k, rank)),
            Metric::HitRate { k, .. } => Some(hit_rate_at(k, rank)),
            Metric::Mrr { k: None, .. } => Some(reciprocal_rank(rank)),
            Metric::Mrr { k: Some(k), .. } => Some(reciprocal_rank_at(k, rank)),
            Metric::Precision { k, .. } => Some(precision_from_rank(k, rank)),
            _ => None,
        };
        let values: Option<Vec<f64>> = ranks.iter().map(|&rank| of_rank(rank.into())).collect();
        let values = values.ok_or_else(|| needs(metric, if metric.needs_classes() { CLASSES } else { LABELLED_ROWS }))?;
        let mut sums = per_user(&queries.users, 0..ranks.len(), |query| [values[query], 1.0]);
        for (_, [sum, count]) in &mut sums.0 {
            (*sum, *count) = (*sum / *count, 1.0);
        }
        Ok(Self { users: queries.users(), parts: vec![Part::Ratio(sums)], domains: Vec::new() })
    }

    /// A metric over answers in classes. `method` is named in errors.
    ///
    /// # Shapes
    /// `probabilities` is `[R x C]`.
    ///
    /// # Errors
    /// [`EvalError::MetricNeeds`] when the metric needs labelled rows or ranks, [`EvalError::Length`], [`EvalError::NotAProbability`] and
    /// [`EvalError::ProbabilitySum`] for unfit answers.
    pub fn of_classes<P: Real>(metric: &Metric, rows: &EvaluationClasses, method: &str, probabilities: &[P]) -> Result<Self, EvalError> {
        rows.check(method, probabilities)?;
        let count = rows.names().len();
        let of_row = |row: usize| &probabilities[row * count..(row + 1) * count];
        let mean = |value: &dyn Fn(usize) -> f64| Part::Ratio(per_user(&rows.users, 0..rows.len(), |row| [value(row), 1.0]));
        let part = match metric {
            Metric::Accuracy => mean(&|row| f64::from(u8::from(answer(of_row(row)) == rows.classes[row] as usize))),
            Metric::LogLoss(Scope::Pooled) => mean(&|row| row_class_log_loss(rows.classes[row], of_row(row))),
            Metric::MacroF1 => Part::MacroF1(Confusion::new(rows, probabilities)),
            Metric::LogLoss(_) => return Err(needs(metric, "a domain column")),
            _ if metric.needs_ranks() => return Err(needs(metric, RANKS)),
            _ => return Err(needs(metric, LABELLED_ROWS)),
        };
        Ok(Self { users: rows.users(), parts: vec![part], domains: Vec::new() })
    }

    /// The mean over users of values computed elsewhere; `None` leaves the user out.
    #[must_use]
    pub fn of_user_values(values: &[Option<f64>]) -> Self {
        let sums = (0..).zip(values).filter_map(|(user, value)| value.map(|value| (user, [value, 1.0]))).collect();
        Self { users: values.len(), parts: vec![Part::Ratio(Sums(sums))], domains: Vec::new() }
    }

    /// Number of users that weights are given for.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users
    }

    /// The metric on the sample as it is; `None` when it is undefined.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.weighted(&vec![1; self.users])
    }

    /// The metric when user `u` counts `weights[u]` times; `None` when it is undefined then. A macro mean leaves out the domains in which it is undefined.
    ///
    /// # Panics
    /// When there is not one weight for each user.
    #[must_use]
    pub fn weighted(&self, weights: &[u32]) -> Option<f64> {
        assert_eq!(weights.len(), self.users, "one weight for each user");
        let (mut sum, mut defined) = (0.0, 0);
        for value in self.parts.iter().filter_map(|part| part.value(weights)) {
            sum += value;
            defined += 1;
        }
        (defined > 0).then(|| sum / f64::from(defined))
    }

    /// The domains of a macro mean, by their position in the names of the rows.
    pub(crate) fn domains(&self) -> &[usize] {
        &self.domains
    }

    /// Whether each of [`domains`](Self::domains) is left out under these weights.
    pub(crate) fn left_out(&self, weights: &[u32]) -> Vec<bool> {
        let parts = self.parts.iter().take(self.domains.len());
        parts.map(|part| part.value(weights).is_none()).collect()
    }
}

/// One method's predictions on the rows, to be turned into the parts of one metric.
struct Scored<'a, P> {
    metric: &'a Metric,
    rows: &'a EvaluationRows,
    predictions: &'a [P],
    spread: Option<&'a Spread>,
    offset: Option<f64>,
}

impl<P: Real> Scored<'_, P> {
    fn parts(&self) -> Result<Vec<Part>, EvalError> {
        let range = self.rows.range;
        let pooled = |part| Ok(vec![part]);
        match self.metric {
            Metric::Auc(scope) => self.scoped(scope, |rows| Part::Auc(self.ranked(rows))),
            Metric::LogLoss(scope) => self
                .scoped(scope, |rows| Part::Ratio(self.per_user(rows, |row| [row_log_loss(self.label(row), self.prediction(row)), 1.0]))),
            Metric::Pcoc(scope) => {
                self.scoped(scope, |rows| Part::Ratio(self.per_user(rows, |row| [self.prediction(row), f64::from(self.label(row))])))
            }
            Metric::Gauc { within } => pooled(Part::Ratio(self.group_aucs(within.as_deref())?)),
            Metric::Mae(Average::User) => pooled(self.user_mean(|labels, predictions| mae(labels, predictions, range))),
            Metric::Rmse(Average::User) => pooled(self.user_mean(|labels, predictions| rmse(labels, predictions, range))),
            Metric::MaeOffset => pooled(self.offset.map_or_else(Part::nothing, |offset| {
                self.mean_of_rows(|row| (range.clip(self.prediction(row) + offset) - f64::from(self.label(row))).abs())
            })),
            Metric::Coverage { percent } => {
                let share = f64::from(*percent) / 100.0;
                pooled(self.of_spread(|label, said, ordinal| f64::from(u8::from(covers(share, label, said, ordinal)))))
            }
            Metric::Nlpd => pooled(self.of_spread(negative_log_density)),
            Metric::Mae(Average::Pooled) => pooled(Part::Ratio(self.errors(f64::abs))),
            Metric::Rmse(Average::Pooled) => pooled(Part::RootRatio(self.errors(|error| error * error))),
            Metric::GradedNdcg { k, gain } => pooled(self.user_mean(|labels, predictions| ndcg_at(*k, *gain, labels, predictions))),
            Metric::GradedPrecision { k, relevant } => {
                pooled(self.user_mean(|labels, predictions| precision_at(*k, *relevant as f32, labels, predictions)))
            }
            Metric::MultisetPrecision { k } => pooled(self.user_mean(|labels, predictions| multiset_precision_at(*k, labels, predictions))),
            Metric::Ndcg { .. } | Metric::HitRate { .. } | Metric::Mrr { .. } | Metric::Precision { .. } => Err(needs(self.metric, RANKS)),
            Metric::Accuracy | Metric::MacroF1 => Err(needs(self.metric, CLASSES)),
        }
    }

    fn label(&self, row: usize) -> f32 {
        self.rows.labels[row]
    }

    fn prediction(&self, row: usize) -> f64 {
        self.predictions[row].into()
    }

    /// One part for each domain that the scope asks for; a macro mean has all domains with rows.
    fn scoped(&self, scope: &Scope, part: impl Fn(&[usize]) -> Part) -> Result<Vec<Part>, EvalError> {
        match scope {
            Scope::Pooled => Ok(vec![part(&(0..self.rows.len()).collect::<Vec<_>>())]),
            Scope::Domain { column, value } => {
                let domains = self.domains(column, value)?;
                let at = domains.names.iter().position(|name| name == value).ok_or_else(|| self.unknown_domain(domains, column, value))?;
                Ok(vec![part(&rows_of(domains, at))])
            }
            Scope::Macro => {
                let domains = self.rows.domains.as_ref().ok_or_else(|| needs(self.metric, "a domain column"))?;
                let mut rows = vec![Vec::new(); domains.names.len()];
                domains.of_row.iter().zip(0..).for_each(|(&at, row)| rows[at as usize].push(row));
                Ok(rows.iter().filter(|rows| !rows.is_empty()).map(|rows| part(rows)).collect())
            }
        }
    }

    fn domains(&self, column: &str, value: &str) -> Result<&Domains, EvalError> {
        let domains = self.rows.domains.as_ref().ok_or_else(|| needs(self.metric, "a domain column"))?;
        if domains.column == column { Ok(domains) } else { Err(self.unknown_domain(domains, column, value)) }
    }

    fn unknown_domain(&self, domains: &Domains, column: &str, value: &str) -> EvalError {
        EvalError::UnknownDomain {
            metric: self.metric.to_string(),
            column: column.to_owned(),
            value: value.to_owned(),
            known: domains.names.iter().map(|name| format!("{}={name}", domains.column)).collect::<Vec<_>>().join(", "),
        }
    }

    fn ranked(&self, rows: &[usize]) -> RankedRows {
        RankedRows::new(rows.iter().map(|&row| (self.rows.users.of_row[row], self.label(row), self.predictions[row])))
    }

    fn per_user(&self, rows: &[usize], terms: impl Fn(usize) -> [f64; 2]) -> Sums {
        per_user(&self.rows.users, rows.iter().copied(), terms)
    }

    fn errors(&self, of: impl Fn(f64) -> f64) -> Sums {
        let error = |row| self.rows.range.clip(self.prediction(row)) - f64::from(self.label(row));
        per_user(&self.rows.users, 0..self.rows.len(), |row| [of(error(row)), 1.0])
    }

    /// The mean over users of the mean of their rows' values.
    fn mean_of_rows(&self, value: impl Fn(usize) -> f64) -> Part {
        let mut sums = per_user(&self.rows.users, 0..self.rows.len(), |row| [value(row), 1.0]);
        sums.0.iter_mut().for_each(|(_, [sum, count])| (*sum, *count) = (*sum / *count, 1.0));
        Part::Ratio(sums)
    }

    /// The same of a label, mean and deviation, and the grid.
    fn of_spread(&self, value: impl Fn(f32, (f64, f64), Option<&Ordinal>) -> f64) -> Part {
        let Some(spread) = self.spread else { return Part::nothing() };
        let ordinal = spread.ordinal();
        self.mean_of_rows(|row| value(self.label(row), (self.prediction(row), spread.deviations[row].into()), ordinal.as_ref()))
    }

    /// Sums of `rows · AUC` and rows over each user's groups.
    fn group_aucs(&self, within: Option<&str>) -> Result<Sums, EvalError> {
        let users = &self.rows.users;
        let domain_of: Option<&[u32]> = match within {
            None => None,
            Some(column) => Some(&self.domains(column, "*")?.of_row),
        };
        let groups: Vec<(u32, u32)> = (0..self.rows.len()).map(|row| (users.of_row[row], domain_of.map_or(0, |d| d[row]))).collect();
        let mut sums = Sums(Vec::new());
        for group in auc_by_group(&groups, &self.rows.labels, self.predictions) {
            if let Some(auc) = group.auc {
                sums.add(group.group.0, [group.rows as f64 * auc, group.rows as f64]);
            }
        }
        Ok(sums)
    }

    /// The mean over users of a metric of each user's rows.
    fn user_mean(&self, metric: impl Fn(&[f32], &[P]) -> Option<f64>) -> Part {
        let users = &self.rows.users;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|&row| users.of_row[row]);
        let mut sums = Sums(Vec::new());
        let (mut labels, mut predictions) = (Vec::new(), Vec::new());
        for rows in order.chunk_by(|&a, &b| users.of_row[a] == users.of_row[b]) {
            labels.clear();
            labels.extend(rows.iter().map(|&row| self.label(row)));
            predictions.clear();
            predictions.extend(rows.iter().map(|&row| self.predictions[row]));
            if let Some(value) = metric(&labels, &predictions) {
                sums.add(users.of_row[rows[0]], [value, 1.0]);
            }
        }
        Part::Ratio(sums)
    }
}

fn per_user(users: &CompactUsers, rows: impl Iterator<Item = usize>, terms: impl Fn(usize) -> [f64; 2]) -> Sums {
    let mut order: Vec<usize> = rows.collect();
    order.sort_by_key(|&row| users.of_row[row]);
    let mut sums = Sums(Vec::new());
    order.into_iter().for_each(|row| sums.add(users.of_row[row], terms(row)));
    sums
}

impl Sums {
    /// Adds to a user's sums; users come in ascending order.
    fn add(&mut self, user: u32, [a, b]: [f64; 2]) {
        match self.0.last_mut() {
            Some((last, [above, below])) if *last == user => {
                *above += a;
                *below += b;
            }
            _ => self.0.push((user, [a, b])),
        }
    }
}

fn rows_of(domains: &Domains, at: usize) -> Vec<usize> {
    (0..domains.of_row.len()).filter(|&row| domains.of_row[row] as usize == at).collect()
}

const RANKS: &str = "ranks of positives";
const LABELLED_ROWS: &str = "labelled rows";
const CLASSES: &str = "rows with classes";

fn needs(metric: &Metric, what: &'static str) -> EvalError {
    EvalError::MetricNeeds { metric: metric.to_string(), needs: what }
}
