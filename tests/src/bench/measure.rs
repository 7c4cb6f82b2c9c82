//! What is measured: the single figures, and the groups that one load yields together.
use std::time::Duration;

use super::peer::Peer;

/// One figure, always in the unit of its heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Measure {
    BulkRate64,
    BulkCpu64,
    BulkRate1,
    BulkCpu1,
    ConnectRate,
    ConnectCpu,
    ConnectP50,
    ConnectP99,
    RequestRate,
    RequestCpu,
    RequestP99,
    IdleMemory,
    IdleDescriptors,
    IdleCpu,
    KilledShare,
    KilledP99,
    SilentShare,
    SilentP99,
    HalfClose,
    StartTime,
    IdleResident,
    ProgramSize,
}

impl Measure {
    /// The column's heading, with the unit.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::BulkRate64 | Self::BulkRate1 => "GB/s",
            Self::BulkCpu64 | Self::BulkCpu1 => "CPU s/GB",
            Self::ConnectRate => "connections/s",
            Self::ConnectCpu => "CPU µs/connection",
            Self::ConnectP50 => "p50 ms",
            Self::ConnectP99 | Self::RequestP99 => "p99 ms",
            Self::KilledP99 | Self::SilentP99 => "p99 ms (3000: no answer)",
            Self::RequestRate => "requests/s",
            Self::RequestCpu => "CPU µs/request",
            Self::IdleMemory => "KiB/connection",
            Self::IdleDescriptors => "fds/connection",
            Self::IdleCpu => "CPU ms per s",
            Self::KilledShare => "answered",
            Self::SilentShare => "answered within 1 s",
            Self::HalfClose => "half-close, every byte compared",
            Self::StartTime => "start to listening, ms",
            Self::IdleResident => "RSS at rest, MiB",
            Self::ProgramSize => "program file, MB",
        }
    }

    /// A value as the tables show it.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::ConnectRate | Self::RequestRate => format!("{value:.0}"),
            Self::BulkCpu64 | Self::BulkCpu1 | Self::KilledShare | Self::SilentShare => {
                format!("{:.3}", floor_share(self, value))
            }
            Self::HalfClose if value >= 1.0 => "pass".to_owned(),
            Self::HalfClose => "fail".to_owned(),
            Self::StartTime | Self::ConnectCpu | Self::IdleResident | Self::ProgramSize => {
                format!("{value:.1}")
            }
            Self::KilledP99 | Self::SilentP99 => format!("{value:.0}"),
            Self::BulkRate64
            | Self::BulkRate1
            | Self::ConnectP50
            | Self::ConnectP99
            | Self::RequestCpu
            | Self::RequestP99
            | Self::IdleMemory
            | Self::IdleDescriptors
            | Self::IdleCpu => format!("{value:.2}"),
        }
    }

    /// Whether a quotient of two values means anything.
    pub(crate) fn has_ratio(self) -> bool {
        !matches!(
            self,
            Self::IdleDescriptors
                | Self::IdleCpu
                | Self::KilledShare
                | Self::KilledP99
                | Self::SilentShare
                | Self::SilentP99
                | Self::HalfClose
        )
    }
}

/// A share is never rounded up: 1.000 means all.
fn floor_share(measure: Measure, value: f64) -> f64 {
    if matches!(measure, Measure::KilledShare | Measure::SilentShare) { (value * 1e3).floor() / 1e3 } else { value }
}

/// What one load yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Bulk64,
    Bulk1,
    Connect,
    Request,
    Idle,
    Killed,
    Silent,
    HalfClose,
    Start,
}

impl Group {
    pub(crate) const ALL: [Self; 9] = [
        Self::Bulk64,
        Self::Bulk1,
        Self::Connect,
        Self::Request,
        Self::Idle,
        Self::Killed,
        Self::Silent,
        Self::HalfClose,
        Self::Start,
    ];

    /// The rows of the table of targets that it serves.
    pub(crate) fn rows(self) -> &'static [u8] {
        match self {
            Self::Bulk64 => &[1, 2],
            Self::Bulk1 => &[3],
            Self::Connect => &[4],
            Self::Request => &[5],
            Self::Idle => &[6],
            Self::Killed => &[11],
            Self::Silent => &[12],
            Self::HalfClose => &[17],
            Self::Start => &[18],
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bulk64 => "bulk from target to client, 64 connections",
            Self::Bulk1 => "bulk from target to client, 1 connection",
            Self::Connect => "new connections, one byte echoed on each, 32 under way",
            Self::Request => "requests and responses of 64 bytes, 100 connections",
            Self::Idle => "idle connections",
            Self::Killed => "three targets, one killed (refuses) under 200 new connections/s; begun afterwards",
            Self::Silent => {
                "three targets, one leaves SYNs unanswered for 8 s under 200 new connections/s; begun meanwhile"
            }
            Self::HalfClose => "100 MB each way around a half-close, client first and target first",
            Self::Start => "one forward, nothing to do",
        }
    }

    pub(crate) fn measures(self) -> &'static [Measure] {
        match self {
            Self::Bulk64 => &[Measure::BulkRate64, Measure::BulkCpu64],
            Self::Bulk1 => &[Measure::BulkRate1, Measure::BulkCpu1],
            Self::Connect => &[Measure::ConnectRate, Measure::ConnectCpu, Measure::ConnectP50, Measure::ConnectP99],
            Self::Request => &[Measure::RequestRate, Measure::RequestCpu, Measure::RequestP99],
            Self::Idle => &[Measure::IdleMemory, Measure::IdleDescriptors, Measure::IdleCpu],
            Self::Killed => &[Measure::KilledShare, Measure::KilledP99],
            Self::Silent => &[Measure::SilentShare, Measure::SilentP99],
            Self::HalfClose => &[Measure::HalfClose],
            Self::Start => &[Measure::StartTime, Measure::IdleResident, Measure::ProgramSize],
        }
    }

    /// What is compared, and in the tables' order.
    pub(crate) fn peers(self) -> &'static [Peer] {
        use Peer::{Direct, Fairlead, Gost, Haproxy, HaproxyPipes, HaproxySplice, Nginx, Socat};
        match self {
            Self::Bulk64 | Self::Bulk1 => &[Fairlead, HaproxySplice, HaproxyPipes, Haproxy, Nginx, Socat, Gost, Direct],
            Self::Connect | Self::Request => &[Fairlead, Haproxy, Nginx, Socat, Gost, Direct],
            Self::Idle | Self::Start => &[Fairlead, Haproxy, Nginx, Socat, Gost],
            Self::Killed | Self::Silent => &[Fairlead, Haproxy, Nginx, Gost],
            Self::HalfClose => &[Fairlead, HaproxySplice, HaproxyPipes, Haproxy, Nginx, Socat, Gost, Direct],
        }
    }

    /// What the ratios of its table are to; none where it shows none.
    pub(crate) fn reference(self) -> Option<Peer> {
        match self {
            Self::Bulk64 | Self::Bulk1 => Some(Peer::HaproxySplice),
            Self::Connect | Self::Idle => Some(Peer::Haproxy),
            Self::Request => Some(Peer::Nginx),
            Self::Killed | Self::Silent | Self::HalfClose | Self::Start => None,
        }
    }
}

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Rounds of the groups whose figures are noisy, rows 1 to 5.
    pub(crate) rounds: usize,
    /// Rounds of rows 6, 11 and 12, at most.
    pub(crate) slow_rounds: usize,
    /// The window of bulk, connections and requests.
    pub(crate) measure: Duration,
    pub(crate) idle_connections: usize,
}

impl Effort {
    pub(crate) fn quick() -> Self {
        Self { rounds: 3, slow_rounds: 1, measure: Duration::from_millis(1200), idle_connections: 4000 }
    }

    pub(crate) fn full() -> Self {
        Self { rounds: 5, slow_rounds: 3, measure: Duration::from_secs(4), idle_connections: 7500 }
    }

    /// How often a group is measured.
    pub(crate) fn rounds(&self, group: Group) -> usize {
        match group {
            Group::Bulk64 | Group::Bulk1 | Group::Connect | Group::Request => self.rounds,
            Group::Idle | Group::Killed | Group::Silent => self.slow_rounds.min(self.rounds),
            Group::HalfClose | Group::Start => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_the_precision_that_means_something() {
        let cases = [
            (Measure::BulkRate64, 2.1349, "2.13"),
            (Measure::BulkCpu64, 0.3184, "0.318"),
            (Measure::ConnectRate, 19_812.4, "19812"),
            (Measure::KilledShare, 0.9996, "0.999"),
            (Measure::KilledShare, 1.0, "1.000"),
            (Measure::HalfClose, 1.0, "pass"),
            (Measure::HalfClose, 0.0, "fail"),
        ];
        for (measure, value, expected) in cases {
            assert_eq!(measure.show(value), expected, "{measure:?}");
        }
    }

    #[test]
    fn every_group_measures_ours_and_its_reference() {
        for group in Group::ALL {
            assert_eq!(group.peers().first(), Some(&Peer::Fairlead), "{group:?}");
            let reference = group.reference();
            assert!(reference.is_none_or(|peer| group.peers().contains(&peer)));
        }
    }
}
