//! Lines and the hosts they speak of; the hashed ones were made by `ssh-keygen -H`.
#![allow(clippy::unwrap_used)]

use bolero::check;
use proptest::prelude::*;

use super::*;
use crate::testing::{fuzz_time, text_of};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

fn known(text: &str) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.add(text);
    known
}

/// Keys, authorities, revoked keys, and keys at the default port.
fn counts(text: &str, host: &str, port: u16) -> [usize; 4] {
    let hosts = known(text);
    let known = hosts.of(host, port);
    [known.keys.len(), known.authorities.len(), known.revoked.len(), known.at_default_port.len()]
}

#[test]
fn a_line_speaks_of_the_hosts_it_lists() {
    for (hosts, host, port, want) in [
        ("a.example", "a.example", 22, true),
        ("a.example", "A.Example", 22, true),
        ("A.EXAMPLE", "a.example", 22, true),
        ("a.example", "b.example", 22, false),
        ("a.example,10.0.0.1", "10.0.0.1", 22, true),
        ("*.example", "a.example", 22, true),
        ("*.example", "example", 22, false),
        ("a?.example", "a1.example", 22, true),
        ("a?.example", "a.example", 22, false),
        ("*", "anything", 22, true),
        ("*.example,!b.example", "b.example", 22, false),
        ("!b.example,*.example", "b.example", 22, false),
        ("!b.example", "a.example", 22, false),
        ("[a.example]:2222", "a.example", 2222, true),
        ("[a.example]:2222", "a.example", 22, false),
        ("[a.example]:2222", "a.example", 2223, false),
        ("[127.0.0.*]:22022", "127.0.0.9", 22022, true),
        ("[*]:2222", "a", 2222, true),
        ("[a.example]:*", "a.example", 2222, true),
        ("*.example,![b.example]:2222", "b.example", 22, true),
        ("::1", "::1", 22, true),
        ("[::1]:2222", "::1", 2222, true),
        ("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", 22, false),
    ] {
        let found = counts(&format!("{hosts} {KEY}"), host, port)[0] == 1;
        assert_eq!(found, want, "{hosts} {host} {port}");
    }
}

#[test]
fn hashed_names_are_found() {
    let lines = format!(
        "|1|2GcKw1nH1nycZQzSCqw/4rue0ZA=|JuXjJYlVqMnIM/B9i8b/F+sS2R8= {KEY}\n\
         |1|ScsnrQTm8U2uPjlj2nv5YcGV4a4=|X1A58QIGQY4+SR8gYWcB4vq4qAw= {KEY}\n"
    );
    for (host, port, want) in
        [("bastion.example", 22, 1), ("Bastion.Example", 22, 1), ("bastion.example", 2222, 1), ("other.example", 22, 0)]
    {
        assert_eq!(counts(&lines, host, port)[0], want, "{host} {port}");
    }
}

#[test]
fn markers_tell_authorities_and_revoked_keys_from_keys() {
    let lines = format!(
        "@cert-authority *.example {KEY}\n@revoked * {KEY} lost\na.example {KEY}\n@something a.example {KEY}\n"
    );
    assert_eq!(counts(&lines, "a.example", 22), [1, 1, 1, 0]);
    assert_eq!(counts(&lines, "b.example", 22), [0, 1, 1, 0]);
    assert_eq!(counts(&lines, "c", 22), [0, 0, 1, 0]);
    // Beyond the default port the plain name serves as well, as with ssh.
    assert_eq!(counts(&lines, "a.example", 2222), [0, 1, 1, 1]);
}

#[test]
fn what_stands_around_the_lines_is_passed_over() {
    for text in [
        format!("# a comment\n\n   a {KEY}\n"),
        format!("a\t{}\n", KEY.replace(' ', "\t")),
        format!("a   {} user@host # of the old one\r\n", KEY.replace(' ', "   ")),
        format!("nonsense\na {KEY}\na ssh-ed25519 !!!!\n"),
        format!("@revoked\n|1|broken {KEY}\na {KEY}"),
        format!("a 1024 37 1234567 rsa1\na {KEY}"),
    ] {
        assert_eq!(counts(&text, "a", 22), [1, 0, 0, 0], "{text:?}");
    }
    assert!(known("").0.is_empty() && known("# nobody\n").0.is_empty());
}

/// What lines are made of, for texts that come near to being lines.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("@cert-authority "),
        Just("@revoked\t"),
        Just("|1|"),
        Just("="),
        Just("a.example"),
        Just("*"),
        Just("?"),
        Just("!"),
        Just(","),
        Just("["),
        Just("]:22"),
        Just(" "),
        Just("\n"),
        Just("#"),
        Just("ssh-ed25519 "),
        Just(KEY),
        Just("AAAA"),
        Just("\u{e9}"),
        Just("\0"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_and_its_keys_are_those_it_names(text in prop_oneof![pieces(), any::<String>()], host in ".{0,20}") {
        let hosts = known(&text);
        let found = hosts.of(&host, 22);
        let all = found.keys.len() + found.authorities.len() + found.revoked.len() + found.at_default_port.len();
        prop_assert!(all <= hosts.0.len() && hosts.0.len() <= text.lines().count());
    }

    #[test]
    fn a_pattern_matches_itself_and_stars_match_anything(name in "[a-z0-9.:-]{0,30}", at in 0_usize..30) {
        let at = at.min(name.len());
        prop_assert!(matches(&name, &name) && matches("*", &name));
        let begin_and_end = format!("{}*{}", &name[..at], &name[at..]);
        prop_assert!(matches(&begin_and_end, &name));
        let longer = format!("{name}?");
        prop_assert!(!matches(&longer, &name));
    }
}

/// Fields of lines and what stands between them, each several times so that lines come about.
#[rustfmt::skip]
const PIECES: [&str; 40] = [
    KEY, KEY, KEY, KEY, " ", " ", " ", " ", "\t", "\n", "\n", "\n", "\r\n", "@revoked ", "@revoked ",
    "@cert-authority ", "@", "a.example ", "a.example", "[a.example]:2222 ", "* ", "*", "?", "!", ",", ",", "|1|",
    "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ", "|", "ssh-ed25519 ", "ssh-rsa ", "AAAA", "#",
    "# ", "::1 ", "10.0.0.1 ", "\u{feff}", "é", "\0", "=",
];

fn written(hosts: &KnownHosts) -> String {
    let line = |entry: &Entry| {
        let (line, is_marked) = (entry.to_string(), entry.marker().is_some());
        // Pattern or not: at the beginning of a line it would be a marker or a comment.
        if !is_marked && line.starts_with(['@', '#']) { format!(",{line}\n") } else { format!("{line}\n") }
    };
    hosts.0.iter().map(line).collect()
}

#[test]
fn lines_of_anybody_are_read_as_they_would_be_written() {
    check!(name = "known_hosts_pieces").with_test_time(fuzz_time()).with_max_len(48).for_each(|bytes: &[u8]| {
        for text in [text_of(bytes, &PIECES), String::from_utf8_lossy(bytes).into_owned()] {
            let read = known(&text);
            assert_eq!(known(&written(&read)), read, "{text:?}");
            for (host, port) in [("a.example", 22), ("A.example", 2222), ("::1", 22), ("", 0), (text.as_str(), 1)] {
                let found = read.of(host, port);
                let all = [found.keys, found.authorities, found.revoked, found.at_default_port].concat().len();
                assert!(all <= text.lines().count(), "{text:?}");
            }
        }
    });
}
