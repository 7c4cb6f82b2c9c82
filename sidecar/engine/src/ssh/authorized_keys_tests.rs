#![allow(clippy::unwrap_used)]

use russh::keys::{
    PrivateKey,
    ssh_key::{certificate::Builder, private::Ed25519Keypair},
};

use super::*;

const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn line(options: &str, seed: u8) -> String {
    let space = if options.is_empty() { "" } else { " " };
    format!("{options}{space}{} somebody@laptop", key(seed).public_key().to_openssh().unwrap())
}

fn asker(ip: &str) -> Asker<'static> {
    Asker { user: "ann", ip: ip.parse().unwrap(), now: NOW }
}

fn limits(text: &str, ip: &str) -> Option<Limits> {
    AuthorizedKeys::read(text).limits_of_key(key(1).public_key(), asker(ip))
}

#[test]
fn a_key_lets_its_holder_in_and_no_other() {
    for (text, want) in [
        (line("", 1), true),
        (line("", 2), false),
        (String::new(), false),
        (format!("# {}", line("", 1)), false),
        (format!("# people\n\n  {}\r\n", line("", 1)), true),
        (format!("{}\n{}", line("", 2), line("", 1)), true),
        (line("", 1).replace(' ', "\t"), true),
        (line("restrict,port-forwarding", 1), true),
        (line("no-pty,no-X11-forwarding,command=\"echo \\\"hi, you\\\"\",environment=\"A=B C\"", 1), true),
        (line("cert-authority", 1), false),
        (line("verify-required", 1), false),
        (line("permit-open=\"a:1\"", 1), false),
        (line("permitopen=\"a:1", 1), false),
        (line("permitopen=\"a\"", 1), false),
        (line("permitopen", 1), false),
        ("ssh-ed25519 AAAAbroken".to_owned(), false),
    ] {
        assert_eq!(limits(&text, "192.0.2.1").is_some(), want, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_without_a_key() {
    let text = format!("{}\n{}\nssh-rsa AAAA\n", line("", 1), line("verify-required", 2));
    let read = AuthorizedKeys::read(&text);
    assert_eq!(
        read.problems,
        [
            "line 2: the option \"verify-required\" is not known, so that the key is not used",
            "line 3: no public key is to be found; write one as in \"ssh-ed25519 AAAA…\"",
        ]
    );
    assert!(!read.is_empty());
}

#[test]
fn a_line_may_say_from_where_and_until_when() {
    for (options, ip, want) in [
        ("from=\"192.0.2.0/24\"", "192.0.2.9", true),
        ("from=\"192.0.2.0/24\"", "::ffff:192.0.2.9", true),
        ("from=\"192.0.2.0/24\"", "192.0.3.9", false),
        ("from=\"192.0.2.*,!192.0.2.9\"", "192.0.2.8", true),
        ("from=\"192.0.2.*,!192.0.2.9\"", "192.0.2.9", false),
        ("from=\"2001:db8::/32\"", "2001:db8::7", true),
        ("from=\"laptop.example\"", "192.0.2.9", false),
        ("expiry-time=\"20270116\"", "192.0.2.9", true),
        ("expiry-time=\"202701150800Z\"", "192.0.2.9", false),
        ("expiry-time=\"20270115080001\"", "192.0.2.9", true),
        ("expiry-time=\"20271341\"", "192.0.2.9", false),
        ("expiry-time=\"soon\"", "192.0.2.9", false),
    ] {
        assert_eq!(limits(&line(options, 1), ip).is_some(), want, "{options} {ip}");
    }
}

#[test]
fn a_line_may_say_what_is_opened_and_listened_on() {
    for (options, open, listen) in [
        ("", [true, true, true], [true, true, true]),
        ("no-port-forwarding", [false; 3], [false; 3]),
        ("restrict", [false; 3], [false; 3]),
        ("restrict,port-forwarding", [true; 3], [true; 3]),
        ("restrict,port-forwarding,permitopen=\"DB.internal:5432\"", [true, false, false], [true; 3]),
        ("permitopen=\"db.internal:*\",permitopen=\"[::1]:80\"", [true, true, true], [true; 3]),
        ("permitopen=\"*:80\"", [false, false, true], [true; 3]),
        ("permitlisten=\"8080\"", [true; 3], [true, true, false]),
        ("permitlisten=\"local*:8080\",permitlisten=\"localhost:9\"", [true; 3], [true, false, true]),
    ] {
        let limits = limits(&line(options, 1), "192.0.2.1").unwrap();
        let opened = [("db.internal", 5432), ("db.internal", 22), ("::1", 80)];
        assert_eq!(opened.map(|(host, port)| limits.may_open(host, port)), open, "{options}");
        let listened = [("localhost", 8080), ("0.0.0.0", 8080), ("localhost", 9)];
        assert_eq!(listened.map(|(host, port)| limits.may_listen(host, port)), listen, "{options}");
    }
}

fn certificate(change: impl FnOnce(&mut Builder)) -> Certificate {
    let subject = key(1);
    let mut builder = Builder::new([7; 16], subject.public_key(), NOW - 60, NOW + 60).unwrap();
    change(&mut builder);
    builder.sign(&key(9)).unwrap()
}

fn user_certificate(change: impl FnOnce(&mut Builder)) -> Certificate {
    certificate(|builder| {
        builder.cert_type(CertType::User).unwrap();
        builder.valid_principal("ann").unwrap();
        change(builder);
    })
}

#[test]
fn an_authority_lets_in_whom_it_certifies() {
    let forwarding = |builder: &mut Builder| {
        builder.extension("permit-port-forwarding", "").unwrap();
    };
    let plain = user_certificate(forwarding);
    for (options, ip, certificate, want) in [
        ("cert-authority", "192.0.2.1", &plain, Some(true)),
        ("", "192.0.2.1", &plain, None),
        ("cert-authority,principals=\"ops,ann\"", "192.0.2.1", &plain, Some(true)),
        ("cert-authority,principals=\"ops\"", "192.0.2.1", &plain, None),
        ("cert-authority,no-port-forwarding", "192.0.2.1", &plain, Some(false)),
        ("cert-authority", "192.0.2.1", &user_certificate(|_| ()), Some(false)),
        (
            "cert-authority",
            "192.0.2.1",
            &user_certificate(|builder| {
                builder.critical_option("source-address", "10.0.0.0/8").unwrap();
            }),
            None,
        ),
        (
            "cert-authority",
            "192.0.2.1",
            &user_certificate(|builder| {
                builder.critical_option("verify-required", "").unwrap();
            }),
            None,
        ),
        (
            "cert-authority",
            "192.0.2.1",
            &certificate(|builder| {
                builder.cert_type(CertType::Host).unwrap();
                builder.valid_principal("ann").unwrap();
            }),
            None,
        ),
    ] {
        let keys = AuthorizedKeys::read(&line(options, 9));
        let limits = keys.limits_of_certificate(certificate, asker(ip));
        assert_eq!(limits.map(|limits| limits.may_open("db", 1)), want, "{options} {certificate:?}");
    }
    let keys = AuthorizedKeys::read(&line("cert-authority", 9));
    for (user, now) in [("bob", NOW), ("ann", NOW + 61), ("ann", NOW - 61)] {
        let asker = Asker { user, now, ..asker("192.0.2.1") };
        assert_eq!(keys.limits_of_certificate(&plain, asker), None, "{user} {now}");
    }
    let other = AuthorizedKeys::read(&line("cert-authority", 8));
    assert_eq!(other.limits_of_certificate(&plain, asker("192.0.2.1")), None);
}
