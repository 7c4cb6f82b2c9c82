//! The operator's histogram of reconciles, as /metrics prints it. Pure.

use std::time::Duration;

const NAME: &str = "fairlead_operator_reconcile_seconds";

/// How many reconciles there were, and how long they took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reconciles {
    pub(super) count: u64,
    seconds: f64,
    /// Upper bounds in seconds, with how many stayed within.
    within: Vec<(f64, u64)>,
}

impl Reconciles {
    pub(super) fn read(metrics: &str) -> Self {
        let mut read = Self::default();
        for line in metrics.lines() {
            let Some((name, value)) = line.strip_prefix(NAME).and_then(|rest| rest.split_once(' ')) else { continue };
            let value: f64 = value.parse().unwrap_or_default();
            match name {
                "_count" => read.count = value as u64,
                "_sum" => read.seconds = value,
                bucket => read.within.extend(bound(bucket).map(|bound| (bound, value as u64))),
            }
        }
        read
    }

    /// Those that came after `before` was read.
    pub(super) fn since(&self, before: &Self) -> Self {
        let earlier =
            |bound: f64| before.within.iter().find(|(other, _)| *other == bound).map_or(0, |(_, count)| *count);
        Self {
            count: self.count - before.count,
            seconds: self.seconds - before.seconds,
            within: self.within.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect(),
        }
    }

    /// Their mean, if there were any.
    pub(super) fn mean(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_secs_f64((self.seconds / self.count as f64).max(0.0)))
    }

    /// The bound that 99 of 100 stayed within, if there were any and it is known.
    pub(super) fn p99_within(&self) -> Option<Duration> {
        let most = (self.count * 99).div_ceil(100);
        let bound = self.within.iter().find(|(_, count)| *count >= most).map(|(bound, _)| *bound);
        bound.filter(|bound| self.count > 0 && bound.is_finite()).map(Duration::from_secs_f64)
    }
}

/// Reads `_bucket{le="0.5"}`.
fn bound(bucket: &str) -> Option<f64> {
    let text = bucket.strip_prefix("_bucket{le=\"")?.strip_suffix("\"}")?;
    if text == "+Inf" { Some(f64::INFINITY) } else { text.parse().ok() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metrics(within: [u64; 3], sum: f64) -> String {
        let [a, b, all] = within;
        format!(
            "# TYPE x histogram\n{NAME}_sum {sum}\n{NAME}_count {all}\n{NAME}_bucket{{le=\"0.001\"}} {a}\n\
             {NAME}_bucket{{le=\"0.5\"}} {b}\n{NAME}_bucket{{le=\"+Inf\"}} {all}\n"
        )
    }

    #[test]
    fn a_phase_is_the_difference_of_two_scrapes() {
        let before = Reconciles::read(&metrics([10, 10, 10], 0.01));
        let phase = Reconciles::read(&metrics([10, 110, 110], 10.01)).since(&before);
        assert_eq!((phase.count, phase.p99_within()), (100, Some(Duration::from_millis(500))));
        assert_eq!(phase.mean().unwrap().as_millis(), 100);
        assert_eq!(before.p99_within(), Some(Duration::from_millis(1)));
        assert_eq!(Reconciles::read(&metrics([0, 0, 5], 9.0)).p99_within(), None);
        assert_eq!((Reconciles::default().mean(), Reconciles::default().p99_within()), (None, None));
    }
}
