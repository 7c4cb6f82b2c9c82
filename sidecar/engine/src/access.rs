//! What clients of a server may reach, and where they may listen: pure rules, asked with addresses that are dialled or
//! bound exactly so, never with names. Invariant: an address that means another one (an IPv4 address written as IPv6,
//! the unspecified address) is judged as what it means.

use std::net::IpAddr;

use fairlead_config::{Network, PortRange};

/// The rules of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) targets: Targets,
    pub(crate) binds: Vec<PortRange>,
}

/// Which addresses may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Targets {
    /// Those and no others.
    Listed(Vec<Network>),
    /// All but link-local ones and this host's own loopback.
    Elsewhere,
    /// All but link-local ones: who can ask is on this host anyway.
    AlsoHere,
}

impl Access {
    /// Whether clients may be connected to the address.
    pub(crate) fn may_reach(&self, ip: IpAddr) -> bool {
        let ip = meant(ip);
        match &self.targets {
            Targets::Listed(networks) => networks.iter().any(|network| network.contains(ip)),
            Targets::Elsewhere => !is_link_local(ip) && !ip.is_loopback() && !is_multicast(ip),
            Targets::AlsoHere => !is_link_local(ip) && !is_multicast(ip),
        }
    }

    /// Whether clients may listen on the port.
    pub(crate) fn may_bind(&self, port: u16) -> bool {
        self.binds.iter().any(|range| range.contains(port))
    }

    /// Whether what a name stands for matters, so that nobody else may resolve it.
    pub(crate) fn needs_addresses(&self) -> bool {
        matches!(self.targets, Targets::Listed(_))
    }
}

/// What is reached by the address: the unspecified one is this host.
fn meant(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn is_multicast(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_loopback_addresses_are_reached_only_where_that_harms_nobody() {
        let access = |targets| Access { targets, binds: Vec::new() };
        let listed = Targets::Listed(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()]);
        let rules = [access(Targets::Elsewhere), access(Targets::AlsoHere), access(listed)];
        for (ip, want) in [
            ("10.1.2.3", [true, true, true]),
            ("::ffff:10.1.2.3", [true, true, true]),
            ("192.0.2.1", [true, true, false]),
            ("2001:db8::1", [true, true, false]),
            ("127.0.0.1", [false, true, true]),
            ("::ffff:127.0.0.1", [false, true, true]),
            ("0.0.0.0", [false, true, true]),
            ("0.1.2.3", [false, true, true]),
            ("::", [false, true, true]),
            ("::1", [false, true, false]),
            ("169.254.169.254", [false, false, false]),
            ("::ffff:169.254.169.254", [false, false, false]),
            ("fe80::1", [false, false, false]),
            ("224.0.0.1", [false, false, false]),
            ("255.255.255.255", [false, false, false]),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(rules.each_ref().map(|rule| rule.may_reach(ip)), want, "{ip}");
        }
    }

    #[test]
    fn ports_are_bound_from_the_listed_ranges_only() {
        let access =
            Access { targets: Targets::Elsewhere, binds: vec!["80".parse().unwrap(), "1024-2000".parse().unwrap()] };
        assert_eq!(
            [0, 80, 81, 1024, 2000, 2001].map(|port| access.may_bind(port)),
            [false, true, false, true, true, false]
        );
    }
}
