use thiserror::Error;

/// What can go wrong when methods are measured and compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Two columns that describe the same rows have different lengths.
    #[error("{what} has {found} entries but the evaluation has {expected}; give one entry for each row")]
    Length {
        /// The column or method that does not fit.
        what: String,
        /// Number of rows (or queries) of the evaluation.
        expected: usize,
        /// Number of entries that were given.
        found: usize,
    },
    /// A label or prediction is NaN (or, for a prediction that must be a number, infinite).
    #[error("{what}, row {row}: {value} is not a finite number; look for a diverged training run or a missing label")]
    NotFinite {
        /// The column or method.
        what: String,
        /// Position of the row, from 0.
        row: usize,
        /// The value found.
        value: f64,
    },
    /// A standard deviation that is not a positive number.
    #[error("the spread of {method}, row {row}: {value} is not a standard deviation; give finite numbers above 0")]
    NotADeviation {
        /// The method.
        method: String,
        /// Position of the row, from 0.
        row: usize,
        /// The value found.
        value: f64,
    },
    /// A rank below 1 or NaN.
    #[error("{method}, query {query}: {value} is not a rank; ranks start at 1")]
    NotARank {
        /// The method that gave the rank.
        method: String,
        /// Position of the query, from 0.
        query: usize,
        /// The value found.
        value: f64,
    },
    /// A metric name that is not known.
    #[error("`{name}` is not a metric: {reason}; known forms: {known}")]
    UnknownMetric {
        /// The name as given.
        name: String,
        /// Which part was not understood.
        reason: String,
        /// The accepted forms.
        known: &'static str,
    },
    /// A metric that needs something that the evaluation does not have.
    #[error("metric `{metric}` needs {needs}, and this evaluation has none; remove the metric or provide it")]
    MetricNeeds {
        /// Canonical name of the metric.
        metric: String,
        /// What is missing.
        needs: &'static str,
    },
    /// A metric names a domain column or value that the evaluation does not have.
    #[error("metric `{metric}`: there is no domain `{column}={value}`; this evaluation has `{known}`")]
    UnknownDomain {
        /// Canonical name of the metric.
        metric: String,
        /// The column asked for.
        column: String,
        /// The value asked for.
        value: String,
        /// Column and values that exist.
        known: String,
    },
    /// A row points at a domain without a name.
    #[error("row {row}: domain index {index} has no name; {names} names were given")]
    DomainIndex {
        /// Position of the row, from 0.
        row: usize,
        /// The index found.
        index: u32,
        /// Number of names.
        names: usize,
    },
    /// A row whose class has no name.
    #[error("row {row}: class index {index} has no name; {names} names were given")]
    ClassIndex {
        /// Position of the row, from 0.
        row: usize,
        /// The index found.
        index: u32,
        /// Number of names.
        names: usize,
    },
    /// An answer for a class that is NaN, below 0 or above 1.
    #[error("{method}, row {row}, class `{class}`: {value} is not a probability; give numbers from 0 to 1, not scores")]
    NotAProbability {
        /// The method.
        method: String,
        /// Position of the row, from 0.
        row: usize,
        /// Name of the class.
        class: String,
        /// The value found.
        value: f64,
    },
    /// Answers that are no distribution over the classes.
    #[error("{method}, row {row}: the probabilities of all classes sum to {sum}, expected 1 (within 0.001); divide each row by its sum")]
    ProbabilitySum {
        /// The method.
        method: String,
        /// Position of the row, from 0.
        row: usize,
        /// The sum found.
        sum: f64,
    },
    /// Nothing to evaluate.
    #[error("the evaluation has no {what}; check the split and its filters")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// The same method was entered twice.
    #[error("method `{method}` was entered twice in {place}; give each entrant its own name")]
    DuplicateMethod {
        /// The method.
        method: String,
        /// Data set, scenario and setting.
        place: String,
    },
    /// A bootstrap setting outside its range.
    #[error("{what} of the bootstrap is {value}, allowed is {allowed}")]
    Bootstrap {
        /// The field.
        what: &'static str,
        /// The value found.
        value: f64,
        /// The allowed range.
        allowed: &'static str,
    },
    /// A file could not be written or read.
    #[error("{action} {path}: {source}; check that the folder exists and is writable")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A report could not be turned into JSON, or JSON is no report.
    #[error("{path}: not a report: {source}")]
    Json {
        /// The file.
        path: String,
        /// The cause, with line and column.
        source: serde_json::Error,
    },
}
