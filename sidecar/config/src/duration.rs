//! Durations as Go writes them (`1m30s`, `500ms`), from URLs, manifests and configurations to `std::time::Duration` and back.
//! Invariant: what is formatted parses back equal, and whole milliseconds come out as the CRD's pattern allows.

use std::time::Duration;

use crate::excerpt::excerpt;

/// The longest duration there is: 999,999 hours, the largest number of hours the CRD's pattern can write.
pub const MAX: Duration = Duration::from_secs(999_999 * 3600);

/// Up to here whole seconds are written as such (`90s`), not in minutes.
const LONGEST_IN_SECONDS: Duration = Duration::from_secs(120);

/// How many digits behind a point count; a nanosecond needs at most 13 (of an hour).
const FRACTION_DIGITS: usize = 18;

/// Why a text is no duration; each message says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("a duration is empty: write 30s, 500ms or 1m30s")]
    Empty,
    #[error("duration \"{0}\" is negative: write 30s, 500ms or 1m30s")]
    Negative(String),
    #[error("duration \"{0}\" has no unit: write {0}s for seconds or {0}ms for milliseconds")]
    MissingUnit(String),
    #[error("duration \"{text}\" has the unknown unit \"{unit}\": write h, m, s or ms, as in 30s, 500ms or 1m30s")]
    UnknownUnit { text: String, unit: String },
    #[error("\"{0}\" is no duration: write 30s, 500ms or 1m30s")]
    Malformed(String),
    #[error("duration \"{0}\" is too long: write at most 999999h")]
    TooLong(String),
}

/// Reads a duration in Go's syntax: numbers with the units h, m, s, ms, us, µs and ns, added up; `0` needs no unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative(excerpt(text)));
    }
    let (mut rest, mut total) = (text, 0_u128);
    while !rest.is_empty() {
        let (nanos, behind) = leading_term(text, rest)?;
        total += nanos;
        if total > MAX.as_nanos() {
            return Err(DurationError::TooLong(excerpt(text)));
        }
        rest = behind;
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| DurationError::TooLong(excerpt(text)))
}

/// Reads a duration as URL options have it: Go's syntax, or a plain integer that counts seconds.
pub fn parse_or_seconds(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return parse(text);
    }
    match text.parse::<u64>().map(Duration::from_secs) {
        Ok(seconds) if seconds <= MAX => Ok(seconds),
        _ => Err(DurationError::TooLong(excerpt(text))),
    }
}

/// Writes a duration so that [`parse`] reads the same: `0s`, `500ms`, `90s` (seconds up to 120), `2m30s`, `1h`.
pub fn format(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let (hours, minutes, seconds) = if duration <= LONGEST_IN_SECONDS {
        (0, 0, seconds)
    } else {
        (seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    let fractions = [nanos / 1_000_000, nanos / 1_000 % 1_000, nanos % 1_000].map(u64::from);
    let [millis, micros, nanos] = fractions;
    [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms"), (micros, "us"), (nanos, "ns")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect()
}

/// Takes one number with its unit off the front of `rest`; gives its nanoseconds and what is left.
fn leading_term<'a>(text: &str, rest: &'a str) -> Result<(u128, &'a str), DurationError> {
    let (whole, rest) = leading_digits(rest);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(behind) => leading_digits(behind),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed(excerpt(text)));
    }
    let length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(length);
    let Some(nanos_per_unit) = nanos_of(unit) else {
        return Err(unit_error(text, unit));
    };
    let Some(whole) = number(whole) else {
        return Err(DurationError::TooLong(excerpt(text)));
    };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or_default());
    let part = number(fraction).unwrap_or_default() * nanos_per_unit / scale;
    Ok((whole * nanos_per_unit + part, rest))
}

fn leading_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// The value of a run of digits, the empty one being 0; nothing beyond 64 bits.
fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u64>().ok().map(u128::from)
}

fn nanos_of(unit: &str) -> Option<u128> {
    Some(match unit {
        "h" => 3_600_000_000_000,
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ns" => 1,
        _ => return None,
    })
}

fn unit_error(text: &str, unit: &str) -> DurationError {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match unit {
        "" if is_number => DurationError::MissingUnit(excerpt(text)),
        "" => DurationError::Malformed(excerpt(text)),
        _ => DurationError::UnknownUnit { text: excerpt(text), unit: excerpt(unit) },
    }
}

/// For `#[serde(with = "duration::plain")]` on a `Duration`: text as [`format`] writes and [`parse`] reads it.
pub mod plain {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }

    /// Reads a duration in Go's syntax.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// [`plain`] for an `Option<Duration>`; the field also wants `default` and `skip_serializing_if`.
pub mod option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text, or nothing.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::plain::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a duration in Go's syntax, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
#[path = "duration_tests.rs"]
mod tests;
