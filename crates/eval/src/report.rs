//! placeholder
use crate::Report;
/// Page
#[must_use]
pub fn to_html(_r: &Report) -> String {
    String::new()
}
