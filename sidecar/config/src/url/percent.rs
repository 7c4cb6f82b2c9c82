//! Percent escapes of the user name, the password and the query; the path of a node URL has none.
//! Invariant: what [`encode`] writes is plain ASCII that no other part of the grammar gives a meaning, and decodes to the same text.

/// Why a part can't be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    #[error("a '%' without two hexadecimal digits behind it: write %25 for a percent sign")]
    Malformed,
    #[error("the escapes give no UTF-8 text: write the text itself")]
    NotUtf8,
}

/// Decodes `%XX`.
pub(super) fn decode(text: &str) -> Result<String, EscapeError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (hex(rest.first()), hex(rest.get(1))) else {
            return Err(EscapeError::Malformed);
        };
        bytes.push(high << 4 | low);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| EscapeError::NotUtf8)
}

/// Decodes `%XX`, and `+` as a space, as queries have it.
pub(super) fn decode_query(text: &str) -> Result<String, EscapeError> {
    decode(&text.replace('+', " "))
}

/// Escapes everything but letters, digits and `-._~`, and what stands in `also_plain`.
pub(super) fn encode(text: &str, also_plain: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also_plain.as_bytes().contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn hex(digit: Option<&u8>) -> Option<u8> {
    let value = char::from(*digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_strictly() {
        assert_eq!(decode("a%20b+c%2fd%C3%a4").unwrap(), "a b+c/dä");
        assert_eq!(decode_query("a+b%2B").unwrap(), "a b+");
        for text in ["%", "%2", "%zz", "%+1", "100%"] {
            assert_eq!(decode(text), Err(EscapeError::Malformed), "{text}");
        }
        assert_eq!(decode("%ff"), Err(EscapeError::NotUtf8));
    }

    #[test]
    fn every_text_survives_encoding() {
        for text in ["", "a b", "p@ss:w/o?r#d%", "ä€\u{0}\n", "1,2:[3]"] {
            assert_eq!(decode(&encode(text, "")).unwrap(), text);
            assert_eq!(decode_query(&encode(text, ",:[]")).unwrap(), text);
        }
        assert_eq!(encode("a:b c", ":"), "a:b%20c");
    }
}
