//! relay hops over pipes: those that answer at once, with data, late, by a refusal, or with nonsense.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use fairlead_config::HostPort;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};

use super::*;

fn request() -> Request {
    Request { address: Some(HostPort::new("127.0.0.1", 80)), ..Request::default() }
}

/// Both ends of a pipe, ours as a stream.
fn pipe() -> (Stream, DuplexStream) {
    let (ours, theirs) = duplex(1024);
    (Stream::Layered(Box::new(ours)), theirs)
}

async fn answered(bytes: &[u8], habit: &Arc<Habit>) -> Result<Stream, Fault> {
    let (ours, mut theirs) = pipe();
    theirs.write_all(bytes).await.unwrap();
    theirs.shutdown().await.unwrap();
    connect(ours, &request(), habit).await
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_to_its_last_byte_and_what_follows_is_the_targets() {
    for reply in [&b"\x01\x00\x00\x00"[..], b"\x01\x00\x00\x05\x02\x00\x02ab"] {
        let mut stream = answered(&[reply, b"220 hello"].concat(), &Arc::default()).await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "220 hello");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_target_is_the_targets_and_all_else_the_hops() {
    for (bytes, is_targets, part) in [
        (&b"\x01\x05\x00\x00"[..], true, "the target can't be reached"),
        (b"\x01\x03\x00\x00", true, "not allowed"),
        (b"\x01\x04\x00\x00", true, "no answer in time"),
        (b"\x01\x06\x00\x00", true, "host unreachable"),
        (b"\x01\x01\x00\x00", false, "name one in targets"),
        (b"\x01\x02\x00\x00", false, "refuses the user"),
        (b"\x01\x63\x00\x00", false, "status 99"),
        (b"HTTP/1.1 400", false, "0x48"),
        (b"\x01\x00", false, "closed the connection"),
        (b"", false, "closed the connection"),
    ] {
        match answered(bytes, &Arc::default()).await.unwrap_err() {
            Fault::Address(cause) => assert!(is_targets && cause.to_string().contains(part), "{bytes:?}: {cause}"),
            Fault::Hop(cause) => assert!(!is_targets && cause.to_string().contains(part), "{bytes:?}: {cause}"),
        }
    }
}

/// Connects through a hop that is silent until it has `first` from us, then says `answer`.
async fn late(answer: &'static [u8], habit: &Arc<Habit>) -> (Stream, tokio::task::JoinHandle<DuplexStream>) {
    let (ours, mut theirs) = pipe();
    let server = tokio::spawn(async move {
        let mut bytes = [0; 14 + 5];
        theirs.read_exact(&mut bytes).await.unwrap();
        assert!(bytes.ends_with(b"first"));
        theirs.write_all(answer).await.unwrap();
        theirs
    });
    (connect(ours, &request(), habit).await.unwrap(), server)
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_answers_only_with_data_is_soon_not_waited_for() {
    let habit = Arc::default();
    for waited in [UNKNOWN.1, LAZY.1, LAZY.1] {
        let begun = tokio::time::Instant::now();
        let (mut stream, _server) = late(b"\x01\x00\x00\x00answer", &habit).await;
        assert!(begun.elapsed() < waited + Duration::from_millis(5), "{:?}", begun.elapsed());
        stream.write_all(b"first").await.unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_is_slow_and_answers_by_itself_is_waited_for_the_next_time() {
    let habit: Arc<Habit> = Arc::default();
    let (mut stream, server) = late(b"\x01\x00\x00\x00", &habit).await;
    stream.write_all(b"first").await.unwrap();
    let mut theirs = server.await.unwrap();
    let mut answer = [0; 6];
    // In this order: the reply is read before there is anything behind it.
    let (read, written) = futures::join!(stream.read_exact(&mut answer), theirs.write_all(b"answer"));
    read.and(written.map(|()| 0)).unwrap();
    assert_eq!(habit.patience(), PROMPT.1);
    let (ours, _theirs) = pipe();
    assert!(matches!(connect(ours, &request(), &habit).await.unwrap(), Stream::Late(_)));
    assert_eq!(habit.patience(), UNKNOWN.1, "until it is silent again");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_comes_late_is_told_once_and_ends_the_connection() {
    let (stream, _server) = late(b"\x01\x05\x00\x00", &Arc::default()).await;
    let Stream::Late(mut late) = stream else { panic!("the hop was silent") };
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    late.on_refusal(move |fault| heard.lock().unwrap().push(fault.clone()));
    late.write_all(b"first").await.unwrap();
    let error = late.read_u8().await.unwrap_err();
    assert!(error.to_string().contains("can't be reached"), "{error}");
    assert!(matches!(told.lock().unwrap()[..], [Fault::Address(_)]));
}
