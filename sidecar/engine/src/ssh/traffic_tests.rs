//! The judgement by tables, and a session that is held until somebody reads.
#![allow(clippy::unwrap_used)]

use russh::keys::ssh_encoding::Decode;
use tokio::time::timeout;

use super::*;

fn id(number: u8) -> ChannelId {
    ChannelId::decode(&mut &[0, 0, 0, number][..]).unwrap()
}

#[test]
fn the_fullest_of_those_that_take_nothing_ends_and_only_while_others_wait() {
    let secs = Duration::from_secs;
    let view = |number, waiting, idle| View { id: id(number), waiting, idle: secs(idle) };
    for (channels, held, want) in [
        (vec![view(1, 9, 40), view(2, 0, 40)], 30, Some(1)),
        (vec![view(1, 9, 40), view(2, 0, 40)], 29, None),
        (vec![view(1, 9, 40)], 60, None),
        (vec![view(1, 9, 20), view(2, 5, 1)], 60, None),
        (vec![view(1, 9, 40), view(2, 12, 40), view(3, 99, 1)], 60, Some(2)),
        (vec![view(1, 0, 40), view(2, 0, 40)], 60, None),
    ] {
        assert_eq!(stalled(&channels, secs(held)), want.map(id), "{channels:?} {held}");
    }
}

#[tokio::test]
async fn a_session_is_held_until_somebody_reads() {
    const PART: usize = 1 << 20;
    let traffic = Traffic::new();
    let flow = traffic.flow(id(1));
    for _ in 1..SESSION_BUFFER / (PART as i64) {
        timeout(Duration::from_secs(5), traffic.received(id(1), PART)).await.unwrap();
    }
    let traffic = Arc::new(traffic);
    let held = tokio::spawn({
        let traffic = Arc::clone(&traffic);
        async move { traffic.received(id(1), PART).await }
    });
    while !traffic.is_held() {
        tokio::task::yield_now().await;
    }
    assert!(!held.is_finished());
    traffic.taken(&flow, PART);
    timeout(Duration::from_secs(5), held).await.unwrap().unwrap();
    assert!(!traffic.is_held());
    assert!(traffic.backlog() > BACKLOG);
    traffic.forget(id(1));
    assert_eq!(traffic.backlog(), 0);
}

#[tokio::test]
async fn what_no_channel_reads_is_not_counted() {
    let traffic = Traffic::new();
    traffic.received(id(7), 1 << 20).await;
    assert_eq!(traffic.backlog(), 0);
    let flow = traffic.flow(id(1));
    traffic.received(id(1), 1).await;
    assert_eq!(traffic.backlog(), LEAST, "a message takes more than its bytes");
    flow.end();
    traffic.received(id(1), 1).await;
    assert_eq!(traffic.backlog(), LEAST);
}

#[test]
fn a_server_is_silent_since_it_was_last_heard() {
    let traffic = Traffic::new();
    let asked = Instant::now() + Duration::from_millis(5);
    assert!(traffic.is_silent_since(asked));
    while Instant::now() < asked + Duration::from_millis(2) {
        std::thread::yield_now();
    }
    traffic.note_heard();
    assert!(!traffic.is_silent_since(asked));
}
