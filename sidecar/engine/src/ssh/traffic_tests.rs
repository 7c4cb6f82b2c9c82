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
    for _ in 0..limit(1) / (PART as i64) {
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

#[test]
fn a_peer_may_send_what_was_read_and_more_where_reading_is_fast() {
    let traffic = Traffic::new();
    let flow = traffic.flow(id(1));
    let half = FIRST_WINDOW as usize / 2;
    assert_eq!(traffic.grant(&flow, half - 1), None, "not worth a word");
    assert_eq!(traffic.grant(&flow, 1), Some(FIRST_WINDOW), "as much again");
    let (mut granted, mut read) = (2 * FIRST_WINDOW, FIRST_WINDOW / 2);
    while read < 64 << 20 {
        // Whatever the peer sends is read at once.
        let part = 32 << 10;
        granted += traffic.grant(&flow, part).unwrap_or_default();
        read += part as u32;
        assert!(granted >= read && granted - read <= LARGEST_WINDOW, "{granted} {read}");
    }
    assert_eq!(flow.window().size, LARGEST_WINDOW);
}

#[test]
fn windows_of_a_session_grow_together_within_a_limit_and_give_it_back() {
    let traffic = Traffic::new();
    let read = |traffic: &Traffic, number: u8| {
        let flow = traffic.flow(id(number));
        (0..64).for_each(|_| _ = traffic.grant(&flow, LARGEST_WINDOW as usize));
        flow.window().size
    };
    let sizes: Vec<_> = (0..40).map(|number| read(&traffic, number)).collect();
    let grown: i64 = sizes.iter().map(|size| i64::from(size - FIRST_WINDOW)).sum();
    assert!(grown <= GROWTH && sizes[0] == LARGEST_WINDOW && sizes[39] == FIRST_WINDOW, "{sizes:?}");
    traffic.forget(id(0));
    assert_eq!(read(&traffic, 39), LARGEST_WINDOW);
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
