//! What is counted and said of data that can be read.

use super::{Folder, LOG, with};

fn problems(log: &str, features: &str) -> Vec<String> {
    Folder::new(log).read(&with(features)).unwrap().1.problems
}

fn numeric(keys: &str) -> String {
    format!("[[feature]]\nname = \"age\"\nkind = \"numeric\"\n{keys}")
}

#[test]
fn repeats_and_equal_times_are_counted() {
    let log = "user,item,time,click,age\nu1,i1,1650000000,1,1\nu1,i1,1650000000,1,2\nu1,i1,1650000009,0,3\nu2,i1,1650000000,0,4\n";
    let (_, report) = Folder::new(log).read(&with("")).unwrap();
    assert_eq!((report.repeats.rows, report.repeats.same_time, report.ties.rows, report.ties.users), (2, 1, 2, 1));
    assert_eq!(
        report.problems[0],
        "2 of 4 rows repeat a user and item that stand before (1 of them at the same time); a split can put such a pair into two parts"
    );
    assert_eq!(report.problems[1], "2 rows of 1 users have the time of another row of their user; their order is that of the files");
    assert_eq!(problems(LOG, ""), Vec::<String>::new());
}

#[test]
fn extreme_numbers_are_named_with_what_to_do() {
    let log = |value: &str| LOG.replace(",4\n", &format!(",{value}\nu3,i1,1650000002,0,5\n"));
    let said = problems(&log("1e30"), &numeric(""));
    assert!(said[0].contains("feature `age` goes up to 1.0000e30 where 5.0000 is usual: training can fail"), "{said:?}");
    assert!(said[0].contains("`transform = \"log1p\"`"), "{said:?}");
    let said = problems(&log("1e30"), &numeric("scale = \"standard\"\n"));
    assert!(said[0].contains("scaled by it, all others are nearly one number"), "{said:?}");
    let said = problems(&log("-20000"), &numeric(""));
    assert!(said[0].contains("is not scaled") && said[0].ends_with("set `scale = \"standard\"`"), "{said:?}");
    assert_eq!(problems(&log("20000"), &numeric("scale = \"standard\"\n")), Vec::<String>::new());
    assert_eq!(problems(&log("1e30"), &numeric("transform = \"log1p\"\n")), Vec::<String>::new());
}

#[test]
fn encoded_columns_beyond_reason_are_found() {
    let log = LOG.replace(",4\n", ",-1e30\n");
    let read = |keys: &str| Folder::new(&log).read(&with(&numeric(keys))).unwrap().0.encode(&[0, 1]).unwrap();
    let found = read("").extreme_columns();
    assert_eq!((found.len(), found[0].feature.as_str(), found[0].largest), (1, "age", 1e30));
    assert!(read("scale = \"standard\"\n").extreme_columns().is_empty());
}

#[test]
fn texts_that_may_mean_missing_are_counted() {
    let log = LOG.replace(",4\n", ",NA\nu3,i1,1650000002,0,NA\nu3,i2,1650000003,0,none\n");
    let category = "[[feature]]\nname = \"age\"\nkind = \"categorical\"\n";
    let said = problems(&log, category);
    assert!(said[0].contains("`age` holds \"NA\" 2 times as a category") && said[0].contains("`null_values = [\"NA\"]`"), "{said:?}");
    assert!(said[1].contains("\"none\" 1 times"), "{said:?}");
    let config = with(category).replace("user = ", "null_values = [\"NA\", \"none\"]\nuser = ");
    let (_, report) = Folder::new(&log).read(&config).unwrap();
    assert_eq!(report.columns[0].missing, 3);
}

#[test]
fn values_beyond_the_length_of_a_list_are_counted() {
    let log = LOG.replace(",3\n", ",1 2 3\n");
    let said = problems(&log, "[[feature]]\nname = \"age\"\nkind = \"sequence\"\nseparator = \" \"\nmax_length = 1\n");
    assert!(said[0].contains("feature `age`: 2 values are beyond `max_length`"), "{said:?}");
}
