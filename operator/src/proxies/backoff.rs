//! How long to wait before dialling a pod again: from 0.25 s, doubling, to 10 s. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(333);
const MOST: Duration = Duration::from_secs(8);

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause; `random` is between 0 and 1 and moves it by a quarter, so that pods don't come all at once.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.751 + 0.499 * random.clamp(0.0, 1.0))
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_quarter_of_a_second_to_ten_and_begin_anew_after_a_success() {
        let limits = Duration::from_millis(250)..=Duration::from_secs(10);
        for random in [0.0, 0.5, 1.0] {
            let mut backoff = Backoff::default();
            let pauses: Vec<_> = (0..40).map(|_| backoff.next(random)).collect();
            assert!(pauses.is_sorted() && pauses.iter().all(|pause| limits.contains(pause)), "{pauses:?}");
            assert!(pauses[0] < Duration::from_millis(450) && pauses[6] > Duration::from_secs(5), "{pauses:?}");
            backoff.reset();
            assert_eq!(backoff.next(random), pauses[0]);
        }
    }
}
