//! What an error message may show of a bad input: for every parser of this crate, towards people's terminals and logs.
//! Invariant: at most 80 characters, none of them able to move a cursor or reorder text, and nothing that stands before an `@`.

/// The most characters of an input that a message shows.
const LONGEST: usize = 80;

/// Returns the part of `text` that a message may show: clipped, without control characters, with `***` for a user and password.
pub(crate) fn excerpt(text: &str) -> String {
    let (hidden, visible) = match text.rfind('@') {
        Some(at) => ("***", &text[at..]),
        None => ("", text),
    };
    let mut shown: String =
        hidden.chars().chain(visible.chars()).filter(|c| is_harmless(*c)).take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown = shown.chars().take(LONGEST - 1).collect();
        shown.push('…');
    }
    shown
}

fn is_harmless(c: char) -> bool {
    let reorders =
        matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !reorders
}

#[cfg(test)]
mod tests {
    use super::excerpt;

    #[test]
    fn an_excerpt_is_short_printable_and_without_credentials() {
        for (text, want) in [
            ("plain", "plain"),
            ("a\u{1b}[31mb\nc\u{202e}d", "a[31mbcd"),
            ("user:pass@host:1", "***@host:1"),
            ("u:p@ss@host", "***@host"),
        ] {
            assert_eq!(excerpt(text), want, "{text:?}");
        }
        let long = excerpt(&"x".repeat(100_000));
        assert_eq!(long.chars().count(), 80);
        assert!(long.ends_with('…'));
    }
}
