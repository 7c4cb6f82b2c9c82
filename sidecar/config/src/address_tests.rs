//! Tables and properties of `address`.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{HostPort, check_host};

#[test]
fn addresses_are_read_and_printed_alike() {
    for (text, host, port) in [
        ("192.168.1.1:22", "192.168.1.1", 22),
        ("db1.internal:5432", "db1.internal", 5432),
        ("DB_1.internal.:1", "DB_1.internal.", 1),
        (":65535", "", 65535),
        ("[::1]:22", "::1", 22),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
        ("[::ffff:10.0.0.1]:22", "::ffff:10.0.0.1", 22),
    ] {
        let address: HostPort = text.parse().unwrap();
        assert_eq!(address, HostPort::new(host, port), "{text}");
        assert_eq!(address.to_string(), text);
    }
}

#[test]
fn what_is_no_address_is_refused_with_what_to_write() {
    for (text, message) in [
        ("", "an address is empty: write host:port"),
        ("db", "\"db\" has no port: write db:PORT"),
        ("[::1]", "\"[::1]\" has no port: write [::1]:PORT"),
        ("a b", "\"a b\" has no port: write host:PORT"),
        ("::1:22", "\"::1:22\" is an IPv6 address without brackets: write [::1]:22"),
        ("[::1:22", "\"[::1:22\" has unbalanced or misplaced brackets: write [::1]:22 for an IPv6 address"),
        ("[10.0.0.1]:22", "\"[10.0.0.1]:22\" has unbalanced or misplaced brackets: write [::1]:22 for an IPv6 address"),
        ("[]:22", "\"[]:22\" has unbalanced or misplaced brackets: write [::1]:22 for an IPv6 address"),
        ("db:0", "port 0 is out of range: write 1 to 65535"),
        ("db:70000", "port 70000 is out of range: write 1 to 65535"),
        ("db:-1", "port -1 is out of range: write 1 to 65535"),
        ("db:", "port \"\" is no number: write 1 to 65535"),
        ("db:ssh", "port \"ssh\" is no number: write 1 to 65535"),
        ("db:+22", "port \"+22\" is no number: write 1 to 65535"),
        ("10.0.0.300:22", "host \"10.0.0.300\" is no IPv4 address: write four numbers from 0 to 255, as in 10.0.0.7"),
        ("a/b:22", "host \"a/b\" is no DNS name: write letters, digits, '-' and '.' only, or an IP address"),
        (
            "a..b:22",
            "host \"a..b\" is no DNS name: each part has 1 to 63 characters and neither begins nor ends with '-'",
        ),
        ("[::1%]:22", "host \"::1%\" has a zone that is no interface name: write it as in [fe80::1%eth0]:22"),
        ("[1::2::3]:22", "host \"1::2::3\" is no IPv6 address: write it as in [2001:db8::7]:22"),
    ] {
        assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), message, "{text:?}");
    }
}

#[test]
fn port_zero_and_a_missing_port_pass_only_where_asked_for() {
    assert_eq!(HostPort::parse_allowing_port_zero(":0"), Ok(HostPort::new("", 0)));
    assert!(HostPort::parse_allowing_port_zero(":70000").is_err());
    assert_eq!(HostPort::parse_with_fallback_port("[::1]", 7), Ok(HostPort::new("::1", 7)));
    assert_eq!(HostPort::parse_with_fallback_port("a:9", 7), Ok(HostPort::new("a", 9)));
    assert!(HostPort::parse_with_fallback_port("a:0", 7).is_err());
    assert!(HostPort::parse_with_fallback_port("", 7).is_err());
}

#[test]
fn a_host_name_has_the_lengths_of_dns() {
    let label = "x".repeat(63);
    let name = [label.as_str(); 4].join(".");
    assert!(check_host(&label).is_ok());
    assert!(check_host(&format!("{label}x")).is_err());
    assert!(check_host(&name[..253]).is_ok());
    assert!(check_host(&name).is_err());
    assert!(check_host("a\nb").is_err());
    assert!(check_host("").is_ok());
}

proptest! {
    #[test]
    fn every_address_that_parses_prints_back_equal(text in "\\[?[0-9a-f:.%]{0,20}\\]?:[0-9]{0,6}|\\PC{0,40}") {
        if let Ok(address) = HostPort::parse_allowing_port_zero(&text) {
            prop_assert_eq!(HostPort::parse_allowing_port_zero(&address.to_string()), Ok(address));
        }
    }
}
