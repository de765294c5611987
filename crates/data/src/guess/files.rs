//! What several files of one log are: parts of it, parts of a split, or one domain each.

use super::GivenSplit;
use super::role::words;

/// What the files of a log have to do with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Division {
    /// One file, or parts that mean nothing.
    Parts,
    /// Parts of a split by entry.
    Split(GivenSplit),
    /// A domain for each entry.
    Domains(Vec<String>),
}

/// Tells by the names of the entries what they are.
pub(super) fn division(entries: &[String]) -> Division {
    let names = names(entries);
    if names.len() < 2 {
        return Division::Parts;
    }
    let parts: Vec<Option<usize>> = names.iter().map(|name| part(name)).collect();
    if parts.iter().all(Option::is_some) {
        let of = |part| entries.iter().zip(&parts).filter(|(_, p)| **p == Some(part)).map(|(entry, _)| entry.clone()).collect();
        return Division::Split(GivenSplit::new(None, [of(0), of(1), of(2)]));
    }
    // What is left of the names without their digits: equal for `part-0001`, `part-0002`.
    let letters: Vec<String> = names.iter().map(|name| name.chars().filter(|c| c.is_alphabetic()).collect()).collect();
    let differ = |texts: &[String]| texts.iter().enumerate().all(|(i, text)| !text.is_empty() && !texts[..i].contains(text));
    if differ(&letters) { Division::Domains(names) } else { Division::Parts }
}

/// The part of a split that a word names: 0 train, 1 validation, 2 test.
pub(super) fn part(name: &str) -> Option<usize> {
    let words = words(name);
    let named = |known: &[&str]| words.iter().any(|word| known.contains(&word.as_str()));
    [&["train", "training"][..], &["validation", "valid", "val", "dev"], &["test", "testing"]].into_iter().position(named)
}

/// What tells the entries apart: the file's name up to its first dot, or the folder where all files have one name; without what all begin or end with.
fn names(entries: &[String]) -> Vec<String> {
    let path = |entry: &String| entry.trim_end_matches('/').split('/').map(str::to_owned).collect::<Vec<_>>();
    let paths: Vec<Vec<String>> = entries.iter().map(path).collect();
    let shortest = paths.iter().map(Vec::len).min().unwrap_or(0);
    let from_end = |depth: usize| -> Vec<String> {
        paths.iter().map(|path| path[path.len() - 1 - depth].split('.').next().unwrap_or_default().to_owned()).collect()
    };
    (0..shortest).map(from_end).find(|names| names.iter().any(|name| name != &names[0])).unwrap_or_else(|| from_end(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[&str]) -> Division {
        division(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    fn domains(names: &[&str]) -> Division {
        Division::Domains(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn numbered_files_are_parts() {
        for entries in
            [&["log.csv"][..], &["part-0001.csv", "part-0002.csv"], &["2023-01.csv.gz", "2023-02.csv.gz"], &["a/1.csv", "a/2.csv"]]
        {
            assert_eq!(of(entries), Division::Parts, "{entries:?}");
        }
    }

    #[test]
    fn files_with_names_of_their_own_are_domains() {
        assert_eq!(of(&["data/book.csv.gz", "data/music.csv.gz"]), domains(&["book", "music"]));
        assert_eq!(of(&["book/ratings.dat", "music/ratings.dat"]), domains(&["book", "music"]));
        assert_eq!(of(&["ratings_Books_5.csv", "ratings_Music_5.csv"]), domains(&["ratings_Books_5", "ratings_Music_5"]));
    }

    #[test]
    fn train_and_test_are_parts_of_a_split() {
        let Division::Split(split) = of(&["ml/test.csv", "ml/train_1.csv", "ml/train_2.csv", "ml/valid.csv"]) else { panic!() };
        let files = |part: usize| split.parts[part].1.join(" ");
        assert_eq!([files(0), files(1), files(2)], ["ml/train_1.csv ml/train_2.csv", "ml/valid.csv", "ml/test.csv"]);
    }
}
