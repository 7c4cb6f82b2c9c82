//! The value of one option: from decoded text to a typed value and back.
//! Invariant: what is printed parses back equal; a value is in its range or is an error that says what to write.

use std::time::Duration;

use super::credentials::Secret;
use crate::defaults::MAX_FAILS_LIMIT;
use crate::duration;
use crate::excerpt::excerpt;
use crate::ranges::{Network, PortRange};
use crate::strategy::Strategy;

/// What an option's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Secret,
    Flag,
    Count {
        min: u32,
        max: u32,
    },
    /// A count where -1 means never.
    MaxFails,
    Duration,
    DurationOrZero,
    Strategy,
    /// Becomes targets or nodes.
    Addresses,
    /// Becomes credentials.
    Auth,
    Networks,
    PortRanges,
}

/// A value as the option's [`Kind`] has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Secret(Secret),
    Flag(bool),
    Count(u32),
    /// 0: never.
    MaxFails(u32),
    Duration(Duration),
    Strategy(Strategy),
    List(Vec<String>),
}

impl Kind {
    /// Any count GOST might have been given.
    pub(super) const COUNT: Self = Self::Count { min: 0, max: 1_000_000_000 };

    /// Reads a decoded value; the error says what to write and shows no secret.
    pub(super) fn parse(self, text: &str) -> Result<Value, String> {
        if text.is_empty() {
            return Err(format!("the value is empty: {}", self.advice()));
        }
        match self {
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Secret | Self::Auth => Ok(Value::Secret(Secret::new(text))),
            Self::Flag => flag(text).map(Value::Flag).ok_or_else(|| self.unlike(text)),
            Self::Count { min, max } => {
                let count = text.parse().ok().filter(|count| (min..=max).contains(count));
                count.map(Value::Count).ok_or_else(|| self.unlike(text))
            }
            Self::MaxFails => max_fails(text).map(Value::MaxFails).ok_or_else(|| self.unlike(text)),
            Self::Duration | Self::DurationOrZero => self.duration(text),
            Self::Strategy => text.parse().map(Value::Strategy).map_err(|_| self.unlike(text)),
            Self::Addresses => Ok(list(text)),
            Self::Networks if text.split(',').all(|network| network.parse::<Network>().is_ok()) => Ok(list(text)),
            Self::PortRanges if text.split(',').all(|range| range.parse::<PortRange>().is_ok()) => Ok(list(text)),
            Self::Networks | Self::PortRanges => Err(self.unlike(text)),
        }
    }

    fn duration(self, text: &str) -> Result<Value, String> {
        let duration = duration::parse_or_seconds(text).map_err(|error| error.to_string())?;
        if duration.is_zero() && self == Self::Duration {
            return Err("0 is no time to wait: write 30s, 500ms or 1m30s, or leave it out for the default".to_owned());
        }
        Ok(Value::Duration(duration))
    }

    fn unlike(self, text: &str) -> String {
        format!("\"{}\" is not understood: {}", excerpt(text), self.advice())
    }

    fn advice(self) -> String {
        match self {
            Self::Text | Self::Secret => "write a value or leave the option out".to_owned(),
            Self::Flag => "write true or false".to_owned(),
            Self::Count { min, max } => format!("write a number from {min} to {max}"),
            Self::MaxFails => format!("write a number from 1 to {MAX_FAILS_LIMIT}, or -1 for never dead"),
            Self::Duration | Self::DurationOrZero => "write 30s, 500ms or 1m30s".to_owned(),
            Self::Strategy => "write round, random or fifo".to_owned(),
            Self::Addresses => "write addresses, as in ip=10.0.0.1:22,10.0.0.2:22".to_owned(),
            Self::Auth => "write user:pass@ before the host instead".to_owned(),
            Self::Networks => "write networks, as in 10.0.0.0/8,2001:db8::/32".to_owned(),
            Self::PortRanges => "write ports from 1 to 65535, as in 8080,9000-9099".to_owned(),
        }
    }
}

impl Value {
    /// Tells whether the value is for nobody's eyes.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// Writes the value, undecorated; nothing is hidden here.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Secret(secret) => secret.expose().to_owned(),
            Self::Flag(flag) => flag.to_string(),
            Self::MaxFails(0) => "-1".to_owned(),
            Self::Count(count) | Self::MaxFails(count) => count.to_string(),
            Self::Duration(duration) => duration::format(*duration),
            Self::Strategy(strategy) => strategy.to_string(),
            Self::List(items) => items.join(","),
        }
    }
}

/// The words Go's `strconv.ParseBool` knows.
fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn max_fails(text: &str) -> Option<u32> {
    if text == "-1" {
        return Some(0);
    }
    text.parse().ok().filter(|count| (1..=MAX_FAILS_LIMIT).contains(count))
}

fn list(text: &str) -> Value {
    Value::List(text.split(',').map(str::to_owned).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_their_range_and_printed_to_parse_back() {
        for (kind, text, printed) in [
            (Kind::Flag, "T", "true"),
            (Kind::Flag, "0", "false"),
            (Kind::MaxFails, "-1", "-1"),
            (Kind::MaxFails, "1000", "1000"),
            (Kind::COUNT, "007", "7"),
            (Kind::Duration, "60", "60s"),
            (Kind::Duration, "90m", "1h30m"),
            (Kind::DurationOrZero, "0", "0s"),
            (Kind::Strategy, "fifo", "fifo"),
            (Kind::Networks, "10.0.0.0/8,::1,::/0", "10.0.0.0/8,::1,::/0"),
            (Kind::PortRanges, "1-65535,80", "1-65535,80"),
            (Kind::Text, "/etc/a,b", "/etc/a,b"),
        ] {
            let value = kind.parse(text).unwrap();
            assert_eq!(value.to_text(), printed, "{text}");
            assert_eq!(kind.parse(printed), Ok(value), "{text}");
        }
    }

    #[test]
    fn values_out_of_range_say_what_to_write() {
        for (kind, text, message) in [
            (Kind::Flag, "yes", "\"yes\" is not understood: write true or false"),
            (Kind::Flag, "", "the value is empty: write true or false"),
            (Kind::MaxFails, "0", "\"0\" is not understood: write a number from 1 to 1000, or -1 for never dead"),
            (Kind::MaxFails, "-2", "\"-2\" is not understood: write a number from 1 to 1000, or -1 for never dead"),
            (Kind::Count { min: 1, max: 9 }, "10", "\"10\" is not understood: write a number from 1 to 9"),
            (Kind::Strategy, "best", "\"best\" is not understood: write round, random or fifo"),
            (Kind::Duration, "0s", "0 is no time to wait: write 30s, 500ms or 1m30s, or leave it out for the default"),
            (Kind::Duration, "soon", "\"soon\" is no duration: write 30s, 500ms or 1m30s"),
        ] {
            assert_eq!(kind.parse(text), Err(message.to_owned()), "{text}");
        }
        for (kind, text) in [
            (Kind::Networks, "10.0.0.0/33"),
            (Kind::Networks, "10.0.0.0/+8"),
            (Kind::Networks, "lan"),
            (Kind::Networks, "10.0.0.0/8,"),
            (Kind::PortRanges, "0"),
            (Kind::PortRanges, "9-8"),
            (Kind::PortRanges, "+8"),
            (Kind::PortRanges, "1-70000"),
            (Kind::PortRanges, "1-2-3"),
        ] {
            assert!(kind.parse(text).is_err(), "{text}");
        }
    }
}
