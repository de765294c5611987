//! What is scored: rows of one request, with what they share kept once.

/// The rows of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Number of rows, N.
    pub n: usize,
    /// What they share: one row.
    pub shared: Columns,
    /// Their own columns: N rows.
    pub own: Columns,
}

/// Encoded columns of some rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    /// Number of categorical columns, F.
    pub fields: usize,
    /// `[N, F]`, row-major.
    pub codes: Vec<u32>,
    /// Number of numeric columns, C.
    pub numbers: usize,
    /// `[N, C]`, row-major.
    pub numeric: Vec<f32>,
    /// One for each multi-valued column.
    pub bags: Vec<BagColumn>,
}

/// One multi-valued column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BagColumn {
    /// `codes[offsets[i]..offsets[i + 1]]` belongs to row `i`; `[N + 1]`.
    pub offsets: Vec<u32>,
    /// Rows of the table.
    pub codes: Vec<u32>,
}
