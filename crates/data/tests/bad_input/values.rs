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
    for (label, says) in [("2", "outside 0..=1"), ("0.5", "expected 0 or 1"), ("-1", "outside 0..=1")] {
        let error = log_error(LOG.replace("1650000001,0", &format!("1650000001,{label}")), &["line 3", "`click`", label, says]);
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

#[test]
fn truth_values_are_labels_numbers_and_categories() {
    let log = LOG.replace(",1,3", ",True,TRUE").replace(",0,4", ",false,False");
    for kind in ["numeric", "categorical"] {
        let (raw, report) = Folder::new(&log).read(&with(&format!("[[feature]]\nname = \"age\"\nkind = \"{kind}\"\n"))).unwrap();
        assert_eq!(report.label_mean, 0.5);
        let features = raw.encode(&[0, 1]).unwrap().features;
        match kind {
            "numeric" => assert_eq!(features.numeric[0].values, [1.0, 0.0]),
            _ => assert_eq!([1, 2].map(|row| features.vocabularies[0].value(row).unwrap()), ["false", "true"]),
        }
    }
    log_error(LOG.replace(",1,3", ",yes,3"), &["line 2", "`yes`"]);
}

#[test]
fn thousands_are_set_apart_where_a_fraction_shows_how() {
    let value = |text: &str, decimal: &str| {
        let log = LOG.replace(',', ";").replace(";3\n", &format!(";{text}\n"));
        let keys = format!("files = [\"log.csv\"]\ndelimiter = \";\"\ndecimal = \"{decimal}\"");
        let config = with("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n").replace("files = [\"log.csv\"]", &keys);
        let (raw, _) = Folder::new(&log).read(&config)?;
        Ok::<_, acclimate_data::DataError>(raw.encode(&[0, 1]).unwrap().features.numeric[0].values[0])
    };
    assert_eq!(value("1.518,60", ",").unwrap(), 1518.6);
    assert_eq!(value("-2.001.518,5", ",").unwrap(), -2_001_518.5);
    assert_eq!(value("1,518.60", ".").unwrap(), 1518.6);
    for (text, decimal) in [("1.518", ","), ("1.51,60", ","), ("1518.600,1", ","), ("1,518", "."), (".518,6", ",")] {
        assert!(value(text, decimal).is_err(), "{text}");
    }
}

#[test]
fn a_named_value_is_the_positive_one() {
    let positive = |value: &str| CONFIG.replace("kind = \"click\"", &format!("kind = \"click\", positive = \"{value}\""));
    assert_ne!(positive("buy"), CONFIG);
    let log = LOG.replace(",1,3", ",buy,3").replace(",0,4", ",view,4");
    assert_eq!(Folder::new(&log).read(&positive("buy")).unwrap().1.label_mean, 0.5);
    assert_eq!(Folder::new(&log).read(&positive("cart")).unwrap().1.label_mean, 0.0);
    // As it is written, or as categories are.
    for value in ["2.0", "2"] {
        assert_eq!(Folder::new(LOG.replace(",1,3", ",2.0,3")).read(&positive(value)).unwrap().1.label_mean, 0.5);
    }
    Folder::new(log.replace("view", "")).error(&positive("buy"), &["line 3", "`click` is empty"]);
    let rating = CONFIG.replace("kind = \"click\"", "kind = \"rating\", min = 0, max = 1, positive = \"1\"");
    Folder::new(LOG).error(&rating, &["`positive`", "rating"]);
}

#[test]
fn lists_in_brackets_need_no_separator() {
    let log = "user,item,time,click,tags\nu1,i1,1650000000,1,\"[2, 3, 10]\"\nu2,i1,1650000001,0,[3.0]\nu2,i1,1650000002,0,\n";
    let feature = |keys: &str| with(&format!("[[feature]]\nname = \"tags\"\nkind = \"multi\"\n{keys}"));
    for keys in ["", "separator = \",\"\n"] {
        let (_, report) = Folder::new(log).read(&feature(keys)).unwrap();
        assert_eq!((report.columns[0].distinct, report.columns[0].missing), (Some(3), 1));
    }
    let error = Folder::new(log.replace("3, 10]", "3, 10")).error(&feature("separator = \",\"\n"), &["line 2", "`[2, 3, 10`", "brackets"]);
    assert!(matches!(fault(&error), RowFault::WrongType { .. }));
    Folder::new(log.replace("[3.0]", "3|4")).error(&feature(""), &["line 3", "`3|4`", "`separator`"]);
}

#[test]
fn histories_are_spelled_as_the_ids_whose_vocabulary_they_share() {
    let log = "user,item,time,click,seen\nu1,07,1650000000,1,5829.0|07\nu2,5829.0,1650000001,0,07\n";
    let features = "[[feature]]\nname = \"item\"\nkind = \"categorical\"\n\
                    [[feature]]\nname = \"seen\"\nkind = \"sequence\"\nseparator = \"|\"\nmax_length = 9\nvocabulary = \"item\"\n";
    let folder = Folder::new(log);
    let codes = |config: &str| {
        folder.read(config).unwrap().0.encode(&[0, 1]).unwrap().features.bags[0].lists.iter().flatten().copied().collect::<Vec<_>>()
    };
    assert_eq!(codes(&with(features)), [2, 1, 1]);
    let integers = with(features).replace("user = ", "integer_columns = [\"item\", \"seen\"]\nuser = ");
    assert_eq!(codes(&integers), [1, 2, 2], "`5829` sorts before `7`");
    let half = with(features).replace("user = ", "integer_columns = [\"item\"]\nuser = ");
    let (_, report) = folder.read(&half).unwrap();
    assert!(
        report.problems.iter().any(|p| p.contains("`seen` shares the vocabulary of `item`, but none of its values")),
        "{:?}",
        report.problems
    );
}
