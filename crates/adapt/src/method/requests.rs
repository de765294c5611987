//! What methods of requests share.

use acclimate_model::layer::product;
use acclimate_model::{Role, SiteKind};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{AdaptError, Context, Groups, Needs, Target};

/// Which set a request is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetOf {
    /// Its own.
    #[default]
    Own,
    /// That of another request: a control.
    Another,
}

impl SetOf {
    pub(crate) fn needs(self) -> Needs {
        Needs { groups: Groups::Request, strange_sets: self == Self::Another, ..Needs::default() }
    }
}

/// Checks the width of a summary and κ, and gives the width of what is gathered of a row.
///
/// # Errors
/// [`AdaptError::Value`] for the keys `width` and `shrink`; [`AdaptError::Unsupported`] for a network that reads no rows one by one.
pub(crate) fn of_requests(method: &'static str, (width, shrink): (usize, f32), target: Target<'_>) -> Result<usize, AdaptError> {
    let value = |key, problem: &str| Err(AdaptError::Value { method, key, problem: problem.into() });
    if width == 0 {
        return value("width", "must be at least 1");
    }
    if !(shrink >= 0.0 && shrink.is_finite()) {
        return value("shrink", "must be a number of at least 0");
    }
    super::scored_rows(method, target.backbone, "reads the rows of a request")?;
    let sites = &target.backbone.architecture().sites;
    let rows = sites.iter().find_map(|site| match site.kind {
        SiteKind::Rows { d } if site.role == Role::Body => Some(d),
        _ => None,
    });
    rows.ok_or_else(|| AdaptError::Unsupported { method, problem: "it gathers no rows; use a network of rows, such as `dnn`".into() })
}

/// The sets of G requests, of M rows at most.
#[derive(Clone)]
pub(crate) struct Gathered {
    /// The rows as they were gathered, `[G, M, d]`; no gradient goes back through them.
    pub(crate) x: Tensor<3>,
    /// `1 / rows` for a real row, else 0: `[G, 1, M]`.
    pub(crate) share: Tensor<3>,
    /// Real rows of each.
    pub(crate) rows: Vec<f32>,
}

impl Gathered {
    /// `None` where no request has a row.
    pub(crate) fn of(method: &'static str, context: &Context<'_>) -> Result<Option<Self>, AdaptError> {
        let (rows, inputs) = context.set();
        let x = inputs.first().ok_or(AdaptError::MissingContext { method, missing: "gathered rows" })?.clone().detach();
        let ([g, m], mask) = (rows.shape(), rows.mask());
        if m == 0 {
            return Ok(None);
        }
        let rows: Vec<f32> = mask.chunks(m).map(|mask| mask.iter().sum()).collect();
        let share: Vec<f32> = mask.iter().enumerate().map(|(i, mask)| mask / rows[i / m].max(1.0)).collect();
        let share = Tensor::from_data(TensorData::new(share, [g, 1, m]), &x.device());
        Ok(Some(Self { x, share, rows }))
    }

    /// Means over the rows of each request, `[G, 1, d]` of `[G, M, d]`.
    pub(crate) fn mean(&self, of: Tensor<3>) -> Tensor<3> {
        product(self.share.clone(), of)
    }

    /// A number for each request, `[G, 1, 1]`.
    pub(crate) fn column(&self, of: impl Fn(f32) -> f32) -> Tensor<3> {
        let values: Vec<f32> = self.rows.iter().map(|&rows| of(rows)).collect();
        Tensor::from_data(TensorData::new(values, [self.rows.len(), 1, 1]), &self.x.device())
    }
}
