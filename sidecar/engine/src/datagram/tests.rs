//! Sockets on loopback: what goes in comes out, borders included.
#![allow(clippy::unwrap_used)]

use std::{net::UdpSocket, time::Duration};

use super::{Batch, Buffers, Way, listen, run_length, split};

#[test]
fn a_run_is_of_equal_datagrams_and_a_last_shorter_one() {
    for (sizes, limit, count) in [
        (&[100, 100, 100][..], 64, 3),
        (&[100, 100, 50, 100], 64, 3),
        (&[100, 50, 50], 64, 2),
        (&[100, 101], 64, 1),
        (&[100, 0], 64, 1),
        (&[0, 0], 64, 1),
        (&[100, 100, 100], 2, 2),
        (&[100, 100], 1, 1),
        (&[9000, 9000], 64, 1),
        (&[1232; 64], 64, 51),
        (&[1], 64, 1),
        (&[], 64, 1),
    ] {
        assert_eq!(run_length(sizes.iter().copied(), limit), count, "{sizes:?}");
    }
}

#[test]
fn what_the_system_joined_is_divided_and_an_empty_datagram_is_one() {
    for (length, stride, sizes) in
        [(0, 0, &[0][..]), (5, 5, &[5]), (12, 5, &[5, 5, 2]), (10, 5, &[5, 5]), (3, 0, &[1, 1, 1])]
    {
        let bytes = vec![0; length];
        assert_eq!(split(&bytes, stride).map(<[u8]>::len).collect::<Vec<_>>(), sizes, "{length} by {stride}");
    }
}

#[test]
fn runs_arrive_as_the_datagrams_they_were_made_of() {
    let receiver = listen(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    let batch = Batch::new(&receiver).unwrap();
    receiver.set_nonblocking(false).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sent: Vec<Vec<u8>> = [700, 700, 700, 3, 0, 0, 9000, 9000, 65_507, 1]
        .iter()
        .enumerate()
        .map(|(index, &size)| vec![index as u8; size])
        .collect();
    let slices: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    let way = Way { to: receiver.local_addr().unwrap(), connected: false, from: None };
    let (mut buffers, mut got) = (Buffers::new(), Vec::new());
    let outcome = batch.send(&sender, &way, &slices);
    assert_eq!((outcome.datagrams, outcome.bytes), (sent.len(), sent.iter().map(Vec::len).sum()));
    while got.len() < sent.len() {
        let count = batch.receive(&receiver, &mut buffers, 1).unwrap();
        got.extend(buffers.received(count).map(|received| {
            assert_eq!(received.peer, sender.local_addr().unwrap());
            assert_eq!(received.local, Some([127, 0, 0, 1].into()));
            received.bytes.to_vec()
        }));
    }
    assert!(got == sent, "{:?}", got.iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn an_address_another_program_has_is_an_error_though_it_shares_it_among_its_own() {
    let taken = listen(([127, 0, 0, 1], 0).into(), 2).unwrap();
    let address = taken[0].local_addr().unwrap();
    assert_eq!(taken[1].local_addr().unwrap(), address);
    for count in [1, 2] {
        assert_eq!(listen(address, count).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    }
    drop(taken);
    listen(address, 2).unwrap();
}

#[test]
fn an_ipv6_listener_sends_answers_that_are_larger_than_the_paths_units() {
    use nix::sys::socket::{getsockopt, sockopt::Ipv6DontFrag};
    let Ok(listener) = UdpSocket::bind("[::1]:0") else { return };
    Batch::new(&listener).unwrap();
    assert!(!getsockopt(&listener, Ipv6DontFrag).unwrap());
}
