//! The query of a node URL: from `name=value&…` to typed options, for the parser.
//! Invariant: each option stands at most once and is one its role may have; every problem of every option is found in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Role;
use super::credentials::{Credentials, Secret};
use super::error::{Part, UrlError};
use super::option::{OPTIONS, OptionRow, UrlOption, Use};
use super::percent::{decode_query, encode};
use super::value::Value;
use crate::config::HealthCheck;
use crate::excerpt::excerpt;
use crate::nearest::nearest;
use crate::scheme::Scheme;
use crate::strategy::Strategy;

/// Options one query may have; more than there are names.
const OPTIONS_LIMIT: usize = 64;

/// What an option's value may hold without escapes.
const PLAIN_IN_VALUES: &str = ",:/[]";

/// The options of a node, those of `ip=` and `auth=` apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<UrlOption, Value>,
}

/// A query as read.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) options: Options,
    /// The addresses of `ip=`, undivided from their ports.
    pub(super) listed: Vec<String>,
    /// The credentials of `auth=`.
    pub(super) credentials: Option<Credentials>,
    seen: BTreeSet<UrlOption>,
}

impl Query {
    /// Reads a raw query; what is wrong with it goes to `problems`.
    pub(super) fn parse(text: &str, role: Role, problems: &mut Vec<UrlError>) -> Self {
        let mut query = Self::default();
        let count = text.split('&').filter(|pair| !pair.is_empty()).count();
        if count > OPTIONS_LIMIT {
            problems.push(UrlError::TooMany { what: "options", count, limit: OPTIONS_LIMIT });
            return query;
        }
        for (index, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if let Err(problem) = query.read(pair, Part::Query(index + 1), role) {
                problems.push(problem);
            }
        }
        query
    }

    /// Finds the options that mean nothing with this scheme, or nothing alone.
    pub(super) fn check(&self, scheme: Scheme, role: Role, has_targets: bool, problems: &mut Vec<UrlError>) {
        let rows = self.seen.iter().filter_map(|option| option.row());
        for row in rows.filter(|row| !row.scope.covers(scheme, role, has_targets)) {
            problems.push(UrlError::WrongScheme { name: row.name, scheme });
        }
    }

    /// Tells whether the option was written, rightly or wrongly.
    pub(super) fn has(&self, option: UrlOption) -> bool {
        self.seen.contains(&option)
    }

    fn read(&mut self, pair: &str, part: Part, role: Role) -> Result<(), UrlError> {
        if pair.contains(';') {
            return Err(UrlError::Semicolon);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode_query(name).map_err(|source| UrlError::Escape { part, source })?;
        let row = OPTIONS.iter().find(|row| row.name == name).ok_or_else(|| unknown(&name, role))?;
        accepted(row, role)?;
        if !self.seen.insert(row.option) {
            return Err(UrlError::RepeatedOption(row.name));
        }
        let value = decode_query(value).map_err(|source| UrlError::Escape { part: Part::Option(row.name), source })?;
        let value = row.kind.parse(&value).map_err(|problem| UrlError::Value { name: row.name, problem })?;
        self.keep(row.option, value)
    }

    fn keep(&mut self, option: UrlOption, value: Value) -> Result<(), UrlError> {
        match (option, value) {
            (UrlOption::Ip, Value::List(addresses)) => self.listed = addresses,
            (UrlOption::Auth, Value::Secret(auth)) => self.credentials = Some(Credentials::of_auth(auth.expose())?),
            (option, value) => {
                self.options.values.insert(option, value);
            }
        }
        Ok(())
    }
}

impl Options {
    /// Tells whether the option was written.
    pub fn contains(&self, option: UrlOption) -> bool {
        self.values.contains_key(&option)
    }

    /// Returns the options that were written, but `ip` and `auth`, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = UrlOption> {
        self.values.keys().copied()
    }

    /// Returns how a node is chosen.
    pub fn strategy(&self) -> Option<Strategy> {
        match self.values.get(&UrlOption::Strategy) {
            Some(Value::Strategy(strategy)) => Some(*strategy),
            _ => None,
        }
    }

    /// Returns after how many failures a node is dead; 0 for never (written -1).
    pub fn max_fails(&self) -> Option<u32> {
        self.count(UrlOption::MaxFails)
    }

    /// Returns `health_check` and `health_timeout`.
    pub fn health_check(&self) -> Option<HealthCheck> {
        let interval = self.duration(UrlOption::HealthCheck)?;
        Some(HealthCheck { interval, timeout: self.duration(UrlOption::HealthTimeout) })
    }

    /// Returns an option that is a time.
    pub fn duration(&self, option: UrlOption) -> Option<Duration> {
        match self.values.get(&option) {
            Some(Value::Duration(duration)) => Some(*duration),
            _ => None,
        }
    }

    /// Returns an option that is a number.
    pub fn count(&self, option: UrlOption) -> Option<u32> {
        match self.values.get(&option) {
            Some(Value::Count(count) | Value::MaxFails(count)) => Some(*count),
            _ => None,
        }
    }

    /// Returns an option that is true or false.
    pub fn flag(&self, option: UrlOption) -> Option<bool> {
        match self.values.get(&option) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// Returns an option that is a text, such as a file's name.
    pub fn text(&self, option: UrlOption) -> Option<&str> {
        match self.values.get(&option) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns an option that is a list: networks or ranges of ports.
    pub fn list(&self, option: UrlOption) -> &[String] {
        match self.values.get(&option) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// Returns an option nobody else may read, such as a key.
    pub fn secret(&self, option: UrlOption) -> Option<&Secret> {
        match self.values.get(&option) {
            Some(Value::Secret(secret)) => Some(secret),
            _ => None,
        }
    }

    pub(super) fn drop_secrets(&mut self) {
        self.values.retain(|_, value| !matches!(value, Value::Secret(_)));
    }

    /// Writes `name=value` of every option, with `***` for secrets when `redacted`.
    pub(super) fn to_pairs(&self, redacted: bool) -> Vec<String> {
        let pair = |(option, value): (&UrlOption, &Value)| {
            let text = if redacted && value.is_secret() { "***".to_owned() } else { encode_value(&value.to_text()) };
            format!("{}={text}", option.name())
        };
        self.values.iter().map(pair).collect()
    }
}

/// Escapes an option's value.
pub(super) fn encode_value(text: &str) -> String {
    encode(text, PLAIN_IN_VALUES)
}

fn accepted(row: &OptionRow, role: Role) -> Result<(), UrlError> {
    let other = match role {
        Role::Listen => "hops (-F)",
        Role::Hop => "listeners (-L)",
    };
    match row.usage(role) {
        Use::Field(_) | Use::NoField | Use::NoEffect(_) => Ok(()),
        Use::Refused(advice) => Err(UrlError::RefusedOption { name: row.name, advice }),
        Use::Elsewhere => Err(UrlError::WrongRole { name: row.name, role: other }),
    }
}

fn unknown(name: &str, role: Role) -> UrlError {
    let near = nearest(name, OPTIONS.iter().filter(|row| accepted(row, role).is_ok()).map(|row| row.name));
    let advice = match near.as_slice() {
        [] => "leave it out, or see the list of options".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    UrlError::UnknownOption { name: excerpt(name), advice }
}
