//! Lines of anybody through the reader of `authorized_keys`: what is read is written and read again, and nobody who is
//! not named comes in.
#![allow(clippy::unwrap_used)]

use bolero::check;
use jiff::Timestamp;
use russh::keys::{PrivateKey, ssh_key::private::Ed25519Keypair};

use super::*;
use crate::testing::{fuzz_time, text_of};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// Fields of lines and what stands between them, each several times so that lines come about.
#[rustfmt::skip]
const PIECES: [&str; 48] = [
    KEY, KEY, KEY, KEY, " ", " ", " ", "\t", "\n", "\n", "\n", "\r\n", ",", ",", ",", "\"", "\"", "\"", "\\", "\\\"", "=",
    "=\"", "\" ", "restrict", "port-forwarding", "permitopen=\"a:1\"", "permitopen=", "[::1]:22", "*:*", "permitlisten=",
    "8080", "from=\"10.0.0.0/8,!10.0.0.1\"", "from=", "expiry-time=\"20300101\"", "expiry-time=", "20300101120000Z",
    "cert-authority", "principals=\"ann,bob\"", "principals=", "no-pty", "command=\"echo \\\"a, b\\\"\"", "environment",
    "#", "ssh-ed25519 ", "AAAA", "é", "\0", "RESTRICT",
];

/// A value so that each of its letters is read as it stands.
fn quoted(value: &str) -> String {
    let quoted = |letter| match letter {
        ' ' | '\t' | ',' => format!("\"{letter}\""),
        '"' => "\"\\\"\"".to_owned(),
        letter => letter.to_string(),
    };
    value.chars().map(quoted).collect()
}

fn written(line: &Line) -> String {
    let options = &line.options;
    let mut words = Vec::new();
    let mut word = |name: &str, value: &str| words.push(format!("{name}={}", quoted(value)));
    options.principals.iter().for_each(|value| word("principals", value));
    options.from.iter().for_each(|value| word("from", value));
    if let Some(seconds) = options.expires {
        let time = Timestamp::from_second(seconds.try_into().unwrap()).unwrap();
        word("expiry-time", &time.strftime("%Y%m%d%H%M%SZ").to_string());
    }
    for (name, permits) in [("permitopen", &options.limits.open), ("permitlisten", &options.limits.listen)] {
        for permit in permits.iter().flatten() {
            let port = permit.port.map_or_else(|| "*".to_owned(), |port| port.to_string());
            word(name, &format!("[{}]:{port}", permit.host));
        }
    }
    for (name, is_set) in [("cert-authority", options.is_authority), ("restrict", options.limits.forbidden)] {
        words.extend(is_set.then(|| name.to_owned()));
    }
    let key = PublicKey::from(line.key.clone()).to_openssh().unwrap();
    if words.is_empty() { key } else { format!("{} {key}", words.join(",")) }
}

#[test]
fn lines_of_anybody_are_read_as_they_would_be_written() {
    let stranger = PrivateKey::from(Ed25519Keypair::from_seed(&[7; 32]));
    let asker = Asker { user: "ann", ip: "10.0.0.2".parse().unwrap(), now: 1_800_000_000 };
    check!(name = "authorized_keys_pieces").with_test_time(fuzz_time()).with_max_len(48).for_each(|bytes: &[u8]| {
        for text in [text_of(bytes, &PIECES), String::from_utf8_lossy(bytes).into_owned()] {
            let read = AuthorizedKeys::read(&text);
            let again = read.lines.iter().map(written).collect::<Vec<_>>().join("\n");
            assert_eq!(
                AuthorizedKeys::read(&again),
                AuthorizedKeys { problems: Vec::new(), ..read.clone() },
                "{text:?}"
            );
            assert_eq!(read.limits_of_key(stranger.public_key(), asker), None, "{text:?}");
            let is_one_line = |problem: &String| !problem.contains(['\n', '\r']);
            assert!(read.problems.iter().all(is_one_line), "{:?}", read.problems);
        }
    });
}
