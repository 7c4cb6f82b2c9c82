//! The buckets against a model that counts what is left in hundredths of a second.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn key(name: &str) -> ForwardKey {
    ForwardKey::local("shop", name)
}

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

#[test]
fn four_changes_are_written_at_once_and_then_one_every_ten_seconds() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    for _ in 0..4 {
        assert_eq!(budget.take(&key("db"), start), Ok(()));
    }
    assert_eq!(budget.take(&key("db"), start), Err(after(start, 10_000)));
    assert_eq!(budget.take(&key("web"), start), Ok(()), "another object has a bucket of its own");
    assert_eq!(budget.take(&key("db"), after(start, 9_999)), Err(after(start, 10_000)));
    assert_eq!(budget.take(&key("db"), after(start, 10_000)), Ok(()));
    assert_eq!(budget.take(&key("db"), after(start, 10_000)), Err(after(start, 20_000)));
}

#[test]
fn a_minute_of_flapping_is_ten_writes_at_most() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    let writes = (0..60_000).step_by(100).filter(|millis| budget.take(&key("db"), after(start, *millis)).is_ok());
    assert_eq!(writes.count(), 9);
}

#[test]
fn all_objects_together_write_twenty_at_once_and_spend_nothing_of_their_own_when_refused() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    for name in 0..20 {
        assert_eq!(budget.take(&key(&format!("n{name}")), start), Ok(()));
    }
    for _ in 0..10 {
        assert_eq!(budget.take(&key("db"), start), Err(after(start, 50)));
    }
    for millis in [50, 100, 150, 200] {
        assert_eq!(budget.take(&key("db"), after(start, millis)), Ok(()));
    }
}

#[test]
fn objects_that_are_quiet_take_no_memory() {
    let start = Instant::now();
    let mut budget = Budget::new(start);
    for name in 0..10_000 {
        budget.take(&key(&format!("n{name}")), after(start, name * 50)).unwrap();
    }
    assert!(budget.objects.len() < 1000, "{} buckets", budget.objects.len());
}

/// Tokens left, in thousandths.
struct Model {
    left: u64,
    at: u64,
}

impl Model {
    fn refill(&mut self, rate: Rate, now: u64) {
        let (capacity, period) = (u64::from(rate.capacity), u64::try_from(rate.period.as_millis()).unwrap());
        self.left = (self.left + (now - self.at)).min(capacity * period);
        self.at = now;
    }
}

proptest! {
    #[test]
    fn it_permits_what_counting_tokens_permits(steps in prop::collection::vec((0..3_u8, 0..4_000_u64), 1..200)) {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut objects: Vec<Model> = (0..3).map(|_| Model { left: 40_000, at: 0 }).collect();
        let mut all = Model { left: 1000, at: 0 };
        let mut now = 0;
        for (object, pause) in steps {
            // Many bursts, some long pauses.
            now += if pause < 2_000 { pause / 100 } else { pause };
            let model = &mut objects[usize::from(object)];
            model.refill(OBJECT, now);
            all.refill(ALL, now);
            let missing = 10_000_u64.saturating_sub(model.left).max(50_u64.saturating_sub(all.left));
            let expected = if missing == 0 { Ok(()) } else { Err(after(start, now + missing)) };
            prop_assert_eq!(budget.take(&key(&object.to_string()), after(start, now)), expected);
            if missing == 0 {
                model.left -= 10_000;
                all.left -= 50;
            }
        }
    }
}
