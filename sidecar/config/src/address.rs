//! `host:port` as URLs, manifests and configurations write it, to a host and a port and back.
//! Invariant: what [`HostPort`]'s parser accepts is an IP address or a DNS name (or nothing: every address), and prints back equal.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::excerpt::excerpt;

const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;
const LONGEST_ZONE: usize = 15;

/// A host and its port, as text `host:port`, `[v6]:port` or `:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// A DNS name or an IP address without brackets, with its zone if it has one; empty for every address (or, dialled, localhost).
    #[serde(default)]
    pub host: String,
    /// 1 to 65535; 0 only where the far end chooses.
    pub port: u16,
}

/// Why a text is no address; each message names the value and says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address is empty: write host:port")]
    Empty,
    #[error("\"{address}\" has no port: write {example}")]
    MissingPort { address: String, example: String },
    #[error("\"{0}\" is an IPv6 address without brackets: write [::1]:22")]
    Unbracketed(String),
    #[error("\"{0}\" has unbalanced or misplaced brackets: write [::1]:22 for an IPv6 address")]
    Brackets(String),
    #[error("port {0} is out of range: write 1 to 65535")]
    PortRange(String),
    #[error("port \"{0}\" is no number: write 1 to 65535")]
    PortNotANumber(String),
    #[error("host \"{host}\" {reason}")]
    Host { host: String, reason: &'static str },
}

impl HostPort {
    /// Puts a host (without brackets) and a port together, unchecked.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host:port` where port 0 is legal: a listening address at the far end, which then chooses.
    pub fn parse_allowing_port_zero(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (host, port) = split(text)?;
        let Some(port) = port else { return Err(missing_port(text, host)) };
        check_bracketed(text, host)?;
        Ok(Self { host: host.to_owned(), port: parse_port(port)? })
    }

    /// Reads `host:port`, or a host alone, which then has the port `fallback`.
    pub fn parse_with_fallback_port(text: &str, fallback: u16) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        match split(text)? {
            (_, Some(_)) => text.parse(),
            (host, None) => {
                check_bracketed(text, host)?;
                Ok(Self { host: host.to_owned(), port: fallback })
            }
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    /// Reads `host:port` with a port from 1 to 65535.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = Self::parse_allowing_port_zero(text)?;
        if address.port == 0 {
            return Err(AddressError::PortRange("0".to_owned()));
        }
        Ok(address)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Checks a host without brackets: an IP address, a DNS name of at most 253 characters, or empty.
pub fn check_host(host: &str) -> Result<(), AddressError> {
    match host_fault(host) {
        Some(reason) => Err(AddressError::Host { host: excerpt(host), reason }),
        None => Ok(()),
    }
}

/// Splits at the colon before the port and takes brackets off; the port is `None` when there is no colon.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(inner) = text.strip_prefix('[') {
        let Some((host, behind)) = inner.split_once(']') else { return Err(AddressError::Brackets(excerpt(text))) };
        return match behind.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if behind.is_empty() => Ok((host, None)),
            None => Err(AddressError::Brackets(excerpt(text))),
        };
    }
    if text.contains(['[', ']']) {
        return Err(AddressError::Brackets(excerpt(text)));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Err(AddressError::Unbracketed(excerpt(text))),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Only an IPv6 address stands in brackets; without them anything that [`check_host`] likes.
fn check_bracketed(text: &str, host: &str) -> Result<(), AddressError> {
    if text.starts_with('[') && !host.contains(':') {
        return Err(AddressError::Brackets(excerpt(text)));
    }
    check_host(host)
}

fn missing_port(text: &str, host: &str) -> AddressError {
    let example = if check_bracketed(text, host).is_ok() { excerpt(text) } else { "host".to_owned() };
    AddressError::MissingPort { address: excerpt(text), example: format!("{example}:PORT") }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AddressError::PortNotANumber(excerpt(text)));
    }
    text.parse().map_err(|_| AddressError::PortRange(excerpt(text)))
}

fn host_fault(host: &str) -> Option<&'static str> {
    if host.is_empty() || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    if host.contains(':') {
        return ipv6_fault(host);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > LONGEST_NAME {
        return Some("is too long: a DNS name has at most 253 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Some("is no DNS name: write letters, digits, '-' and '.' only, or an IP address");
    }
    if name.split('.').any(|label| !is_label(label)) {
        return Some("is no DNS name: each part has 1 to 63 characters and neither begins nor ends with '-'");
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Some("is no IPv4 address: write four numbers from 0 to 255, as in 10.0.0.7");
    }
    None
}

fn is_label(label: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
}

fn ipv6_fault(host: &str) -> Option<&'static str> {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (host, None),
    };
    if address.parse::<Ipv6Addr>().is_err() {
        return Some("is no IPv6 address: write it as in [2001:db8::7]:22");
    }
    let zone = zone?;
    let is_interface = (1..=LONGEST_ZONE).contains(&zone.len())
        && zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_interface { None } else { Some("has a zone that is no interface name: write it as in [fe80::1%eth0]:22") }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
