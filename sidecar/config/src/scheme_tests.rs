//! Tables of `scheme`: every word of GOST v2, what is refused, and what callers ask of a scheme.
#![allow(clippy::unwrap_used)]

use super::{Protocol, Scheme, Support, Transport, words};

fn scheme(text: &str) -> Scheme {
    text.parse().unwrap()
}

#[test]
fn words_mean_what_they_mean_to_gost() {
    for (text, protocol, transport) in [
        ("tcp", Protocol::Tcp, Transport::Tcp),
        ("tls", Protocol::Auto, Transport::Tls),
        ("https", Protocol::Http, Transport::Tls),
        ("http2", Protocol::Http2, Transport::Http2),
        ("socks", Protocol::Socks5, Transport::Tcp),
        ("ss2", Protocol::Ss, Transport::Tcp),
        ("ssu", Protocol::Ssu, Transport::Udp),
        ("rtcp", Protocol::Rtcp, Transport::Rtcp),
        ("auto", Protocol::Auto, Transport::Tcp),
        ("auto+wss", Protocol::Auto, Transport::Wss),
        ("forward+ssh", Protocol::Forward, Transport::Ssh),
        ("socks5+https", Protocol::Socks5, Transport::Tls),
        ("relay+mtls", Protocol::Relay, Transport::Mtls),
        ("redu", Protocol::Redirectu, Transport::Redirectu),
    ] {
        assert_eq!((scheme(text).protocol(), scheme(text).transport()), (protocol, transport), "{text}");
    }
}

#[test]
fn every_scheme_prints_as_it_was_written() {
    let pairs = words::protocols().flat_map(|first| words::transports().map(move |second| format!("{first}+{second}")));
    for text in words::all().map(str::to_owned).chain(pairs) {
        assert_eq!(scheme(&text).to_string(), text);
        assert_eq!(scheme(&text.to_uppercase()), scheme(&text));
    }
}

#[test]
fn what_gost_would_take_for_auto_or_tcp_is_refused() {
    for (text, message) in [
        ("", "a scheme is empty: write one before \"://\", as in tcp://"),
        ("tcpp", "scheme \"tcpp\" is unknown: did you mean tcp?"),
        ("a+b+c", "scheme \"a+b+c\" has more than two parts: write protocol+transport, as in forward+tls"),
        ("forwad+tls", "scheme \"forwad+tls\": \"forwad\" is unknown as a protocol: did you mean forward?"),
        ("forward+tlss", "scheme \"forward+tlss\": \"tlss\" is unknown as a transport: did you mean tls?"),
        (
            "gopher",
            "scheme \"gopher\" is unknown: write tcp, udp, rtcp, rudp, tls, socks5, http or forward+ssh, for example",
        ),
    ] {
        assert_eq!(text.parse::<Scheme>().unwrap_err().to_string(), message, "{text}");
    }
    for text in ["tls+tcp", "forward+", "+tls", "+", "forward+socks5", "tcp "] {
        assert!(text.parse::<Scheme>().is_err(), "{text}");
    }
}

#[test]
fn what_is_not_built_yet_or_out_of_scope_is_named() {
    for text in [
        "tcp",
        "tcp+tcp",
        "udp",
        "udp+udp",
        "socks5",
        "socks",
        "rtcp",
        "rudp",
        "socks5+tcp",
        "socks4",
        "socks4a",
        "http",
        "auto",
        "sni",
        "relay",
        "ss",
        "ss2",
        "ssu",
        "forward+ssh",
        "ssh",
        "socks5+ssh",
        "ss+ssh",
    ] {
        assert_eq!(scheme(text).support(), Support::Built, "{text}");
        assert_eq!(scheme(text).check_support(), Ok(()));
    }
    for text in ["tls", "kcp", "quic", "socks5+tls", "http+tls", "ssu+tcp", "tcp+tls", "ssu+ssh", "tcp+ssh"] {
        assert_eq!(scheme(text).support(), Support::NotBuiltYet, "{text}");
        let message = format!(
            "scheme \"{text}\" is not built yet: this version listens as tcp, udp, rtcp, rudp, socks5, socks4, http, auto, sni, relay, ss, ssu or forward+ssh, \
             and as a server also over ssh, as in socks5+ssh"
        );
        assert_eq!(scheme(text).check_support().unwrap_err().to_string(), message);
    }
    for text in [
        "tun",
        "tap",
        "red",
        "redirect",
        "redu",
        "ohttp",
        "otls",
        "obfs4",
        "ftcp",
        "dns",
        "dot",
        "doh",
        "vsock",
        "direct",
        "http+obfs4",
    ] {
        assert_eq!(scheme(text).support(), Support::OutOfScope, "{text}");
        let message = format!("scheme \"{text}\" is known to GOST and out of Fairlead's scope");
        assert_eq!(scheme(text).check_support().unwrap_err().to_string(), message);
    }
}

#[test]
fn ssh_forwards_ports_or_carries_what_proxies_speak() {
    for (text, uses_ssh, is_over_ssh, as_hop) in [
        ("forward+ssh", true, false, Support::Built),
        ("socks5+ssh", true, true, Support::Built),
        ("http+ssh", true, true, Support::Built),
        ("relay+ssh", true, true, Support::Built),
        ("ssh", true, true, Support::Built),
        ("sni+ssh", true, true, Support::NotBuiltYet),
        ("tcp+ssh", true, true, Support::NotBuiltYet),
        ("socks5", false, false, Support::Built),
    ] {
        let scheme = scheme(text);
        assert_eq!(
            (scheme.uses_ssh(), scheme.is_over_ssh(), scheme.hop_support()),
            (uses_ssh, is_over_ssh, as_hop),
            "{text}"
        );
    }
}

#[test]
fn a_scheme_says_what_its_listener_is() {
    for (text, forward, server, tunnel, takes, needs, zero, datagram) in [
        ("tcp", true, false, false, true, true, false, false),
        ("udp", true, false, false, true, true, false, true),
        ("rtcp", true, false, false, true, true, true, false),
        ("rudp", true, false, false, true, true, true, true),
        ("tls", false, false, true, true, false, false, false),
        ("auto", false, false, true, true, false, false, false),
        ("relay", false, true, false, true, false, false, false),
        ("socks5", false, true, false, false, false, false, false),
        ("forward+ssh", false, true, false, false, false, false, false),
        ("ssh", false, true, false, false, false, false, false),
        ("relay+ssh", false, true, false, true, false, false, false),
        ("http+tls", false, true, false, false, false, false, false),
        ("ssu", false, true, false, false, false, false, true),
    ] {
        let scheme = scheme(text);
        assert_eq!(
            (scheme.is_forward(), scheme.is_server(true), scheme.is_tunnel(true)),
            (forward, server, tunnel),
            "{text}"
        );
        assert_eq!((scheme.takes_targets(), scheme.needs_targets(None)), (takes, needs), "{text}");
        assert_eq!(
            (scheme.may_bind_zero(), scheme.is_remote(), scheme.is_datagram()),
            (zero, zero, datagram),
            "{text}"
        );
    }
    assert!(scheme("tls").is_server(false), "a transport without targets is a proxy server");
}

#[test]
fn only_tcp_goes_without_targets_and_only_behind_a_hop_that_knows_them() {
    for (listener, hop, needs) in [
        ("tcp", "forward+tls", false),
        ("tcp", "forward", false),
        ("tcp", "forward+ssh", true),
        ("tcp", "relay", false),
        ("udp", "relay", true),
        ("tcp", "socks5", true),
        ("udp", "forward+tls", true),
        ("socks5", "forward+tls", false),
    ] {
        assert_eq!(scheme(listener).needs_targets(Some(scheme(hop))), needs, "{listener} -F {hop}");
    }
}
