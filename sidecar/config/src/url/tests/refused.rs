//! What is refused, and with which words.

use crate::url::{NodeUrl, Role};

fn problems(text: &str, role: Role) -> Vec<String> {
    let errors = NodeUrl::parse(text, role).expect_err(text);
    errors.iter().map(ToString::to_string).collect()
}

/// Each of these texts is refused for one reason alone, in these words.
fn refuse(role: Role, rows: &[(&str, &str)]) {
    for (text, message) in rows {
        assert_eq!(problems(text, role), [*message], "{text}");
    }
}

#[test]
fn a_scheme_that_does_not_fit_is_refused_with_what_fits() {
    refuse(
        Role::Listen,
        &[
            ("", "a node URL is empty: write one as in tcp://:2222/192.168.1.1:22"),
            ("://:1/a:2", "a scheme is empty: write one before \"://\", as in tcp://"),
            ("tpc://:1/a:2", "scheme \"tpc\" is unknown: did you mean tcp?"),
            ("tcp://u:p@:1/a:2", "scheme \"tcp\" asks nobody for a password when it listens: leave user:pass@ out"),
            ("udp://:1", "scheme \"udp\" needs a target: write it behind the '/', as in udp://:5353/10.0.0.1:53"),
            (
                "socks5://:1/a:2",
                "scheme \"socks5\" takes no targets, its clients name them: leave out what stands behind the '/' and in ip=",
            ),
            (
                "forward+tls://:1/a:2",
                "scheme \"forward+tls\" is for hops (-F): to listen, write the transport alone, as in tls://:443/10.0.0.1:80",
            ),
        ],
    );
}

#[test]
fn an_address_that_cannot_be_is_refused_with_what_to_write() {
    refuse(
        Role::Listen,
        &[
            ("tcp://:0/a:2", "listening address: port 0 is out of range: write 1 to 65535"),
            ("tcp://:70000/a:2", "listening address: port 70000 is out of range: write 1 to 65535"),
            ("tcp://a/a:2", "listening address: \"a\" has no port: write a:PORT"),
            ("tcp:///a:2", "listening address: an address is empty: write host:port"),
            ("tcp://::1:22/a:2", "listening address: \"::1:22\" is an IPv6 address without brackets: write [::1]:22"),
            ("tcp://:1/a", "target 1: \"a\" has no port: write a:PORT"),
            ("tcp://:1/a:2,b", "target 2: \"b\" has no port: write b:PORT"),
            ("tcp://:1/a:2,,b:3", "target 2: an address is empty: write host:port"),
            (
                "tcp://:1/a%20b:2",
                "target 1: host \"a%20b\" is no DNS name: write letters, digits, '-' and '.' only, or an IP address",
            ),
            ("tcp://:1?ip=a", "option \"ip\", address 1: \"a\" has no port: write a:PORT"),
            ("tcp://:1?ip=", "option \"ip\": the value is empty: write addresses, as in ip=10.0.0.1:22,10.0.0.2:22"),
            (
                "tcp://:1?ip=/etc/nodes",
                "option \"ip\" names a file: list the addresses instead, as in ip=10.0.0.1:22,10.0.0.2:22",
            ),
        ],
    );
}

#[test]
fn a_value_that_is_none_is_refused_with_what_to_write() {
    refuse(
        Role::Listen,
        &[
            (
                "tcp://:1/a:2?strategy=best",
                "option \"strategy\": \"best\" is not understood: write round, random or fifo",
            ),
            (
                "tcp://:1/a:2?max_fails=0",
                "option \"max_fails\": \"0\" is not understood: write a number from 1 to 1000, or -1 for never dead",
            ),
            (
                "tcp://:1/a:2?fail_timeout=soon",
                "option \"fail_timeout\": \"soon\" is no duration: write 30s, 500ms or 1m30s",
            ),
            (
                "tcp://:1/a:2?fail_timeout=-3",
                "option \"fail_timeout\": duration \"-3\" is negative: write 30s, 500ms or 1m30s",
            ),
        ],
    );
}

#[test]
fn an_option_out_of_place_is_refused_with_what_to_do() {
    refuse(
        Role::Listen,
        &[
            ("tcp://:1/a:2?failtimeout=3", "option \"failtimeout\" is unknown: did you mean fail_timeout?"),
            ("tcp://:1/a:2?maxFails=3", "option \"maxFails\" is unknown: did you mean max_fails?"),
            ("tcp://:1/a:2?x%00y=3", "option \"xy\" is unknown: leave it out, or see the list of options"),
            ("tcp://:1/a:2?strategy=fifo&strategy=fifo", "option \"strategy\" is given twice: write it once"),
            ("tcp://:1/a:2?mbind=true", "option \"mbind\" is for hops (-F): leave it out here"),
            ("tcp://:1/a:2?anonymous=true", "option \"anonymous\" means nothing with scheme \"tcp\": leave it out"),
            ("socks5://:1?strategy=fifo", "option \"strategy\" means nothing with scheme \"socks5\": leave it out"),
            (
                "tcp://:1/a:2?whitelist=*",
                "option \"whitelist\" is not supported: GOST applies it to no forward; leave it out, or write allow_targets and allow_bind on a server",
            ),
            (
                "tcp://:1/a:2?hosts=f",
                "option \"hosts\" is not supported: GOST applies it to no forward; write the addresses themselves as targets",
            ),
            (
                "tcp://:1/a:2?dns=1.1.1.1",
                "option \"dns\" is not supported: names are resolved by the system, so set its resolver and leave this out",
            ),
            ("tcp://:1/a:2?=3", "option \"\" is unknown: leave it out, or see the list of options"),
            ("tcp://:1/a:2?health_timeout=3s", "option \"health_timeout\" needs option \"health_check\": write both"),
            ("tls://:1/a:2?cert=a.crt", "option \"cert\" needs option \"key\": write both"),
            ("socks5://u:p@:1?auth=dTpw", "option \"auth\" and user:pass@ say the same: leave one of them out"),
        ],
    );
}

#[test]
fn what_is_spelt_wrong_is_refused_with_how_to_spell_it() {
    refuse(
        Role::Listen,
        &[
            ("tcp://:1/a:2#x", "a '#' means nothing in a node URL: write %23 for one inside a password or value"),
            (
                "tcp://:1/a:2?strategy=fifo;ttl=3",
                "a ';' means nothing in a query: write & between options, and %3B for one inside a value",
            ),
            (
                "tcp://:1/a:2?strategy=%zz",
                "option \"strategy\": a '%' without two hexadecimal digits behind it: write %25 for a percent sign",
            ),
            (
                "socks5://u:%zz@:1",
                "user and password: a '%' without two hexadecimal digits behind it: write %25 for a percent sign",
            ),
            (
                "socks5://:1?auth=!",
                "option \"auth\": the value is no base64 of user:pass: write user:pass@ before the host instead",
            ),
        ],
    );
}

#[test]
fn a_bad_hop_is_refused_with_what_to_write() {
    refuse(
        Role::Hop,
        &[
            ("socks5://h:0", "hop address: port 0 is out of range: write 1 to 65535"),
            ("socks5://h", "hop address: \"h\" has no port: write h:PORT"),
            (
                "tcp://h:1",
                "scheme \"tcp\" is for listeners (-L): as a hop write socks5, http or forward+tls, for example",
            ),
            ("socks5://h:1/a:2", "scheme \"socks5\" takes no targets as a hop: leave out what stands behind the '/'"),
            (
                "socks5://h:1?ip=nodes/list.txt",
                "option \"ip\" names a file: list the addresses instead, as in ip=10.0.0.1:22,10.0.0.2:22",
            ),
            (
                "socks5://h:1?peer=f",
                "option \"peer\" is not supported: list the nodes instead, as in ip=10.0.0.1:1080,10.0.0.2:1080",
            ),
            ("socks5://h:1?hedge_delay=1s", "option \"hedge_delay\" is for listeners (-L): leave it out here"),
            ("http://h:1?mbind=true", "option \"mbind\" means nothing with scheme \"http\": leave it out"),
            ("socks5://h:1?mbind", "option \"mbind\": the value is empty: write true or false"),
            ("socks5://h:1?mbind=yes", "option \"mbind\": \"yes\" is not understood: write true or false"),
        ],
    );
}

#[test]
fn all_problems_are_listed_at_once() {
    let found = problems("tcpp://a b:70000/x,y:0?strategy=best&colour=blue&mbind=true&ttl=", Role::Listen);
    assert_eq!(found.len(), 8, "{found:#?}");
    let errors = NodeUrl::parse("tcp://:0/a", Role::Listen).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "listening address: port 0 is out of range: write 1 to 65535; target 1: \"a\" has no port: write a:PORT"
    );
}

#[test]
fn counts_have_limits() {
    let list = |count: usize| vec!["a:1"; count].join(",");
    assert_eq!(NodeUrl::parse(&format!("tcp://:1/{}", list(64)), Role::Listen).unwrap().targets().len(), 64);
    for (text, role, message) in [
        (format!("tcp://:1/{}", list(65)), Role::Listen, "65 targets are too many: write at most 64"),
        (format!("tcp://:1/{}?ip={}", list(60), list(5)), Role::Listen, "65 targets are too many: write at most 64"),
        (format!("socks5://h:1?ip={}", list(17)), Role::Hop, "17 nodes are too many: write at most 16"),
        (format!("tcp://:1/a:2?{}", "x&".repeat(99)), Role::Listen, "99 options are too many: write at most 64"),
        ("x".repeat(8193), Role::Listen, "a node URL of 8193 bytes is too long: write at most 8192"),
    ] {
        assert_eq!(problems(&text, role), [message]);
    }
}

#[test]
fn no_message_shows_a_password() {
    for text in [
        "tcp://user:hunter2@:0/a",
        "tcp://:0/user:hunter2@a:1",
        "tcp://user:hunter2/x@:1",
        "tcp://user:hunter2?x@:1",
        "socks5://user:hunter2%zz@:1",
        "tcp:/user:hunter2@h:1",
        "tpc://user:hunter2@:1/a:2",
        "forward+quic://h:1?cipher=hunter2&cipher=hunter2",
        "socks5://:1?auth=hunter2",
        "socks5://:1?ip=user:hunter2@h:1",
        "user:hunter2@h",
        "socks5://:1?user=hunter2",
    ] {
        for role in [Role::Listen, Role::Hop] {
            let Err(errors) = NodeUrl::parse(text, role) else { panic!("{text} was accepted") };
            assert!(!errors.to_string().contains("hunter2"), "{text}: {errors}");
            assert!(!format!("{errors:?}").contains("hunter2"), "{text}: {errors:?}");
        }
    }
}

#[test]
fn noise_is_answered_with_one_short_message() {
    let noise: String = (0..100_000_u32).map(|n| char::from_u32(n * 7919 % 0xd7ff).unwrap_or('x')).collect();
    let found = problems(&noise, Role::Listen);
    assert_eq!(found.len(), 1);
    assert!(found[0].len() < 100, "{}", found[0]);
    let long_host = format!("tcp://{}:1/a:2", "h".repeat(5000));
    assert!(problems(&long_host, Role::Listen)[0].len() < 200);
}
