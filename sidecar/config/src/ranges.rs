//! Networks in CIDR notation and ranges of ports, as `allowTargets` and `allowBind` list them.
//! Invariant: a value prints so that it parses back equal.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::excerpt::excerpt;

/// Addresses that share their first bits; one address alone is a network, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("\"{0}\" is no network: write one such as 10.0.0.0/8 or fd00::/8")]
    Network(String),
    #[error("\"{0}\" is no range of ports: write one such as 8080 or 1024-65535")]
    Ports(String),
}

impl Network {
    /// Tells whether the address is one of the network's; an IPv4 address written as IPv6 is taken for what it means.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (mine, its) = (wide(self.address), wide(ip));
        let is_of_family = self.address.to_canonical().is_ipv4() == ip.to_canonical().is_ipv4();
        let free = 128 - u32::from(self.wide_bits());
        is_of_family && (free == 128 || mine >> free == its >> free)
    }

    /// The bits shared, of an IPv6 address.
    fn wide_bits(&self) -> u8 {
        if self.address.is_ipv4() { self.bits + 96 } else { self.bits }
    }
}

/// Every address as one of IPv6.
fn wide(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => Ipv6Addr::to_bits(ip),
    }
}

impl PortRange {
    /// From the first port to the last.
    pub const fn new(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// The lowest port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// Tells whether the port is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for Network {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError::Network(excerpt(text));
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) => number(bits).and_then(|bits| u8::try_from(bits).ok()).ok_or_else(wrong)?,
        };
        if bits > longest { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl FromStr for PortRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if 0 < first && first <= last => Ok(Self { first, last }),
            _ => Err(RangeError::Ports(excerpt(text))),
        }
    }
}

fn number(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "{first}"),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl TryFrom<String> for Network {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl TryFrom<String> for PortRange {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_share_its_bits() {
        for (network, ip, want) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("0.0.0.0/0", "255.1.1.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), want, "{network} {ip}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
        for text in ["", "a", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "::/129", "10.0.0/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_of_ports_has_both_its_ends() {
        let range: PortRange = "1024-65535".parse().unwrap();
        let holds = [1023, 1024, 65535].map(|port| range.contains(port));
        assert_eq!((holds, range.to_string().as_str()), ([false, true, true], "1024-65535"));
        assert_eq!("80".parse::<PortRange>().unwrap().to_string(), "80");
        for text in ["", "0", "9-8", "+8", "1-70000", "1-2-3", "1-"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }
}
