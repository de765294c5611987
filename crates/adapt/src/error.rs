//! Errors of adaptation.

use std::path::PathBuf;

use acclimate_model::{ModelError, TensorFileError};
use thiserror::Error;

/// What can go wrong when a method is configured, applied, saved or loaded.
#[derive(Debug, Error)]
pub enum AdaptError {
    /// No method of this name.
    #[error("no method is called `{name}`; there are {known}")]
    UnknownMethod {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// A config that does not parse: unknown key, wrong type.
    #[error("method `{method}`: {problem}")]
    Config {
        /// The method.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// A value out of range, or one that does not fit the backbone or the data.
    #[error("method `{method}`: `{key}` {problem}")]
    Value {
        /// The method.
        method: &'static str,
        /// The config key.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A method on a backbone it can not change.
    #[error("method `{method}` does not work on this backbone: {problem}")]
    Unsupported {
        /// The method.
        method: &'static str,
        /// Why, and what to use instead.
        problem: String,
    },
    /// The context lacks what the method conditions on.
    #[error("method `{method}` needs {missing}, which this request does not carry")]
    MissingContext {
        /// The method.
        method: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// What PEFT saved and `lora` can not be.
    #[error("{}: {problem}", path.display())]
    Peft {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A patch for another base.
    #[error("the patch was made for base {expected}, but this base is {found}; load the base it belongs to, or adapt again")]
    WrongBase {
        /// The base named in the patch.
        expected: String,
        /// The base at hand.
        found: String,
    },
    /// A patch for data of another shape.
    #[error("the patch was made for schema {expected}, but this base reads {found}")]
    WrongSchema {
        /// The schema named in the patch.
        expected: String,
        /// The schema at hand.
        found: String,
    },
    /// A patch of another format version.
    #[error("the patch has format {found}, this program reads formats 1 to {known}; adapt again or use the version that wrote it")]
    Format {
        /// The version in the patch.
        found: u32,
        /// The version this program reads.
        known: u32,
    },
    /// A row beyond its table, or out of order.
    #[error("the patch holds row {row} of table `{table}` out of order or beyond the {rows} rows it has; the file is damaged")]
    Row {
        /// The table.
        table: String,
        /// The row.
        row: u32,
        /// Rows in the table.
        rows: usize,
    },
    /// Patches that can not become one.
    #[error("can not merge: {problem}")]
    Merge {
        /// Why, and what to do.
        problem: String,
    },
    /// A budget that a patch can not keep.
    #[error(
        "the patch can not be stored in {budget} bytes: without any embedding row that the base knows it takes {least}; raise the budget"
    )]
    Budget {
        /// Bytes allowed.
        budget: usize,
        /// Bytes of what is never left out.
        least: usize,
    },
    /// A tensor file that can not be read or written.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A base that can not be built.
    #[error(transparent)]
    Model(#[from] ModelError),
}
