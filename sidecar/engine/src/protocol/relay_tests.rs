//! relay's bytes: what GOST writes, what it and later versions send, and noise.
#![allow(clippy::unwrap_used)]

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

fn read(mut bytes: &[u8]) -> (io::Result<Request>, usize) {
    let request = Request::read(&mut bytes).now_or_never().unwrap();
    (request, bytes.len())
}

fn ann() -> Login {
    Login { user: "user".to_owned(), password: Secret::new("pass") }
}

#[test]
fn requests_are_what_gost_writes() {
    let target = |host: &str| Some(HostPort::new(host, 21_001));
    for (request, want) in [
        (Request::default(), b"\x01\x00\x00\x00".to_vec()),
        (
            Request { address: target("127.0.0.1"), ..Request::default() },
            b"\x01\x00\x00\x0a\x02\x00\x07\x01\x7f\x00\x00\x01\x52\x09".to_vec(),
        ),
        (
            Request { datagrams: true, login: Some(ann()), address: target("a.b") },
            b"\x01\x80\x00\x17\x01\x00\x0a\x04user\x04pass\x02\x00\x07\x03\x03a.b\x52\x09".to_vec(),
        ),
    ] {
        assert_eq!(request.encode().unwrap(), want);
        let (back, rest) = read(&[&want[..], b"first bytes"].concat());
        assert_eq!((back.unwrap(), rest), (request, 11), "what follows is the target's");
    }
}

#[test]
fn what_a_later_version_adds_is_passed_over_or_refused_by_name() {
    let network = b"\x01\x01\x00\x12\x02\x00\x07\x01\x7f\x00\x00\x01\x52\x09\x04\x00\x02\x00\x01\x63\x00\x00";
    let (request, _) = read(network);
    let request = request.unwrap();
    assert!(request.datagrams);
    assert_eq!(request.address, Some(HostPort::new("127.0.0.1", 21_001)));
    for (bytes, part) in [
        (&b"\x02\x00\x00\x00"[..], "0x02"),
        (b"\x01\x02\x00\x00", "command 2"),
        (b"\x01\x00\x00\x02\x02\x00", "type 2 is cut off"),
        (b"\x01\x00\x00\x05\x01\x00\x02\x04a", "type 1 is cut off"),
        (b"\x01\x00\x00\x05\x02\x00\x02\x09\x00", "type 9"),
    ] {
        let error = read(bytes).0.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(read(b"\x01\x00").0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_login_that_does_not_fit_is_refused_and_none_is_shown() {
    let long = Login { user: "u".repeat(256), password: Secret::new("hunter2") };
    let error = Request { login: Some(long), ..Request::default() }.encode().unwrap_err();
    assert!(error.to_string().contains("user is longer"), "{error}");
    let request = Request { login: Some(ann()), ..Request::default() };
    assert!(!format!("{request:?}").contains("pass\""), "{request:?}");
}

#[test]
fn every_status_has_its_byte() {
    for (byte, status) in (0..).zip(Status::ALL) {
        assert_eq!(status.encode(), [1, byte, 0, 0]);
        assert_eq!(Status::of(byte), Some(status));
    }
    assert_eq!(Status::of(8), None);
}

#[test]
fn datagrams_of_every_size_have_their_length_before_them() {
    for size in [0, 1, 1472, 65_507] {
        let (datagram, mut bytes) = (vec![7; size], Vec::new());
        assert!(encode_datagram(&datagram, &mut bytes));
        assert_eq!(decode_datagram(&bytes), Some((&datagram[..], size + 2)));
        assert_eq!(decode_datagram(&bytes[..size + 1]), None);
    }
    assert!(!encode_datagram(&vec![0; 65_536], &mut Vec::new()));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        datagrams: bool, login in proptest::option::of(("[ -~]{0,255}", "[ -~]{0,255}")),
        address in proptest::option::of(("[a-z.]{1,60}|10\\.0\\.0\\.1|::1", any::<u16>())),
    ) {
        let login = login.map(|(user, password)| Login { user, password: Secret::new(password) });
        let address = address.map(|(host, port)| HostPort::new(host, port));
        let request = Request { datagrams, login, address };
        prop_assert_eq!(read(&request.encode().unwrap()).0.unwrap(), request);
    }

    #[test]
    fn noise_is_an_error_and_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&noise);
        let _ = read(&[b"\x01\x00\x00\x40", &noise[..]].concat());
        let _ = decode_datagram(&noise);
    }
}
