//! The relay between real sockets on loopback: every byte, both ends, resets, both ways of copying.
#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::net::SendFlags;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::pipe::{refuse_for, times_lent};

mod stopped;

const DEADLINE: Duration = Duration::from_secs(60);

/// A relay under way, and the far ends of its two connections.
struct Relayed {
    client: TcpStream,
    upstream: TcpStream,
    counters: Arc<ByteCounters>,
    relay: JoinHandle<Result<(), CopyError>>,
}

impl Relayed {
    async fn start(idle_timeout: Option<Duration>) -> Self {
        let (client, near_client) = pair().await;
        let (upstream, near_upstream) = pair().await;
        let counters = Arc::new(ByteCounters::default());
        let counted = Arc::clone(&counters);
        let relay = tokio::spawn(async move { relay(near_client, near_upstream, &counted, idle_timeout).await });
        Self { client, upstream, counters, relay }
    }

    async fn ended(self) -> Result<(), CopyError> {
        timeout(DEADLINE, self.relay).await.unwrap().unwrap()
    }

    fn counted(&self) -> (u64, u64) {
        (self.counters.to_upstream.load(Ordering::Relaxed), self.counters.to_client.load(Ordering::Relaxed))
    }
}

/// Two ends of a connection: far, near.
async fn pair() -> (TcpStream, Socket) {
    let listener = listener().await;
    let far = TcpStream::connect(listener.local_addr().unwrap());
    let (far, near) = tokio::join!(far, listener.accept());
    let near = near.unwrap().0.into_std().unwrap();
    SockRef::from(&near).set_out_of_band_inline(true).unwrap();
    (far.unwrap(), Socket::new(near).unwrap())
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A block of bytes without a short period; streams repeat it.
fn block(seed: u32) -> Vec<u8> {
    let next = |state: &mut u32| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some(state.to_le_bytes()[3])
    };
    let mut state = seed;
    std::iter::from_fn(|| next(&mut state)).take(1_000_003).collect()
}

async fn send_blocks(mut stream: impl AsyncWriteExt + Unpin, block: &[u8], blocks: usize) {
    for _ in 0..blocks {
        stream.write_all(block).await.unwrap();
    }
    stream.shutdown().await.unwrap();
}

/// Sends these bytes, an urgent one and the bytes once more, all at once, and ends its side.
fn send_urgent(far: &TcpStream, bytes: &[u8]) {
    for (part, flags) in [(bytes, SendFlags::empty()), (b"!", SendFlags::OOB), (bytes, SendFlags::empty())] {
        assert_eq!(rustix::net::send(far, part, flags).unwrap(), part.len());
    }
    rustix::net::shutdown(far, rustix::net::Shutdown::Write).unwrap();
}

async fn expect_blocks(mut stream: impl AsyncReadExt + Unpin, block: &[u8], blocks: usize) {
    let mut read = vec![0; block.len()];
    for number in 0..blocks {
        stream.read_exact(&mut read).await.unwrap();
        assert!(read == block, "block {number} is not what was sent");
    }
    assert_eq!(stream.read(&mut read).await.unwrap(), 0);
}

/// Sends so many MB each way at once and closes each way when it is out.
async fn exchange(upward: usize, downward: usize) {
    let mut relayed = Relayed::start(None).await;
    let (up, down) = (block(1), block(2));
    let (client_in, client_out) = relayed.client.split();
    let (upstream_in, upstream_out) = relayed.upstream.split();
    let all = async {
        tokio::join!(
            send_blocks(client_out, &up, upward),
            expect_blocks(upstream_in, &up, upward),
            send_blocks(upstream_out, &down, downward),
            expect_blocks(client_in, &down, downward),
        )
    };
    timeout(DEADLINE, all).await.unwrap();
    let sizes = (upward * up.len(), downward * down.len());
    assert_eq!(relayed.counted(), (sizes.0 as u64, sizes.1 as u64));
    relayed.ended().await.unwrap();
}

#[tokio::test]
async fn bulk_is_spliced_both_ways_and_each_way_ends_by_itself() {
    let before = times_lent();
    exchange(32, 24).await;
    assert!(times_lent() > before + 10);
}

#[tokio::test]
async fn without_pipes_bulk_is_copied() {
    refuse_for(DEADLINE * 2);
    exchange(32, 24).await;
    assert_eq!(times_lent(), 0);
}

#[tokio::test]
async fn small_messages_are_never_spliced() {
    let mut relayed = Relayed::start(None).await;
    for number in 0..1000_u32 {
        let asked = number.to_le_bytes();
        relayed.client.write_all(&asked).await.unwrap();
        let mut answer = [0; 4];
        relayed.upstream.read_exact(&mut answer).await.unwrap();
        relayed.upstream.write_all(&answer).await.unwrap();
        relayed.client.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, asked);
    }
    assert_eq!(relayed.counted(), (4000, 4000));
    assert_eq!(times_lent(), 0);
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let mut relayed = Relayed::start(None).await;
    relayed.upstream.write_all(b"220 ready").await.unwrap();
    let mut greeting = [0; 9];
    relayed.client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready");
}

#[tokio::test]
async fn an_end_follows_the_bytes_before_it_and_leaves_the_other_way_open() {
    for client_first in [true, false] {
        let relayed = Relayed::start(None).await;
        let (mut first, mut second) = (relayed.client, relayed.upstream);
        if !client_first {
            std::mem::swap(&mut first, &mut second);
        }
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut heard = String::new();
        second.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "question");
        assert!(!relayed.relay.is_finished());

        second.write_all(b"answer").await.unwrap();
        drop(second);
        heard.clear();
        first.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "answer");
        timeout(DEADLINE, relayed.relay).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_slow_reader_holds_up_the_sender_and_loses_nothing() {
    let offered = 200;
    let bytes = Arc::new(block(3));
    let relayed = Relayed::start(None).await;
    let (sender, reader, counters) = (relayed.client, relayed.upstream, relayed.counters);
    let sent = Arc::clone(&bytes);
    let sending = tokio::spawn(async move { send_blocks(sender, &sent, offered).await });
    let stuck = timeout(DEADLINE, stall_of(&counters.to_upstream));
    let taken = stuck.await.unwrap();
    assert!(!sending.is_finished(), "{taken} bytes went somewhere");
    let reading = expect_blocks(reader, &bytes, offered);
    timeout(DEADLINE, reading).await.unwrap();
    sending.await.unwrap();
}

#[tokio::test]
async fn a_reset_of_one_side_resets_the_other() {
    let relayed = Relayed::start(None).await;
    let (client, mut upstream) = (relayed.client, relayed.upstream);
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(is_reset(&mut upstream).await);
    let error = relayed.relay.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), "ClientFailed");

    let relayed = Relayed::start(None).await;
    let (mut client, upstream) = (relayed.client, relayed.upstream);
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    assert!(is_reset(&mut client).await);
    let error = relayed.relay.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), "UpstreamFailed");
}

#[tokio::test]
async fn what_a_side_said_before_its_reset_arrives() {
    let relayed = Relayed::start(None).await;
    let (mut client, mut upstream) = (relayed.client, relayed.upstream);
    upstream.write_all(b"too large").await.unwrap();
    upstream.set_zero_linger().unwrap();
    drop(upstream);
    let mut heard = [0; 9];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"too large");
    assert!(is_reset(&mut client).await);
}

#[tokio::test]
async fn a_side_that_dies_after_its_end_is_noticed_while_the_other_is_silent() {
    let relayed = Relayed::start(None).await;
    let (mut client, mut upstream) = (relayed.client, relayed.upstream);
    client.shutdown().await.unwrap();
    assert_eq!(upstream.read(&mut [0]).await.unwrap(), 0);
    client.set_zero_linger().unwrap();
    drop(client);
    let error = timeout(DEADLINE, relayed.relay).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().reason(), "ClientFailed");
    // Having seen the end, it reads no error; but it can write no more.
    upstream.ready(Interest::ERROR).await.unwrap();
    assert!(upstream.write_all(b"x").await.is_err());
}

/// In messages and in bulk, with all of it there before the relay reads any.
#[tokio::test]
async fn an_urgent_byte_stays_in_its_place_and_holds_nothing_up() {
    for size in [3, 40_000, 200_000] {
        let bytes = &block(5)[..size];
        let (client, near_client) = pair().await;
        let (mut upstream, near_upstream) = pair().await;
        send_urgent(&client, bytes);
        let counters = ByteCounters::default();
        let relayed = relay(near_client, near_upstream, &counters, None);
        let mut heard = Vec::new();
        let read = timeout(DEADLINE, upstream.read_to_end(&mut heard));
        tokio::select! {
            ended = relayed => panic!("{ended:?}"),
            read = read => read.unwrap().unwrap(),
        };
        assert!(heard == [bytes, b"!", bytes].concat(), "{} bytes, {size} before and behind", heard.len());
    }
}

#[tokio::test]
async fn a_relay_cut_short_resets_both_sides() {
    let mut relayed = Relayed::start(None).await;
    relayed.client.write_all(b"x").await.unwrap();
    relayed.upstream.read_exact(&mut [0]).await.unwrap();
    relayed.relay.abort();
    assert!(is_reset(&mut relayed.client).await);
    assert!(is_reset(&mut relayed.upstream).await);
}

#[tokio::test]
async fn a_silent_connection_ends_after_its_idle_timeout() {
    let limit = Duration::from_millis(80);
    let relayed = Relayed::start(Some(limit)).await;
    let start = std::time::Instant::now();
    let error = relayed.ended().await.unwrap_err();
    assert!(start.elapsed() >= limit);
    assert_eq!(error.reason(), "IdleTimeout");
    assert_eq!(error.to_string(), "no byte either way for 80ms");
}

#[test]
fn the_counters_of_two_workers_share_no_cache_line() {
    // Processors fetch lines of 64 bytes by pairs.
    assert_eq!((align_of::<ByteCounters>(), size_of::<ByteCounters>()), (128, 128));
}

#[test]
fn a_relay_is_small() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(async {
        let (_far, near) = pair().await;
        let (_far, other) = pair().await;
        let counters = ByteCounters::default();
        let size = size_of_val(&relay(near, other, &counters, None));
        assert!(size <= 320, "{size} bytes for each connection");
    });
}

/// Waits until `counter` stands still and returns it.
async fn stall_of(counter: &AtomicU64) -> u64 {
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let mut before = u64::MAX;
    loop {
        tick.tick().await;
        let now = counter.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

/// Returns whether the next read says that the connection was reset.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = timeout(DEADLINE, stream.read(&mut [0])).await.unwrap();
    read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}
