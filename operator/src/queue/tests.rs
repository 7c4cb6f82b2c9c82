//! The queue by examples and against a list.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn keys_come_when_they_are_due_in_the_order_of_their_due_times() {
    let start = Instant::now();
    let mut queue = Queue::default();
    for (key, due) in [("c", 3), ("a", 1), ("b", 2), ("b2", 2)] {
        queue.add(key, after(start, due));
    }
    assert_eq!(queue.next_due(), Some(after(start, 1)));
    assert_eq!(queue.pop(start), None);
    let order: Vec<_> = std::iter::from_fn(|| queue.pop(after(start, 3))).collect();
    assert_eq!(order, ["a", "b", "b2", "c"]);
}

#[test]
fn a_key_added_twice_comes_once_at_the_earlier_time() {
    let start = Instant::now();
    let mut queue = Queue::default();
    for due in [5, 2, 9] {
        queue.add("a", after(start, due));
    }
    assert_eq!((queue.len(), queue.next_due()), (1, Some(after(start, 2))));
}

#[test]
fn a_key_in_work_comes_again_only_after_it_is_done() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.add("a", start);
    assert_eq!(queue.pop(start), Some("a"));
    queue.add("a", after(start, 4));
    queue.add("a", start);
    assert_eq!(queue.pop(after(start, 9)), None);
    queue.done(&"a");
    assert_eq!(queue.pop(start), Some("a"));
    queue.done(&"a");
    assert_eq!((queue.pop(after(start, 9)), queue.is_empty()), (None, true));
}

#[test]
fn the_backoff_doubles_to_five_minutes_and_begins_anew_after_a_success() {
    let start = Instant::now();
    let mut queue = Queue::default();
    let delay = |queue: &mut Queue<&str>, jitter| {
        let due = queue.backoff("a", start, jitter);
        queue.pop(due).unwrap();
        queue.done(&"a");
        (due - start).as_millis()
    };
    let delays: Vec<_> = (0..11).map(|_| delay(&mut queue, 0.0)).collect();
    let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300].map(|seconds| seconds * 1000);
    assert_eq!(delays, expected);
    for _ in 0..40 {
        delay(&mut queue, 0.0);
    }
    assert_eq!(delay(&mut queue, 0.5), 330_000);
    queue.forget(&"a");
    assert_eq!(delay(&mut queue, 1.0), 1200);
}

#[test]
fn an_event_overtakes_a_backoff() {
    let start = Instant::now();
    let mut queue = Queue::default();
    queue.backoff("a", start, 0.0);
    queue.add("a", start);
    assert_eq!(queue.pop(start), Some("a"));
}

#[derive(Debug, Clone)]
enum Op {
    Add(u8, u64),
    Pop,
    Done(u8),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..5_u8, 0..20_u64).prop_map(|(key, due)| Op::Add(key, due)),
        3 => Just(Op::Pop),
        2 => (0..5_u8).prop_map(Op::Done),
        1 => (0..10_u64).prop_map(Op::Pass),
    ]
}

/// What a list without any cleverness does. Of keys due at the same time, either may come.
#[derive(Default)]
struct Model {
    waiting: HashMap<u8, u64>,
    in_work: HashMap<u8, Option<u64>>,
}

impl Model {
    fn add(&mut self, key: u8, due: u64) {
        let earlier = |before: Option<u64>| Some(before.map_or(due, |before| before.min(due)));
        match self.in_work.get_mut(&key) {
            Some(again) => *again = earlier(*again),
            None => drop(self.waiting.insert(key, earlier(self.waiting.get(&key).copied()).unwrap())),
        }
    }

    fn done(&mut self, key: u8) {
        if let Some(Some(due)) = self.in_work.remove(&key) {
            self.waiting.insert(key, due);
        }
    }

    fn next_due(&self) -> Option<u64> {
        self.waiting.values().min().copied()
    }
}

proptest! {
    #[test]
    fn it_does_what_a_list_does(ops in prop::collection::vec(op(), 1..120)) {
        let start = Instant::now();
        let (mut queue, mut model, mut now) = (Queue::default(), Model::default(), 0);
        for op in ops {
            match op {
                Op::Pass(seconds) => now += seconds,
                Op::Add(key, delay) => {
                    queue.add(key, after(start, now + delay));
                    model.add(key, now + delay);
                }
                Op::Done(key) => {
                    queue.done(&key);
                    model.done(key);
                }
                Op::Pop => {
                    let popped = queue.pop(after(start, now));
                    prop_assert_eq!(popped.is_some(), model.next_due().is_some_and(|due| due <= now));
                    if let Some(key) = popped {
                        prop_assert_eq!(model.waiting.get(&key).copied(), model.next_due());
                        prop_assert!(model.in_work.insert(key, None).is_none(), "{} is in work already", key);
                        model.waiting.remove(&key);
                    }
                }
            }
            prop_assert_eq!(queue.next_due(), model.next_due().map(|due| after(start, due)));
            prop_assert_eq!(queue.len(), model.waiting.len());
        }
    }
}
