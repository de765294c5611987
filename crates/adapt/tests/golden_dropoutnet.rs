//! `dropoutnet` against `reference/dropoutnet.py`, whose towers learn by automatic differentiation: solved from rows with codes, then the scores of the rows that tasks are asked for.
//!
//! There are features of items and of users, narrow and wide, a list, and one of rows; users without a code, one that no training row has, an item without content, one without support rows, and padding.

#[path = "../../model/tests/golden/mod.rs"]
mod golden;
mod solved;

use acclimate_data::Side;
use golden::cases;
use solved::{Features, check};

const FEATURES: Features = [
    ("age", Side::User),
    ("item", Side::Item),
    ("maker", Side::Item),
    ("device", Side::Row),
    ("country", Side::Item),
    ("user", Side::User),
    ("genres", Side::Item),
];

#[test]
fn scores_match_the_reference() {
    let cases = cases("dropoutnet");
    assert!(cases.len() >= 3, "the golden file lost cases");
    cases.iter().for_each(|case| check(case, &FEATURES));
}
