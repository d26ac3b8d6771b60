//! "Did you mean": the nearest of a list of names.

/// The name in `names` that `wrong` was most likely meant to be, if any is near.
pub(crate) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = folded(wrong);
    names
        .into_iter()
        .map(|name| (distance(&wrong, &folded(name)), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `max_message_size`, `max-message-size` and `MaxMessageSize` are all meant to be `maxMessageSize`.
fn folded(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour (the "optimal string
/// alignment" distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replace = last[j] + usize::from(from != to);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_is_recognised_and_nonsense_is_not() {
        let names = ["maxMessageSize", "maxRecipients", "banner"];
        assert_eq!(nearest("max_message_size", names), Some("maxMessageSize"));
        assert_eq!(nearest("maxMesageSize", names), Some("maxMessageSize"));
        assert_eq!(nearest("baner", names), Some("banner"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("smpt", ["imap", "smtp", "pop3"]), Some("smtp"), "neighbours are easily swapped");
        assert_eq!(nearest("", names), None);
    }
}
