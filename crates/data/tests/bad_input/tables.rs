//! User and item tables.

use acclimate_data::{DataError, RowFault};

use super::{Folder, LOG, fault, with};

const USERS: &str = "[[users]]\nfiles = [\"users.csv\"]\nkey = \"id\"\n";

#[test]
fn duplicate_key() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,age\nu1,3\nu2,4\nu1,5\n");
    let error = folder.error(&with(USERS), &["users.csv, line 4", "`u1`", "line 2"]);
    assert!(matches!(fault(&error), RowFault::DuplicateKey { .. }));
}

#[test]
fn missing_reference() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,year\nu1,1990\nu9,1991\n");
    let error = folder.error(&with(USERS), &["user `u2`", "users.csv", "missing = \"allow\""]);
    assert!(matches!(error, DataError::MissingReference { count: 1, .. }));
    let allowed = format!("{USERS}missing = \"allow\"\n");
    let (_, report) = folder.read(&with(&allowed)).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("1 users of the log have no row")), "{:?}", report.problems);
    let attribute = format!("{allowed}[[attribute]]\nname = \"year\"\nfrom = \"users\"\n");
    let error = folder.error(&with(&attribute), &["`year`", "`u2`"]);
    assert!(matches!(error, DataError::MissingAttribute { .. }));
}

#[test]
fn ambiguous_column() {
    let folder = Folder::new(LOG);
    folder.write("users.csv", "id,age\nu1,3\nu2,4\n").write("more.csv", "id,age\nu1,30\nu2,40\n");
    let tables = "[[users]]\nfiles = [\"users.csv\"]\nkey = \"id\"\n[[users]]\nname = \"more\"\nfiles = [\"more.csv\"]\nkey = \"id\"\n";
    let feature = "[[feature]]\nname = \"age\"\nkind = \"numeric\"\nfrom = \"users\"\n";
    let error = folder.error(&with(&format!("{tables}{feature}")), &["`age`", "users.csv", "more.csv", "`table`"]);
    assert!(matches!(error, DataError::AmbiguousColumn { .. }));
    let (raw, _) = folder.read(&with(&format!("{tables}{feature}table = \"more\"\n"))).unwrap();
    assert_eq!(raw.encode(&[0, 1]).unwrap().features.numeric[0].values, [30.0, 40.0]);
}
