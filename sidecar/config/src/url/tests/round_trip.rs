//! Properties: a printed URL parses back equal, a redacted one hides every secret, no text is too strange.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::url::{NodeUrl, Role};

const LISTENERS: [&str; 9] = ["tcp", "udp", "rtcp", "rudp", "tls", "kcp", "auto", "relay+wss", "TCP"];
const SERVERS: [&str; 6] = ["socks5", "http+tls", "ss", "relay", "forward+ssh", "socks5+wss"];
const HOPS: [&str; 8] = ["socks5", "http", "https", "relay+mtls", "forward+kcp", "forward+quic", "auto", "wss"];
const SELECTION: [&str; 5] = ["strategy=random", "max_fails=-1", "fail_timeout=90m", "timeout=1.5s", "retry=2"];
const LISTENER_ONLY: [&str; 6] =
    ["hedge_delay=0", "idle_timeout=1h", "max_connections=7", "health_check=3", "ttl=61ms", "queue=1"];
const SERVER_ONLY: [&str; 5] =
    ["anonymous=T", "allow_targets=10.0.0.0/8,::/0", "allow_bind=1-9,80", "timeout=3", "secrets=/a%20b"];

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z]{1,8}(\\.[a-z0-9]{1,8}){0,2}\\.[a-z]{2,3}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}%eth0]")),
    ]
}

fn address() -> impl Strategy<Value = String> {
    (host(), 1_u16..).prop_map(|(host, port)| format!("{host}:{port}"))
}

/// Any text, escaped as a user name or password has to be.
fn escaped() -> impl Strategy<Value = String> {
    "\\PC{0,12}".prop_map(|text| text.bytes().map(|byte| format!("%{byte:02x}")).collect())
}

fn userinfo() -> impl Strategy<Value = String> {
    (escaped(), escaped()).prop_map(|(user, password)| format!("{user}:{password}@"))
}

fn forward() -> impl Strategy<Value = String> {
    let options: Vec<_> = SELECTION.into_iter().chain(LISTENER_ONLY).collect();
    let parts = (select(&LISTENERS), address(), vec(address(), 1..5), subsequence(options.clone(), 0..options.len()));
    (parts, of(address())).prop_map(|((scheme, own, targets, options), listed)| {
        let listed = listed.map(|address| format!("ip={}&", address.replace('%', "%25"))).unwrap_or_default();
        let own = own.replace('%', "%25");
        format!("{scheme}://{own}/{}?{listed}{}", targets.join(","), options.join("&"))
    })
}

fn server() -> impl Strategy<Value = String> {
    let options = subsequence(SERVER_ONLY.to_vec(), 0..SERVER_ONLY.len());
    (select(&SERVERS), of(userinfo()), address(), options).prop_map(|(scheme, userinfo, own, options)| {
        format!("{scheme}://{}{own}?{}", userinfo.unwrap_or_default(), options.join("&"))
    })
}

fn hop() -> impl Strategy<Value = String> {
    let options = subsequence(SELECTION.to_vec(), 0..SELECTION.len());
    (select(&HOPS), of(userinfo()), address(), options, vec(host(), 0..4)).prop_map(
        |(scheme, userinfo, own, options, listed)| {
            let listed: Vec<_> =
                listed.iter().filter(|host| !host.is_empty()).map(|host| host.replace('%', "%25")).collect();
            let listed = if listed.is_empty() { String::new() } else { format!("ip={}&", listed.join(",")) };
            format!("{scheme}://{}{own}?{listed}{}", userinfo.unwrap_or_default(), options.join("&"))
        },
    )
}

/// Pieces of URLs in any order.
fn almost_a_url() -> impl Strategy<Value = String> {
    let pieces = [
        "tcp",
        "forward",
        "ssh",
        "+",
        "://",
        ":",
        "/",
        "?",
        "&",
        "=",
        ",",
        "@",
        "[",
        "]",
        "::1",
        "%",
        "%25",
        "%41",
        "0",
        "22",
        "70000",
        "10.0.0.1",
        "db",
        "ip",
        "strategy",
        "fifo",
        "max_fails",
        "-1",
        "fail_timeout",
        "1m30s",
        "auth",
        "dTpw",
        ";",
        "#",
        " ",
        "é",
        "\u{0}",
        "secure",
        "true",
    ];
    vec(select(pieces.to_vec()), 0..30).prop_map(|pieces| pieces.concat())
}

fn parses_and_prints_back_equal(text: &str, role: Role) -> Result<(), TestCaseError> {
    let url = NodeUrl::parse(text, role).map_err(|errors| TestCaseError::fail(format!("{text}: {errors}")))?;
    prints_back_equal(&url)
}

fn prints_back_equal(url: &NodeUrl) -> Result<(), TestCaseError> {
    let printed = url.to_string();
    let again =
        NodeUrl::parse(&printed, url.role()).map_err(|errors| TestCaseError::fail(format!("{printed}: {errors}")))?;
    prop_assert_eq!(&again, url, "{}", printed);
    prop_assert_eq!(again.to_string(), printed);
    Ok(())
}

proptest! {
    #[test]
    fn forwards_round_trip(text in forward()) {
        parses_and_prints_back_equal(&text, Role::Listen)?;
    }

    #[test]
    fn servers_round_trip(text in server()) {
        parses_and_prints_back_equal(&text, Role::Listen)?;
    }

    #[test]
    fn hops_round_trip(text in hop()) {
        parses_and_prints_back_equal(&text, Role::Hop)?;
    }

    #[test]
    fn whatever_is_accepted_round_trips(text in prop_oneof![almost_a_url(), "\\PC{0,60}"]) {
        for role in [Role::Listen, Role::Hop] {
            match NodeUrl::parse(&text, role) {
                Ok(url) => prints_back_equal(&url)?,
                Err(errors) => prop_assert!(errors.iter().all(|error| !error.to_string().contains(char::is_control))),
            }
        }
    }

    #[test]
    fn a_password_is_printed_only_on_purpose(password in "[A-Z]{12}[0-9]{12}", cipher in "[0-9]{12}[A-Z]{12}") {
        let text = format!("forward+quic://user:{password}@h:1?cipher={cipher}");
        let url = NodeUrl::parse(&text, Role::Hop).unwrap();
        prop_assert_eq!(url.to_string(), text);
        prop_assert_eq!(url.redacted(), "forward+quic://user:***@h:1?cipher=***");
        let shown = format!("{url:?} {:?}", url.warnings());
        prop_assert!(!shown.contains(&password) && !shown.contains(&cipher), "{}", shown);
    }
}
