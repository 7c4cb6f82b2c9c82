//! What Fairlead sets out to reach, row by row, and whether a run reached it.
use super::group::Group;
use super::measure::Measure;
use super::peer::Peer;
use super::samples::Samples;

/// What a figure is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// At most so many times that forwarder's value of the same round.
    AtMostTimes(f64, Peer),
    /// At least so many times that forwarder's value of the same round.
    AtLeastTimes(f64, Peer),
    /// At least as much as each other forwarder of the group reaches.
    AtLeastEveryPeer,
    AtMost(f64),
    /// At least that much in every round.
    AlwaysAtLeast(f64),
    /// At most that much in every round.
    AlwaysAtMost(f64),
}

/// One condition of a row; a row is reached when all its conditions are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goal {
    pub(crate) row: u8,
    pub(crate) group: Group,
    pub(crate) measure: Measure,
    pub(crate) bound: Bound,
}

/// Whether a goal was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    NotMet,
    NotMeasured(String),
}

/// How a run did against a goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) ours: Option<f64>,
    /// The median of the same-round ratios, and to whom, where the goal is a ratio.
    pub(crate) ratio: Option<(f64, Peer)>,
    pub(crate) verdict: Verdict,
}

/// Every goal, in the rows' order.
pub(crate) const GOALS: [Goal; 37] = {
    use Bound::{AlwaysAtLeast, AlwaysAtMost, AtLeastEveryPeer, AtLeastTimes, AtMost, AtMostTimes};
    use Group::{Bulk1, Bulk64, Connect, HalfClose, Idle, Killed, Request, Silent, Start};
    use Group::{FastHopBulk, HopBulk, HopConnect, ServerBulk, ServerConnect, SshBulk1, SshBulk16, SshConnect};
    use Group::{UdpClient, UdpClients, UdpFlood, UdpMemory};
    use Peer::{Gost, Haproxy, HaproxyPipes, HaproxySplice, Microsocks, Nginx, OpenSsh};
    [
        goal(1, Bulk64, Measure::BulkCpu, AtMostTimes(0.50, HaproxySplice)),
        goal(1, Bulk64, Measure::BulkRate, AtLeastEveryPeer),
        goal(1, Bulk64, Measure::BulkCpu, AtMostTimes(1.0, HaproxyPipes)),
        goal(2, Bulk64, Measure::BulkRate, AtLeastTimes(1.0, HaproxySplice)),
        goal(2, Bulk64, Measure::BulkRate, AtLeastTimes(1.0, Gost)),
        goal(3, Bulk1, Measure::BulkCpu, AtMostTimes(0.70, HaproxySplice)),
        goal(3, Bulk1, Measure::BulkRate, AtLeastTimes(1.2, HaproxySplice)),
        goal(4, Connect, Measure::ConnectRate, AtLeastTimes(1.05, Haproxy)),
        goal(4, Connect, Measure::ConnectP99, AtMostTimes(1.0, Haproxy)),
        goal(5, Request, Measure::RequestRate, AtLeastTimes(1.0, Nginx)),
        goal(5, Request, Measure::RequestCpu, AtMostTimes(1.02, Nginx)),
        goal(6, Idle, Measure::IdleMemory, AtMostTimes(0.75, Haproxy)),
        goal(6, Idle, Measure::IdleDescriptors, AtMost(2.0)),
        // What a clock that ticks now and then costs; a forwarder that looks after each connection costs far more.
        goal(6, Idle, Measure::IdleCpu, AtMost(1.0)),
        goal(7, UdpClient, Measure::RoundTripRate, AtLeastTimes(2.0, Nginx)),
        goal(7, UdpClient, Measure::RoundTripCpu, AtMostTimes(0.70, Nginx)),
        goal(8, UdpClients, Measure::RoundTripRate, AtLeastTimes(1.0, Nginx)),
        goal(8, UdpClients, Measure::Lost, AlwaysAtMost(0.0)),
        goal(9, UdpFlood, Measure::DeliveredRate, AtLeastTimes(2.5, Nginx)),
        goal(10, UdpMemory, Measure::DatagramMemory, AtMostTimes(0.20, Nginx)),
        goal(10, UdpMemory, Measure::Unaltered, AlwaysAtLeast(1.0)),
        goal(11, Killed, Measure::KilledShare, AlwaysAtLeast(1.0)),
        goal(12, Silent, Measure::SilentShare, AlwaysAtLeast(1.0)),
        goal(12, Silent, Measure::SilentP99, AtMost(300.0)),
        goal(14, SshBulk1, Measure::BulkCpu, AtMostTimes(1.2, OpenSsh)),
        goal(14, SshBulk16, Measure::BulkCpu, AtMostTimes(1.2, OpenSsh)),
        goal(14, SshConnect, Measure::ConnectRate, AtLeastTimes(0.9, OpenSsh)),
        goal(17, HalfClose, Measure::HalfClose, AlwaysAtLeast(1.0)),
        goal(18, Start, Measure::StartTime, AtMost(50.0)),
        goal(18, Start, Measure::IdleResident, AtMost(8.0)),
        goal(18, Start, Measure::ProgramSize, AtMost(15.0)),
        goal(19, HopBulk, Measure::BulkCpu, AtMostTimes(1.0, Gost)),
        goal(19, FastHopBulk, Measure::BulkCpu, AtMostTimes(1.0, Gost)),
        goal(19, HopConnect, Measure::ConnectRate, AtLeastTimes(1.0, Gost)),
        goal(19, HopConnect, Measure::ConnectCpu, AtMostTimes(1.0, Gost)),
        goal(20, ServerBulk, Measure::BulkCpu, AtMostTimes(1.0, Microsocks)),
        goal(20, ServerConnect, Measure::ConnectRate, AtLeastTimes(1.0, Microsocks)),
    ]
};

const fn goal(row: u8, group: Group, measure: Measure, bound: Bound) -> Goal {
    Goal { row, group, measure, bound }
}

impl Goal {
    /// The goal in words, for the table.
    pub(crate) fn words(&self) -> String {
        let show = |value| self.measure.show(value);
        match self.bound {
            Bound::AtMostTimes(times, peer) => format!("≤ {times:.2}x {}", peer.label()),
            Bound::AtLeastTimes(times, peer) => format!("≥ {times:.2}x {}", peer.label()),
            Bound::AtLeastEveryPeer => "≥ the best peer".to_owned(),
            Bound::AtMost(limit) => format!("≤ {}", show(limit)),
            Bound::AlwaysAtLeast(limit) | Bound::AlwaysAtMost(limit) => format!("{} in every round", show(limit)),
        }
    }

    /// Holds a run against the goal.
    pub(crate) fn judge(&self, samples: &Samples) -> Judgement {
        let ours = self.ours(samples);
        let ratio = self.ratio(samples);
        let met = match self.bound {
            Bound::AtMostTimes(times, _) => ratio.map(|(ratio, _)| ratio <= times),
            Bound::AtLeastTimes(times, _) => ratio.map(|(ratio, _)| ratio >= times),
            Bound::AtLeastEveryPeer => ratio.map(|(ratio, _)| ratio >= 1.0),
            Bound::AtMost(limit) | Bound::AlwaysAtMost(limit) => ours.map(|ours| ours <= limit),
            Bound::AlwaysAtLeast(limit) => ours.map(|ours| ours >= limit),
        };
        let verdict = match met {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::NotMet,
            None => Verdict::NotMeasured(self.missing(samples)),
        };
        Judgement { ours, ratio, verdict }
    }

    fn ours(&self, samples: &Samples) -> Option<f64> {
        let read = match self.bound {
            Bound::AlwaysAtLeast(_) => Samples::least,
            Bound::AlwaysAtMost(_) => Samples::most,
            Bound::AtMostTimes(..) | Bound::AtLeastTimes(..) | Bound::AtLeastEveryPeer | Bound::AtMost(_) => {
                Samples::median
            }
        };
        read(samples, self.group, Peer::Fairlead, self.measure)
    }

    /// The ratio the goal is about; of every peer, the one that is hardest to reach.
    fn ratio(&self, samples: &Samples) -> Option<(f64, Peer)> {
        let to = |peer| Some((samples.ratio(self.group, (Peer::Fairlead, peer), self.measure)?, peer));
        match self.bound {
            Bound::AtMostTimes(_, peer) | Bound::AtLeastTimes(_, peer) => to(peer),
            Bound::AtLeastEveryPeer => self.rivals().filter_map(to).min_by(|(a, _), (b, _)| a.total_cmp(b)),
            Bound::AtMost(_) | Bound::AlwaysAtLeast(_) | Bound::AlwaysAtMost(_) => None,
        }
    }

    fn rivals(&self) -> impl Iterator<Item = Peer> {
        let peers = self.group.peers().iter().copied();
        peers.filter(|peer| !matches!(peer, Peer::Fairlead | Peer::Direct))
    }

    fn missing(&self, samples: &Samples) -> String {
        let reference = match self.bound {
            Bound::AtMostTimes(_, peer) | Bound::AtLeastTimes(_, peer) => Some(peer),
            Bound::AtLeastEveryPeer | Bound::AtMost(_) | Bound::AlwaysAtLeast(_) | Bound::AlwaysAtMost(_) => None,
        };
        [Some(Peer::Fairlead), reference]
            .into_iter()
            .flatten()
            .find_map(|peer| samples.reason(self.group, peer))
            .unwrap_or("not measured")
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(measure: Measure, bound: Bound, values: &[(Peer, f64)]) -> Verdict {
        let mut samples = Samples::default();
        for (peer, value) in values {
            samples.record(0, (Group::Bulk64, *peer), measure, *value);
        }
        samples.explain(Group::Bulk64, Peer::Gost, "no GOST".to_owned());
        goal(1, Group::Bulk64, measure, bound).judge(&samples).verdict
    }

    #[test]
    fn a_verdict_holds_the_figures_against_the_bound() {
        use Peer::{Direct, Fairlead, Gost, Haproxy, Nginx};
        use Verdict::{Met, NotMeasured, NotMet};
        let cases = [
            (Bound::AtMostTimes(0.5, Haproxy), 1.0, Met),
            (Bound::AtMostTimes(0.49, Haproxy), 1.0, NotMet),
            (Bound::AtLeastTimes(0.5, Haproxy), 1.0, Met),
            (Bound::AtLeastTimes(0.51, Haproxy), 1.0, NotMet),
            (Bound::AtMost(1.0), 1.0, Met),
            (Bound::AtMost(1.0), 1.1, NotMet),
            (Bound::AlwaysAtLeast(1.0), 0.9996, NotMet),
            (Bound::AlwaysAtMost(1.0), 1.0, Met),
            (Bound::AlwaysAtMost(1.0), 1.0001, NotMet),
            (Bound::AtLeastEveryPeer, 2.0, NotMet),
            (Bound::AtLeastEveryPeer, 3.0, Met),
            (Bound::AtLeastTimes(1.0, Gost), 1.0, NotMeasured("no GOST".to_owned())),
        ];
        for (bound, ours, expected) in cases {
            let values = [(Fairlead, ours), (Haproxy, 2.0), (Nginx, 2.5), (Direct, 9.0)];
            assert_eq!(verdict(Measure::BulkCpu, bound, &values), expected, "{bound:?}");
        }
    }

    #[test]
    fn a_share_is_judged_by_its_worst_round() {
        let cases = [(11, Measure::KilledShare, 1.0, 0.99), (8, Measure::Lost, 0.0, 0.01)];
        for (row, measure, good, bad) in cases {
            let goal = GOALS.iter().find(|goal| (goal.row, goal.measure) == (row, measure)).unwrap();
            let mut samples = Samples::default();
            for (round, share) in [(0, good), (1, bad), (2, good)] {
                samples.record(round, (goal.group, Peer::Fairlead), measure, share);
            }
            assert_eq!(goal.judge(&samples).verdict, Verdict::NotMet);
        }
    }

    #[test]
    fn every_goal_is_about_something_its_group_measures() {
        for goal in GOALS {
            assert!(goal.group.measures().contains(&goal.measure), "{goal:?}");
            assert!(goal.group.rows().contains(&goal.row), "{goal:?}");
        }
    }
}
