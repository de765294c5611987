//! Values of the wrong type, and values that are missing.

use acclimate_data::RowFault;

use super::{CONFIG, Folder, LOG, fault, log_error, with};

#[test]
fn wrong_type_names_line_column_and_value() {
    let log = LOG.replace(",4\n", ",old\n");
    let feature = with("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n");
    let error = Folder::new(&log).error(&feature, &["log.csv, line 3", "`age`", "`old`", "a finite number"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));
    let attribute = with("[[attribute]]\nname = \"age\"\n");
    Folder::new(&log).error(&attribute, &["line 3", "`old`", "a whole number"]);
    Folder::new(LOG.replace(",4\n", ",inf\n")).error(&feature, &["`inf`"]);
    Folder::new(LOG.replace(",4\n", ",\n")).error(&attribute, &["line 3", "`age` is empty"]);
    log_error(LOG.replace("1650000001", "monday"), &["line 3", "`monday`", "such as 1650812741"]);
}

#[test]
fn missing_values_of_the_log() {
    for (from, to, column) in
        [("u2,i1", ",i1", "user"), ("u2,i1", "u2,", "item"), ("1650000001,0", ",0", "time"), ("1650000001,0", "1650000001,", "click")]
    {
        let error = log_error(LOG.replace(from, to), &["line 3", &format!("`{column}` is empty")]);
        assert!(matches!(fault(&error), RowFault::MissingValue { .. }));
    }
}

#[test]
fn label_outside_range() {
    for label in ["2", "0.5", "-1"] {
        let error = log_error(LOG.replace("1650000001,0", &format!("1650000001,{label}")), &["line 3", "`click`", label, "0..=1"]);
        assert!(matches!(fault(&error), RowFault::LabelOutOfRange { .. }));
    }
    let rating = CONFIG.replace("kind = \"click\"", "kind = \"rating\", min = 1, max = 5");
    Folder::new(LOG).error(&rating, &["line 3", "holds 0", "1..=5"]);
}

#[test]
fn unlisted_code() {
    let attribute = with("[[attribute]]\nname = \"kind\"\ncolumn = \"user\"\ncodes = { u1 = 7 }\n");
    let error = Folder::new(LOG).error(&attribute, &["line 3", "`u2`", "`kind`"]);
    assert!(matches!(fault(&error), RowFault::UnlistedCode { .. }));
}

#[test]
fn attributes_of_text_keep_their_texts() {
    let attribute = "[[attribute]]\nname = \"part\"\nkind = \"text\"\n[[attribute]]\nname = \"city\"\nfrom = \"users\"\nkind = \"text\"\n\
                     [[users]]\nfiles = [\"users.csv\"]\nkey = \"user\"\n";
    let log = "user,item,time,click,part\nu1,i1,1650000000,1,train\nu2,i1,1650000001,0,test\nu1,i1,1650000002,0,train\n";
    let folder = Folder::new(log);
    folder.write("users.csv", "user,city\nu2,Oslo\nu9,Rome\nu1,Kyoto\n");
    let (raw, _) = folder.read(&with(attribute)).unwrap();
    let part = raw.dataset().attribute("part").unwrap();
    assert_eq!((&part.values[..], part.labels.as_deref()), (&[1, 0, 1][..], Some(&["test".to_owned(), "train".to_owned()][..])));
    let city = raw.dataset().attribute("city").unwrap();
    assert_eq!([0, 1].map(|user| city.text(user)), [Some("Kyoto"), Some("Oslo")]);
    folder.write("users.csv", "user,city\nu2,Oslo\nu1,\n").error(&with(attribute), &["users.csv, line 3", "`city` is empty"]);
    folder.error(&with(&attribute.replace("kind", "codes = { a = 1 }\nkind")), &["attribute `part`", "`codes` does not go with"]);
}
