//! Fuzzes the node URL parser, as an ordinary test: no input makes it panic, and what it accepts prints back equal.
//! `FUZZ_SECONDS=10` runs each target that long (else half a second). Inputs in `__fuzz__/NAME/corpus` are replayed first;
//! the text of whatever a run finds belongs into `__fuzz__/url_bytes/corpus`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bolero::check;
use fairlead_config::url::{NodeUrl, Role};

/// Valid URLs to start from; the first byte of the input picks one.
const URLS: [&str; 8] = [
    "tcp://:5432/db1.internal:5432,db2.internal:5432?strategy=fifo&max_fails=2&fail_timeout=10s",
    "rtcp://[fe80::1%25eth0]:0/[::1]:22?ttl=60&ip=[::2]:22",
    "socks5://user:p%40ss@:1080?allow_targets=10.0.0.0/8&allow_bind=1024-65535",
    "relay+wss://:443/a:1?path=/x&cert=a&key=b",
    "forward+tls://h:443?ip=10.0.0.1,[::1]:444&secure=false&timeout=1.5s",
    "forward+quic://h:1?cipher=k&keepalive=T",
    "socks5://h:1?auth=dTpw&mbind=true",
    ":8080",
];

/// What is put into them.
#[rustfmt::skip]
const PIECES: [&str; 64] = [
    "tcp", "udp", "rtcp", "tls", "forward", "ssh", "socks5", "auto", "+", "://", "://", ":", ":", ":", "/", "/", "?",
    "?", "&", "&", "=", "=", "=", ",", ",", "@", "[", "]", "::1", "%25eth0", "%", "%41", "0", "1", "22", "65535",
    "70000", "-1", "10.0.0.1", "db.internal", "a", "ip", "strategy", "fifo", "max_fails", "fail_timeout", "1m30s",
    "500ms", "ttl", "retry", "hedge_delay", "health_check", "auth", "dTpw", "secure", "true", "mbind", "ca",
    "allow_targets", "::/0", ";", "#", " ", "\u{202e}é\u{0}",
];

fn run_time() -> Duration {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.5))
}

fn holds(text: &str) {
    for role in [Role::Listen, Role::Hop] {
        match NodeUrl::parse(text, role) {
            Ok(url) => {
                assert_eq!(NodeUrl::parse(&url.to_string(), role).as_ref(), Ok(&url), "{text:?}");
                assert!(NodeUrl::parse(&url.redacted(), role).is_ok(), "{text:?}");
            }
            Err(errors) => assert_eq!(errors.to_string().find(char::is_control), None, "{text:?}"),
        }
    }
}

#[test]
fn bytes_are_understood_or_refused() {
    check!(name = "url_bytes")
        .with_test_time(run_time())
        .for_each(|bytes: &[u8]| holds(&String::from_utf8_lossy(bytes)));
}

/// Makes up to five edits in a valid URL: three bytes say where, how much goes and which piece comes.
fn edited(bytes: &[u8]) -> String {
    let (first, edits) = bytes.split_first().unwrap_or((&0, &[]));
    let mut text: Vec<char> = URLS[usize::from(*first) % URLS.len()].chars().collect();
    for edit in edits.chunks_exact(3).take(usize::from(*first) / URLS.len() % 6) {
        let start = usize::from(edit[0]) % (text.len() + 1);
        let end = text.len().min(start + usize::from(edit[1]) % 6);
        text.splice(start..end, PIECES[usize::from(edit[2]) % PIECES.len()].chars());
    }
    text.into_iter().collect()
}

#[test]
fn edited_urls_are_understood_or_refused() {
    check!(name = "url_edits")
        .with_test_time(run_time())
        .with_max_len(16)
        .for_each(|bytes: &[u8]| holds(&edited(bytes)));
}
