//! "Did you mean": the most similar name.

/// The candidate with the fewest edits from `name`, if at most a third of its letters differ (one is always allowed).
/// Upper and lower case count as equal; the first of equals wins.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    let limit = (wanted.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(&wanted, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, one row of the table at a time.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_a_typing_error_and_nothing_far_away() {
        let columns = ["user_id", "video_id", "is_click"];
        assert_eq!(nearest("userid", columns), Some("user_id"));
        assert_eq!(nearest("User_ID", columns), Some("user_id"));
        assert_eq!(nearest("is_clik", columns), Some("is_click"));
        assert_eq!(nearest("rating", columns), None);
        assert_eq!(nearest("", columns), None);
    }
}
