//! The one place that knows the YAML library: text in, JSON values or types out, and back.
//! Errors carry line and column but never a piece of the text, since a manifest may hold a Secret.

mod lines;

use serde::{Serialize, de::DeserializeOwned};

pub use lines::Lines;

/// Why a text is no YAML document of the wanted shape: one line, with line and column where known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct YamlError(String);

/// Reads exactly one document.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|e| YamlError(one_line(&e.to_string())))
}

/// Reads every document of a multi-document text, empty ones left out; the first error ends the reading.
pub fn documents(text: &str) -> Result<Vec<serde_json::Value>, YamlError> {
    let all: Vec<serde_json::Value> = documents_as(text)?;
    Ok(all.into_iter().filter(|v| !v.is_null()).collect())
}

/// Reads every document of a multi-document text as what the caller wants of it.
pub fn documents_as<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|e| YamlError(one_line(&e.to_string())))
}

/// One document of a multi-document text.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    /// The line of the whole text on which the document's text begins, from 1.
    pub line: usize,
    /// What it says, or why it can't be read; lines in the error are those of the whole text.
    pub content: Result<serde_json::Value, YamlError>,
}

/// Reads every document of a multi-document text by itself, so that a bad one spoils no other; empty ones are left out.
pub fn each_document(text: &str) -> impl Iterator<Item = Document<'_>> {
    split(text).into_iter().filter_map(|(line, text)| {
        let content = serde_saphyr::from_str_with_options(text, options()).map_err(|e| shifted(&e, line - 1));
        (!matches!(content, Ok(serde_json::Value::Null))).then_some(Document { text, line, content })
    })
}

impl Document<'_> {
    /// Finds out on which lines the document's fields stand; reads the text once more.
    pub fn lines(&self) -> Lines {
        Lines::read(self.text, self.line - 1)
    }
}

/// Cuts a text where documents begin (`---`) or end (`...`), which no scalar may contain at a line's start.
/// Directives (`%YAML`) stay with the document that they precede.
fn split(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut start, mut start_line, mut at) = (Vec::new(), 0, 1, 0);
    let (mut header, mut directives) = (true, false);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let (begins, ends) = (is_marker(line, "---") && !(header && directives), is_marker(line, "..."));
        if begins || ends {
            parts.push((start_line, &text[start..at]));
            (start, start_line) = if ends { (at + line.len(), index + 2) } else { (at, index + 1) };
            (header, directives) = (ends, false);
        } else {
            directives |= header && line.starts_with('%');
            header &= line.starts_with(['#', '%']) || line.trim().is_empty();
        }
        at += line.len();
    }
    parts.push((start_line, &text[start..]));
    parts.retain(|(_, part)| !part.lines().all(|l| l.trim().is_empty() || l.starts_with('#')));
    parts
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn shifted(error: &serde_saphyr::Error, lines: usize) -> YamlError {
    let options = serde_saphyr::render_options! { line_offset: u64::try_from(lines).unwrap_or(u64::MAX) };
    YamlError(one_line(&error.render_with_options(options)))
}

/// Writes one document.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    serde_saphyr::to_string(value).map_err(|e| YamlError(one_line(&e.to_string())))
}

/// Numbers are read as `kubectl` does: a file mode of `0400` is octal.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_line_and_shows_nothing_of_the_text() {
        let error = documents("a: 1\npassword: \"s3cret\nb: [").unwrap_err().to_string();
        assert!(error.contains("line"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_left_out() {
        let all = documents("---\na: 1\n---\n# only a comment\n---\nb: 2\n").unwrap();
        assert_eq!(all, [serde_json::json!({"a": 1}), serde_json::json!({"b": 2})]);
    }

    #[test]
    fn each_document_is_read_by_itself_and_says_on_which_line_it_stands() {
        for (text, want) in [
            ("", vec![]),
            ("---\n---\n# only a comment\n", vec![]),
            ("a: 1\n", vec![(1, Some("{\"a\":1}"))]),
            ("a: 1\n---\nb: [\n---\n{\"c\": 3}\n", vec![(1, Some("{\"a\":1}")), (2, None), (4, Some("{\"c\":3}"))]),
            (
                "--- {a: 1}\n...\n# between\n---\nb: |\n  ---\n  x\n",
                vec![(1, Some("{\"a\":1}")), (4, Some("{\"b\":\"---\\nx\\n\"}"))],
            ),
            ("%YAML 1.2\n---\na: 1\n", vec![(1, Some("{\"a\":1}"))]),
            ("a: 1\r\n---\r\nb: 2\r\n", vec![(1, Some("{\"a\":1}")), (2, Some("{\"b\":2}"))]),
            ("a: ----\n---x\n", vec![(1, None)]),
        ] {
            let got: Vec<_> = each_document(text).map(|d| (d.line, d.content.ok().map(|v| v.to_string()))).collect();
            let got: Vec<_> = got.iter().map(|(line, content)| (*line, content.as_deref())).collect();
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn an_error_in_a_later_document_counts_lines_from_the_top_of_the_text() {
        let errors: Vec<_> = each_document("a: 1\n---\nb: 1\nb: 2\n").filter_map(|d| d.content.err()).collect();
        assert!(errors[0].to_string().contains("line 4"), "{errors:?}");
    }

    #[test]
    fn a_key_said_twice_is_refused() {
        assert!(from_str::<serde_json::Value>("a: 1\na: 2").is_err());
    }

    #[test]
    fn a_quoted_number_stays_a_string() {
        assert_eq!(from_str::<serde_json::Value>("a: '80'").unwrap(), serde_json::json!({"a": "80"}));
    }

    #[test]
    fn a_number_with_a_leading_zero_is_octal_as_for_kubectl() {
        let numbers = from_str::<serde_json::Value>("{a: 0400, b: 400, c: 0o400, d: 0x1F, e: '0400'}").unwrap();
        assert_eq!(numbers, serde_json::json!({"a": 256, "b": 400, "c": 256, "d": 31, "e": "0400"}));
    }
}
