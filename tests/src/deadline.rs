//! Waiting for something to become true, in tests that must not sleep: every wait names what it waits for and ends.

use std::{
    fmt::{self, Display, Formatter},
    time::{Duration, Instant},
};

/// How long anything may take that takes milliseconds on an idle machine.
pub const SOON: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const TURN: Duration = Duration::from_millis(10);

/// What a wait was for, said only once it was in vain.
pub struct Late<F>(pub F);

impl<F: Fn() -> String> Display for Late<F> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}

/// Looks until `probe` has an answer. Panics, saying what was waited for, after `limit`: what is `what` by then.
pub fn await_some<T>(what: impl Display, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} in vain for this: {what}");
        pause(TURN);
    }
}

/// Looks until `condition` is true. Panics, saying what was waited for, after `limit`.
pub fn await_condition(what: impl Display, limit: Duration, mut condition: impl FnMut() -> bool) {
    await_some(what, limit, || condition().then_some(()));
}

/// Repeats `step` until `end`: for what must *not* happen in a span of time.
pub fn until(end: Instant, mut step: impl FnMut()) {
    while Instant::now() < end {
        step();
        pause(TURN);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one place where a test lets time pass: between two looks at a condition"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_handed_out_as_soon_as_there_is_one() {
        let mut looks = 0;
        let third = await_some("the third look", SOON, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third, 3);
    }

    #[test]
    #[should_panic(expected = "in vain for this: rain")]
    fn a_wait_in_vain_says_what_for() {
        await_condition("rain", Duration::ZERO, || false);
    }
}
