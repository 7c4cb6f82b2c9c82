//! SOCKS5 over pipes: the bytes of real GOST processes, and servers that misbehave.
#![allow(clippy::unwrap_used)]

use fairlead_config::url::Secret;
use futures::FutureExt;
use proptest::prelude::*;
use tokio::io::duplex;

use super::*;

fn ann() -> Login {
    Login { user: "user".to_owned(), password: Secret::new("pass") }
}

/// Plays a server that waits for each of our messages before it answers, and answers nothing more.
async fn played<T>(script: &[(&[u8], &[u8])], client: impl AsyncFnOnce(&mut tokio::io::DuplexStream) -> T) -> T {
    let (mut ours, mut theirs) = duplex(1024);
    let script: Vec<_> = script.iter().map(|(want, answer)| (want.to_vec(), answer.to_vec())).collect();
    let server = tokio::spawn(async move {
        for (want, answer) in script {
            let mut got = vec![0; want.len()];
            theirs.read_exact(&mut got).await.unwrap();
            assert_eq!(got, want);
            // Nothing may follow before the answer: what does is lost to some servers.
            let early = tokio::time::timeout(std::time::Duration::from_millis(20), theirs.read_u8()).await;
            assert!(early.is_err() || answer.is_empty(), "sent before the answer: {early:?}");
            theirs.write_all(&answer).await.unwrap();
        }
    });
    let outcome = client(&mut ours).await;
    server.await.unwrap();
    outcome
}

#[tokio::test]
async fn a_login_and_a_connect_are_what_gost_exchanges() {
    let connect_to = HostPort::new("localhost", 21001);
    let script: [(&[u8], &[u8]); 3] = [
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x04user\x04pass", b"\x01\x00"),
        (b"\x05\x01\x00\x03\x09localhost\x52\x09", b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello"),
    ];
    let rest = played(&script, async |stream| {
        assert_eq!(greet(stream, Offer::Plain).await, Ok(Method::Login));
        login(stream, Some(&ann())).await.unwrap();
        connect(stream, &connect_to).await.unwrap();
        let mut rest = [0; 5];
        stream.read_exact(&mut rest).await.unwrap();
        rest
    });
    assert_eq!(&rest.await, b"hello", "what a server says first is not lost");
}

#[tokio::test]
async fn methods_are_offered_in_gosts_order_and_only_those_may_be_chosen() {
    let plain: &[u8] = b"\x05\x02\x00\x02";
    let both: &[u8] = b"\x05\x03\x00\x02\x80";
    for (offer, greeting, chosen, want) in [
        (Offer::Plain, plain, 0x00, Ok(Method::Nothing)),
        (Offer::Plain, plain, 0x80, Err("method 0x80")),
        (Offer::PlainOrTls, both, 0x80, Ok(Method::Tls)),
        (Offer::PlainOrTls, both, 0x82, Ok(Method::TlsAndLogin)),
        (Offer::PlainOrTls, both, 0x02, Ok(Method::Login)),
        (Offer::PlainOrTls, both, 0x01, Err("method 0x01")),
        (Offer::PlainOrTls, both, 0xff, Err("none of the methods")),
        (Offer::TlsOnly, b"\x05\x01\x80", 0x82, Ok(Method::TlsAndLogin)),
        (Offer::TlsOnly, b"\x05\x01\x80", 0x00, Err("does not encrypt")),
        (Offer::TlsOnly, b"\x05\x01\x80", 0xff, Err("does not encrypt")),
    ] {
        let chose = played(&[(greeting, &[5, chosen])], async |stream| greet(stream, offer).await).await;
        match (chose, want) {
            (Ok(chose), Ok(want)) => assert_eq!(chose, want),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
            (chose, want) => panic!("{offer:?} {chosen:#x}: {chose:?}, not {want:?}"),
        }
    }
}

#[tokio::test]
async fn a_refused_login_is_the_hops_and_named_without_the_password() {
    let script: [(&[u8], &[u8]); 1] = [(b"\x01\x04user\x04pass", b"\x01\x01")];
    let error = played(&script, async |stream| login(stream, Some(&ann())).await).await.unwrap_err();
    assert_eq!(error.reason(), "login");
    assert!(!error.to_string().contains("pass\""), "{error}");
    let (mut ours, _theirs) = duplex(64);
    assert!(login(&mut ours, None).await.unwrap_err().to_string().contains("none is configured"));
    let long = Login { user: "u".repeat(256), password: Secret::new("") };
    assert!(login(&mut ours, Some(&long)).await.unwrap_err().to_string().contains("255"));
}

#[tokio::test]
async fn a_refused_connect_is_the_targets_and_a_strange_answer_the_hops() {
    let v4: &[u8] = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50";
    for (answer, blames_target) in [
        (&b"\x05\x05\x00\x01\0\0\0\0\0\0"[..], true),
        (b"\x05\x04\x00\x01\0\0\0\0\0\0", true),
        (b"\x05\x02\x00\x03\x04host\0\0", true),
        (b"\x05\x07\x00\x01\0\0\0\0\0\0", false),
        (b"\x05\x99\x00\x01\0\0\0\0\0\0", false),
        (b"\x05\x00\x00\x09\0\0\0\0\0\0", false),
        (b"HTTP/1.1 400 Bad", false),
        (b"\x05\x00\x00", false),
        (b"", false),
    ] {
        let asked =
            played(&[(v4, answer)], async |stream| connect(stream, &HostPort::new("127.0.0.1", 80)).await).await;
        match asked.unwrap_err() {
            Fault::Address(cause) => assert!(blames_target, "{answer:?}: {cause}"),
            Fault::Hop(cause) => assert!(!blames_target, "{answer:?}: {cause}"),
        }
    }
}

#[test]
fn addresses_and_names_are_written_as_what_they_are() {
    for (host, want) in [
        ("10.0.0.1", b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x50".to_vec()),
        ("a.example", b"\x05\x01\x00\x03\x09a.example\x00\x50".to_vec()),
        ("::1", [b"\x05\x01\x00\x04".as_slice(), &[0; 15], b"\x01\x00\x50"].concat()),
    ] {
        assert_eq!(request(CONNECT, &HostPort::new(host, 80)).unwrap(), want);
    }
    assert!(request(CONNECT, &HostPort::new("a".repeat(256), 80)).is_err());
}

proptest! {
    #[test]
    fn every_reply_is_read_to_its_last_byte(kind in prop_oneof![Just(1_u8), Just(3), Just(4)], name in "[a-z]{0,255}", rest in any::<[u8; 4]>()) {
        let mut bytes = vec![5, 0, 0, kind];
        match kind {
            1 => bytes.extend([7; 4]),
            4 => bytes.extend([7; 16]),
            _ => {
                bytes.push(name.len() as u8);
                bytes.extend(name.bytes());
            }
        }
        bytes.extend([0, 80]);
        bytes.extend(rest);
        let mut stream = bytes.as_slice();
        let code = reply(&mut stream).now_or_never().unwrap();
        prop_assert_eq!(code.map(|(code, _)| code), Ok(0));
        prop_assert_eq!(stream, &rest);
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut stream = noise.as_slice();
        let _ = reply(&mut stream).now_or_never().unwrap();
    }
}
