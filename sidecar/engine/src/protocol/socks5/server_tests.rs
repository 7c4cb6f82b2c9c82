//! SOCKS5 as a server, byte for byte: what GOST's own server was seen to say, and what it leaves unsaid.
#![allow(clippy::unwrap_used)]

use tokio::io::duplex;

use super::*;

/// What is answered to `bytes` by `serve`, and what it came to.
macro_rules! served {
    ($bytes:expr, |$stream:ident| $serve:expr) => {{
        let (mut client, mut $stream) = duplex(4096);
        client.write_all(&$bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let outcome = $serve;
        drop($stream);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        (outcome, answer)
    }};
}

#[tokio::test]
async fn tls_is_chosen_whenever_it_is_offered_and_of_use_and_nothing_that_was_not() {
    let terms = |has_users, is_encrypted| Terms { has_users, is_encrypted };
    let (open, asking, over_ssh) = (terms(false, false), terms(true, false), terms(false, true));
    for (offered, terms, want) in [
        (&[0x00, 0x02, 0x80][..], open, 0x80),
        (&[0x00, 0x02, 0x80], asking, 0x82),
        (&[0x00, 0x02, 0x80], over_ssh, 0x00),
        (&[0x00, 0x02], open, 0x00),
        (&[0x00, 0x02], asking, 0x02),
        (&[0x02], open, 0x02),
        (&[0x02], over_ssh, 0x02),
        (&[0x80], over_ssh, 0x80),
        (&[0x00], asking, 0xff),
        (&[0x01], open, 0xff),
        (&[], open, 0xff),
    ] {
        let message = [&[u8::try_from(offered.len()).unwrap()], offered].concat();
        let (outcome, answer) = served!(message, |stream| greet(&mut stream, terms).await);
        assert_eq!(answer, [5, want], "{offered:?}");
        assert_eq!(outcome.is_ok(), want != 0xff);
    }
}

#[tokio::test]
async fn a_login_is_read_to_its_end_and_answered() {
    let (login, answer) = served!(*b"\x01\x04user\x04passrest", |stream| {
        let login = read_login(&mut stream).await;
        answer_login(&mut stream, true).await.unwrap();
        answer_login(&mut stream, false).await.unwrap();
        login
    });
    assert_eq!(login.unwrap(), (b"user".to_vec(), b"pass".to_vec()));
    assert_eq!(answer, [1, 0, 1, 1]);
    assert!(matches!(
        served!(*b"\x05\x01\x00", |stream| read_login(&mut stream).await).0,
        Err(ClientFault::Garbage(_))
    ));
}

#[tokio::test]
async fn requests_are_read_in_every_spelling_of_an_address() {
    for (message, command, host, port) in [
        (&b"\x05\x01\x00\x03\x09127.0.0.1R\x09"[..], Command::Connect, "127.0.0.1", 21001),
        (b"\x05\x01\x00\x03\x05[::1]\x00\x50", Command::Connect, "::1", 80),
        (b"\x05\x01\x00\x03\x00\x00\x50", Command::Connect, "", 80),
        (b"\x05\x02\x00\x01\0\0\0\0\x52\x10", Command::Bind, "0.0.0.0", 21008),
        (b"\x05\x03\x00\x01\0\0\0\0\0\0", Command::Associate, "0.0.0.0", 0),
        (b"\x05\xf2\x00\x01\x7f\0\0\x01\x52\x1e", Command::BindMany, "127.0.0.1", 21022),
        (b"\x05\xf3\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x35", Command::Datagrams, "::1", 53),
    ] {
        let (request, answer) = served!(message, |stream| read_request(&mut stream).await);
        assert_eq!(request.unwrap(), Request { command, address: HostPort::new(host, port) });
        assert!(answer.is_empty(), "nothing is said before the request is met");
    }
}

#[tokio::test]
async fn a_request_that_can_not_be_met_is_answered_with_its_code() {
    for (message, code) in [
        (&b"\x05\x09\x00\x01\x7f\0\0\x01\0\x50"[..], 7),
        (b"\x05\x01\x00\x09", 8),
        (b"\x05\x01\x00\x03\x04a b\x00\x00\x50", 8),
        (b"\x05\x01\x00\x03\x02\xff\xfe\x00\x50", 8),
    ] {
        let (request, answer) = served!(message, |stream| read_request(&mut stream).await);
        assert!(matches!(request, Err(ClientFault::Garbage(_))), "{message:?}");
        assert_eq!(answer, [5, code, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let (request, answer) = served!(*b"\x04\x01\x00\x50", |stream| read_request(&mut stream).await);
    assert!(request.is_err() && answer.is_empty());
}

#[tokio::test]
async fn a_bound_address_is_told_in_its_own_family() {
    for (address, want) in [
        ("127.0.0.1:21022", &b"\x05\x00\x00\x01\x7f\0\0\x01\x52\x1e"[..]),
        ("[::ffff:127.0.0.1]:21008", b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\x52\x10"),
    ] {
        let answer = served!([], |stream| reply(&mut stream, Code::Succeeded, Some(address.parse().unwrap())).await).1;
        assert_eq!(answer, want);
    }
}

#[tokio::test]
async fn noise_is_an_error_and_never_a_panic() {
    use proptest::{collection::vec, prelude::any, strategy::Strategy, test_runner::TestRunner};
    let noise = vec(any::<u8>(), 0..600).prop_map(|mut bytes| {
        bytes.insert(0, VERSION);
        bytes
    });
    let mut runner = TestRunner::default();
    let runtime = tokio::runtime::Handle::current();
    let result = tokio::task::spawn_blocking(move || {
        runner.run(&noise, |bytes| {
            runtime.block_on(async {
                let _ = served!(bytes, |stream| read_request(&mut stream).await);
                let terms = Terms { has_users: true, is_encrypted: false };
                let _ = served!(bytes[1..], |stream| greet(&mut stream, terms).await);
                let _ = served!(bytes, |stream| read_login(&mut stream).await);
            });
            Ok(())
        })
    });
    result.await.unwrap().unwrap();
}
