//! User and item tables.

use acclimate_data::{DataError, RowFault};

use super::{CONFIG, Folder, LOG, fault, with};

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

#[test]
fn ids_in_another_spelling_are_named() {
    let users = |log: &str, table: &str| {
        let folder = Folder::new(LOG.replace("u1", log));
        folder.write("users.csv", format!("id,year\n{table},1990\nu2,1991\n"));
        folder
    };
    for (log, table, words) in [
        ("5829.0", "5829", vec!["user `5829.0`", "`5829` stands", "1 of 2 users", "`integer_columns = [\"user\"]` in [interactions]"]),
        ("5829", "5829.0", vec!["`integer_columns = [\"id\"]` in [[users]]"]),
        ("7", "007", vec!["`integer_columns = [\"id\"]` in [[users]]"]),
        (" a", "a", vec!["blanks"]),
        ("A7", "a7", vec!["upper or lower case"]),
        (" A7", "a7", vec!["alike in both"]),
    ] {
        let folder = users(log, table);
        let error = folder.error(&with(USERS), &words);
        assert!(matches!(error, DataError::SpelledOtherwise(_)) && !error.to_string().contains("allow"), "{error}");
        let (_, report) = folder.read(&with(&format!("{USERS}missing = \"allow\"\n"))).unwrap();
        assert!(report.problems.iter().any(|p| words.iter().all(|word| p.contains(word))), "{:?}", report.problems);
    }
    let log = LOG.replace("u1", "5829.0").replace("u2", "05830");
    let folder = Folder::new(log);
    folder.write("users.csv", "id,year\n5829,1990\n5830,1991\n");
    folder.error(&with(USERS), &["2 of 2 users have no row, 2 of them"]);
    let (raw, _) = folder.read(&with(USERS).replacen("user = ", "integer_columns = [\"user\"]\nuser = ", 1)).unwrap();
    assert_eq!(*raw.dataset().users, ["5829", "5830"]);
}

/// Two shops with their own items under the same ids.
const SHOPS: &str = "user,item,time,click,shop\nu1,1,1650000000,1,books\nu1,1,1650000001,0,music\nu2,2,1650000002,0,books\n";

fn shops(extra: &str) -> String {
    CONFIG.replace("label", "item_scope = \"domain\"\ndomain = { column = \"shop\" }\nlabel") + extra
}

const PRICE: &str =
    "[[feature]]\nname = \"price\"\nkind = \"numeric\"\nfrom = \"items\"\n[[feature]]\nname = \"item\"\nkind = \"categorical\"\n";

#[test]
fn ids_mean_one_item_inside_their_domain() {
    let folder = Folder::new(SHOPS);
    let column = "[[items]]\nfiles = [\"items.csv\"]\nkey = \"id\"\ndomain = { column = \"shop\" }\n";
    folder.write("items.csv", "id,shop,price\n1,books,10\n1,music,20\n2,books,30\n");
    let value = |shop: &str| format!("[[items]]\nfiles = [\"{shop}.csv\"]\nkey = \"{shop}_id\"\ndomain = {{ value = \"{shop}\" }}\n");
    folder.write("books.csv", "books_id,price\n1,10\n2,30\n").write("music.csv", "music_id,price\n1,20\n");
    for tables in [column.to_owned(), value("books") + &value("music")] {
        let (raw, report) = folder.read(&shops(&(tables + PRICE))).unwrap();
        assert_eq!(*raw.dataset().items, ["books/1", "music/1", "books/2"]);
        assert_eq!(report.problems, Vec::<String>::new());
        let data = raw.encode(&[0, 1, 2]).unwrap();
        assert_eq!(data.features.numeric[0].values, [10.0, 20.0, 30.0]);
        assert_eq!(data.features.categorical[0].codes, [1, 3, 2], "sorted by their names");
    }
    let error = folder.error(&shops(&value("books")), &["domain `music`, which has 1 items", "value = \"music\""]);
    assert!(matches!(error, DataError::DomainWithoutTable { items: 1, .. }));
    folder.write("music.csv", "music_id,prize\n1,20\n");
    let (_, report) = folder.read(&shops(&(value("books") + &value("music") + PRICE))).unwrap();
    assert!(report.problems.iter().any(|p| p.contains("music.csv has no column `price`")), "{:?}", report.problems);
    let attribute = "[[attribute]]\nname = \"price\"\nfrom = \"items\"\n";
    folder.error(&shops(&(value("books") + &value("music") + attribute)), &["music.csv", "no column `price`"]);
    folder.write("music.csv", "music_id,price\n1.0,20\n");
    folder.error(&shops(&(value("books") + &value("music"))), &["item `music/1`", "`music/1.0` stands", "[\"music_id\"]` in [[items]]"]);
}

#[test]
fn scopes_that_contradict_themselves() {
    let folder = Folder::new(SHOPS);
    folder.write("items.csv", "id\n1\n2\n");
    let items = "[[items]]\nfiles = [\"items.csv\"]\nkey = \"id\"\n";
    folder.error(&shops(items), &["[[items]]", "needs the key `domain`"]);
    folder.error(&shops(&format!("{items}domain = {{ }}\n")), &["[[items]]", "either `column` or `value`"]);
    folder.error(&with(&format!("{items}domain = {{ value = \"books\" }}\n")), &["[[items]]", "`domain` does not go with"]);
    folder.error(&CONFIG.replace("label", "item_scope = \"domain\"\nlabel"), &["[interactions]", "needs the key `domain`"]);
    let error = folder.write("log.csv", SHOPS.replace("music", "a/b")).error(&shops(""), &["`a/b` holds a `/`"]);
    assert!(matches!(error, DataError::SlashInDomain { .. }));
}

#[test]
fn a_file_tells_the_domain() {
    let folder = Folder::new(LOG);
    folder.write("books.log.csv", LOG).write("part-0.csv", LOG.replace("u1", "u3"));
    std::fs::create_dir(folder.path("music.parts")).unwrap();
    folder.write("music.parts/part-0.csv", LOG).write("music.parts/part-1.csv", LOG);
    let config = |domain: &str| {
        CONFIG
            .replace("[\"log.csv\"]", "[\"books.log.csv\", \"part-*.csv\", \"music.parts\"]")
            .replace("label", &format!("domain = {domain}\nlabel"))
    };
    let domains = |config: &str| {
        let (raw, report) = folder.read(config).unwrap();
        assert_eq!(raw.dataset().log.domain.iter().map(|d| raw.dataset().domains[d.at()].clone()).collect::<Vec<_>>().len(), report.rows);
        report.domains.into_iter().map(|domain| (domain.name, domain.rows)).collect::<Vec<_>>()
    };
    let named = |names: [(&str, usize); 3]| names.map(|(name, rows)| (name.to_owned(), rows));
    assert_eq!(domains(&config("{ from = \"file\" }")), named([("books", 2), ("music", 4), ("part-0", 2)]));
    let names = "{ from = \"file\", names = [\"a\", \"b\", \"a\"], order = [\"b\"] }";
    assert_eq!(domains(&config(names))[..], named([("b", 2), ("a", 6), ("", 0)])[..2]);
    folder.error(&config("{ from = \"file\", names = [\"a\"] }"), &["`names` must have one name for each entry"]);
    folder.error(&config("{ from = \"file\", column = \"age\" }"), &["`column` does not go with `from = file`"]);
    folder.error(&config("{ column = \"age\", name = \"shop\" }"), &["`name` does not go with `column`"]);
    folder.error(&config("{ order = [\"a\"] }"), &["`domain` needs the key `column`"]);
}
