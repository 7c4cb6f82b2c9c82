#![allow(clippy::unwrap_used)]
use std::sync::mpsc;

use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    task::JoinHandle,
    time::timeout,
};

use super::*;

type Running = (Session, JoinHandle<End>);

fn start(role: Role, io: DuplexStream) -> Running {
    let (session, driver) = Session::new(role, io);
    (session, tokio::spawn(driver.run()))
}

/// Two sides of ours.
fn pair() -> (Running, Running) {
    let (one, other) = duplex(256 << 10);
    (start(Role::Client, one), start(Role::Server, other))
}

/// A side of ours, and the bytes that it speaks with.
fn against_bytes(role: Role) -> (Running, DuplexStream) {
    let (one, other) = duplex(1 << 20);
    (start(role, one), other)
}

fn frame(command: u8, stream: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, command];
    bytes.extend(u16::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(stream.to_le_bytes());
    bytes.extend(data);
    bytes
}

async fn expect(io: &mut DuplexStream, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    timeout(Duration::from_secs(5), io.read_exact(&mut found)).await.unwrap().unwrap();
    assert_eq!(found, bytes);
}

const ANNOUNCED: [u8; 8] = *b"\x01\x03\x00\x00fair";

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_and_each_end_by_itself() {
    let ((client, _one), (server, _other)) = pair();
    let mut near = client.open().unwrap();
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut far = server.accept().await.unwrap();
    let mut question = String::new();
    far.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    let mut answer = String::new();
    near.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn what_gost_speaks_is_spoken_to_gost() {
    // From a transcript of MBIND (v2-07): the server opens, the peer asks and leaves.
    let ((session, _driver), mut gost) = against_bytes(Role::Server);
    expect(&mut gost, &ANNOUNCED).await;
    gost.write_all(&frame(0, 3, b"")).await.unwrap();
    gost.write_all(&frame(2, 3, b"hello-mbind")).await.unwrap();
    let mut stream = session.accept().await.unwrap();
    let mut asked = [0; 11];
    stream.read_exact(&mut asked).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    expect(&mut gost, b"\x01\x02\x0b\x00\x03\x00\x00\x00hello-mbind").await;
    gost.write_all(&frame(1, 3, b"")).await.unwrap();
    assert_eq!(stream.read(&mut asked).await.unwrap(), 0);
    stream.shutdown().await.unwrap();
    expect(&mut gost, b"\x01\x01\x00\x00\x03\x00\x00\x00").await;
}

#[tokio::test]
async fn the_client_says_nothing_unasked_and_counts_from_three() {
    let ((session, _driver), mut gost) = against_bytes(Role::Client);
    for id in [3_u32, 5] {
        let mut stream = session.open().unwrap();
        stream.write_all(b"x").await.unwrap();
        expect(&mut gost, &frame(0, id, b"")).await;
        expect(&mut gost, &frame(2, id, b"x")).await;
        drop(stream);
        expect(&mut gost, &frame(1, id, b"")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn both_sides_keep_alive_every_ten_seconds() {
    for role in [Role::Client, Role::Server] {
        let ((_session, _driver), mut gost) = against_bytes(role);
        if role == Role::Server {
            expect(&mut gost, &ANNOUNCED).await;
        }
        let begun = Instant::now();
        for _ in 0..2 {
            let mut found = [0; 8];
            gost.read_exact(&mut found).await.unwrap();
            assert_eq!(found, *b"\x01\x03\x00\x00\x00\x00\x00\x00", "{role:?}");
        }
        assert_eq!(begun.elapsed().as_secs(), 20, "{role:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_within_45_s_and_a_living_one_is_not() {
    let begun = Instant::now();
    let ((session, driver), _silent) = against_bytes(Role::Client);
    let mut stream = session.open().unwrap();
    let end = driver.await.unwrap();
    assert_eq!(end, End::Silent(SILENCE_LIMIT));
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
    assert!(stream.read(&mut [0]).await.unwrap_err().to_string().contains("silent"));
    assert!(session.accept().await.is_none());

    let ((_one, first), (_other, second)) = pair();
    sleep(Duration::from_secs(600)).await;
    assert!(!first.is_finished() && !second.is_finished());
}

#[tokio::test]
async fn a_stream_that_nobody_reads_does_not_stop_its_neighbour() {
    let ((client, _one), (server, _other)) = pair();
    let mut stalled = client.open().unwrap();
    let (report, written) = mpsc::channel();
    tokio::spawn(async move {
        let block = vec![7; 64 << 10];
        while stalled.write_all(&block).await.is_ok() {
            let _ = report.send(block.len());
        }
    });
    let unread = server.accept().await.unwrap();
    let mut busy = client.open().unwrap();
    let mut far = server.accept().await.unwrap();
    let sender = tokio::spawn(async move {
        busy.write_all(&vec![9; 8 << 20]).await.unwrap();
        busy.shutdown().await.unwrap();
        busy
    });
    let mut received = Vec::new();
    timeout(Duration::from_secs(20), far.read_to_end(&mut received)).await.unwrap().unwrap();
    assert_eq!(received.len(), 8 << 20);
    assert!(written.try_iter().sum::<usize>() <= WINDOW as usize + (64 << 10), "the window holds");
    drop((unread, sender));
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_windows_is_stopped_by_a_full_buffer_until_its_stream_is_cut() {
    let ((session, _driver), gost) = against_bytes(Role::Server);
    let (mut from_us, mut gost) = tokio::io::split(gost);
    tokio::spawn(async move { while from_us.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {} });
    let sender = tokio::spawn(async move {
        gost.write_all(&frame(0, 3, b"")).await.unwrap();
        gost.write_all(&frame(0, 5, b"")).await.unwrap();
        for _ in 0..64 {
            gost.write_all(&frame(2, 3, &[0; 32 << 10])).await.unwrap();
        }
        gost.write_all(&frame(2, 5, b"neighbour")).await.unwrap();
        gost
    });
    let (mut stalled, mut neighbour) = (session.accept().await.unwrap(), session.accept().await.unwrap());
    let mut word = [0; 9];
    let begun = Instant::now();
    neighbour.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"neighbour");
    assert_eq!(begun.elapsed().as_secs(), STALL_LIMIT.as_secs());
    assert_eq!(stalled.read(&mut word).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    drop(sender);
}

#[tokio::test]
async fn a_dropped_stream_is_cut_on_the_other_side() {
    let ((client, _one), (server, _other)) = pair();
    let mut near = client.open().unwrap();
    near.write_all(b"x").await.unwrap();
    let mut far = server.accept().await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    // A word both ways: by now both know windows.
    far.write_all(b"y").await.unwrap();
    near.read_exact(&mut [0]).await.unwrap();
    drop(far);
    assert_eq!(near.read(&mut [0]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(near.write(b"z").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_session_that_is_left_lets_its_streams_end_and_takes_no_more() {
    let ((client, client_end), (server, server_end)) = pair();
    let mut near = client.open().unwrap();
    near.write_all(b"x").await.unwrap();
    let mut far = server.accept().await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    drop(server);
    assert!(client.accept().await.is_none(), "the client hears of it");
    assert_eq!(client.open().unwrap_err(), End::Closed);
    far.write_all(b"still here").await.unwrap();
    far.shutdown().await.unwrap();
    near.shutdown().await.unwrap();
    let mut last = String::new();
    near.read_to_string(&mut last).await.unwrap();
    assert_eq!(last, "still here");
    far.read_to_string(&mut last).await.unwrap();
    drop((near, far));
    assert_eq!(server_end.await.unwrap(), End::Done);
    assert_eq!(client_end.await.unwrap(), End::Closed);
}

#[tokio::test]
async fn nonsense_ends_the_session() {
    let of_ours = frame(0, 2, b"");
    for (bytes, says) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "version 71"),
        (b"\x01\x09\x00\x00\x00\x00\x00\x00", "command 9"),
        (b"\x01\x04\x01\x00\x00\x00\x00\x00x", "Update with 1 bytes"),
        (&of_ours, "ours to open"),
    ] {
        let ((_session, driver), mut peer) = against_bytes(Role::Server);
        peer.write_all(bytes).await.unwrap();
        let end = driver.await.unwrap().to_string();
        assert!(end.contains(says), "{end}");
    }
}

#[tokio::test]
async fn more_streams_than_anyone_takes_are_refused() {
    let ((session, _driver), mut gost) = against_bytes(Role::Server);
    expect(&mut gost, &ANNOUNCED).await;
    for index in 0..1_025 {
        gost.write_all(&frame(0, 3 + 2 * index, b"")).await.unwrap();
    }
    expect(&mut gost, &frame(1, 3 + 2 * 1_024, b"")).await;
    drop(session);
}
