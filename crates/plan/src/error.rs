//! What can be wrong with a network, and with what it is asked.

use thiserror::Error;

/// Why a plan can not be made or can not score. Slots, layers, rows and columns are counted from 0.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Values that do not fill their shape.
    #[error("{what}: {found} values where its shape needs {needed}; export the network again")]
    Size {
        /// Which.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
    },
    /// A part that does not fit the one before it.
    #[error("{what}: {found} wide, and {needed} is needed here; check that it belongs to this network")]
    Width {
        /// Which.
        what: String,
        /// Its width.
        found: usize,
        /// What fits.
        needed: usize,
    },
    /// A width or a number of rows of 0, or a shape larger than memory.
    #[error("{what}: no shape that can be computed; widths are at least 1, and a table has a row for the unknown")]
    Shape {
        /// Which.
        what: String,
    },
    /// A slot that reads a table that is not there.
    #[error("slot {slot} reads table {table}, and there are {tables}; add the table or correct the slot")]
    Table {
        /// Slot.
        slot: usize,
        /// Table.
        table: usize,
        /// How many there are.
        tables: usize,
    },
    /// Changed rows that do not ascend.
    #[error("{what}: row {found} stands after row {before}; each row is given once, in ascending order")]
    Order {
        /// Which.
        what: String,
        /// The row.
        found: u32,
        /// The one before it.
        before: u32,
    },
    /// A changed row that the table does not have.
    #[error("{what}: row {found} is changed, and the table has {total} rows then; give the number of rows that it has with the new ones")]
    Beyond {
        /// Which.
        what: String,
        /// The row.
        found: u32,
        /// How many rows there are.
        total: usize,
    },
    /// A table that would have fewer rows with changes than without.
    #[error("{what}: {total} rows with its changes, and {kept} without; a table never gets smaller")]
    Fewer {
        /// Which.
        what: String,
        /// With changes.
        total: usize,
        /// Without.
        kept: usize,
    },
    /// A value that is not finite, or that must be positive.
    #[error("{what}: value {index} is {found}; train or export the network again")]
    Value {
        /// Of which part.
        what: String,
        /// Which value.
        index: usize,
        /// It.
        found: f32,
    },
    /// Instructions that are unknown or not there.
    #[error("this machine can not run `{wanted}`; choose avx512, avx2 or scalar, or unset ACCLIMATE_ISA")]
    Isa {
        /// What was asked for.
        wanted: String,
    },
    /// Rows that the network can not read.
    #[error("query {query}: {problem}")]
    Rows {
        /// Which of the queries.
        query: usize,
        /// What is wrong with them.
        problem: RowsError,
    },
    /// Personal weights that do not fit the network.
    #[error("query {query}: personal weights: {problem}")]
    Personal {
        /// Which of the queries.
        query: usize,
        /// What is wrong with them.
        problem: Box<PlanError>,
    },
}

/// Why rows can not be read.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RowsError {
    /// More rows than a request may have.
    #[error("{rows} rows, at most {most} are scored in one request; cut it into several")]
    Many {
        /// How many there are.
        rows: usize,
        /// How many may be.
        most: usize,
    },
    /// Too few columns.
    #[error("{part} rows have {found} {kind} columns, and the network reads {needed}; encode them with the schema of the base")]
    Columns {
        /// `shared` or `own`.
        part: &'static str,
        /// `categorical`, `numeric` or `multi-valued`.
        kind: &'static str,
        /// How many there are.
        found: usize,
        /// How many are read.
        needed: usize,
    },
    /// Values that do not fill their rows.
    #[error("{part} {kind} columns hold {found} values where {rows} rows need {needed}")]
    Size {
        /// `shared` or `own`.
        part: &'static str,
        /// `categorical`, `numeric` or `multi-valued`.
        kind: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        needed: usize,
        /// Number of rows.
        rows: usize,
    },
    /// A code that no row of the table has.
    #[error("row {row}, {part} {kind} column {column}: code {code}, and the table has {rows} rows; encode with the vocabulary of the base")]
    Code {
        /// Row.
        row: usize,
        /// `shared` or `own`.
        part: &'static str,
        /// `categorical` or `multi-valued`.
        kind: &'static str,
        /// Column.
        column: usize,
        /// The code.
        code: u32,
        /// How many rows there are.
        rows: usize,
    },
    /// A number that is not finite.
    #[error("row {row}, {part} numeric column {column}: {found}; send a finite number")]
    Number {
        /// Row.
        row: usize,
        /// `shared` or `own`.
        part: &'static str,
        /// Column.
        column: usize,
        /// It.
        found: f32,
    },
    /// Offsets of lists that fall or do not end where the codes do.
    #[error(
        "{part} multi-valued column {column}: the offset {index} is {found}; offsets begin at 0, never fall and end at the number of codes"
    )]
    Offset {
        /// `shared` or `own`.
        part: &'static str,
        /// Column.
        column: usize,
        /// Which offset.
        index: usize,
        /// It.
        found: u32,
    },
}
