//! Data-set files that contradict themselves.

use acclimate_data::DataError;

use super::{CONFIG, Folder, LOG, with};

#[test]
fn configurations_that_toml_refuses() {
    for (from, to, words) in [
        ("user = \"user\"", "user = \"user\"\nitm = \"x\"", ["unknown field `itm`", "line 6"]),
        ("item = \"item\"\n", "", ["missing field `item`", "line 3"]),
        ("kind = \"click\"", "kind = \"clicks\"", ["unknown variant `clicks`", "line 8"]),
        ("name = \"small\"", "name = 3", ["invalid type", "line 2"]),
    ] {
        let mut words = words.to_vec();
        words.push("small.toml");
        assert!(matches!(Folder::new(LOG).error(&CONFIG.replace(from, to), &words), DataError::Config { .. }));
    }
}

#[test]
fn configurations_that_contradict_themselves() {
    let feature = |text: &str| format!("[[feature]]\nname = \"f\"\n{text}\n");
    let category = "[[feature]]\nname = \"item\"\nkind = \"categorical\"\n";
    for (extra, words) in [
        (feature("kind = \"sequence\"\nseparator = \" \""), ["feature `f`", "needs the key `max_length`"]),
        (feature("kind = \"timestamp\""), ["feature `f`", "needs the key `unit`"]),
        (feature("kind = \"numeric\"\nmin_count = 3"), ["`min_count`", "does not go with `numeric`"]),
        (feature("kind = \"categorical\"\nscale = \"standard\""), ["`scale`", "does not go with `categorical`"]),
        (feature("kind = \"categorical\"\ntransform = \"log1p\""), ["transform", "`categorical`"]),
        (feature("kind = \"categorical\"\ntransform = { divide = 0 }"), ["feature `f`", "`transform`"]),
        (feature("kind = \"categorical\"\nmin_count = 0"), ["`min_count`", "at least 1"]),
        (feature("kind = \"categorical\"\nfrom = \"users\""), ["feature `f`", "no [[users]] table"]),
        (feature("kind = \"domain\""), ["feature `f`", "domain of [interactions]"]),
        (category.to_owned() + &feature("kind = \"categorical\"\nvocabulary = \"itm\""), ["`itm`", "did you mean `item`?"]),
        (
            feature("kind = \"numeric\"") + "[[feature]]\nname = \"g\"\nkind = \"categorical\"\nvocabulary = \"f\"\n",
            ["feature `g`", "no vocabulary of its own"],
        ),
        (category.repeat(2), ["feature `item`", "used twice"]),
    ] {
        assert!(matches!(Folder::new(LOG).error(&with(&extra), &words), DataError::InvalidConfig { .. }), "{extra}");
    }
    for (from, to, words) in [
        ("kind = \"click\"", "kind = \"rating\"", ["label", "needs the key `min`"]),
        ("kind = \"click\"", "kind = \"rating\", min = 5, max = 1", ["label", "above `min`"]),
        ("kind = \"click\"", "kind = \"implicit\"", ["label", "`column`"]),
        ("[\"log.csv\"]", "[]", ["[interactions]", "at least one file"]),
        ("user = ", "delimiter = \"\"\nuser = ", ["[interactions]", "`delimiter` must be"]),
        ("user = ", "delimiter = '\"'\nuser = ", ["[interactions]", "`delimiter` must be"]),
        ("user = ", "comment = \"\"\nuser = ", ["[interactions]", "`comment` must not"]),
        ("user = ", "columns = [\"a\", \"a\"]\nuser = ", ["[interactions]", "`columns` must name"]),
        ("user = ", "format = \"parquet\"\nquoting = false\nuser = ", ["[interactions]", "`quoting` does not go with `parquet`"]),
    ] {
        assert!(matches!(Folder::new(LOG).error(&CONFIG.replace(from, to), &words), DataError::InvalidConfig { .. }));
    }
}
