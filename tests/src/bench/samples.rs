//! Everything measured in one run: for each forwarder and figure one value a round, so that rounds can be compared.
use std::collections::BTreeMap;

use super::measure::{Group, Measure};
use super::peer::Peer;
use super::stats;

/// The values of a run, and why some are missing or bad.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(Peer, Measure), Vec<Option<f64>>>,
    reasons: BTreeMap<(Group, Peer), String>,
}

impl Samples {
    /// Keeps the value of a round; rounds count from zero.
    pub(crate) fn record(&mut self, round: usize, peer: Peer, measure: Measure, value: f64) {
        let values = self.values.entry((peer, measure)).or_default();
        if values.len() <= round {
            values.resize(round + 1, None);
        }
        values[round] = Some(value);
    }

    /// Keeps why a forwarder has no value, or a bad one, in a group.
    pub(crate) fn explain(&mut self, group: Group, peer: Peer, reason: String) {
        self.reasons.insert((group, peer), reason);
    }

    /// Why a forwarder has no value, or a bad one, in a group.
    pub(crate) fn reason(&self, group: Group, peer: Peer) -> Option<&str> {
        self.reasons.get(&(group, peer)).map(String::as_str)
    }

    /// The median over all rounds.
    pub(crate) fn median(&self, peer: Peer, measure: Measure) -> Option<f64> {
        let values: Vec<f64> = self.values(peer, measure).iter().flatten().copied().collect();
        stats::median(&values)
    }

    /// The worst of all rounds where less is worse.
    pub(crate) fn least(&self, peer: Peer, measure: Measure) -> Option<f64> {
        let values = self.values(peer, measure).iter().flatten().copied();
        values.min_by(f64::total_cmp)
    }

    /// The median of the same-round ratios of two forwarders.
    pub(crate) fn ratio(&self, ours: Peer, theirs: Peer, measure: Measure) -> Option<f64> {
        stats::ratio(self.values(ours, measure), self.values(theirs, measure))
    }

    fn values(&self, peer: Peer, measure: Measure) -> &[Option<f64>] {
        self.values.get(&(peer, measure)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_failed_leaves_a_gap_and_moves_no_other() {
        let mut samples = Samples::default();
        for (round, ours, theirs) in [(0, Some(1.0), 4.0), (1, None, 100.0), (2, Some(3.0), 4.0)] {
            if let Some(value) = ours {
                samples.record(round, Peer::Fairlead, Measure::BulkCpu1, value);
            }
            samples.record(round, Peer::Haproxy, Measure::BulkCpu1, theirs);
        }
        let ratio = samples.ratio(Peer::Fairlead, Peer::Haproxy, Measure::BulkCpu1);
        assert_eq!(ratio, Some(0.5));
        assert_eq!(samples.median(Peer::Fairlead, Measure::BulkCpu1), Some(2.0));
        assert_eq!(samples.least(Peer::Fairlead, Measure::BulkCpu1), Some(1.0));
    }
}
