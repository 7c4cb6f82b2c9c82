//! Whether two listeners can exist beside each other in one proxy. Asked by `render` and, once more, by the plan.

use std::net::IpAddr;

use crate::HostPort;

/// Tells whether one of the two can't listen while the other does, as far as their names show.
pub fn listeners_overlap(a: &HostPort, b: &HostPort) -> bool {
    a.port == b.port && (covers(&a.host, &b.host) || covers(&b.host, &a.host))
}

/// Tells whether a host can be listened on without asking a resolver: nothing (every address), an IP address, localhost.
pub fn is_local_address(host: &str) -> bool {
    host.is_empty() || ip(host).is_some() || host.contains('%')
}

/// Tells whether only this host can reach what listens there, as far as the name shows.
pub fn is_loopback_address(host: &str) -> bool {
    ip(host).is_some_and(|ip| ip.is_loopback())
}

/// Tells whether the first host's addresses are among them all of the second's, as far as the names show.
fn covers(wide: &str, narrow: &str) -> bool {
    if wide.is_empty() || wide.eq_ignore_ascii_case(narrow) {
        return true;
    }
    match (ip(wide), ip(narrow)) {
        (Some(wide), Some(narrow)) if wide.is_unspecified() => wide.is_ipv6() || narrow.is_ipv4(),
        (Some(wide), Some(narrow)) => wide == narrow,
        // A name may stand for any address of the host.
        (Some(wide), None) => wide.is_unspecified(),
        (None, _) => false,
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_can_be_listened_on_without_a_resolver() {
        for host in ["", "0.0.0.0", "::1", "localhost", "LocalHost", "fe80::1%eth0"] {
            assert!(is_local_address(host), "{host}");
        }
        for host in ["edge.example", "db"] {
            assert!(!is_local_address(host), "{host}");
        }
    }

    #[test]
    fn loopback_is_what_nobody_else_reaches() {
        let hosts = ["127.0.0.1", "127.9.9.9", "::1", "localhost", "::ffff:127.0.0.1", "", "0.0.0.0", "::", "10.0.0.1"];
        assert_eq!(hosts.map(is_loopback_address), [true, true, true, true, true, false, false, false, false]);
    }

    #[test]
    fn listeners_overlap_where_a_client_could_mean_either() {
        for (a, b, want) in [
            ("", "", true),
            ("", "127.0.0.1", true),
            ("0.0.0.0", "10.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("::", "10.0.0.1", true),
            ("::", "0.0.0.0", true),
            ("::", "fe80::1%eth0", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "localhost", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("Edge.example", "edge.example", true),
            ("edge.example", "127.0.0.1", false),
            ("edge.example", "0.0.0.0", true),
            ("::1", "0:0:0:0:0:0:0:1", true),
        ] {
            let (a, b) = (HostPort::new(a, 80), HostPort::new(b, 80));
            assert_eq!((listeners_overlap(&a, &b), listeners_overlap(&b, &a)), (want, want), "{a} {b}");
            assert!(!listeners_overlap(&a, &HostPort::new(b.host, 81)));
        }
    }
}
