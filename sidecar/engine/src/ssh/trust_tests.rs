//! Keys and certificates made here, judged by lines that know them, know others, or know nothing.
#![allow(clippy::unwrap_used)]

use bolero::check;
use russh::keys::{PrivateKey, ssh_key::certificate::Builder};

use super::*;
use crate::testing::{fuzz_time, text_of};

const NOW: u64 = 1_800_000_000;

fn key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

fn line(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

fn trust(known_hosts: &str) -> Trust {
    let mut trust = Trust::default();
    trust.known_hosts.add(known_hosts);
    trust
}

fn plain(key: &PrivateKey) -> PublicKeyOrCertificate {
    key.public_key().clone().into()
}

/// In words, for tables.
fn judged(trust: &Trust, shown: &PublicKeyOrCertificate) -> &'static str {
    match trust.judge("a.example", 22, shown, NOW) {
        Verdict::Trusted => "trusted",
        Verdict::Unknown { .. } => "unknown",
        Verdict::Changed { .. } => "changed",
        Verdict::Revoked { .. } => "revoked",
        Verdict::UnfitCertificate { .. } => "unfit",
    }
}

#[test]
fn a_key_is_judged_by_the_lines_of_its_host() {
    let (key, other) = (key(), key());
    let (own, others) = (line(&key), line(&other));
    for (known_hosts, want) in [
        (String::new(), "unknown"),
        (format!("b.example {own}"), "unknown"),
        (format!("a.example {own}"), "trusted"),
        (format!("a.example {others}"), "changed"),
        (format!("a.example {others}\na.example {own}"), "trusted"),
        (format!("a.example {own}\n@revoked * {own}"), "revoked"),
        (format!("a.example {own}\n@revoked b.example {own}"), "trusted"),
        (format!("@cert-authority * {own}"), "unknown"),
    ] {
        assert_eq!(judged(&trust(&known_hosts), &plain(&key)), want, "{known_hosts}");
    }
}

#[test]
fn inline_keys_count_for_every_node_and_anybody_means_anybody_not_revoked() {
    let (key, other) = (key(), key());
    let inline = |of: &PrivateKey| Trust { host_keys: vec![Trust::host_key(&line(of)).unwrap()], ..Trust::default() };
    assert_eq!(judged(&inline(&key), &plain(&key)), "trusted");
    assert_eq!(judged(&inline(&other), &plain(&key)), "changed");
    assert!(Trust::host_key("ssh-ed25519").unwrap_err().contains("AAAA"));
    let anybody = Trust { anybody: true, ..trust(&format!("a.example {}", line(&other))) };
    assert_eq!(judged(&anybody, &plain(&key)), "trusted");
    let anybody = Trust { anybody: true, ..trust(&format!("@revoked * {}", line(&key))) };
    assert_eq!(judged(&anybody, &plain(&key)), "revoked");
}

#[test]
fn a_changed_key_is_shown_with_both_fingerprints() {
    let (key, other) = (key(), key());
    let verdict = trust(&format!("a.example {}", line(&other))).judge("a.example", 22, &plain(&key), NOW);
    let text = verdict.refusal().unwrap();
    for of in [&key, &other] {
        assert!(text.contains(&of.fingerprint(HashAlg::Sha256).to_string()), "{text}");
    }
}

struct Certified {
    kind: CertType,
    valid: (u64, u64),
    principals: &'static [&'static str],
    option: bool,
}

const FIT: Certified =
    Certified { kind: CertType::Host, valid: (NOW - 9, NOW + 9), principals: &["a.example"], option: false };

fn certificate(of: &Certified, key: &PrivateKey, authority: &PrivateKey) -> PublicKeyOrCertificate {
    let mut builder =
        Builder::new_with_random_nonce(&mut rand::rng(), key.public_key(), of.valid.0, of.valid.1).unwrap();
    builder.cert_type(of.kind).unwrap();
    if of.principals.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    for principal in of.principals {
        builder.valid_principal(*principal).unwrap();
    }
    if of.option {
        builder.critical_option("only-on-mondays", "").unwrap();
    }
    builder.sign(authority).unwrap().into()
}

#[test]
fn a_certificate_counts_within_its_bounds() {
    let (host, authority) = (key(), key());
    let trusted = trust(&format!("@cert-authority *.example {}", line(&authority)));
    for (of, want) in [
        (FIT, "trusted"),
        (Certified { principals: &[], ..FIT }, "trusted"),
        (Certified { principals: &["*.example"], ..FIT }, "trusted"),
        (Certified { principals: &["b.example", "c.example"], ..FIT }, "unfit"),
        (Certified { kind: CertType::User, ..FIT }, "unfit"),
        (Certified { valid: (NOW + 1, NOW + 9), ..FIT }, "unfit"),
        (Certified { valid: (NOW - 9, NOW), ..FIT }, "unfit"),
        (Certified { option: true, ..FIT }, "unfit"),
    ] {
        let certificate = certificate(&of, &host, &authority);
        assert_eq!(judged(&trusted, &certificate), want, "{:?} {:?}", of.kind, of.principals);
        assert_eq!(judged(&trust(""), &certificate), "unknown", "nobody knows the authority");
    }
    let fit = certificate(&FIT, &host, &authority);
    let revoked = trust(&format!("@cert-authority * {0}\n@revoked * {0}", line(&authority)));
    assert_eq!(judged(&revoked, &fit), "revoked");
    // Without its authority a certificate is a key.
    assert_eq!(judged(&trust(&format!("a.example {}", line(&host))), &fit), "trusted");
}

#[test]
fn a_server_is_asked_for_the_kind_of_key_we_know() {
    let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    let known = PrivateKey::random(&mut rand::rng(), ecdsa.clone()).unwrap();
    let trust = trust(&format!("a.example {}\n@cert-authority b.example {0}", line(&known)));
    assert_eq!(trust.algorithms("a.example", 22)[0], ecdsa);
    assert_eq!(trust.algorithms("c.example", 22)[0], Algorithm::Ed25519);
    assert_eq!(trust.algorithms("a.example", 22).len(), ALGORITHMS.len());
    assert!(trust.certificate_algorithms("a.example", 22).is_empty());
    assert!(!trust.certificate_algorithms("b.example", 22).is_empty());
    assert!(!ALGORITHMS.contains(&Algorithm::Rsa { hash: None }), "that would be SHA-1");
}

#[test]
fn a_revoked_key_is_refused_whatever_stands_beside_the_line() {
    let key = key();
    let (own, shown) = (line(&key), plain(&key));
    let others = [
        own.as_str(),
        "\n",
        "\n",
        " ",
        "a.example ",
        "* ",
        "@cert-authority ",
        "@revoked ",
        "!",
        ",",
        "#",
        "|1|",
        "\t",
    ];
    check!(name = "revoked_key").with_test_time(fuzz_time()).with_max_len(40).for_each(|bytes: &[u8]| {
        let beside = text_of(bytes, &others);
        for hosts in ["*", "a.example", "A.Example,b", "x,a.*"] {
            for text in [format!("@revoked {hosts} {own}\n{beside}"), format!("{beside}\n@revoked\t{hosts}  {own} c")] {
                let mut trust = trust(&text);
                trust.host_keys = vec![key.public_key().clone()];
                assert_eq!(judged(&trust, &shown), "revoked", "{text}");
                trust.anybody = true;
                assert_eq!(judged(&trust, &shown), "revoked", "{text}");
            }
        }
    });
}
