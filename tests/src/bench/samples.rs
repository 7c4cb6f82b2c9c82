//! Everything measured in one run: for each forwarder and figure one value a round, so that rounds can be compared.
use std::collections::BTreeMap;

use super::group::Group;
use super::measure::Measure;
use super::peer::Peer;
use super::stats;

/// The values of a run, and why some are missing or bad.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    values: BTreeMap<(Group, Peer, Measure), Vec<Option<f64>>>,
    reasons: BTreeMap<(Group, Peer), String>,
}

impl Samples {
    /// Keeps a forwarder's value of a round; rounds count from zero.
    pub(crate) fn record(&mut self, round: usize, (group, peer): (Group, Peer), measure: Measure, value: f64) {
        let values = self.values.entry((group, peer, measure)).or_default();
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
    pub(crate) fn median(&self, group: Group, peer: Peer, measure: Measure) -> Option<f64> {
        let values: Vec<f64> = self.values(group, peer, measure).iter().flatten().copied().collect();
        stats::median(&values)
    }

    /// The worst of all rounds where less is worse.
    pub(crate) fn least(&self, group: Group, peer: Peer, measure: Measure) -> Option<f64> {
        let values = self.values(group, peer, measure).iter().flatten().copied();
        values.min_by(f64::total_cmp)
    }

    /// The worst of all rounds where more is worse.
    pub(crate) fn most(&self, group: Group, peer: Peer, measure: Measure) -> Option<f64> {
        let values = self.values(group, peer, measure).iter().flatten().copied();
        values.max_by(f64::total_cmp)
    }

    /// The median of the same-round ratios of two forwarders.
    pub(crate) fn ratio(&self, group: Group, (ours, theirs): (Peer, Peer), measure: Measure) -> Option<f64> {
        stats::ratio(self.values(group, ours, measure), self.values(group, theirs, measure))
    }

    fn values(&self, group: Group, peer: Peer, measure: Measure) -> &[Option<f64>] {
        self.values.get(&(group, peer, measure)).map_or(&[], Vec::as_slice)
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
                samples.record(round, (Group::Bulk1, Peer::Fairlead), Measure::BulkCpu, value);
            }
            samples.record(round, (Group::Bulk1, Peer::Haproxy), Measure::BulkCpu, theirs);
        }
        let ratio = samples.ratio(Group::Bulk1, (Peer::Fairlead, Peer::Haproxy), Measure::BulkCpu);
        assert_eq!(ratio, Some(0.5));
        let ours = |read: fn(&Samples, Group, Peer, Measure) -> Option<f64>| {
            read(&samples, Group::Bulk1, Peer::Fairlead, Measure::BulkCpu)
        };
        assert_eq!(ours(Samples::median), Some(2.0));
        assert_eq!(ours(Samples::least), Some(1.0));
        assert_eq!(ours(Samples::most), Some(3.0));
        assert_eq!(samples.median(Group::Bulk64, Peer::Fairlead, Measure::BulkCpu), None);
    }
}
