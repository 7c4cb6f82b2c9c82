//! "Did you mean": the known words nearest to an unknown one, for the error messages of scheme, url and manifests.
//! Invariant: the work is bounded; a word longer than any known one has no neighbours.

const LONGEST_WORD: usize = 24;

/// Returns the words that are nearest to `word` by edit distance, none if all of them are far away.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    if word.len() > LONGEST_WORD {
        return Vec::new();
    }
    let mut best = usize::MAX;
    let mut found = Vec::new();
    for candidate in known {
        let distance = edit_distance(word.as_bytes(), candidate.as_bytes());
        if distance > best || distance * 2 > candidate.len().max(word.len()) {
            continue;
        }
        if distance < best {
            found.clear();
            best = distance;
        }
        found.push(candidate);
    }
    found
}

/// The least number of bytes to insert, delete, replace or swap with their neighbour to make `a` into `b`.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut above: Vec<usize> = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let is_swap = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
            let swapped = if is_swap { above[j - 1] + 1 } else { usize::MAX };
            next.push(replaced.min(swapped).min(row[j + 1] + 1).min(next[j] + 1));
        }
        above = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_words_are_found_and_far_ones_are_not() {
        let known = || ["tcp", "udp", "rtcp", "socks5", "fail_timeout"].into_iter();
        for (word, want) in [
            ("tcpp", vec!["tcp"]),
            ("tcp", vec!["tcp"]),
            ("tpc", vec!["tcp"]),
            ("socks6", vec!["socks5"]),
            ("failtimeout", vec!["fail_timeout"]),
            ("ucp", vec!["tcp", "udp"]),
            ("zzzzzz", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(nearest(word, known()), want, "{word}");
        }
        assert!(nearest(&"tcp".repeat(40_000), known()).is_empty());
    }
}
